//! The one switch that ends a store's writes.

use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use crate::error::{Error, ErrorKind};

/// Set once, by the first write or sync that failed, by a panic under a lock, or by closing.
///
/// There is no way back: what a failed fsync left in the page cache may read well and be gone after
/// a power cut, so only opening again, which trusts no cache, may go on.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    cause: OnceLock<Error>,
    /// Whether the store is closed, whatever ended its writes before: somebody else may own the
    /// directory, and nothing that is known here is true any more.
    closed: AtomicBool,
}

impl Poison {
    /// Ends writes for `cause`. The first cause stands, until the store is closed.
    pub(crate) fn set(&self, cause: &Error) -> Error {
        if cause.kind() == ErrorKind::Closed {
            self.closed.store(true, Release);
        }
        let error = self.cause.get_or_init(|| match cause.kind() {
            ErrorKind::Closed => cause.clone(),
            _ => Error::new(
                ErrorKind::Poisoned,
                "a write failed, and the store takes no more until it is opened again",
            )
            .with_source(cause.clone()),
        });
        if self.is_closed() { Error::closed() } else { error.clone() }
    }

    /// Why writes ended, if they have.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.cause.get() {
            None => Ok(()),
            Some(_) if self.is_closed() => Err(Error::closed()),
            Some(error) => Err(error.clone()),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.cause.get().is_some()
    }
}
