//! The gateway's own certificate: https and HTTP/2 for clients, and a new certificate by SIGHUP.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod serve_support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serve_support::{Gateway, PATIENCE, Upstream, command};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Writes a new certificate for localhost and its key into `dir`, and gives it.
fn certify(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// The flags that name the files in `dir`.
fn flags(dir: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    vec!["--tls-cert".into(), file("cert.pem"), "--tls-key".into(), file("key.pem")]
}

async fn start(upstream: &Upstream, dir: PathBuf, more: &[&str]) -> Gateway {
    let url = upstream.url();
    let mut flags = flags(&dir);
    flags.extend(["--principal", "single-tenant"].iter().chain(more).map(|&flag| flag.to_owned()));
    tokio::task::spawn_blocking(move || {
        Gateway::start(&url, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    })
    .await
    .unwrap()
}

/// Shakes hands with `address`, trusting `certificate` alone and offering `protocol`.
async fn shake(
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
}

fn post(uri: &str) -> http::Request<Full<bytes::Bytes>> {
    http::Request::post(uri)
        .header("host", "api.example")
        .header("idempotency-key", "k")
        .body(Full::new(bytes::Bytes::from("{}")))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn c30_a_key_is_one_key_over_both_versions_and_the_client_chooses() {
    let upstream = Upstream::counting();
    let dir = tempfile::tempdir().unwrap();
    let certificate = certify(dir.path());
    let gateway = start(&upstream, dir.path().to_owned(), &[]).await;

    let stream = shake(gateway.address, certificate.clone(), "http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let first = client.send_request(post("/v1/sites")).await.unwrap();
    assert_eq!(first.status(), 201);
    first.into_body().collect().await.unwrap();

    let stream = shake(gateway.address, certificate, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = post("https://api.example/v1/sites");
    request.headers_mut().remove("host");
    let replay = client.send_request(request).await.unwrap();
    assert_eq!(replay.headers()["idempotency-replayed"], "true");
    assert_eq!(replay.into_body().collect().await.unwrap().to_bytes(), "1");
    drop(client);

    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!(request.one("x-forwarded-proto"), "https");
    let said = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap().join("\n");
    assert!(said.contains("listening on https://127.0.0.1:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_after_sighup_and_a_broken_one_never() {
    let upstream = Upstream::counting();
    let dir = tempfile::tempdir().unwrap();
    let old = certify(dir.path());
    let mut gateway = start(&upstream, dir.path().to_owned(), &[]).await;
    let hang_up = |gateway: &Gateway| {
        let pid = gateway.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    shake(gateway.address, old.clone(), "h2").await.unwrap();

    let new = certify(dir.path());
    hang_up(&gateway);
    let mut gateway = tokio::task::spawn_blocking(move || {
        gateway.line("the certificate was read again");
        gateway
    })
    .await
    .unwrap();
    shake(gateway.address, new.clone(), "h2").await.unwrap();
    assert!(shake(gateway.address, old, "h2").await.is_err());

    std::fs::write(dir.path().join("key.pem"), "no key").unwrap();
    hang_up(&gateway);
    let gateway = tokio::task::spawn_blocking(move || {
        let told = gateway.line("the certificate stays as it was");
        assert!(told.contains("key.pem: no private key in it"), "{told}");
        gateway
    })
    .await
    .unwrap();
    shake(gateway.address, new, "h2").await.unwrap();
    tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
}

/// The story: one client connects and says nothing, another speaks clear text. Neither keeps others
/// from being served, nor the gateway from ending; without the end of handshakes the drain would
/// take its whole hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_shake_hands_keeps_nobody_waiting() {
    let upstream = Upstream::counting();
    let dir = tempfile::tempdir().unwrap();
    let certificate = certify(dir.path());
    let gateway = start(&upstream, dir.path().to_owned(), &["--drain-timeout", "1h"]).await;
    let address = gateway.address;
    let silent = TcpStream::connect(address).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut clear = std::net::TcpStream::connect(address).unwrap();
        clear.set_read_timeout(Some(PATIENCE)).unwrap();
        clear.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        // An alert, and the end: no answer in clear text.
        let mut rest = Vec::new();
        if let Err(error) = clear.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
    })
    .await
    .unwrap();
    shake(address, certificate, "http/1.1").await.unwrap();
    let said = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap().join("\n");
    assert!(said.contains("drained"), "{said}");
    drop(silent);
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    certify(&other);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (certificate, key, part) in [
        ("none.pem", "key.pem", "none.pem: "),
        ("cert.pem", "none.pem", "none.pem: "),
        ("key.pem", "key.pem", "key.pem: no certificate in it"),
        ("cert.pem", "cert.pem", "cert.pem: no private key in it"),
        ("cert.pem", "other/key.pem", "cert.pem: "),
    ] {
        let (certificate, key) = (path(certificate), path(key));
        let flags =
            ["--upstream", "http://127.0.0.1:9", "--tls-cert", &certificate, "--tls-key", &key];
        let mut serve = command(&flags);
        let (status, said) = Gateway::spawn_unready(serve.current_dir(dir.path())).ended();
        assert_eq!(status.code(), Some(2), "{said:?}");
        assert!(said.join("\n").contains(part), "{part} in {said:?}");
        assert!(!dir.path().join("onceward-data").exists(), "no store is opened before");
    }
}
