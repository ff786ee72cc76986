//! What is kept, and what is told, of secrets (PROOF "secrets at rest", D12, C29): canaries go in,
//! and are then looked for everywhere.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::onceward;
use crate::serve_support::{Gateway, Message, Upstream, exchange, get, response};

const KEY: &str = "canary-key-5f1c";
const BAD_KEY: &str = "canary-bad-key,7d2e";
const DOUBT_KEY: &str = "canary-doubt-key-a1";
const PRINCIPAL: &str = "canary-principal-90";
const TOKEN: &str = "canary-token-4b7d";
const COOKIE_SENT: &str = "canary-cookie-sent-3c";
const QUERY: &str = "canary-query-1e";
const REQUEST_BODY: &str = "canary-request-body-77";
const RESPONSE_BODY: &str = "canary-response-body-42";
/// What no log, metric or tool may tell.
const UNTOLD: [&str; 9] =
    [KEY, BAD_KEY, DOUBT_KEY, PRINCIPAL, TOKEN, COOKIE_SENT, QUERY, REQUEST_BODY, RESPONSE_BODY];
/// Header fields of a response that hand out a credential, and one that is about the connection.
const NOT_KEPT: [(&str, &str); 6] = [
    ("Set-Cookie", "canary-set-cookie-1=a; HttpOnly"),
    ("Set-Cookie", "canary-set-cookie-2=b"),
    ("Set-Cookie2", "canary-set-cookie2-3=c"),
    ("Authentication-Info", "nextnonce=canary-next-nonce"),
    ("Proxy-Authentication-Info", "nextnonce=canary-proxy-nonce"),
    ("X-Named", "canary-named-by-connection"),
];
/// Fields that are as much the response as its body.
const KEPT: [(&str, &str); 3] =
    [("X-Kept", "kept-one"), ("X-Kept", "kept-two"), ("Location", "/v1/sites/kept-three")];

fn upstream() -> Upstream {
    Upstream::start(|request, wire| {
        if request.start.contains("/break") {
            return false;
        }
        let mut lines = "Connection: X-Named\r\n".to_owned();
        for (name, value) in NOT_KEPT.iter().chain(&KEPT) {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        wire.send(response("201 Created", &lines, RESPONSE_BODY));
        true
    })
}

fn post(path: &str, key: &str, body: &str) -> String {
    format!(
        "POST {path}?q={QUERY} HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\n\
         X-Account: {PRINCIPAL}\r\nAuthorization: Bearer {TOKEN}\r\nCookie: s={COOKIE_SENT}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// How often each canary stands in `octets`.
fn found<'a>(octets: &[u8], canaries: &[&'a str]) -> Vec<(&'a str, usize)> {
    let count = |canary: &str| {
        octets.windows(canary.len()).filter(|window| *window == canary.as_bytes()).count()
    };
    let found = canaries.iter().map(|canary| (*canary, count(canary)));
    found.filter(|(_, count)| *count > 0).collect()
}

/// Every octet of every file below `path`.
fn all_octets(path: &Path) -> Vec<u8> {
    let mut octets = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            octets.extend(all_octets(&path));
        } else {
            octets.extend(std::fs::read(path).unwrap());
        }
    }
    octets
}

fn values_of(fields: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    fields.iter().map(|(_, value)| *value).collect()
}

/// One request of each end a request can have: executed, replayed, refused as another, refused for
/// its key, left in doubt and refused for that, passed through.
fn one_of_each(gateway: &Gateway) -> Vec<Message> {
    let keyless =
        post("/v1/sites", KEY, REQUEST_BODY).replace(&format!("Idempotency-Key: {KEY}\r\n"), "");
    [
        post("/v1/sites", KEY, REQUEST_BODY),
        post("/v1/sites", KEY, REQUEST_BODY),
        post("/v1/sites", KEY, "another body"),
        post("/v1/sites", BAD_KEY, REQUEST_BODY),
        post("/break", DOUBT_KEY, REQUEST_BODY),
        post("/break", DOUBT_KEY, REQUEST_BODY),
        post("/v1/sites", KEY, REQUEST_BODY).replace("X-Account:", "X-None:"),
        keyless,
    ]
    .map(|request| exchange(gateway.address, request))
    .into()
}

#[test]
fn d12_c29_no_canary_is_in_the_directory_the_logs_the_metrics_or_the_admin_api() {
    for rule in ["header:X-Account", "authorization"] {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let upstream = upstream();
        let flags = ["--principal", rule, "--log", "trace", "--log-format", "json"];
        let gateway = Gateway::over(&path, &upstream.url(), &flags);
        let answers = one_of_each(&gateway);
        let statuses: Vec<u16> = answers.iter().map(Message::status).collect();
        assert_eq!(statuses, [201, 201, 422, 400, 502, 409, 201, 201], "{rule}");

        // What may be told of a key is its hash. The path is, the query is not.
        let mut untold = UNTOLD.to_vec();
        untold.extend(values_of(&NOT_KEPT));
        let admin = gateway.admin.unwrap();
        for target in
            ["/metrics", "/v1/keys", "/v1/keys?state=in-doubt", "/v1/stats", "/readyz", "/livez"]
        {
            let told = exchange(admin, get(target));
            assert_eq!(told.status(), 200, "{target}");
            assert_eq!(found(&told.body, &untold), [], "{rule} {target}");
        }
        let shown = exchange(admin, get("/v1/keys?show=keys"));
        assert_eq!(found(&shown.body, &untold), [(KEY, 1), (DOUBT_KEY, 1)], "when it is asked for");
        for refused in &answers[2..6] {
            assert_eq!(found(&refused.body, &untold), [], "{rule} {refused:?}");
        }
        let said = gateway.stop().join("\n");
        assert!(said.matches("keyed request").count() >= 6, "{said}");
        assert_eq!(found(said.as_bytes(), &untold), [], "{rule}: the log at `trace`");

        let data = path.to_str().unwrap();
        for command in [&["list"][..], &["stats"], &["verify"], &["list", "--json"]] {
            let (code, out, err) = onceward(&[command, &["--data", data]].concat());
            assert_eq!(
                (code, found(out.as_bytes(), &untold)),
                (0, vec![]),
                "{command:?} {out} {err}"
            );
            assert_eq!(found(err.as_bytes(), &untold), [], "{command:?}");
        }

        let kept = all_octets(&path);
        let mut never = vec![PRINCIPAL, TOKEN, COOKIE_SENT, QUERY, REQUEST_BODY, BAD_KEY];
        never.extend(values_of(&NOT_KEPT));
        never.extend(["set-cookie", "Set-Cookie", "authentication-info"]);
        assert_eq!(found(&kept, &never), [], "{rule}: on disk");
        // SECURITY.md says that keys and responses are kept as they are; and the search does find.
        for may in [KEY, DOUBT_KEY, RESPONSE_BODY, "kept-one", "kept-two", "kept-three"] {
            assert!(!found(&kept, &[may]).is_empty(), "{may}");
        }
    }
}

/// D12: HTTP/2 is another parser, with words of its own for the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_no_canary_that_came_over_http_2_is_in_the_log() {
    let upstream = upstream();
    let (url, parent) = (upstream.url(), tempfile::tempdir().unwrap());
    let path = parent.path().join("data");
    let gateway = tokio::task::spawn_blocking(move || {
        Gateway::over(&path, &url, &["--principal", "header:X-Account", "--log", "trace"])
    });
    let gateway = gateway.await.unwrap();
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for key in [KEY, KEY, BAD_KEY, DOUBT_KEY] {
        let path = if key == DOUBT_KEY { "break" } else { "v1" };
        let request = http::Request::post(format!("http://api.example/{path}?q={QUERY}"))
            .header("idempotency-key", key)
            .header("x-account", PRINCIPAL)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("cookie", COOKIE_SENT)
            .body(Full::new(Bytes::from(REQUEST_BODY)))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    drop(client);
    let said = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap().join("\n");
    connection.await.unwrap().unwrap();
    assert!(said.matches("keyed request").count() >= 3, "{said}");
    assert_eq!(found(said.as_bytes(), &UNTOLD), [], "the log at `trace`");
    assert_eq!(found(said.as_bytes(), &values_of(&NOT_KEPT)), [], "nor of the response");
}

/// The first client gets every field; whoever repeats the request gets none that hands out a
/// credential (C27, C29).
#[test]
fn c27_c29_credentials_reach_the_first_client_and_no_replay() {
    let upstream = upstream();
    let gateway = Gateway::start(&upstream.url(), &["--principal", "header:X-Account"]);
    let answers = one_of_each(&gateway);
    let (first, replay) = (&answers[0], &answers[1]);
    assert_eq!(replay.one("idempotency-replayed"), "true");
    for (name, value) in &NOT_KEPT[..5] {
        let name = name.to_ascii_lowercase();
        assert!(first.all(&name).contains(value), "{name} in {first:?}");
        assert!(replay.all(&name).is_empty(), "{name} in {replay:?}");
    }
    for answer in [first, replay] {
        assert!(answer.all("x-named").is_empty(), "C27: it is about one connection: {answer:?}");
        assert_eq!(answer.all("x-kept"), ["kept-one", "kept-two"]);
        assert_eq!(answer.one("location"), "/v1/sites/kept-three");
        assert_eq!(answer.text(), RESPONSE_BODY);
    }
    for refused in &answers[2..4] {
        assert_eq!(refused.one("cache-control"), "no-store", "D12: {refused:?}");
        assert!(refused.all("idempotency-replayed").is_empty(), "{refused:?}");
    }
}
