//! Room set aside in a file.

use std::io;

use super::File;

/// The most bytes one write of zeros has, and what writes are aligned to. The page cache may hold what
/// one write brought as one page, and a sync looks at every block of each page that has a byte to
/// write: of 2 MiB, that is as long as all else that the kernel does for a sync of little.
const CHUNK: usize = 64 << 10;

/// Has `fill` set room aside in `file`, from its end up to `len`.
///
/// On an error the file is cut back to the length it had, so that the space it took is free again
/// and the next attempt starts from the same place. The first error is the one told: should cutting
/// back fail as well, there is nothing more to do about it.
pub(super) fn extend(
    file: &dyn File,
    len: u64,
    fill: impl FnOnce(&dyn File, u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    if i64::try_from(len).is_err() {
        // No file is that long: found out by filling the disk, otherwise.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let old_len = file.len()?;
    if len <= old_len {
        return Ok(());
    }
    let result = fill(file, old_len, len);
    if result.is_err() {
        let _ = file.set_len(old_len);
    }
    result
}

/// Writes zeros from `from` up to `to`.
pub(super) fn write_zeros(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
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
