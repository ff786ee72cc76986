//! Connections that have to begin: whoever connects and says nothing is let go of.
//!
//! The server waits for as many octets as tell HTTP/2 by prior knowledge from HTTP/1.1, and only
//! then has a time for the head of a request. Without one before it, silence would hold a
//! connection for good.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a connection in HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first octets have to arrive within a time.
pub(crate) struct Prompt<S> {
    inner: S,
    /// Until the version is known.
    waiting: Option<Waiting>,
}

struct Waiting {
    deadline: Pin<Box<Sleep>>,
    /// What would have to follow if it is HTTP/2.
    rest: &'static [u8],
}

impl<S> Prompt<S> {
    /// Gives whoever is at the other end of `inner` this long to begin.
    pub(crate) fn new(inner: S, limit: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limit));
        Self { inner, waiting: Some(Waiting { deadline, rest: PREFACE }) }
    }
}

impl Waiting {
    /// What is to be waited for once `octets` have come; `None` when they tell the version, or are
    /// the end.
    fn after(self, octets: &[u8]) -> Option<Self> {
        let rest = self.rest.strip_prefix(octets)?;
        (!rest.is_empty() && !octets.is_empty()).then_some(Self { rest, ..self })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        match (&read, self.waiting.take()) {
            (_, None) | (Poll::Ready(Err(_)), _) => read,
            (Poll::Ready(Ok(())), Some(waiting)) => {
                let octets = buf.filled().get(before..).unwrap_or_default();
                self.waiting = waiting.after(octets);
                read
            }
            (Poll::Pending, Some(mut waiting)) => {
                let late = waiting.deadline.as_mut().poll(cx);
                self.waiting = Some(waiting);
                late.map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMIT: Duration = Duration::from_secs(60);

    /// What becomes of a connection whose client sends `octets` and no more.
    async fn after(octets: &[u8]) -> Result<Vec<u8>, io::ErrorKind> {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Prompt::new(server, LIMIT);
        client.write_all(octets).await.unwrap();
        let mut heard = Vec::new();
        let all = async {
            loop {
                if let Err(error) = server.read_buf(&mut heard).await {
                    return error.kind();
                }
            }
        };
        match tokio::time::timeout(100 * LIMIT, all).await {
            Ok(kind) => Err(kind),
            Err(_) => Ok(heard),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_let_go_of() {
        for octets in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            assert_eq!(after(octets).await, Err(io::ErrorKind::TimedOut), "{octets:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_has_all_the_time_that_others_give() {
        for octets in [&b"G"[..], b"POST", PREFACE, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nx"] {
            assert_eq!(after(octets).await.as_deref(), Ok(octets), "{octets:?}");
        }
    }
}
