//! Bodies that come in pieces, when the test sends them.

#![allow(clippy::unnecessary_wraps, reason = "pieces are results, and some are errors")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use onceward::http::{Body, BoxError};
use tokio::sync::mpsc;

type Piece = Result<Frame<Bytes>, BoxError>;

/// A body of these pieces, of a length nobody knows beforehand.
pub(crate) fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Body {
    Body::new(Pieces(pieces.into_iter().collect()))
}

pub(crate) fn data(octets: impl Into<Bytes>) -> Piece {
    Ok(Frame::data(octets.into()))
}

pub(crate) fn trailer(name: &'static str, value: &'static str) -> Piece {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    Ok(Frame::trailers(trailers))
}

/// A body that goes on until the sender is dropped.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Piece>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Body::new(Channel(receiver)))
}

/// A body that must not be asked for anything, and announces this many octets.
pub(crate) fn untouchable(announced: u64) -> Body {
    Body::new(Untouchable(announced))
}

/// A body without end, and how many octets of it were taken.
pub(crate) fn endless() -> (Arc<AtomicUsize>, Body) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    (
        taken,
        zeros(usize::MAX, 1000, move |octets| {
            count.fetch_add(octets, Ordering::SeqCst);
        }),
    )
}

/// So many zeros, some octets at a time, of a length nobody knows beforehand: `taking` is told of
/// each frame of how many octets is taken, before it is.
pub(crate) fn zeros(
    octets: usize,
    at_a_time: usize,
    taking: impl FnMut(usize) + Send + Unpin + 'static,
) -> Body {
    Body::new(Zeros { left: octets, at_a_time, taking })
}

struct Zeros<F> {
    left: usize,
    at_a_time: usize,
    taking: F,
}

impl<F: FnMut(usize) + Unpin> http_body::Body for Zeros<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        let octets = self.left.min(self.at_a_time);
        if octets == 0 {
            return Poll::Ready(None);
        }
        self.left -= octets;
        (self.taking)(octets);
        Poll::Ready(Some(data(vec![0; octets])))
    }
}

struct Pieces(VecDeque<Piece>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        Poll::Ready(self.0.pop_front())
    }
}

struct Channel(mpsc::UnboundedReceiver<Piece>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.0.poll_recv(cx)
    }
}

struct Untouchable(u64);

impl http_body::Body for Untouchable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        panic!("the body was asked for");
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}
