//! The one switch that ends a store's writes.

use std::sync::OnceLock;

use crate::error::{Error, ErrorKind};

/// Set once, by the first write or sync that failed, by a panic under a lock, or by closing.
///
/// There is no way back: what a failed fsync left in the page cache may read well and be gone after
/// a power cut, so only opening again, which trusts no cache, may go on.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<Error>);

impl Poison {
    /// Ends writes for `cause`. The first cause stands.
    pub(crate) fn set(&self, cause: &Error) -> Error {
        let error = self.0.get_or_init(|| match cause.kind() {
            ErrorKind::Closed => cause.clone(),
            _ => Error::new(
                ErrorKind::Poisoned,
                "a write failed, and the store takes no more until it is opened again",
            )
            .with_source(cause.clone()),
        });
        error.clone()
    }

    /// Why writes ended, if they have.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.0.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }
}
