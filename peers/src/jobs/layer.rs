//! Middleware in one process: an axum app called in place as a service, bare, with onceward's layer
//! and with that of the crate `idempotent`. What is told is processor time of the whole process, its
//! stores' threads included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use idempotent::memory::MemoryStore;
use onceward::http::Profile;
use onceward::{Durability, Options};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::tell;
use crate::args::Args;
use crate::machine;
use crate::work::sure;

const TASKS: usize = 64;
const REPLAYED: &str = "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04";

/// A body of 512 octets of JSON, for the request and the response.
fn body() -> String {
    format!("{{\"name\":\"{}\"}}", "n".repeat(512 - 11))
}

fn bare() -> Router {
    Router::new().route("/v1/sites", post(async |body: String| body))
}

/// Whose key a request bears.
#[derive(Clone, Copy)]
enum Keys {
    None,
    /// One that was used before.
    Same,
    /// One that nobody used.
    New,
}

async fn call(app: Router, keys: Keys, body: &'static str) -> Response<Body> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let request = Request::post("/v1/sites")
        .header("host", "api.example")
        .header("content-type", "application/json");
    let request = match keys {
        Keys::None => request,
        Keys::Same => request.header("idempotency-key", REPLAYED),
        Keys::New => {
            let number = NEXT.fetch_add(1, Relaxed);
            request.header("idempotency-key", format!("peers-{number:030}"))
        }
    };
    sure(app.oneshot(sure(request.body(Body::from(body)))).await)
}

/// Answers are read, and are what the handler gave.
async fn checked(app: Router, keys: Keys, body: &'static str) {
    let response = call(app, keys, body).await;
    assert!(response.status().is_success(), "{}", response.status());
    let collected = sure(response.into_body().collect().await).to_bytes();
    assert_eq!(collected, body.as_bytes());
}

/// Processor time of one call, in microseconds.
async fn calls(app: &Router, keys: Keys, count: u64, body: &'static str) -> f64 {
    let left = Arc::new(AtomicU64::new(count));
    let before = machine::processor();
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (app, left) = (app.clone(), Arc::clone(&left));
        tasks.push(tokio::spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
                checked(app.clone(), keys, body).await;
            }
        }));
    }
    for task in tasks {
        sure(task.await);
    }
    machine::processor().saturating_sub(before).as_secs_f64() * 1e6 / count as f64
}

pub(crate) fn measure(args: &Args, runtime: &Runtime) {
    let (rounds, count) = (args.number("rounds", 7), args.number("count", 100_000));
    let body: &'static str = body().leak();
    runtime.block_on(async {
        let options =
            Options::new().durability(Durability::Buffered).ttl(Duration::from_secs(3600));
        let store = sure(options.open(args.setup().directory.join("store")));
        let layer = onceward::http::IdempotencyLayer::new(store.clone());
        let layer = layer.profile(Profile::standard()).single_tenant();
        let ours = bare().route_layer(layer);
        let memory = sure(MemoryStore::builder().try_build());
        let theirs = bare().route_layer(idempotent::middleware::IdempotencyLayer::new(memory));
        let cases = [
            ("bare", bare(), Keys::None),
            ("onceward/no key", ours.clone(), Keys::None),
            ("onceward/replay", ours.clone(), Keys::Same),
            ("onceward/fresh", ours, Keys::New),
            ("idempotent/no key", theirs.clone(), Keys::None),
            ("idempotent/replay", theirs.clone(), Keys::Same),
            ("idempotent/fresh", theirs, Keys::New),
        ];
        // The first of the same key is fresh; and everything has run once before it is measured.
        for (_, app, keys) in &cases {
            checked(app.clone(), *keys, body).await;
            calls(app, *keys, count / 10, body).await;
        }
        for _ in 0..rounds {
            for (name, app, keys) in &cases {
                tell(*name, calls(app, *keys, count, body).await);
            }
        }
        sure(store.close());
    });
}
