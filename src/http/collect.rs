//! Reading a response's body into memory, up to a limit.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::BoxError;

/// What came of reading a body.
pub(crate) enum Collected<B> {
    /// All of it.
    Whole(Bytes, Option<HeaderMap>),
    /// It is longer than the limit: what was read, and the rest.
    TooLong(Prefixed<B>),
    /// It broke off.
    Failed(BoxError),
}

/// Reads `body` as long as it has at most `octets_max` octets, and until `is_over` says of a piece
/// of it that it makes the whole too long. One that announces more is not read at all.
pub(crate) async fn collect<B>(
    body: B,
    octets_max: usize,
    mut is_over: impl FnMut(&Bytes) -> bool,
) -> Collected<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = Prefixed { so_far: Bytes::new(), rest: Box::pin(body) };
    if body.rest.size_hint().lower() > octets_max as u64 {
        return Collected::TooLong(body);
    }
    let mut so_far = Pieces::default();
    let mut trailers = None;
    loop {
        let mut over = false;
        match next(&mut body.rest).await {
            None => return Collected::Whole(so_far.join(), trailers),
            Some(Err(error)) => return Collected::Failed(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    over = is_over(&data);
                    so_far.push(data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
        if over || so_far.len() > octets_max {
            body.so_far = so_far.join();
            return Collected::TooLong(body);
        }
    }
}

/// The next frame of `body`; `None` at its end.
pub(crate) async fn next<B>(body: &mut Pin<Box<B>>) -> Option<Result<Frame<Bytes>, BoxError>>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    poll_fn(|cx| body.as_mut().poll_frame(cx).map_err(Into::into)).await
}

/// Octets in the order they came; a single piece is never copied.
#[derive(Default)]
pub(crate) struct Pieces {
    first: Bytes,
    joined: BytesMut,
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.joined.is_empty() && self.first.is_empty() {
            self.first = piece;
        } else {
            if self.joined.is_empty() {
                self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.joined.extend_from_slice(&piece);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    pub(crate) fn join(&mut self) -> Bytes {
        if self.joined.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.joined).freeze()
        }
    }
}

/// A body whose beginning was read before.
pub(crate) struct Prefixed<B> {
    so_far: Bytes,
    rest: Pin<Box<B>>,
}

impl<B: HttpBody<Data = Bytes>> HttpBody for Prefixed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.so_far.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.so_far)))));
        }
        self.rest.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.so_far.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let prefix = self.so_far.len() as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(prefix));
        }
        hint.set_lower(rest.lower().saturating_add(prefix));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// A body of these pieces, with trailers, whose length nobody knows beforehand.
    struct Chunks(std::collections::VecDeque<Result<Frame<Bytes>, BoxError>>);

    impl Chunks {
        fn of(pieces: &[&'static str]) -> Self {
            Self(
                pieces
                    .iter()
                    .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
                    .collect(),
            )
        }
    }

    impl HttpBody for Chunks {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_whole() {
        for pieces in [&["abcd"][..], &["ab", "cd"], &["", "a", "", "bcd"], &["a", "b", "c", "d"]] {
            let Collected::Whole(body, None) = collect(Chunks::of(pieces), 4, |_| false).await
            else {
                panic!("not whole: {pieces:?}")
            };
            assert_eq!(body, "abcd");
        }
    }

    #[tokio::test]
    async fn one_octet_more_is_too_long_and_nothing_is_lost() {
        for pieces in [&["abcde"][..], &["ab", "cde"], &["abcd", "e", "fg"]] {
            let Collected::TooLong(rest) = collect(Chunks::of(pieces), 4, |_| false).await else {
                panic!("not too long: {pieces:?}")
            };
            assert_eq!(rest.collect().await.unwrap().to_bytes(), pieces.concat());
        }
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_not_read() {
        let body = http_body_util::Full::new(Bytes::from_static(b"abcde"));
        let Collected::TooLong(rest) = collect(body, 4, |_| false).await else {
            panic!("not too long")
        };
        assert!(rest.so_far.is_empty());
        assert_eq!(rest.size_hint().exact(), Some(5));
    }

    #[tokio::test]
    async fn c15_a_body_that_breaks_off_has_failed() {
        let mut body = Chunks::of(&["ab"]);
        body.0.push_back(Err("cut".into()));
        assert!(matches!(collect(body, 4, |_| false).await, Collected::Failed(_)));
    }
}
