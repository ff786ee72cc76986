//! The work over onceward.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use onceward::{Claim, Options, Store, SweepReport};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::hands::Hands;
use super::keys::{self, Text};
use super::{directory, read_all, sure};

/// A store of its own.
pub(crate) struct Ours {
    store: Store,
    clock: Hands,
    /// The number of the next key that nobody has claimed.
    next: u64,
    payload: Bytes,
    _directory: TempDir,
}

impl Ours {
    /// A store with the defaults, on the system's clocks.
    pub(crate) fn new() -> Self {
        Self::with(Options::new(), Hands::default())
    }

    /// A store that keeps results for `ttl`, on a clock that stands still.
    pub(crate) fn keeping(ttl: Duration) -> Self {
        let clock = Hands::default();
        Self::with(Options::new().ttl(ttl).clock(clock.clone()), clock)
    }

    fn with(options: Options, clock: Hands) -> Self {
        let directory = directory();
        let store = sure(options.open(directory.path().join("store")));
        let payload = keys::payload().into();
        Self { store, clock, next: 0, payload, _directory: directory }
    }

    /// Lets `by` pass on a clock that stands still.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Looks each of `texts` up and reads what is found; gives how many there were.
    pub(crate) fn look_up(&self, texts: &[Text]) -> usize {
        let mut found = 0;
        let mut sum = 0_u64;
        for text in texts {
            if let Some(record) = sure(self.store.get(keys::key(text))) {
                let read = sure(record.read(read_all)).unwrap_or_default();
                sum = sum.wrapping_add(read);
                found += 1;
            }
        }
        std::hint::black_box(sum);
        found
    }

    /// Cycles, one after another, on this thread.
    pub(crate) fn cycles_alone(&mut self, count: u64) -> Duration {
        let begun = Instant::now();
        for number in self.take(count) {
            let text = keys::text(number);
            let claim = sure(self.store.blocking_claim(keys::key(&text), keys::fingerprint(&text)));
            sure(granted(claim).blocking_complete(self.payload.clone()));
        }
        begun.elapsed()
    }

    /// Cycles of `tasks` tasks, each at one key after another; and then, in the same time, the
    /// checkpoint of all of them, so that no run leaves work behind for the next.
    pub(crate) fn cycles(&mut self, runtime: &Runtime, tasks: usize, count: u64) -> Duration {
        let begun = Instant::now();
        let numbers = Arc::new(AtomicU64::new(self.next));
        let end = self.take(count).end;
        runtime.block_on(async {
            let mut running = JoinSet::new();
            for _ in 0..tasks {
                let (store, payload) = (self.store.clone(), self.payload.clone());
                let numbers = Arc::clone(&numbers);
                running.spawn(async move {
                    loop {
                        let number = numbers.fetch_add(1, Relaxed);
                        if number >= end {
                            return;
                        }
                        let text = keys::text(number);
                        let claim = store.claim(keys::key(&text), keys::fingerprint(&text)).await;
                        sure(granted(sure(claim)).complete(payload.clone()).await);
                    }
                });
            }
            while let Some(ended) = running.join_next().await {
                sure(ended);
            }
        });
        sure(self.store.checkpoint());
        begun.elapsed()
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&self) -> (SweepReport, Duration) {
        let begun = Instant::now();
        let report = sure(self.store.sweep());
        (report, begun.elapsed())
    }

    /// Records there are.
    pub(crate) fn records(&self) -> u64 {
        self.store.stats().records
    }

    fn take(&mut self, count: u64) -> std::ops::Range<u64> {
        let begin = self.next;
        self.next += count;
        begin..self.next
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Before its directory goes; a fault here spoils no figure.
        let _ = self.store.close();
    }
}

fn granted(claim: Claim) -> onceward::Ticket {
    match claim {
        Claim::Granted(ticket) => ticket,
        other => panic!("a key nobody has claimed was not granted: {other:?}"),
    }
}
