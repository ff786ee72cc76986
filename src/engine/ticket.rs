//! The right, and the duty, to finish a claim; and the place behind somebody else's.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::claim::Request;
use super::publish::Publish;
use super::{Inner, Store};
use crate::backend::NOTE_OCTETS_MAX;
use crate::clock;
use crate::error::{Error, ErrorKind, TicketError};
use crate::event::{Event, block_on, either};
use crate::format::frame::{self, Kind};
use crate::index::{Identity, Owner, Phase};
use crate::log::{Draft, NoRoom, Room, Wanted};
use crate::outcome::{Claim, Record};

/// A granted claim: finish it with [`complete`](Ticket::complete),
/// [`complete_without_payload`](Ticket::complete_without_payload) or [`release`](Ticket::release).
///
/// Dropped unused, it leaves the key in doubt and tells those who wait; nobody waits for the disk.
#[must_use = "a ticket dropped unused leaves its key in doubt"]
pub struct Ticket {
    inner: Arc<Inner>,
    identity: Identity,
    owner: Owner,
    fingerprint: crate::fingerprint::Fingerprint,
    claim_sequence: u64,
    claimed_at_ms: u64,
    ttl_ms: u64,
    /// Room set aside in the log for the frame that ends this.
    reserved: u64,
    /// Whether the ticket still holds its key.
    holds: bool,
}

/// Why a ticket's frame was not appended.
enum Unsettled {
    Room(Wanted),
    Failed(Error),
}

impl Ticket {
    pub(super) fn new(
        inner: Arc<Inner>,
        request: &Request,
        claim_sequence: u64,
        claimed_at_ms: u64,
        reserved: u64,
    ) -> Self {
        Self {
            inner,
            identity: request.identity,
            owner: request.owner.clone(),
            fingerprint: request.fingerprint,
            claim_sequence,
            claimed_at_ms,
            ttl_ms: request.ttl_ms,
            reserved,
            holds: true,
        }
    }

    /// The claim's number, greater than that of every earlier claim of the store: a fencing token
    /// for whatever the work touches.
    pub fn number(&self) -> u64 {
        self.claim_sequence
    }

    /// Keeps `payload` as the result. Resolves once it is on disk (with `Durability::Buffered`: with
    /// the operating system), and nobody sees it before. What the call began is finished also when
    /// the future is dropped.
    ///
    /// # Errors
    /// `PayloadTooLarge` and `Full` write nothing and hand the ticket back; `Fenced`, `Poisoned`
    /// and `Closed` do not.
    pub fn complete(
        self,
        payload: impl Into<Bytes>,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        let payload = payload.into();
        let too_large = (payload.len() as u64 > self.inner.options.max_payload).then(|| {
            let max = self.inner.options.max_payload;
            Error::new(
                ErrorKind::PayloadTooLarge,
                format!("a payload may have {max} bytes; this one has {}", payload.len()),
            )
        });
        self.finish(Kind::Complete, payload, too_large)
    }

    /// [`complete`](Ticket::complete), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_complete(self, payload: impl Into<Bytes>) -> Result<(), TicketError<Self>> {
        block_on(self.complete(payload))
    }

    /// Records that the work is done and its result was not kept: a tombstone, with a note of at
    /// most [`NOTE_OCTETS_MAX`] octets. There is always room for one, on a full disk too.
    ///
    /// # Errors
    /// `PayloadTooLarge` for a longer note hands the ticket back; `Fenced`, `Poisoned` and `Closed`
    /// do not.
    pub fn complete_without_payload(
        self,
        note: impl Into<Bytes>,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        let note = note.into();
        let too_large = (note.len() > NOTE_OCTETS_MAX).then(|| {
            Error::new(
                ErrorKind::PayloadTooLarge,
                format!("a note may have {NOTE_OCTETS_MAX} octets; this one has {}", note.len()),
            )
        });
        self.finish(Kind::Tombstone, note, too_large)
    }

    /// [`complete_without_payload`](Ticket::complete_without_payload), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_complete_without_payload(
        self,
        note: impl Into<Bytes>,
    ) -> Result<(), TicketError<Self>> {
        block_on(self.complete_without_payload(note))
    }

    /// Gives the key back: the work was not done. One of those who wait is granted.
    ///
    /// # Errors
    /// `Fenced`, `Poisoned`, `Closed`; the ticket is spent.
    pub fn release(self) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        self.finish(Kind::Release, Bytes::new(), None)
    }

    /// [`release`](Ticket::release), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_release(self) -> Result<(), TicketError<Self>> {
        block_on(self.release())
    }

    /// Appends at once, where there is room, so that a dropped future loses nothing; then waits.
    fn finish(
        mut self,
        kind: Kind,
        content: Bytes,
        refusal: Option<Error>,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        let crc = frame::payload_crc(&content);
        if let Some(error) = refusal {
            return Finish::Failed(Some(TicketError::refused(error, self)));
        }
        match self.settle(kind, &content, crc) {
            Ok(written) => Finish::Written(written.wait()),
            Err(Unsettled::Failed(error)) => Finish::Failed(Some(TicketError::spent(error))),
            Err(Unsettled::Room(_)) => {
                Finish::Waiting(Box::pin(Done(Some(self)).when_there_is_room(kind, content, crc)))
            }
        }
    }

    /// Decides and appends the frame that ends the claim, under the key's shard lock.
    fn settle(
        &mut self,
        kind: Kind,
        content: &[u8],
        payload_crc: u32,
    ) -> Result<Arc<Event>, Unsettled> {
        let mut shard = self.inner.index.shard(self.identity);
        let flight = shard
            .flights
            .get_mut(&self.identity)
            .filter(|flight| {
                flight.claim_sequence == self.claim_sequence && flight.phase == Phase::Held
            })
            .ok_or_else(|| {
                self.holds = false;
                let closed = self.inner.log.poison().check().err();
                Unsettled::Failed(closed.unwrap_or_else(|| {
                    Error::new(ErrorKind::Fenced, "the ticket does not hold its key any more")
                }))
            })?;
        let expires_at_ms = match kind {
            Kind::Release => 0,
            _ => self.inner.now_ms().saturating_add(self.ttl_ms),
        };
        let draft = Draft {
            kind,
            flags: 0,
            scope: self.owner.scope(),
            key: self.owner.key(),
            payload: content,
            payload_crc,
            claim_sequence: Some(self.claim_sequence),
            claimed_at_ms: self.claimed_at_ms,
            term_ms: expires_at_ms,
            fingerprint: self.fingerprint,
        };
        let room = match kind {
            Kind::Complete => Room::FreeGivingBack { reserved: self.reserved },
            _ => Room::Reserved { reserved: self.reserved },
        };
        let appended = self.inner.log.append(&draft, room, |sequence, location| {
            Publish::of_flight(self.identity, sequence, location, kind, 0, expires_at_ms)
        });
        match appended {
            Ok(appended) => {
                flight.phase = Phase::Settling;
                flight.written = Arc::clone(&appended.done);
                self.holds = false;
                Ok(appended.done)
            }
            Err(NoRoom::Short(wanted)) => Err(Unsettled::Room(wanted)),
            Err(NoRoom::Ended(error)) => {
                self.holds = false;
                Err(Unsettled::Failed(error))
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.holds {
            // No way to tell anybody of a failure here, and none is needed: recovery finds the
            // claim without an end, which is in doubt, too.
            let _ = self.settle(Kind::InDoubt, &[], frame::payload_crc(&[]));
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("number", &self.claim_sequence).finish_non_exhaustive()
    }
}

/// The future of a ticket being used up.
enum Finish<W> {
    Written(crate::event::Happening),
    Waiting(std::pin::Pin<Box<W>>),
    Failed(Option<TicketError<Ticket>>),
}

impl<W: Future<Output = Result<(), TicketError<Ticket>>>> Future for Finish<W> {
    type Output = Result<(), TicketError<Ticket>>;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match self.get_mut() {
            Self::Written(written) => {
                std::pin::Pin::new(written).poll(cx).map_err(TicketError::spent)
            }
            Self::Waiting(waiting) => waiting.as_mut().poll(cx),
            Self::Failed(error) => std::task::Poll::Ready(error.take().map_or_else(|| Ok(()), Err)),
        }
    }
}

/// A ticket whose work is done, while its payload waits for room. Dropped meanwhile, it leaves a
/// tombstone, for which there is room: that the work is done is not lost.
struct Done(Option<Ticket>);

impl Done {
    async fn when_there_is_room(
        mut self,
        kind: Kind,
        content: Bytes,
        crc: u32,
    ) -> Result<(), TicketError<Ticket>> {
        loop {
            let Some(ticket) = self.0.as_mut() else { return Ok(()) };
            match ticket.settle(kind, &content, crc) {
                Ok(written) => return written.wait().await.map_err(TicketError::spent),
                Err(Unsettled::Failed(error)) => return Err(TicketError::spent(error)),
                Err(Unsettled::Room(wanted)) => {
                    let made = match ticket.inner.log.ask_for_room(wanted) {
                        Ok(room) => room.wait().await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = made {
                        return Err(match self.0.take() {
                            Some(ticket) => TicketError::refused(error, ticket),
                            None => TicketError::spent(error),
                        });
                    }
                }
            }
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.as_mut()
            && ticket.holds
        {
            let _ = ticket.settle(Kind::Tombstone, &[], frame::payload_crc(&[]));
        }
    }
}

/// A ticket on its way to the one who claimed. Dropped on the way, it gives the key back: the work
/// cannot have begun.
pub(super) struct Undelivered(Option<Ticket>);

impl Undelivered {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self(Some(ticket))
    }

    pub(super) fn deliver(mut self) -> Ticket {
        // Set from `new` on, and taken only by methods that consume.
        self.0.take().unwrap_or_else(|| unreachable!())
    }

    /// Lets go of a claim that failed to become durable. Whether it is on disk is unknown, so the
    /// key stays held until the store is opened again, and is in doubt then.
    pub(super) fn forget(mut self) {
        if let Some(ticket) = self.0.as_mut() {
            ticket.holds = false;
        }
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.as_mut()
            && ticket.holds
        {
            let _ = ticket.settle(Kind::Release, &[], frame::payload_crc(&[]));
        }
    }
}

/// A place behind somebody else's claim.
#[must_use = "a wait does nothing until it is awaited"]
pub struct Wait {
    inner: Arc<Inner>,
    request: Request,
    record: Record,
    ended: Arc<Event>,
}

impl Wait {
    pub(super) fn new(
        inner: Arc<Inner>,
        request: Request,
        record: Record,
        ended: Arc<Event>,
    ) -> Self {
        Self { inner, request, record, ended }
    }

    /// The record of the claim waited for.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Waits until the claim is settled or `deadline` has come, and gives the claim that then
    /// holds: `InFlight` again at the deadline. When the key is released, exactly one of those who
    /// wait is granted. Needs no runtime: the store keeps the time.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn until(self, deadline: Instant) -> Result<Claim<Store>, Error> {
        let mut wait = self;
        loop {
            let late = wait.inner.timer.at(deadline);
            either(wait.ended.wait(), late.wait()).await?;
            let Wait { inner, request, .. } = wait;
            match inner.claim(request).await? {
                Claim::InFlight(again) if clock::monotonic() < deadline => wait = again,
                claim => return Ok(claim),
            }
        }
    }

    /// [`until`](Wait::until), blocking the thread.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub fn blocking_until(self, deadline: Instant) -> Result<Claim<Store>, Error> {
        block_on(self.until(deadline))
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait").field("record", &self.record).finish_non_exhaustive()
    }
}
