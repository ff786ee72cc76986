//! What the HTTP tests share: a store in memory, and an API behind the layer.

pub(crate) mod anonymous;
pub(crate) mod memory;
pub(crate) mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use memory::Memory;
use onceward::http::{Body, Chosen, Decision, IdempotencyLayer, Profile};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

/// An API behind the layer, over a store in memory, whose runs are counted.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Memory,
    runs: Arc<AtomicUsize>,
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) decision: Option<Decision>,
}

impl Reply {
    /// The status and the body, for what is compared most.
    pub(crate) fn seen(&self) -> (u16, &str) {
        (self.status.as_u16(), std::str::from_utf8(&self.body).unwrap())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Api {
    /// An API that answers its run number `n` with 201, a `Location` and `{"n":n}`.
    pub(crate) fn new(profile: Profile) -> Self {
        Self::with(profile, |n, _| async move { created(n) })
    }

    /// An API whose `handler` is given the number of the run, from 1.
    pub(crate) fn with<H, F>(profile: Profile, handler: H) -> Self
    where
        H: Fn(usize, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::layered(|layer| layer.profile(profile).principal(account), handler)
    }

    pub(crate) fn layered<H, F>(
        choose: impl FnOnce(IdempotencyLayer<Memory>) -> IdempotencyLayer<Memory, Chosen>,
        handler: H,
    ) -> Self
    where
        H: Fn(usize, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::over(Memory::default(), choose, handler)
    }

    /// An API over a store that another may have written to.
    pub(crate) fn over<H, F>(
        store: Memory,
        choose: impl FnOnce(IdempotencyLayer<Memory>) -> IdempotencyLayer<Memory, Chosen>,
        handler: H,
    ) -> Self
    where
        H: Fn(usize, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = {
            let runs = Arc::clone(&runs);
            tower::service_fn(move |request: Request<Body>| {
                let response = handler(runs.fetch_add(1, Ordering::SeqCst) + 1, request);
                async move { Ok::<_, Infallible>(response.await) }
            })
        };
        let service = choose(IdempotencyLayer::new(store.clone())).layer(counted);
        Self { store, runs, service: BoxCloneSyncService::new(service) }
    }

    /// How often the handler ran.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    pub(crate) async fn respond(&self, request: Request<Body>) -> Response<Body> {
        self.service.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.respond(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let decision = parts.extensions.get().copied();
        Reply { status: parts.status, headers: parts.headers, body, decision }
    }

    /// Posts `{}` to `/things` with this key, as account `a`.
    pub(crate) async fn post(&self, key: &str) -> Reply {
        self.send(post(key)).await
    }
}

pub(crate) fn account(request: &http::request::Parts) -> Option<Vec<u8>> {
    request.headers.get("x-account").map(|account| account.as_bytes().to_vec())
}

/// A request as account `a`, without a key.
pub(crate) fn keyless(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("x-account", "a")
}

pub(crate) fn keyed(method: &str, path: &str, key: &str) -> http::request::Builder {
    keyless(method, path).header("idempotency-key", key)
}

pub(crate) fn post(key: &str) -> Request<Body> {
    keyed("POST", "/things", key).body(Body::full("{}")).unwrap()
}

/// A request of oec.sh's API.
pub(crate) fn oec(path: &str, key: &str, body: &'static str) -> Request<Body> {
    keyless("POST", &format!("/api/public/v1{path}"))
        .header("x-idempotency-key", key)
        .body(Body::full(body))
        .unwrap()
}

pub(crate) fn created(n: usize) -> Response<Body> {
    Response::builder()
        .status(201)
        .header("location", format!("/things/{n}"))
        .header("content-type", "application/json")
        .body(Body::full(format!("{{\"n\":{n}}}")))
        .unwrap()
}

pub(crate) fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Body::full(format!("status {code}"))).unwrap()
}
