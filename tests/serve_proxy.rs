//! What passes through the gateway, and what it makes of an upstream that fails.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod serve_support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serve_support::{Gateway, Message, PATIENCE, Upstream, Wire, exchange, get, keyed, response};

/// Everyone is one: these tests are not about who asks.
const ONE: [&str; 2] = ["--principal", "single-tenant"];

fn code(problem: &Message) -> String {
    assert_eq!(problem.one("content-type"), "application/problem+json", "{problem:?}");
    let text = problem.text();
    let (_, rest) = text.split_once("\"code\":\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_request_and_its_response_pass_as_they_are() {
    let upstream = Upstream::start(|_, wire| {
        wire.send(response(
            "299 Odd",
            "X-B: 1\r\nX-a: \r\nX-B: 2\r\nSet-Cookie: c=1\r\n",
            "answer",
        ));
        true
    });
    let gateway = Gateway::start(&format!("{}/base", upstream.url()), &[]);
    let answer = exchange(
        gateway.address,
        "PUT /a//b/%2e%2E/%41?q=%20&&q=+ HTTP/1.1\r\nHost: api.example\r\nX-Two: 1\r\nX-one: a, b\r\n\
         X-Two: 2\r\nX-Raw: \u{e9}\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(answer.status(), 299);
    assert_eq!(answer.all("x-b"), ["1", "2"]);
    assert_eq!(answer.one("x-a"), "");
    assert_eq!(answer.one("set-cookie"), "c=1");
    assert_eq!(answer.text(), "answer");
    let [request] = &upstream.requests()[..] else { panic!("{:?}", upstream.requests()) };
    assert_eq!(request.start, "PUT /base/a//b/%2e%2E/%41?q=%20&&q=+ HTTP/1.1");
    assert_eq!(request.all("x-two"), ["1", "2"]);
    assert_eq!(request.one("x-one"), "a, b");
    assert_eq!(request.one("x-raw"), "\u{c3}\u{a9}", "octet for octet, shown as Latin-1");
    assert_eq!(request.one("host"), "api.example");
    assert_eq!(request.one("content-length"), "5");
    assert_eq!(request.text(), "hello");
}

#[test]
fn c27_what_is_for_one_hop_is_stripped_both_ways() {
    let upstream = Upstream::start(|_, wire| {
        wire.send(response(
            "200 OK",
            "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
             Trailer: Expires\r\nUpgrade: h2c\r\nX-End: 1\r\n",
            "",
        ));
        true
    });
    let gateway = Gateway::start(&upstream.url(), &[]);
    let answer = exchange(
        gateway.address,
        "GET / HTTP/1.1\r\nHost: api.example\r\nConnection: x-hop, Upgrade\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\nTrailer: Expires\r\n\
         Upgrade: h2c\r\nX-End: 1\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n\r\n",
    );
    let [request] = &upstream.requests()[..] else { panic!() };
    for message in [&answer, request] {
        assert_eq!(message.one("x-end"), "1");
        for name in
            ["connection", "x-hop", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"]
        {
            assert!(message.all(name).is_empty(), "{name} in {message:?}");
        }
    }
    assert_eq!(request.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.one("x-forwarded-proto"), "http");
    assert_eq!(request.one("x-forwarded-host"), "api.example");
    assert_eq!(request.one("via"), "1.1 onceward");
    assert!(request.all("forwarded").is_empty());
}

#[test]
fn the_upstream_may_be_given_its_own_host() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &["--upstream-host", "upstream"]);
    assert_eq!(exchange(gateway.address, get("/")).status(), 201);
    assert_eq!(upstream.requests()[0].one("host"), upstream.address.to_string());
    assert_eq!(upstream.requests()[0].one("x-forwarded-host"), "api.example");
}

#[test]
fn a_response_that_is_not_stored_streams() {
    let (go, gone) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        wire.send("3\r\ntwo\r\n0\r\n\r\n");
        true
    });
    let gateway = Gateway::start(&upstream.url(), &[]);
    let mut wire = Wire::to(gateway.address);
    wire.send(get("/"));
    assert_eq!(wire.head().unwrap().status(), 200);
    assert_eq!(wire.chunk().unwrap(), b"one", "before the upstream is done");
    go.send(()).unwrap();
    assert_eq!(wire.chunk().unwrap(), b"two");
    assert_eq!(wire.chunk(), None);
}

#[test]
fn a_request_that_has_no_key_streams() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start(&format!("http://{}", upstream.local_addr().unwrap()), &[]);
    let mut client = Wire::to(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    let mut server = Wire::new(upstream.accept().unwrap().0);
    assert_eq!(server.head().unwrap().one("transfer-encoding"), "chunked");
    assert_eq!(server.chunk().unwrap(), b"one", "before the client is done");
    client.send("3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(server.chunk().unwrap(), b"two");
    assert_eq!(server.chunk(), None);
    server.send(response("200 OK", "", "done"));
    assert_eq!(client.message().unwrap().text(), "done");
}

#[test]
fn a_request_with_a_key_is_sent_whole_and_with_its_length() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n";
    let first = exchange(gateway.address, format!("{head}3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
    assert_eq!(first.status(), 201);
    let again = exchange(gateway.address, format!("{head}6\r\nonetwo\r\n0\r\n\r\n"));
    assert_eq!(again.one("idempotency-replayed"), "true", "chunks are no part of a request");
    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!(request.one("content-length"), "6");
    assert!(request.all("transfer-encoding").is_empty());
    assert_eq!(request.text(), "onetwo");
}

#[test]
fn c15_a_request_that_breaks_off_is_not_sent() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let mut wire = Wire::to(gateway.address);
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 9\r\n\r\nhalf");
    wire.end();
    if let Some(answer) = wire.message() {
        assert_eq!(answer.status(), 400, "{answer:?}");
    }
    assert_eq!(exchange(gateway.address, keyed("/", "k", "{}")).text(), "1", "the key is free");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn two_lengths_cannot_tell_the_two_hops_apart() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let mut wire = Wire::to(gateway.address);
    wire.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    while wire.message().is_some() {}
    for request in upstream.requests() {
        let framings = request.all("content-length").len() + request.all("transfer-encoding").len();
        assert!(framings <= 1, "{request:?}");
        assert!(request.start.starts_with("GET") || request.text() == "hi", "{request:?}");
    }
}

#[test]
fn a_second_request_with_the_same_key_is_answered_with_the_first_ones_response() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let first = exchange(gateway.address, keyed("/v1/sites", "k-1", "{}"));
    let again = exchange(gateway.address, keyed("/v1/sites", "\"k-1\"", "{}"));
    for answer in [&first, &again] {
        assert_eq!(answer.start, "HTTP/1.1 201 Created");
        assert_eq!(answer.one("x-made"), "yes");
        assert_eq!(answer.text(), "1");
    }
    assert!(first.all("idempotency-replayed").is_empty());
    assert_eq!(again.one("idempotency-replayed"), "true");
    let other = exchange(gateway.address, keyed("/v1/sites", "k-2", "{}"));
    assert_eq!(other.text(), "2");
    let reused = exchange(gateway.address, keyed("/v1/sites", "k-1", "{ }"));
    assert_eq!((reused.status(), code(&reused).as_str()), (422, "key-reused"));
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].one("idempotency-key"), "k-1", "the upstream sees the key");
    assert_eq!(requests[0].text(), "{}");
}

#[test]
fn an_upstream_that_is_not_reached_gives_the_key_back() {
    let address = nowhere();
    let gateway = Gateway::start(&format!("http://{address}"), &ONE);
    let refused = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!((refused.status(), code(&refused).as_str()), (502, "upstream-unreachable"));
    assert_eq!(refused.one("cache-control"), "no-store");
    assert_eq!(exchange(gateway.address, get("/")).status(), 502, "without a key it is the same");
    let upstream = Upstream::at(&address.to_string(), |_, wire| {
        wire.send(response("200 OK", "", "at last"));
        true
    });
    assert_eq!(exchange(gateway.address, keyed("/", "k", "{}")).text(), "at last");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_connection_that_breaks_after_the_request_went_out_leaves_the_key_in_doubt() {
    let upstream = Upstream::start(|_, _| false);
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let broken = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!((broken.status(), code(&broken).as_str()), (502, "outcome-unknown"));
    let again = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!((again.status(), code(&again).as_str()), (409, "outcome-unknown"));
    assert!(again.all("retry-after").is_empty());
    assert_eq!(upstream.requests().len(), 1, "never a second send");
    assert_eq!(exchange(gateway.address, get("/")).status(), 502);
    assert_eq!(upstream.requests().len(), 2, "not even of a GET");
}

#[test]
fn a_connection_closed_while_it_was_unused_puts_no_key_in_doubt() {
    let (close, closed) = channel();
    let close = Mutex::new(close);
    let upstream = Upstream::start(move |_, wire| {
        wire.send(response("201 Created", "", "made"));
        wire.close();
        close.lock().unwrap().send(()).unwrap();
        false
    });
    let gateway = Gateway::start(&upstream.url(), &[ONE[0], ONE[1], "--upstream-idle", "1h"]);
    let mut sent = 0;
    for key in 0..50 {
        // Refused without a byte sent is right too: the key is free, and the client told so.
        loop {
            let answer = exchange(gateway.address, keyed("/", &key.to_string(), "{}"));
            if answer.status() == 201 {
                break;
            }
            assert_eq!((answer.status(), code(&answer).as_str()), (502, "upstream-unreachable"));
        }
        closed.recv_timeout(PATIENCE).unwrap();
        sent += 1;
        assert_eq!(upstream.requests().len(), sent);
    }
}

#[test]
fn a_response_that_breaks_off_leaves_the_key_in_doubt() {
    let upstream = Upstream::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        false
    });
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let broken = exchange(gateway.address, keyed("/", "k", "{}"));
    assert!(broken.status() >= 500, "{broken:?}");
    let again = exchange(gateway.address, keyed("/", "k", "{}"));
    assert_eq!((again.status(), code(&again).as_str()), (409, "outcome-unknown"));
    assert_eq!(upstream.requests().len(), 1);
}

/// An upstream that answers `/STATUS` with that status, and `/STATUS/ra` with `Retry-After` too.
fn by_path() -> Upstream {
    Upstream::start(|request, wire| {
        let path = request.start.split(' ').nth(1).unwrap();
        let mut parts = path.split('/').skip(1);
        let status = format!("{} Said", parts.next().unwrap());
        let lines = if parts.next().is_some() { "Retry-After: 1\r\n" } else { "" };
        wire.send(response(&status, lines, "from the upstream"));
        true
    })
}

/// What becomes of a key the upstream answered like this, by the next request with it.
fn fate(gateway: &Gateway, upstream: &Upstream, path: &str) -> &'static str {
    let before = upstream.requests().len();
    let status: u16 = path.split('/').nth(1).unwrap().parse().unwrap();
    let first = exchange(gateway.address, keyed(path, &format!("key{path}"), "{}"));
    assert_eq!(
        (first.status(), first.text()),
        (status, "from the upstream"),
        "it reaches the client"
    );
    let again = exchange(gateway.address, keyed(path, &format!("key{path}"), "{}"));
    match (upstream.requests().len() - before, again.status()) {
        (2, again) if again == status => "released",
        (1, again_status) if again_status == status => {
            assert_eq!(again.one("idempotency-replayed"), "true");
            "stored"
        }
        (1, 409) => {
            assert_eq!(code(&again), "outcome-unknown");
            "in doubt"
        }
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_status_of_a_gateway_further_in_leaves_the_key_in_doubt() {
    let upstream = by_path();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    for (path, expected) in [
        ("/502", "in doubt"),
        ("/504", "in doubt"),
        ("/504/ra", "in doubt"),
        ("/503", "in doubt"),
        ("/503/ra", "released"),
        ("/500", "stored"),
        ("/408", "stored"),
        ("/200", "stored"),
    ] {
        assert_eq!(fate(&gateway, &upstream, path), expected, "{path}");
    }
}

#[test]
fn the_operator_may_know_better_what_those_statuses_mean() {
    let upstream = by_path();
    for (knob, expected) in [("store", "stored"), ("release", "released")] {
        let flags = [ONE[0], ONE[1], "--on-gateway-status", knob];
        let gateway = Gateway::start(&upstream.url(), &flags);
        for path in ["/502", "/503", "/504"] {
            assert_eq!(fate(&gateway, &upstream, path), expected, "{knob} {path}");
        }
    }
}

#[test]
fn an_upstream_that_says_it_did_nothing_is_believed() {
    let upstream = Upstream::start(|_, wire| {
        wire.send(response("200 OK", "Onceward-Outcome: not-executed\r\n", "nothing"));
        true
    });
    let gateway = Gateway::start(&upstream.url(), &ONE);
    for sent in 1..=2 {
        let answer = exchange(gateway.address, keyed("/", "k", "{}"));
        assert_eq!((answer.status(), answer.text()), (200, "nothing"));
        assert!(answer.all("onceward-outcome").is_empty());
        assert_eq!(upstream.requests().len(), sent);
    }
}

#[test]
fn an_upgrade_passes_on_a_method_that_is_not_protected() {
    let upstream = Upstream::start(|request, wire| {
        assert_eq!(request.one("upgrade"), "websocket");
        assert_eq!(request.one("connection"), "upgrade");
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let heard = wire.octets(4);
        wire.send(heard);
        false
    });
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let mut wire = Wire::to(gateway.address);
    wire.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let answer = wire.head().unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.one("upgrade"), "websocket");
    wire.send("ping");
    assert_eq!(wire.octets(4), b"ping");
    wire.closed();
}

#[test]
fn c21_an_upgrade_with_a_key_on_a_protected_method_is_refused() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let refused = exchange(
        gateway.address,
        "POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Idempotency-Key: k\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((refused.status(), code(&refused).as_str()), (400, "upgrade-not-supported"));
    assert!(upstream.requests().is_empty());
}

#[test]
fn what_is_no_request_for_a_path_is_not_passed_on() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    for line in ["CONNECT up:80 HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let answer = exchange(gateway.address, format!("{line}\r\nHost: up:80\r\n\r\n"));
        assert_eq!(answer.status(), 501, "{line}");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_host_in_the_target_wins_over_the_field() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    exchange(gateway.address, "GET http://abs.example/a?b HTTP/1.1\r\nHost: other\r\n\r\n");
    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!(request.start, "GET /a?b HTTP/1.1");
    assert_eq!(request.one("host"), "abs.example");
}

#[test]
fn an_expectation_is_answered_by_the_gateway() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let mut wire = Wire::to(gateway.address);
    wire.send(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nIdempotency-Key: k\r\n\
         Content-Length: 2\r\n\r\n",
    );
    assert_eq!(wire.message().unwrap().status(), 100);
    wire.send("{}");
    assert_eq!(wire.message().unwrap().status(), 201);
    assert!(upstream.requests()[0].all("expect").is_empty());
}

#[test]
fn a_response_to_head_keeps_its_length_and_a_204_has_none() {
    let upstream = Upstream::start(|request, wire| {
        wire.send(if request.start.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
        } else {
            "HTTP/1.1 204 No Content\r\n\r\n"
        });
        true
    });
    let gateway = Gateway::start(&upstream.url(), &ONE);
    let mut wire = Wire::to(gateway.address);
    wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.head().unwrap().one("content-length"), "1234");
    wire.send(get("/"));
    let answer = wire.message().unwrap();
    assert_eq!(answer.status(), 204);
    assert!(answer.all("content-length").is_empty() && answer.all("transfer-encoding").is_empty());
}
