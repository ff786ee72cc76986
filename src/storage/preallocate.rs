//! Room set aside in a file: real zeros, not a promise of the file system.

use std::io;

use super::File;

/// The most bytes one write of zeros has, and what writes are aligned to: a file system that keeps
/// large pages for whole aligned writes of this length has them mapped as such.
const CHUNK: usize = 2 << 20;

/// Writes zeros from the end of `file` up to `len`.
///
/// On an error the file is cut back to the length it had, so that the space it took is free again
/// and the next attempt starts from the same place. The first error is the one told: should cutting
/// back fail as well, there is nothing more to do about it.
pub(super) fn extend(file: &dyn File, len: u64) -> io::Result<()> {
    if i64::try_from(len).is_err() {
        // No file is that long: found out by filling the disk, otherwise.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let old_len = file.len()?;
    let result = write_zeros(file, old_len, len);
    if result.is_err() && old_len < len {
        let _ = file.set_len(old_len);
    }
    result
}

fn write_zeros(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let missing = to.saturating_sub(from);
    let zeros = vec![0_u8; CHUNK.min(usize::try_from(missing).unwrap_or(CHUNK))];
    let mut at = from;
    while at < to {
        let boundary = (at + 1).next_multiple_of(CHUNK as u64);
        let fitting = usize::try_from(boundary.min(to) - at).unwrap_or(CHUNK);
        let piece = zeros.get(..fitting).unwrap_or(&zeros);
        file.write_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
