//! Which faults a store on a failing disk may report.

use onceward::ErrorKind;

/// Which faults an operation may come back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// None, while the power is on.
    None,
    /// One operation of the disk fails.
    Io,
    /// The disk may be full.
    Full,
}

impl Tolerance {
    pub(crate) fn allows(self, kind: ErrorKind) -> bool {
        kind == ErrorKind::Closed
            || match self {
                Self::None => false,
                Self::Io => matches!(kind, ErrorKind::Io | ErrorKind::Poisoned | ErrorKind::Full),
                Self::Full => kind == ErrorKind::Full,
            }
    }
}
