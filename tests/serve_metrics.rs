//! What the gateway counts, read by a strict parser of the text format, and what it never shows.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod serve_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serve_support::{Gateway, PATIENCE, Upstream, Wire, exchange, get, keyed, response};

/// A scrape: the value of each series, as `name{label="value",…}`, and the type of each family.
struct Scrape {
    series: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Scrape {
    fn of(gateway: &Gateway) -> Self {
        let answer = exchange(gateway.admin.unwrap(), get("/metrics"));
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.one("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(answer.text())
    }

    /// Every line is `# HELP`, then `# TYPE`, then the samples of that family and of no other; no
    /// series and no family stands there twice; the text ends with a line end.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n') && !text.contains('\r'));
        let (mut series, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        let (mut helped, mut family) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(is_name(name) && help.ends_with('.') && !help.contains('\\'), "{line}");
                assert!(helped.insert(name.to_owned()), "twice: {line}");
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family, "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let bare = name.split('{').next().unwrap();
                let suffix = bare.strip_prefix(&*family).unwrap_or_else(|| panic!("{line}"));
                let histogram = kinds[&family] == "histogram";
                let suffixes: &[&str] =
                    if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(is_name(bare) && suffixes.contains(&suffix), "{line}");
                if let Some(labels) = name.strip_prefix(bare).filter(|labels| !labels.is_empty()) {
                    let labels = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
                    for label in labels.split(',') {
                        let (name, value) = label.split_once('=').unwrap();
                        let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
                        assert!(is_name(name) && !value.contains(['"', '\\']), "{line}");
                    }
                }
                assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line}");
            }
        }
        assert_eq!(helped.len(), kinds.len());
        Self { series, kinds }
    }

    #[track_caller]
    fn is(&self, name: &str, expected: u32) {
        let found = self.series.get(name).unwrap_or_else(|| panic!("{name} is not there"));
        assert!(
            (found - f64::from(expected)).abs() < f64::EPSILON,
            "{name} {found}, not {expected}"
        );
    }

    /// Every series of the family `name` is zero, but for these.
    #[track_caller]
    fn only(&self, name: &str, label: &str, expected: &[(&str, u32)]) {
        for (value, count) in expected {
            self.is(&format!("{name}{{{label}=\"{value}\"}}"), *count);
        }
        let all: f64 = self
            .series
            .iter()
            .filter(|(it, _)| it.starts_with(&format!("{name}{{")))
            .map(|(_, value)| value)
            .sum();
        let expected: u32 = expected.iter().map(|(_, count)| count).sum();
        assert!((all - f64::from(expected)).abs() < f64::EPSILON, "{name}: {all} in all");
    }
}

fn upstream() -> Upstream {
    Upstream::start(|request, wire| {
        let path = request.start.split(' ').nth(1).unwrap();
        let (status, lines) = match path {
            "/break" => return false,
            "/no" => ("400 Bad Request", "Onceward-Outcome: not-executed\r\n"),
            "/lost" => ("504 Gateway Timeout", ""),
            "/busy" => ("503 Service Unavailable", "Retry-After: 1\r\n"),
            _ => ("201 Created", ""),
        };
        wire.send(response(status, lines, "body"));
        true
    })
}

#[test]
fn each_request_is_counted_once_where_it_belongs_and_no_label_tells_of_it() {
    let upstream = upstream();
    let gateway = Gateway::start(&upstream.url(), &[]);
    let send = |path: &str, key: &str, body: &str| {
        exchange(gateway.address, keyed(path, key, body)).status()
    };
    assert_eq!(send("/canary-path", "canary-key", "{}"), 201);
    assert_eq!(send("/canary-path", "canary-key", "{}"), 201);
    assert_eq!(send("/canary-path", "canary-key", "{}"), 201);
    assert_eq!(send("/canary-path", "canary-key", "{\"other\":1}"), 422);
    assert_eq!(send("/break", "broken", "{}"), 502);
    assert_eq!(send("/break", "broken", "{}"), 409);
    assert_eq!(send("/lost", "lost", "{}"), 504);
    assert_eq!(send("/no", "no", "{}"), 400);
    assert_eq!(send("/busy", "busy", "{}"), 503);
    assert_eq!(send("/canary-path", "bad,key", "{}"), 400);
    let bare = |request: &str| exchange(gateway.address, request).status();
    bare("GET /canary-path HTTP/1.1\r\nHost: a\r\nIdempotency-Key: canary-key\r\n\r\n");
    bare(
        "POST /canary-path HTTP/1.1\r\nHost: a\r\nIdempotency-Key: canary-key\r\nContent-Length: 0\r\n\r\n",
    );
    bare("POST /canary-path HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");

    let scrape = Scrape::of(&gateway);
    scrape.only(
        "onceward_requests_total",
        "decision",
        &[
            ("fresh", 1),
            ("replayed", 2),
            ("mismatch", 1),
            ("left-in-doubt", 2),
            ("in-doubt", 1),
            ("released", 2),
            ("refused", 1),
        ],
    );
    scrape.only("onceward_keys_ignored_total", "reason", &[("method", 1), ("no-principal", 1)]);
    scrape.only("onceward_unkeyed_requests_total", "outcome", &[("passed", 1)]);
    scrape.only(
        "onceward_upstream_requests_total",
        "outcome",
        &[("2xx", 4), ("5xx", 1), ("broken", 1), ("lost-further-in", 1), ("not-executed", 1)],
    );
    let duration = "onceward_request_duration_seconds";
    for (class, count) in [("executed", 5), ("replayed", 2), ("refused", 3)] {
        scrape.is(&format!("{duration}_count{{class=\"{class}\"}}"), count);
        scrape.is(&format!("{duration}_bucket{{class=\"{class}\",le=\"+Inf\"}}"), count);
        let prefix = format!("{duration}_bucket{{class=\"{class}\",le=\"");
        let mut buckets: Vec<(f64, f64)> = scrape
            .series
            .iter()
            .filter_map(|(name, count)| Some((name.strip_prefix(&prefix)?, *count)))
            .map(|(end, count)| (end.strip_suffix("\"}").unwrap().parse().unwrap(), count))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.len() > 10 && buckets.is_sorted_by(|a, b| a.1 <= b.1), "{buckets:?}");
        assert!(scrape.series[&format!("{duration}_sum{{class=\"{class}\"}}")] >= 0.0);
    }
    scrape.only("onceward_store_keys", "state", &[("complete", 1), ("in-doubt", 2)]);
    for (name, value) in [
        ("onceward_store_claims_total", 5),
        ("onceward_store_completions_total", 1),
        ("onceward_store_left_in_doubt_total", 2),
        ("onceward_store_releases_total", 2),
        ("onceward_store_resolutions_total", 0),
        ("onceward_store_epoch", 1),
        ("onceward_store_poisoned", 0),
        ("onceward_store_suspect", 0),
        ("onceward_work_in_progress", 0),
        ("onceward_ready", 1),
        ("onceward_draining", 0),
        (concat!("onceward_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1),
    ] {
        scrape.is(name, value);
    }
    for name in
        ["onceward_store_syncs_total", "onceward_store_log_bytes", "onceward_store_index_bytes"]
    {
        assert!(scrape.series[name] > 0.0, "{name}");
    }
    assert!(scrape.kinds.len() > 25, "{:?}", scrape.kinds);
    for name in scrape.series.keys() {
        // No scope has fewer than 64 hexadecimal digits, and no label that many characters.
        assert!(!name.contains("canary") && !name.contains('/') && name.len() < 100, "D12: {name}");
    }
}

#[test]
fn what_is_so_now_is_shown_while_it_is_also_during_a_drain() {
    let (go, gone) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_, wire| {
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        wire.send(response("201 Created", "", "held"));
        true
    });
    let mut gateway = Gateway::start(&upstream.url(), &[]);
    let mut client = Wire::to(gateway.address);
    client.send(keyed("/held", "held", "{}"));
    let flying = "onceward_store_keys{state=\"in-flight\"}";
    while Scrape::of(&gateway).series[flying] < 1.0 {}
    let duplicate = exchange(gateway.address, keyed("/held", "held", "{}"));
    assert_eq!(duplicate.status(), 409);
    let scrape = Scrape::of(&gateway);
    scrape.is("onceward_work_in_progress", 1);
    scrape.only("onceward_requests_total", "decision", &[("in-flight", 1)]);

    gateway.terminate();
    gateway.line("draining");
    while Scrape::of(&gateway).series["onceward_draining"] < 1.0 {}
    let scrape = Scrape::of(&gateway);
    scrape.is("onceward_ready", 0);
    scrape.is(flying, 1);
    go.send(()).unwrap();
    assert_eq!(client.message().unwrap().text(), "held");
    assert_eq!(gateway.ended().0.code(), Some(0));
}

/// The story: the upstream takes longer than it may over one request without a key and one with. The
/// first is let go of; the second goes on behind its answer (C33).
#[test]
fn c33_what_the_upstream_did_not_answer_in_time_is_counted() {
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_, wire| {
        // The sender is dropped when both were late.
        let _ = gone.lock().unwrap().recv();
        wire.send(response("201 Created", "", "late"));
        true
    });
    let gateway = Gateway::start(&upstream.url(), &["--upstream-timeout", "30ms"]);
    assert_eq!(exchange(gateway.address, get("/")).status(), 504);
    assert_eq!(exchange(gateway.address, keyed("/", "k", "{}")).status(), 504);
    let scrape = Scrape::of(&gateway);
    scrape.only("onceward_upstream_requests_total", "outcome", &[("let-go", 1)]);
    scrape.only("onceward_requests_total", "decision", &[("timed-out", 1)]);
    scrape.is("onceward_request_duration_seconds_count{class=\"executed\"}", 1);
    drop(go);
}

#[test]
fn an_upstream_that_is_not_there_and_a_key_that_must_be_are_counted() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&format!("http://{nowhere}"), &["--profile", "ietf"]);
    let unkeyed = "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(gateway.address, unkeyed).status(), 400);
    assert_eq!(exchange(gateway.address, keyed("/", "\"k\"", "{}")).status(), 502);
    let scrape = Scrape::of(&gateway);
    scrape.only("onceward_unkeyed_requests_total", "outcome", &[("refused", 1)]);
    scrape.only("onceward_upstream_requests_total", "outcome", &[("unreachable", 1)]);
    scrape.only("onceward_requests_total", "decision", &[("released", 1)]);
}
