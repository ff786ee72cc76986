//! An embedded, persistent idempotency store: the same key and the same request get the same
//! answer, and the work is done once.

mod backend;
mod clock;
mod error;
mod fingerprint;
mod format;
#[cfg(feature = "http")]
pub mod http;
mod key;
mod outcome;
#[cfg(feature = "test-util")]
pub mod storage;
#[cfg(not(feature = "test-util"))]
mod storage;
mod tree;

pub use backend::{Backend, BackendTicket, BackendWait, NOTE_OCTETS_MAX};
#[cfg(any(test, feature = "test-util"))]
pub use clock::ManualClock;
pub use clock::{Clock, Reading, SystemClock};
pub use error::{Error, ErrorKind, TicketError};
pub use fingerprint::{Fingerprint, FingerprintHasher};
pub use key::{KEY_OCTETS_MAX, Key, SCOPE_OCTETS_MAX};
pub use outcome::{Claim, ClaimOptions, Record, Resolution, Resolved, State};
