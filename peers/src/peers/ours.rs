//! onceward, with its defaults but for how long it keeps what, and what its index may take.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use onceward::{
    Claim, ClaimOptions, Clock, Fingerprint, Key, Options, Reading, Record, State, Store, Ticket,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::job::{Answer, Look, Peer, Setup};
use crate::work::{BEGUN_MS, FAR_MS, Text, Wanted, digest, is_payload, payload, sure, text};

/// Most claims in flight while the store is filled.
const FILLERS: u64 = 1024;
/// Keys that are claimed, or released, with one write.
const TOGETHER: usize = 1000;

pub(crate) struct Ours {
    store: Store,
    hands: Hands,
    length: usize,
    held: Mutex<Vec<Ticket>>,
}

/// A clock whose hands a measurement moves.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn read(&self) -> Reading {
        let ms = self.0.load(Relaxed);
        Reading {
            since_boot: Duration::from_millis(ms),
            boot_id: Some([1; 16]),
            wall_ms: BEGUN_MS + ms,
        }
    }
}

fn key(text: &Text) -> Key<'_> {
    sure(Key::new("", text))
}

fn fingerprint(text: &Text) -> Fingerprint {
    Fingerprint::from_digest(digest(text))
}

/// The claim that is to be answered so.
fn asked(wanted: &Wanted, answer: Answer) -> (Key<'_>, Fingerprint) {
    let print = match answer {
        Answer::Mismatch => Fingerprint::from_digest([0xff; 32]),
        Answer::Replay | Answer::ReplayRead | Answer::InFlight => fingerprint(&wanted.text),
    };
    (key(&wanted.text), print)
}

impl Ours {
    fn is_answer(&self, wanted: &Wanted, answer: Answer, claim: Claim) -> bool {
        match (answer, claim) {
            (Answer::ReplayRead, Claim::Replay(record)) => {
                self.is_good(wanted, Some(record), Look::Payload)
            }
            (Answer::Replay, Claim::Replay(_))
            | (Answer::InFlight, Claim::InFlight(_))
            | (Answer::Mismatch, Claim::Mismatch(_)) => true,
            _ => false,
        }
    }

    #[inline]
    fn is_good(&self, wanted: &Wanted, record: Option<Record>, look: Look) -> bool {
        match (look, record) {
            (Look::Payload, Some(record)) => {
                let whole = |found: &[u8]| is_payload(found, wanted.number, self.length);
                sure(record.read(whole)).unwrap_or(false)
            }
            (Look::Head, Some(record)) => {
                record.state() == State::Complete
                    && record.fingerprint() == fingerprint(&wanted.text)
            }
            (Look::Miss, None) => true,
            _ => false,
        }
    }
}

impl Peer for Ours {
    type Ticket = Ticket;

    fn open(setup: &Setup) -> Self {
        let hands = Hands::default();
        let mut options = Options::new().ttl(setup.ttl).index_memory(setup.index_memory);
        if setup.still {
            options = options.clock(hands.clone());
        }
        if setup.in_flight > 0 {
            let claims = u32::try_from(setup.in_flight).unwrap_or(u32::MAX);
            options = options.max_in_flight(claims).max_in_flight_per_scope(claims);
        }
        let store = sure(options.open(setup.directory.join("store")));
        Self { store, hands, length: setup.length, held: Mutex::default() }
    }

    async fn claim(&self, text: Text) -> Option<Ticket> {
        match sure(self.store.claim(key(&text), fingerprint(&text)).await) {
            Claim::Granted(ticket) => Some(ticket),
            _ => None,
        }
    }

    async fn complete(&self, _text: Text, ticket: Ticket, payload: Bytes) {
        sure(ticket.complete(payload).await);
    }

    fn cycle(&self, text: Text, payload: Bytes) {
        match sure(self.store.blocking_claim(key(&text), fingerprint(&text))) {
            Claim::Granted(ticket) => sure(ticket.blocking_complete(payload)),
            other => panic!("a new key was not granted: {other:?}"),
        }
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        // What is to last as long as everything here does lasts as long as the store says.
        let options = if expires_at_ms == FAR_MS {
            ClaimOptions::new()
        } else {
            ClaimOptions::new().ttl(Duration::from_millis(expires_at_ms - BEGUN_MS))
        };
        let (next, end) = (Arc::new(AtomicU64::new(numbers.start)), numbers.end);
        Handle::current().block_on(async {
            let mut fillers = JoinSet::new();
            for _ in 0..FILLERS {
                let (store, next, length) = (self.store.clone(), Arc::clone(&next), self.length);
                fillers.spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Relaxed);
                        if number >= end {
                            return;
                        }
                        let text = text(number);
                        let claim = store.claim_with(key(&text), fingerprint(&text), options);
                        match sure(claim.await) {
                            Claim::Granted(ticket) => {
                                sure(ticket.complete(payload(number, length)).await);
                            }
                            other => panic!("a new key was not granted: {other:?}"),
                        }
                    }
                });
            }
            while let Some(ended) = fillers.join_next().await {
                sure(ended);
            }
        });
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        let good = |wanted: &&Wanted| {
            let record = sure(self.store.get(key(&wanted.text)));
            self.is_good(wanted, record, look)
        };
        wanted.iter().filter(good).count()
    }

    fn look_up_together(&self, wanted: &[Wanted], look: Look) -> Option<usize> {
        let keys: Vec<Key<'_>> = wanted.iter().map(|wanted| key(&wanted.text)).collect();
        let found = wanted.iter().zip(self.store.get_many(&keys));
        Some(
            found
                .filter_map(|(wanted, record)| {
                    self.is_good(wanted, sure(record), look).then_some(())
                })
                .count(),
        )
    }

    /// Waits until what was filled by another process is in the index.
    fn warm(&self) {
        while self.store.stats().unread_pieces > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hold(&self, numbers: Range<u64>) {
        let texts: Vec<Text> = numbers.map(text).collect();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for some in texts.chunks(TOGETHER) {
            let claims: Vec<_> = some.iter().map(|text| (key(text), fingerprint(text))).collect();
            for claim in self.store.blocking_claim_many(&claims) {
                match sure(claim) {
                    Claim::Granted(ticket) => held.push(ticket),
                    other => panic!("a new key was not granted: {other:?}"),
                }
            }
        }
    }

    fn answers(&self, wanted: &[Wanted], answer: Answer) -> Option<usize> {
        let good = |wanted: &&Wanted| {
            let (key, print) = asked(wanted, answer);
            self.is_answer(wanted, answer, sure(self.store.blocking_claim(key, print)))
        };
        Some(wanted.iter().filter(good).count())
    }

    fn answers_together(&self, wanted: &[Wanted], answer: Answer) -> Option<usize> {
        let claims: Vec<_> = wanted.iter().map(|wanted| asked(wanted, answer)).collect();
        let answers = wanted.iter().zip(self.store.blocking_claim_many(&claims));
        let is_good = |(wanted, claim)| self.is_answer(wanted, answer, sure(claim));
        Some(answers.map(is_good).filter(|good| *good).count())
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        let before = self.store.stats().expired;
        self.hands.0.store(now_ms - BEGUN_MS, Relaxed);
        sure(self.store.sweep());
        self.store.stats().expired - before
    }

    fn settle(&self) {
        sure(self.store.checkpoint());
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let stats = self.store.stats();
        vec![
            ("records", stats.records as f64),
            ("log_written", stats.bytes_written as f64),
            ("log_bytes", stats.log_bytes as f64),
            ("zeros", stats.bytes_zeroed as f64),
            ("index_bytes", stats.index_bytes as f64),
            ("checkpoint_lag", stats.checkpoint_lag as f64),
            ("tree_bytes", stats.tree_bytes as f64),
        ]
    }

    fn close(self) {
        // Released, so that the next process finds the store as this one did. Each is written when the
        // future is made, so that many share a sync.
        let mut held = self.held.into_inner().unwrap_or_else(PoisonError::into_inner);
        while !held.is_empty() {
            let some = held.split_off(held.len().saturating_sub(TOGETHER));
            let released: Vec<_> = some.into_iter().map(Ticket::release).collect();
            for one in released {
                sure(Handle::current().block_on(one));
            }
        }
        sure(self.store.close());
    }
}
