//! A store with results in it, stepped by hand, on the disk: what is looked up is read from the map
//! as it is in any store.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use onceward::{Claim, Fingerprint, Key, ManualClock, Options, Store, Ticket};
use tempfile::TempDir;

use crate::{CALLS, at_once, sure};

/// A key: a UUID in text.
pub type Text = [u8; 36];

/// Octets of a payload.
pub const PAYLOAD: usize = 512;
/// How long a result is kept.
const RETENTION: Duration = Duration::from_secs(60);
/// Results there are.
const RECORDS: u64 = 1_024;
/// The first key that nobody claimed.
const UNKNOWN: u64 = 1 << 40;

/// The `number`th key: it says nothing of its place in the row.
pub fn text(number: u64) -> Text {
    let mut rng = Rng::with_seed(number);
    let mut text = *b"00000000-0000-4000-8000-000000000000";
    for (at, octet) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 14 | 18 | 19 | 23) {
            *octet = rng.choice(*b"0123456789abcdef").unwrap_or(b'0');
        }
    }
    text
}

/// The key of a text, in a scope as the layer's are: 32 octets.
pub fn key(text: &Text) -> Key<'_> {
    sure(Key::new(b"one caller's scope, of 32 octets", text))
}

/// The fingerprint of the request that bears a text.
pub fn fingerprint(text: &Text) -> Fingerprint {
    Fingerprint::from_digest(text.first_chunk().copied().unwrap_or_default())
}

/// A response, of octets that do not compress.
pub fn payload() -> Bytes {
    let mut rng = Rng::with_seed(7);
    (0..PAYLOAD).map(|_| rng.u8(..)).collect()
}

/// A store with results, and keys to ask it for.
pub struct Filled {
    /// The store itself.
    pub store: Store,
    /// Keys of results.
    pub known: Vec<Text>,
    /// Keys that nobody claimed.
    pub unknown: Vec<Text>,
    /// A response.
    pub payload: Bytes,
    /// What holds keys in flight.
    pub tickets: Vec<Ticket>,
    clock: ManualClock,
    directory: TempDir,
}

/// A store that is closed, with as many results as [`Filled`] has.
pub struct Closed {
    clock: ManualClock,
    directory: TempDir,
}

impl Closed {
    /// A store of results alone, closed.
    pub fn new() -> Self {
        let Filled { store, clock, directory, .. } = Filled::new();
        sure(store.close());
        Self { clock, directory }
    }

    /// Opens it.
    pub fn open(&self) -> Store {
        open(&self.directory, &self.clock)
    }
}

impl Default for Closed {
    fn default() -> Self {
        Self::new()
    }
}

/// The store of `directory`: whatever it does, it does when it is called.
fn open(directory: &TempDir, clock: &ManualClock) -> Store {
    let options = Options::new().stepped().seeded(7).clock(clock.clone()).ttl(RETENTION);
    sure(options.open(directory.path().join("store")))
}

impl Filled {
    /// A store of results alone.
    pub fn new() -> Self {
        let directory = sure(tempfile::tempdir());
        let clock = ManualClock::new(1_700_000_000_000);
        let store = open(&directory, &clock);
        let mut rng = Rng::with_seed(1);
        let mut filled = Self {
            store,
            known: (0..CALLS).map(|_| text(rng.u64(..RECORDS))).collect(),
            unknown: (0..CALLS).map(|nth| text(UNKNOWN + nth)).collect(),
            payload: payload(),
            tickets: Vec::new(),
            clock,
            directory,
        };
        filled.cycles((0..RECORDS).map(text));
        sure(filled.store.checkpoint());
        // Whatever is made at the first look is there.
        filled.claims();
        for text in filled.known.iter().chain(&filled.unknown) {
            sure(filled.store.get(key(text)));
        }
        filled
    }

    /// A store of results that the tree has not taken in yet.
    pub fn behind() -> Self {
        let mut filled = Self::new();
        filled.cycles((RECORDS..2 * RECORDS).map(text));
        filled
    }

    /// A store whose results have all expired.
    pub fn expired() -> Self {
        let filled = Self::new();
        filled.clock.advance(2 * RETENTION);
        filled
    }

    /// A store in which the known keys are claimed and not done.
    pub fn in_flight() -> Self {
        let mut filled = Self::new();
        filled.known.clone_from(&filled.unknown);
        for text in filled.known.clone() {
            filled.tickets.push(filled.granted(&text));
        }
        filled
    }

    /// Claims and completes each of `texts`, one after another: two groups each.
    pub fn cycles(&mut self, texts: impl IntoIterator<Item = Text>) {
        for text in texts {
            let ticket = self.granted(&text);
            sure(self.stepped(ticket.complete(self.payload.clone())));
        }
    }

    /// Claims the known keys, as whoever asks again does.
    pub fn claims(&self) -> usize {
        let replays = self
            .known
            .iter()
            .filter(|text| matches!(self.claim(text, fingerprint(text)), Claim::Replay(_)));
        replays.count()
    }

    /// Claims the known keys, all in one call.
    pub fn claims_together(&self) -> usize {
        let wanted: Vec<_> = self.known.iter().map(|text| (key(text), fingerprint(text))).collect();
        let claims = at_once(self.store.claim_many(&wanted));
        claims.into_iter().filter(|claim| matches!(claim, Ok(Claim::Replay(_)))).count()
    }

    /// A claim that is answered at once.
    pub fn claim(&self, text: &Text, fingerprint: Fingerprint) -> Claim {
        sure(at_once(self.store.claim(key(text), fingerprint)))
    }

    fn granted(&self, text: &Text) -> Ticket {
        match sure(self.stepped(self.store.claim(key(text), fingerprint(text)))) {
            Claim::Granted(ticket) => ticket,
            other => panic!("a key nobody has claimed was not granted: {other:?}"),
        }
    }

    /// What a future resolves to, the committer stepped for as long as it waits.
    fn stepped<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            assert!(sure(self.store.step()), "a future waits, and there is nothing to do");
        }
    }
}

impl Default for Filled {
    fn default() -> Self {
        Self::new()
    }
}
