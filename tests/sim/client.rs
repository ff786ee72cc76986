//! The clients of a simulated store: calls begun, polled by hand, dropped, and what came of them
//! told to the oracle.

use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use onceward::{
    Claim, ClaimOptions, Error, ErrorKind, Resolution, Resolved, Store, Ticket, TicketError,
};

use crate::call::{Boxed, Call};
use crate::fact::{Content, Fact, Is};
use crate::known::Begun;
use crate::run::{Held, Run};
use crate::script::{How, Patience};
use crate::world::key as name;

/// Steps a store may take until nothing moves any more.
const STEPS_MAX: u32 = 200;

/// The moment the simulations of this process began, for deadlines that are never met, or were
/// before anybody asked.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Run<'_> {
    /// Begins a claim of the key; the poll is the caller's.
    pub(crate) fn claim(&mut self, store: &Store, key: usize, begun: Begun, patience: Patience) {
        let options = ClaimOptions::new().ttl(Duration::from_millis(begun.0));
        let future = store.claim_with(name(key).as_key(), self.prints[begun.1], options);
        self.known.claim_begun(key, begun);
        self.calls.push((key, Call::Claim { begun, patience, future: Box::pin(future) }));
    }

    /// Bytes no other payload has, different all through.
    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.payloads += 1;
        let salt = self.payloads.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.script.seed;
        let mut payload = self.payloads.to_le_bytes().to_vec();
        payload.extend((0..len as u64).map(|at| (at.wrapping_mul(31) ^ (salt >> (at % 57))) as u8));
        payload
    }

    /// Uses up one of the tickets.
    pub(crate) fn finish(&mut self, nth: usize, how: How) {
        if self.tickets.is_empty() {
            return;
        }
        let Held { key, begun, ticket } = self.tickets.remove(nth % self.tickets.len());
        let (is, future): (_, Boxed<Result<(), TicketError<Ticket>>>) = match how {
            How::Drop => {
                self.known.begun(key, Is::InDoubt, begun.0);
                drop(ticket);
                return;
            }
            How::Release => (Is::Free, Box::pin(ticket.release())),
            How::Note(len) => {
                let mut note = self.payload(len);
                note.truncate(len);
                let content = Content::Note(note[..].into());
                (Is::Done(content), Box::pin(ticket.complete_without_payload(note)))
            }
            How::Complete(len) => {
                let payload = self.payload(len);
                let content = Content::Payload(payload[..].into());
                (Is::Done(content), Box::pin(ticket.complete(payload)))
            }
        };
        let ttl_ms = if is == Is::Free { 0 } else { begun.0 };
        let fact = self.known.begun(key, is, ttl_ms);
        self.calls.push((key, Call::Finish { fact, begun, future }));
    }

    pub(crate) fn drop_call(&mut self, nth: usize) {
        if self.calls.is_empty() {
            return;
        }
        self.tally.dropped += 1;
        let (key, call) = self.calls.remove(nth % self.calls.len());
        if let Call::Finish { fact: Fact { is: Is::Done(_), .. }, begun, .. } = &call {
            // If it waited for room: there is always room for a tombstone.
            self.known.begun(key, Is::Done(Content::Note([][..].into())), begun.0);
        }
        drop(call);
    }

    pub(crate) fn resolve(&mut self, store: &Store, key: usize, how: How) {
        let (is, resolution) = if let How::Complete(len) = how {
            let payload = self.payload(len);
            let content = Content::Payload(payload[..].into());
            (Is::Done(content), Resolution::Complete(payload.into()))
        } else {
            (Is::Free, Resolution::Release)
        };
        let future = Box::pin(store.resolve(name(key).as_key(), resolution));
        // Refused without being written for a key in any other state.
        let possible = self.known.may_be_in_doubt(key);
        let fact = possible.then(|| match is {
            Is::Free => self.known.begun(key, is, 0),
            is => self.known.resolution_begun(key, is),
        });
        self.calls.push((key, Call::Resolve { fact, future }));
    }

    /// Whether the store may come back with a fault of this kind.
    fn allows(&self, kind: ErrorKind) -> bool {
        match kind {
            _ if self.disk.is_off() => true,
            ErrorKind::Closed => self.closing,
            ErrorKind::Full => self.bounded || self.faulty,
            ErrorKind::Io | ErrorKind::Poisoned => self.faulty,
            ErrorKind::Corrupt => self.known.damaged,
            _ => false,
        }
    }

    pub(crate) fn tolerate(
        &mut self,
        what: &str,
        outcome: Result<(), Error>,
    ) -> Result<(), String> {
        self.notice_faults();
        match outcome {
            Ok(()) => Ok(()),
            Err(error) if self.allows(error.kind()) => {
                self.tally.refused += u64::from(error.kind() == ErrorKind::Full);
                Ok(())
            }
            Err(error) => Err(format!("{what} failed: {error:?}")),
        }
    }

    /// Steps the store until nothing moves any more, polling whoever waits.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.poll()?;
        let mut idle = 0;
        for _ in 0..STEPS_MAX {
            let Some(store) = self.store.clone() else { return Ok(()) };
            let stepped = store.step();
            self.look_aside()?;
            let moved = matches!(stepped, Ok(true));
            self.tolerate("step", stepped.map(drop))?;
            let before = self.calls.len();
            self.poll()?;
            // Room that was made for one who asked, and none ahead, is no move of the store: who
            // asked makes the next.
            idle = if moved || self.calls.len() < before { 0 } else { idle + 1 };
            if idle > 1 {
                return self.nobody_is_stuck();
            }
        }
        Err("the store steps without end".to_owned())
    }

    /// When nothing moves, only those wait who wait for somebody with a ticket.
    fn nobody_is_stuck(&self) -> Result<(), String> {
        if self.disk.is_off() {
            return Ok(());
        }
        let stuck = self.calls.iter().find(|(key, call)| {
            let held = self.tickets.iter().any(|held| held.key == *key);
            !(matches!(call, Call::Wait { .. }) && held)
        });
        match stuck {
            None => Ok(()),
            Some((key, call)) => {
                let stats = self.store.as_ref().map(Store::stats);
                Err(format!("nothing moves, and {} of key {key} waits: {stats:?}", call.name()))
            }
        }
    }

    /// The claims of this key that have not come back.
    pub(crate) fn claims_of(&self, key: usize) -> Vec<Begun> {
        let calls = self.calls.iter().filter(|(other, _)| *other == key);
        calls.filter_map(|(_, call)| call.claim()).collect()
    }

    /// Polls every call once, in the order in which they were begun.
    pub(crate) fn poll(&mut self) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut at = 0;
        while at < self.calls.len() {
            let (key, call) = &mut self.calls[at];
            let key = *key;
            match call {
                Call::Claim { begun, patience, future } => {
                    let (begun, patience) = (*begun, *patience);
                    if let Poll::Ready(claim) = future.as_mut().poll(&mut context) {
                        drop(self.calls.remove(at));
                        self.claimed(key, begun, patience, claim)?;
                        continue;
                    }
                }
                Call::Wait { begun, future } => {
                    let begun = *begun;
                    if let Poll::Ready(claim) = future.as_mut().poll(&mut context) {
                        drop(self.calls.remove(at));
                        self.tally.waited += 1;
                        self.claimed(key, begun, Patience::No, claim)?;
                        continue;
                    }
                }
                Call::Finish { fact, begun, future } => {
                    if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                        let (fact, begun) = (fact.clone(), *begun);
                        drop(self.calls.remove(at));
                        self.finished(key, begun, fact, done)?;
                        continue;
                    }
                }
                Call::Resolve { fact, future } => {
                    if let Poll::Ready(resolved) = future.as_mut().poll(&mut context) {
                        let fact = fact.clone();
                        drop(self.calls.remove(at));
                        self.resolved(key, fact, resolved)?;
                        continue;
                    }
                }
            }
            at += 1;
        }
        self.look_aside()
    }

    fn claimed(
        &mut self,
        number: usize,
        begun: Begun,
        patience: Patience,
        claim: Result<Claim, Error>,
    ) -> Result<(), String> {
        self.look_aside()?;
        let claims = self.claims_of(number);
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => return self.tolerate("claim", Err(error)),
        };
        if let Claim::Granted(ticket) = claim {
            self.tally.granted += 1;
            self.known.granted(number, begun, &claims)?;
            if let Some(other) = self.tickets.iter().find(|held| held.key == number) {
                let other = &other.ticket;
                return Err(format!("key {number} is granted twice: {other:?}, {ticket:?}"));
            }
            self.tickets.push(Held { key: number, begun, ticket });
            return Ok(());
        }
        if self.disk.is_off() {
            // An answer is read from the disk.
            return Ok(());
        }
        self.tally.replayed += u64::from(matches!(claim, Claim::Replay(_)));
        self.tally.mismatched += u64::from(matches!(claim, Claim::Mismatch(_)));
        self.known.answered(number, begun.1, &claim, &claims)?;
        if let (Claim::InFlight(wait), false) = (claim, patience == Patience::No) {
            let deadline = match patience {
                Patience::Long => epoch() + Duration::from_secs(1 << 30),
                Patience::No | Patience::Past => epoch(),
            };
            self.known.claim_begun(number, begun);
            let future = Box::pin(wait.until(deadline));
            self.calls.push((number, Call::Wait { begun, future }));
        }
        Ok(())
    }

    fn finished(
        &mut self,
        key: usize,
        begun: Begun,
        fact: Fact,
        done: Result<(), TicketError<Ticket>>,
    ) -> Result<(), String> {
        self.look_aside()?;
        let claims = self.claims_of(key);
        let Err(error) = done else {
            self.known.is(key, fact, &claims);
            return Ok(());
        };
        let (error, ticket) = error.into_parts();
        let room_was_kept = !matches!(&fact.is, Is::Done(Content::Payload(_)));
        if error.kind() == ErrorKind::Full && room_was_kept {
            return Err(format!("no room for the end of key {key}: {error:?}"));
        }
        if let Some(ticket) = ticket {
            self.known.withdraw(key, &fact);
            self.tickets.push(Held { key, begun, ticket });
        }
        self.tolerate("finish", Err(error))
    }

    fn resolved(
        &mut self,
        number: usize,
        fact: Option<Fact>,
        resolved: Result<Resolved, Error>,
    ) -> Result<(), String> {
        self.look_aside()?;
        let claims = self.claims_of(number);
        match (resolved, fact) {
            (Ok(Resolved::Done), Some(fact)) => self.known.is(number, fact, &claims),
            (Ok(Resolved::Done), None) => {
                return Err(format!("key {number} was resolved, and was not in doubt"));
            }
            (Ok(_), Some(fact)) => self.known.withdraw(number, &fact),
            (Ok(_), None) => {}
            (Err(error), _) => return self.tolerate("resolve", Err(error)),
        }
        Ok(())
    }

    /// Looks at the key, and tells the oracle.
    pub(crate) fn look_at(&mut self, store: &Store, number: usize) -> Result<(), String> {
        let seen = store.get(name(number).as_key());
        self.notice_faults();
        let excused = |error: &Error| self.closing && self.allows(error.kind());
        if self.disk.is_off() || seen.as_ref().is_err_and(excused) {
            return Ok(());
        }
        let claims = self.claims_of(number);
        self.known.seen(number, &seen, &claims)?;
        if let Ok(Some(record)) = seen {
            self.hold(&record);
        }
        self.readers_read()
    }
}
