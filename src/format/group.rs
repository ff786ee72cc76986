//! The group: frames that became durable together, under one checksum and chained to the one before.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{Damage, crc, field, put, seed, u32_at, u64_at};

const MAGIC: usize = 0;
const CRC: usize = MAGIC + 4;
const SALT: usize = CRC + 4;
const SEGMENT: usize = SALT + 8;
const COUNT: usize = SEGMENT + 4;
const EPOCH: usize = COUNT + 4;
const LAST_SEQUENCE: usize = EPOCH + 8;
const DURABLE_UPTO: usize = LAST_SEQUENCE + 8;
const PREVIOUS: usize = DURABLE_UPTO + 8;
const LENGTH: usize = PREVIOUS + 8;
const STORE_TIME: usize = LENGTH + 8;
const PREPARED: usize = STORE_TIME + 8;
const TTL_MAX: usize = PREPARED + 8;
/// Octets of a group before its first frame.
pub(crate) const HEADER: usize = TTL_MAX + 8;

const _: () = assert!(HEADER == 88);

const MAGIC_OCTETS: [u8; 4] = *b"OWG1";

/// A group's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The segment's salt: bytes of an earlier life of the same blocks do not pass for a group.
    pub(crate) salt: u64,
    pub(crate) segment: u32,
    /// Frames in the group.
    pub(crate) count: u32,
    pub(crate) epoch: u64,
    /// The greatest frame number in this group and before it.
    pub(crate) last_sequence: u64,
    /// Frames up to this number were on disk before the group was written.
    pub(crate) durable_upto: u64,
    /// [`hash`] of the header of the group before, or zero for a store's first.
    pub(crate) previous: u64,
    /// Octets of the group with its header, a multiple of 8.
    pub(crate) length: u64,
    /// Store time when the group was closed, milliseconds.
    pub(crate) store_ms: u64,
    /// The length the segment's file is known to have: a shorter file was cut off.
    pub(crate) prepared: u64,
    /// The longest retention any claim of the store has asked for, milliseconds.
    pub(crate) ttl_max_ms: u64,
}

impl Header {
    /// Writes the header over the first octets of `group`, whose frames stand behind them, for the
    /// place `offset` in its segment. Gives the hash the next group carries.
    pub(crate) fn seal(&self, group: &mut [u8], offset: u64, secret: &[u8; 16]) -> u64 {
        debug_assert_eq!(group.len() as u64, self.length);
        put(group, MAGIC, &MAGIC_OCTETS);
        put(group, SALT, &self.salt.to_le_bytes());
        put(group, SEGMENT, &self.segment.to_le_bytes());
        put(group, COUNT, &self.count.to_le_bytes());
        put(group, EPOCH, &self.epoch.to_le_bytes());
        put(group, LAST_SEQUENCE, &self.last_sequence.to_le_bytes());
        put(group, DURABLE_UPTO, &self.durable_upto.to_le_bytes());
        put(group, PREVIOUS, &self.previous.to_le_bytes());
        put(group, LENGTH, &self.length.to_le_bytes());
        put(group, STORE_TIME, &self.store_ms.to_le_bytes());
        put(group, PREPARED, &self.prepared.to_le_bytes());
        put(group, TTL_MAX, &self.ttl_max_ms.to_le_bytes());
        let sum = crc(place(offset), group.get(SALT..).unwrap_or_default());
        put(group, CRC, &sum.to_le_bytes());
        hash(group, secret)
    }
}

/// The checksum's seed: the place alone. The salt is among the octets summed, and a seed made of it
/// would cancel a damaged salt out, for a CRC is linear.
const fn place(offset: u64) -> u32 {
    seed(0, offset)
}

/// The keyed hash of the header at the start of `group`: the link the next group carries.
pub(crate) fn hash(group: &[u8], secret: &[u8; 16]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(secret);
    hasher.write(group.get(..HEADER).unwrap_or_default());
    hasher.finish()
}

/// Whether a group may begin at `bytes`: the magic alone, to search a damaged segment with.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC_OCTETS)
}

/// The header at the start of `bytes`, its checksum *not* compared: only to learn how long the
/// group claims to be, and which segment's it is.
pub(crate) fn peek(bytes: &[u8]) -> Option<Header> {
    if bytes.len() < HEADER || !may_begin(bytes) {
        return None;
    }
    let header = Header {
        salt: u64_at(bytes, SALT),
        segment: u32_at(bytes, SEGMENT),
        count: u32_at(bytes, COUNT),
        epoch: u64_at(bytes, EPOCH),
        last_sequence: u64_at(bytes, LAST_SEQUENCE),
        durable_upto: u64_at(bytes, DURABLE_UPTO),
        previous: u64_at(bytes, PREVIOUS),
        length: u64_at(bytes, LENGTH),
        store_ms: u64_at(bytes, STORE_TIME),
        prepared: u64_at(bytes, PREPARED),
        ttl_max_ms: u64_at(bytes, TTL_MAX),
    };
    let sane = header.length >= HEADER as u64 && header.length.is_multiple_of(8);
    sane.then_some(header)
}

/// Decodes the group that fills `bytes`, standing at `offset` of its segment.
pub(crate) fn decode(bytes: &[u8], offset: u64) -> Result<Header, Damage> {
    let header = peek(bytes).ok_or(Damage("no group header"))?;
    if header.length != bytes.len() as u64 {
        return Err(Damage("a group is cut off"));
    }
    let sum: [u8; 4] = field(bytes, CRC);
    if crc(place(offset), bytes.get(SALT..).unwrap_or_default()) != u32::from_le_bytes(sum) {
        return Err(Damage("a group's checksum does not hold"));
    }
    Ok(header)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> (Header, Vec<u8>) {
        let header = Header {
            salt: 0x0123_4567_89ab_cdef,
            segment: 3,
            count: 1,
            epoch: 2,
            last_sequence: 42,
            durable_upto: 41,
            previous: 0xfeed_beef,
            length: HEADER as u64 + 16,
            store_ms: 1_700_000_000_123,
            prepared: 65_536,
            ttl_max_ms: 86_400_000,
        };
        let mut bytes = vec![0_u8; HEADER];
        bytes.extend_from_slice(b"sixteen octets..");
        header.seal(&mut bytes, 64, &[7; 16]);
        (header, bytes)
    }

    #[test]
    fn a_group_reads_back_as_written_and_only_where_it_was() {
        let (header, bytes) = example();
        assert_eq!(decode(&bytes, 64), Ok(header));
        assert!(decode(&bytes, 72).is_err());
    }

    /// What a damaged segment is searched with must not be led astray by a length that cannot be.
    #[test]
    fn a_peek_sees_a_whole_header_of_a_length_that_can_be() {
        let (header, bytes) = example();
        assert_eq!(peek(&bytes), Some(header));
        assert_eq!(peek(&bytes[..HEADER]), Some(header));
        for len in 0..HEADER {
            assert_eq!(peek(&bytes[..len]), None, "{len} octets");
        }
        for (length, can_be) in [
            (0, false),
            (HEADER as u64 - 8, false),
            (HEADER as u64, true),
            (HEADER as u64 + 1, false),
            (HEADER as u64 + 8, true),
        ] {
            let mut bytes = bytes.clone();
            put(&mut bytes, LENGTH, &length.to_le_bytes());
            assert_eq!(peek(&bytes).is_some(), can_be, "{length} octets");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_group_is_seen() {
        let (_, bytes) = example();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, 64).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_chain_hash_depends_on_the_secret_and_on_every_header_octet() {
        let (_, bytes) = example();
        assert_ne!(hash(&bytes, &[7; 16]), hash(&bytes, &[8; 16]));
        for octet in 0..HEADER {
            let mut other = bytes.clone();
            other[octet] ^= 1;
            assert_ne!(hash(&bytes, &[7; 16]), hash(&other, &[7; 16]), "octet {octet}");
        }
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/group.bin");
        let secret = crate::format::distinct(0x10);
        let header = Header {
            salt: 0x1112_1314_1516_1718,
            segment: 0x2122_2324,
            count: 0x2526_2728,
            epoch: 0x3132_3334_3536_3738,
            last_sequence: 0x4142_4344_4546_4748,
            durable_upto: 0x5152_5354_5556_5758,
            previous: 0x6162_6364_6566_6768,
            length: HEADER as u64 + 16,
            store_ms: 0x7172_7374_7576_7778,
            prepared: 0x8182_8384_8586_8788,
            ttl_max_ms: 0x9192_9394_9596_9798,
        };
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(b"sixteen octets..");
        assert_eq!(header.seal(&mut bytes, 4096, &secret), 0xa045_b919_270e_db3a);
        assert_eq!(bytes, golden);
        assert_eq!(decode(golden, 4096), Ok(header));
        assert_eq!(hash(golden, &secret), 0xa045_b919_270e_db3a);
    }
}
