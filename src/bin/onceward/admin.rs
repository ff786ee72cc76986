//! The admin address: is the process alive, and can it take work.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use onceward::http::Body;
use tokio::net::TcpListener;

use crate::listen;

/// What `/readyz` goes by.
pub(crate) struct Health {
    draining: AtomicBool,
    store: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Health {
    /// Healthy as long as `store` is: it says whether the store takes writes, without waiting, and
    /// if not why.
    pub(crate) fn new(store: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { draining: AtomicBool::new(false), store: Box::new(store) }
    }

    /// From now on no work should be sent here.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining".to_owned());
        }
        (self.store)()
    }
}

/// Answers on `listener` until it is dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<Health>) {
    loop {
        let (stream, _) = listen::accept(&listener).await;
        let health = Arc::clone(&health);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let response = respond(&health, request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
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

fn respond(health: &Health, method: &Method, path: &str) -> Response<Body> {
    let (status, text) = match path {
        "/livez" | "/readyz" if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD".to_owned())
        }
        "/livez" => (StatusCode::OK, "live".to_owned()),
        "/readyz" => match health.ready() {
            Ok(()) => (StatusCode::OK, "ready".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => (StatusCode::NOT_FOUND, "not found".to_owned()),
    };
    let mut response = Response::new(Body::full(text + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: &Health, method: &Method, path: &str) -> u16 {
        respond(health, method, path).status().as_u16()
    }

    #[test]
    fn ready_is_told_apart_from_alive() {
        let health = Health::new(|| Ok(()));
        assert_eq!(status(&health, &Method::GET, "/livez"), 200);
        assert_eq!(status(&health, &Method::GET, "/readyz"), 200);
        health.drain();
        assert_eq!(status(&health, &Method::GET, "/livez"), 200);
        assert_eq!(status(&health, &Method::GET, "/readyz"), 503);
        let health = Health::new(|| Err("poisoned".to_owned()));
        assert_eq!(status(&health, &Method::GET, "/livez"), 200);
        assert_eq!(status(&health, &Method::GET, "/readyz"), 503);
    }

    #[test]
    fn nothing_else_is_there() {
        let health = Health::new(|| Ok(()));
        assert_eq!(status(&health, &Method::GET, "/"), 404);
        assert_eq!(status(&health, &Method::POST, "/readyz"), 405);
        assert_eq!(status(&health, &Method::HEAD, "/readyz"), 200);
    }
}
