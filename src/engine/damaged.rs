//! Which keys stand among damaged octets: a group's checksum does not hold, and the heads of its
//! frames, which have their own, may.

use std::io;
use std::ops::Range;

use crate::fingerprint::Fingerprint;
use crate::format::frame::{self, Frame, Kind};
use crate::format::seed;
use crate::stats::FoundKey;
use crate::storage::File;

/// Bytes looked at in one go.
const WINDOW: u64 = 1 << 20;

/// Gives every key whose frame's head stands in `range` of a segment with this salt to `tell`.
///
/// # Errors
/// What the disk says.
pub(super) fn keys(
    file: &dyn File,
    salt: u64,
    range: Range<u64>,
    tell: &mut dyn FnMut(FoundKey),
) -> io::Result<()> {
    let end = range.end.min(file.len()?);
    let mut at = range.start;
    let mut window = Vec::new();
    while at < end {
        let begin = at;
        window.resize((end - begin).min(WINDOW + frame::HEAD_MAX as u64) as usize, 0);
        file.read_at(&mut window, begin)?;
        let stop = end.min(begin + WINDOW);
        while at < stop {
            let bytes = window.get((at - begin) as usize..).unwrap_or_default();
            let Some(frame) =
                frame::decode(bytes, seed(salt, at)).ok().filter(|f| f.header.kind.is_keyed())
            else {
                at += 8;
                continue;
            };
            let header = frame.header;
            let payload_sound = payload_stands(file, at + header.head_len(), end, &header)?;
            tell(found(at, &frame, payload_sound));
            at = at.saturating_add(header.frame_len());
        }
    }
    Ok(())
}

/// The key of the frame at `offset`, whose payload stands; `None` when its head does not.
///
/// # Errors
/// What the disk says.
pub(super) fn key_at(file: &dyn File, salt: u64, offset: u64) -> io::Result<Option<FoundKey>> {
    let len = file.len()?.saturating_sub(offset).min(frame::HEAD_MAX as u64);
    let mut head = vec![0; len as usize];
    file.read_at(&mut head, offset)?;
    let frame = frame::decode(&head, seed(salt, offset)).ok();
    Ok(frame.map(|frame| found(offset, &frame, true)))
}

fn found(offset: u64, frame: &Frame<'_>, payload_sound: bool) -> FoundKey {
    FoundKey {
        offset,
        frame: word(frame.header.kind),
        scope: frame.scope.to_vec(),
        key_sha256: *Fingerprint::of(frame.key).as_bytes(),
        payload_sound,
    }
}

fn payload_stands(file: &dyn File, at: u64, end: u64, header: &frame::Header) -> io::Result<bool> {
    if at + u64::from(header.payload_len) > end {
        return Ok(false);
    }
    let mut payload = vec![0; header.payload_len as usize];
    file.read_at(&mut payload, at)?;
    Ok(frame::payload_crc(&payload) == header.payload_crc)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Claim => "claim",
        Kind::Complete => "complete",
        Kind::Tombstone => "tombstone",
        Kind::Release => "release",
        Kind::InDoubt => "in-doubt",
        Kind::Link | Kind::Retire | Kind::Seal => "housekeeping",
    }
}
