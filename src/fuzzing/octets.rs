//! Frames and groups of any octets: reading them never panics, what reads is written again octet by
//! octet, and a bit that turned is refused.

use std::sync::Arc;

use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::format::frame::{self, Header};
use crate::format::{group, seed};
use crate::log::replay;
use crate::stats::VerifyReport;
use crate::storage::Storage;

/// Where the octets of a frame that count for its lengths stand: one of them turned makes another
/// length, which the checksum sees but for chance.
const LENGTHS: std::ops::Range<usize> = 6..8;

/// Reads any octets as the head of a frame, under any checksum seed.
///
/// # Panics
/// When what was read is not what is written again.
pub fn read_frame(octets: &[u8], seed: u32) {
    let Ok(read) = frame::decode(octets, seed) else { return };
    let mut again = Vec::new();
    read.header.encode(read.scope, read.key, seed, &mut again);
    assert_eq!(octets.get(..again.len()), Some(&again[..]), "a frame reads back as written");
}

/// Writes a frame of these parts and reads it, whole, cut off, and with one bit turned.
///
/// # Panics
/// When it does not read back, or reads back although it is damaged.
pub fn write_frame(parts: &[u8], scope: &[u8], key: &[u8], bit: usize, place: u64) {
    let mut numbers = parts
        .chunks(8)
        .map(|chunk| chunk.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet)));
    let mut number = || numbers.next().unwrap_or(7);
    let mut kinds = [frame::Kind::Claim, frame::Kind::Complete, frame::Kind::Tombstone]
        .into_iter()
        .chain([frame::Kind::Release, frame::Kind::InDoubt])
        .cycle();
    let kind = if key.is_empty() {
        frame::Kind::Retire
    } else {
        kinds.nth(number() as usize % 5).unwrap_or(frame::Kind::Claim)
    };
    let header = Header {
        kind,
        flags: number() as u8,
        scope_len: scope.len() as u8,
        key_len: key.len() as u8,
        payload_len: number() as u32,
        payload_crc: number() as u32,
        sequence: number(),
        claim_sequence: number(),
        claimed_at_ms: number(),
        term_ms: number(),
        fingerprint: Fingerprint::of(parts),
    };
    let seed = seed(number(), place);
    let mut octets = Vec::new();
    header.encode(scope, key, seed, &mut octets);
    let read = frame::decode(&octets, seed).map(|frame| (frame.header, frame.scope, frame.key));
    assert_eq!(read, Ok((header, scope, key)), "a frame reads back as written");
    let bit = bit % (octets.len() * 8);
    if let Some(octet) = octets.get_mut(bit / 8) {
        *octet ^= 1 << (bit % 8);
    }
    let damaged = frame::decode(&octets, seed);
    assert!(damaged.is_err() || LENGTHS.contains(&(bit / 8)), "bit {bit} turned unseen");
}

/// Reads any octets as a group at any place, and its frames.
///
/// # Panics
/// When what was read is not what is written again.
pub fn read_group(octets: &[u8], place: u64) {
    let Ok(header) = group::decode(octets, place) else { return };
    let mut again = octets.to_vec();
    header.seal(&mut again, place, &[7; 16]);
    assert_eq!(again, octets, "a group reads back as written");
    frames(octets, place, &header);
}

/// Seals any octets as a group, as the committer would, and reads it, whole and with one bit turned;
/// and its frames, which are no frames.
///
/// # Panics
/// When it does not read back, or reads back although it is damaged.
pub fn write_group(octets: &[u8], bit: usize, place: u64) {
    let mut bytes = vec![0_u8; group::HEADER];
    bytes.extend_from_slice(octets);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let number = |at: usize| {
        octets.iter().skip(at).take(8).fold(1_u64, |number, octet| number << 8 | u64::from(*octet))
    };
    let header = group::Header {
        salt: number(0),
        segment: number(4) as u32,
        count: number(3) as u32,
        epoch: number(8),
        last_sequence: number(16),
        durable_upto: number(24),
        previous: number(32),
        length: bytes.len() as u64,
        store_ms: number(40),
        prepared: number(48),
        ttl_max_ms: number(56),
    };
    header.seal(&mut bytes, place, &[7; 16]);
    assert_eq!(group::decode(&bytes, place), Ok(header), "a group reads back as written");
    frames(&bytes, place, &header);
    let bit = bit % (bytes.len() * 8);
    if let Some(octet) = bytes.get_mut(bit / 8) {
        *octet ^= 1 << (bit % 8);
    }
    assert!(group::decode(&bytes, place).is_err(), "bit {bit} turned unseen");
}

/// Frames of a group whose checksum holds stand within it, whatever they say.
fn frames(octets: &[u8], place: u64, header: &group::Header) {
    let end = place.saturating_add(octets.len() as u64);
    let _ = replay::frames(octets, place, header, &mut |at, frame, payload| {
        assert!(at >= place && at < end, "a frame stands in its group");
        assert_eq!(payload.len() as u64, u64::from(frame.header.payload_len));
    });
}

/// Verifies the store on `storage`, which nobody has open.
///
/// # Errors
/// As [`verify`](crate::verify).
pub fn verify(storage: &Arc<dyn Storage>) -> Result<VerifyReport, Error> {
    crate::engine::verify_on(storage)
}
