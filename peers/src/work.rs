//! The one generator of work: keys, fingerprints and payloads that follow from a number, the same
//! for every store, and the check of what a store gives back.

use std::fmt::Display;
use std::sync::LazyLock;

use bytes::Bytes;
use fastrand::Rng;

/// A key's text: a UUID, 36 octets.
pub(crate) type Text = [u8; 36];

/// Numbers below this are given to records; above it are those nobody claims.
pub(crate) const UNKNOWN: u64 = 1 << 40;
/// When every record here was written, in milliseconds since the Unix epoch.
pub(crate) const BEGUN_MS: u64 = 1_700_000_000_000;
/// When a record expires that is to be swept.
pub(crate) const SOON_MS: u64 = BEGUN_MS + 60_000;
/// When a record expires that is to last.
pub(crate) const FAR_MS: u64 = BEGUN_MS + 24 * 60 * 60 * 1000;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The value, or the end of the run: a benchmark that met a fault has measured nothing.
#[track_caller]
pub(crate) fn sure<T, E: Display>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// The value, or the end of the run.
#[track_caller]
pub(crate) fn there<T>(value: Option<T>, what: &str) -> T {
    match value {
        Some(value) => value,
        None => panic!("{what}"),
    }
}

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

/// The fingerprint a request with this key bears.
pub(crate) fn digest(text: &Text) -> [u8; 32] {
    text.first_chunk().copied().unwrap_or_default()
}

/// Octets that payloads are cut from.
const POOL: usize = 1 << 16;

/// Random octets, and as many again behind them as the longest payload takes.
static OCTETS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng::with_seed(7);
    let mut octets: Vec<u8> = (0..POOL).map(|_| rng.u8(..)).collect();
    octets.extend_from_within(..);
    octets
});

/// What follows the number in the payload of `number`.
fn rest(number: u64, length: usize) -> &'static [u8] {
    let at = mix(number) as usize % POOL;
    OCTETS.get(at..at + length.saturating_sub(8)).unwrap_or_default()
}

/// The payload of `number`: the number itself in eight octets, then random octets that begin where
/// the number says, so that none compresses and no two records share one.
pub(crate) fn payload(number: u64, length: usize) -> Bytes {
    let mut payload = Vec::with_capacity(length);
    payload_into(number, length, &mut payload);
    payload.into()
}

/// Appends the payload of `number` to `onto`.
pub(crate) fn payload_into(number: u64, length: usize, onto: &mut Vec<u8>) {
    onto.extend_from_slice(&number.to_le_bytes());
    onto.extend_from_slice(rest(number, length));
}

/// Whether `found` is the payload of `number`, every octet compared.
#[inline]
pub(crate) fn is_payload(found: &[u8], number: u64, length: usize) -> bool {
    match found.split_first_chunk() {
        Some((first, behind)) => {
            u64::from_le_bytes(*first) == number && behind == rest(number, length)
        }
        None => false,
    }
}

/// A key to look up, and the number that its payload follows from.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) text: Text,
    pub(crate) number: u64,
}

impl Wanted {
    pub(crate) fn of(number: u64) -> Self {
        Self { text: text(number), number }
    }
}

/// `count` keys among the first `records`, uniformly at random.
pub(crate) fn known(rng: &mut Rng, records: u64, count: usize) -> Vec<Wanted> {
    (0..count).map(|_| Wanted::of(rng.u64(..records))).collect()
}

/// `count` keys that no store has.
pub(crate) fn unknown(rng: &mut Rng, count: usize) -> Vec<Wanted> {
    (0..count).map(|_| Wanted::of(UNKNOWN + rng.u64(..UNKNOWN))).collect()
}

/// A complete record as the stores of keys and values keep it: state, expiry, fingerprint, payload.
pub(crate) mod value {
    use super::{Text, digest, is_payload, payload_into};

    pub(crate) const IN_FLIGHT: u8 = 0;
    pub(crate) const COMPLETE: u8 = 1;
    /// Octets before the payload.
    const HEAD: usize = 1 + 8 + 32;

    fn head(state: u8, expires_at_ms: u64, text: &Text, length: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD + length);
        value.push(state);
        value.extend_from_slice(&expires_at_ms.to_le_bytes());
        value.extend_from_slice(&digest(text));
        value
    }

    /// What a claim stores.
    pub(crate) fn claim(text: &Text) -> Vec<u8> {
        head(IN_FLIGHT, super::FAR_MS, text, 0)
    }

    /// What a completion stores.
    pub(crate) fn complete(text: &Text, payload: &[u8], expires_at_ms: u64) -> Vec<u8> {
        let mut value = head(COMPLETE, expires_at_ms, text, payload.len());
        value.extend_from_slice(payload);
        value
    }

    /// [`complete`] with the payload of `number`.
    pub(crate) fn record(text: &Text, number: u64, length: usize, expires_at_ms: u64) -> Vec<u8> {
        let mut value = head(COMPLETE, expires_at_ms, text, length);
        payload_into(number, length, &mut value);
        value
    }

    /// When the record expires.
    pub(crate) fn expires_at_ms(value: &[u8]) -> Option<u64> {
        value.get(1..9).and_then(|octets| octets.try_into().ok()).map(u64::from_le_bytes)
    }

    /// Whether state, expiry and fingerprint are those of a complete record of `text`.
    #[inline]
    pub(crate) fn has_head(value: &[u8], text: &Text) -> bool {
        value.first() == Some(&COMPLETE)
            && expires_at_ms(value).is_some_and(|at| at > 0)
            && value.get(9..HEAD) == text.get(..32)
    }

    /// Whether `value` is the complete record of `number`, every octet of its payload compared.
    #[inline]
    pub(crate) fn is_record(value: &[u8], text: &Text, number: u64, length: usize) -> bool {
        has_head(value, text)
            && value.get(HEAD..).is_some_and(|found| is_payload(found, number, length))
    }
}
