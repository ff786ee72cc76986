//! Request bodies that have to go on arriving: what is read whole before anything is claimed is held
//! in memory or on disk for as long as its sender likes, unless somebody sets an end to silence.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use onceward::http::{Body, BoxError};
use tokio::time::{Sleep, sleep};

/// A body that fails when nothing of it arrives for some time while it is waited for.
pub(crate) struct Steady {
    inner: Body,
    limit: Duration,
    /// While nothing arrives.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Steady {
    /// Gives the sender of `inner` this long for each piece.
    pub(crate) fn new(inner: Body, limit: Duration) -> Self {
        Self { inner, limit, silence: None }
    }
}

impl http_body::Body for Steady {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if frame.is_ready() {
            self.silence = None;
            return frame;
        }
        let limit = self.limit;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        silence.as_mut().poll(cx).map(|()| {
            let why = "the body stopped arriving";
            Some(Err(io::Error::new(io::ErrorKind::TimedOut, why).into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use http_body_util::channel::Channel;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn c15_a_body_may_be_slow_and_not_silent() {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let mut body = Steady::new(Body::new(body), LIMIT);
        for octet in [&b"a"[..], b"b", b"c"] {
            let send = async {
                sleep(LIMIT.saturating_sub(Duration::from_secs(1))).await;
                sender.send_data(Bytes::from_static(octet)).await.unwrap();
            };
            let (frame, ()) = tokio::join!(body.frame(), send);
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), octet);
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("stopped arriving"), "{error}");
    }
}
