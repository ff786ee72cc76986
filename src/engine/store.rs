//! The store's handle: what the documentation of the crate is about.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Inner;
use super::claim::Request;
use super::decide::{self, Known};
use super::handle::{Handle, Handles};
use super::iter::{Item, Iter};
use super::publish::Publish;
use super::record::Settled;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, block_on};
use crate::expiry;
use crate::fingerprint::Fingerprint;
use crate::format::frame::{self, Kind, RESOLVED};
use crate::index::{Candidates, Flight, Identity, Owner, Phase};
use crate::key::Key;
use crate::log::{Draft, NoRoom, Room};
use crate::options::Options;
use crate::outcome::{Claim, ClaimOptions, Record, Resolution, Resolved};
use crate::stats::{Stats, SweepReport};
use crate::storage::Storage;

/// An open store. Clones are handles to the same one; the last to be dropped closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    handles: Arc<Handles>,
}

impl Store {
    /// Opens the store in `directory` with the default [`Options`], creating it when there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Options::new().open(directory)
    }

    pub(crate) fn start(options: Options, storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let threads = options.threads;
        let inner = Arc::new(super::recover::open(options, storage)?);
        // From here on whatever fails drops the handle, which closes the store.
        let store = Self { handles: Arc::new(Handles::of(&inner)), inner };
        if threads {
            store.inner.threads.start(&store.inner)?;
        }
        Ok(store)
    }

    /// Claims `key` for a request with this fingerprint: an atomic compare-and-insert that is on
    /// disk before it is granted.
    ///
    /// The future copies the key, starts at its first poll, needs no runtime, and dropped before it
    /// delivered a ticket it gives the key back.
    ///
    /// # Errors
    /// `Full`, `TooManyInFlight`, `Poisoned`, `Corrupt`, `Closed`, `Io`. Never for an outcome.
    pub fn claim(
        &self,
        key: Key<'_>,
        fingerprint: Fingerprint,
    ) -> impl Future<Output = Result<Claim<Store>, Error>> + Send + 'static + use<> {
        self.claim_with(key, fingerprint, ClaimOptions::new())
    }

    /// [`claim`](Store::claim) with options of its own.
    ///
    /// # Errors
    /// As there.
    pub fn claim_with(
        &self,
        key: Key<'_>,
        fingerprint: Fingerprint,
        options: ClaimOptions,
    ) -> impl Future<Output = Result<Claim<Store>, Error>> + Send + 'static + use<> {
        let request = self.inner.request(key, fingerprint, options);
        Arc::clone(self.handle()).claim(request)
    }

    /// [`claim`](Store::claim), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_claim(
        &self,
        key: Key<'_>,
        fingerprint: Fingerprint,
    ) -> Result<Claim<Store>, Error> {
        self.blocking_claim_with(key, fingerprint, ClaimOptions::new())
    }

    /// [`claim_with`](Store::claim_with), blocking the thread.
    ///
    /// # Errors
    /// As [`claim`](Store::claim).
    pub fn blocking_claim_with(
        &self,
        key: Key<'_>,
        fingerprint: Fingerprint,
        options: ClaimOptions,
    ) -> Result<Claim<Store>, Error> {
        if let Some(claim) = self.handle().answered(key, fingerprint, options)? {
            return Ok(claim);
        }
        block_on(self.claim_with(key, fingerprint, options))
    }

    /// Looks at `key` without claiming it: `None` when it is free, which an expired key is.
    ///
    /// # Errors
    /// `Corrupt` when what is on disk cannot be told, `Io` when the tree cannot be read; `Closed`.
    pub fn get(&self, key: Key<'_>) -> Result<Option<Record>, Error> {
        self.inner.get(key)
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// This thread's, for a claim, whose ticket or wait keeps it.
    pub(super) fn handle(&self) -> &Arc<Handle> {
        self.handles.mine()
    }

    /// Whether fewer claims are in flight, in the store and in `scope`, than there may be.
    pub(crate) fn has_room(&self, scope: &[u8]) -> bool {
        self.inner.caps.have_room(scope)
    }

    /// Ends a key in doubt, on disk when it resolves. Refused as an outcome for any other key.
    ///
    /// # Errors
    /// `PayloadTooLarge`, `Full`, `Poisoned`, `Corrupt`, `Closed`, `Io`.
    pub fn resolve(
        &self,
        key: Key<'_>,
        resolution: Resolution,
    ) -> impl Future<Output = Result<Resolved, Error>> + Send + 'static + use<> {
        let request =
            self.inner.request(key, Fingerprint::from_digest([0; 32]), ClaimOptions::new());
        Arc::clone(&self.inner).resolve(request, resolution)
    }

    /// [`resolve`](Store::resolve), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_resolve(
        &self,
        key: Key<'_>,
        resolution: Resolution,
    ) -> Result<Resolved, Error> {
        block_on(self.resolve(key, resolution))
    }

    /// Forgets what has expired, in time proportional to it, and gives segments without a live
    /// record back to the disk. Also runs in the background.
    ///
    /// # Errors
    /// `Poisoned`, `Closed`, `Corrupt`, `Full`, `Io`.
    pub fn sweep(&self) -> Result<SweepReport, Error> {
        self.inner.whole(Inner::sweep)
    }

    /// Puts everything published into the tree, so that the next open replays nothing before it.
    /// Also runs in the background.
    ///
    /// # Errors
    /// `Poisoned`, `Closed`, `Full`, `Io`.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.inner.whole(Inner::checkpoint)
    }

    /// The store's figures at this moment.
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let committed = inner.log.committed();
        let suspect = inner.suspect_until_ms.load(Relaxed);
        Stats {
            records: inner.index.records() + inner.cold.records(),
            cold_records: inner.cold.records(),
            unread_pieces: inner.cold.unread(inner.now_ms()),
            in_doubt: inner.index.in_doubt(),
            in_flight: u64::from(inner.caps.in_flight()),
            segments: inner.log.segments.all().len() as u64,
            log_bytes: inner.log.disk_bytes(),
            tree_bytes: inner.log.other_bytes.load(Relaxed),
            index_bytes: inner.index.bytes() + inner.cold.bytes(),
            checkpoint_lag: inner.queue.lock().frames.len() as u64,
            groups: committed.groups,
            frames: committed.frames,
            bytes_written: committed.bytes,
            bytes_zeroed: inner.log.zeroed(),
            segments_reused: inner.log.segments_reused(),
            syncs: committed.syncs,
            epoch: inner.epoch,
            poisoned: inner.log.poison().is_set(),
            suspect_until_ms: (suspect != 0 && !expiry::is_expired(suspect, inner.now_ms()))
                .then_some(suspect),
            ..inner.counters.read()
        }
    }

    /// Whether a claim of a key that was never used would be granted now, as far as that can be
    /// told without claiming one and without waiting: for health checks. A refusal for want of
    /// room heals by itself, and so does this.
    ///
    /// # Errors
    /// Those such a claim would be refused with: `Poisoned`, `Closed`, `Full`, `TooManyInFlight`
    /// (in the store; scopes are not looked at), and `Corrupt` while damaged bytes may hold a key.
    pub fn takes_claims(&self) -> Result<(), Error> {
        self.inner.takes_claims()
    }

    /// The live records, in no order: of the time of the call, or later.
    pub fn iter(&self) -> Iter {
        Iter::new(Arc::clone(&self.inner))
    }

    /// Closes the store: commits what waits, seals the log, gives the lock back, whatever clones
    /// remain. Live tickets find it closed, and their keys are in doubt when it is opened again.
    /// Payloads handed out stay valid. Closing again does nothing, and waits for a close that is
    /// under way.
    ///
    /// # Errors
    /// `Poisoned` when a write failed earlier; `Io`. The store is closed all the same. `Closed` when
    /// a waker calls this on a thread that a close under way waits for, one of the store's own or the
    /// one that closes it: the waker would wait for itself, and the store is closed after it.
    pub fn close(&self) -> Result<(), Error> {
        self.inner.whole(Inner::close)
    }

    /// Does one piece of the threads' work: commits a group, makes room. `false` when there was
    /// nothing to do. For stores opened with `Options::stepped`.
    ///
    /// # Errors
    /// The fault the thread would have met.
    #[cfg(feature = "test-util")]
    pub fn step(&self) -> Result<bool, Error> {
        self.inner.whole(|inner| {
            let committed = inner.commit_once()?;
            // `Full` was told to those who asked, and is no fault of the store.
            let room = inner.log.is_short()
                && match inner.log.make_room() {
                    Ok(()) => true,
                    Err(error) if error.kind() == ErrorKind::Full => false,
                    Err(error) => return Err(error),
                };
            Ok(committed || room)
        })
    }

    /// Does one round of the housekeeper's work, as its thread does in its round of that number: a
    /// roll by time, a checkpoint, a sweep, when they are due. For stores opened with
    /// `Options::stepped`.
    #[cfg(feature = "test-util")]
    pub fn keep_house(&self, round: u32) {
        self.inner.whole(|inner| inner.keep_alone(round));
    }
}

impl IntoIterator for &Store {
    type Item = Result<Item, Error>;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        self.iter()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("epoch", &self.inner.epoch).finish_non_exhaustive()
    }
}

impl Inner {
    #[inline]
    pub(super) fn get(&self, key: Key<'_>) -> Result<Option<Record>, Error> {
        self.refuse_closed()?;
        let identity = Identity::of(key, &self.identity.secret);
        if let Some((found, seen)) = self.index.glance(identity, || self.cold.seen()) {
            if let Some(location) = found {
                let alive = |known: Known, now_ms| known.at(now_ms).map(drop);
                if let Some(((), record)) = self.plain(location, key, alive) {
                    return Ok(Some(record));
                }
            } else if seen.is_empty() && !self.is_suspect() {
                return Ok(None);
            }
        }
        self.get_at_length(identity, key)
    }

    /// [`get`](Self::get) of any key: one that is in flight, cold, in doubt, expired, damaged.
    fn get_at_length(&self, identity: Identity, key: Key<'_>) -> Result<Option<Record>, Error> {
        loop {
            let glanced = self.index.glance(identity, || self.cold.seen());
            let (candidates, seen) = if let Some((found, seen)) = glanced {
                (Candidates::of(found), seen)
            } else {
                let shard = self.index.shard(identity);
                if let Some(flight) = shard.flights.get(&identity).filter(|it| it.is_seen(key)) {
                    return Ok(Some(flight.record()));
                }
                (shard.candidates(identity), self.cold.seen())
            };
            if let Some(glance) = self.glance(&candidates, key) {
                let (settled, now_ms) = glance?;
                // Without a live record there, it may be cold.
                let alive = settled.as_ref().is_some_and(|it| it.known().at(now_ms).is_some());
                // One that has expired by now may have been replaced while it stood.
                if !alive
                    && settled.is_some()
                    && self.index.shard(identity).candidates(identity) != candidates
                {
                    continue;
                }
                if alive || seen.is_empty() {
                    return self.seen(settled, now_ms);
                }
            }
            let Some(look) = self.look(identity, key, candidates, seen)? else { continue };
            return self.seen(look.settled, self.now_ms());
        }
    }

    /// What somebody who looks at `now_ms` sees of a key that is not in flight.
    pub(super) fn seen(
        &self,
        settled: Option<Settled>,
        now_ms: u64,
    ) -> Result<Option<Record>, Error> {
        match settled {
            Some(settled) if settled.known().at(now_ms).is_some() => settled.record().map(Some),
            _ => self.refuse_unknown(now_ms).map(|()| None),
        }
    }

    #[inline]
    pub(super) fn refuse_closed(&self) -> Result<(), Error> {
        if self.log.poison().is_set() { self.refuse_ended() } else { Ok(()) }
    }

    #[cold]
    fn refuse_ended(&self) -> Result<(), Error> {
        match self.log.poison().check() {
            Err(error) if error.kind() == ErrorKind::Closed => Err(error),
            _ => Ok(()),
        }
    }

    async fn resolve(
        self: Arc<Self>,
        request: Request,
        resolution: Resolution,
    ) -> Result<Resolved, Error> {
        if let Resolution::Complete(payload) = &resolution
            && payload.len() as u64 > self.options.max_payload
        {
            return Err(Error::new(
                ErrorKind::PayloadTooLarge,
                format!("a payload may have {} bytes", self.options.max_payload),
            ));
        }
        loop {
            let wait = match self.try_resolve(&request, &resolution)? {
                Resolving::Refused(outcome) => return Ok(outcome),
                Resolving::Written(written) => {
                    written.wait().await?;
                    self.counters.resolved();
                    return Ok(Resolved::Done);
                }
                Resolving::Again(event) => event,
            };
            wait.wait().await?;
        }
    }

    fn try_resolve(&self, request: &Request, resolution: &Resolution) -> Result<Resolving, Error> {
        let identity = request.identity;
        loop {
            let (candidates, seen) = {
                let shard = self.index.shard(identity);
                if let Some(flight) = shard.flights.get(&identity) {
                    return match flight.written.outcome() {
                        None => Ok(Resolving::Again(Arc::clone(&flight.written))),
                        Some(written) => written.map(|()| Resolving::Refused(Resolved::InFlight)),
                    };
                }
                (shard.candidates(identity), self.cold.seen())
            };
            let key = request.owner.as_key();
            let Some(look) = self.look(identity, key, candidates, seen)? else { continue };
            let known = look.settled.as_ref().map(Settled::known);
            let now_ms = self.now_ms();
            let outcome = decide::resolve(known, now_ms);
            if outcome == Resolved::Absent {
                self.refuse_unknown(now_ms)?;
            }
            let Some(settled) = look.settled.filter(|_| outcome == Resolved::Done) else {
                return Ok(Resolving::Refused(outcome));
            };
            let mut shard = self.index.shard(identity);
            if shard.flights.contains_key(&identity)
                || shard.candidates(identity) != look.candidates
            {
                continue;
            }
            let (flight, appended) = self.append_resolution(request, &settled, resolution, now_ms);
            return match appended {
                Ok(written) => {
                    shard.flights.insert(identity, flight(Arc::clone(&written)));
                    Ok(Resolving::Written(written))
                }
                Err(NoRoom::Short(wanted)) => {
                    drop(shard);
                    self.log.ask_for_room(wanted).map(Resolving::Again)
                }
                Err(NoRoom::Ended(error)) => Err(error),
            };
        }
    }

    /// Appends the frame that resolves `settled`, and makes the flight that pends on it.
    fn append_resolution(
        &self,
        request: &Request,
        settled: &Settled,
        resolution: &Resolution,
        now_ms: u64,
    ) -> (impl FnOnce(Arc<Event>) -> Flight, Result<Arc<Event>, NoRoom>) {
        let header = settled.header;
        // The claim's own retention is part of what its doubt spans (P0.5); what was longest so far
        // bounds all, for nobody doubts a damaged log for longer than that.
        let spanned_ms = header.term_ms.saturating_sub(header.claimed_at_ms);
        let own_ms = spanned_ms.min(self.log.ttl_max_ms());
        let ttl_ms = expiry::millis(self.options.ttl).max(own_ms);
        let (kind, payload, term_ms) = match resolution {
            Resolution::Release => (Kind::Release, &[][..], 0),
            // No shorter than the doubt: its entry in the tree must not outlive what replaced it.
            Resolution::Complete(payload) => {
                let term_ms = now_ms.saturating_add(ttl_ms).max(header.term_ms);
                (Kind::Complete, &payload[..], term_ms)
            }
        };
        let draft = Draft {
            kind,
            flags: RESOLVED,
            scope: request.owner.scope(),
            key: request.owner.key(),
            payload,
            payload_crc: frame::payload_crc(payload),
            claim_sequence: Some(header.claim_sequence),
            claimed_at_ms: header.claimed_at_ms,
            term_ms,
            fingerprint: header.fingerprint,
        };
        // What is forgotten is forgotten for as long as it would have been remembered.
        let expires_at_ms = if term_ms == 0 { header.term_ms } else { term_ms };
        let room = match kind {
            Kind::Release => Room::Freeing,
            _ => Room::Free { reserve: 0 },
        };
        let appended = self.log.append(&draft, room, |sequence, location| {
            Publish::of_flight(request.identity, sequence, location, kind, RESOLVED, expires_at_ms)
        });
        let owner: Owner = request.owner.clone();
        let location = settled.location;
        let flight = move |written: Arc<Event>| Flight {
            owner,
            fingerprint: header.fingerprint,
            claim_sequence: header.claim_sequence,
            location,
            claimed_at_ms: header.claimed_at_ms,
            ttl_ms,
            phase: Phase::Settling { durable: true },
            written,
            replaces: Some(location),
            counted: false,
            ended: None,
        };
        (flight, appended.map(|appended| appended.done))
    }
}

/// What one attempt to resolve came to.
enum Resolving {
    Refused(Resolved),
    Written(Arc<Event>),
    /// After this has happened.
    Again(Arc<Event>),
}
