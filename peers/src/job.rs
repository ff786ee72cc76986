//! The job every store does, and what it is told when it is opened.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::work::{Text, Wanted};

/// How a store is opened for a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Where it keeps its files; there, and empty unless an earlier process filled it.
    pub(crate) directory: PathBuf,
    /// Octets of a payload.
    pub(crate) length: usize,
    /// Tasks that will claim at a time.
    pub(crate) tasks: usize,
    /// Octets a store may cache by itself, for those that do not leave that to the system.
    pub(crate) cache: u64,
    /// Whether an order of expiry is kept, for a store that has to keep one to sweep.
    pub(crate) expiries: bool,
    /// How long onceward keeps a result.
    pub(crate) ttl: Duration,
    /// Whether onceward's clock stands still, at the moment every record was written, until a sweep
    /// moves its hands.
    pub(crate) still: bool,
    /// Claims that will be in flight at a time beyond those of tasks, which onceward has to allow.
    pub(crate) in_flight: u64,
    /// The most heap onceward's index may take, in octets.
    pub(crate) index_memory: u64,
}

/// What a lookup looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The record with its payload, every octet compared.
    Payload,
    /// State, expiry and fingerprint.
    Head,
    /// A key nobody has claimed.
    Miss,
}

/// A claim that is answered from what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Replay,
    /// A replay whose payload is read, every octet compared.
    ReplayRead,
    InFlight,
    Mismatch,
}

/// A store under measurement.
pub(crate) trait Peer: Send + Sync + Sized + 'static {
    /// What a granted claim is completed with.
    type Ticket: Send + 'static;

    /// Whether a task is a thread of its own, for a store which gathers blocked threads into one
    /// commit.
    const TASKS_ARE_THREADS: bool = false;

    fn open(setup: &Setup) -> Self;

    /// Inserts `text` if it is absent, durably; `None` when it was there.
    fn claim(&self, text: Text) -> impl Future<Output = Option<Self::Ticket>> + Send;

    /// Stores the result of the claim, durably.
    fn complete(
        &self,
        text: Text,
        ticket: Self::Ticket,
        payload: Bytes,
    ) -> impl Future<Output = ()> + Send;

    /// [`claim`](Self::claim) and [`complete`](Self::complete) of a caller that is alone and blocks its
    /// thread.
    fn cycle(&self, text: Text, payload: Bytes) {
        Handle::current().block_on(async {
            let Some(ticket) = self.claim(text).await else { panic!("it was not granted") };
            self.complete(text, ticket, payload).await;
        });
    }

    /// Adds the complete records of `numbers` that expire at `expires_at_ms`, however it is fastest.
    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64);

    /// Looks each of `wanted` up, as of one moment, and gives how many were as they should be:
    /// found and whole, or absent.
    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize;

    /// [`look_up`](Self::look_up) with one call for all of `wanted`; `None` where a store has no such
    /// call.
    fn look_up_together(&self, wanted: &[Wanted], look: Look) -> Option<usize> {
        let _ = (wanted, look);
        None
    }

    /// Looks one complete record up, as of now, every octet compared.
    fn get(&self, wanted: Wanted) -> impl Future<Output = bool> + Send {
        std::future::ready(self.look_up(&[wanted], Look::Payload) == 1)
    }

    /// Claims the keys of `numbers` and lets them be in flight until it is closed.
    fn hold(&self, numbers: Range<u64>) {
        let _ = numbers;
    }

    /// Claims each of `wanted`, which is answered from what is there; gives how many answers were
    /// what `answer` says. `None` where a claim is no single operation of the store.
    fn answers(&self, wanted: &[Wanted], answer: Answer) -> Option<usize> {
        let _ = (wanted, answer);
        None
    }

    /// [`answers`](Self::answers) with one call for all of `wanted`; `None` where a store has no such
    /// call.
    fn answers_together(&self, wanted: &[Wanted], answer: Answer) -> Option<usize> {
        let _ = (wanted, answer);
        None
    }

    /// Brings what it keeps in memory there; all of its files were read before.
    fn warm(&self) {}

    /// Forgets what expires before `now_ms`, and gives how many records that were.
    fn sweep(&self, now_ms: u64) -> u64;

    /// Does the work it has put off, so that a run leaves none for the next.
    fn settle(&self) {}

    /// Figures of its own, by name.
    fn figures(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Closes it in good order.
    fn close(self) {}
}
