//! The HTTP layer over the embedded store: what is on disk is what the API answers.
#![cfg(all(feature = "http", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::post;
use axum::{Router, body};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use onceward::http::{IdempotencyLayer, Mismatch, Profile};
use onceward::{ManualClock, Options, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify, Semaphore};
use tower::ServiceExt;

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than anything takes on a busy machine. Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
const PAYLOAD_MAX: usize = 64 << 10;

/// What the handler counts, and waits for when the request bears `X-Held`.
#[derive(Default)]
struct Desk {
    runs: AtomicUsize,
    arrived: Notify,
    go: Notify,
}

async fn create(State(desk): State<Arc<Desk>>, parts: Parts) -> Response {
    let n = desk.runs.fetch_add(1, Ordering::SeqCst) + 1;
    if parts.headers.contains_key("x-held") {
        desk.arrived.notify_one();
        desk.go.notified().await;
    }
    let mut body = format!("{{\"n\":{n}}}\n").into_bytes();
    if parts.headers.contains_key("x-large") {
        body.resize(PAYLOAD_MAX + 1, b'x');
    } else {
        body.extend(0..=u8::MAX);
    }
    let location = format!("/things/{n}");
    let headers = [("x-part", "one"), ("location", &*location), ("x-part", "two, three")];
    (StatusCode::CREATED, AppendHeaders(headers), body).into_response()
}

/// An API under one profile on a store of its own, which can be closed and opened again.
struct Api {
    directory: tempfile::TempDir,
    profile: Profile,
    clock: ManualClock,
    desk: Arc<Desk>,
    store: Store,
    app: Router,
}

impl Api {
    fn new(profile: Profile) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (clock, desk) = (ManualClock::new(1_700_000_000_000), Arc::<Desk>::default());
        let (store, app) = open(&data(directory.path()), &profile, &clock, &desk);
        Self { directory, profile, clock, desk, store, app }
    }

    fn reopen(&mut self) {
        self.store.close().unwrap();
        let data = data(self.directory.path());
        (self.store, self.app) = open(&data, &self.profile, &self.clock, &self.desk);
    }

    fn runs(&self) -> usize {
        self.desk.runs.load(Ordering::SeqCst)
    }

    /// A keyed request, as a client of this profile makes it.
    fn request(&self, key: &str, text: &'static str) -> Request<body::Body> {
        let key = if self.profile.name == "ietf" { format!("\"{key}\"") } else { key.to_owned() };
        Request::post("/api/public/v1/projects")
            .header(&self.profile.header, key)
            .body(text.into())
            .unwrap()
    }

    async fn send(&self, key: &str) -> Reply {
        Reply::of(self.app.clone(), self.request(key, "{}")).await
    }

    async fn send_with(&self, key: &str, header: &'static str) -> Reply {
        let mut request = self.request(key, "{}");
        request.headers_mut().insert(header, "yes".parse().unwrap());
        Reply::of(self.app.clone(), request).await
    }

    /// How this profile says `code`: `code` in its own spelling.
    fn code(&self, code: &str) -> String {
        let underscored = code.replace('-', "_");
        match &*self.profile.name {
            "managed-dev" => format!("\"code\":\"idempotency.{underscored}\""),
            "oec" => format!("\"error\":\"idempotency_{underscored}\""),
            _ => format!("\"code\":\"{code}\""),
        }
    }

    /// The status of what cannot be retried.
    fn final_status(&self) -> u16 {
        if self.profile.name == "oec" { 500 } else { 409 }
    }
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn open(data: &Path, profile: &Profile, clock: &ManualClock, desk: &Arc<Desk>) -> (Store, Router) {
    let options = Options::new().max_payload(PAYLOAD_MAX as u64).clock(clock.clone());
    let store = options.open(data).unwrap();
    let layer = IdempotencyLayer::new(store.clone()).profile(profile.clone()).single_tenant();
    let app = Router::new()
        .route("/api/public/v1/projects", post(create))
        .route_layer(layer)
        .with_state(Arc::clone(desk));
    (store, app)
}

/// A response that was read to its end.
#[derive(Debug, PartialEq)]
struct Reply {
    status: u16,
    /// Without `Date` and the marker.
    headers: Vec<(String, Vec<u8>)>,
    replayed: bool,
    body: Vec<u8>,
}

impl Reply {
    async fn of(app: Router, request: Request<body::Body>) -> Self {
        let answered = async {
            let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
            (parts, body.collect().await.unwrap().to_bytes().to_vec())
        };
        let (parts, body) = tokio::time::timeout(PATIENCE, answered).await.unwrap();
        let replayed = parts.headers.keys().any(|name| name.as_str().ends_with("replayed"));
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value));
        let headers = headers
            .filter(|(name, _)| name != "date" && !name.ends_with("replayed"))
            .map(|(name, value)| (name, value.as_bytes().to_vec()))
            .collect();
        Self { status: parts.status.as_u16(), headers, replayed, body }
    }

    /// Whether it is what `first` was, octet for octet.
    #[track_caller]
    fn replays(&self, first: &Self) {
        assert_eq!((self.status, &self.headers), (first.status, &first.headers));
        assert_eq!(self.body, first.body);
    }

    fn all(&self, name: &str) -> Vec<&[u8]> {
        let values = self.headers.iter().filter(|(field, _)| field == name);
        values.map(|(_, value)| &**value).collect()
    }

    #[track_caller]
    fn refuses(&self, status: u16, code: &str) {
        let text = self.body.escape_ascii().to_string().replace("\\\"", "\"");
        assert_eq!(self.status, status, "{text}");
        assert!(text.contains(code), "{code} in {text}");
        assert!(!self.replayed);
    }
}

#[tokio::test]
async fn a_retry_gets_the_first_responses_octets_also_after_the_store_was_opened_again() {
    for profile in Profile::all() {
        let mut api = Api::new(profile);
        let first = api.send("k").await;
        assert_eq!((first.status, first.replayed), (201, false));
        assert_eq!(first.all("x-part"), [&b"one"[..], b"two, three"]);
        let marked = api.profile.marker.is_some();
        for _ in 0..2 {
            let again = api.send("k").await;
            again.replays(&first);
            assert_eq!(again.replayed, marked, "{}", api.profile.name);
            api.reopen();
        }
        api.send("k").await.replays(&first);
        assert_eq!(api.runs(), 1);
        assert_eq!(api.send("other").await.status, 201);
        assert_eq!(api.runs(), 2, "M12");
    }
}

#[tokio::test]
async fn another_request_with_the_key_is_refused_also_after_the_store_was_opened_again() {
    for profile in Profile::all() {
        let mut api = Api::new(profile);
        let first = api.send("k").await;
        for _ in 0..2 {
            let changed = Reply::of(api.app.clone(), api.request("k", "{ }")).await;
            match api.profile.mismatch {
                Mismatch::Replay => changed.replays(&first),
                Mismatch::Reject(status) => {
                    changed.refuses(status.as_u16(), &api.code("key-reused"));
                }
            }
            assert_eq!(api.runs(), 1);
            api.reopen();
        }
        api.send("k").await.replays(&first);
    }
}

#[tokio::test]
async fn a_duplicate_is_refused_while_the_first_is_at_work() {
    for profile in Profile::all() {
        let api = Api::new(profile);
        let at_work = async {
            api.desk.arrived.notified().await;
            let duplicate = api.send("k").await;
            assert_eq!(duplicate.status, 409, "{duplicate:?}");
            assert_eq!(duplicate.all("retry-after"), [b"1"]);
            api.desk.go.notify_one();
        };
        let (first, ()) = tokio::join!(api.send_with("k", "x-held"), at_work);
        assert_eq!(first.status, 201);
        api.send("k").await.replays(&first);
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn work_that_outlived_the_store_is_in_doubt_when_the_store_is_back() {
    for profile in Profile::all() {
        let mut api = Api::new(profile);
        let closing = async {
            api.desk.arrived.notified().await;
            api.store.close().unwrap();
            api.send("another").await.refuses(503, "unavailable");
            api.desk.go.notify_one();
        };
        let (first, ()) = tokio::join!(api.send_with("k", "x-held"), closing);
        first.refuses(500, &api.code("outcome-unknown"));
        for _ in 0..2 {
            api.reopen();
            let again = api.send("k").await;
            again.refuses(api.final_status(), &api.code("outcome-unknown"));
            assert!(again.all("retry-after").is_empty());
        }
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn a_response_larger_than_a_payload_reaches_its_client_and_is_known_to_be_missing() {
    for profile in Profile::all() {
        let mut api = Api::new(profile);
        let first = api.send_with("k", "x-large").await;
        assert_eq!((first.status, first.body.len()), (201, PAYLOAD_MAX + 1));
        for _ in 0..2 {
            let again = api.send_with("k", "x-large").await;
            again.refuses(api.final_status(), &api.code("response-not-retained"));
            assert_eq!(again.all("location"), [b"/things/1"]);
            api.reopen();
        }
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn a_result_lives_its_time_from_its_completion_also_across_openings() {
    for profile in Profile::all() {
        let mut api = Api::new(profile);
        let working = async {
            api.desk.arrived.notified().await;
            api.clock.advance(3 * DAY);
            assert_eq!(api.send("k").await.status, 409, "C41: a live operation does not expire");
            api.desk.go.notify_one();
        };
        let (first, ()) = tokio::join!(api.send_with("k", "x-held"), working);
        let half = api.profile.ttl / 2;
        api.clock.advance(half);
        api.reopen();
        api.clock.advance(half);
        api.send("k").await.replays(&first);
        api.clock.advance(Duration::from_millis(1));
        let fresh = api.send("k").await;
        assert_eq!((fresh.status, fresh.replayed, api.runs()), (201, false, 2));
        assert_eq!(fresh.all("location"), [b"/things/2"]);
        api.reopen();
        api.send("k").await.replays(&fresh);
    }
}

/// Serves `app` on a free port.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Sends octets on a connection of their own and reads to its end.
async fn exchange(address: SocketAddr, request: &str) -> Vec<u8> {
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(PATIENCE, exchanged).await.unwrap()
}

/// A response's octets without its date and marker, and whether it had the marker.
fn compared(answer: &[u8]) -> (Vec<u8>, bool) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let differs = |line: &str| line.starts_with("date: ") || line.starts_with("idempotency-replay");
    let kept: Vec<&str> = head.split("\r\n").filter(|line| !differs(line)).collect();
    let octets = [kept.join("\r\n").as_bytes(), &answer[end..]].concat();
    (octets, head.contains("\r\nidempotency-replayed: true"))
}

const TASKS: usize = 64;

// Sixty-four impatient clicks on one button, each on a connection of its own. In half of the rounds
// the first is kept at work until all others were answered.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_that_claim_one_key_at_once_exactly_one_executes() {
    let api = Api::new(Profile::standard());
    let address = serve(api.app.clone()).await;
    for round in 0..20 {
        let held = round % 2 == 0;
        let request = format!(
            "POST /api/public/v1/projects HTTP/1.1\r\nhost: a.example\r\nidempotency-key: k-{round}\
             \r\nconnection: close\r\n{}content-length: 2\r\n\r\n{{}}",
            if held { "x-held: yes\r\n" } else { "" }
        );
        let (together, others) = (Arc::new(Barrier::new(TASKS)), Arc::new(Semaphore::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (request, together) = (request.clone(), Arc::clone(&together));
                let others = Arc::clone(&others);
                tokio::spawn(async move {
                    together.wait().await;
                    let answer = exchange(address, &request).await;
                    others.add_permits(1);
                    answer
                })
            })
            .collect();
        if held {
            let all_others = others.acquire_many(TASKS as u32 - 1);
            let permits = tokio::time::timeout(PATIENCE, all_others).await.unwrap().unwrap();
            // The others may all have been answered before the one that was granted began.
            tokio::time::timeout(PATIENCE, api.desk.arrived.notified()).await.unwrap();
            assert_eq!(api.runs(), round + 1);
            drop(permits);
            api.desk.go.notify_one();
        }
        let (mut fresh, mut replays, mut in_flight) = (Vec::new(), Vec::new(), 0);
        for task in tasks {
            let answer = task.await.unwrap();
            let (octets, replayed) = compared(&answer);
            if answer.starts_with(b"HTTP/1.1 409 ") {
                let text = String::from_utf8(answer).unwrap();
                assert!(text.contains("\"code\":\"in-progress\""), "{text}");
                in_flight += 1;
            } else if replayed {
                replays.push(octets);
            } else {
                assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", answer.escape_ascii());
                fresh.push(octets);
            }
        }
        assert_eq!(fresh.len(), 1, "exactly one is the first");
        assert!(replays.iter().all(|replay| *replay == fresh[0]));
        assert_eq!(fresh.len() + replays.len() + in_flight, TASKS);
        assert!(!held || in_flight == TASKS - 1, "{in_flight}");
        assert_eq!(api.runs(), round + 1, "exactly one execution");
        let (again, replayed) = compared(&exchange(address, &request).await);
        assert!(replayed && again == fresh[0], "{}", again.escape_ascii());
    }
}

/// C36: damage that may hide any key is the store's fault, and no fault of a key that nobody used.
#[tokio::test]
async fn c36_damage_that_may_hide_any_key_is_no_damaged_record_of_a_key_never_used() {
    for profile in Profile::all() {
        let mut api = Api::new(profile);
        let first = api.send("known").await;
        for key in ["hurt-by-the-disk", "later"] {
            assert_eq!(api.send(key).await.status, 201);
        }
        api.store.close().unwrap();
        let directory = data(api.directory.path());
        std::fs::remove_file(directory.join("tree.redb")).unwrap();
        let segment = directory.join("segments/0000000001.log");
        let mut octets = std::fs::read(&segment).unwrap();
        let key = b"hurt-by-the-disk";
        let at = octets.windows(key.len()).position(|window| window == key).unwrap();
        octets[at] ^= 1;
        std::fs::write(&segment, octets).unwrap();
        api.reopen();
        assert!(api.store.stats().suspect_until_ms.is_some(), "{}", api.profile.name);

        let refused = api.send("never-used").await;
        let code = api.code("store-unavailable").replace("idempotency_store", "store");
        refused.refuses(503, &code);
        let json: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
        let error = json.get("error").filter(|it| it.is_object()).unwrap_or(&json);
        assert_eq!((&error["retryable"], api.runs()), (&true.into(), 3), "{json}");
        assert!(!refused.all("retry-after").is_empty());
        api.send("known").await.replays(&first);
        assert_eq!(api.runs(), 3);
    }
}
