//! The note a tombstone carries: what a retry can be told of a response that was not kept.
//!
//! `docs/format.md` draws the layout.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::streamed_print;
use crate::backend::NOTE_OCTETS_MAX;

const VERSION: u8 = 1;
const HEAD_OCTETS: usize = 4;

/// What is left of a response that was not kept (C24).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tombstone {
    /// The response's status.
    pub status: StatusCode,
    /// Its `Location`, when it had one that fits.
    pub location: Option<HeaderValue>,
}

impl Tombstone {
    /// What is kept of a response with this status and these headers.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let fits = |value: &&HeaderValue| {
            !value.is_empty() && value.len() <= NOTE_OCTETS_MAX - HEAD_OCTETS
        };
        Self { status, location: headers.get(LOCATION).filter(fits).cloned() }
    }

    /// The octets of the note, at most [`NOTE_OCTETS_MAX`].
    pub fn encode(&self) -> Bytes {
        let location = self.location.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        let mut out = BytesMut::with_capacity(HEAD_OCTETS + location.len());
        out.put_u8(VERSION);
        out.put_u8(0);
        out.put_u16_le(self.status.as_u16());
        if location.len() <= NOTE_OCTETS_MAX - HEAD_OCTETS {
            out.put_slice(location);
        }
        out.freeze()
    }

    /// Reads a note that [`encode`](Self::encode) wrote; `None` for anything else, which is a
    /// tombstone all the same.
    pub fn decode(note: &Bytes) -> Option<Self> {
        let mut note = streamed_print::behind(note.clone());
        if note.try_get_u8().ok()? != VERSION || note.try_get_u8().ok()? != 0 {
            return None;
        }
        let status = StatusCode::from_u16(note.try_get_u16_le().ok()?).ok()?;
        let location =
            if note.is_empty() { None } else { Some(HeaderValue::from_maybe_shared(note).ok()?) };
        Some(Self { status, location })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(location: &[u8]) -> Tombstone {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_bytes(location).unwrap());
        Tombstone::of(StatusCode::CREATED, &headers)
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        assert_eq!(of(b"/jobs/\xe9").encode(), b"\x01\0\xc9\0/jobs/\xe9"[..]);
    }

    #[test]
    fn a_location_is_whole_or_absent() {
        let longest = vec![b'l'; NOTE_OCTETS_MAX - 4];
        let tombstone = of(&longest);
        assert_eq!(tombstone.encode().len(), NOTE_OCTETS_MAX);
        assert_eq!(Tombstone::decode(&tombstone.encode()), Some(tombstone));
        let tombstone = of(&vec![b'l'; NOTE_OCTETS_MAX - 3]);
        assert_eq!(tombstone.location, None);
        assert_eq!(Tombstone::decode(&tombstone.encode()), Some(tombstone));
    }

    #[test]
    fn somebody_elses_note_is_no_fault() {
        for note in [
            &b""[..],
            b"\x01",
            b"\x02\0\xc9\0",
            b"\x01\x01\xc9\0",
            b"\x01\0\0\0",
            b"\x01\0\xc9\0\n",
        ] {
            assert_eq!(Tombstone::decode(&Bytes::from_static(note)), None, "{note:?}");
        }
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/tombstone.bin");
        let note = Tombstone {
            status: StatusCode::ACCEPTED,
            location: Some(HeaderValue::from_bytes(b"/jobs/\xe9").unwrap()),
        };
        assert_eq!(note.encode(), golden[..]);
        assert_eq!(Tombstone::decode(&Bytes::from_static(golden)), Some(note));
    }
}
