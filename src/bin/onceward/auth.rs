//! `auth-request`: the upstream is asked who the caller is, before anything is claimed or replayed
//! (C8). Credentials that were revoked therefore get nothing, and rotated ones what was theirs.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use onceward::http::Body;

use crate::principal::{self, Asked};
use crate::proxy::{Peer, Proxy};

/// Fields that make a request conditional, or ask for a part of its answer.
const CONDITIONS: [HeaderName; 7] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
    header::EXPECT,
];

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Asks the upstream, with GET `path` and the caller's fields less those about a body, a condition
/// or a key (`key_headers`), who sent the request of `parts`. A 2xx names the caller in `header`,
/// or names nobody; any other answer is the caller's, unchanged.
pub(crate) async fn ask(
    proxy: &Proxy,
    path: &PathAndQuery,
    header: &HeaderName,
    key_headers: &[HeaderName],
    parts: &Parts,
) -> Result<Asked, Response<Body>> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from(path.clone());
    *request.version_mut() = parts.version;
    *request.headers_mut() = fields(&parts.headers, key_headers);
    tell_of(parts, request.headers_mut());
    if let Some(peer) = parts.extensions.get::<Peer>() {
        request.extensions_mut().insert(*peer);
    }
    let response = proxy.send(request).await;
    if response.status().is_success() {
        Ok(Asked(principal::only(response.headers(), header).map(<[u8]>::to_vec)))
    } else {
        Err(response)
    }
}

fn fields(headers: &HeaderMap, key_headers: &[HeaderName]) -> HeaderMap {
    let mut fields = headers.clone();
    // The transfer coding goes with the other connection fields, on the way out.
    let content = |name: &&HeaderName| name.as_str().starts_with("content-");
    for name in headers.keys().filter(content).chain(&CONDITIONS).chain(key_headers) {
        fields.remove(name);
    }
    // The subrequest is no upgrade, whatever the request is.
    fields.remove(header::UPGRADE);
    fields
}

/// Says which request the answer is for, in place of whatever the caller says.
fn tell_of(parts: &Parts, fields: &mut HeaderMap) {
    for (name, value) in [
        (X_FORWARDED_METHOD, parts.method.as_str()),
        (X_FORWARDED_URI, parts.uri.path_and_query().map_or("/", PathAndQuery::as_str)),
    ] {
        fields.remove(&name);
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.insert(name, value);
        }
    }
    if let (false, Some(authority)) =
        (fields.contains_key(header::HOST), parts.uri.authority().map(http::uri::Authority::as_str))
        && let Ok(host) = HeaderValue::try_from(authority)
    {
        fields.insert(header::HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_bears_the_credentials_and_nothing_of_the_body_or_the_key() {
        let parts = Request::post("http://api.example/v1/sites?a=b")
            .header("authorization", "Bearer x")
            .header("cookie", "s=1")
            .header("content-type", "application/json")
            .header("content-length", "3")
            .header("if-match", "x")
            .header("range", "bytes=0-1")
            .header("idempotency-key", "k")
            .header("x-forwarded-uri", "/evil")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let mut asked = fields(&parts.headers, &[HeaderName::from_static("idempotency-key")]);
        tell_of(&parts, &mut asked);
        let mut names: Vec<&str> = asked.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["authorization", "cookie", "host", "x-forwarded-method", "x-forwarded-uri"]
        );
        assert_eq!(asked["x-forwarded-uri"], "/v1/sites?a=b");
        assert_eq!(asked["x-forwarded-method"], "POST");
        assert_eq!(asked["host"], "api.example");
    }
}
