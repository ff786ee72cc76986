//! A count of changes, for those who look at what somebody may be changing meanwhile: a sequence lock
//! (Boehm, "Can Seqlocks Get Along with Programming Language Memory Models?", 2012).

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Odd while a change is under way, and greater after it.
///
/// Whoever reads what is changed does so between [`before`](Self::before) and
/// [`is_still`](Self::is_still), in atomics, and forgets what he read when that says no. What he read
/// when it says yes stood there all at once.
#[derive(Default)]
pub(crate) struct Version(AtomicU64);

impl Version {
    /// The version that is looked at; `None` while it is being changed.
    #[inline]
    pub(crate) fn before(&self) -> Option<u64> {
        // What is read after this is at least as new: pairs with `end`.
        let version = self.0.load(Acquire);
        version.is_multiple_of(2).then_some(version)
    }

    /// Whether nothing was changed since `version` was the one.
    #[inline]
    pub(crate) fn is_still(&self, version: u64) -> bool {
        // Whoever has read any of a change reads its odd version, too: pairs with the fence there.
        fence(Acquire);
        self.0.load(Relaxed) == version
    }

    /// Begins a change. One at a time: under the lock of what is changed.
    pub(crate) fn begin(&self) {
        self.0.store(self.0.load(Relaxed) | 1, Relaxed);
        // No word of the change is seen before its version is.
        fence(Release);
    }

    /// Ends the change that was begun.
    pub(crate) fn end(&self) {
        self.0.store((self.0.load(Relaxed) | 1).wrapping_add(1), Release);
    }
}
