//! What happens to a request from its arrival to its answer: who asks, then the middleware, then
//! one line in the log.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName};
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use onceward::Fingerprint;
use onceward::http::{Body, Decision, KeyDigest, Profile};
use tower_service::Service;

use crate::answer;
use crate::auth;
use crate::config::Rule;
use crate::headers;
use crate::metrics::METRICS;
use crate::policy::{self, Policy};
use crate::principal::Principal;
use crate::proxy::{Peer, Proxy};
use crate::steady::Steady;
use crate::unread::read_aside;

/// How long nothing of a body may arrive that is read whole before its request is sent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Handles requests: finds the rule a request is under, and asks who sent it. Clones share
/// everything.
pub(crate) struct Gateway<S>(Arc<Inner<S>>);

struct Inner<S> {
    principal: Principal,
    main: Handler<S>,
    /// The first that matches holds.
    rules: Vec<(Rule, Handler<S>)>,
    /// What is told to whoever asks for it, if anybody may.
    policy: Option<Policy>,
}

/// What handles the requests under one rule: the middleware `service` in front of a proxy.
pub(crate) struct Handler<S> {
    service: S,
    proxy: Proxy,
    profile: Profile,
    key_headers: Vec<HeaderName>,
    /// Whether a key has any effect.
    protects: bool,
}

/// The fields that may bear a key under `profile`.
pub(crate) fn key_headers(profile: &Profile) -> Vec<HeaderName> {
    std::iter::once(&profile.header).chain(&profile.header_aliases).cloned().collect()
}

impl<S> Clone for Gateway<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Handler<S> {
    /// A handler whose `service` is the middleware for `profile` around `proxy`.
    pub(crate) fn new(service: S, proxy: Proxy, profile: Profile, protects: bool) -> Self {
        let key_headers = key_headers(&profile);
        Self { service, proxy, profile, key_headers, protects }
    }
}

impl<S> Gateway<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    /// A gateway that handles each request as the first of `rules` that matches says, and with
    /// `main` where none does.
    pub(crate) fn new(
        principal: Principal,
        main: Handler<S>,
        rules: Vec<(Rule, Handler<S>)>,
        policy: Option<Policy>,
    ) -> Self {
        Self(Arc::new(Inner { principal, main, rules, policy }))
    }

    /// Answers one request.
    pub(crate) async fn handle(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let to_head = *request.method() == Method::HEAD;
        let response = self.answer(request.map(Body::new), peer).await;
        if to_head { answer::without_body(response) } else { response }
    }

    async fn answer(self, mut request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let arrived = Instant::now();
        if request.method() == Method::CONNECT {
            return answer::not_passed_on("CONNECT is not passed on");
        }
        if let Some(policy) = &self.0.policy
            && request.uri().path() == policy::PATH
        {
            return policy.answer(request.method(), request.headers());
        }
        if request.version() == Version::HTTP_2 {
            headers::join_cookies(request.headers_mut());
        }
        request.extensions_mut().insert(Peer(peer));
        let handler = self.0.handler(request.method(), request.uri().path());
        let key = hash_of_key(request.headers(), &handler.key_headers);
        let covers = handler.protects && handler.profile.methods.contains(request.method());
        let asks_who = covers && (key.is_some() || handler.profile.key_required);
        let Some(key) = key else {
            let response = self.0.admit(handler, request, asks_who).await;
            METRICS.unkeyed(response.extensions().get() == Some(&Decision::Refused));
            return response;
        };
        if covers {
            request = request.map(|body| Body::new(Steady::new(body, SILENCE_MAX)));
        }
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let mut response = self.0.admit(handler, request, asks_who).await;
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
}

impl<S> Inner<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    /// What handles a request for this path (raw, without the query).
    fn handler(&self, method: &Method, path: &str) -> &Handler<S> {
        let matched = self.rules.iter().find(|(rule, _)| rule.matches(method, path));
        matched.map_or(&self.main, |(_, handler)| handler)
    }

    /// Passes a request on to the middleware, which has to know who sent it when a key is, or
    /// should be, at stake (`asks_who`).
    async fn admit(
        &self,
        handler: &Handler<S>,
        request: Request<Body>,
        asks_who: bool,
    ) -> Response<Body> {
        let (true, Principal::AuthRequest { path, header }) = (asks_who, &self.principal) else {
            return handler.through(request).await;
        };
        let (mut parts, body) = request.into_parts();
        match auth::ask(&handler.proxy, path, header, &handler.key_headers, &parts).await {
            Ok(asked) => {
                parts.extensions.insert(asked);
                handler.through(Request::from_parts(parts, body)).await
            }
            Err(response) => {
                read_aside(&parts.headers, body, handler.profile.request_octets_max);
                response
            }
        }
    }
}

impl<S> Handler<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    async fn through(&self, request: Request<Body>) -> Response<Body> {
        let mut service = self.service.clone();
        let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(()) = ready;
        let Ok(response) = service.call(request).await;
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
        Decision::TooManyInFlight => "too-many-in-flight",
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

    /// A word that is not counted by itself would be counted among "other", as a refusal.
    #[test]
    fn every_word_of_the_log_is_one_of_the_metrics() {
        let code = include_str!("gateway.rs");
        let (_, words) = code.split_once("fn word(decision").unwrap();
        let (words, _) = words.split_once("\n}\n").unwrap();
        let words: Vec<&str> = words.split('"').skip(1).step_by(2).collect();
        assert!(words.contains(&"fresh") && words.contains(&"timed-out"), "{words:?}");
        for word in words {
            assert!(crate::metrics::is_counted(word), "{word}");
        }
    }

    #[test]
    fn no_key_no_hash() {
        let name = HeaderName::from_static("idempotency-key");
        assert_eq!(hash_of_key(&HeaderMap::new(), &[name]), None);
    }
}
