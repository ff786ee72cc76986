//! Keys and results: UUIDs in text, 36 octets, and octets that do not compress.

use onceward::{Fingerprint, Key};

use crate::Failure;

/// A key's text.
pub(super) type Text = [u8; 36];

/// Octets of a result.
pub(super) const PAYLOAD: usize = 512;
/// Numbers below this are given to results; those from here on nobody claims.
pub(super) const UNKNOWN: u64 = 1 << 40;

/// The `number`th key: it says nothing of its place in the row.
pub(super) fn text(number: u64) -> Text {
    let mut text = *b"00000000-0000-4000-8000-000000000000";
    let mut bits = u128::from(mix(number)) << 64 | u128::from(mix(!number));
    for (at, octet) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 14 | 18 | 19 | 23) {
            let nibble = (bits & 0xf) as u8;
            *octet = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            bits >>= 4;
        }
    }
    text
}

/// One step of the finalizer of `SplitMix64`: every number gives another.
pub(super) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The key of a text.
pub(super) fn key(text: &Text) -> Result<Key<'_>, Failure> {
    Key::new("", text).map_err(|error| super::store_failed(&error))
}

/// A request's fingerprint; what its digest costs is not the store's doing.
pub(super) fn fingerprint(text: &Text) -> Fingerprint {
    Fingerprint::from_digest(text.first_chunk().copied().unwrap_or_default())
}

/// A result.
pub(super) fn payload() -> Vec<u8> {
    (0..PAYLOAD as u64 / 8).flat_map(|nth| mix(nth).to_le_bytes()).collect()
}

/// Reads every byte of a result.
pub(super) fn read_all(payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let sum = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add);
    rest.iter().map(|octet| u64::from(*octet)).fold(sum, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_are_uuids() {
        let texts: std::collections::BTreeSet<Text> = (0..1_000).map(text).collect();
        assert_eq!(texts.len(), 1_000);
        for text in texts {
            let digits = text.iter().filter(|octet| octet.is_ascii_hexdigit()).count();
            assert_eq!((digits, text[14], text[19]), (32, b'4', b'8'));
        }
        assert_eq!(payload().len(), PAYLOAD);
    }
}
