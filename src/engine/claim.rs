//! Claiming: the atomic compare-and-insert.

use std::sync::Arc;

use super::cold::{ColdLook, Seen};
use super::decide::{self, Known, Verdict};
use super::handle::Handle;
use super::publish::Publish;
use super::record::Settled;
use super::settle::Held;
use super::ticket::{Ticket, Undelivered, Wait};
use super::{Inner, Store};
use crate::backend::NOTE_OCTETS_MAX;
use crate::crypt;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::expiry;
use crate::fingerprint::Fingerprint;
use crate::format::frame::{self, Kind};
use crate::format::{align8, group};
use crate::index::{Candidates, Flight, Identity, Owner, Phase, Shard};
use crate::key::Key;
use crate::location::Location;
use crate::log::{Appended, Draft, NoRoom, Room, Wanted};
use crate::outcome::{Claim, ClaimOptions, Record};
use crate::planted::{Bug, is_planted};

/// How often a slot may be found pointing at a segment that has just gone, before it is a fault: a
/// sweep removes slots before segments, so a second look finds the slot gone, too.
const LOOKS_MAX: u32 = 8;

/// A request for a key, all that a claim needs, its own.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) identity: Identity,
    pub(super) owner: Owner,
    pub(super) fingerprint: Fingerprint,
    pub(super) ttl_ms: u64,
}

/// What one attempt at a claim came to.
enum Attempt {
    Answer(Claim<Store>),
    InFlight(Holder),
    /// Granted, once this has happened.
    Granted(Held, Arc<Event>),
    /// The answer rests on something that is not durable yet.
    Again(Arc<Event>),
    Room(Wanted),
}

/// What a claim comes to that finds somebody's flight.
pub(super) enum Behind {
    Mismatch(Record),
    InFlight(Holder),
    /// Whether the flight's latest frame is on disk is not known before this has happened.
    Again(Arc<Event>),
}

/// Whose claim holds a key: its number, and its record.
pub(super) struct Holder {
    pub(super) claim_sequence: u64,
    pub(super) record: Record,
}

/// What a claim came to, whoever asked not told yet.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once or twice; to allocate an answer costs more"
)]
pub(super) enum Claimed {
    Answer(Claim<Store>),
    /// Durable.
    Granted(Undelivered),
}

impl Claimed {
    pub(super) fn deliver(self) -> Claim<Store> {
        match self {
            Self::Answer(claim) => claim,
            Self::Granted(undelivered) => Claim::Granted(undelivered.deliver()),
        }
    }
}

/// What a look at a key's settled records found.
pub(super) struct Look {
    /// The key's record, expired or not.
    pub(super) settled: Option<Settled>,
    pub(super) candidates: Candidates,
    /// What was cold then.
    pub(super) seen: Seen,
}

impl Inner {
    pub(super) fn request(
        &self,
        key: Key<'_>,
        fingerprint: Fingerprint,
        options: ClaimOptions,
    ) -> Request {
        let identity = Identity::of(key, &self.identity.secret);
        // Looked at soon, and copying the key takes a while.
        self.index.prefetch(identity);
        Request { identity, owner: Owner::of(key), fingerprint, ttl_ms: self.ttl_ms(options) }
    }

    fn ttl_ms(&self, options: ClaimOptions) -> u64 {
        expiry::millis(options.ttl_asked().unwrap_or(self.options.ttl)).max(1)
    }
}

impl Handle {
    /// Claims until there is an answer.
    pub(super) async fn claim(self: Arc<Self>, request: Request) -> Result<Claim<Store>, Error> {
        self.claim_undelivered(request).await.map(Claimed::deliver)
    }

    /// [`claim`](Self::claim), a ticket still on its way: dropped before it is delivered, it gives
    /// the key back.
    pub(super) async fn claim_undelivered(
        self: Arc<Self>,
        request: Request,
    ) -> Result<Claimed, Error> {
        loop {
            match self.attempt(&request)? {
                Attempt::Answer(claim) => return Ok(Claimed::Answer(claim)),
                // This handle becomes the wait's, or the ticket's: all who claim count the handles.
                Attempt::InFlight(holder) => {
                    let wait = Wait::new(self, request, holder);
                    return Ok(Claimed::Answer(Claim::InFlight(wait)));
                }
                Attempt::Granted(held, written) => {
                    let undelivered = Undelivered::new(Ticket::new(self, held));
                    return match written.into_wait().await {
                        Ok(()) => Ok(Claimed::Granted(undelivered)),
                        Err(error) => {
                            undelivered.forget();
                            Err(error)
                        }
                    };
                }
                Attempt::Again(event) => event.into_wait().await?,
                Attempt::Room(wanted) => self.log.ask_for_room(wanted)?.wait().await?,
            }
        }
    }

    /// The answer to a claim that a result or somebody's flight answers, which takes no copy of the
    /// key and writes nothing; `None` when there is none such.
    pub(super) fn answered(
        self: &Arc<Self>,
        key: Key<'_>,
        fingerprint: Fingerprint,
        options: ClaimOptions,
    ) -> Result<Option<Claim<Store>>, Error> {
        self.refuse_closed()?;
        let identity = Identity::of(key, &self.identity.secret);
        if let Some((found, ())) = self.index.glance(identity, || ()) {
            return Ok(found.and_then(|location| self.replayed(location, key, fingerprint)));
        }
        let shard = self.index.shard(identity);
        let Some(flight) = shard.flights.get(&identity) else {
            let candidates = shard.candidates(identity);
            drop(shard);
            let only = candidates.only();
            return Ok(only.and_then(|location| self.replayed(location, key, fingerprint)));
        };
        let behind = self.behind(flight, key, fingerprint);
        drop(shard);
        Ok(match behind? {
            Behind::Mismatch(record) => Some(Claim::Mismatch(record)),
            Behind::InFlight(holder) => {
                let owner = Owner::of(key);
                let request =
                    Request { identity, owner, fingerprint, ttl_ms: self.ttl_ms(options) };
                Some(Claim::InFlight(Wait::new(Arc::clone(self), request, holder)))
            }
            Behind::Again(_) => None,
        })
    }
}

impl Inner {
    /// The answer to a claim of `key` that the result at `location` is, if it is one.
    #[inline]
    fn replayed(
        &self,
        location: Location,
        key: Key<'_>,
        fingerprint: Fingerprint,
    ) -> Option<Claim<Store>> {
        self.plain(location, key, |known, now_ms| Given::of(known, fingerprint, now_ms))
            .map(|(given, record)| given.claim(record))
    }

    /// One attempt, without waiting.
    fn attempt(&self, request: &Request) -> Result<Attempt, Error> {
        let key = request.owner.as_key();
        self.refuse_closed()?;
        if let Some((Some(location), ())) = self.index.glance(request.identity, || ())
            && let Some(claim) = self.replayed(location, key, request.fingerprint)
        {
            return Ok(Attempt::Answer(claim));
        }
        loop {
            self.refuse_closed()?;
            // Before the lock: a clock is the caller's code, and may panic.
            let now_ms = self.now_ms();
            let mut shard = self.index.shard(request.identity);
            if let Some(flight) = shard.flights.get(&request.identity) {
                return Ok(match self.behind(flight, key, request.fingerprint)? {
                    Behind::Mismatch(record) => Attempt::Answer(Claim::Mismatch(record)),
                    Behind::InFlight(holder) => Attempt::InFlight(holder),
                    Behind::Again(event) => Attempt::Again(event),
                });
            }
            let candidates = shard.candidates(request.identity);
            let seen = self.cold.seen();
            if candidates.is_empty() && seen.is_empty() {
                return self.grant(&mut shard, request, None, now_ms);
            }
            drop(shard);

            // A record's page may have to be read from disk: never under the shard's lock.
            let looked = self.look(request.identity, key, candidates, seen)?;
            let Some(look) = looked else { continue };
            let mut expired = None;
            if let Some(settled) = look.settled {
                let known = Some(settled.known());
                match decide::claim(known, request.fingerprint, now_ms) {
                    Verdict::Replay => return answer(Claim::Replay, settled),
                    Verdict::Mismatch => return answer(Claim::Mismatch, settled),
                    Verdict::InDoubt if is_planted(Bug::InDoubtGranted) => {
                        expired = Some(settled.location);
                    }
                    Verdict::InDoubt => return answer(Claim::InDoubt, settled),
                    Verdict::Grant | Verdict::InFlight => expired = Some(settled.location),
                }
            }
            let mut shard = self.index.shard(request.identity);
            let unchanged = !shard.flights.contains_key(&request.identity)
                && shard.candidates(request.identity) == look.candidates
                && self.cold.seen() == look.seen;
            if unchanged {
                return self.grant(&mut shard, request, expired, now_ms);
            }
        }
    }

    /// Reads the key's settled record among `candidates`, or where it is cold; `None` when it moved
    /// meanwhile. What was `seen` is of the moment of the candidates.
    pub(super) fn look(
        &self,
        identity: Identity,
        key: Key<'_>,
        candidates: Candidates,
        seen: Seen,
    ) -> Result<Option<Look>, Error> {
        let mut settled: Option<Settled> = None;
        for location in candidates.iter() {
            if let Some(found) = self.examine(location, key)? {
                settled = Some(found);
            } else if self.log.segments.get(location.segment()).is_none() {
                // Swept and its segment removed since the slot was read: look again.
                for _ in 0..LOOKS_MAX {
                    if self.index.shard(identity).candidates(identity) != candidates {
                        return Ok(None);
                    }
                    crate::sync::thread::yield_now();
                }
                return Err(Error::corrupt(format!("a record's segment is gone: {location:?}")));
            }
        }
        if !seen.is_empty() {
            // An expired record says nothing of a newer one, which may be cold.
            let alive = settled.as_ref().is_some_and(|it| it.known().at(self.now_ms()).is_some());
            if !alive {
                match self.look_in_tree(identity, key, &candidates, seen)? {
                    ColdLook::Found(cold) => settled = Some(cold),
                    ColdLook::Nothing => {}
                    ColdLook::Again => return Ok(None),
                }
            }
        }
        Ok(Some(Look { settled, candidates, seen }))
    }

    /// The answer while somebody's flight holds the key. It changes nothing: what to wait for is made
    /// for whoever waits, and most who find a key in flight do not.
    pub(super) fn behind(
        &self,
        flight: &Flight,
        key: Key<'_>,
        fingerprint: Fingerprint,
    ) -> Result<Behind, Error> {
        if flight.owner.as_key() != key {
            return Err(Error::corrupt("two keys have the same 128-bit hash"));
        }
        match flight.written.outcome() {
            None => return Ok(Behind::Again(Arc::clone(&flight.written))),
            Some(written) => written?,
        }
        self.log.poison().check()?;
        let known = Known::InFlight { fingerprint: flight.fingerprint };
        let record = flight.record();
        Ok(match decide::claim(Some(known), fingerprint, 0) {
            Verdict::Mismatch if !is_planted(Bug::FingerprintSkippedInFlight) => {
                Behind::Mismatch(record)
            }
            _ => Behind::InFlight(Holder { claim_sequence: flight.claim_sequence, record }),
        })
    }

    /// What happens when the claim of this number does not hold its key any more; `None` when it
    /// already does not.
    ///
    /// # Errors
    /// Why writes ended, if they have.
    pub(super) fn end_of(
        &self,
        identity: Identity,
        claim_sequence: u64,
    ) -> Result<Option<Arc<Event>>, Error> {
        let mut shard = self.index.shard(identity);
        let holds = |flight: &Flight| flight.claim_sequence == claim_sequence;
        if !shard.flights.get(&identity).is_some_and(holds) {
            return Ok(None);
        }
        // Under the lock: who ends the writes says so before he asks each shard who waits in it. So
        // either this is seen here, or what is made here is seen there.
        self.log.poison().check()?;
        Ok(shard.flights.get_mut(&identity).map(Flight::end))
    }

    /// Grants the key: the claim frame goes into the log under the shard's lock.
    fn grant(
        &self,
        shard: &mut Shard,
        request: &Request,
        expired: Option<Location>,
        now_ms: u64,
    ) -> Result<Attempt, Error> {
        self.log.poison().check()?;
        self.refuse_unknown(now_ms)?;
        self.refuse_over_memory(shard)?;
        let scope = request.owner.scope();
        self.caps.enter(scope)?;
        let reserve =
            if is_planted(Bug::RoomNotReserved) { 0 } else { finishing_len(&request.owner) };
        let draft = Draft {
            kind: Kind::Claim,
            flags: 0,
            scope,
            key: request.owner.key(),
            payload: &[],
            payload_crc: frame::payload_crc(&[]),
            claim_sequence: None,
            claimed_at_ms: now_ms,
            term_ms: request.ttl_ms,
            fingerprint: request.fingerprint,
        };
        let appended = if is_planted(Bug::ClaimNotLogged) {
            let done = Event::new();
            done.fire(Ok(()));
            Ok(Appended { sequence: 0, location: Location::from_bits(0), done })
        } else {
            self.log.append(&draft, Room::Free { reserve }, |sequence, location| {
                Publish::claim(request.identity, sequence, location)
            })
        };
        let Appended { sequence, location, done } = match appended {
            Ok(appended) => appended,
            Err(no_room) => {
                self.caps.leave(scope);
                return match no_room {
                    NoRoom::Short(wanted) => Ok(Attempt::Room(wanted)),
                    NoRoom::Ended(error) => Err(error),
                };
            }
        };
        let flight = Flight {
            owner: request.owner.clone(),
            fingerprint: request.fingerprint,
            claim_sequence: sequence,
            location,
            claimed_at_ms: now_ms,
            ttl_ms: request.ttl_ms,
            phase: Phase::Held,
            written: Arc::clone(&done),
            replaces: expired,
            counted: true,
            ended: None,
        };
        shard.flights.insert(request.identity, flight);
        let held = Held {
            identity: request.identity,
            claim_sequence: sequence,
            reserved: reserve,
            holds: true,
        };
        Ok(Attempt::Granted(held, done))
    }

    /// What [`grant`](Self::grant) would refuse any key for.
    pub(super) fn takes_claims(&self) -> Result<(), Error> {
        self.log.poison().check()?;
        self.refuse_unknown(self.now_ms())?;
        self.cold.refuse_damaged()?;
        // A shard is named by an identity; one speaks for all.
        let shard = self.index.shard(Identity(0));
        self.refuse_over_memory(&shard)?;
        drop(shard);
        self.caps.check()?;
        if self.log.is_full() {
            return Err(Error::new(ErrorKind::Full, "there is no room for another claim"));
        }
        Ok(())
    }

    /// Whether damaged bytes may hold a key, or did until a while ago.
    #[inline]
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect_until_ms.load(std::sync::atomic::Ordering::Relaxed) != 0
    }

    /// Unknown never becomes a grant: while damaged bytes may hold the key, it is refused.
    pub(super) fn refuse_unknown(&self, now_ms: u64) -> Result<(), Error> {
        let until = self.suspect_until_ms.load(std::sync::atomic::Ordering::Relaxed);
        if until == 0 || expiry::is_expired(until, now_ms) {
            return Ok(());
        }
        Err(Error::unknown(
            "a part of the log is damaged, and this key may stand in it; `verify` names the place",
        ))
    }

    /// What no tree has cannot leave the index: where that and the filters fill it, it refuses more.
    fn refuse_over_memory(&self, shard: &Shard) -> Result<(), Error> {
        if !self.is_full(shard) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Full,
            format!("the index takes the {} bytes it may", self.options.index_memory),
        ))
    }
}

/// What a claim is given of a result that stands.
#[derive(Clone, Copy)]
pub(super) enum Given {
    Replay,
    Mismatch,
}

impl Given {
    /// What a claim with `fingerprint` is given at `now_ms`; `None` when it goes the long way: what is
    /// in doubt does, as everything does that a bug could grant.
    #[inline]
    pub(super) fn of(known: Known, fingerprint: Fingerprint, now_ms: u64) -> Option<Self> {
        match decide::claim(Some(known), fingerprint, now_ms) {
            Verdict::Replay => Some(Self::Replay),
            Verdict::Mismatch => Some(Self::Mismatch),
            Verdict::InDoubt | Verdict::Grant | Verdict::InFlight => None,
        }
    }

    #[inline]
    pub(super) fn claim(self, record: Record) -> Claim<Store> {
        match self {
            Self::Replay => Claim::Replay(record),
            Self::Mismatch => Claim::Mismatch(record),
        }
    }
}

/// A claim that is answered by the key's record.
fn answer(claim: fn(Record) -> Claim<Store>, settled: Settled) -> Result<Attempt, Error> {
    settled.record().map(|record| Attempt::Answer(claim(record)))
}

/// Room for the largest frame that ends a claim without a payload, in a group of its own.
fn finishing_len(owner: &Owner) -> u64 {
    let frame = frame::HEADER + owner.scope().len() + owner.key().len() + NOTE_OCTETS_MAX;
    align8(frame as u64 + crypt::OVERHEAD) + group::HEADER as u64
}
