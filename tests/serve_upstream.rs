//! How long the upstream may take, how much it is sent, and what it is told of hops before.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod serve_support;

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serve_support::{Gateway, PATIENCE, Upstream, Wire, exchange, get, keyed, response};

const ONE: [&str; 2] = ["--principal", "single-tenant"];

/// The story: the upstream's system takes the connection, and nobody is there to shake hands. No
/// octet of the request is written before that, so nothing was done.
#[test]
fn a_connection_that_does_not_open_in_time_gives_the_key_back() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let pem = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let flags = ["--upstream-connect-timeout", "20ms", "--upstream-ca", ca.to_str().unwrap()];
    let gateway = Gateway::start(&url, &[&ONE[..], &flags[..]].concat());
    for _ in 0..2 {
        let unreached = exchange(gateway.address, keyed("/", "k", "{}"));
        assert_eq!(unreached.status(), 502);
        assert!(unreached.text().contains("upstream-unreachable"), "{unreached:?}");
    }
    assert!(gateway.stop().join("\n").contains("no connection within 20ms"));
}

#[test]
fn a_request_without_a_key_is_let_go_of_after_the_time_for_an_answer() {
    let upstream = Upstream::start(|request, wire| {
        if request.start.starts_with("GET /slow") {
            return true;
        }
        wire.send(response("200 OK", "", "quick"));
        true
    });
    let flags = [ONE[0], ONE[1], "--upstream-timeout", "30ms"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let late = exchange(gateway.address, get("/slow"));
    assert_eq!((late.status(), late.one("cache-control")), (504, "no-store"));
    assert_eq!(exchange(gateway.address, get("/")).text(), "quick");
    assert_eq!(upstream.requests().len(), 2, "nothing is sent twice");
}

#[test]
fn c13_a_body_that_is_too_long_is_refused_with_a_key_and_passes_without() {
    let upstream = Upstream::counting();
    let flags = [ONE[0], ONE[1], "--max-request", "1KiB"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let (fits, long) = ("x".repeat(1024), "x".repeat(1025));
    assert_eq!(exchange(gateway.address, keyed("/", "a", &fits)).text(), "1");
    let refused = exchange(gateway.address, keyed("/", "b", &long));
    assert_eq!(refused.status(), 413);
    assert!(refused.text().contains("request-too-large"), "{refused:?}");
    let keyless = keyed("/", "b", &long).replace("Idempotency-Key: b\r\n", "");
    assert_eq!(exchange(gateway.address, keyless).text(), "2");
    assert_eq!(exchange(gateway.address, keyed("/", "b", &fits)).text(), "3", "b was not claimed");
}

#[test]
fn the_word_of_a_trusted_proxy_about_earlier_hops_is_passed_on_and_nobody_elses() {
    let lines = "Host: api.example\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: www.example\r\nForwarded: for=203.0.113.9\r\n";
    for (trusted, expected) in [
        ("127.0.0.0/8,::1", ["203.0.113.9, 127.0.0.1", "https", "www.example"]),
        ("10.0.0.0/8", ["127.0.0.1", "http", "api.example"]),
    ] {
        let upstream = Upstream::counting();
        let flags = [ONE[0], ONE[1], "--trusted-proxies", trusted];
        let gateway = Gateway::start(&upstream.url(), &flags);
        exchange(gateway.address, format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        let request = &upstream.requests()[0];
        let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
            .map(|name| request.one(name));
        assert_eq!(told, expected, "{trusted}");
        let forwarded = request.all("forwarded");
        if trusted.starts_with("127") {
            assert_eq!(forwarded, ["for=203.0.113.9", "for=127.0.0.1;proto=http"]);
        } else {
            assert!(forwarded.is_empty());
        }
    }
}

/// The story: three requests run when the gateway is told to stop; two of them hold a key, and one
/// waits for the result of the first. The drain is over before they are.
#[test]
fn keys_that_outlive_the_drain_are_counted_in_the_last_line() {
    let (arrive, arrived) = channel();
    let arrive = Mutex::new(arrive);
    let upstream = Upstream::start(move |_, _| {
        arrive.lock().unwrap().send(()).unwrap();
        true
    });
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, "[[route]]\npath = \"/**\"\nin-flight = \"wait 1h\"\n").unwrap();
    let flags = ["--config", config.to_str().unwrap(), "--drain-timeout", "300ms"];
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::over(data.path(), &upstream.url(), &[&ONE[..], &flags[..]].concat());
    let mut clients = Vec::new();
    for key in ["a", "b"] {
        let mut client = Wire::to(gateway.address);
        client.send(keyed("/", key, "{}"));
        clients.push(client);
        arrived.recv_timeout(PATIENCE).unwrap();
    }
    // Told to go on, it has arrived, and the drain cannot let go of it as of an idle connection.
    let mut duplicate = Wire::to(gateway.address);
    let request = keyed("/", "a", "{}").replace("\r\n\r\n{}", "\r\nExpect: 100-continue\r\n\r\n");
    duplicate.send(request);
    assert_eq!(duplicate.head().unwrap().status(), 100);
    duplicate.send("{}");
    let said = gateway.stop();
    let last = said.last().unwrap();
    assert!(last.contains("stopped in_doubt=2"), "{said:#?}");
    assert!(said.join("\n").contains("left in doubt in_doubt=2"), "{said:#?}");
}

/// The story: the upstream takes longer than it may. The client is told so, and the request goes on
/// behind it; a retry is told that it does, and then gets what came of it.
#[test]
fn c33_a_request_with_a_key_goes_on_after_its_time_and_a_retry_gets_the_result() {
    let (arrive, arrived) = channel();
    let (go, gone) = channel();
    let both = Mutex::new((arrive, gone));
    let upstream = Upstream::start(move |_, wire| {
        let both = both.lock().unwrap();
        both.0.send(()).unwrap();
        both.1.recv().unwrap();
        wire.send(response("201 Created", "", "done"));
        true
    });
    let flags = [ONE[0], ONE[1], "--upstream-timeout", "50ms"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let late = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!(late.status(), 504, "{late:?}");
    arrived.recv_timeout(PATIENCE).unwrap();
    let early = exchange(gateway.address, keyed("/", "k", "{}"));
    assert!(early.text().contains("in-progress"), "{early:?}");
    go.send(()).unwrap();
    let replay = loop {
        let answer = exchange(gateway.address, keyed("/", "k", "{}"));
        if answer.status() != 409 {
            break answer;
        }
    };
    assert_eq!((replay.status(), replay.text()), (201, "done"));
    assert_eq!(replay.one("idempotency-replayed"), "true");
    assert_eq!(upstream.requests().len(), 1, "nothing is sent twice");
}
