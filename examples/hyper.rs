//! A plain hyper server whose POSTs are idempotent: `cargo run --example hyper --features cli`, then
//! send a POST with an `Idempotency-Key` twice. With `--once` it does so itself, and succeeds when
//! the work was done once.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use onceward::http::{Body, IdempotencyLayer, Profile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

/// How often the work was done.
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// The work, done once for each key.
async fn create(request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = EXECUTIONS.fetch_add(1, Ordering::SeqCst) + 1;
    println!("working on {} for the {number}. time", request.uri().path());
    let mut response = match request.into_body().collect().await {
        Ok(site) => {
            let site = String::from_utf8_lossy(&site.to_bytes()).into_owned();
            Response::new(Full::from(format!("site {number}: {site}\n")))
        }
        Err(error) => Response::new(Full::from(error.to_string())),
    };
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let store = onceward::Store::open(directory.path().join("data"))?;
    let service = IdempotencyLayer::new(store)
        .profile(Profile::standard())
        // In earnest: the account that authentication found.
        .principal(|request: &http::request::Parts| {
            request.headers.get("x-account").map(|account| account.as_bytes().to_vec())
        })
        .layer(service_fn(create));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let server = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let served =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                if let Err(error) = served {
                    println!("a connection broke: {error}");
                }
            });
        }
    };
    if std::env::args().any(|argument| argument == "--once") {
        let server: tokio::task::JoinHandle<std::io::Result<()>> = tokio::spawn(server);
        for _ in 0..2 {
            let mut connection = TcpStream::connect(address).await?;
            let request = "POST /sites HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 X-Account: acme\r\nIdempotency-Key: \"6f1c2e9a-4b7d\"\r\nContent-Length: 4\r\n\r\n\
                 blog";
            connection.write_all(request.as_bytes()).await?;
            let mut response = String::new();
            connection.read_to_string(&mut response).await?;
            println!("\n{response}");
            if !response.ends_with("site 1: blog\n") {
                return Err("that is not the first answer".into());
            }
        }
        server.abort();
        return match EXECUTIONS.load(Ordering::SeqCst) {
            1 => Ok(()),
            executions => Err(format!("the work was done {executions} times").into()),
        };
    }
    tokio::select! {
        served = server => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
