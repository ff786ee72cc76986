//! The gateway's own answers.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;
use onceward::http::{Body, Condition, Outcome, Profile};

/// What of a request the profile's errors repeat.
const REPEATED: HeaderName = HeaderName::from_static("x-request-id");

/// There was no answer: the connection broke before, or it took too long. A response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What is kept of a request's fields while it is under way, for the error that may answer it.
pub(crate) fn keep(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    if let Some(id) = headers.get(&REPEATED) {
        kept.insert(REPEATED, id.clone());
    }
    kept
}

/// The upstream was not reached, and nothing was sent: in the profile's dialect, the key given back.
pub(crate) fn unreachable(profile: &Profile, kept: &HeaderMap) -> Response<Body> {
    let mut response = profile.error(&Condition::UpstreamUnreachable, kept);
    response.extensions_mut().insert(Outcome::NotExecuted);
    response
}

/// The connection broke and nobody knows what the upstream did: in the profile's dialect, the key
/// left in doubt.
pub(crate) fn broken(profile: &Profile, kept: &HeaderMap) -> Response<Body> {
    let mut response = profile.error(&Condition::UpstreamBroken, kept);
    response.extensions_mut().insert(Outcome::Unknown);
    response.extensions_mut().insert(Broken);
    response
}

/// The upstream did not answer in time a request that no key is granted for: there is no key to say
/// anything about.
pub(crate) fn late() -> Response<Body> {
    let mut response = plain(StatusCode::GATEWAY_TIMEOUT, "the service did not answer in time");
    response.extensions_mut().insert(Broken);
    response
}

/// A request of a kind that is not passed on; nothing was sent.
pub(crate) fn not_passed_on(why: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::NOT_IMPLEMENTED, why);
    response.extensions_mut().insert(Outcome::NotExecuted);
    response
}

/// The answer to a HEAD: the same without its body, which over HTTP/2 nobody else takes off (RFC 9110,
/// section 9.3.2). One of the gateway's own says how long its body would have been.
pub(crate) fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let octets = body.size_hint().exact().filter(|octets| *octets > 0);
    if let Some(octets) = octets {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(octets.into());
    }
    Response::from_parts(parts, Body::empty())
}

fn plain(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(why));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
