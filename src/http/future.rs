//! The service's future: boxed for requests with a key alone, and not for those passed on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response};
use pin_project_lite::pin_project;

use super::body::{Body, BoxError};
use super::fields::KEY_IGNORED;
use super::outcome::{Decision, Ignored};

type Boxed<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

pin_project! {
    /// The response of an [`IdempotencyService`](super::IdempotencyService), to come.
    pub struct ResponseFuture<F, E> {
        #[pin]
        kind: Kind<F, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, E> {
        Pass { #[pin] future: F, why: Ignored, report: bool },
        Ready { response: Option<Response<Body>> },
        Keyed { future: Boxed<E> },
    }
}

impl<F, E> ResponseFuture<F, E> {
    pub(crate) fn pass(future: F, why: Ignored, report: bool) -> Self {
        Self { kind: Kind::Pass { future, why, report } }
    }

    pub(crate) fn ready(response: Response<Body>) -> Self {
        Self { kind: Kind::Ready { response: Some(response) } }
    }

    pub(crate) fn keyed(
        future: impl Future<Output = Result<Response<Body>, E>> + Send + 'static,
    ) -> Self {
        Self { kind: Kind::Keyed { future: Box::pin(future) } }
    }
}

impl<F, E> std::fmt::Debug for ResponseFuture<F, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, E, B> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Pass { future, why, report } => {
                let mut response = ready!(future.poll(cx))?.map(Body::new);
                if *report {
                    let reason = HeaderValue::from_static(why.as_str());
                    response.headers_mut().insert(KEY_IGNORED, reason);
                }
                response.extensions_mut().insert(Decision::Ignored(*why));
                Poll::Ready(Ok(response))
            }
            KindProjection::Ready { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after it was done, which no caller may.
                None => Poll::Pending,
            },
            KindProjection::Keyed { future } => future.as_mut().poll(cx),
        }
    }
}
