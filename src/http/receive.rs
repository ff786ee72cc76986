//! Reading a request's body before its key is claimed: hashed as it comes, its beginning in memory
//! and the rest in a temporary file, up to a limit (C13).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::{Body, BoxError};
use super::collect::{Pieces, next};
use super::fingerprint::BodyHasher;
use super::layer::Config;
use super::spool::{Spool, Spooled};

/// How much of a body that nobody wants is read on, in octets, so that its sender comes to read the
/// answer (C13).
const DRAIN_OCTETS_MAX: usize = 1 << 20;
/// How long a sender is listened to whom nobody waits for.
const ASIDE: Duration = Duration::from_secs(30);

/// What came of reading a body.
pub(crate) enum Received<B> {
    /// All of it, and its digest.
    Whole(Held, BodyHasher),
    /// It is longer than the limit.
    TooLong(Overlong<B>),
    /// It broke off.
    Failed(BoxError),
    /// The temporary file failed.
    NotSpooled(io::Error),
}

/// Reads `body` as long as it has at most as many octets as the profile reads before a claim. One
/// that announces more is not read at all.
pub(crate) async fn receive<B>(config: &Config, hasher: BodyHasher, body: B) -> Received<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let octets_max = config.profile.request_octets_max as u64;
    let mut rest = Box::pin(body);
    let mut holding = Holding::new(hasher);
    if rest.size_hint().lower() > octets_max {
        return Received::TooLong(Overlong { holding, rest });
    }
    loop {
        match next(&mut rest).await {
            None => break,
            Some(Err(error)) => return Received::Failed(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if let Err(error) = holding.push(config, data).await {
                        return Received::NotSpooled(error);
                    }
                }
                Err(frame) => holding.trailers = frame.into_trailers().ok(),
            },
        }
        if holding.len() > octets_max {
            return Received::TooLong(Overlong { holding, rest });
        }
    }
    match holding.finish().await {
        Ok((held, hasher)) => Received::Whole(held, hasher),
        Err(error) => Received::NotSpooled(error),
    }
}

/// Reads on, and throws away, a bounded part of a body.
pub(crate) async fn drain<B>(body: Pin<Box<B>>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    drain_up_to(DRAIN_OCTETS_MAX, body).await;
}

/// Has a body read, and thrown away, that the answer does not wait for: a connection that is closed on
/// octets nobody read is reset, and may take the answer with it. As much of it as would be read before
/// a claim, and for a while; and nothing where its sender waits for leave to send it (C14).
pub(crate) fn read_aside<B>(config: &Config, headers: &HeaderMap, body: B)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let octets_max = config.profile.request_octets_max.max(DRAIN_OCTETS_MAX);
    tokio::spawn(tokio::time::timeout(ASIDE, drain_up_to(octets_max, Box::pin(body))));
}

async fn drain_up_to<B>(octets_max: usize, mut body: Pin<Box<B>>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let mut drained = 0;
    while drained < octets_max {
        let Some(Ok(frame)) = next(&mut body).await else { return };
        drained += frame.data_ref().map_or(1, |data| data.len().max(1));
    }
}

/// A body of which more came than is read before a claim, or is announced.
pub(crate) struct Overlong<B> {
    holding: Holding,
    rest: Pin<Box<B>>,
}

impl<B> Overlong<B> {
    /// Whether nothing was asked of the body yet: whoever sends it may still be waiting for leave
    /// (C14).
    pub(crate) fn is_untouched(&self) -> bool {
        self.holding.len() == 0
    }

    /// What came so far, its digest, and the rest.
    ///
    /// # Errors
    /// What the temporary file says.
    pub(crate) async fn into_parts(self) -> io::Result<(Held, BodyHasher, Pin<Box<B>>)> {
        let (held, hasher) = self.holding.finish().await?;
        Ok((held, hasher, self.rest))
    }

    /// The rest alone.
    pub(crate) fn into_rest(self) -> Pin<Box<B>> {
        self.rest
    }
}

/// A body as it comes in.
struct Holding {
    memory: Pieces,
    spool: Option<Spool>,
    hasher: BodyHasher,
    trailers: Option<HeaderMap>,
}

impl Holding {
    fn new(hasher: BodyHasher) -> Self {
        Self { memory: Pieces::default(), spool: None, hasher, trailers: None }
    }

    fn len(&self) -> u64 {
        self.memory.len() as u64 + self.spool.as_ref().map_or(0, Spool::len)
    }

    /// Keeps `data`: in memory as long as that has room, and everything after it in the file.
    async fn push(&mut self, config: &Config, data: Bytes) -> io::Result<()> {
        self.hasher.update(&data);
        if let Some(spool) = &mut self.spool {
            return spool.push(data).await;
        }
        if self.memory.len() + data.len() <= config.profile.request_octets_in_memory {
            self.memory.push(data);
            return Ok(());
        }
        let spool = Spool::create(config.spool_dir()).await?;
        self.spool.insert(spool).push(data).await
    }

    async fn finish(mut self) -> io::Result<(Held, BodyHasher)> {
        let spooled = match self.spool {
            Some(spool) => Some(spool.finish().await?),
            None => None,
        };
        let held = Held { memory: self.memory.join(), spooled, trailers: self.trailers };
        Ok((held, self.hasher))
    }
}

/// A body that was read: its beginning in memory, the rest in a file, and its trailers.
pub(crate) struct Held {
    memory: Bytes,
    spooled: Option<Spooled>,
    trailers: Option<HeaderMap>,
}

impl Held {
    /// All of its octets, if memory holds them.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        self.spooled.is_none().then_some(&*self.memory)
    }

    pub(crate) fn into_body(self) -> Body {
        if self.spooled.is_none() && self.trailers.is_none() {
            return Body::full(self.memory);
        }
        Body::new(self)
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.memory.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.memory)))));
        }
        if let Some(spooled) = self.spooled.as_mut().filter(|spooled| !spooled.is_end_stream()) {
            return Pin::new(spooled).poll_frame(cx);
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.memory.is_empty()
            && self.spooled.as_ref().is_none_or(HttpBody::is_end_stream)
            && self.trailers.is_none()
    }

    /// Not exact where trailers follow: over HTTP/1.1 a body whose length is said has no room for
    /// them.
    fn size_hint(&self) -> SizeHint {
        let spooled = self.spooled.as_ref().map_or(0, |spooled| spooled.size_hint().lower());
        let octets = self.memory.len() as u64 + spooled;
        if self.trailers.is_none() {
            return SizeHint::with_exact(octets);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(octets);
        hint
    }
}
