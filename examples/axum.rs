//! An axum app whose POSTs are idempotent: `cargo run --example axum --features http`, then send a
//! POST with an `Idempotency-Key` twice. With `--once` it does so itself, and ends.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::error::Error;

use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::{Json, Router, routing::post};
use onceward::http::{IdempotencyLayer, Profile};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Who is calling. In earnest this is what authentication left in the request, outside the layer.
fn account(request: &Parts) -> Option<Vec<u8>> {
    request.headers.get("x-account").map(|account| account.as_bytes().to_vec())
}

/// Creates an environment: the work, done once for each key.
async fn create(
    Json(environment): Json<Value>,
) -> (StatusCode, [(HeaderName, &'static str); 1], Json<Value>) {
    println!("working on {environment}");
    let job = json!({ "id": "job_1", "status": "queued", "environment": environment });
    (StatusCode::ACCEPTED, [(header::LOCATION, "/v1/jobs/job_1")], Json(job))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let store = onceward::Store::open(directory.path().join("data"))?;
    let idempotency =
        IdempotencyLayer::new(store).profile(Profile::managed_dev()).principal(account);
    // On the route, so that a path that is not there never claims a key.
    let app =
        Router::new().route("/v1/sites/{site}/environments", post(create)).route_layer(idempotency);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let server = axum::serve(listener, app).into_future();
    if std::env::args().any(|argument| argument == "--once") {
        tokio::spawn(server);
        for _ in 0..2 {
            let mut connection = TcpStream::connect(address).await?;
            let request = "POST /v1/sites/site_1/environments HTTP/1.1\r\nHost: localhost\r\n\
                 Connection: close\r\nX-Account: acme\r\nIdempotency-Key: 6f1c2e9a-4b7d\r\n\
                 Content-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"branch\":\"checkout\"}";
            connection.write_all(request.as_bytes()).await?;
            let mut response = String::new();
            connection.read_to_string(&mut response).await?;
            println!("\n{response}");
        }
        return Ok(());
    }
    tokio::select! {
        served = server => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
