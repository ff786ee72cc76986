//! Memory for slots: pieces of large pages, which all shards share.
//!
//! A shard grows by a piece at a time, so that no more is taken than is needed, and what one gives
//! back the next takes. The system's allocator would serve tables that grow by an eighth badly: what
//! each leaves behind is too small for the next.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::storage::{LARGE_PAGE, LargePage};
use crate::sync::Mutex;

/// Words of a piece: 64 KiB.
pub(super) const WORDS: usize = 8 << 10;
/// Pieces of a large page.
const PIECES: usize = LARGE_PAGE / (WORDS * size_of::<u64>());
const _: () = assert!(PIECES * WORDS * size_of::<u64>() == LARGE_PAGE);

/// The pieces that nobody has. Lock order: after a shard, a leaf.
#[derive(Default)]
pub(super) struct Arena(Mutex<Vec<Piece>>);

impl Arena {
    /// A piece, its words of any value; `None` when the system gives no more memory.
    pub(super) fn take(&self) -> Option<Piece> {
        let mut free = self.0.lock();
        if free.is_empty() {
            let page = Arc::new(LargePage::new().ok()?);
            // The first piece of a page last, so that it is the next to be taken.
            free.extend((0..PIECES).rev().map(|nth| Piece { page: Arc::clone(&page), nth }));
        }
        free.pop()
    }

    /// Takes back what somebody needs no more.
    pub(super) fn give(&self, pieces: impl IntoIterator<Item = Piece>) {
        self.0.lock().extend(pieces);
    }
}

/// Part of a large page, that has one owner at a time.
pub(super) struct Piece {
    page: Arc<LargePage>,
    nth: usize,
}

impl Piece {
    #[inline]
    pub(super) fn words(&self) -> &[AtomicU64] {
        let start = self.nth * WORDS;
        self.page.words().get(start..start + WORDS).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn no_two_pieces_share_a_word() {
        let arena = Arena::default();
        let taken: Vec<Piece> = (0..=2 * PIECES).map(|_| arena.take().unwrap()).collect();
        for (nth, piece) in (1..).zip(&taken) {
            assert_eq!(piece.words().len(), WORDS);
            piece.words().iter().for_each(|word| word.store(nth, Relaxed));
        }
        for (nth, piece) in (1..).zip(&taken) {
            assert!(piece.words().iter().all(|word| word.load(Relaxed) == nth));
        }
    }

    #[test]
    fn what_is_given_back_is_taken_again() {
        let arena = Arena::default();
        let taken: Vec<Piece> = (0..PIECES).map(|_| arena.take().unwrap()).collect();
        taken[0].words()[7].store(42, Relaxed);
        arena.give(taken);
        let again: Vec<Piece> = (0..PIECES).map(|_| arena.take().unwrap()).collect();
        assert!(again.iter().any(|piece| piece.words()[7].load(Relaxed) == 42));
        assert!(arena.0.lock().is_empty());
    }
}
