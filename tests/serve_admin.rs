//! A stuck key: how an operator finds it and ends it, by command and by request, and what the admin
//! address says to whoever may not ask, or asks nonsense.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod serve_support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use serde_json::Value;
use serve_support::{Gateway, Message, PATIENCE, Upstream, Wire, exchange, get, keyed, response};

/// What a command said and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// The one object it printed.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The objects it printed, one a line.
    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n{}{}", self.code, self.out, self.err)
    }
}

fn onceward(args: &[&str]) -> Said {
    onceward_with(args, &[])
}

/// With these variables in the environment.
fn onceward_with(args: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
    for name in ["ONCEWARD_ADMIN_TOKEN_FILE", "ONCEWARD_ENCRYPTION_KEY_FILE"] {
        command.env_remove(name);
    }
    let ran = command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    let ran = ran.output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    Said { code: ran.status.code().unwrap(), out: text(ran.stdout), err: text(ran.stderr) }
}

/// A command about the store of `gateway`.
fn tool(gateway: &Gateway, args: &[&str]) -> Said {
    let admin = format!("http://{}", gateway.admin.unwrap());
    onceward(&[args, &["--admin", &admin, "--json"]].concat())
}

/// Answers with its count of requests, but breaks the connection off on paths that say so.
fn breaking() -> Upstream {
    let count = std::sync::atomic::AtomicU32::new(1);
    Upstream::start(move |request, wire| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if request.start.contains("/break") {
            return false;
        }
        wire.send(response("201 Created", "X-Made: yes\r\n", &number.to_string()));
        true
    })
}

/// Answers nothing until it is let go of.
fn holding() -> (Upstream, Sender<()>) {
    let (go, gone) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_, wire| {
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        wire.send(response("201 Created", "", "held"));
        true
    });
    (upstream, go)
}

fn post(admin: SocketAddr, target: &str, lines: &str, body: &str) -> Message {
    let length = body.len();
    exchange(
        admin,
        format!(
            "POST {target} HTTP/1.1\r\nHost: admin\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

const JSON: &str = "Content-Type: application/json\r\n";

/// The code of a refusal, which is JSON.
#[track_caller]
fn code(answer: &Message) -> String {
    assert_eq!(answer.one("content-type"), "application/json", "{answer:?}");
    assert_eq!(answer.one("cache-control"), "no-store", "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    body["error"].as_str().unwrap().to_owned()
}

// An order is at the shop when the connection breaks. The customer is told that nobody knows; so is
// the operator, who asks the shop, hears that there is no such order, and gives the key back. The
// customer's next attempt is a first one.
#[test]
fn c34_a_key_that_a_broken_connection_left_in_doubt_is_listed_released_and_executed_anew() {
    let upstream = breaking();
    let gateway = Gateway::start(&upstream.url(), &[]);
    let order = keyed("/break", "stuck-1", "{}");
    assert_eq!(exchange(gateway.address, &order).status(), 502);
    assert_eq!(exchange(gateway.address, keyed("/fine", "fine-1", "{}")).status(), 201);
    let again = exchange(gateway.address, &order);
    assert_eq!(again.status(), 409, "in doubt: {again:?}");

    let listed = tool(&gateway, &["list", "--state", "in-doubt"]).lines();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let (scope, hash) = (&listed[0]["scope"], &listed[0]["key_sha256"]);
    assert_eq!(*hash, "c847c5ca3cc495f285572a86b2f7130013a5ce789b70e072c45fa92aaff0a37a");
    assert!(listed[0].get("key").is_none(), "a key is guessable, and shown when asked for (D12)");
    let scope = scope.as_str().unwrap();

    let released = tool(&gateway, &["release", "stuck-1", "--scope", scope]);
    assert_eq!((released.code, &released.json()["outcome"]), (0, &"released".into()));
    let sent = upstream.requests().len();
    assert_eq!(exchange(gateway.address, &order).status(), 502, "it is executed, and breaks again");
    assert_eq!(upstream.requests().len(), sent + 1);
}

// The same, and the shop does have the order: what it answered is said by hand, and every retry gets
// it, octet for octet.
#[test]
fn c34_a_key_in_doubt_is_resolved_with_a_response_and_replays_it_octet_for_octet() {
    let upstream = breaking();
    let gateway = Gateway::start(&upstream.url(), &[]);
    let order = keyed("/break", "stuck-2", "{}");
    assert_eq!(exchange(gateway.address, &order).status(), 502);

    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let resolved = tool(
        &gateway,
        &[
            "resolve",
            "stuck-2",
            "--principal",
            "Bearer one",
            "--status",
            "203",
            "--header",
            "Content-Type: application/octet-stream",
            "--header",
            "X-Made:by hand",
            "--body",
            file.to_str().unwrap(),
        ],
    );
    assert_eq!((resolved.code, &resolved.json()["outcome"]), (0, &"completed".into()));
    let sent = upstream.requests().len();
    for _ in 0..2 {
        let replay = exchange(gateway.address, &order);
        assert_eq!((replay.status(), &replay.body), (203, &body));
        assert_eq!(replay.one("content-type"), "application/octet-stream");
        assert_eq!(replay.one("x-made"), "by hand");
        assert_eq!(replay.one("idempotency-replayed"), "true");
    }
    assert_eq!(upstream.requests().len(), sent, "nothing was sent");
    let shown = tool(&gateway, &["get", "stuck-2", "--principal", "Bearer one"]).json();
    assert_eq!((&shown["state"], &shown["status"]), (&"complete".into(), &203.into()));
    // Another request under the key is still another request.
    let other = exchange(gateway.address, keyed("/break", "stuck-2", "{\"other\":1}"));
    assert_eq!(other.status(), 422);
}

#[test]
fn c34_the_outcome_of_a_resolution_says_what_was_in_its_way() {
    let (upstream, go) = holding();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "single-tenant"]);
    let admin = gateway.admin.unwrap();
    let mut client = Wire::to(gateway.address);
    client.send(keyed("/held", "held", "{}"));
    while tool(&gateway, &["list", "--state", "in-flight"]).lines().is_empty() {}
    let hash = tool(&gateway, &["list"]).lines()[0]["key_sha256"].as_str().unwrap().to_owned();

    let by_name =
        |action: &str, body| post(admin, &format!("/v1/keys/-/held/{action}"), JSON, body);
    let refused = by_name("release", "");
    assert_eq!((refused.status(), code(&refused)), (409, "in-flight".into()));
    let refused = by_name("resolve", "{\"release\":true}");
    assert_eq!((refused.status(), code(&refused)), (409, "in-flight".into()));
    let refused = post(admin, &format!("/v1/keys/by-hash/{hash}/release"), "", "");
    assert_eq!((refused.status(), code(&refused)), (409, "in-flight".into()));
    let by_command = tool(&gateway, &["release", "held"]);
    assert_eq!(by_command.code, 1, "{by_command:?}");

    go.send(()).unwrap();
    assert_eq!(client.message().unwrap().status(), 201);
    let refused = by_name("release", "");
    assert_eq!((refused.status(), code(&refused)), (409, "complete".into()));
    let refused = post(admin, "/v1/keys/-/nobody/release", "", "");
    assert_eq!((refused.status(), code(&refused)), (404, "no-such-key".into()));
    let absent = tool(&gateway, &["get", "nobody"]);
    assert_eq!(
        (absent.code, absent.err.as_str()),
        (1, "onceward: there is no such key in the store\n")
    );
    let replay = exchange(gateway.address, keyed("/held", "held", "{}"));
    assert_eq!(replay.text(), "held", "what was refused changed nothing");
}

// The machine loses its power while a hundred and three orders are at the shop. The next start says
// so of each; by what the log says of one, it is released.
#[test]
fn c34_after_a_crash_each_key_in_doubt_is_told_and_found_by_what_the_log_says() {
    let (upstream, go) = holding();
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::over(data.path(), &upstream.url(), &["--log", "warn"]);
    let mut clients = Vec::new();
    for n in 0..103 {
        let mut client = Wire::to(gateway.address);
        client.send(keyed("/held", &format!("held-{n}"), "{}"));
        clients.push(client);
    }
    // What is at the shop was claimed on disk before it went there.
    let began = std::time::Instant::now();
    while upstream.requests().len() < 103 {
        assert!(began.elapsed() < PATIENCE, "{} orders", upstream.requests().len());
        std::thread::yield_now();
    }
    gateway.kill();
    drop(go);

    let mut gateway = Gateway::over(data.path(), &upstream.url(), &["--log-format", "json"]);
    let told = gateway.line("keys are in doubt");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["count"], 103);
    let listed = tool(&gateway, &["list", "--state", "in-doubt", "--limit", "50"]).lines();
    assert_eq!(listed.len(), 50);
    let all = tool(&gateway, &["list", "--state", "in-doubt"]).lines();
    assert_eq!(all.len(), 103);

    let said = gateway.stop();
    let lines: Vec<Value> = said
        .iter()
        .filter(|line| line.contains("a key is in doubt until"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 103);
    let gateway = Gateway::over(data.path(), &upstream.url(), &[]);
    let hash = lines[0]["key"].as_str().unwrap();
    let released = tool(&gateway, &["release", "--hash", hash]);
    assert_eq!(released.json()["outcome"], "released", "{released:?}");
    assert_eq!(released.json()["scope"], lines[0]["scope"]);
    assert_eq!(tool(&gateway, &["stats"]).json()["in_doubt"], 102);
    assert_eq!(tool(&gateway, &["get", "--hash", hash]).code, 1, "it is free again");
}

#[test]
fn a_list_is_read_page_by_page_and_filtered() {
    let upstream = breaking();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "header:X-Account"]);
    let admin = gateway.admin.unwrap();
    for n in 0..25 {
        let path = if n % 5 == 0 { "/break" } else { "/fine" };
        exchange(
            gateway.address,
            format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nX-Account: acct {}\r\nIdempotency-Key: k{n}\r\n\
                 Content-Length: 0\r\n\r\n",
                n % 2
            ),
        );
    }
    let page = |query: &str| -> Value {
        let answer = exchange(admin, get(&format!("/v1/keys{query}")));
        assert_eq!(answer.status(), 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    };
    let (mut keys, mut after) = (std::collections::BTreeSet::new(), String::new());
    for pages in 0.. {
        assert!(pages < 10);
        let found = page(&format!("?show=keys&limit=7{after}"));
        assert!(found["keys"].as_array().unwrap().len() <= 7);
        for key in found["keys"].as_array().unwrap() {
            assert!(keys.insert(key["key"].as_str().unwrap().to_owned()), "twice: {key}");
        }
        let Some(next) = found["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(keys.len(), 25);
    let count = |query: &str| page(query)["keys"].as_array().unwrap().len();
    assert_eq!(count("?state=in-doubt"), 5);
    assert_eq!(count("?state=complete&principal=acct%200"), 10);
    assert_eq!(count("?state=in-doubt&principal=acct+1"), 2);
    assert_eq!(count("?principal=acct%202"), 0);
    let table = onceward(&["list", "--admin", &format!("http://{admin}")]);
    assert_eq!((table.code, table.out.lines().count()), (0, 26), "{table:?}");
    assert!(table.out.starts_with("STATE "), "{table:?}");
}

#[test]
fn x7_under_oec_a_key_is_found_by_its_caller_method_and_path() {
    let upstream = breaking();
    let flags = ["--profile", "oec", "--principal", "header:X-Account"];
    let gateway = Gateway::start(&upstream.url(), &flags);
    let path = "/api/public/v1/environments/env_1/actions/deploy";
    exchange(
        gateway.address,
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nX-Account: a\r\n\
             X-Idempotency-Key: \"run 1/2\"\r\nContent-Length: 0\r\n\r\n"
        ),
    );
    let find = |path: &str| tool(&gateway, &["get", "run 1/2", "--principal", "a", "--path", path]);
    assert_eq!(find(path).json()["state"], "complete");
    assert_eq!(find("/api/public/v1/projects").code, 1);
    let pathless = tool(&gateway, &["get", "run 1/2", "--principal", "a"]);
    assert_eq!(pathless.code, 2, "{pathless:?}");
    assert!(pathless.err.contains("`path`"), "{pathless:?}");
}

/// The story: one caller sends one key to two paths. On the one a key belongs to the caller, on the
/// other, by a rule, to the caller and the path. Both are in doubt, and the operator names one.
#[test]
fn x7_a_key_is_found_as_the_rule_of_its_path_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    let rule = "[profiles.own]\nbase = \"oec\"\nheader = \"Idempotency-Key\"\nroutes = \"all\"\n\
                [[route]]\npath = \"/break/own\"\nprofile = \"own\"\n";
    std::fs::write(&config, rule).unwrap();
    for principal in ["authorization", "single-tenant"] {
        let upstream = breaking();
        let flags = ["--config", config.to_str().unwrap(), "--principal", principal];
        let gateway = Gateway::start(&upstream.url(), &flags);
        for path in ["/break", "/break/own"] {
            assert_eq!(exchange(gateway.address, keyed(path, "k", "{}")).status(), 502);
        }
        let caller = ["--principal", "Bearer one"];
        let caller = if principal == "authorization" { &caller[..] } else { &[] };
        let ask = |args: &[&str]| tool(&gateway, &[args, caller].concat());
        assert_eq!(tool(&gateway, &["list"]).lines().len(), 2, "{principal}: all there are");
        for action in ["get", "release"] {
            let pathless = ask(&[action, "k"]);
            assert_eq!(pathless.code, 2, "which of the two? {pathless:?}");
            assert!(pathless.err.contains("`path`"), "{pathless:?}");
        }
        let own = ["--path", "/break/own"];
        let of_rule = ask(&[&["get", "k"], &own[..]].concat()).json();
        let of_main = ask(&["get", "k", "--path", "/break"]).json();
        assert_ne!(of_rule["scope"], of_main["scope"]);
        assert_eq!(ask(&[&["release", "k"], &own[..]].concat()).json()["outcome"], "released");
        assert_eq!(ask(&[&["get", "k"], &own[..]].concat()).code, 1, "gone");
        assert_eq!(ask(&["get", "k", "--path", "/else"]).json()["state"], "in-doubt");
    }
}

// Whoever may send anything to the admin address gets an answer in JSON, and the gateway goes on.
#[test]
fn nonsense_is_refused_in_json_and_harms_nothing() {
    let upstream = Upstream::counting();
    let gateway = Gateway::start(&upstream.url(), &[]);
    let admin = gateway.admin.unwrap();
    let scope = "00".repeat(32);
    let long = "k".repeat(256);
    for (target, status) in [
        ("/", 404),
        ("/v1", 404),
        ("/v1/", 404),
        ("/v2/keys", 404),
        ("/v1/keys/a/b/c/d", 404),
        ("/v1/keys?state=lost", 400),
        ("/v1/keys?sate=in-doubt", 400),
        ("/v1/keys?limit=0", 400),
        ("/v1/keys?limit=1001", 400),
        ("/v1/keys?limit=1&limit=2", 400),
        ("/v1/keys?after=zz", 400),
        ("/v1/keys?show=payloads", 400),
        ("/v1/keys?scope=0", 400),
        ("/v1/keys?a=%ff", 400),
        ("/v1/keys/xyz/k", 400),
        ("/v1/keys/-/k", 400),
        ("/v1/keys/00/", 400),
        ("/v1/keys/00/%", 400),
        ("/v1/keys/00/%00", 404),
        (&format!("/v1/keys/{scope}/k"), 404),
        (&format!("/v1/keys/{scope}/{long}"), 400),
        (&format!("/v1/keys/{scope}{scope}{scope}{scope}{scope}{scope}{scope}{scope}/k"), 400),
        (&format!("/v1/keys/00/{}", "%41".repeat(15_000)), 400),
        ("/v1/keys/by-hash/0011", 400),
        ("/v1/keys/by-hash/zz", 400),
        ("/v1/keys/by-hash/0011223344556677", 404),
        ("/v1/stats?x", 400),
        ("/v1/sweep", 405),
        ("/v1/keys/00/k/release", 405),
        ("/v1/keys/00/k/resolve", 405),
    ] {
        let answer = exchange(admin, get(target));
        let shown = target.get(..60).unwrap_or(target);
        assert_eq!(answer.status(), status, "{shown}: {answer:?}");
        code(&answer);
    }
    for (target, lines, body, status) in [
        ("/metrics", "", "", 405),
        ("/readyz", "", "", 405),
        ("/v1/keys", "", "", 405),
        ("/v1/stats", "", "", 405),
        ("/v1/sweep", "", "a=b", 415),
        ("/v1/sweep", "Content-Type: application/x-www-form-urlencoded\r\n", "a=b", 415),
        ("/v1/keys/00/k/release", JSON, &" ".repeat(5000), 413),
        ("/v1/keys/00/k/resolve", JSON, "", 400),
        ("/v1/keys/00/k/resolve", JSON, "{", 400),
        ("/v1/keys/00/k/resolve", JSON, "\u{0}\u{ff}", 400),
        ("/v1/keys/00/k/resolve", JSON, &"[".repeat(50_000), 400),
        ("/v1/keys/00/k/resolve", JSON, "{\"complete\":{\"status\":99}}", 400),
        (
            "/v1/keys/00/k/resolve",
            JSON,
            "{\"complete\":{\"status\":201,\"headers\":[[\"a\",\"\\n\"]]}}",
            400,
        ),
        ("/v1/keys/00/k/resolve", JSON, "{\"release\":true}", 404),
    ] {
        let answer = post(admin, target, lines, body);
        assert_eq!(answer.status(), status, "{target}: {answer:?}");
        code(&answer);
    }
    // A target longer than the server reads at all.
    assert_eq!(exchange(admin, get(&format!("/{}", "a".repeat(70_000)))).status(), 414);

    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(1);
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "/",
        "v1",
        "keys",
        "by-hash",
        "-",
        "00",
        "%2F",
        "%",
        "?",
        "&",
        "=",
        "scope",
        "after",
        "principal",
        "release",
        "resolve",
        "sweep",
        "stats",
        "limit",
        "9",
        "path",
        "%ff",
        "..",
    ];
    for _ in 0..400 {
        let target: String =
            (0..random.usize(1..12)).map(|_| *random.choice(&pieces).unwrap()).collect();
        let target = format!("/v1/{target}");
        let answer = if random.bool() {
            exchange(admin, get(&target))
        } else {
            post(admin, &target, JSON, random.choice(&["", "{}", "{\"release\":true}"]).unwrap())
        };
        assert!([200, 400, 404, 405].contains(&answer.status()), "{target}: {answer:?}");
        assert_eq!(answer.one("content-type"), "application/json", "{target}");
    }
    assert_eq!(exchange(admin, get("/livez")).status(), 200);
    let said = gateway.stop();
    assert!(!said.iter().any(|line| line.contains("panic")), "{said:#?}");
}

#[test]
fn a_page_in_a_browser_is_refused_and_changes_nothing() {
    let upstream = breaking();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "single-tenant"]);
    let admin = gateway.admin.unwrap();
    let order = keyed("/break", "stuck", "{}");
    exchange(gateway.address, &order);
    // Who is told of a broken connection does not wait for the disk; who comes next does.
    assert_eq!(exchange(gateway.address, &order).status(), 409);
    for lines in
        ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: same-origin\r\n", "Origin: null\r\n"]
    {
        let refused = post(admin, "/v1/keys/-/stuck/release", lines, "");
        assert_eq!((refused.status(), code(&refused)), (403, "cross-site".into()), "{lines}");
        let refused = post(admin, "/v1/sweep", lines, "");
        assert_eq!(refused.status(), 403, "{lines}");
    }
    assert_eq!(tool(&gateway, &["get", "stuck"]).json()["state"], "in-doubt");
}

#[test]
fn a_token_is_asked_for_by_all_but_health() {
    let upstream = breaking();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret-s3cret\n").unwrap();
    let file = file.to_str().unwrap();
    let gateway = Gateway::start(&upstream.url(), &["--admin-token-file", file]);
    let admin = gateway.admin.unwrap();
    for target in ["/metrics", "/v1/stats", "/v1/keys", "/nowhere"] {
        let refused = exchange(admin, get(target));
        assert_eq!((refused.status(), code(&refused)), (401, "unauthorized".into()), "{target}");
        assert_eq!(refused.one("www-authenticate"), "Bearer");
    }
    let refused = post(admin, "/v1/sweep", "Authorization: Bearer s3cret\r\n", "");
    assert_eq!(refused.status(), 401);
    let swept = post(admin, "/v1/sweep", "Authorization: Bearer s3cret-s3cret\r\n", "");
    assert_eq!(swept.status(), 200, "{swept:?}");
    for target in ["/livez", "/readyz"] {
        assert_eq!(exchange(admin, get(target)).status(), 200, "{target}");
    }
    assert_eq!(tool(&gateway, &["stats"]).code, 1);
    let with_token = tool(&gateway, &["stats", "--admin-token-file", file]);
    assert_eq!(with_token.code, 0, "{with_token:?}");
    let url = format!("http://{admin}");
    let variable =
        |file| onceward_with(&["stats", "--admin", &url], &[("ONCEWARD_ADMIN_TOKEN_FILE", file)]);
    assert_eq!(variable(file).code, 0, "the variable has it, too");
    assert_eq!(variable("").code, 1, "an empty one is none: no token, and no fault of usage");
    let said = gateway.stop().join("\n");
    assert!(!said.contains("s3cret"), "{said}");
}

// The gateway is stopped, or will not start: the same commands ask its directory.
#[test]
fn a_store_on_which_nothing_runs_is_asked_and_resolved_in_its_directory() {
    let upstream = breaking();
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("store");
    let gateway = Gateway::over(&path, &upstream.url(), &[]);
    let order = keyed("/break", "stuck-3", "{}");
    exchange(gateway.address, &order);
    let dir = path.to_str().unwrap();
    let locked = onceward(&["list", "--data", dir]);
    assert_eq!(locked.code, 1, "{locked:?}");
    assert!(locked.err.contains("in use by another process"), "{locked:?}");
    gateway.stop();

    let at = |args: &[&str]| onceward(&[args, &["--data", dir, "--json"]].concat());
    let listed = at(&["list", "--state", "in-doubt", "--show-keys"]).lines();
    assert_eq!(listed[0]["key"], "stuck-3");
    let named = at(&["get", "stuck-3", "--principal", "Bearer one"]);
    assert_eq!(named.code, 2, "only a gateway knows how callers are told apart: {named:?}");
    let scope = listed[0]["scope"].as_str().unwrap();
    let resolved = at(&["resolve", "stuck-3", "--scope", scope, "--status", "201"]);
    assert_eq!(resolved.json()["outcome"], "completed", "{resolved:?}");
    assert_eq!(at(&["stats"]).json()["in_doubt"], 0);
    assert_eq!(at(&["sweep"]).json()["expired"], 0);
    for command in ["stats", "verify"] {
        let empty = [("ONCEWARD_ADMIN_TOKEN_FILE", ""), ("ONCEWARD_ENCRYPTION_KEY_FILE", "")];
        let said = onceward_with(&[command, "--data", dir], &empty);
        assert_eq!(said.code, 0, "an empty variable is none: {said:?}");
    }
    let gateway = Gateway::over(&path, &upstream.url(), &[]);
    assert_eq!(exchange(gateway.address, &order).status(), 201);

    let absent = data.path().join("absent");
    let none = onceward(&["list", "--data", absent.to_str().unwrap()]);
    assert_eq!((none.code, absent.exists()), (1, false), "no store is made: {none:?}");
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    for args in [
        &["list"][..],
        &["get", "--admin", "http://127.0.0.1:9"],
        &["list", "--admin", "http://127.0.0.1:9", "--data", "d"],
        &["list", "--admin", "127.0.0.1:9"],
        &["list", "--admin", "http://127.0.0.1:9/v1"],
        &["list", "--admin", "http://127.0.0.1:9", "--state", "lost"],
        &["get", "k", "--admin", "http://127.0.0.1:9", "--scope", "00", "--principal", "a"],
        &["resolve", "k", "--admin", "http://127.0.0.1:9"],
        &["resolve", "k", "--admin", "http://127.0.0.1:9", "--release", "--status", "201"],
        &["resolve", "k", "--admin", "http://127.0.0.1:9", "--release", "--header", "a: b"],
        &["resolve", "k", "--admin", "http://127.0.0.1:9", "--status", "201", "--header", "a"],
        &["stats", "--admin", "http://127.0.0.1:9", "--admin-token-file", "no/such/file"],
    ] {
        let said = onceward(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}: {said:?}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = onceward(&["stats", "--admin", &format!("http://{free}")]);
    assert_eq!((nobody.code, nobody.err.lines().count()), (1, 1), "{nobody:?}");
    let missing = onceward(&["stats", "--data", Path::new("no/such/dir").to_str().unwrap()]);
    assert_eq!(missing.code, 1, "{missing:?}");
}
