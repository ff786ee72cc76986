//! The layer over a store with one result, called without a network and without a wait.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use onceward::http::{Body, IdempotencyLayer, IdempotencyService, Profile};
use onceward::{ManualClock, Options, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower_layer::Layer;
use tower_service::Service;

use crate::{CALLS, at_once, sure};

const KEY: &str = "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04";
const REQUEST: &[u8] = br#"{"name":"site","region":"eu","plan":"small"}"#;

/// A handler that answers what it is given to answer.
#[derive(Clone)]
struct Handler;

impl Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Body::full(crate::payload()))))
    }
}

/// The layered handler, and requests for it.
pub struct Layered {
    service: IdempotencyService<Handler, Store>,
    requests: Vec<Request<Body>>,
    runtime: Runtime,
    _directory: TempDir,
}

impl Layered {
    /// Requests without a key.
    pub fn without_key() -> Self {
        Self::of(false)
    }

    /// Requests that were answered before.
    pub fn replaying() -> Self {
        Self::of(true)
    }

    fn of(keyed: bool) -> Self {
        let directory = sure(tempfile::tempdir());
        let options = Options::new().stepped().seeded(7).clock(ManualClock::new(1_700_000_000_000));
        let store = sure(options.open(directory.path().join("store")));
        let layer = IdempotencyLayer::new(store.clone());
        let mut service = layer.profile(Profile::standard()).single_tenant().layer(Handler);
        let runtime = sure(tokio::runtime::Builder::new_current_thread().enable_time().build());
        let mut first = pin!(service.call(request(true)));
        let first = runtime.block_on(poll_fn(|context| {
            let polled = first.as_mut().poll(context);
            if polled.is_pending() {
                // The committer's part, which no thread does here.
                sure(store.step());
                context.waker().wake_by_ref();
            }
            polled
        }));
        assert!(sure(first).status().is_success());
        let mut layered = Self { service, requests: Vec::new(), runtime, _directory: directory };
        // Whatever is made at the first call is there.
        layered.requests.push(request(keyed));
        assert_eq!(layered.call(), 1);
        layered.requests.extend((0..CALLS).map(|_| request(keyed)));
        layered
    }

    /// Calls the service with each request; gives how many were answered well.
    pub fn call(&mut self) -> usize {
        let _within = self.runtime.enter();
        let mut well = 0;
        for request in self.requests.drain(..) {
            let response = sure(at_once(self.service.call(request)));
            well += usize::from(response.status().is_success());
        }
        well
    }
}

fn request(keyed: bool) -> Request<Body> {
    let mut request = Request::post("/v1/sites")
        .header("host", "api.example")
        .header("content-type", "application/json")
        .header("content-length", REQUEST.len());
    if keyed {
        request = request.header("idempotency-key", KEY);
    }
    sure(request.body(Body::full(REQUEST)))
}
