//! Keys: UUIDs in text, 36 octets, the same ones for every store.

use fastrand::Rng;
use onceward::{Fingerprint, Key};

use super::{PAYLOAD, sure};

/// A key's text.
pub(crate) type Text = [u8; 36];

/// Numbers below this are given to records; above it are those nobody claims.
const UNKNOWN: u64 = 1 << 40;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The `number`th key: a version 4 UUID, which says nothing of its place in the row.
pub(crate) fn text(number: u64) -> Text {
    let mut text = *b"00000000-0000-4000-8000-000000000000";
    let mut bits = u128::from(mix(number)) << 64 | u128::from(mix(!number));
    for (at, octet) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 14 | 18 | 19 | 23) {
            let nibble = (bits & 0xf) as usize;
            *octet = DIGITS.get(nibble).copied().unwrap_or(b'0');
            bits >>= 4;
        }
    }
    text
}

/// One step of the finalizer of `SplitMix64`: every number gives another.
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The key of a text.
pub(crate) fn key(text: &Text) -> Key<'_> {
    sure(Key::new("", text))
}

/// A request's fingerprint; its digest is nobody's measure here.
pub(crate) fn fingerprint(text: &Text) -> Fingerprint {
    Fingerprint::from_digest(digest(text))
}

pub(crate) fn digest(text: &Text) -> [u8; 32] {
    text.first_chunk().copied().unwrap_or_default()
}

/// A response, of octets that do not compress.
pub(crate) fn payload() -> Vec<u8> {
    let mut rng = Rng::with_seed(7);
    (0..PAYLOAD).map(|_| rng.u8(..)).collect()
}

/// `count` keys among the first `records`, uniformly at random.
pub(crate) fn known(rng: &mut Rng, records: u64, count: usize) -> Vec<Text> {
    (0..count).map(|_| text(rng.u64(..records))).collect()
}

/// `count` keys that no store has.
pub(crate) fn unknown(rng: &mut Rng, count: usize) -> Vec<Text> {
    (0..count).map(|_| text(UNKNOWN + rng.u64(..UNKNOWN))).collect()
}
