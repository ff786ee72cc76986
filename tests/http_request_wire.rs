//! Requests as they come over a connection (C1, C2, C13 to C15, C30): who is told to go on, who is
//! refused without it, and what a request comes to that never comes whole.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use onceward::http::{Body, OversizeRequest, Profile};
use support::memory::Fail;
use support::stream::{channel, data};
use support::{Api, created};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Serves `api` on a free port, in HTTP/1.1 and HTTP/2.
async fn serve(api: &Api) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = api.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let api = api.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let api = api.clone();
                async move { Ok::<_, Infallible>(api.respond(request.map(Body::new)).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection = TokioIo::new(connection);
            // A connection that its client breaks off ends in an error.
            tokio::spawn(async move { drop(builder.serve_connection(connection, service).await) });
        }
    });
    address
}

/// A POST to `path` whose head has these further lines.
fn head(path: &str, lines: &[&str]) -> String {
    let always = ["host: a.example", "x-account: a", "connection: close"];
    let lines = [&always, lines].concat().join("\r\n");
    format!("POST {path} HTTP/1.1\r\n{lines}\r\n\r\n")
}

/// What comes back, to the end of the connection.
async fn to_the_end(connection: &mut TcpStream) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What comes back for this head alone; the body is never sent.
async fn unsent(address: SocketAddr, head: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    to_the_end(&mut connection).await
}

/// Sends `body` when it is told to go on, and gives what comes back then.
async fn sent_on_leave(address: SocketAddr, head: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut leave = vec![0; GO_ON.len()];
    connection.read_exact(&mut leave).await.unwrap();
    assert_eq!(String::from_utf8(leave).unwrap(), GO_ON);
    connection.write_all(body.as_bytes()).await.unwrap();
    to_the_end(&mut connection).await
}

fn waiting<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    [&["expect: 100-continue"], lines].concat()
}

#[tokio::test]
async fn c14_what_the_head_decides_is_said_without_leave_to_go_on() {
    let mut required = Profile::ietf();
    required.request_octets_max = 100;
    let api = Api::new(required);
    let address = serve(&api).await;
    for (lines, expected) in [
        (&["content-length: 2"][..], "400 Bad Request"),
        (&["content-length: 2", "idempotency-key: bare"], "400 Bad Request"),
        (&["content-length: 2", "idempotency-key:"], "400 Bad Request"),
        (
            &["content-length: 2", "idempotency-key: \"k\"", "idempotency-key: \"k\""],
            "400 Bad Request",
        ),
        (&["content-length: 101", "idempotency-key: \"k\""], "413 Payload Too Large"),
    ] {
        let answer = unsent(address, &head("/things", &waiting(lines))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{lines:?}: {answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{lines:?}: {answer}");
    }
    api.store.fail(Fail { no_room: true, ..Fail::default() });
    let flood = head("/things", &waiting(&["content-length: 2", "idempotency-key: \"k\""]));
    let answer = unsent(address, &flood).await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    assert_eq!(api.runs(), 0);
}

#[tokio::test]
async fn c14_what_needs_the_body_is_decided_when_it_has_come() {
    let api = Api::new(Profile::standard());
    let address = serve(&api).await;
    let head = head("/things", &waiting(&["content-length: 2", "idempotency-key: k"]));
    let first = sent_on_leave(address, &head, "{}").await;
    assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "{first}");
    assert!(!first.contains("idempotency-replayed"), "{first}");
    let replay = sent_on_leave(address, &head, "{}").await;
    assert!(replay.starts_with("HTTP/1.1 201 Created\r\n"), "{replay}");
    assert!(replay.contains("idempotency-replayed: true\r\n"), "{replay}");
    let changed = sent_on_leave(address, &head, "[]").await;
    assert!(changed.starts_with("HTTP/1.1 422 Unprocessable Entity\r\n"), "{changed}");
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c14_where_bodies_are_not_compared_a_replay_needs_none() {
    let api = Api::new(Profile::oec());
    let address = serve(&api).await;
    let lines = waiting(&["content-length: 2", "x-idempotency-key: k"]);
    let head = head("/api/public/v1/projects", &lines);
    let first = sent_on_leave(address, &head, "{}").await;
    assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "{first}");
    let replay = unsent(address, &head).await;
    assert!(replay.starts_with("HTTP/1.1 201 Created\r\n"), "{replay}");
    assert!(replay.contains("x-idempotency-replayed: true\r\n"), "{replay}");
}

#[tokio::test]
async fn c13_c14_a_streamed_request_goes_on_when_its_handler_reads() {
    let mut profile = Profile::standard();
    profile.request_octets_max = 3;
    profile.oversize_request = OversizeRequest::Stream;
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let api = Api::with(profile, {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        move |n, request: Request<Body>| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                assert!(!request.headers().contains_key("expect"));
                started.notify_one();
                gate.acquire().await.unwrap().forget();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, "a long body");
                created(n)
            }
        }
    });
    let address = serve(&api).await;
    let head = head("/things", &waiting(&["content-length: 11", "idempotency-key: k"]));
    let first = tokio::spawn({
        let head = head.clone();
        async move { sent_on_leave(address, &head, "a long body").await }
    });
    started.notified().await;
    let duplicate = unsent(address, &head).await;
    assert!(duplicate.starts_with("HTTP/1.1 409 Conflict\r\n"), "{duplicate}");
    gate.add_permits(1);
    let first = first.await.unwrap();
    assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "{first}");
    let replay = sent_on_leave(address, &head, "a long body").await;
    assert!(replay.contains("idempotency-replayed: true\r\n"), "{replay}");
    let changed = sent_on_leave(address, &head, "a long BODY").await;
    assert!(changed.starts_with("HTTP/1.1 422 Unprocessable Entity\r\n"), "{changed}");
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c15_a_request_cut_short_on_its_way_never_claims() {
    let api = Api::new(Profile::standard());
    let address = serve(&api).await;
    for (framing, part) in [
        ("content-length: 10", "half"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\n"),
        ("transfer-encoding: chunked", "4\r\nha"),
    ] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("{}{part}", head("/things", &[framing, "idempotency-key: k"]));
        connection.write_all(request.as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        let answer = to_the_end(&mut connection).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
    }
    assert_eq!((api.runs(), api.store.lookups()), (0, 0));
}

/// An HTTP/2 connection to `address`.
async fn http2(address: SocketAddr) -> http2::SendRequest<Body> {
    let connection = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), connection).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

fn over_http2(body: Body) -> Request<Body> {
    let request = Request::post("http://a.example/things").header("x-account", "a");
    request.header("idempotency-key", "k").body(body).unwrap()
}

async fn body_of(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn c30_a_request_is_the_same_in_both_versions_of_http() {
    let mut profile = Profile::standard();
    (profile.request_octets_in_memory, profile.request_octets_max) = (10_000, 100_000);
    profile.oversize_request = OversizeRequest::Stream;
    for octets in [2, 50_000, 500_000] {
        let api = Api::new(profile.clone());
        let address = serve(&api).await;
        let body = "x".repeat(octets);
        let length = format!("content-length: {octets}");
        let request = format!("{}{body}", head("/things", &[&length, "idempotency-key: k"]));
        let first = unsent(address, &request).await;
        assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "C13: {first}");
        let mut connection = http2(address).await;
        let replay = connection.send_request(over_http2(Body::full(body.clone()))).await.unwrap();
        assert_eq!(replay.status(), 201);
        assert_eq!(replay.headers()["idempotency-replayed"], "true");
        assert_eq!(body_of(replay).await, "{\"n\":1}");
        let changed = connection.send_request(over_http2(Body::full(body + "x"))).await.unwrap();
        assert_eq!(changed.status(), 422, "M16");
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn c13_c15_over_http2_too_much_is_refused_and_a_reset_never_claims() {
    let mut profile = Profile::standard();
    profile.request_octets_max = 1_000;
    let api = Api::new(profile);
    let address = serve(&api).await;
    let mut connection = http2(address).await;
    for octets in [1_001, 500_000] {
        let refused = connection.send_request(over_http2(Body::full("x".repeat(octets)))).await;
        let refused = refused.unwrap();
        assert_eq!(refused.status(), 413);
        assert!(body_of(refused).await.contains("\"code\":\"request-too-large\""));
    }
    // A stream that its sender resets.
    let (sender, body) = channel();
    sender.send(data("half")).unwrap();
    let reset = tokio::spawn(connection.send_request(over_http2(body)));
    sender.send(Err("the sender gives up".into())).unwrap();
    assert!(reset.await.unwrap().is_err());
    assert_eq!((api.runs(), api.store.lookups()), (0, 0));
    let whole = connection.send_request(over_http2(Body::full("{}"))).await.unwrap();
    assert_eq!(whole.status(), 201);
}

/// The response at the front of `connection`, whose body is of stated length: its head and its body.
async fn response_on(connection: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    connection.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// The story: an upload of 3 MiB is retried, and the answer is known by the head of it. A server that
/// answers and closes on what was sent meanwhile resets the connection, and the client may never see
/// the answer it came for. Here it is answered, and the connection goes on.
#[tokio::test]
async fn o4_a_long_request_that_is_answered_by_its_head_gets_its_answer() {
    let body = "x".repeat(3 << 20);
    let request = |path: &str, lines: &str| {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a.example\r\nx-account: a\r\n");
        format!("{head}{lines}content-length: {length}\r\n\r\n{body}")
    };
    let oec = request("/api/public/v1/projects", "x-idempotency-key: k\r\n");
    let keyless = request("/things", "");
    for (profile, request, statuses) in
        [(Profile::oec(), oec, ["201 ", "201 "]), (Profile::ietf(), keyless, ["400 ", "400 "])]
    {
        let api = Api::new(profile);
        let mut connection = TcpStream::connect(serve(&api).await).await.unwrap();
        for status in statuses.iter().chain(&statuses) {
            connection.write_all(request.as_bytes()).await.unwrap();
            let (head, _) = response_on(&mut connection).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
    }
}
