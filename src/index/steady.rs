//! An array that grows and never moves, so that those who read it need no lock.

use std::sync::OnceLock;

/// Items of the first chunk; each other has twice as many as the one before.
const FIRST: usize = 16;
const CHUNKS: usize = 20;

/// Items by number. What was put there stays until the array goes.
pub(super) struct Steady<T> {
    chunks: [OnceLock<Box<[OnceLock<T>]>>; CHUNKS],
}

impl<T> Default for Steady<T> {
    fn default() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }
}

impl<T> Steady<T> {
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        let (chunk, nth) = place(at);
        self.chunks.get(chunk)?.get()?.get(nth)?.get()
    }

    /// The item at `at`, made if there is none yet; `None` past the end, sixteen million items on.
    pub(super) fn get_or_make(&self, at: usize, make: impl FnOnce() -> T) -> Option<&T> {
        let (chunk, nth) = place(at);
        let empty = || (0..FIRST << chunk).map(|_| OnceLock::new()).collect();
        Some(self.chunks.get(chunk)?.get_or_init(empty).get(nth)?.get_or_init(make))
    }
}

/// The chunk of the item at `at`, and its place there.
#[inline]
fn place(at: usize) -> (usize, usize) {
    let shifted = at.saturating_add(FIRST);
    let chunk = (shifted / FIRST).ilog2() as usize;
    (chunk, shifted - (FIRST << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_a_place_of_its_own_and_keeps_it() {
        let steady = Steady::default();
        let places: Vec<_> = (0..1000).map(|at| steady.get_or_make(at, || at).unwrap()).collect();
        for (at, place) in places.into_iter().enumerate() {
            assert_eq!(steady.get(at), Some(&at));
            assert!(std::ptr::eq(steady.get_or_make(at, || 0).unwrap(), place));
        }
    }

    #[test]
    fn what_was_not_made_is_not_there() {
        let steady = Steady::default();
        assert_eq!(steady.get(0), None);
        steady.get_or_make(40, || 7_u8);
        assert_eq!([steady.get(39), steady.get(40), steady.get(41)], [None, Some(&7), None]);
        assert_eq!(steady.get(usize::MAX), None);
        assert!(steady.get_or_make(FIRST * ((1 << CHUNKS) - 1), || 7).is_none());
    }
}
