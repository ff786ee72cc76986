//! Memory for slots: pieces of large pages, which all shards share.
//!
//! A shard grows by a piece at a time, so that no more is taken than is needed, and keeps what it has
//! taken until the index goes: whoever looks without its lock may be reading any of it. The system's
//! allocator would serve tables that grow by an eighth badly: what each leaves behind is too small for
//! the next.

#[cfg(not(onceward_shuttle))]
use std::sync::Arc;

#[cfg(not(onceward_shuttle))]
use crate::storage::{LARGE_PAGE, LargePage};
#[cfg(not(onceward_shuttle))]
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;

/// Words of a piece: 64 KiB. Under a scheduler few, so that few keys make a table grow.
pub(super) const WORDS: usize = if cfg!(onceward_shuttle) { 16 } else { 8 << 10 };
/// Pieces of a large page.
#[cfg(not(onceward_shuttle))]
const PIECES: usize = LARGE_PAGE / (WORDS * size_of::<u64>());
#[cfg(not(onceward_shuttle))]
const _: () = assert!(PIECES * WORDS * size_of::<u64>() == LARGE_PAGE);

/// The pieces that nobody has. Lock order: after a shard, a leaf.
#[derive(Default)]
pub(super) struct Arena {
    #[cfg(not(onceward_shuttle))]
    free: Mutex<Vec<Piece>>,
}

impl Arena {
    /// A piece, all its words zero.
    pub(super) fn take(&self) -> Piece {
        self.shared().unwrap_or_else(|| Piece::Own(zeroed(WORDS)))
    }

    /// Part of a large page; `None` when the system has none to give.
    #[cfg(not(onceward_shuttle))]
    fn shared(&self) -> Option<Piece> {
        let mut free = self.free.lock();
        if free.is_empty() {
            let page = Arc::new(LargePage::new().ok()?);
            // The first piece of a page last, so that it is the next to be taken.
            free.extend((0..PIECES).rev().map(|nth| Piece::Shared(Arc::clone(&page), nth)));
        }
        free.pop()
    }

    /// A scheduler's words are more than memory.
    #[cfg(onceward_shuttle)]
    #[allow(clippy::unused_self, reason = "as without a scheduler")]
    fn shared(&self) -> Option<Piece> {
        None
    }
}

/// So many words of the allocator's, zero.
pub(super) fn zeroed(words: usize) -> Box<[AtomicU64]> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

/// Memory of one owner.
pub(super) enum Piece {
    /// Part of a large page: which.
    #[cfg(not(onceward_shuttle))]
    Shared(Arc<LargePage>, usize),
    Own(Box<[AtomicU64]>),
}

impl Piece {
    #[inline]
    pub(super) fn words(&self) -> &[AtomicU64] {
        match self {
            #[cfg(not(onceward_shuttle))]
            Self::Shared(page, nth) => {
                let start = nth * WORDS;
                page.words().get(start..start + WORDS).unwrap_or_default()
            }
            Self::Own(words) => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn no_two_pieces_share_a_word_and_all_are_zero_at_first() {
        let arena = Arena::default();
        let taken: Vec<Piece> = (0..=2 * PIECES).map(|_| arena.take()).collect();
        for (nth, piece) in (1..).zip(&taken) {
            assert_eq!(piece.words().len(), WORDS);
            for word in piece.words() {
                assert_eq!(word.swap(nth, Relaxed), 0);
            }
        }
        for (nth, piece) in (1..).zip(&taken) {
            assert!(piece.words().iter().all(|word| word.load(Relaxed) == nth));
        }
    }
}
