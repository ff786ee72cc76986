//! A store in use: random operations, several in flight at a time, each told to the oracle.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use onceward::storage::SimDisk;
use onceward::{
    Claim, ClaimOptions, Error, ErrorKind, Fingerprint, Resolution, Resolved, Store, Ticket,
    TicketError,
};

use crate::call::{Boxed, Call};
use crate::oracle::{Content, Fact, Oracle, brief};
use crate::tolerance::Tolerance;
use crate::world::{KEYS, TTL_MS, Time, key, open};

/// A store in use.
pub(crate) struct Workload {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) time: Time,
    pub(crate) oracle: Oracle,
    pub(crate) store: Option<Store>,
    rng: Rng,
    print: Fingerprint,
    tolerance: Tolerance,
    calls: Vec<(usize, Call)>,
    tickets: Vec<(usize, u64, Ticket)>,
    payloads: u64,
    opened: bool,
    /// Calls refused for want of space.
    pub(crate) refused: u64,
}

impl Workload {
    /// On `disk`, where a store may be, of which the oracle knows.
    pub(crate) fn new(
        disk: Arc<SimDisk>,
        time: Time,
        oracle: Oracle,
        rng: Rng,
        tolerance: Tolerance,
    ) -> Self {
        let print = Fingerprint::of("POST /v1/sites");
        Self {
            disk,
            time,
            oracle,
            store: None,
            rng,
            print,
            tolerance,
            calls: Vec::new(),
            tickets: Vec::new(),
            payloads: 0,
            opened: false,
            refused: 0,
        }
    }

    /// A workload on a new disk.
    pub(crate) fn begin(seed: u64, tolerance: Tolerance) -> Self {
        let (disk, oracle) = (Arc::new(SimDisk::new(seed)), Oracle::new(KEYS));
        Self::new(disk, Time::new(), oracle, Rng::with_seed(seed), tolerance)
    }

    /// Opens the store and looks at every key.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        let mut opened = open(&self.disk, &self.time);
        if opened.is_err() && self.tolerance == Tolerance::Io && !self.disk.is_off() {
            if !self.opened {
                // A device that fails while the store is made may never write the directory's name.
                self.disk = Arc::new(self.disk.power_loss_total());
            }
            // The one fault was in the way; a second attempt is what an operator makes.
            opened = open(&self.disk, &self.time);
        }
        match opened {
            Ok(store) => (self.store, self.opened) = (Some(store), true),
            Err(_) if self.disk.is_off() => return Ok(()),
            Err(error) => return Err(format!("the store does not open: {error:?}")),
        }
        self.look_at_all()
    }

    /// Looks at every key of a store that was opened just now.
    pub(crate) fn look_at_all(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for number in 0..KEYS {
            let seen = store.get(key(number));
            if self.disk.is_off() {
                return Ok(());
            }
            self.oracle.seen_anew(number, seen)?;
        }
        match store.stats().suspect_until_ms {
            Some(_) => Err("the store takes itself for damaged".to_owned()),
            None => Ok(()),
        }
    }

    /// Looks at every key of a store in use: reads go on, also when writes have ended.
    pub(crate) fn look_at_living(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for number in 0..KEYS {
            let seen = store.get(key(number));
            self.seen(number, seen)?;
        }
        Ok(())
    }

    /// Uses the store for that many operations, or until the power is off.
    pub(crate) fn run(&mut self, operations: u32) -> Result<(), String> {
        if self.store.is_none() {
            self.open()?;
        }
        for _ in 0..operations {
            if self.store.is_none() || self.disk.is_off() {
                break;
            }
            self.operation()?;
            if self.rng.u32(..100) < 45 {
                self.settle()?;
            }
        }
        self.settle()
    }

    /// The processes end: futures, tickets and handles go, and the oracle is told.
    pub(crate) fn end(&mut self) {
        self.store = None;
        self.calls.clear();
        self.tickets.clear();
        self.oracle.restart();
    }

    fn operation(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        match self.rng.u32(..100) {
            0..=35 => {
                let number = self.rng.usize(..KEYS);
                self.claim(&store, number)?;
            }
            36..=63 => self.finish(),
            64..=66 => self.drop_ticket(),
            67..=69 => self.drop_call(),
            70..=76 => self.resolve(&store),
            77..=80 => {
                let number = self.rng.usize(..KEYS);
                let seen = store.get(key(number));
                self.seen(number, seen)?;
            }
            81..=84 => {
                let stepped = store.step().map(drop);
                self.tolerate("step", stepped)?;
            }
            85..=88 => {
                let done = store.checkpoint();
                self.tolerate("checkpoint", done)?;
            }
            89..=92 => {
                let swept = store.sweep().map(drop);
                self.tolerate("sweep", swept)?;
            }
            93..=94 => self.last_moment(&store)?,
            95..=96 => {
                let ms = [1, 40, 700, 3_000, TTL_MS + 1][self.rng.usize(..5)];
                self.advance(ms);
            }
            // A store on a full disk does not open: it has nowhere to go on.
            _ if self.tolerance == Tolerance::Full => {}
            _ => self.reopen(&store)?,
        }
        self.poll()
    }

    /// Sweeps at the last moment of a record, which is there, and perhaps just after.
    fn last_moment(&mut self, store: &Store) -> Result<(), String> {
        let Some(until_ms) = self.oracle.next_last_moment() else { return Ok(()) };
        let early_ms = [0, 0, 1, 50, 150][self.rng.usize(..5)];
        self.advance((until_ms - self.oracle.now_ms).saturating_sub(early_ms));
        let swept = store.sweep().map(drop);
        self.tolerate("sweep", swept)?;
        self.poll()?;
        let poisoned = store.stats().poisoned;
        if !self.disk.is_off() && !poisoned {
            self.look_at_living()?;
        }
        let just_after = self.rng.bool();
        self.advance(u64::from(just_after));
        Ok(())
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.time.advance(ms);
        self.oracle.now_ms += ms;
    }

    fn seen(
        &mut self,
        number: usize,
        seen: Result<Option<onceward::Record>, Error>,
    ) -> Result<(), String> {
        if self.disk.is_off() {
            return Ok(());
        }
        let claims = self.claims_of(number);
        self.oracle.seen(number, seen, claims)
    }

    /// Begins a claim of the key, and polls it once.
    pub(crate) fn claim(&mut self, store: &Store, number: usize) -> Result<(), String> {
        let ttl_ms = if self.rng.u32(..5) == 0 { 2_500 } else { TTL_MS };
        let options = ClaimOptions::new().ttl(Duration::from_millis(ttl_ms));
        let future = Box::pin(store.claim_with(key(number), self.print, options));
        self.oracle.claim_begun(number, ttl_ms);
        self.calls.push((number, Call::Claim { ttl_ms, future }));
        self.poll()
    }

    fn payload(&mut self) -> Vec<u8> {
        let len = match self.rng.u32(..20) {
            0 => self.rng.usize(66_000..150_000),
            1..=3 => self.rng.usize(8_000..30_000),
            4..=7 => self.rng.usize(500..4_000),
            8 => 0,
            _ => self.rng.usize(1..200),
        };
        self.payloads += 1;
        // No payload is like another, and each looks different all through.
        let (number, salt) = (self.payloads, self.rng.u64(..));
        let mut payload = number.to_le_bytes().to_vec();
        payload.extend((0..len as u64).map(|at| (at.wrapping_mul(31) ^ salt >> (at % 57)) as u8));
        payload
    }

    /// Finishes one of the tickets, in one of the ways there are.
    fn finish(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let chosen = self.rng.usize(..self.tickets.len());
        let (number, ttl_ms, ticket) = self.tickets.swap_remove(chosen);
        let how = self.rng.u32(..10);
        self.finish_ticket(number, ttl_ms, ticket, how);
    }

    /// `how`: 0 to 7 completes, 8 leaves a tombstone, 9 releases.
    pub(crate) fn finish_ticket(&mut self, number: usize, ttl_ms: u64, ticket: Ticket, how: u32) {
        let until_ms = self.oracle.now_ms + ttl_ms;
        let (fact, future): (_, Boxed<Result<(), TicketError<Ticket>>>) = match how {
            9 => (Fact::Free, Box::pin(ticket.release())),
            8 => {
                let note = self.payload().into_iter().take(16).collect::<Vec<u8>>();
                let content = Content::Note(note.clone());
                let fact = Fact::Done { content, until_ms };
                (fact, Box::pin(ticket.complete_without_payload(note)))
            }
            _ => {
                let payload = self.payload();
                let content = Content::Payload(payload.clone());
                (Fact::Done { content, until_ms }, Box::pin(ticket.complete(payload)))
            }
        };
        self.oracle.begun(number, fact.clone());
        self.calls.push((number, Call::Finish { fact, ttl_ms, future }));
    }

    fn drop_ticket(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let chosen = self.rng.usize(..self.tickets.len());
        let (number, ttl_ms, ticket) = self.tickets.swap_remove(chosen);
        let until_ms = self.oracle.now_ms + ttl_ms;
        self.oracle.begun(number, Fact::InDoubt { until_ms });
        drop(ticket);
    }

    fn drop_call(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let chosen = self.rng.usize(..self.calls.len());
        let (number, call) = self.calls.remove(chosen);
        match &call {
            // The claim it gave up, if it made one, may be on disk without its release.
            Call::Claim { .. } | Call::Resolve { .. } => {}
            Call::Finish { fact, ttl_ms, .. } => {
                let until_ms = self.oracle.now_ms + ttl_ms;
                if matches!(fact, Fact::Done { .. }) {
                    // It waited for room, and there is always room for a tombstone.
                    let content = Content::Note(Vec::new());
                    self.oracle.begun(number, Fact::Done { content, until_ms });
                }
            }
        }
        drop(call);
    }

    fn resolve(&mut self, store: &Store) {
        let number = self.rng.usize(..KEYS);
        let until_ms = self.oracle.now_ms + TTL_MS;
        let (fact, resolution) = if self.rng.bool() {
            (Fact::Free, Resolution::Release)
        } else {
            let payload = self.payload();
            let content = Content::Payload(payload.clone());
            (Fact::Done { content, until_ms }, Resolution::Complete(payload.into()))
        };
        let future = Box::pin(store.resolve(key(number), resolution));
        // Refused without being written for a key in any other state.
        let begun = self.oracle.may_be_in_doubt(number);
        if begun {
            self.oracle.begun(number, fact.clone());
        }
        self.calls.push((number, Call::Resolve { fact, begun, future }));
    }

    fn reopen(&mut self, store: &Store) -> Result<(), String> {
        let closed = store.close();
        self.tolerate("close", closed)?;
        self.poll()?;
        self.end();
        if self.disk.is_off() { Ok(()) } else { self.open() }
    }

    /// Closes the store; what was in flight is answered first.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let closed = store.close();
        self.tolerate("close", closed)?;
        self.poll()?;
        self.end();
        Ok(())
    }

    fn tolerate(&self, what: &str, outcome: Result<(), Error>) -> Result<(), String> {
        match outcome {
            Ok(()) => Ok(()),
            Err(_) if self.disk.is_off() => Ok(()),
            Err(error) if self.is_tolerable(&error) => Ok(()),
            Err(error) => Err(format!("{what} failed: {error:?}")),
        }
    }

    fn refuse(&mut self, what: &str, error: Error) -> Result<(), String> {
        self.refused += u64::from(error.kind() == ErrorKind::Full);
        self.tolerate(what, Err(error))
    }

    fn is_tolerable(&self, error: &Error) -> bool {
        self.disk.is_off() || self.tolerance.allows(error.kind())
    }

    /// Steps the store until nothing moves any more, polling whoever waits.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.poll()?;
        for _ in 0..100 {
            let Some(store) = self.store.clone() else { return Ok(()) };
            let stepped = store.step();
            let moved = matches!(stepped, Ok(true));
            self.tolerate("step", stepped.map(drop))?;
            let before = self.calls.len();
            self.poll()?;
            if !moved && self.calls.len() == before {
                return self.nobody_waits();
            }
        }
        Err("the store steps without end".to_owned())
    }

    fn nobody_waits(&self) -> Result<(), String> {
        let stuck = !self.calls.is_empty() && !self.disk.is_off();
        if stuck && self.tolerance == Tolerance::None {
            let calls: Vec<String> = self
                .calls
                .iter()
                .map(|(number, call)| match call {
                    Call::Claim { .. } => format!("a claim of key {number}"),
                    Call::Finish { fact, .. } => format!("key {number}, to end {}", brief(fact)),
                    Call::Resolve { .. } => format!("a resolution of key {number}"),
                })
                .collect();
            let stats = self.store.as_ref().map(Store::stats);
            return Err(format!("nothing moves, and {calls:?} wait: {stats:?}"));
        }
        Ok(())
    }

    /// The shortest retention among the claims of this key that have not come back.
    fn claims_of(&self, number: usize) -> Option<u64> {
        let claims = self.calls.iter().filter(|(other, _)| *other == number);
        claims
            .filter_map(|(_, call)| match call {
                Call::Claim { ttl_ms, .. } => Some(*ttl_ms),
                _ => None,
            })
            .min()
    }

    /// Polls every call once, in the order in which they were begun.
    fn poll(&mut self) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut at = 0;
        while at < self.calls.len() {
            let number = self.calls[at].0;
            match &mut self.calls[at].1 {
                Call::Claim { ttl_ms, future } => {
                    let ttl_ms = *ttl_ms;
                    let Poll::Ready(claim) = future.as_mut().poll(&mut context) else {
                        at += 1;
                        continue;
                    };
                    drop(self.calls.remove(at));
                    self.claimed(number, ttl_ms, claim)?;
                }
                Call::Finish { fact, ttl_ms, future } => {
                    let Poll::Ready(done) = future.as_mut().poll(&mut context) else {
                        at += 1;
                        continue;
                    };
                    let (fact, ttl_ms) = (fact.clone(), *ttl_ms);
                    drop(self.calls.remove(at));
                    self.finished(number, ttl_ms, fact, done)?;
                }
                Call::Resolve { fact, begun, future } => {
                    let Poll::Ready(resolved) = future.as_mut().poll(&mut context) else {
                        at += 1;
                        continue;
                    };
                    let (fact, begun) = (fact.clone(), *begun);
                    drop(self.calls.remove(at));
                    let claims = self.claims_of(number);
                    match resolved {
                        Ok(Resolved::Done) => self.oracle.is(number, fact, claims),
                        Ok(_) if begun => self.oracle.withdraw(number, &fact),
                        Ok(_) => {}
                        Err(error) => self.tolerate("resolve", Err(error))?,
                    }
                }
            }
        }
        Ok(())
    }

    fn claimed(
        &mut self,
        number: usize,
        ttl_ms: u64,
        claim: Result<Claim, Error>,
    ) -> Result<(), String> {
        let claims = self.claims_of(number);
        match claim {
            Ok(Claim::Granted(ticket)) => {
                self.oracle.granted(number, ttl_ms, claims)?;
                if let Some((_, _, other)) = self.tickets.iter().find(|(held, ..)| *held == number)
                {
                    return Err(format!("key {number} is granted twice: {other:?}, {ticket:?}"));
                }
                self.tickets.push((number, ttl_ms, ticket));
                Ok(())
            }
            // An answer is read from the disk.
            Ok(_) if self.disk.is_off() => Ok(()),
            Ok(claim) => self.oracle.answered(number, &claim, claims),
            Err(error) => self.refuse("claim", error),
        }
    }

    fn finished(
        &mut self,
        number: usize,
        ttl_ms: u64,
        fact: Fact,
        done: Result<(), TicketError<Ticket>>,
    ) -> Result<(), String> {
        let claims = self.claims_of(number);
        match done {
            Ok(()) => {
                self.oracle.is(number, fact, claims);
                Ok(())
            }
            Err(error) => {
                let (error, ticket) = error.into_parts();
                if let Some(ticket) = ticket {
                    self.oracle.is(number, Fact::Held { ttl_ms }, claims);
                    self.tickets.push((number, ttl_ms, ticket));
                }
                self.refuse("finish", error)
            }
        }
    }

    /// The tickets there are, taken.
    pub(crate) fn take_tickets(&mut self) -> Vec<(usize, u64, Ticket)> {
        std::mem::take(&mut self.tickets)
    }
}
