//! The store under the benchmark, through its public interface.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use onceward::{Claim, Clock, Durability, Options, Reading, Store, Ticket};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::keys::{self, Text};
use super::{Stop, store_failed};
use crate::Failure;

/// How long results are kept where they are to expire.
const TTL: Duration = Duration::from_secs(60 * 60);
/// Index memory for a key, octets: more than one takes, so that no claim is refused for want of it.
const INDEX_OCTETS: u64 = 64;
/// From here on are keys that are neither results' nor looked up.
const NEVER: u64 = 2 * keys::UNKNOWN;

/// A store, and the keys that are used in it.
pub(super) struct Ours {
    store: Store,
    clock: Hands,
    /// The number of the next key that nobody has claimed.
    next: u64,
    payload: Bytes,
}

/// A clock whose hands the benchmark moves.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn read(&self) -> Reading {
        let ms = self.0.load(Relaxed);
        Reading {
            since_boot: Duration::from_millis(ms),
            boot_id: Some([1; 16]),
            wall_ms: 1_700_000_000_000 + ms,
        }
    }
}

/// What some cycles took.
#[derive(Default)]
pub(super) struct Ran {
    pub(super) cycles: u64,
    pub(super) time: Duration,
    /// Of each cycle, nanoseconds.
    pub(super) latencies_ns: Vec<u64>,
}

impl Ours {
    /// The store in `directory`, on the system's clocks; the first `next` keys are claimed in it.
    pub(super) fn open(
        directory: &Path,
        durability: Durability,
        next: u64,
        most: u64,
    ) -> Result<Self, Failure> {
        Self::with(Options::new().durability(durability), Hands::default(), directory, next, most)
    }

    /// A store on a clock that stands still, whose results expire.
    pub(super) fn expiring(directory: &Path, most: u64) -> Result<Self, Failure> {
        let clock = Hands::default();
        let options = Options::new().durability(Durability::Buffered).ttl(TTL).clock(clock.clone());
        Self::with(options, clock, directory, 0, most)
    }

    fn with(
        options: Options,
        clock: Hands,
        directory: &Path,
        next: u64,
        most: u64,
    ) -> Result<Self, Failure> {
        let index = (most * INDEX_OCTETS).max(256 << 20);
        let store = options.index_memory(index).open(directory);
        let store = store.map_err(|error| store_failed(&error))?;
        Ok(Self { store, clock, next, payload: keys::payload().into() })
    }

    /// The number of the next key that nobody has claimed.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the key is there; every byte of its result is read.
    pub(super) fn get(&self, text: &Text) -> Result<bool, Failure> {
        let record = self.store.get(keys::key(text)?).map_err(|error| store_failed(&error))?;
        let Some(record) = record else { return Ok(false) };
        let read = record.read(keys::read_all).map_err(|error| store_failed(&error))?;
        Ok(std::hint::black_box(read).is_some())
    }

    /// Whether all the keys are there, looked up together; every byte of their results is read.
    pub(super) fn get_many(&self, texts: &[Text]) -> Result<bool, Failure> {
        let keys = texts.iter().map(keys::key).collect::<Result<Vec<_>, Failure>>()?;
        let mut all = true;
        for record in self.store.get_many(&keys) {
            let record = record.map_err(|error| store_failed(&error))?;
            let read = record.map_or(Ok(None), |record| record.read(keys::read_all));
            all &= std::hint::black_box(read.map_err(|error| store_failed(&error))?).is_some();
        }
        Ok(all)
    }

    /// Whether a claim of the key is answered with its result.
    pub(super) fn replays(&self, text: &Text) -> Result<bool, Failure> {
        let claim = self.store.blocking_claim(keys::key(text)?, keys::fingerprint(text));
        Ok(matches!(claim.map_err(|error| store_failed(&error))?, Claim::Replay(_)))
    }

    /// Cycles of `tasks` tasks, each at one key after another, until `time` is over or `most` are
    /// begun.
    pub(super) fn cycles(
        &mut self,
        runtime: &Handle,
        tasks: u64,
        most: u64,
        time: Duration,
        stop: &Stop,
    ) -> Result<Ran, Failure> {
        let (begin, end) = (self.next, self.next + most);
        let next = Arc::new(AtomicU64::new(begin));
        let begun = Instant::now();
        let latencies_ns = runtime.block_on(async {
            let mut running = JoinSet::new();
            for _ in 0..tasks {
                let (store, payload) = (self.store.clone(), self.payload.clone());
                let (next, stop) = (Arc::clone(&next), stop.clone());
                running.spawn(async move {
                    let mut latencies = Vec::new();
                    // One each at the least: a slice may be over before all have begun.
                    while latencies.is_empty() || begun.elapsed() < time && !stop.is_set() {
                        let number = next.fetch_add(1, Relaxed);
                        if number >= end {
                            break;
                        }
                        let began = Instant::now();
                        cycle(&store, number, payload.clone()).await?;
                        latencies.push(began.elapsed().as_nanos() as u64);
                    }
                    Ok::<_, Failure>(latencies)
                });
            }
            let (mut all, mut failure) = (Vec::new(), None);
            // All of them, whatever became of one: nobody writes here once this returns.
            while let Some(ended) = running.join_next().await {
                match ended.map_err(|error| Failure::Failed(error.to_string())).flatten() {
                    Ok(latencies) => all.extend(latencies),
                    Err(why) => failure = failure.or(Some(why)),
                }
            }
            failure.map_or(Ok(all), Err)
        })?;
        self.next = end.min(next.load(Relaxed));
        stop.check()?;
        Ok(Ran { cycles: latencies_ns.len() as u64, time: begun.elapsed(), latencies_ns })
    }

    /// The durable grant of a key that was never used.
    pub(super) fn grant(&self) -> Result<Ticket, Failure> {
        let text = keys::text(NEVER + self.next);
        let claim = self.store.blocking_claim(keys::key(&text)?, keys::fingerprint(&text));
        granted(claim.map_err(|error| store_failed(&error))?)
    }

    /// Lets all results expire and sweeps them away; gives how many there were, and the time.
    pub(super) fn sweep(&self) -> Result<(u64, Duration), Failure> {
        self.checkpoint()?;
        let past = TTL + TTL / 2;
        self.clock.0.fetch_add(past.as_millis() as u64, Relaxed);
        let begun = Instant::now();
        let report = self.store.sweep().map_err(|error| store_failed(&error))?;
        Ok((report.expired, begun.elapsed()))
    }

    /// Puts what was published into the tree, so that no work is left for what comes next.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        self.store.checkpoint().map_err(|error| store_failed(&error))
    }

    /// Closes the store.
    pub(super) fn close(self) -> Result<(), Failure> {
        self.store.close().map_err(|error| store_failed(&error))
    }
}

async fn cycle(store: &Store, number: u64, payload: Bytes) -> Result<(), Failure> {
    let text = keys::text(number);
    let claim = store.claim(keys::key(&text)?, keys::fingerprint(&text)).await;
    let ticket = granted(claim.map_err(|error| store_failed(&error))?)?;
    ticket.complete(payload).await.map_err(|error| Failure::Failed(format!("the store: {error}")))
}

fn granted(claim: Claim) -> Result<Ticket, Failure> {
    match claim {
        Claim::Granted(ticket) => Ok(ticket),
        other => {
            Err(Failure::Failed(format!("a key nobody has claimed was not granted: {other:?}")))
        }
    }
}
