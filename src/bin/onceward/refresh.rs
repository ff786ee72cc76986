//! `refresh = "location"`: a replayed 202 says how its job stands now (X1, M10).
//!
//! The stored `Location` is asked for with the caller's own fields; a 2xx gives the body and its
//! type, and the stored status and other fields stay. Whatever goes wrong, the stored response is
//! sent as it is. Nothing but the upstream is ever asked.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use onceward::http::{Body, BoxError, Refreshed, StoredResponse};

use crate::headers;
use crate::proxy::{Peer, Proxy};

/// How long the answer may take, body and all.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The longest body taken, in octets.
const OCTETS_MAX: usize = 1 << 20;

/// The body for a replay of `stored` to the request of `parts`; `None` keeps the stored one.
pub(crate) async fn refresh(
    proxy: Proxy,
    key_headers: Vec<HeaderName>,
    stored: StoredResponse,
    parts: Parts,
) -> Result<Option<Refreshed>, BoxError> {
    let path = match stored.headers.get(header::LOCATION) {
        Some(location) if stored.status == StatusCode::ACCEPTED => {
            path_of(location, &proxy, &parts)
        }
        _ => None,
    };
    let Some(uri) = path.and_then(|path| proxy.upstream().at(path)) else {
        return Ok(None);
    };
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.version_mut() = parts.version;
    *request.headers_mut() = headers::for_subrequest(&parts, &key_headers);
    if let Some(peer) = parts.extensions.get::<Peer>() {
        request.extensions_mut().insert(*peer);
    }
    tokio::time::timeout(TIME_MAX, ask(&proxy, uri, request)).await?
}

async fn ask(
    proxy: &Proxy,
    uri: Uri,
    request: Request<Body>,
) -> Result<Option<Refreshed>, BoxError> {
    let (parts, body) = proxy.send_to(uri, request).await.into_parts();
    if !parts.status.is_success() {
        tracing::debug!(status = parts.status.as_u16(), "a job's current state was not to be had");
        return Ok(None);
    }
    let body = Limited::new(body, OCTETS_MAX).collect().await?.to_bytes();
    let field = |headers: &HeaderMap, name| headers.get(name).cloned();
    let mut new = Refreshed::new(body);
    new.content_type = field(&parts.headers, header::CONTENT_TYPE);
    new.content_encoding = field(&parts.headers, header::CONTENT_ENCODING);
    Ok(Some(new))
}

/// The path a `Location` leads to, if that is at the upstream: a path, or a URL whose host is the
/// upstream's or the one the caller asks for, under which the upstream knows itself.
fn path_of(location: &HeaderValue, proxy: &Proxy, parts: &Parts) -> Option<PathAndQuery> {
    let text = location.to_str().ok()?;
    if text.starts_with("//") {
        return None;
    }
    let location: Uri = text.parse().ok()?;
    let Some(authority) = location.authority() else {
        return location.into_parts().path_and_query.filter(|path| path.as_str().starts_with('/'));
    };
    let asked = headers::host(parts);
    let authority = authority.as_str().as_bytes();
    let known = std::iter::once(proxy.upstream().host())
        .chain(&asked)
        .any(|host| host.as_bytes().eq_ignore_ascii_case(authority));
    if known { location.into_parts().path_and_query } else { None }
}
