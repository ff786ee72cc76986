//! Responses on the wire, over HTTP/1.1 and HTTP/2: what a replay is to the client that reads it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use onceward::State;
use onceward::http::{Body, IdempotencyLayer, OnDisconnect, Profile};
use support::memory::Memory;
use support::stream::{data, pieces, trailer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::Layer;

/// Serves `handler` behind the layer, over both versions, and says where.
async fn serve<H, F>(store: Memory, profile: Profile, handler: H) -> SocketAddr
where
    H: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let inner = tower::service_fn(move |_: Request<Body>| {
        let response = handler();
        async move { Ok::<_, Infallible>(response.await) }
    });
    let service = IdempotencyLayer::new(store).profile(profile).single_tenant().layer(inner);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes in the middle of an exchange is an error, and expected.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// What a client read.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Seen {
    /// Without what a first response and a replay, or two versions, may differ by.
    fn lasting(mut self) -> Self {
        for name in ["date", "idempotency-replayed"] {
            self.headers.remove(name);
        }
        self
    }
}

fn request(version: Version) -> Request<Full<Bytes>> {
    let request = match version {
        Version::HTTP_2 => Request::post("http://a.example/things"),
        _ => Request::post("/things").header("host", "a.example").header("te", "trailers"),
    };
    let request = request.version(version).header("idempotency-key", "k");
    request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()
}

async fn ask(address: SocketAddr, version: Version) -> Seen {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let response = if version == Version::HTTP_2 {
        let executor = TokioExecutor::new();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
        tokio::spawn(connection);
        client.send_request(request(version)).await.unwrap()
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client.send_request(request(version)).await.unwrap()
    };
    let (parts, body) = response.into_parts();
    let read = body.collect().await.unwrap();
    let trailers = read.trailers().cloned();
    let (status, headers) = (parts.status.as_u16(), parts.headers);
    Seen { status, headers, body: read.to_bytes(), trailers }
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn c30_a_record_is_of_no_version() {
    for first_version in VERSIONS {
        let address = serve(Memory::default(), Profile::standard(), || async {
            let mut response = Response::new(Body::full("caf\u{e9}"));
            let headers = response.headers_mut();
            for value in [&b"one"[..], b"\x80\xff two", b"one"] {
                headers.append("x-part", HeaderValue::from_bytes(value).unwrap());
            }
            headers.insert("location", HeaderValue::from_bytes(b"/caf\xe9?a=%2F").unwrap());
            response
        })
        .await;
        let first = ask(address, first_version).await;
        assert!(!first.headers.contains_key("idempotency-replayed"));
        let parts: Vec<_> =
            first.headers.get_all("x-part").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(parts, [&b"one"[..], b"\x80\xff two", b"one"], "G10");
        let first = first.lasting();
        for version in VERSIONS {
            let retry = ask(address, version).await;
            assert_eq!(retry.headers["idempotency-replayed"], "true");
            assert_eq!(retry.headers.get_all("date").iter().count(), 1, "C28");
            assert_eq!(retry.lasting(), first, "{first_version:?}, then {version:?}");
        }
    }
}

#[tokio::test]
async fn c26_trailers_reach_the_client_in_both_versions() {
    let mut keeping = Profile::standard();
    keeping.store_trailers = true;
    for (profile, media_type) in
        [(keeping, "text/plain"), (Profile::standard(), "application/grpc+proto")]
    {
        let address = serve(Memory::default(), profile, move || async move {
            let message = data("\0\0\0\0\x02ab");
            let body = pieces([message, trailer("grpc-status", "0")]);
            Response::builder().header("content-type", media_type).body(body).unwrap()
        })
        .await;
        for version in [Version::HTTP_2, Version::HTTP_11, Version::HTTP_2] {
            let seen = ask(address, version).await;
            assert_eq!(seen.body, "\0\0\0\0\x02ab");
            let trailers = seen.trailers.unwrap_or_else(|| panic!("{media_type} {version:?}"));
            assert_eq!(trailers["grpc-status"], "0", "{media_type} {version:?}");
        }
    }
}

/// Sends `requests`, one after the other on one connection, the last of which closes it.
async fn exchange(address: SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    String::from_utf8(answers).unwrap()
}

/// Had a response another length than it says, the next one would not be read where it begins.
#[tokio::test]
async fn c22_c25_responses_follow_one_another_on_a_connection() {
    let keyed = |method: &str, connection: &str| {
        format!(
            "{method} /things HTTP/1.1\r\nhost: a.example\r\nidempotency-key: k\r\n\
             connection: {connection}\r\ncontent-length: 0\r\n\r\n"
        )
    };
    for (code, body, length) in [
        (201, "made once", Some(9)),
        (204, "", None),
        (205, "", Some(0)),
        (304, "", None),
        (422, "no", Some(2)),
    ] {
        let address = serve(Memory::default(), Profile::standard(), move || async move {
            let body = pieces([data(body), trailer("x-sum", "1")]);
            let response = Response::builder().status(code).header("trailer", "x-sum");
            response.header("transfer-encoding", "chunked").body(body).unwrap()
        })
        .await;
        let requests = [("POST", "keep-alive"), ("POST", "keep-alive"), ("POST", "close")];
        let requests: String =
            requests.iter().map(|(m, connection)| keyed(m, connection)).collect();
        let answers = exchange(address, &requests).await;
        let mut rest = &*answers;
        for replayed in [false, true, true] {
            let (head, after) = rest.split_once("\r\n\r\n").unwrap();
            let lines: Vec<_> = head.split("\r\n").collect();
            let named = |name: &str| {
                lines.iter().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>()
            };
            assert!(lines[0].starts_with(&format!("HTTP/1.1 {code} ")), "{answers}");
            assert_eq!(named("idempotency-replayed: ").len(), usize::from(replayed), "{answers}");
            assert_eq!(named("date: ").len(), 1, "C28: {answers}");
            let said: Vec<_> = length.iter().map(ToString::to_string).collect();
            assert_eq!(named("content-length: "), said, "{answers}");
            for name in ["transfer-encoding: ", "trailer: "] {
                assert_eq!(named(name), [""; 0], "C27: {answers}");
            }
            rest = after.strip_prefix(body).unwrap();
        }
        assert_eq!(rest, "", "{answers}");
    }
}

#[tokio::test]
async fn c23_a_head_request_has_a_head_alone_key_or_not() {
    let store = Memory::default();
    let address =
        serve(store.clone(), Profile::standard(), || async { Response::new(Body::full("body")) })
            .await;
    let head = "HEAD /things HTTP/1.1\r\nhost: a.example\r\nidempotency-key: k\r\n\
                connection: close\r\n\r\n";
    for _ in 0..2 {
        let answer = exchange(address, head).await;
        assert!(
            answer.contains("content-length: 4\r\n") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("replayed"), "{answer}");
    }
    assert_eq!(store.lookups(), 0);
}

#[tokio::test]
async fn c31_work_whose_client_goes_is_stopped_where_the_profile_says_so() {
    /// Rings when it is dropped.
    struct Bell(Arc<Notify>);
    impl Drop for Bell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    for version in VERSIONS {
        let mut profile = Profile::standard();
        profile.on_disconnect = OnDisconnect::Cancel;
        let store = Memory::default();
        let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let address = serve(store.clone(), profile, {
            let (started, dropped) = (Arc::clone(&started), Arc::clone(&dropped));
            move || {
                let bell = Bell(Arc::clone(&dropped));
                started.notify_one();
                async move {
                    let _bell = bell;
                    std::future::pending().await
                }
            }
        })
        .await;
        let client = tokio::spawn(ask(address, version));
        started.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        dropped.notified().await;
        store.all_settled().await;
        assert_eq!(store.states(), [State::InDoubt], "{version:?}");
    }
}
