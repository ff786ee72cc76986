//! What every block begins with, whatever is in it: which block of which store it is, and a CRC-32
//! over all of it. Pure.
//!
//! `docs/format.md` draws the layout.

use super::bytes::{array, u32_at, u64_at};

const VERSION: u32 = 1;

const AT_MAGIC: usize = 0;
pub(super) const AT_VERSION: usize = AT_MAGIC + 4;
const AT_STORE: usize = AT_VERSION + 4;
pub(super) const AT_BUCKET: usize = AT_STORE + 16;
const AT_RUN: usize = AT_BUCKET + 8;
const AT_PART: usize = AT_RUN + 8;
const AT_PARTS: usize = AT_PART + 4;
pub(super) const AT_COUNT: usize = AT_PARTS + 4;
pub(super) const AT_CRC: usize = AT_COUNT + 4;
/// Where the content begins.
pub(super) const HEADER: usize = AT_CRC + 4;

const _: () = assert!(HEADER == 56);

/// Which block of which store. A block that says otherwise is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockId {
    pub(super) store_id: [u8; 16],
    pub(super) bucket: u64,
    pub(super) run: u64,
    /// Which block of its kind in this run and bucket, from 0.
    pub(super) part: u32,
    /// How many blocks of its kind the run has in this bucket.
    pub(super) parts: u32,
}

/// Replaces `out` with the header of the block `id`, which has `count` of whatever is in it. What
/// follows is added by the caller, who then seals it.
pub(super) fn begin(magic: [u8; 4], id: &BlockId, count: usize, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&magic);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&id.store_id);
    out.extend_from_slice(&id.bucket.to_le_bytes());
    out.extend_from_slice(&id.run.to_le_bytes());
    out.extend_from_slice(&id.part.to_le_bytes());
    out.extend_from_slice(&id.parts.to_le_bytes());
    out.extend_from_slice(&(count as u32).to_le_bytes());
    debug_assert_eq!(out.len(), AT_CRC);
    out.extend_from_slice(&[0; 4]);
}

/// Gives a whole block its CRC, and tells it.
pub(super) fn seal(block: &mut [u8]) -> u32 {
    let crc = checksum(block).unwrap_or_default();
    if let Some(field) = block.get_mut(AT_CRC..HEADER) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    crc
}

/// The CRC of the block `id` and how much it says is in it, once its header and CRC hold; what does
/// not, in words, if not.
pub(super) fn verify(
    magic: [u8; 4],
    id: &BlockId,
    bytes: &[u8],
) -> Result<(u32, u32), &'static str> {
    if array(bytes, AT_MAGIC) != Some(magic) {
        return Err("is not a block of its kind");
    }
    if u32_at(bytes, AT_VERSION) != Some(VERSION) {
        return Err("is a block of another format version");
    }
    let (Some(crc), Some(computed)) = (u32_at(bytes, AT_CRC), checksum(bytes)) else {
        return Err("is cut short");
    };
    if crc != computed {
        return Err("fails its CRC");
    }
    if array(bytes, AT_STORE) != Some(id.store_id) {
        return Err("belongs to another store");
    }
    let named = (u64_at(bytes, AT_BUCKET), u64_at(bytes, AT_RUN), u32_at(bytes, AT_PART));
    if named != (Some(id.bucket), Some(id.run), Some(id.part)) {
        return Err("is another block than its key says");
    }
    if u32_at(bytes, AT_PARTS) != Some(id.parts) {
        return Err("counts another number of blocks in its run");
    }
    let count = u32_at(bytes, AT_COUNT).ok_or("is cut short")?;
    Ok((crc, count))
}

/// CRC-32 over all of a block but the CRC itself.
fn checksum(block: &[u8]) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(block.get(..AT_CRC)?);
    hasher.update(block.get(HEADER..)?);
    Some(hasher.finalize())
}
