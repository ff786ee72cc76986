//! What happens to a request from its arrival to its answer: who asks, then the middleware, then
//! one line in the log.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

use http::header::{HeaderMap, HeaderName};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use onceward::Fingerprint;
use onceward::http::{Body, Decision, KeyDigest, Profile};
use tower_service::Service;

use crate::answer;
use crate::auth;
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::proxy::{Peer, Proxy};

/// Handles requests: the middleware `service` in front of the proxy, and what surrounds them.
#[derive(Clone)]
pub(crate) struct Gateway<S> {
    service: S,
    proxy: Proxy,
    principal: Principal,
    profile: Profile,
    key_headers: Vec<HeaderName>,
}

/// The fields that may bear a key under `profile`.
pub(crate) fn key_headers(profile: &Profile) -> Vec<HeaderName> {
    std::iter::once(&profile.header).chain(&profile.header_aliases).cloned().collect()
}

impl<S> Gateway<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    /// A gateway whose `service` is the middleware for `profile` around `proxy`.
    pub(crate) fn new(service: S, proxy: Proxy, principal: Principal, profile: Profile) -> Self {
        let key_headers = key_headers(&profile);
        Self { service, proxy, principal, profile, key_headers }
    }

    /// Answers one request.
    pub(crate) async fn handle(
        mut self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let arrived = Instant::now();
        let mut request = request.map(Body::new);
        if request.method() == Method::CONNECT {
            return answer::not_passed_on("CONNECT is not passed on");
        }
        request.extensions_mut().insert(Peer(peer));
        let key = hash_of_key(request.headers(), &self.key_headers);
        let asks_who = (key.is_some() || self.profile.key_required)
            && self.profile.methods.contains(request.method());
        let Some(key) = key else {
            let response = self.admit(request, asks_who).await;
            METRICS.unkeyed(response.extensions().get() == Some(&Decision::Refused));
            return response;
        };
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let mut response = self.admit(request, asks_who).await;
        // A replay has the standard phrase: so has the first response, or the two would differ.
        response.extensions_mut().remove::<ReasonPhrase>();
        let decision = response.extensions().get().copied().map_or("before-the-store", word);
        let scope = response.extensions().get::<KeyDigest>().map(|digest| hex(&digest.scope));
        METRICS.keyed(decision, arrived.elapsed());
        tracing::info!(
            decision,
            key,
            scope,
            method = method.as_str(),
            path,
            status = response.status().as_u16(),
            duration_ms = u64::try_from(arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
            "keyed request"
        );
        response
    }

    /// Passes a request on to the middleware, which has to know who sent it when a key is, or
    /// should be, at stake (`asks_who`).
    async fn admit(&mut self, request: Request<Body>, asks_who: bool) -> Response<Body> {
        let (true, Principal::AuthRequest { path, header }) = (asks_who, &self.principal) else {
            return self.through(request).await;
        };
        let (mut parts, body) = request.into_parts();
        match auth::ask(&self.proxy, path, header, &self.key_headers, &parts).await {
            Ok(asked) => {
                parts.extensions.insert(asked);
                self.through(Request::from_parts(parts, body)).await
            }
            Err(response) => response,
        }
    }

    async fn through(&mut self, request: Request<Body>) -> Response<Body> {
        let ready = std::future::poll_fn(|cx| self.service.poll_ready(cx)).await;
        let Ok(()) = ready;
        let Ok(response) = self.service.call(request).await;
        response
    }
}

/// A hash of the key a request bears, by which log lines about it are found together; the key
/// itself may be guessable, or a secret (D12). Quoted or bare, a key has one hash.
fn hash_of_key(headers: &HeaderMap, key_headers: &[HeaderName]) -> Option<String> {
    let value = key_headers.iter().find_map(|name| headers.get(name))?.as_bytes();
    let digest = Fingerprint::of(decoded(value.trim_ascii()));
    Some(hex(digest.as_bytes().get(..8)?))
}

/// Octets in hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut hex, octet| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{octet:02x}");
        hex
    })
}

fn decoded(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return value.to_vec();
    };
    let mut key = Vec::with_capacity(quoted.len());
    let mut octets = quoted.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => break,
            b'\\' => key.extend(octets.next()),
            _ => key.push(*octet),
        }
    }
    key
}

/// A decision, as it stands in the log.
fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Fresh => "fresh",
        Decision::FreshBodyOmitted => "fresh-body-omitted",
        Decision::FreshNotRecorded => "fresh-not-recorded",
        Decision::FreshNotRetained => "fresh-not-retained",
        Decision::Released => "released",
        Decision::LeftInDoubt => "left-in-doubt",
        Decision::TimedOut => "timed-out",
        Decision::Replayed => "replayed",
        Decision::Mismatch => "mismatch",
        Decision::InFlight => "in-flight",
        Decision::InDoubt => "in-doubt",
        Decision::NotRetained => "not-retained",
        Decision::Corrupt => "corrupt",
        Decision::Refused => "refused",
        Decision::StoreFailed => "store-failed",
        Decision::Ignored(why) => why.as_str(),
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(value: &str) -> Option<String> {
        let name = HeaderName::from_static("idempotency-key");
        let mut headers = HeaderMap::new();
        headers.insert(&name, value.parse().unwrap());
        hash_of_key(&headers, &[name])
    }

    #[test]
    fn quoted_or_bare_a_key_has_one_hash_that_does_not_show_it() {
        let bare = hash("abc-1").unwrap();
        assert_eq!(bare.len(), 16);
        assert_eq!(hash("\"abc-1\""), Some(bare.clone()));
        assert_eq!(hash(" \"abc-1\";a=\"x\" "), Some(bare.clone()));
        assert_eq!(hash("\"abc\\-1\""), Some(bare.clone()));
        assert_ne!(hash("abc-2"), Some(bare));
    }

    #[test]
    fn no_key_no_hash() {
        let name = HeaderName::from_static("idempotency-key");
        assert_eq!(hash_of_key(&HeaderMap::new(), &[name]), None);
    }
}
