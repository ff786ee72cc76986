//! An embedded, persistent idempotency store: the same key and the same request get the same
//! answer, and the work is done once.
//!
//! [`Store::claim`] is an atomic compare-and-insert that is on disk before it is granted. The one
//! who is granted does the work and [completes](Ticket::complete) the claim with the serialized
//! response; everybody who claims the key later gets that response, or an explicit refusal, until
//! the record expires.
//!
//! ```
//! use onceward::{Claim, Fingerprint, Key, Store};
//!
//! # fn main() -> Result<(), onceward::Error> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let directory = directory.path().join("data");
//! let store = Store::open(&directory)?;
//! let key = Key::new("acct_1", "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04")?;
//! let print = Fingerprint::of("POST /v1/sites\n{}");
//!
//! match store.blocking_claim(key, print)? {
//!     Claim::Granted(ticket) => ticket.blocking_complete("201 Created")?,
//!     Claim::Replay(record) => println!("done before: {:?}", record.payload()?),
//!     Claim::InFlight(_) => println!("somebody is at work: wait, or answer 409"),
//!     Claim::Mismatch(_) => println!("the key was used for another request"),
//!     Claim::InDoubt(_) => println!("nobody knows whether it was done"),
//! }
//! # assert!(matches!(store.blocking_claim(key, print)?, Claim::Replay(_)));
//! # Ok(())
//! # }
//! ```
//!
//! What is promised, and what is not, is in `docs/design.md`; the bytes on disk in `docs/format.md`.
#![cfg_attr(feature = "http", doc = "The tower middleware is in [`http`].")]

mod backend;
mod clock;
#[cfg(feature = "encrypt")]
mod crypt;
#[cfg(not(feature = "encrypt"))]
#[path = "crypt/absent.rs"]
mod crypt;
mod engine;
mod error;
mod event;
mod expiry;
mod fingerprint;
mod format;
#[cfg(all(feature = "http", feature = "test-util"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
pub mod http;
mod index;
mod key;
mod location;
mod log;
mod options;
mod outcome;
mod planted;
mod poison;
mod random;
#[cfg(test)]
mod seed;
mod stats;
#[cfg(feature = "test-util")]
pub mod storage;
#[cfg(not(feature = "test-util"))]
mod storage;
mod stripe;
mod sync;
mod tree;

pub use backend::{Backend, BackendTicket, BackendWait, NOTE_OCTETS_MAX};
#[cfg(any(test, feature = "test-util"))]
pub use clock::ManualClock;
pub use clock::{Clock, Reading, SystemClock};
#[cfg(feature = "encrypt")]
pub use crypt::{KeyId, Keys};
#[cfg(feature = "test-util")]
pub use engine::verify_storage;
pub use engine::{Cursor, Item, Iter, ParseCursorError, Store, Ticket, Wait, verify, verify_with};
#[cfg(feature = "encrypt")]
pub use engine::{verify_encrypted, verify_encrypted_with};
pub use error::{Error, ErrorKind, TicketError};
pub use fingerprint::{Fingerprint, FingerprintHasher};
pub use key::{KEY_OCTETS_MAX, Key, SCOPE_OCTETS_MAX};
pub use options::{Durability, Options};
pub use outcome::{Claim, ClaimOptions, Record, Resolution, Resolved, State};
#[cfg(feature = "test-util")]
pub use planted::{Bug, plant, planted};
pub use stats::{Finding, FoundKey, Stats, SweepReport, VerifyProgress, VerifyReport};
#[cfg(all(feature = "test-util", not(onceward_shuttle)))]
pub use sync::{at_locks, panic_under_lock};

/// The README's examples, held to the API.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
