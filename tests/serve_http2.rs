//! What a client of HTTP/2 and an upstream of HTTP/1.1 see of each other.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod serve_support;

use std::net::SocketAddr;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onceward::http::Body;
use serve_support::{Gateway, Upstream, response};
use tokio::net::TcpStream;

/// An HTTP/2 connection to `address`.
async fn connect(address: SocketAddr) -> http2::SendRequest<Body> {
    let connection = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), connection).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

async fn sent(
    connection: &mut http2::SendRequest<Body>,
    request: http::request::Builder,
    body: &'static str,
) -> Response<String> {
    let request = request.body(Body::full(body)).unwrap();
    let (parts, body) = connection.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(parts, String::from_utf8(body.to_vec()).unwrap())
}

/// A POST whose cookie is in crumbs, as browsers send it over HTTP/2.
fn crumbled(key: &str) -> http::request::Builder {
    let request = Request::post("http://api.example/v1/sites").header("idempotency-key", key);
    request.header("cookie", "theme=dark").header("cookie", "sid=x; a=b")
}

/// RFC 9113, section 8.2.3: to the upstream, and to the rule of who asks, a cookie is one field.
#[tokio::test]
async fn c8_the_crumbs_of_a_cookie_are_one_for_the_upstream_and_for_who_asks() {
    let whole = "theme=dark; sid=x; a=b";
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "header:cookie"]);
    let mut connection = connect(gateway.address).await;
    for replayed in [false, true] {
        let answer = sent(&mut connection, crumbled("k"), "{}").await;
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (201, "1"));
        let marked = answer.headers().contains_key("idempotency-replayed");
        assert_eq!(marked, replayed, "{answer:?}");
    }
    let passed =
        sent(&mut connection, Request::get("http://api.example/").header("cookie", "c=d"), "");
    assert_eq!(passed.await.body(), "2");
    let [keyed, passed] = &upstream.requests()[..] else { panic!("{:?}", upstream.requests()) };
    assert_eq!((keyed.one("cookie"), passed.one("cookie")), (whole, "c=d"));

    let upstream = Upstream::start(|request, wire| {
        let status =
            if request.one("cookie") == "theme=dark; sid=x; a=b" { "200 OK" } else { "401 No" };
        wire.send(response(status, "X-Account: one\r\n", "done"));
        true
    });
    let flags = ["--principal", "auth-request:/whoami:X-Account"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let mut connection = connect(gateway.address).await;
    let answer = sent(&mut connection, crumbled("k"), "{}").await;
    assert_eq!((answer.status().as_u16(), answer.body().as_str()), (200, "done"));
    assert!(upstream.requests()[0].start.starts_with("GET /whoami "));
}

/// RFC 9110, section 9.3.2: nothing is sent after the head of an answer to HEAD. Over HTTP/2 a client
/// takes it for malformed, and resets the stream.
#[tokio::test]
async fn the_answer_to_a_head_has_no_body_whoever_answers() {
    let upstream = Upstream::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
        true
    });
    let flags = ["--principal", "single-tenant", "--publish-policy"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let mut connection = connect(gateway.address).await;
    let path = "http://api.example/.well-known/idempotency-policy";
    let got = sent(&mut connection, Request::get(path), "").await;
    let told = sent(&mut connection, Request::head(path), "").await;
    assert_eq!((told.status().as_u16(), told.body().as_str()), (200, ""));
    assert_eq!(told.headers()["content-type"], "application/json");
    let length = got.body().len().to_string();
    assert_eq!(told.headers()["content-length"], length.as_str(), "as long as that of a GET");
    let passed = sent(&mut connection, Request::head("http://api.example/a"), "").await;
    assert_eq!(passed.headers()["content-length"], "7", "the upstream's own");
    assert_eq!(passed.body(), "");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gateway = Gateway::start(&nowhere, &["--principal", "single-tenant"]);
    let mut connection = connect(gateway.address).await;
    let unreachable = sent(&mut connection, Request::head("http://api.example/a"), "").await;
    assert_eq!((unreachable.status().as_u16(), unreachable.body().as_str()), (502, ""));
    assert_eq!(unreachable.headers()["content-type"], "application/problem+json");
}
