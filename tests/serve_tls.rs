//! Upstreams over https, and clients over HTTP/2.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod serve_support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get as on_get, post};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serve_support::{Gateway, Upstream, exchange, get, keyed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const ONE: [&str; 2] = ["--principal", "single-tenant"];

/// An https upstream with a certificate nobody knows, in PEM, for `host`.
async fn https(host: &str) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate goes away here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let app = Router::new().route("/v1/sites", post(|body: String| async { body }));
                let service = hyper_util::service::TowerToHyperService::new(app);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, made.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_upstream_is_trusted_by_its_authority_alone() {
    let (address, pem) = https("localhost").await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let url = format!("https://localhost:{}/v1", address.port());
    tokio::task::spawn_blocking(move || {
        let flags = [ONE[0], ONE[1], "--upstream-ca", ca.to_str().unwrap()];
        let gateway = Gateway::start(&url, &flags);
        let first = exchange(gateway.address, keyed("/sites", "k", "over TLS"));
        assert_eq!((first.status(), first.text()), (200, "over TLS"));
        let again = exchange(gateway.address, keyed("/sites", "k", "over TLS"));
        assert_eq!(again.one("idempotency-replayed"), "true");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_an_upstream_that_is_not_reached() {
    let (address, _) = https("localhost").await;
    let (_, stranger) = https("localhost").await;
    let (elsewhere, pem) = https("elsewhere.example").await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases =
        [(address, file("stranger.pem", stranger)), (elsewhere, file("elsewhere.pem", pem))];
    tokio::task::spawn_blocking(move || {
        for (address, ca) in cases {
            let url = format!("https://localhost:{}", address.port());
            let gateway = Gateway::start(&url, &[ONE[0], ONE[1], "--upstream-ca", &ca]);
            for _ in 0..2 {
                let refused = exchange(gateway.address, keyed("/v1/sites", "k", "secret"));
                assert_eq!(refused.status(), 502);
                assert!(refused.text().contains("upstream-unreachable"), "the key is given back");
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_speak_http_2_by_prior_knowledge() {
    let upstream = Upstream::counting();
    let url = upstream.url();
    let gateway = tokio::task::spawn_blocking(move || Gateway::start(&url, &ONE)).await.unwrap();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for replayed in [false, true] {
        let request = http::Request::post("http://api.example/v1/sites")
            .header("idempotency-key", "k")
            .body(Full::new(bytes::Bytes::from("{}")))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().contains_key("idempotency-replayed"), replayed);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "1");
    }
    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!(request.start, "POST /v1/sites HTTP/1.1");
    assert_eq!(request.one("host"), "api.example");
    assert_eq!(request.one("via"), "2 onceward");
    // Told to stop, the gateway ends the connection (GOAWAY) and then itself.
    let said = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    assert!(said.join("\n").contains("drained"), "{said:#?}");
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_key_whatever_the_version() {
    // C30: stored under HTTP/1.1, replayed under HTTP/1.0.
    let app = Router::new().route("/", on_get(|| async { "got" }).post(|| async { "posted" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    tokio::task::spawn_blocking(move || {
        let gateway = Gateway::start(&url, &ONE);
        assert_eq!(exchange(gateway.address, get("/")).text(), "got");
        assert_eq!(exchange(gateway.address, keyed("/", "k", "{}")).text(), "posted");
        let old = keyed("/", "k", "{}").replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(exchange(gateway.address, old).one("idempotency-replayed"), "true");
    })
    .await
    .unwrap();
}
