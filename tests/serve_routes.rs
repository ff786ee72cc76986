//! Rules for some paths: which of them holds, and what it changes.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod serve_support;

use serve_support::{Gateway, Message, Upstream, exchange, get, keyed, response};

/// A gateway for everyone with this file.
fn with(upstream: &Upstream, text: &str) -> (Gateway, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, text).unwrap();
    let flags = ["--principal", "single-tenant", "--config", config.to_str().unwrap()];
    (Gateway::start(&upstream.url(), &flags), dir)
}

fn replayed(answer: &Message) -> bool {
    !answer.all("idempotency-replayed").is_empty()
}

#[test]
fn the_first_rule_that_matches_the_raw_path_holds() {
    let upstream = Upstream::counting();
    let (gateway, _dir) = with(
        &upstream,
        "[[route]]\npath = \"/free/{id}/**\"\nprotect = false\n\
         [[route]]\npath = \"/free/**\"\nkey-required = true\n\
         [[route]]\npath = \"/put/{id}\"\nmethods = [\"PUT\"]\n",
    );
    let post = |path: &str| exchange(gateway.address, keyed(path, "k", "{}"));
    let free = post("/free/1/a");
    assert_eq!((free.text(), free.one("onceward-key-ignored")), ("1", "route"));
    assert_eq!(post("/free/1/a?b").text(), "2", "each time, for nothing is protected there");
    let keyless = exchange(gateway.address, get("/free").replace("GET", "POST"));
    assert_eq!(keyless.status(), 400, "the second rule");
    assert_eq!(exchange(gateway.address, get("/free")).text(), "3", "and no GET");

    // Spelled otherwise, a path is another path: the main profile holds.
    let spelled = post("/%66ree/1/a");
    assert_eq!((spelled.text(), replayed(&post("/%66ree/1/a"))), ("4", true));

    let put = keyed("/put/1", "p", "{}").replace("POST", "PUT");
    assert_eq!(exchange(gateway.address, &put).text(), "5");
    assert!(replayed(&exchange(gateway.address, &put)), "PUT is protected by its rule");
    let elsewhere = keyed("/put", "p", "{}").replace("POST", "PUT");
    assert_eq!(exchange(gateway.address, elsewhere).text(), "6", "and nowhere else");
}

#[test]
fn x7_a_key_used_under_two_rules_is_one_key_for_two_requests() {
    let upstream = Upstream::counting();
    let (gateway, _dir) = with(
        &upstream,
        "[[route]]\npath = \"/a\"\nttl = \"1h\"\n\
         [[route]]\npath = \"/b\"\nprofile = \"managed-dev\"\n\
         [[route]]\npath = \"/c\"\nprofile = \"own\"\n\
         [profiles.own]\nbase = \"oec\"\nheader = \"Idempotency-Key\"\nroutes = \"all\"\n",
    );
    let post = |path: &str| exchange(gateway.address, keyed(path, "k", "{}"));
    assert_eq!(post("/a").text(), "1");
    assert!(replayed(&post("/a")));
    let elsewhere = post("/b");
    assert_eq!(elsewhere.status(), 409, "in that rule's words (X2)");
    assert!(elsewhere.text().contains("idempotency.key_reused"), "{elsewhere:?}");
    assert_eq!(post("/").status(), 422, "and in the main profile's");
    // Keys that belong to their path find nothing of another's, even where nobody compares.
    let own = post("/c");
    assert_eq!((own.status(), own.text()), (201, "2"), "O12: another key");
    assert_eq!(post("/c").one("x-idempotency-replayed"), "true");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn the_gateways_own_errors_are_in_the_rules_dialect() {
    let upstream = Upstream::start(|_, _| false);
    let (gateway, _dir) =
        with(&upstream, "[[route]]\npath = \"/jobs/**\"\nprofile = \"managed-dev\"\n");
    let broken = exchange(gateway.address, keyed("/jobs/1", "a", "{}"));
    assert_eq!(broken.one("content-type"), "application/json");
    assert!(broken.text().contains("idempotency.outcome_unknown"), "{broken:?}");
    let broken = exchange(gateway.address, keyed("/", "b", "{}"));
    assert_eq!(broken.one("content-type"), "application/problem+json");
}

#[test]
fn m10_a_rule_made_from_managed_dev_refreshes_its_jobs_alone() {
    let upstream = Upstream::start(|request, wire| {
        wire.send(if request.start.starts_with("GET") {
            response("200 OK", "", "now")
        } else {
            response("202 Accepted", "Location: /jobs/1\r\n", "then")
        });
        true
    });
    let (gateway, _dir) =
        with(&upstream, "[[route]]\npath = \"/jobs/**\"\nprofile = \"managed-dev\"\n");
    for (path, expected) in [("/jobs", "now"), ("/other", "then")] {
        exchange(gateway.address, keyed(path, path, "{}"));
        let replay = exchange(gateway.address, keyed(path, path, "{}"));
        assert_eq!((replay.status(), replay.text()), (202, expected), "{path}");
    }
}

#[test]
fn c25_a_rule_may_stream_its_responses_live() {
    let upstream = Upstream::counting();
    let (gateway, _dir) = with(&upstream, "[[route]]\npath = \"/live/**\"\nlive = true\n");
    let post = |path: &str| exchange(gateway.address, keyed(path, path, "{}"));
    assert_eq!(post("/live/a").text(), "1");
    let again = post("/live/a");
    assert_eq!(again.status(), 409);
    assert!(again.text().contains("response-not-retained"), "{again:?}");
    assert_eq!(post("/kept").text(), "2");
    assert!(replayed(&post("/kept")));
}

#[test]
fn it_says_which_rules_it_has() {
    let upstream = Upstream::counting();
    let (gateway, _dir) = with(&upstream, "[[route]]\npath = \"/a/**\"\nttl = \"31d\"\n");
    let said = gateway.stop().join("\n");
    for part in ["routes=1", "path=\"/a/**\"", "ttl=\"31d\"", "protect=true"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
