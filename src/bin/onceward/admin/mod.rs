//! The admin address: health, metrics, and what an operator asks about keys.
//!
//! For each request, in this order: `/livez` and `/readyz` are answered to everybody, for those who
//! ask them bear no token; a page in a browser is refused, and so is whoever has not got the token;
//! `/metrics`; the body is read, up to a limit and for a time; the API answers.

mod api;
mod guard;
mod health;
mod keys;
mod query;
mod refusal;
mod resolution;
mod scope;
mod token;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::listen;
use crate::metrics::{METRICS, Now, render};
use crate::store::Engine;
use crate::tracked::Count;

pub(crate) use api::Api;
pub(crate) use health::Health;
use refusal::Refusal;
pub(crate) use scope::Scopes;
pub(crate) use token::Token;

/// The longest body of a resolution, in octets: the longest response the store keeps (16 MiB) in
/// base64, and its header fields.
const RESOLUTION_OCTETS_MAX: usize = 24 << 20;
/// The longest body of anything else, which has none.
const BODY_OCTETS_MAX: usize = 4 << 10;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What answers on the admin address.
pub(crate) struct Admin<E> {
    pub(crate) health: Arc<Health>,
    pub(crate) engine: E,
    pub(crate) api: Api<E>,
    pub(crate) token: Option<Token>,
    /// Who is at work on the store.
    pub(crate) count: Count,
}

/// Answers on `listener` until it is dropped.
pub(crate) async fn serve<E: Engine>(listener: TcpListener, admin: Arc<Admin<E>>) {
    loop {
        let (stream, _) = listen::accept(&listener).await;
        let admin = Arc::clone(&admin);
        let service = service_fn(move |request: Request<Incoming>| {
            let admin = Arc::clone(&admin);
            async move { Ok::<_, Infallible>(admin.respond(request).await.map(Full::new)) }
        });
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(listen::HEADER_READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the admin address broke");
            }
        });
    }
}

impl<E: Engine> Admin<E> {
    async fn respond(&self, request: Request<Incoming>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let mut response = match probe(&self.health, &parts.method, parts.uri.path()) {
            Some(response) => response,
            None => self.guarded(parts, body).await.unwrap_or_else(Refusal::into_response),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn guarded(&self, parts: Parts, body: Incoming) -> Result<Response<Bytes>, Refusal> {
        guard::check(self.token.as_ref(), &parts.method, &parts.headers)?;
        if parts.uri.path() == "/metrics" {
            if parts.method != Method::GET {
                return Err(Refusal::method("GET"));
            }
            return Ok(self.metrics());
        }
        if !parts.uri.path().starts_with("/v1/") {
            return Err(Refusal::no_such_path());
        }
        let body = read(&parts, body).await?;
        Ok(self.api.answer(Request::from_parts(parts, body)).await)
    }

    fn metrics(&self) -> Response<Bytes> {
        let now = Now {
            stats: self.engine.stats(),
            at_work: self.count.now(),
            ready: self.health.ready().is_ok(),
            draining: self.health.is_draining(),
        };
        let mut response = Response::new(Bytes::from(render(&METRICS, &now)));
        let exposition = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, exposition);
        response
    }
}

/// Reads a body, which is JSON where there is one.
async fn read(parts: &Parts, body: Incoming) -> Result<Bytes, Refusal> {
    let octets_max = if parts.uri.path().ends_with("/resolve") {
        RESOLUTION_OCTETS_MAX
    } else {
        BODY_OCTETS_MAX
    };
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, octets_max).collect());
    let body = match read.await {
        Err(_) => {
            let message = "the body did not arrive in time";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {octets_max} octets");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message));
        }
        Ok(Err(error)) => return Err(Refusal::bad_request(format!("the body: {error}"))),
        Ok(Ok(body)) => body.to_bytes(),
    };
    // A form of a page, which a browser too old to say so may send.
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = kind.and_then(|kind| kind.split(|octet| *octet == b';').next());
    let is_json =
        essence.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"application/json"));
    if !body.is_empty() && !is_json {
        let message = "a body is application/json, and its Content-Type says so";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", message));
    }
    Ok(body)
}

/// The answer to who asks about health; `None` for another path.
fn probe(health: &Health, method: &Method, path: &str) -> Option<Response<Bytes>> {
    let (status, text) = match path {
        "/livez" | "/readyz" if method != Method::GET && method != Method::HEAD => {
            return Some(Refusal::method("GET, HEAD").into_response());
        }
        "/livez" => (StatusCode::OK, "live".to_owned()),
        "/readyz" => match health.ready() {
            Ok(()) => (StatusCode::OK, "ready".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => return None,
    };
    let mut response = Response::new(Bytes::from(text + "\n"));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: &Health, method: &Method, path: &str) -> Option<u16> {
        probe(health, method, path).map(|response| response.status().as_u16())
    }

    #[test]
    fn ready_is_told_apart_from_alive() {
        let health = Health::new(|| Ok(()));
        assert_eq!(status(&health, &Method::GET, "/livez"), Some(200));
        assert_eq!(status(&health, &Method::HEAD, "/readyz"), Some(200));
        assert_eq!(status(&health, &Method::POST, "/readyz"), Some(405));
        assert_eq!(status(&health, &Method::GET, "/"), None);
        let health = Health::new(|| Err("poisoned".to_owned()));
        assert_eq!(status(&health, &Method::GET, "/livez"), Some(200));
        assert_eq!(status(&health, &Method::GET, "/readyz"), Some(503));
    }
}
