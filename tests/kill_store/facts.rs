//! What the process that is killed and the oracle outside it both know beforehand, so that little has
//! to be said: what becomes of a grant, of what octets a result is, how long a key is kept.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// How many threads of the process claim and complete. Each may have one grant that nobody heard of
/// when the process is killed, and no more.
pub(crate) const WORKERS: u64 = 4;

/// The store's own retention, and the least of what is resolved by hand.
pub(crate) const TTL: Duration = Duration::from_secs(20);

/// What becomes of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Payload,
    Tombstone,
    Release,
    /// The ticket is dropped unused.
    Drop,
    /// The ticket is held until the process ends.
    Hold,
}

/// What becomes of the grant number `number` of `key`.
pub(crate) fn end(key: u64, number: u64) -> End {
    match random(key, number, 1).u8(..20) {
        0..12 => End::Payload,
        12..14 => End::Tombstone,
        14..17 => End::Release,
        17 => End::Drop,
        _ => End::Hold,
    }
}

/// The result of the grant, or of the resolution, number `number` of `key`.
pub(crate) fn payload(key: u64, number: u64) -> Vec<u8> {
    let mut random = random(key, number, 2);
    let octets = match random.u8(..50) {
        0..5 => 4_097,
        // More than a segment holds.
        5 => 100_000,
        _ => random.usize(..300),
    };
    let mut payload = vec![0; octets];
    random.fill(&mut payload);
    payload
}

/// What a tombstone says.
pub(crate) fn note(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// How long what is known of `key` is kept.
pub(crate) fn ttl(key: u64) -> Duration {
    Duration::from_secs([5, 20, 100][(key % 3) as usize])
}

/// A result as it is told and compared: a hash, and whether it is a tombstone's note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) tombstone: bool,
    pub(crate) hash: u64,
}

impl Content {
    pub(crate) fn of(tombstone: bool, octets: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(octets);
        Self { tombstone, hash: hasher.finish() }
    }

    /// What a grant that ends with a result leaves; `None` for the others.
    pub(crate) fn left_by(key: u64, number: u64) -> Option<Self> {
        match end(key, number) {
            End::Payload => Some(Self::of(false, &payload(key, number))),
            End::Tombstone => Some(Self::of(true, &note(number))),
            End::Release | End::Drop | End::Hold => None,
        }
    }
}

fn random(key: u64, number: u64, what: u64) -> fastrand::Rng {
    let mut random = fastrand::Rng::with_seed(key.rotate_left(40) ^ (number << 3) ^ what);
    // The first draws of like seeds are alike.
    random.u64(..);
    random
}
