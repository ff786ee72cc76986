//! Bytes, pure: what stands in a store's files, as `docs/format.md` draws it. No I/O, no clock.

pub(crate) mod frame;
pub(crate) mod group;
pub(crate) mod head;
pub(crate) mod housekeeping;
#[cfg(feature = "encrypt")]
pub(crate) mod key;
pub(crate) mod segment;
pub(crate) mod store;

/// The version of every file of the format. A store of another version is refused, not converted.
pub(crate) const VERSION: u32 = 1;

/// What a decoder found wrong with bytes, in words for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) &'static str);

/// Rounds a length up to the alignment of frames and groups.
pub(crate) const fn align8(len: u64) -> u64 {
    (len + 7) & !7
}

/// `N` octets of `bytes` at `offset`; zeros past the end, where a length check has already failed.
#[inline]
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[inline]
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(field(bytes, offset))
}

#[inline]
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(field(bytes, offset))
}

/// Overwrites octets of `bytes` at `offset`, which the caller has made long enough.
fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    debug_assert!(bytes.len() >= offset + value.len());
    if let Some(place) = bytes.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

/// `N` octets that no two fields of an example share.
#[cfg(test)]
fn distinct<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|nth| first.wrapping_add(nth as u8))
}

/// CRC-32 (ISO-HDLC, the one of zlib) of `bytes`, begun from `seed`.
///
/// A seed made of the place ties bytes to where they were written: the same bytes elsewhere fail.
#[inline]
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The seed of the checksums at `offset` of a segment with this salt.
pub(crate) const fn seed(salt: u64, offset: u64) -> u32 {
    (salt ^ (salt >> 32)) as u32 ^ (offset >> 3) as u32
}
