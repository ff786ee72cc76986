//! X1, M10: a replay of a job's 202 says how the job stands now.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod serve_support;

use serve_support::{Gateway, Upstream, exchange, keyed, response};

/// An upstream that accepts jobs, with `location` for where they are, and answers a GET with
/// `job`.
fn jobs(location: &'static str, job: &'static str, status: &'static str) -> Upstream {
    Upstream::start(move |request, wire| {
        if request.start.starts_with("POST ") {
            let lines = format!(
                "Location: {location}\r\nContent-Type: application/json\r\nETag: \"1\"\r\n"
            );
            wire.send(response("202 Accepted", &lines, "{\"status\":\"queued\"}"));
        } else {
            wire.send(response(status, "Content-Type: application/job+json\r\n", job));
        }
        true
    })
}

const FAILED: &str = "{\"status\":\"failed\"}";

#[test]
fn m10_m11_the_original_job_is_replayed_with_its_current_status() {
    for location in ["/v1/jobs/1?full", "http://api.example/v1/jobs/1?full"] {
        let upstream = jobs(location, FAILED, "200 OK");
        let url = format!("{}/v1", upstream.url());
        let gateway = Gateway::start(&url, &["--profile", "managed-dev"]);
        let first = exchange(gateway.address, keyed("/sites", "k", "{}"));
        assert_eq!((first.status(), first.text()), (202, "{\"status\":\"queued\"}"));
        let replay = exchange(gateway.address, keyed("/sites", "k", "{}"));
        assert_eq!((replay.status(), replay.text()), (202, FAILED));
        assert_eq!(replay.one("location"), location);
        assert_eq!(replay.one("content-type"), "application/job+json");
        assert!(replay.all("etag").is_empty());
        let [posted, got] = &upstream.requests()[..] else { panic!("{:?}", upstream.requests()) };
        assert!(posted.start.starts_with("POST /v1/sites "));
        assert_eq!(got.start, "GET /v1/jobs/1?full HTTP/1.1", "not under the base twice");
        assert_eq!(got.one("authorization"), "Bearer one");
        assert!(got.all("idempotency-key").is_empty() && got.all("content-length").is_empty());
    }
}

#[test]
fn what_is_stored_is_replayed_when_the_job_is_not_to_be_had() {
    for (location, status, asked) in [
        ("/v1/jobs/1", "404 Not Found", 2),
        ("/v1/jobs/1", "302 Found", 2),
        ("http://other.example/v1/jobs/1", "200 OK", 1),
        ("//other.example/v1/jobs/1", "200 OK", 1),
        ("jobs/1", "200 OK", 1),
    ] {
        let upstream = jobs(location, FAILED, status);
        let gateway = Gateway::start(&upstream.url(), &["--profile", "managed-dev"]);
        exchange(gateway.address, keyed("/sites", "k", "{}"));
        let replay = exchange(gateway.address, keyed("/sites", "k", "{}"));
        assert_eq!(
            (replay.status(), replay.text()),
            (202, "{\"status\":\"queued\"}"),
            "{location}"
        );
        assert_eq!(upstream.requests().len(), asked, "{location}");
    }
}

#[test]
fn m6_verbatim_is_a_setting_and_every_other_profiles_default() {
    for flags in [&["--profile", "managed-dev", "--refresh", "off"][..], &["--profile", "magnolia"]]
    {
        let upstream = jobs("/v1/jobs/1", FAILED, "200 OK");
        let gateway = Gateway::start(&upstream.url(), flags);
        exchange(gateway.address, keyed("/sites", "k", "{}"));
        let replay = exchange(gateway.address, keyed("/sites", "k", "{}"));
        assert_eq!(replay.text(), "{\"status\":\"queued\"}");
        assert_eq!(upstream.requests().len(), 1);
    }
}
