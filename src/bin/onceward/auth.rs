//! `auth-request`: the upstream is asked who the caller is, before anything is claimed or replayed
//! (C8). Credentials that were revoked therefore get nothing, and rotated ones what was theirs.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use onceward::http::Body;

use crate::answer::Broken;
use crate::headers;
use crate::principal::{self, Asked};
use crate::proxy::{Peer, Proxy};

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Asks the upstream, with GET `path` and the caller's fields less those about a body, a condition
/// or a key (`key_headers`), who sent the request of `parts`. A 2xx names the caller in `header`,
/// or names nobody; any other answer is the caller's, unchanged. Where there is none, nothing of the
/// request itself was sent, whatever became of the question.
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
    *request.headers_mut() = headers::for_subrequest(parts, key_headers);
    tell_of(parts, request.headers_mut());
    if let Some(peer) = parts.extensions.get::<Peer>() {
        request.extensions_mut().insert(*peer);
    }
    let response = proxy.send_in_time(request).await;
    if response.status().is_success() {
        Ok(Asked(principal::only(response.headers(), header).map(<[u8]>::to_vec)))
    } else if response.extensions().get() == Some(&Broken) {
        Err(proxy.unreachable(&parts.headers))
    } else {
        Err(response)
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sender names in `Connection` what the gateway is about to add; it would be gone from the
    /// question, and a service that goes by it would judge another request.
    #[test]
    fn c27_the_sender_takes_nothing_away_that_the_gateway_adds() {
        let parts = Request::post("/v1/sites")
            .header("connection", "x-forwarded-uri, x-own")
            .header("x-own", "1")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let mut fields = headers::for_subrequest(&parts, &[]);
        tell_of(&parts, &mut fields);
        headers::strip_hop_by_hop(&mut fields);
        assert_eq!(fields["x-forwarded-uri"], "/v1/sites");
        assert!(!fields.contains_key("x-own"), "{fields:?}");
    }

    #[test]
    fn the_question_says_which_request_it_is_about() {
        let parts = Request::post("/v1/sites?a=b")
            .header("x-forwarded-uri", "/evil")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let mut fields = parts.headers.clone();
        tell_of(&parts, &mut fields);
        assert_eq!(fields["x-forwarded-method"], "POST");
        let uris: Vec<&HeaderValue> = fields.get_all("x-forwarded-uri").iter().collect();
        assert_eq!(uris, ["/v1/sites?a=b"]);
    }
}
