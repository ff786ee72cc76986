//! What keeps an open store's insides there, and what closes it.

use std::ops::Deref;
use std::sync::Arc;

use super::Inner;
use crate::stripe;

const STRIPES: usize = 16;

/// Keeps the insides of a store there. Every claim counts one, as long as its ticket or its wait
/// lasts: each stripe of threads has its own, so that they do not count in one cache line.
#[repr(align(128))]
pub(crate) struct Handle(Arc<Inner>);

impl Deref for Handle {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What all clones of a store share: dropped with the last of them, it closes the store. Tickets and
/// waits do not hold it: they find the store closed.
pub(super) struct Handles([Arc<Handle>; STRIPES]);

impl Handles {
    pub(super) fn of(inner: &Arc<Inner>) -> Self {
        Self(std::array::from_fn(|_| Arc::new(Handle(Arc::clone(inner)))))
    }

    /// This thread's.
    pub(super) fn mine(&self) -> &Arc<Handle> {
        // In range by construction.
        self.0.get(stripe::of_thread(STRIPES)).unwrap_or_else(|| unreachable!())
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        let [first, ..] = &self.0;
        first.close_if_open();
    }
}
