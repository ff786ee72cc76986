//! The frame: one decision about one key, or one note of housekeeping.

use super::{Damage, align8, crc, field, put, u32_at, u64_at};
use crate::fingerprint::Fingerprint;

const CRC: usize = 0;
const KIND: usize = CRC + 4;
const FLAGS: usize = KIND + 1;
const SCOPE_LEN: usize = FLAGS + 1;
const KEY_LEN: usize = SCOPE_LEN + 1;
const PAYLOAD_LEN: usize = KEY_LEN + 1;
const PAYLOAD_CRC: usize = PAYLOAD_LEN + 4;
const SEQUENCE: usize = PAYLOAD_CRC + 4;
const CLAIM_SEQUENCE: usize = SEQUENCE + 8;
const CLAIMED_AT: usize = CLAIM_SEQUENCE + 8;
const TERM: usize = CLAIMED_AT + 8;
const FINGERPRINT: usize = TERM + 8;
/// Octets of a frame before its scope.
pub(crate) const HEADER: usize = FINGERPRINT + 32;

const _: () = assert!(HEADER == 80);

/// The most octets of a frame before its payload: the header, a scope and a key.
pub(crate) const HEAD_MAX: usize = HEADER + 255 + 255;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The key was granted to the claim of this number.
    Claim = 1,
    /// The work is done; the payload follows.
    Complete = 2,
    /// The work is done; the payload was not kept and a note stands in its place.
    Tombstone = 3,
    /// The key is free again.
    Release = 4,
    /// The claim's owner is gone.
    InDoubt = 5,
    /// Housekeeping: a segment begins. See [`super::housekeeping::Link`].
    Link = 16,
    /// Housekeeping: a segment may be removed. See [`super::housekeeping::Retire`].
    Retire = 17,
    /// Housekeeping: the store was closed, and nothing follows.
    Seal = 18,
}

impl Kind {
    #[inline]
    fn of(octet: u8) -> Option<Self> {
        Some(match octet {
            1 => Self::Claim,
            2 => Self::Complete,
            3 => Self::Tombstone,
            4 => Self::Release,
            5 => Self::InDoubt,
            16 => Self::Link,
            17 => Self::Retire,
            18 => Self::Seal,
            _ => return None,
        })
    }

    /// Whether the frame's payload is somebody's: a result or a note, not housekeeping.
    pub(crate) const fn has_content(self) -> bool {
        matches!(self, Self::Complete | Self::Tombstone)
    }

    /// Whether the frame is about a key.
    pub(crate) const fn is_keyed(self) -> bool {
        (self as u8) < Self::Link as u8
    }
}

/// The decision was somebody's resolution of a key in doubt, not the ticket's.
pub(crate) const RESOLVED: u8 = 1;
/// The frame repeats an earlier one, so that the earlier one's segment can go.
pub(crate) const RENEWED: u8 = 2;
/// The payload is sealed under the key of the frame's segment.
pub(crate) const SEALED: u8 = 4;

/// A frame's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) scope_len: u8,
    pub(crate) key_len: u8,
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
    /// The frame's number in the log: later decisions have greater ones.
    pub(crate) sequence: u64,
    /// The number of the claim this is about: its ticket's, its fencing token.
    pub(crate) claim_sequence: u64,
    /// Store time of the claim, milliseconds.
    pub(crate) claimed_at_ms: u64,
    /// A claim: its retention, milliseconds. A complete, tombstone or in-doubt frame: the store
    /// time at which it expires. Else zero.
    pub(crate) term_ms: u64,
    pub(crate) fingerprint: Fingerprint,
}

impl Header {
    /// Octets before the payload.
    pub(crate) const fn head_len(&self) -> u64 {
        HEADER as u64 + self.scope_len as u64 + self.key_len as u64
    }

    /// Octets of the whole frame with its padding.
    pub(crate) const fn frame_len(&self) -> u64 {
        align8(self.head_len() + self.payload_len as u64)
    }

    /// Appends header, scope and key to `out`, under the checksum that `seed` begins.
    pub(crate) fn encode(&self, scope: &[u8], key: &[u8], seed: u32, out: &mut Vec<u8>) {
        debug_assert!(
            scope.len() == usize::from(self.scope_len) && key.len() == usize::from(self.key_len)
        );
        let start = out.len();
        let mut head = [0_u8; HEADER];
        put(&mut head, KIND, &[self.kind as u8, self.flags, self.scope_len, self.key_len]);
        put(&mut head, PAYLOAD_LEN, &self.payload_len.to_le_bytes());
        put(&mut head, PAYLOAD_CRC, &self.payload_crc.to_le_bytes());
        put(&mut head, SEQUENCE, &self.sequence.to_le_bytes());
        put(&mut head, CLAIM_SEQUENCE, &self.claim_sequence.to_le_bytes());
        put(&mut head, CLAIMED_AT, &self.claimed_at_ms.to_le_bytes());
        put(&mut head, TERM, &self.term_ms.to_le_bytes());
        put(&mut head, FINGERPRINT, self.fingerprint.as_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(scope);
        out.extend_from_slice(key);
        let sum = crc(seed, out.get(start + KIND..).unwrap_or_default());
        put(out, start + CRC, &sum.to_le_bytes());
    }
}

/// The header at the start of `bytes`, its checksum *not* compared: only to learn how long the head
/// is. `None` when there are too few octets.
#[inline]
pub(crate) fn peek_head_len(bytes: &[u8]) -> Option<u64> {
    let scope = *bytes.get(SCOPE_LEN)?;
    let key = *bytes.get(KEY_LEN)?;
    Some(HEADER as u64 + u64::from(scope) + u64::from(key))
}

/// A frame whose head passed its checksum. The payload is still to be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) scope: &'a [u8],
    pub(crate) key: &'a [u8],
}

/// A head that passed its checksum, where it stands: what of it is wanted is read when it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    octets: &'a [u8; HEADER],
    pub(crate) kind: Kind,
    pub(crate) scope: &'a [u8],
    pub(crate) key: &'a [u8],
}

impl Head<'_> {
    #[inline]
    pub(crate) fn header(&self) -> Header {
        let head = self.octets;
        let [flags, scope_len, key_len] = field(head, FLAGS);
        Header {
            kind: self.kind,
            flags,
            scope_len,
            key_len,
            payload_len: u32_at(head, PAYLOAD_LEN),
            payload_crc: u32_at(head, PAYLOAD_CRC),
            sequence: u64_at(head, SEQUENCE),
            claim_sequence: u64_at(head, CLAIM_SEQUENCE),
            claimed_at_ms: u64_at(head, CLAIMED_AT),
            term_ms: u64_at(head, TERM),
            fingerprint: Fingerprint::from_digest(field(head, FINGERPRINT)),
        }
    }
}

/// The head of the frame at the start of `bytes`, its checksum compared.
#[inline]
pub(crate) fn check(bytes: &[u8], seed: u32) -> Result<Head<'_>, Damage> {
    let head_len = peek_head_len(bytes).ok_or(Damage("a frame is cut off"))? as usize;
    let whole = bytes.get(..head_len).ok_or(Damage("a frame is cut off"))?;
    // Of a known length: where its fields stand is within.
    let (head, names) = whole.split_first_chunk::<HEADER>().ok_or(Damage("a frame is cut off"))?;
    if crc(seed, whole.get(KIND..).unwrap_or_default()) != u32_at(head, CRC) {
        return Err(Damage("a frame's checksum does not hold"));
    }
    let [kind, _, scope_len, key_len] = field(head, KIND);
    let kind = Kind::of(kind).ok_or(Damage("a frame of no known kind"))?;
    if kind.is_keyed() == (key_len == 0) {
        return Err(Damage("a frame has a key where none belongs, or none where one does"));
    }
    let (scope, key) = names.split_at_checked(usize::from(scope_len)).unwrap_or_default();
    Ok(Head { octets: head, kind, scope, key })
}

/// Decodes the head of the frame at the start of `bytes`.
#[inline]
pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<Frame<'_>, Damage> {
    let head = check(bytes, seed)?;
    Ok(Frame { header: head.header(), scope: head.scope, key: head.key })
}

/// What a sealed payload is bound to: the store, the segment, the place, and the frame's head with
/// zeros for both checksums, of which one is over what is sealed.
#[cfg(feature = "encrypt")]
pub(crate) fn binding(store_id: [u8; 16], segment: u32, offset: u64, frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(28 + HEAD_MAX);
    out.extend_from_slice(&store_id);
    out.extend_from_slice(&segment.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    let start = out.len();
    let header = Header { payload_crc: 0, ..frame.header };
    header.encode(frame.scope, frame.key, 0, &mut out);
    put(&mut out, start + CRC, &[0; 4]);
    out
}

/// The checksum of a payload. Not tied to a place, so that it can be made before there is one.
pub(crate) fn payload_crc(payload: &[u8]) -> u32 {
    crc(0, payload)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Header {
        Header {
            kind: Kind::Complete,
            flags: 0,
            scope_len: 6,
            key_len: 5,
            payload_len: 7,
            payload_crc: payload_crc(b"created"),
            sequence: 42,
            claim_sequence: 41,
            claimed_at_ms: 1_700_000_000_000,
            term_ms: 1_700_086_400_000,
            fingerprint: Fingerprint::of("POST /v1/sites"),
        }
    }

    fn encoded() -> Vec<u8> {
        let mut out = Vec::new();
        example().encode(b"acct_1", b"key-1", 0x1234_5678, &mut out);
        out
    }

    #[test]
    fn a_frame_reads_back_as_written() {
        let bytes = encoded();
        let frame = decode(&bytes, 0x1234_5678).unwrap();
        assert_eq!(frame.header, example());
        assert_eq!((frame.scope, frame.key), (&b"acct_1"[..], &b"key-1"[..]));
        assert_eq!(frame.header.frame_len(), 104);
    }

    #[test]
    fn only_a_result_and_a_note_have_content_and_housekeeping_has_no_key() {
        for (kind, has_content, is_keyed) in [
            (Kind::Claim, false, true),
            (Kind::Complete, true, true),
            (Kind::Tombstone, true, true),
            (Kind::Release, false, true),
            (Kind::InDoubt, false, true),
            (Kind::Link, false, false),
            (Kind::Retire, false, false),
            (Kind::Seal, false, false),
        ] {
            assert_eq!((kind.has_content(), kind.is_keyed()), (has_content, is_keyed), "{kind:?}");
        }
    }

    #[test]
    fn no_head_is_longer_than_that_of_the_longest_scope_and_key() {
        let header = Header { scope_len: u8::MAX, key_len: u8::MAX, ..example() };
        let mut bytes = Vec::new();
        header.encode(&[1; 255], &[2; 255], 0, &mut bytes);
        assert_eq!(bytes.len(), HEAD_MAX);
        assert_eq!(header.head_len(), HEAD_MAX as u64);
        assert_eq!(peek_head_len(&bytes), Some(HEAD_MAX as u64));
    }

    /// The checksums are over what the binding makes, and are none of it.
    #[cfg(feature = "encrypt")]
    #[test]
    fn a_sealed_payload_is_bound_to_its_store_segment_place_and_head() {
        let bytes = encoded();
        let frame = decode(&bytes, 0x1234_5678).unwrap();
        let bound = binding([9; 16], 0x0102_0304, 0x1112_1314_1516_1718, &frame);
        let mut wanted = vec![9; 16];
        wanted.extend([4, 3, 2, 1]);
        wanted.extend([0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        let mut head = bytes.clone();
        head[CRC..CRC + 4].fill(0);
        head[PAYLOAD_CRC..PAYLOAD_CRC + 4].fill(0);
        wanted.extend(head);
        assert_eq!(bound, wanted);
    }

    #[test]
    fn every_flipped_bit_of_the_head_is_seen() {
        let bytes = encoded();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, 0x1234_5678).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_elsewhere_or_cut_off_is_refused() {
        let bytes = encoded();
        assert!(decode(&bytes, 0x1234_5679).is_err());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], 0x1234_5678).is_err(), "{len} octets");
        }
    }

    /// One frame of each kind, as they follow one another in a group.
    #[test]
    fn the_bytes_are_the_golden_ones() {
        type Octets = &'static [u8];
        let golden = include_bytes!("../../tests/golden/frames.bin");
        let salt = 0x1112_1314_1516_1718;
        let frames: [(Kind, u8, Octets, Octets, Octets); 8] = [
            (Kind::Claim, 0, b"acct_1", b"key-1", b""),
            (Kind::Complete, RESOLVED, b"", b"key-2", b"created"),
            (Kind::Tombstone, RENEWED, b"acct_1", b"key-3", b"note"),
            (Kind::Release, RESOLVED, b"acct_1", b"key-4", b""),
            (Kind::InDoubt, RENEWED, b"acct_1", b"k", b""),
            (Kind::Link, 0, b"", b"", b"link"),
            (Kind::Retire, 0, b"", b"", b"rt"),
            (Kind::Seal, 0, b"", b"", b""),
        ];
        let mut bytes = Vec::new();
        for (nth, (kind, flags, scope, key, payload)) in frames.into_iter().enumerate() {
            let header = Header {
                kind,
                flags,
                scope_len: scope.len() as u8,
                key_len: key.len() as u8,
                payload_len: payload.len() as u32,
                payload_crc: payload_crc(payload),
                sequence: 0x2122_2324_2526_2700 + nth as u64,
                claim_sequence: 0x3132_3334_3536_3700 + nth as u64,
                claimed_at_ms: 0x4142_4344_4546_4700 + nth as u64,
                term_ms: 0x5152_5354_5556_5700 + nth as u64,
                fingerprint: Fingerprint::from_digest(crate::format::distinct(0x60 + nth as u8)),
            };
            let start = bytes.len();
            let seed = crate::format::seed(salt, 4184 + start as u64);
            header.encode(scope, key, seed, &mut bytes);
            bytes.extend_from_slice(payload);
            bytes.resize(start + header.frame_len() as usize, 0);

            let frame = decode(&golden[start..], seed).unwrap();
            assert_eq!((frame.header, frame.scope, frame.key), (header, scope, key));
            let payload_at = start + header.head_len() as usize;
            assert_eq!(&golden[payload_at..payload_at + payload.len()], payload);
        }
        assert_eq!(bytes, golden);
    }
}
