//! The fingerprint in front of what a streamed request left (C13): its claim was logged before
//! there was one.
//!
//! `docs/format.md` draws the layout. It stands in front of a stored response, and of a
//! tombstone's note.

use bytes::{BufMut, Bytes, BytesMut};

use super::tombstone::Tombstone;
use crate::backend::NOTE_OCTETS_MAX;
use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::outcome::Record;

/// No version of either structure.
const MARK: u8 = 0x80;
const OCTETS: usize = 33;

/// `octets` behind `print`.
pub(crate) fn put(print: &Fingerprint, octets: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(OCTETS + octets.len());
    out.put_u8(MARK);
    out.put_slice(print.as_bytes());
    out.put_slice(octets);
    out.freeze()
}

/// A tombstone's note behind `print`. Where there is no room for both, the status is left of the
/// note.
pub(crate) fn put_before_note(print: &Fingerprint, note: &Bytes) -> Bytes {
    if OCTETS + note.len() <= NOTE_OCTETS_MAX {
        return put(print, note);
    }
    let shorter =
        Tombstone::decode(note).map(|tombstone| Tombstone { location: None, ..tombstone });
    put(print, &shorter.map(|tombstone| tombstone.encode()).unwrap_or_default())
}

/// The octets behind the fingerprint, if there is one.
pub(crate) fn behind(octets: Bytes) -> Bytes {
    match of(&octets) {
        Some(_) => octets.slice(OCTETS..),
        None => octets,
    }
}

/// The fingerprint of the request that left `record`, if it was streamed and came whole.
///
/// # Errors
/// `Corrupt` when the record is damaged.
pub(crate) fn of_record(record: &Record) -> Result<Option<Fingerprint>, Error> {
    match record.note() {
        Some(note) => Ok(of(note)),
        None => record.read(of).map(Option::flatten),
    }
}

fn of(octets: &[u8]) -> Option<Fingerprint> {
    let (mark, rest) = octets.split_first()?;
    let print = rest.first_chunk::<32>().filter(|_| *mark == MARK)?;
    Some(Fingerprint::from_digest(*print))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, StatusCode};

    #[test]
    fn the_layout_is_the_documented_one() {
        let print = Fingerprint::from_digest([7; 32]);
        let whole = put(&print, b"\x01rest");
        assert_eq!(whole, [&[0x80][..], &[7; 32], b"\x01rest"].concat());
        assert_eq!(of(&whole), Some(print));
        assert_eq!(behind(whole), b"\x01rest"[..]);
        for other in [&b""[..], b"\x01rest", &[0x80; 32]] {
            assert_eq!(of(other), None, "{other:?}");
            assert_eq!(behind(Bytes::from_static(other)), other);
        }
    }

    #[test]
    fn c24_a_note_keeps_its_status_where_it_has_to_shrink() {
        let print = Fingerprint::from_digest([7; 32]);
        for (octets, kept) in [(NOTE_OCTETS_MAX - 4 - 33, true), (NOTE_OCTETS_MAX - 4 - 32, false)]
        {
            let mut headers = HeaderMap::new();
            let location = HeaderValue::from_bytes(&vec![b'l'; octets]).unwrap();
            headers.insert(http::header::LOCATION, location);
            let note = Tombstone::of(StatusCode::ACCEPTED, &headers).encode();
            let put = put_before_note(&print, &note);
            assert!(put.len() <= NOTE_OCTETS_MAX);
            assert_eq!(of(&put), Some(print));
            let read = Tombstone::decode(&put).unwrap();
            assert_eq!((read.status, read.location.is_some()), (StatusCode::ACCEPTED, kept));
        }
    }
}
