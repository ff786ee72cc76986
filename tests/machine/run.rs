//! A store on a simulated machine, driven by operations and held to the model.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use onceward::storage::SimDisk;
use onceward::{
    Claim, ClaimOptions, Durability, Error, ErrorKind, Fingerprint, Key, ManualClock, Options,
    Record, Resolution, Resolved, State, Store, Ticket, TicketError,
};

use super::model::{Content, Fact, Model, Seen};
use super::op::{End, How, KEYS, Op, TTL_MS};

const BORN_MS: u64 = 1_750_000_000_000;
/// More steps than any call can need.
const STEPS_MAX: u32 = 1_000;
const NAMES: [(&str, &str); KEYS] = [("a", "one"), ("a", "two"), ("b", "one"), ("", "one")];

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call that has not come back. At most one a key that is no claim.
enum Call {
    Claim {
        held: Fact,
        future: Boxed<Result<Claim, Error>>,
    },
    Finish {
        fact: Fact,
        future: Boxed<Result<(), TicketError<Ticket>>>,
    },
    /// `begun`: the model was told, for some fact is in doubt.
    Resolve {
        fact: Fact,
        begun: bool,
        future: Boxed<Result<Resolved, Error>>,
    },
}

/// The store, its machine, its callers, and the model of it all.
pub(crate) struct Machine {
    disk: Arc<SimDisk>,
    clock: ManualClock,
    durability: Durability,
    store: Option<Store>,
    model: Model,
    /// In the order in which they were begun.
    calls: Vec<(usize, Call)>,
    tickets: Vec<(usize, Fact, Ticket)>,
    /// Claims so far; each has its number, and each payload too.
    begun: u64,
    last_number: u64,
    /// How the power goes when it goes at an operation set before.
    outage_seed: u64,
    /// How often the store was opened, or was to be.
    openings: u64,
    /// Whether the store is being closed, which whoever waits behind a ticket is told.
    closing: bool,
}

fn key(number: usize) -> Key<'static> {
    let (scope, key) = NAMES[number];
    Key::new(scope, key).unwrap()
}

fn print(number: u8) -> Fingerprint {
    Fingerprint::from_digest([number; 32])
}

fn show(record: Option<Record>) -> Result<Seen, Error> {
    let Some(record) = record else { return Ok(Seen::Absent) };
    let print = record.fingerprint();
    Ok(match record.state() {
        State::InFlight => Seen::InFlight(print),
        State::InDoubt => Seen::InDoubt(print),
        State::Complete => {
            let content = match record.note() {
                Some(note) => Content::Note(note.to_vec()),
                None => Content::Payload(record.payload()?.unwrap_or_default().to_vec()),
            };
            Seen::Done(print, content)
        }
    })
}

impl Machine {
    /// A new store on a new disk.
    pub(crate) fn new(buffered: bool) -> Self {
        let durability = if buffered { Durability::Buffered } else { Durability::Sync };
        let mut machine = Self {
            disk: Arc::new(SimDisk::new(7)),
            clock: ManualClock::new(BORN_MS),
            durability,
            store: None,
            model: Model::new(KEYS),
            calls: Vec::new(),
            tickets: Vec::new(),
            begun: 0,
            last_number: 0,
            outage_seed: 0,
            openings: 0,
            closing: false,
        };
        machine.open().unwrap();
        machine
    }

    /// Does `op`, and then looks whether the promise still stands.
    pub(crate) fn step(&mut self, op: Op) -> Result<(), String> {
        self.apply(op)?;
        self.poll()?;
        if self.disk.is_off() {
            let seed = self.outage_seed;
            let grain = [None, Some(1), Some(8), Some(512)][seed as usize % 4];
            self.power_loss(seed, grain, seed & 4 == 0)?;
        }
        self.check()
    }

    fn open(&mut self) -> Result<(), String> {
        let disk: Arc<SimDisk> = Arc::clone(&self.disk);
        // Another salt each time, and the same ones in each run.
        self.openings += 1;
        let store = Options::new()
            .ttl(Duration::from_millis(TTL_MS))
            .durability(self.durability)
            .segment_size(64 << 10)
            .max_payload(1 << 20)
            .clock(self.clock.clone())
            .stepped()
            .seeded(self.openings)
            .open_storage(disk);
        self.store = self.tolerate(store)?;
        self.settled()
    }

    fn apply(&mut self, op: Op) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        match op {
            Op::Claim { key, print, ttl_ms, how } => self.claim(&store, key, print, ttl_ms, how),
            Op::Finish { key, end, how } => self.finish(key, end, how),
            Op::DropTicket { key } => {
                if let Some((held, ticket)) = self.take_ticket(key) {
                    let Fact::Held { print, ttl_ms, .. } = held else { return Ok(()) };
                    let until_ms = self.model.now_ms + ttl_ms;
                    self.model.may(key, Fact::InDoubt { print, until_ms });
                    drop(ticket);
                }
                Ok(())
            }
            Op::DropCall { key } => {
                let newest = self.calls.iter().rposition(|(other, _)| *other == key);
                newest.map_or(Ok(()), |at| {
                    self.drop_call(at);
                    Ok(())
                })
            }
            Op::Resolve { key, complete, how } => self.resolve(&store, key, complete, how),
            Op::Wait { key, print, now } => self.wait(&store, key, print, now),
            Op::Get { key } => self.look(&store, key).map(drop),
            Op::Step => self.tolerate(store.step()).map(drop),
            Op::Settle => self.settle(),
            Op::Sweep => self.tolerate(store.sweep()).map(drop),
            Op::Checkpoint => self.tolerate(store.checkpoint()).map(drop),
            Op::Advance { ms } => {
                self.model.exact &= self.calls.is_empty();
                self.model.now_ms += ms;
                self.clock.advance(Duration::from_millis(ms));
                Ok(())
            }
            Op::Wall { by_ms } => {
                let wall_ms = (BORN_MS + self.model.now_ms).saturating_add_signed(by_ms);
                self.clock.set_wall_ms(wall_ms);
                Ok(())
            }
            Op::Reopen => {
                self.tolerate(store.close())?;
                self.closing = true;
                let polled = self.poll();
                self.closing = false;
                polled?;
                if self.disk.is_off() {
                    return Ok(());
                }
                self.end();
                self.open()
            }
            Op::Kill => self.kill(),
            Op::PowerLoss { seed, grain, reboot } => self.power_loss(seed, grain, reboot),
            Op::CutIn { operations, seed } => {
                self.outage_seed = seed;
                self.disk.crash_at(self.disk.operations() + operations);
                Ok(())
            }
        }
    }

    fn claim(
        &mut self,
        store: &Store,
        number: usize,
        print_number: u8,
        ttl_ms: u64,
        how: How,
    ) -> Result<(), String> {
        self.begun += 1;
        let print = print(print_number);
        let held = Fact::Held { id: self.begun, print, ttl_ms };
        let options = ClaimOptions::new().ttl(Duration::from_millis(ttl_ms));
        let future = Box::pin(store.claim_with(key(number), print, options));
        self.calls.push((number, Call::Claim { held, future }));
        self.go(how)
    }

    fn wait(&mut self, store: &Store, number: usize, n: u8, now: bool) -> Result<(), String> {
        self.begun += 1;
        let held = Fact::Held { id: self.begun, print: print(n), ttl_ms: TTL_MS };
        let claim = store.claim(key(number), print(n));
        let deadline = Instant::now() + Duration::from_secs(if now { 0 } else { 86_400 });
        let future = Box::pin(async move {
            match claim.await? {
                Claim::InFlight(wait) => wait.until(deadline).await,
                claim => Ok(claim),
            }
        });
        self.calls.push((number, Call::Claim { held, future }));
        self.go(How::Begin)
    }

    fn take_ticket(&mut self, number: usize) -> Option<(Fact, Ticket)> {
        let at = self.tickets.iter().position(|(other, ..)| *other == number)?;
        let (_, held, ticket) = self.tickets.swap_remove(at);
        Some((held, ticket))
    }

    fn payload(&mut self, octets: usize) -> Vec<u8> {
        self.begun += 1;
        // No payload is like another, but for empty ones.
        let number = self.begun.to_le_bytes();
        number.into_iter().cycle().take(octets).collect()
    }

    fn finish(&mut self, number: usize, end: End, how: How) -> Result<(), String> {
        let Some((held, ticket)) = self.take_ticket(number) else { return Ok(()) };
        let Fact::Held { print, ttl_ms, .. } = held else { return Ok(()) };
        let until_ms = self.model.now_ms + ttl_ms;
        let (fact, future): (_, Boxed<Result<(), TicketError<Ticket>>>) = match end {
            End::Complete { octets } => {
                let payload = self.payload(octets);
                let content = Content::Payload(payload.clone());
                (Fact::Done { print, content, until_ms }, Box::pin(ticket.complete(payload)))
            }
            End::Tombstone => {
                let note = self.payload(12);
                let content = Content::Note(note.clone());
                let future = Box::pin(ticket.complete_without_payload(note));
                (Fact::Done { print, content, until_ms }, future)
            }
            End::Release => (Fact::Free, Box::pin(ticket.release())),
        };
        self.model.may(number, fact.clone());
        self.calls.push((number, Call::Finish { fact, future }));
        self.go(how)
    }

    fn resolve(
        &mut self,
        store: &Store,
        number: usize,
        complete: bool,
        how: How,
    ) -> Result<(), String> {
        let busy =
            |(other, call): &(usize, Call)| *other == number && !matches!(call, Call::Claim { .. });
        if self.calls.iter().any(busy) {
            return Ok(());
        }
        let doubt = self.model.facts(number).iter().find_map(|fact| match fact {
            Fact::InDoubt { print, until_ms } => Some((*print, *until_ms)),
            _ => None,
        });
        let (print, doubted_ms) = doubt.unwrap_or((print(0), 0));
        let (fact, resolution) = if complete {
            let payload = self.payload(64);
            let content = Content::Payload(payload.clone());
            let until_ms = (self.model.now_ms + TTL_MS).max(doubted_ms);
            // A doubt that was written again lasts longer, and so does what resolves it.
            (Fact::Done { print, content, until_ms }, Resolution::Complete(payload.into()))
        } else {
            (Fact::Free, Resolution::Release)
        };
        if doubt.is_some() {
            self.model.may(number, fact.clone());
        }
        let future = Box::pin(store.resolve(key(number), resolution));
        self.calls.push((number, Call::Resolve { fact, begun: doubt.is_some(), future }));
        self.go(how)
    }

    /// Takes the newest call as far as `how` says.
    fn go(&mut self, how: How) -> Result<(), String> {
        let calls = self.calls.len();
        self.poll()?;
        match how {
            How::Drive => self.settle(),
            How::Drop if self.calls.len() == calls => {
                self.drop_call(calls - 1);
                Ok(())
            }
            How::Begin | How::Drop => Ok(()),
        }
    }

    /// What was begun is finished without its caller; a claim is given back.
    fn drop_call(&mut self, at: usize) {
        let (number, call) = self.calls.remove(at);
        match &call {
            Call::Claim { held, .. } => {
                if self.model.facts(number).contains(held) {
                    self.model.may(number, Fact::Free);
                }
            }
            Call::Finish { fact: Fact::Done { print, until_ms, .. }, .. } => {
                // It may have waited for room, and there is always room for a tombstone.
                let (print, until_ms, content) = (*print, *until_ms, Content::Note(Vec::new()));
                self.model.may(number, Fact::Done { print, content, until_ms });
            }
            Call::Finish { .. } | Call::Resolve { .. } => {}
        }
        drop(call);
    }

    /// Polls every call once, in the order in which they were begun.
    fn poll(&mut self) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut at = 0;
        while at < self.calls.len() {
            let (number, call) = &mut self.calls[at];
            let number = *number;
            match call {
                Call::Claim { held, future } => {
                    if self.model.may_be_gone(number) {
                        self.model.may(number, held.clone());
                    }
                    let Poll::Ready(claim) = future.as_mut().poll(&mut context) else {
                        at += 1;
                        continue;
                    };
                    let held = held.clone();
                    drop(self.calls.remove(at));
                    self.claimed(number, held, claim)?;
                }
                Call::Finish { fact, future } => {
                    let Poll::Ready(done) = future.as_mut().poll(&mut context) else {
                        at += 1;
                        continue;
                    };
                    let fact = fact.clone();
                    drop(self.calls.remove(at));
                    match done {
                        Ok(()) => self.model.done(number, &fact),
                        Err(error) => self.tolerate(Err(Error::from(error)))?.unwrap_or(()),
                    }
                }
                Call::Resolve { fact, begun, future } => {
                    let Poll::Ready(resolved) = future.as_mut().poll(&mut context) else {
                        at += 1;
                        continue;
                    };
                    let (fact, begun) = (fact.clone(), *begun);
                    drop(self.calls.remove(at));
                    match self.tolerate(resolved)? {
                        Some(Resolved::Done) => {
                            if !begun {
                                return Err(format!("key {number} was resolved out of no doubt"));
                            }
                            self.model.done(number, &fact);
                        }
                        Some(_) if begun => self.model.withdraw(number, &fact),
                        Some(_) | None => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn claimed(
        &mut self,
        number: usize,
        held: Fact,
        claim: Result<Claim, Error>,
    ) -> Result<(), String> {
        let Some(claim) = self.tolerate(claim)? else { return Ok(()) };
        let record = match claim {
            Claim::Granted(ticket) => {
                self.model.granted(number, held.clone())?;
                if ticket.number() <= self.last_number {
                    return Err(format!("{ticket:?} has no greater number than an earlier one"));
                }
                self.last_number = ticket.number();
                if self.tickets.iter().any(|(other, ..)| *other == number) {
                    return Err(format!("key {number} is granted twice"));
                }
                self.tickets.push((number, held, ticket));
                return Ok(());
            }
            // An answer is read from a disk that is off.
            _ if self.disk.is_off() => return Ok(()),
            Claim::Replay(ref record)
            | Claim::InDoubt(ref record)
            | Claim::Mismatch(ref record) => record.clone(),
            Claim::InFlight(ref wait) => wait.record().clone(),
        };
        self.model.withdraw(number, &held);
        let Fact::Held { print, .. } = held else { return Ok(()) };
        let fits = match (&claim, record.state()) {
            (Claim::Mismatch(_), _) => record.fingerprint() != print,
            (Claim::Replay(_), State::Complete)
            | (Claim::InFlight(_), State::InFlight)
            | (Claim::InDoubt(_), State::InDoubt) => record.fingerprint() == print,
            _ => false,
        };
        if !fits {
            return Err(format!("key {number} is claimed as {print:?} and answers {claim:?}"));
        }
        let seen = show(Some(record)).map_err(|error| format!("key {number}: {error:?}"))?;
        self.model.seen(number, &seen)
    }

    /// `None` when the power is off, which excuses every error, or the store was closed.
    fn tolerate<T>(&self, outcome: Result<T, Error>) -> Result<Option<T>, String> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.disk.is_off() => Ok(None),
            Err(error) if self.closing && error.kind() == ErrorKind::Closed => Ok(None),
            Err(error) => Err(format!("refused: {error:?}")),
        }
    }

    fn look(&mut self, store: &Store, number: usize) -> Result<Option<Seen>, String> {
        let seen = self.tolerate(store.get(key(number)).and_then(show))?;
        if let Some(seen) = &seen
            && !self.disk.is_off()
        {
            self.model.seen(number, seen)?;
        }
        Ok(seen)
    }

    /// Steps until nothing moves any more. Then only those wait who wait for a living ticket.
    fn settle(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for _ in 0..STEPS_MAX {
            let calls = self.calls.len();
            let moved = self.tolerate(store.step())?.unwrap_or(false);
            self.poll()?;
            if self.disk.is_off() {
                return Ok(());
            }
            if !moved && self.calls.len() == calls {
                return self.settled();
            }
        }
        Err("the store steps without end".to_owned())
    }

    /// Nothing is under way: what is seen of each key is what it is.
    fn settled(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for (number, call) in &self.calls {
            let behind = self.tickets.iter().any(|(other, ..)| other == number);
            if !(behind && matches!(call, Call::Claim { .. })) {
                return Err(format!("nothing moves, and a call of key {number} waits"));
            }
        }
        for number in 0..KEYS {
            let seen = store.get(key(number)).and_then(show);
            if self.disk.is_off() {
                return Ok(());
            }
            let seen = seen.map_err(|error| format!("key {number}: {error:?}"))?;
            self.model.settled(number, &seen)?;
        }
        let (in_flight, tickets) = (store.stats().in_flight, self.tickets.len() as u64);
        if in_flight != tickets {
            return Err(format!("{in_flight} claims are in flight, and {tickets} tickets live"));
        }
        Ok(())
    }

    /// What holds after every step.
    fn check(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for number in 0..KEYS {
            self.look(&store, number)?;
        }
        let stats = store.stats();
        if stats.poisoned || stats.suspect_until_ms.is_some() {
            return Err(format!("the store takes itself for damaged: {stats:?}"));
        }
        let listed = store.iter().filter_map(Result::ok).count();
        if listed > KEYS {
            return Err(format!("{listed} records of {KEYS} keys"));
        }
        Ok(())
    }

    /// The processes end: handles, calls and tickets go.
    fn end(&mut self) {
        self.store = None;
        self.calls.clear();
        self.tickets.clear();
        self.model.restart();
        self.model.exact = false;
    }

    fn kill(&mut self) -> Result<(), String> {
        let disk = self.disk.kill();
        self.end();
        self.disk = Arc::new(disk);
        self.open()
    }

    fn power_loss(&mut self, seed: u64, grain: Option<u64>, reboot: bool) -> Result<(), String> {
        if self.durability == Durability::Buffered {
            // Promised to survive the process alone.
            return self.kill();
        }
        let disk = match grain {
            Some(grain) => self.disk.power_loss_torn(seed, grain),
            None => self.disk.power_loss(seed),
        };
        self.end();
        if reboot {
            self.clock.reboot();
        }
        self.disk = Arc::new(disk);
        self.open()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The threads that keep deadlines end with their stores.
        self.end();
    }
}
