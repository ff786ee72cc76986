//! A gRPC service whose calls are idempotent: `cargo run --example tonic --features cli`. The key is
//! in the call's metadata; a call that is repeated gets the same message and the same status, and
//! the work is done once. With `--once` it calls itself twice, and succeeds when that held.
//!
//! The messages are texts and the glue is written by hand, so that nothing has to be generated; a
//! service made from a `.proto` goes into the layer in the same way.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use onceward::http::{Body, IdempotencyLayer, Profile};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tower::{Layer, Service, service_fn};

/// The one method.
const START: &str = "/jobs.Jobs/Start";

/// How often the work was done.
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// A message is a text.
#[derive(Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = buffer.copy_to_bytes(buffer.remaining());
        let text = String::from_utf8(text.to_vec());
        text.map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

/// Starts a job: the work, done once for each key.
#[derive(Clone, Copy)]
struct Start;

impl Service<tonic::Request<String>> for Start {
    type Response = tonic::Response<String>;
    type Error = Status;
    type Future = std::future::Ready<Result<tonic::Response<String>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: tonic::Request<String>) -> Self::Future {
        let number = EXECUTIONS.fetch_add(1, Ordering::SeqCst) + 1;
        println!("working on {} for the {number}. time", call.get_ref());
        let job = format!("job {number}: {}", call.into_inner());
        std::future::ready(Ok(tonic::Response::new(job)))
    }
}

/// What generated code does: the method's path to its function.
async fn jobs(request: Request<Body>) -> Result<http::Response<tonic::body::Body>, Infallible> {
    if request.uri().path() != START {
        return Ok(Status::unimplemented("no such method").into_http());
    }
    Ok(tonic::server::Grpc::new(Text).unary(Start, request).await)
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
        .layer(service_fn(jobs));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin: Uri = format!("http://{}", listener.local_addr()?).parse()?;
    println!("listening on {origin}");
    let server = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                    println!("a connection broke: {error}");
                }
            });
        }
    };
    if std::env::args().any(|argument| argument == "--once") {
        let server: tokio::task::JoinHandle<std::io::Result<()>> = tokio::spawn(server);
        call_twice(origin).await?;
        server.abort();
        return Ok(());
    }
    tokio::select! {
        served = server => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Makes the same call twice, as a client does that lost the first answer.
async fn call_twice(origin: Uri) -> Result<(), Box<dyn Error>> {
    let http: Client<HttpConnector, tonic::body::Body> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut client = tonic::client::Grpc::with_origin(http, origin);
    for _ in 0..2 {
        let mut call = tonic::Request::new("checkout".to_owned());
        call.metadata_mut().insert("x-account", "acme".parse()?);
        call.metadata_mut().insert("idempotency-key", "6f1c2e9a-4b7d".parse()?);
        client.ready().await?;
        // Without its trailers, which bear the status, an answer is none.
        let answer = client.unary(call, PathAndQuery::from_static(START), Text).await?;
        println!("{:?} {}", answer.metadata().get("idempotency-replayed"), answer.get_ref());
        if answer.get_ref() != "job 1: checkout" {
            return Err("that is not the first answer".into());
        }
    }
    match EXECUTIONS.load(Ordering::SeqCst) {
        1 => Ok(()),
        executions => Err(format!("the work was done {executions} times").into()),
    }
}
