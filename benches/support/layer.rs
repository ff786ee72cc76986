//! The layer in process: an axum app called as a service, without a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::Request;
use http_body_util::BodyExt;
use onceward::http::{IdempotencyLayer, Profile};
use onceward::{Durability, Options};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tower::ServiceExt;

use super::overhead::{Row, Scale, Took, sure, timed};

/// A request's body, and a response's: 512 octets of JSON.
const BODY: &str = include_str!("body.json");

/// Processor time of this process, the store's own threads included.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn bare() -> Router {
    Router::new().route("/v1/sites", post(|body: String| async move { body }))
}

/// The app with the layer, on a store of its own.
fn layered(durability: Durability) -> (Router, TempDir) {
    let directory =
        tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let directory = sure(directory);
    let store = sure(Options::new().durability(durability).open(directory.path().join("store")));
    let layer = IdempotencyLayer::new(store).profile(Profile::standard()).single_tenant();
    (bare().route_layer(layer), directory)
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

/// A number that no other has.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn call(app: Router, keys: Keys) {
    let mut request = Request::post("/v1/sites")
        .header("host", "api.example")
        .header("content-type", "application/json");
    request = match keys {
        Keys::None => request,
        Keys::Same => request.header("idempotency-key", "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04"),
        Keys::New => request.header("idempotency-key", format!("bench-{:030}", number())),
    };
    let request = sure(request.body(axum::body::Body::from(BODY)));
    let response = sure(app.oneshot(request).await);
    assert!(response.status().is_success(), "{}", response.status());
    sure(response.into_body().collect().await);
}

/// Calls `app` from as many tasks as the scale says.
async fn calls(app: &Router, keys: Keys, scale: Scale) -> Took {
    let left = Arc::new(AtomicU64::new(scale.calls));
    timed(scale.calls, processor, async {
        let mut tasks = Vec::new();
        for _ in 0..scale.tasks {
            let (app, left) = (app.clone(), Arc::clone(&left));
            tasks.push(tokio::spawn(async move {
                let take = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    call(app.clone(), keys).await;
                }
            }));
        }
        for task in tasks {
            sure(task.await);
        }
    })
    .await
}

/// The rows of the layer.
pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let (synced, _one) = layered(Durability::Sync);
    let (buffered, _other) = layered(Durability::Buffered);
    call(synced.clone(), Keys::Same).await;
    let mut rows = [
        (Row::new("bare axum"), bare(), Keys::None),
        (Row::new("the layer, no key"), synced.clone(), Keys::None),
        (Row::new("a replay"), synced.clone(), Keys::Same),
        (Row::new("fresh, `Durability::Buffered`"), buffered, Keys::New),
        (Row::new("fresh, `Durability::Sync`"), synced, Keys::New),
    ];
    for _ in 0..scale.rounds {
        for (row, app, keys) in &mut rows {
            row.push(calls(app, *keys, scale).await);
        }
    }
    rows.into_iter().map(|(row, ..)| row).collect()
}
