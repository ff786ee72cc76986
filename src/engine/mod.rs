//! The engine: an open store, and the promise it keeps.
//!
//! `decide` states the rules; `claim` and `ticket` apply them under a key's shard lock and append
//! what they decide; `publish` makes it seen once it is on disk; `recover` reads it all back. `cold`
//! is what the tree knows beyond the index: `warm` reads it in, `spill` lets go of it.

mod checkpoint;
mod claim;
mod cold;
mod counters;
mod create;
mod damaged;
pub(crate) mod decide;
mod handle;
mod iter;
mod many;
mod publish;
mod record;
mod recover;
mod reload;
mod restore;
mod settle;
mod spill;
mod store;
mod survey;
mod sweep;
mod threads;
mod ticket;
mod timer;
mod turns;
mod verify;
mod warm;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::clock::{StoreTime, TimeMark};
use crate::error::Error;
use crate::expiry::Buckets;
use crate::format::store::Identity as StoreIdentity;
use crate::index::{Caps, Index};
use crate::log::Log;
use crate::options::Options;
use crate::storage::{Lock, Storage};
use crate::sync::Mutex;

pub use iter::{Cursor, Item, Iter, ParseCursorError};
pub use store::Store;
pub use ticket::{Ticket, Wait};
#[cfg(all(feature = "http", feature = "test-util"))]
pub(crate) use verify::verify_on;
#[cfg(feature = "test-util")]
pub use verify::verify_storage;
pub use verify::{verify, verify_with};
#[cfg(feature = "encrypt")]
pub use verify::{verify_encrypted, verify_encrypted_with};

use publish::{Publish, Queue};
use timer::Timer;

/// An open store, shared by its handles, tickets and threads.
pub(crate) struct Inner {
    options: Options,
    storage: Arc<dyn Storage>,
    identity: StoreIdentity,
    epoch: u64,
    time: StoreTime,
    buckets: Buckets,
    index: Index,
    /// What the tree knows and the index does not.
    cold: cold::Cold,
    caps: Caps,
    log: Log<Publish>,
    /// Until this store time, a key that is not indexed may stand in damaged bytes; 0 for never.
    suspect_until_ms: AtomicU64,
    /// One publication at a time, in the log's order. Lock order: first of all.
    publishing: Mutex<()>,
    /// What was published and is in no checkpoint yet. Lock order: a leaf.
    queue: Mutex<Queue>,
    /// The tree, and what the last checkpoint left to do. Lock order: before `queue`, shards and
    /// `cold`.
    tree: Mutex<checkpoint::Checkpointer>,
    timer: Timer,
    threads: threads::Threads,
    counters: counters::Counters,
    /// One at a time takes pieces off the tree or segments off the disk, or moves records between
    /// tree and index. Order: before `tree`.
    sweeping: turns::Turns,
    /// Whether the store was closed; held while it is being.
    closed: Mutex<bool>,
    /// The directory's lock, given back by closing.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Inner {
    /// Store time, milliseconds.
    fn now_ms(&self) -> u64 {
        self.time.now(&*self.options.clock)
    }

    /// Store time a moment ago, milliseconds: what looks go by (see [`StoreTime::lately`]).
    #[inline]
    fn lately_ms(&self) -> u64 {
        self.time.lately(&*self.options.clock)
    }

    /// The sweeper's turn.
    ///
    /// # Errors
    /// `Closed`, or why writes ended before that.
    fn sweeping(&self) -> Result<turns::Turn<'_>, Error> {
        self.sweeping
            .take()
            .ok_or_else(|| self.log.poison().check().err().unwrap_or_else(Error::closed))
    }

    fn mark(&self) -> TimeMark {
        self.time.mark(self.options.clock.read())
    }
}
