//! The crate's small parts, each by itself, so that the instructions they take can be counted
//! (`benches/counts`).

use crate::engine::decide::{self, Known, Verdict};
use crate::fingerprint::Fingerprint;
use crate::format::frame::{self, Header, Kind};
use crate::format::seed;
use crate::index::Identity;
use crate::key::Key;

/// Where the frame is said to stand: what its checksum begins with.
const SALT: u64 = 0x1112_1314_1516_1718;
const PLACE: u64 = 4184;

/// A result of a key, as its frame has it, and what a claim of that key knows.
#[derive(Debug)]
pub struct Parts {
    header: Header,
    scope: Vec<u8>,
    key: Vec<u8>,
    /// The frame's head, encoded.
    head: Vec<u8>,
}

impl Parts {
    /// A result of `payload` under this scope and key.
    pub fn new(key: Key<'_>, payload: &[u8]) -> Self {
        let header = Header {
            kind: Kind::Complete,
            flags: 0,
            scope_len: key.scope().len() as u8,
            key_len: key.key().len() as u8,
            payload_len: payload.len() as u32,
            payload_crc: frame::payload_crc(payload),
            sequence: 42,
            claim_sequence: 41,
            claimed_at_ms: 1_700_000_000_000,
            term_ms: 1_700_086_400_000,
            fingerprint: Fingerprint::of(payload),
        };
        let mut parts =
            Self { header, scope: key.scope().into(), key: key.key().into(), head: Vec::new() };
        parts.encode();
        parts
    }

    /// Encodes the frame's head into memory that is there; gives its length, octets.
    pub fn encode(&mut self) -> usize {
        self.head.clear();
        self.header.encode(&self.scope, &self.key, seed(SALT, PLACE), &mut self.head);
        self.head.len()
    }

    /// Decodes the frame's head, its checksum compared; gives the length of its payload, octets.
    pub fn decode(&self) -> Option<u32> {
        frame::decode(&self.head, seed(SALT, PLACE)).ok().map(|frame| frame.header.payload_len)
    }

    /// Whether a claim with `fingerprint`, at a time before the result expires, is a replay.
    pub fn decide(&self, fingerprint: Fingerprint) -> bool {
        let (mine, expires_at_ms) = (self.header.fingerprint, self.header.term_ms);
        let known = Known::Complete { fingerprint: mine, expires_at_ms };
        decide::claim(Some(known), fingerprint, self.header.claimed_at_ms) == Verdict::Replay
    }
}

/// A payload's checksum.
pub fn checksum(payload: &[u8]) -> u32 {
    frame::payload_crc(payload)
}

/// The hash by which a store with this secret finds a key.
pub fn identity(key: Key<'_>, secret: &[u8; 16]) -> u128 {
    Identity::of(key, secret).0
}
