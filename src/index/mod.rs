//! The index: which key is where, in memory, and which are in flight. What decides.
//!
//! Sharded by a keyed hash; one short lock a shard, which a glance at a key does without. It knows
//! hashes and locations, never bytes: whether a slot's frame really bears the key is for the caller to
//! compare.

mod arena;
#[cfg(test)]
mod hostile_tests;
mod in_flight;
mod shard;
mod siphash;
mod slots;
mod steady;
mod table;
mod version;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::Error;
use crate::key::Key;
use crate::location::Location;
use crate::poison::Poison;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};

use arena::Arena;
pub(crate) use in_flight::{Caps, Flight, Owner, Phase};
pub(crate) use shard::{Candidates, Shard};
use slots::Slots;
use version::Version;

/// How many shards there are. Under a scheduler, each lock taken is an order more to try out, and
/// what goes over all shards would take most of them.
pub(crate) const SHARDS: usize = if cfg!(onceward_shuttle) { 2 } else { 64 };
const _: () = assert!(SHARDS.is_power_of_two());
/// Bits of an identity that name its shard. The tree's order depends on them: another number is
/// another format.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
const _: () = assert!(SHARD_BITS == 6 || cfg!(onceward_shuttle));

/// A key's identity: a 128-bit keyed hash of its length-prefixed scope and key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Identity(pub(crate) u128);

impl Identity {
    #[inline]
    pub(crate) fn of(key: Key<'_>, secret: &[u8; 16]) -> Self {
        // A scope has 255 octets at most.
        Self(siphash::hash(secret, key.scope().len() as u8, [key.scope(), key.key()]))
    }

    /// The half that a slot keeps.
    pub(crate) const fn low(self) -> u64 {
        self.0 as u64
    }

    pub(crate) const fn shard(self) -> usize {
        (self.0 >> 64) as usize & (SHARDS - 1)
    }

    /// The same bits in the order in which the tree has them: its shard, the half that a slot keeps,
    /// the rest. So a walk through the index finds the tree in its own order.
    pub(crate) const fn ordered(self) -> u128 {
        let upper = self.0 >> 64;
        (upper << (128 - SHARD_BITS))
            | (self.low() as u128) << (64 - SHARD_BITS)
            | upper >> SHARD_BITS
    }

    /// The ordered bits of all identities of a shard; behind one that has this lower half, if any.
    pub(crate) fn ordered_range(shard: usize, behind: Option<u64>) -> RangeInclusive<u128> {
        let first = (shard as u128) << (128 - SHARD_BITS);
        let last = first | ((1 << (128 - SHARD_BITS)) - 1);
        let skipped = behind.map_or(0, |low| (u128::from(low) + 1) << (64 - SHARD_BITS));
        // Behind the last of all there is none.
        let from = first.checked_add(skipped);
        RangeInclusive::new(from.unwrap_or(u128::MAX), from.map_or(0, |_| last))
    }

    /// The identity that these are the ordered bits of.
    pub(crate) const fn from_ordered(bits: u128) -> Self {
        let low = (bits >> (64 - SHARD_BITS)) as u64 as u128;
        let rest = bits & ((1 << (64 - SHARD_BITS)) - 1);
        let upper = rest << SHARD_BITS | bits >> (128 - SHARD_BITS);
        Self(upper << 64 | low)
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

/// How often a glance that met a change looks again before it is left to the lock.
const GLANCES: usize = 2;

/// The shards.
pub(crate) struct Index {
    shards: Box<[Part]>,
    poison: Arc<Poison>,
}

/// A shard, and what is to be seen of it without its lock, on cache lines of their own.
#[repr(align(128))]
struct Part {
    /// What somebody does to the shard under its lock is one change, from his first touch until he
    /// lets go of it: flights and slots are what they were before all of it, or after all of it.
    version: Version,
    /// How many flights the shard has. Changed with `version`.
    flights: AtomicUsize,
    /// The shard's own. Changed with `version`.
    slots: Arc<Slots>,
    shard: Mutex<Shard>,
}

impl Index {
    pub(crate) fn new(poison: Arc<Poison>) -> Self {
        let arena = Arc::new(Arena::default());
        let part = |_| {
            let slots = Arc::new(Slots::within(Arc::clone(&arena)));
            Part {
                version: Version::default(),
                flights: AtomicUsize::new(0),
                shard: Mutex::new(Shard::of(Arc::clone(&slots))),
                slots,
            }
        };
        Self { shards: (0..SHARDS).map(part).collect(), poison }
    }

    /// Where the frame of the one slot that may be the key's stands, if there is one, while nobody holds
    /// a key of its shard, and what `also` says, without a lock; `None` when it takes the lock to tell.
    /// Both were so at one moment of the call, as they are under the lock.
    #[inline]
    pub(crate) fn glance<T>(
        &self,
        identity: Identity,
        also: impl Fn() -> T,
    ) -> Option<(Option<Location>, T)> {
        let part = self.part(identity.shard());
        for _ in 0..GLANCES {
            let version = part.version.before()?;
            if part.flights.load(Relaxed) != 0 {
                return None;
            }
            let found = part.slots.glance(identity.low());
            let also = also();
            if part.version.is_still(version) {
                return found.ok().map(|found| (found, also));
            }
        }
        None
    }

    /// Asks for the memory of the key's slot, and does not wait for it.
    #[inline]
    pub(crate) fn prefetch(&self, identity: Identity) {
        self.part(identity.shard()).slots.prefetch(identity.low());
    }

    /// Locks the shard of `identity`. Lock order: a shard, then the log's writer; never two shards.
    pub(crate) fn shard(&self, identity: Identity) -> ShardGuard<'_> {
        self.lock(identity.shard())
    }

    fn lock(&self, nth: usize) -> ShardGuard<'_> {
        let part = self.part(nth);
        let panicking = std::thread::panicking();
        let poisoning = Poisoning { poison: &self.poison, panicking };
        ShardGuard { _poisoning: poisoning, shard: part.shard.lock(), part, changing: false }
    }

    #[inline]
    fn part(&self, nth: usize) -> &Part {
        // In range by construction; a shard always exists.
        self.shards.get(nth).unwrap_or_else(|| unreachable!())
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

    /// How many records tables of this many bytes in all can take: those of the shards are alike.
    pub(crate) fn capacity_within(bytes: u64) -> u64 {
        SHARDS as u64 * Shard::capacity_within((bytes / SHARDS as u64) as usize) as u64
    }

    /// Makes tables that have become too large smaller, as far as what is in them fits.
    pub(crate) fn shrink_to(&self, bytes: u64) {
        for mut shard in self.shards() {
            shard.shrink_to((bytes / SHARDS as u64) as usize);
        }
    }

    /// Bytes of heap, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.shards().map(|shard| shard.bytes() as u64).sum()
    }
}

/// A locked shard.
pub(crate) struct ShardGuard<'a> {
    /// Before the lock, which is let go of after it.
    _poisoning: Poisoning<'a>,
    shard: MutexGuard<'a, Shard>,
    part: &'a Part,
    /// Whether a change was begun: by the first mutable touch.
    changing: bool,
}

/// Poisons the store when a thread panics that holds a shard: half a decision may have been made.
struct Poisoning<'a> {
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
        if !self.changing {
            self.part.version.begin();
            self.changing = true;
        }
        &mut self.shard
    }
}

impl Drop for ShardGuard<'_> {
    fn drop(&mut self) {
        if self.changing {
            self.part.flights.store(self.shard.flights.len(), Relaxed);
            // What a panic left may be half a change: whoever looks takes the lock, and meets the poison.
            if !std::thread::panicking() {
                self.part.version.end();
            }
        }
    }
}

impl Drop for Poisoning<'_> {
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
    use siphasher::sip128::SipHasher13;

    use super::*;
    use crate::format::frame::Kind;

    #[test]
    fn scope_and_key_do_not_run_into_one_another() {
        let of = |scope: &str, key: &str| Identity::of(Key::new(scope, key).unwrap(), &[3; 16]);
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("", "abc"), of("abc", "abc"));
        assert_eq!(of("a", "b"), of("a", "b"));
    }

    #[test]
    fn an_identity_is_the_hash_of_one_stream_however_it_is_cut() {
        for (scope, key) in (0..20).flat_map(|scope| (1..40).map(move |key| (scope, key))) {
            let octets: Vec<u8> = (1..=scope + key).collect();
            let (scope, key) = octets.split_at(usize::from(scope));
            let stream = [&[scope.len() as u8][..], &octets].concat();
            let identity = Identity::of(Key::new(scope, key).unwrap(), &[3; 16]);
            assert_eq!(
                identity,
                Identity(SipHasher13::new_with_key(&[3; 16]).hash(&stream).as_u128())
            );
        }
    }

    #[test]
    fn the_tree_has_identities_by_shard_and_then_by_their_lower_half() {
        let mut random = crate::seed::rng();
        let mut identities: Vec<_> = (0..1000).map(|_| Identity(random.u128(..))).collect();
        for identity in &identities {
            assert_eq!(Identity::from_ordered(identity.ordered()), *identity);
        }
        let of = identities[0];
        assert!(Identity::ordered_range(of.shard(), None).contains(&of.ordered()));
        assert!(!Identity::ordered_range(of.shard(), Some(of.low())).contains(&of.ordered()));
        assert!(Identity::ordered_range(SHARDS - 1, Some(u64::MAX)).is_empty());
        identities.sort_by_key(|identity| identity.ordered());
        assert!(identities.is_sorted_by_key(|identity| (identity.shard(), identity.low())));
    }

    #[test]
    fn the_hash_is_keyed() {
        let key = Key::new("a", "b").unwrap();
        assert_ne!(Identity::of(key, &[1; 16]), Identity::of(key, &[2; 16]));
    }

    fn at(offset: u64) -> Location {
        Location::new(1, 8 * offset, Kind::Complete)
    }

    #[test]
    fn a_glance_sees_what_the_lock_would_show_and_leaves_flights_to_it() {
        let index = Index::new(Arc::default());
        let (key, other) = (Identity(7), Identity(8));
        let glance = || index.glance(key, || ()).map(|(found, ())| found);
        assert_eq!(glance(), Some(None));
        index.shard(key).put(key, None, at(1));
        assert_eq!(glance(), Some(Some(at(1))));
        let mut shard = index.shard(key);
        assert!(glance().is_some(), "it is locked, and nothing is changed");
        shard.put(key, Some(at(1)), at(2));
        assert_eq!(glance(), None, "the change is under way");
        shard.flights.insert(other, flight());
        drop(shard);
        assert_eq!(glance(), None, "a key of the shard is in flight");
        index.shard(key).flights.clear();
        assert_eq!(glance(), Some(Some(at(2))));
    }

    fn flight() -> Flight {
        Flight {
            owner: Owner::of(Key::new("a", "b").unwrap()),
            fingerprint: crate::fingerprint::Fingerprint::from_digest([0; 32]),
            claim_sequence: 1,
            location: at(1),
            claimed_at_ms: 0,
            ttl_ms: 0,
            phase: Phase::Held,
            written: crate::event::Event::new(),
            replaces: None,
            counted: true,
            ended: None,
        }
    }

    #[test]
    fn a_glance_that_met_a_change_looks_again_and_then_leaves_it_to_the_lock() {
        let index = Index::new(Arc::default());
        let key = Identity(7);
        index.shard(key).put(key, None, at(1));
        let mut next = 1..;
        let mut change = || {
            let nth = next.next().unwrap();
            assert!(index.shard(key).relocate(key, at(nth), at(nth + 1)));
        };
        let change = std::cell::RefCell::new(&mut change);
        let once = std::cell::Cell::new(true);
        let looked = index.glance(key, || {
            if once.take() {
                (change.borrow_mut())();
            }
        });
        assert_eq!(looked, Some((Some(at(2)), ())), "as it is after the change");
        assert_eq!(index.glance(key, || (change.borrow_mut())()), None, "it changed each time");
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

    /// A guard whose end panics leaves the count odd: the next change must not turn it even.
    #[cfg(all(feature = "test-util", not(onceward_shuttle)))]
    #[test]
    fn a_guard_that_panics_as_it_ends_does_not_turn_the_count_over() {
        let index = Index::new(Arc::default());
        let key = Identity(7);
        index.shard(key).put(key, None, at(1));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut shard = index.shard(key);
            crate::sync::panic_under_lock(Some(1));
            shard.put(key, Some(at(1)), at(2));
        }));
        crate::sync::panic_under_lock(None);
        assert!(caught.is_err());
        let mut shard = index.shard(key);
        shard.remove(key, at(2));
        assert_eq!(index.glance(key, || ()), None, "a change is under way");
        drop(shard);
    }
}
