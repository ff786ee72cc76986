//! The places of a shard's table, in memory that grows where it stands.

use std::sync::{Arc, OnceLock};

use super::arena::{Arena, Piece, WORDS, zeroed};
use super::steady::Steady;
use crate::location::Location;
use crate::storage::prefetch;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A settled key: half of its hash, and where its frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) hash: u64,
    pub(crate) location: Location,
}

/// No frame stands at these bits: a location has the kind of its frame in it, which is never zero.
pub(super) const EMPTY: Slot = Slot { hash: 0, location: Location::from_bits(0) };

/// Bytes of a slot: two words.
pub(super) const SLOT: usize = 16;
const _: () = assert!(size_of::<Slot>() == SLOT);
/// Slots of a piece of memory.
pub(super) const PIECE: usize = WORDS / 2;
/// Slots of the smallest array that has any. Under a scheduler few, so that few keys make it grow.
const LEAST: usize = if cfg!(onceward_shuttle) { PIECE } else { 16 };
/// Parts of the first piece's worth of slots.
const PARTS: usize = (PIECE / LEAST).ilog2() as usize + 1;
const _: () = assert!(LEAST << (PARTS - 1) == PIECE);
/// Slots that a glance looks at, at most: many times what it takes, and few enough for one that meets
/// a table being spread out to end soon.
const GLANCE: usize = 64;

/// A glance does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// An array of slots, empty where nothing was put, and how many of them hashes name.
///
/// Its memory never moves and never goes while the array is there: up to a piece, in parts that double;
/// beyond, in pieces. So anybody may read it at any time. It is changed under its shard's lock alone,
/// and each word is atomic for the sake of those who read without (see [`glance`](Self::glance)).
#[derive(Default)]
pub(super) struct Slots {
    first: [OnceLock<Box<[AtomicU64]>>; PARTS],
    /// By number; the first is in parts.
    pieces: Steady<Piece>,
    len: AtomicUsize,
    homes: AtomicUsize,
    arena: Arc<Arena>,
}

impl Slots {
    pub(super) fn within(arena: Arc<Arena>) -> Self {
        Self { arena, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// How many places hashes name; the others take what is pushed behind the last.
    pub(super) fn homes(&self) -> usize {
        self.homes.load(Relaxed)
    }

    pub(super) fn set_homes(&self, homes: usize) {
        self.homes.store(homes, Relaxed);
    }

    /// The place a hash names. The shard was chosen by the other half of the identity.
    #[inline]
    pub(super) fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.homes() as u128) >> 64) as usize
    }

    /// Bytes of memory in use; what was given up and may be used again is not counted.
    pub(super) fn bytes(&self) -> usize {
        self.len() * SLOT
    }

    /// The slot at `at`; `EMPTY` past the end.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Slot {
        self.words(at).first_chunk().map_or(EMPTY, read)
    }

    /// Puts `slot` at `at`, which is within.
    #[inline]
    pub(super) fn set(&self, at: usize, slot: Slot) {
        debug_assert!(at < self.len());
        if let Some(pair) = self.words(at).first_chunk() {
            write(pair, slot);
        }
    }

    /// Slots one after another, whichever way.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { slots: self, words: &[], begin: 0 }
    }

    /// The one slot with this hash, if there is one; [`Unclear`] when more must be looked at than a
    /// glance does. Without the lock it is to be believed only if nothing was changed
    /// meanwhile: slots then stand in the order of their hashes from the place on that a hash names.
    #[inline]
    pub(super) fn glance(&self, hash: u64) -> Result<Option<Location>, Unclear> {
        let mut found = None;
        let mut at = self.home(hash);
        let end = at + GLANCE;
        while at < end {
            let mut words = self.words(at);
            if words.is_empty() {
                return Ok(found);
            }
            while let Some((slot, others)) = words.split_first_chunk() {
                let slot = read(slot);
                if slot == EMPTY || slot.hash > hash {
                    return Ok(found);
                }
                if slot.hash == hash && found.replace(slot.location).is_some() {
                    return Err(Unclear);
                }
                at += 1;
                words = if at < end { others } else { &[] };
            }
        }
        Err(Unclear)
    }

    /// Asks for the memory of the slots with this hash, and does not wait for it. At any time.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(word) = self.words(self.home(hash)).first() {
            prefetch(word);
        }
    }

    /// How many slots there will be when `wanted` are asked for.
    pub(super) fn rounded(wanted: usize) -> usize {
        if wanted <= PIECE { wanted.max(LEAST) } else { wanted.next_multiple_of(PIECE) }
    }

    /// Makes it at least `wanted` slots long, the new ones at the end empty.
    pub(super) fn grow(&self, wanted: usize) {
        let wanted = Self::rounded(wanted);
        if wanted <= self.len() {
            return;
        }
        for (nth, part) in self.first.iter().enumerate() {
            if begin_of(nth) < wanted {
                part.get_or_init(|| zeroed(2 * (begin_of(nth + 1) - begin_of(nth))));
            }
        }
        for nth in 1..wanted.div_ceil(PIECE) {
            let made = self.pieces.get_or_make(nth, || self.arena.take());
            assert!(made.is_some(), "an index takes less than 2^40 bytes");
        }
        self.len.store(wanted, Relaxed);
    }

    /// Cuts it to `wanted` slots or a few more; those behind are empty, and wait to be used again.
    pub(super) fn shrink(&self, wanted: usize) {
        if self.len() > PIECE {
            self.len.store(wanted.div_ceil(PIECE).max(1) * PIECE, Relaxed);
        }
    }

    /// The words of the slot at `at`, and of those that stand right behind it; none past the end.
    #[inline]
    fn words(&self, at: usize) -> &[AtomicU64] {
        let (memory, begin) = self.memory(at);
        memory.get(2 * (at - begin)..).unwrap_or_default()
    }

    /// The part or piece that the slot at `at` stands in, none past the end; and the place of the first
    /// slot there.
    #[inline]
    fn memory(&self, at: usize) -> (&[AtomicU64], usize) {
        let (memory, begin) = if at < PIECE {
            let nth = if at < LEAST { 0 } else { (at / LEAST).ilog2() as usize + 1 };
            (self.first.get(nth).and_then(OnceLock::get).map(|part| &part[..]), begin_of(nth))
        } else {
            let nth = at / PIECE;
            (self.pieces.get(nth).map(Piece::words), nth * PIECE)
        };
        (memory.unwrap_or_default(), begin)
    }
}

/// A walk through slots, which asks where they stand once for each part or piece of memory: tables
/// that grow are gone through whole, with an eighth of it to show for that.
pub(super) struct Walk<'a> {
    slots: &'a Slots,
    /// The part or piece that the last slot stood in, and the place of its first.
    words: &'a [AtomicU64],
    begin: usize,
}

impl Walk<'_> {
    /// The words of the slot at `at`; `None` past the end.
    #[inline]
    fn pair(&mut self, at: usize) -> Option<&[AtomicU64; 2]> {
        let there = |nth: usize, words| <[AtomicU64]>::get(words, 2 * nth..)?.first_chunk();
        if at >= self.begin
            && let Some(pair) = there(at - self.begin, self.words)
        {
            return Some(pair);
        }
        (self.words, self.begin) = self.slots.memory(at);
        there(at - self.begin, self.words)
    }

    /// Empties the slot at `at` and gives what stood there.
    #[inline]
    pub(super) fn take(&mut self, at: usize) -> Slot {
        let Some(pair) = self.pair(at) else { return EMPTY };
        let slot = read(pair);
        if slot != EMPTY {
            write(pair, EMPTY);
        }
        slot
    }

    /// Puts `slot` at `at`, which is within.
    #[inline]
    pub(super) fn set(&mut self, at: usize, slot: Slot) {
        if let Some(pair) = self.pair(at) {
            write(pair, slot);
        }
    }
}

/// The place of the first slot of a part.
fn begin_of(part: usize) -> usize {
    if part == 0 { 0 } else { LEAST << (part - 1) }
}

#[inline]
fn read([hash, location]: &[AtomicU64; 2]) -> Slot {
    Slot { hash: hash.load(Relaxed), location: Location::from_bits(location.load(Relaxed)) }
}

#[inline]
fn write([hash, location]: &[AtomicU64; 2], slot: Slot) {
    hash.store(slot.hash, Relaxed);
    location.store(slot.location.to_bits(), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Kind;

    #[test]
    fn growing_keeps_what_stands_and_adds_what_is_empty() {
        let slots = Slots::default();
        let slot = |at: usize| Slot {
            hash: at as u64,
            location: Location::new(1, 8 * at as u64, Kind::Complete),
        };
        let mut len = 0;
        for wanted in [1, 16, 100, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE] {
            slots.grow(wanted);
            assert!(slots.len() >= wanted && slots.bytes() == slots.len() * SLOT);
            assert!((0..len).all(|at| slots.get(at) == slot(at)), "to {wanted}");
            assert!((len..slots.len()).all(|at| slots.get(at) == EMPTY), "to {wanted}");
            len = slots.len();
            (0..len).for_each(|at| slots.set(at, slot(at)));
        }
        assert_eq!((slots.get(len), slots.walk().take(7), slots.get(7)), (EMPTY, slot(7), EMPTY));
    }

    #[test]
    fn memory_that_was_given_up_is_empty_and_used_again() {
        let slots = Slots::default();
        let location = Location::new(1, 8, Kind::Complete);
        slots.grow(3 * PIECE);
        let last = slots.words(3 * PIECE - 1).as_ptr();
        for _ in 0..3 {
            slots.grow(3 * PIECE);
            assert!((0..slots.len()).all(|at| slots.get(at) == EMPTY));
            (0..slots.len()).for_each(|at| slots.set(at, Slot { hash: 1, location }));
            let mut walk = slots.walk();
            (0..slots.len()).for_each(|at| assert_ne!(walk.take(at), EMPTY));
            slots.shrink(PIECE + 1);
            assert_eq!((slots.len(), slots.bytes()), (2 * PIECE, 2 * PIECE * SLOT));
        }
        assert_eq!(slots.words(3 * PIECE - 1).as_ptr(), last);
    }

    #[test]
    fn a_glance_finds_the_one_slot_there_is_and_leaves_what_is_harder() {
        let slots = Slots::default();
        assert_eq!(slots.glance(7), Ok(None), "no memory yet");
        slots.grow(2 * PIECE);
        slots.set_homes(2 * PIECE);
        // Places of the last slot of a part and of a piece, so that the run goes on in the next.
        for begin in [15, 31, PIECE - 1] {
            let hash = |nth: u64| ((begin as u64) << 51) + nth;
            assert_eq!(slots.home(hash(0)), begin);
            let put = |at: usize, hash| {
                let location = Location::new(1, 8 * at as u64, Kind::Complete);
                slots.set(at, Slot { hash, location });
                location
            };
            put(begin, hash(1));
            let second = put(begin + 1, hash(2));
            put(begin + 2, hash(4));
            assert_eq!(slots.glance(hash(2)), Ok(Some(second)));
            assert_eq!(slots.glance(hash(3)), Ok(None), "the next is greater");
            assert_eq!(slots.glance(hash(5)), Ok(None), "the next is empty");
            put(begin + 3, hash(4));
            assert_eq!(slots.glance(hash(4)), Err(Unclear), "there are two");
            (begin..begin + 4).for_each(|at| slots.set(at, EMPTY));
        }
        (0..=GLANCE).for_each(|at| {
            slots.set(at, Slot { hash: 1, location: Location::new(1, 8, Kind::Complete) });
        });
        assert_eq!(slots.glance(2), Err(Unclear), "too many come before it");
    }
}
