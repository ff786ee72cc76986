//! Trailers (C26): whose are kept, and a body that ends with them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::{Body, BoxError};
use super::fields;
use super::grpc;
use super::profile::Profile;

/// The trailers that the first client of a response with these headers gets: none where the profile
/// drops them, for nobody is to get what no replay has. A gRPC response means nothing without its
/// own.
pub(crate) fn sent(mut trailers: HeaderMap, headers: &HeaderMap, profile: &Profile) -> HeaderMap {
    if !(profile.store_trailers || grpc::is_grpc(headers)) {
        return HeaderMap::new();
    }
    fields::strip_own(&mut trailers, profile);
    trailers
}

/// What of them is stored, and replayed: what would be kept of them as headers.
pub(crate) fn kept(trailers: &HeaderMap, headers: &HeaderMap, profile: &Profile) -> HeaderMap {
    fields::kept(&sent(trailers.clone(), headers, profile), profile)
}

/// A body of these octets, and then these trailers, if there are any.
pub(crate) fn body(octets: Bytes, trailers: HeaderMap) -> Body {
    if trailers.is_empty() {
        return Body::full(octets);
    }
    let octets = Some(octets).filter(|octets| !octets.is_empty());
    Body::new(Trailing { octets, trailers: Some(trailers) })
}

/// Octets in memory, then trailers.
struct Trailing {
    octets: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl HttpBody for Trailing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match self.octets.take() {
            Some(octets) => Some(Frame::data(octets)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_none() && self.trailers.is_none()
    }

    /// Never exact: over HTTP/1.1 a body whose length is said beforehand has no room for trailers.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.octets.as_ref().map_or(0, Bytes::len) as u64);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use http_body_util::BodyExt;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[tokio::test]
    async fn c26_octets_come_first_and_trailers_last() {
        for octets in ["", "abc"] {
            let body = body(Bytes::from_static(octets.as_bytes()), map(&[("x-sum", "1")]));
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
            let read = body.collect().await.unwrap();
            assert_eq!(read.trailers(), Some(&map(&[("x-sum", "1")])));
            assert_eq!(read.to_bytes(), octets);
        }
        assert_eq!(body(Bytes::from_static(b"abc"), HeaderMap::new()).size_hint().exact(), Some(3));
    }

    #[test]
    fn c26_trailers_are_kept_where_the_profile_or_grpc_says_so() {
        let trailers = map(&[("x-sum", "1"), ("set-cookie", "a=1"), ("idempotency-replayed", "1")]);
        let grpc = map(&[("content-type", "application/grpc")]);
        let mut profile = Profile::standard();
        assert_eq!(kept(&trailers, &HeaderMap::new(), &profile), HeaderMap::new());
        assert_eq!(kept(&trailers, &grpc, &profile), map(&[("x-sum", "1")]));
        profile.store_trailers = true;
        assert_eq!(kept(&trailers, &HeaderMap::new(), &profile), map(&[("x-sum", "1")]));
        let first = map(&[("x-sum", "1"), ("set-cookie", "a=1")]);
        assert_eq!(sent(trailers, &HeaderMap::new(), &profile), first, "X10: but the marker");
    }
}
