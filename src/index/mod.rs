//! The index: which key is where, in memory, and which are in flight. What decides.
//!
//! Sharded by a keyed hash; one short lock a shard. It knows hashes and locations, never bytes:
//! whether a slot's frame really bears the key is for the caller to compare.

mod arena;
#[cfg(test)]
mod hostile_tests;
mod in_flight;
mod shard;
mod slots;
mod table;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::error::Error;
use crate::key::Key;
use crate::poison::Poison;
use crate::sync::{Mutex, MutexGuard};

use arena::Arena;
pub(crate) use in_flight::{Caps, Flight, Owner, Phase};
pub(crate) use shard::{Candidates, Shard};

/// How many shards there are. Under a scheduler, each lock taken is an order more to try out, and
/// what goes over all shards would take most of them.
pub(crate) const SHARDS: usize = if cfg!(onceward_shuttle) { 2 } else { 64 };
const _: () = assert!(SHARDS.is_power_of_two());

/// A key's identity: a 128-bit keyed hash of its length-prefixed scope and key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Identity(pub(crate) u128);

impl Identity {
    pub(crate) fn of(key: Key<'_>, secret: &[u8; 16]) -> Self {
        let mut hasher = SipHasher13::new_with_key(secret);
        // One stream of octets, however it is cut.
        for part in [&[key.scope().len() as u8][..], key.scope(), key.key()] {
            hasher.write(part);
        }
        Self(hasher.finish128().as_u128())
    }

    /// The half that a slot keeps.
    pub(crate) const fn low(self) -> u64 {
        self.0 as u64
    }

    const fn shard(self) -> usize {
        (self.0 >> 64) as usize & (SHARDS - 1)
    }
}

/// A map by identity.
pub(crate) type ByIdentity<V> = HashMap<Identity, V, BuildHasherDefault<PassThrough>>;

/// Hashes an [`Identity`] to itself: it is a keyed hash already.
#[derive(Default)]
pub(crate) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write(&mut self, bytes: &[u8]) {
        for &octet in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(octet);
        }
    }

    fn write_u128(&mut self, identity: u128) {
        self.0 = identity as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The shards.
pub(crate) struct Index {
    shards: Box<[Padded]>,
    poison: Arc<Poison>,
}

/// A shard on cache lines of its own.
#[repr(align(128))]
struct Padded(Mutex<Shard>);

impl Index {
    pub(crate) fn new(poison: Arc<Poison>) -> Self {
        let arena = Arc::new(Arena::default());
        let shard = |_| Padded(Mutex::new(Shard::within(Arc::clone(&arena))));
        let shards = (0..SHARDS).map(shard).collect();
        Self { shards, poison }
    }

    /// Locks the shard of `identity`. Lock order: a shard, then the log's writer; never two shards.
    pub(crate) fn shard(&self, identity: Identity) -> ShardGuard<'_> {
        self.lock(identity.shard())
    }

    fn lock(&self, nth: usize) -> ShardGuard<'_> {
        // In range by construction; a shard always exists.
        let shard = &self.shards.get(nth).unwrap_or_else(|| unreachable!()).0;
        ShardGuard {
            shard: shard.lock(),
            poison: &self.poison,
            panicking: std::thread::panicking(),
        }
    }

    /// Each shard in turn, locked.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardGuard<'_>> {
        (0..self.shards.len()).map(|nth| self.lock(nth))
    }

    /// Records that are complete or in doubt.
    pub(crate) fn records(&self) -> u64 {
        self.shards().map(|shard| shard.len() as u64).sum()
    }

    /// Records in doubt.
    pub(crate) fn in_doubt(&self) -> u64 {
        self.shards().map(|shard| shard.in_doubt() as u64).sum()
    }

    /// Bytes of heap, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.shards().map(|shard| shard.bytes() as u64).sum()
    }
}

/// A locked shard. A panic while it is held poisons the store: half a decision may have been made.
pub(crate) struct ShardGuard<'a> {
    shard: MutexGuard<'a, Shard>,
    poison: &'a Poison,
    /// Whether the thread was panicking before: a caller's ticket is dropped as its panic unwinds,
    /// which is no fault of the store.
    panicking: bool,
}

impl std::ops::Deref for ShardGuard<'_> {
    type Target = Shard;
    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl std::ops::DerefMut for ShardGuard<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for ShardGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            self.poison.set(&Error::new(
                crate::error::ErrorKind::Poisoned,
                "a thread panicked while it held a part of the index",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_and_key_do_not_run_into_one_another() {
        let of = |scope: &str, key: &str| Identity::of(Key::new(scope, key).unwrap(), &[3; 16]);
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("", "abc"), of("abc", "abc"));
        assert_eq!(of("a", "b"), of("a", "b"));
    }

    #[test]
    fn the_hash_is_keyed() {
        let key = Key::new("a", "b").unwrap();
        assert_ne!(Identity::of(key, &[1; 16]), Identity::of(key, &[2; 16]));
    }

    #[test]
    fn a_panic_under_a_shard_poisons() {
        let poison = Arc::new(Poison::default());
        let index = Index::new(Arc::clone(&poison));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _shard = index.shard(Identity(0));
            panic!("under the lock");
        }));
        assert!(caught.is_err() && poison.is_set());
    }
}
