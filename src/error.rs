//! Faults. Outcomes (a replay, a mismatch, a key in doubt) are values, in [`crate::Claim`].

use std::fmt;

/// What kind of fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key or a scope outside its bounds.
    InvalidKey,
    /// An option outside its bounds.
    InvalidOption,
    /// Another process, or another `Store` of this one, owns the directory.
    Locked,
    /// No room for a new claim, on the disk or under `max_disk` or `index_memory`. Heals by itself
    /// when room returns; claims already granted can still finish.
    Full,
    /// A write or a sync failed once: the store takes no more writes until it is opened again.
    /// Reads go on.
    Poisoned,
    /// Bytes on the disk are not what was written. Never answered as a miss.
    Corrupt,
    /// The ticket is not the one that holds the key any more.
    Fenced,
    /// The payload is over `max_payload`; nothing was written.
    PayloadTooLarge,
    /// Too many claims are in flight, in the store or in this scope.
    TooManyInFlight,
    /// The directory is not a store, or one of another format version.
    UnsupportedFormat,
    /// A segment of the store is encrypted under a master key that was not given, or not the right
    /// one. Said when the store is opened, with the key's name; nothing was modified.
    KeyMissing,
    /// The operating system refused, for a reason of its own.
    Io,
    /// The store was closed.
    Closed,
    /// A remote store could not be reached, or did not answer.
    Unavailable,
}

/// A fault: opaque, with a [kind](Error::kind) to act on and a message to read.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<std::sync::Arc<dyn std::error::Error + Send + Sync + 'static>>,
    refuses_unknown: bool,
}

impl Error {
    /// A fault of `kind`, said in `message`. For backends outside this crate.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, refuses_unknown: false }
    }

    /// The same fault with what caused it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.source = Some(std::sync::Arc::from(source.into()));
        self
    }

    /// What kind of fault this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether it is said of a key because nothing is known of it: bytes that may hold its record
    /// are damaged, and until that can be ruled out the store refuses every key it does not know.
    /// Then nothing was granted, and there is no record that is damaged. [`Corrupt`] alone; `false`
    /// of a record whose own bytes are.
    ///
    /// [`Corrupt`]: ErrorKind::Corrupt
    pub fn refuses_unknown_keys(&self) -> bool {
        self.refuses_unknown
    }

    pub(crate) fn io(doing: impl fmt::Display, error: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, doing.to_string()).with_source(error)
    }

    /// The same fault, said of `what`.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    /// Damage that may hide any key the store does not know.
    pub(crate) fn unknown(what: impl Into<String>) -> Self {
        Self { refuses_unknown: true, ..Self::corrupt(what) }
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the store is closed")
    }
}

/// Clones say the same fault; a shared cause is shared. One failed group answers many callers.
impl Clone for Error {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.message.clone(),
            source: self.source.clone(),
            refuses_unknown: self.refuses_unknown,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// A fault while a ticket was being used, with the ticket when it is still good.
///
/// A payload refused before it was written (`PayloadTooLarge`, `Full`) leaves the claim as it was:
/// take the ticket back and complete without a payload.
pub struct TicketError<T>(Box<(Error, Option<T>)>);

impl<T> TicketError<T> {
    /// A fault that used the ticket up.
    pub fn spent(error: Error) -> Self {
        Self(Box::new((error, None)))
    }

    /// A fault that left the ticket good.
    pub fn refused(error: Error, ticket: T) -> Self {
        Self(Box::new((error, Some(ticket))))
    }

    /// What kind of fault this is.
    pub fn kind(&self) -> ErrorKind {
        self.error().kind()
    }

    /// The fault.
    pub fn error(&self) -> &Error {
        &self.0.0
    }

    /// The ticket, when nothing was written and it can still be used.
    pub fn into_ticket(self) -> Option<T> {
        self.0.1
    }

    /// The fault and, when it can still be used, the ticket.
    pub fn into_parts(self) -> (Error, Option<T>) {
        *self.0
    }
}

impl<T> From<TicketError<T>> for Error {
    /// Gives the fault; a ticket still in it is dropped, which leaves its key in doubt.
    fn from(error: TicketError<T>) -> Self {
        error.into_parts().0
    }
}

impl<T> fmt::Debug for TicketError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketError")
            .field("error", self.error())
            .field("ticket", &self.0.1.is_some())
            .finish()
    }
}

impl<T> fmt::Display for TicketError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<T> std::error::Error for TicketError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.error())
    }
}
