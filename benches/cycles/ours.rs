//! The same work over a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use onceward::{Claim, Options, Stats, Store, SweepReport};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::hands::Hands;
use super::{directory, keys, sure};

/// A store of its own, and a runtime of two threads for its tasks.
pub(crate) struct Ours {
    store: Store,
    hands: Hands,
    next: Arc<AtomicU64>,
    payload: Bytes,
    runtime: Runtime,
    _directory: TempDir,
}

/// How long calls took, microseconds.
#[derive(Default)]
pub(crate) struct Waits {
    pub(crate) claim: Vec<u32>,
    pub(crate) complete: Vec<u32>,
    pub(crate) get: Vec<u32>,
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

impl Ours {
    pub(crate) fn new(options: Options) -> Self {
        Self::with(options, Hands::default(), keys::payload().into())
    }

    /// A store that keeps results of 64 octets for `ttl`, on a clock that stands still.
    pub(crate) fn keeping(ttl: Duration) -> Self {
        let hands = Hands::default();
        let options = Options::new().ttl(ttl).index_memory(2 << 30).clock(hands.clone());
        Self::with(options, hands, vec![7; 64].into())
    }

    fn with(options: Options, hands: Hands, payload: Bytes) -> Self {
        let directory = directory();
        let store = sure(options.open(directory.path().join("store")));
        let runtime = sure(
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        );
        Self { store, hands, next: Arc::default(), payload, runtime, _directory: directory }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.store.stats()
    }

    pub(crate) fn checkpoint(&self) {
        sure(self.store.checkpoint());
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.hands.advance(by);
    }

    pub(crate) fn sweep(&self) -> SweepReport {
        sure(self.store.sweep())
    }

    /// Cycles a second of one thread, one after another.
    pub(crate) fn alone(&self, slice: Duration) -> f64 {
        let (began, mut cycles) = (Instant::now(), 0_u64);
        while began.elapsed() < slice {
            let text = keys::text(self.next.fetch_add(1, Relaxed));
            let claim = self.store.blocking_claim(keys::key(&text), keys::fingerprint(&text));
            let Claim::Granted(ticket) = sure(claim) else { panic!("a key was used twice") };
            sure(ticket.blocking_complete(self.payload.clone()));
            cycles += 1;
        }
        cycles as f64 / began.elapsed().as_secs_f64()
    }

    /// Cycles a second of `tasks` tasks, the checkpoint of all of them counted with them.
    pub(crate) fn run(&self, tasks: u64, slice: Duration) -> f64 {
        let began = Instant::now();
        let before = self.next.load(Relaxed);
        self.cycles(tasks, u64::MAX, Some(slice));
        self.checkpoint();
        (self.next.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
    }

    /// Fills the store with `records` more.
    pub(crate) fn fill(&self, records: u64) {
        self.cycles(1024, self.next.load(Relaxed) + records, None);
    }

    fn cycles(&self, tasks: u64, upto: u64, slice: Option<Duration>) {
        let stop = Arc::new(AtomicBool::new(false));
        let each = (0..tasks).map(|_| {
            let (store, next) = (self.store.clone(), Arc::clone(&self.next));
            let (stop, payload) = (Arc::clone(&stop), self.payload.clone());
            self.runtime.spawn(async move {
                while !stop.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= upto {
                        next.fetch_sub(1, Relaxed);
                        break;
                    }
                    let text = keys::text(number);
                    let claim = store.claim(keys::key(&text), keys::fingerprint(&text)).await;
                    let Claim::Granted(ticket) = sure(claim) else {
                        panic!("a key was used twice")
                    };
                    sure(ticket.complete(payload.clone()).await);
                }
            })
        });
        let each: Vec<_> = each.collect();
        if let Some(slice) = slice {
            std::thread::sleep(slice);
            stop.store(true, Relaxed);
        }
        self.runtime.block_on(async {
            for task in each {
                sure(task.await);
            }
        });
    }

    /// How long the calls of `tasks` tasks take, while checkpoints and sweeps run.
    pub(crate) fn waits(&self, tasks: u64, slice: Duration) -> Waits {
        let stop = Arc::new(AtomicBool::new(false));
        let each = (0..tasks).map(|_| {
            let (store, next) = (self.store.clone(), Arc::clone(&self.next));
            let (stop, payload) = (Arc::clone(&stop), self.payload.clone());
            self.runtime.spawn(async move {
                let mut waits = Waits::default();
                while !stop.load(Relaxed) {
                    let text = keys::text(next.fetch_add(1, Relaxed));
                    let began = Instant::now();
                    let claim = store.claim(keys::key(&text), keys::fingerprint(&text)).await;
                    waits.claim.push(micros(began));
                    let Claim::Granted(ticket) = sure(claim) else {
                        panic!("a key was used twice")
                    };
                    let began = Instant::now();
                    sure(ticket.complete(payload.clone()).await);
                    waits.complete.push(micros(began));
                    let began = Instant::now();
                    assert!(sure(store.get(keys::key(&text))).is_some());
                    waits.get.push(micros(began));
                }
                waits
            })
        });
        let each: Vec<_> = each.collect();
        std::thread::sleep(slice);
        stop.store(true, Relaxed);
        let mut all = Waits::default();
        self.runtime.block_on(async {
            for task in each {
                let waits = sure(task.await);
                all.claim.extend(waits.claim);
                all.complete.extend(waits.complete);
                all.get.extend(waits.get);
            }
        });
        all
    }
}
