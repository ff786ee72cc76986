//! The layer within axum, and over real connections.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::OriginalUri;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use onceward::http::{Idempotency, IdempotencyLayer, Profile};
use support::memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt;

type Runs = Arc<AtomicUsize>;

async fn create(
    Extension(runs): Extension<Runs>,
    Extension(idempotency): Extension<Idempotency>,
    Json(site): Json<serde_json::Value>,
) -> (StatusCode, Json<serde_json::Value>) {
    let id = runs.fetch_add(1, Ordering::SeqCst) + 1;
    let key = String::from_utf8(idempotency.key.to_vec()).unwrap();
    (StatusCode::CREATED, Json(serde_json::json!({"id": id, "site": site, "key": key})))
}

async fn echo(body: Bytes) -> Bytes {
    body
}

fn sites(store: Memory) -> Router {
    let layer = IdempotencyLayer::new(store)
        .profile(Profile::managed_dev())
        .principal(|parts| parts.headers.get("x-account").map(|v| v.as_bytes().to_vec()));
    Router::new()
        .route("/v1/sites", post(create).get(|| async { "sites" }))
        .route("/v1/echo", post(echo))
        .route_layer(layer)
        .layer(Extension(Runs::default()))
}

fn site(path: &str, key: &str, body: &'static str) -> Request<axum::body::Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .header("x-account", "a")
        .header("idempotency-key", key)
        .body(body.into())
        .unwrap()
}

async fn send(app: &Router, request: Request<axum::body::Body>) -> (u16, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn handlers_extract_as_ever_and_run_once() {
    let app = sites(Memory::default());
    let expected = r#"{"id":1,"key":"k","site":{"name":"x"}}"#;
    for _ in 0..3 {
        let reply = send(&app, site("/v1/sites", "k", r#"{"name":"x"}"#)).await;
        assert_eq!(reply, (201, expected.to_owned()));
    }
    let changed = send(&app, site("/v1/sites", "k", r#"{"name":"y"}"#)).await;
    assert_eq!(changed.0, 409, "M16");
    assert_eq!(send(&app, site("/v1/echo", "e", "octets")).await, (200, "octets".into()));
}

#[tokio::test]
async fn a_missed_route_or_method_never_claims() {
    let store = Memory::default();
    let app = sites(store.clone());
    assert_eq!(send(&app, site("/v1/nowhere", "k", "{}")).await.0, 404);
    let mut put = site("/v1/sites", "k", "{}");
    *put.method_mut() = http::Method::PUT;
    assert_eq!(send(&app, put).await.0, 405);
    assert_eq!(store.lookups(), 0);
}

#[tokio::test]
async fn c17_a_rejected_extractor_is_a_response_like_another() {
    let app = sites(Memory::default());
    for _ in 0..2 {
        let (status, _) = send(&app, site("/v1/sites", "bad", "{")).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn the_layer_can_be_put_on_a_whole_router() {
    let app = Router::new()
        .route("/v1/echo", post(echo))
        .route("/v1/sites", get(|| async { "sites" }))
        .layer(IdempotencyLayer::new(Memory::default()).single_tenant());
    for _ in 0..2 {
        assert_eq!(send(&app, site("/v1/echo", "k", "a")).await, (200, "a".into()));
    }
    assert_eq!(send(&app, site("/v1/echo", "k", "b")).await.0, 422);
}

#[tokio::test]
async fn x7_two_mounts_of_one_router_are_two_targets() {
    let layer = IdempotencyLayer::new(Memory::default())
        .single_tenant()
        .original_uri(|parts| parts.extensions.get::<OriginalUri>().map(|uri| uri.0.clone()));
    let mounted = Router::new().route("/echo", post(echo)).route_layer(layer);
    let app = Router::new().nest("/a", mounted.clone()).nest("/b", mounted);
    assert_eq!(send(&app, site("/a/echo", "k", "x")).await, (200, "x".into()));
    assert_eq!(send(&app, site("/a/echo", "k", "x")).await, (200, "x".into()));
    assert_eq!(send(&app, site("/b/echo", "k", "x")).await.0, 422);
}

/// Serves `app` on a free port; the connection's far end.
async fn connect(app: Router) -> (std::net::SocketAddr, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, TcpStream::connect(address).await.unwrap())
}

async fn exchange(connection: &mut TcpStream, request: &str) -> String {
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

const REQUEST: &str = "POST /v1/sites HTTP/1.1\r\nhost: a.example\r\nx-account: a\r\n\
                       content-type: application/json\r\nidempotency-key: k\r\n\
                       connection: close\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn over_a_connection_a_retry_differs_from_the_first_by_nothing_but_its_date() {
    let (address, mut first) = connect(sites(Memory::default())).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    let without_date = |answer: String| {
        let lines = answer.split("\r\n").filter(|line| !line.starts_with("date: "));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let first = exchange(&mut first, REQUEST).await;
    let second = exchange(&mut second, REQUEST).await;
    assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "{first}");
    assert_eq!(second.matches("date: ").count(), 1, "C28");
    assert_eq!(without_date(first), without_date(second), "M6");
}

#[tokio::test]
async fn m17_c31_a_connection_that_closes_while_the_handler_runs_loses_nothing() {
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let store = Memory::default();
    let handler = {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        move || async move {
            started.notify_one();
            gate.acquire().await.unwrap().forget();
            (StatusCode::CREATED, "made once")
        }
    };
    let app = Router::new()
        .route("/v1/sites", post(handler))
        .route_layer(IdempotencyLayer::new(store.clone()).single_tenant());
    let (address, mut first) = connect(app).await;
    first.write_all(REQUEST.as_bytes()).await.unwrap();
    started.notified().await;
    drop(first);
    gate.add_permits(1);
    store.all_settled().await;
    let mut second = TcpStream::connect(address).await.unwrap();
    let answer = exchange(&mut second, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("idempotency-replayed: true\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nmade once"), "{answer}");
}

#[tokio::test]
async fn c14_a_sender_who_waits_for_leave_is_refused_without_it() {
    let (_, mut connection) = connect(sites(Memory::default())).await;
    let request = "POST /v1/sites HTTP/1.1\r\nhost: a.example\r\nx-account: a\r\n\
                   idempotency-key: a b\r\nexpect: 100-continue\r\n\
                   connection: close\r\ncontent-length: 2\r\n\r\n";
    let answer = exchange(&mut connection, request).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[tokio::test]
async fn c13_a_sender_of_too_much_comes_to_read_the_refusal() {
    let mut profile = Profile::standard();
    profile.request_octets_max = 1000;
    let layer = IdempotencyLayer::new(Memory::default()).profile(profile).single_tenant();
    let app = Router::new().route("/v1/sites", post(echo)).route_layer(layer);
    let (_, mut connection) = connect(app).await;
    let request = format!(
        "POST /v1/sites HTTP/1.1\r\nhost: a.example\r\nidempotency-key: k\r\n\
         connection: close\r\ncontent-length: 500000\r\n\r\n{}",
        "x".repeat(500_000)
    );
    let answer = exchange(&mut connection, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"request-too-large\""), "{answer}");
}
