//! The right, and the duty, to finish a claim; and the place behind somebody else's.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Store;
use super::claim::{Holder, Request};
use super::handle::Handle;
use super::settle::{Held, Unsettled};
use crate::backend::NOTE_OCTETS_MAX;
use crate::clock;
use crate::error::{Error, ErrorKind, TicketError};
use crate::event::{before, block_on, either};
use crate::format::frame::{self, Kind};
use crate::outcome::{Claim, Record};
use crate::planted::{Bug, is_planted};

/// A granted claim: finish it with [`complete`](Ticket::complete),
/// [`complete_without_payload`](Ticket::complete_without_payload) or [`release`](Ticket::release).
///
/// Dropped unused, it leaves the key in doubt and tells those who wait; nobody waits for the disk.
#[must_use = "a ticket dropped unused leaves its key in doubt"]
pub struct Ticket {
    handle: Arc<Handle>,
    held: Held,
}

impl Ticket {
    pub(super) fn new(handle: Arc<Handle>, held: Held) -> Self {
        Self { handle, held }
    }

    /// The claim's number, greater than that of every earlier claim of the store: a fencing token
    /// for whatever the work touches.
    pub fn number(&self) -> u64 {
        self.held.claim_sequence
    }

    /// Keeps `payload` as the result. Resolves once it is on disk (with `Durability::Buffered`: with
    /// the operating system), and nobody sees it before. What the call began is finished also when
    /// the future is dropped.
    ///
    /// # Errors
    /// `PayloadTooLarge` writes nothing and hands the ticket back, and so does whatever keeps the
    /// store from making room for the payload: `Full` above all. `Fenced`, and `Poisoned` and
    /// `Closed` otherwise, do not.
    pub fn complete(
        self,
        payload: impl Into<Bytes>,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        let payload = payload.into();
        let too_large = (payload.len() as u64 > self.handle.options.max_payload).then(|| {
            let max = self.handle.options.max_payload;
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
        match self.handle.settle(&mut self.held, kind, &content, crc) {
            Ok(written) => Finish::Written(written.into_wait()),
            Err(Unsettled::Failed(error)) => Finish::Failed(Some(TicketError::spent(error))),
            Err(Unsettled::Room(_)) => {
                let done = Done { ticket: Some(self), kind };
                Finish::Waiting(Box::pin(done.when_there_is_room(content, crc)))
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.handle.let_go(&mut self.held, Kind::InDoubt);
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("number", &self.held.claim_sequence).finish_non_exhaustive()
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

/// A ticket being used up, while its frame waits for room. Dropped meanwhile, it leaves what it was
/// about to say, without the payload, for which alone there may be no room.
struct Done {
    ticket: Option<Ticket>,
    kind: Kind,
}

impl Done {
    async fn when_there_is_room(
        mut self,
        content: Bytes,
        crc: u32,
    ) -> Result<(), TicketError<Ticket>> {
        loop {
            let Some(ticket) = self.ticket.as_mut() else { return Ok(()) };
            match ticket.handle.settle(&mut ticket.held, self.kind, &content, crc) {
                Ok(written) => return written.into_wait().await.map_err(TicketError::spent),
                Err(Unsettled::Failed(error)) => return Err(TicketError::spent(error)),
                Err(Unsettled::Room(wanted)) => {
                    let made = match ticket.handle.log.ask_for_room(wanted) {
                        Ok(room) => room.wait().await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = made {
                        return Err(match self.ticket.take() {
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
        let kind = if self.kind == Kind::Complete { Kind::Tombstone } else { self.kind };
        if let Some(ticket) = self.ticket.as_mut() {
            ticket.handle.let_go(&mut ticket.held, kind);
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
            ticket.held.holds = false;
        }
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.as_mut() {
            if is_planted(Bug::GiveBackForgotten) {
                ticket.held.holds = false;
            }
            ticket.handle.let_go(&mut ticket.held, Kind::Release);
        }
    }
}

/// A place behind somebody else's claim.
#[must_use = "a wait does nothing until it is awaited"]
pub struct Wait {
    handle: Arc<Handle>,
    request: Request,
    holder: Holder,
}

impl Wait {
    pub(super) fn new(handle: Arc<Handle>, request: Request, holder: Holder) -> Self {
        Self { handle, request, holder }
    }

    /// The record of the claim waited for.
    pub fn record(&self) -> &Record {
        &self.holder.record
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
            let late = wait.handle.timer.at(deadline);
            let number = wait.holder.claim_sequence;
            if let Some(ended) = wait.handle.end_of(wait.request.identity, number)? {
                either(ended.into_wait(), late.wait()).await?;
            }
            let again = Arc::clone(&wait.handle).claim(wait.request.clone());
            match before(again, late.wait()).await {
                Some(Ok(Claim::InFlight(again))) if clock::monotonic() < deadline => wait = again,
                Some(claim) => return claim,
                // The disk is slower than the deadline: what was known still is.
                None => return Ok(Claim::InFlight(wait)),
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
        f.debug_struct("Wait").field("record", &self.holder.record).finish_non_exhaustive()
    }
}
