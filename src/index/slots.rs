//! The places of a shard's table, in memory that grows where it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::arena::{Arena, Piece, WORDS};
use crate::location::Location;
use crate::storage::prefetch;

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

/// An array of slots, empty where nothing was put.
///
/// Up to a piece of memory it is as long as was asked for and moves when it grows; beyond, it is made
/// of pieces, and growing adds to them.
#[derive(Default)]
pub(super) struct Slots {
    pieces: Vec<Memory>,
    len: usize,
    arena: Arc<Arena>,
}

// A word is atomic only because pieces of different owners lie in one page; each owner orders its own
// with the lock it stands under.
enum Memory {
    Own(Box<[AtomicU64]>),
    Shared(Piece),
}

impl Memory {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        match self {
            Self::Own(words) => words,
            Self::Shared(piece) => piece.words(),
        }
    }

    fn own(slots: usize) -> Self {
        Self::Own((0..2 * slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// A whole piece, its slots empty: of the arena's, or of the allocator's when there is none.
    fn piece(arena: &Arena) -> Self {
        let Some(piece) = arena.take() else { return Self::own(PIECE) };
        piece.words().iter().for_each(|word| word.store(0, Relaxed));
        Self::Shared(piece)
    }
}

impl Slots {
    pub(super) fn within(arena: Arc<Arena>) -> Self {
        Self { pieces: Vec::new(), len: 0, arena }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory, the share of large pages that nobody has taken not counted.
    pub(super) fn bytes(&self) -> usize {
        self.len * SLOT
    }

    /// The slot at `at`; `EMPTY` past the end.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Slot {
        let Some([hash, location]) = self.words(at) else { return EMPTY };
        Slot { hash: hash.load(Relaxed), location: Location::from_bits(location.load(Relaxed)) }
    }

    /// Puts `slot` at `at`, which is within.
    #[inline]
    pub(super) fn set(&mut self, at: usize, slot: Slot) {
        debug_assert!(at < self.len);
        if let Some([hash, location]) = self.words(at) {
            hash.store(slot.hash, Relaxed);
            location.store(slot.location.to_bits(), Relaxed);
        }
    }

    /// Empties the slot at `at` and gives what stood there.
    pub(super) fn take(&mut self, at: usize) -> Slot {
        let slot = self.get(at);
        if slot != EMPTY {
            self.set(at, EMPTY);
        }
        slot
    }

    /// Asks for the memory of the slot at `at`, and does not wait for it.
    #[inline]
    pub(super) fn prefetch(&self, at: usize) {
        if let Some([hash, _]) = self.words(at) {
            prefetch(hash);
        }
    }

    /// How many slots there will be when `wanted` are asked for.
    pub(super) fn rounded(wanted: usize) -> usize {
        if wanted <= PIECE { wanted } else { wanted.next_multiple_of(PIECE) }
    }

    /// Makes it at least `wanted` slots long, the new ones at the end empty.
    pub(super) fn grow(&mut self, wanted: usize) {
        let wanted = Self::rounded(wanted);
        if wanted <= self.len {
            return;
        }
        if self.len < PIECE {
            let first =
                if wanted < PIECE { Memory::own(wanted) } else { Memory::piece(&self.arena) };
            let old = self.pieces.pop();
            for (new, old) in first.words().iter().zip(old.iter().flat_map(Memory::words)) {
                new.store(old.load(Relaxed), Relaxed);
            }
            self.pieces.push(first);
        }
        while self.pieces.len() * PIECE < wanted {
            self.pieces.push(Memory::piece(&self.arena));
        }
        self.len = wanted;
    }

    /// Cuts it to `wanted` slots or a few more, which gives memory back; those behind are empty.
    pub(super) fn shrink(&mut self, wanted: usize) {
        if self.len <= PIECE {
            return;
        }
        let pieces = wanted.div_ceil(PIECE).max(1);
        if pieces < self.pieces.len() {
            self.give_back(pieces);
            self.len = pieces * PIECE;
        }
    }

    /// Gives all pieces back but the first `left`.
    fn give_back(&mut self, left: usize) {
        let gone = self.pieces.drain(left.min(self.pieces.len())..);
        let gone: Vec<Piece> = gone
            .filter_map(|memory| match memory {
                Memory::Shared(piece) => Some(piece),
                Memory::Own(_) => None,
            })
            .collect();
        if !gone.is_empty() {
            self.arena.give(gone);
        }
    }

    #[inline]
    fn words(&self, at: usize) -> Option<&[AtomicU64; 2]> {
        let first = 2 * (at % PIECE);
        self.pieces.get(at / PIECE)?.words().get(first..)?.first_chunk()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.give_back(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Kind;

    #[test]
    fn growing_keeps_what_stands_and_adds_what_is_empty() {
        let mut slots = Slots::default();
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
        assert_eq!((slots.get(len), slots.take(7), slots.get(7)), (EMPTY, slot(7), EMPTY));
    }

    #[test]
    fn memory_that_was_used_before_is_empty() {
        let arena = Arc::new(Arena::default());
        let location = Location::new(1, 8, Kind::Complete);
        for _ in 0..3 {
            let mut slots = Slots::within(Arc::clone(&arena));
            slots.grow(3 * PIECE);
            assert!((0..slots.len()).all(|at| slots.get(at) == EMPTY));
            (0..slots.len()).for_each(|at| slots.set(at, Slot { hash: 1, location }));
            slots.shrink(PIECE + 1);
            assert_eq!(slots.len(), 2 * PIECE);
        }
    }
}
