//! A request too long to be read before its key is claimed (C13): its body goes to the handler as
//! it comes, hashed on its way, and its key is settled once all of it has come.
//!
//! The claim bears [`Head::streamed`] in the fingerprint's place; what the work leaves bears the
//! fingerprint itself ([`streamed_print`]).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use super::body::{Body, BoxError};
use super::collect::next;
use super::fingerprint::{BodyHasher, Head};
use super::receive::{Held, drain};
use super::streamed_print;
use crate::backend::BackendTicket;
use crate::error::{Error, ErrorKind, TicketError};
use crate::fingerprint::Fingerprint;

/// What has not come of a body, and the digest of what has.
pub(crate) struct Rest<B> {
    pub(crate) body: Pin<Box<B>>,
    pub(crate) hasher: BodyHasher,
}

impl<B> Rest<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    /// Reads to the end, in constant memory: the fingerprint of the request with this head.
    ///
    /// # Errors
    /// The body's, when it breaks off.
    pub(crate) async fn hash(mut self, head: &Head) -> Result<Fingerprint, BoxError> {
        while let Some(frame) = next(&mut self.body).await {
            if let Some(data) = frame?.data_ref() {
                self.hasher.update(data);
            }
        }
        Ok(head.with(self.hasher, None))
    }
}

/// How the handler let go of a body.
enum Left<B> {
    /// All of it came.
    Whole(BodyHasher),
    /// It did not want the rest.
    Unread(Rest<B>),
    /// It broke off, and the handler was told.
    Broken,
}

/// The body for the handler, and what its ticket has to wait for.
pub(crate) fn stream<B, T>(
    begun: Held,
    rest: Rest<B>,
    head: Head,
    ticket: T,
) -> (Body, StreamedTicket<B, T>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let body = Streamed { begun, rest: Some(rest), tell: Some(tell) };
    (Body::new(body), StreamedTicket { ticket, print: Print::Expected(told, head) })
}

/// A body that is hashed while it is read.
struct Streamed<B> {
    /// What came before the claim; hashed already.
    begun: Held,
    rest: Option<Rest<B>>,
    tell: Option<oneshot::Sender<Left<B>>>,
}

impl<B> Streamed<B> {
    fn let_go(&mut self, how: impl FnOnce(Rest<B>) -> Left<B>) {
        if let (Some(rest), Some(tell)) = (self.rest.take(), self.tell.take()) {
            // Where nobody waits, the key is released or in doubt already.
            drop(tell.send(how(rest)));
        }
    }
}

impl<B> HttpBody for Streamed<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.begun.is_end_stream() {
            let frame = ready!(Pin::new(&mut this.begun).poll_frame(cx));
            if let Some(Err(_)) = &frame {
                this.let_go(|_| Left::Broken);
            }
            return Poll::Ready(frame);
        }
        let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
        match ready!(rest.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    rest.hasher.update(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.let_go(|_| Left::Broken);
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                this.let_go(|rest| Left::Whole(rest.hasher));
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.rest.as_ref().is_none_or(|rest| rest.body.is_end_stream());
        self.begun.is_end_stream() && ended
    }

    fn size_hint(&self) -> SizeHint {
        let begun = self.begun.size_hint().lower();
        let rest = self.rest.as_ref().map(|rest| rest.body.size_hint()).unwrap_or_default();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(begun));
        }
        hint.set_lower(rest.lower().saturating_add(begun));
        hint
    }
}

impl<B> Drop for Streamed<B> {
    fn drop(&mut self) {
        self.let_go(Left::Unread);
    }
}

/// The ticket of a streamed request: it writes the request's fingerprint along with the result.
///
/// A request that broke off has none, and no retry could be held to be the same: unless its handler
/// says that nothing was done, its key stays in doubt.
pub(crate) struct StreamedTicket<B, T> {
    ticket: T,
    print: Print<B>,
}

enum Print<B> {
    Expected(oneshot::Receiver<Left<B>>, Head),
    /// `None` where the work ended before its request did.
    Known(Option<Fingerprint>),
}

/// The request broke off.
struct Broken;

impl<B> Print<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    /// Waits until the handler has let go of the body, and reads what it left.
    async fn once_all_has_come(self) -> Result<Option<Fingerprint>, Broken> {
        match self {
            Self::Known(print) => Ok(print),
            Self::Expected(told, head) => of(told.await.ok(), &head).await.map(Some),
        }
    }

    /// The same, but does not wait for a body that is still in the handler's hands: it may be
    /// waiting, in its turn, for the response to be sent.
    async fn if_let_go(self) -> Result<Option<Fingerprint>, Broken> {
        match self {
            Self::Known(print) => Ok(print),
            Self::Expected(mut told, head) => match told.try_recv() {
                Ok(left) => of(Some(left), &head).await.map(Some),
                Err(oneshot::error::TryRecvError::Empty) => Ok(None),
                Err(oneshot::error::TryRecvError::Closed) => Err(Broken),
            },
        }
    }
}

async fn of<B>(left: Option<Left<B>>, head: &Head) -> Result<Fingerprint, Broken>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    match left {
        Some(Left::Whole(hasher)) => Ok(head.with(hasher, None)),
        Some(Left::Unread(rest)) if !head.compares() => {
            // Every body has the same fingerprint, so the rest need not come, nor come whole.
            drain(rest.body).await;
            Ok(head.with(rest.hasher, None))
        }
        Some(Left::Unread(rest)) => rest.hash(head).await.map_err(|_| Broken),
        Some(Left::Broken) | None => Err(Broken),
    }
}

/// The fault of a key that stays in doubt.
fn broken<T>() -> TicketError<T> {
    let message = "the request broke off: what retry would be the same, nobody can tell";
    TicketError::spent(Error::new(ErrorKind::Io, message))
}

impl<B, T> BackendTicket for StreamedTicket<B, T>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    T: BackendTicket,
{
    fn number(&self) -> u64 {
        self.ticket.number()
    }

    async fn complete(self, payload: Bytes) -> Result<(), TicketError<Self>> {
        let Self { ticket, print } = self;
        let Ok(print) = print.once_all_has_come().await else { return Err(broken()) };
        let payload = match &print {
            Some(print) => streamed_print::put(print, &payload),
            None => payload,
        };
        let done = ticket.complete(payload).await;
        done.map_err(|refused| again(refused, print))
    }

    async fn complete_without_payload(self, note: Bytes) -> Result<(), TicketError<Self>> {
        let Self { ticket, print } = self;
        let Ok(print) = print.if_let_go().await else { return Err(broken()) };
        let note = match &print {
            Some(print) => streamed_print::put_before_note(print, &note),
            None => note,
        };
        let done = ticket.complete_without_payload(note).await;
        done.map_err(|refused| again(refused, print))
    }

    async fn release(self) -> Result<(), TicketError<Self>> {
        let Self { ticket, print } = self;
        let released = ticket.release().await;
        if let Print::Expected(mut told, _) = print
            && let Ok(Left::Unread(rest)) = told.try_recv()
        {
            drain(rest.body).await;
        }
        released.map_err(|refused| again(refused, None))
    }
}

/// The fault, with the ticket it handed back.
fn again<B, T>(
    refused: TicketError<T>,
    print: Option<Fingerprint>,
) -> TicketError<StreamedTicket<B, T>> {
    match refused.into_parts() {
        (error, Some(ticket)) => {
            TicketError::refused(error, StreamedTicket { ticket, print: Print::Known(print) })
        }
        (error, None) => TicketError::spent(error),
    }
}
