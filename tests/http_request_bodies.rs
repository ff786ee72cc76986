//! Request bodies (C11, C13 to C15): in memory, in a file, as a stream; and requests that are
//! refused before they are read.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use onceward::http::{
    Body, Canonical, Decision, IdempotencyLayer, InFlight, KeyDigest, Mismatch, Outcome,
    OversizeRequest, Profile,
};
use onceward::{Backend, ErrorKind, Key, Resolution, Resolved, State, Store};
use support::memory::{Fail, Memory};
use support::stream::{channel, data, endless, pieces, trailer, untouchable};
use support::{Api, Reply, account, created, keyed, oec, post};
use tokio::sync::{Notify, Semaphore};
use tower::{Layer, ServiceExt};

/// Longer than anything takes on a busy machine. Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A profile that holds 1,000 octets in memory and reads 5,000 before a claim.
fn small() -> Profile {
    let mut profile = Profile::standard();
    (profile.request_octets_in_memory, profile.request_octets_max) = (1_000, 5_000);
    profile
}

fn streaming() -> Profile {
    let mut profile = small();
    profile.oversize_request = OversizeRequest::Stream;
    profile
}

fn things(body: Body) -> Request<Body> {
    keyed("POST", "/things", "k").body(body).unwrap()
}

/// `octets` in pieces of this size, of a length nobody knows beforehand.
fn chunked(octets: &[u8], size: usize) -> Body {
    pieces(octets.chunks(size).map(|chunk| data(chunk.to_vec())))
}

/// Octets of which no two stretches are alike.
fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ at >> 8) as u8).collect()
}

fn same_but_for(octets: &[u8], at: usize) -> Vec<u8> {
    let mut changed = octets.to_vec();
    changed[at] ^= 1;
    changed
}

async fn read(request: Request<Body>) -> Bytes {
    request.into_body().collect().await.unwrap().to_bytes()
}

/// How many files in `directory` this process has open, named or not.
fn open_files(directory: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(directory))
        .count()
}

fn spooling<H, F>(profile: Profile, directory: &Path, handler: H) -> Api
where
    H: Fn(usize, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Api::layered(|layer| layer.profile(profile).principal(account).spool_dir(directory), handler)
}

#[tokio::test]
async fn c13_what_memory_does_not_hold_waits_in_a_file_without_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let (seen, files) = (Arc::new(parking_lot::Mutex::new(Vec::new())), path.clone());
    let handler_seen = Arc::clone(&seen);
    let api = spooling(small(), &path, move |n, request| {
        let (seen, files) = (Arc::clone(&handler_seen), files.clone());
        async move {
            assert_eq!(std::fs::read_dir(&files).unwrap().count(), 0, "no name");
            let (spooled, body) = (open_files(&files), request.into_body());
            let length = body.size_hint().exact();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned();
            seen.lock().push((spooled, length, trailers, body.to_bytes()));
            created(n)
        }
    });
    for (count, spooled) in [(0, 0), (1_000, 0), (1_001, 1), (5_000, 1)] {
        for (size, trails) in [(1, true), (7, false), (999, true), (1_000, false), (5_000, true)] {
            let body = octets(count);
            let mut frames: Vec<_> = body.chunks(size).map(|chunk| data(chunk.to_vec())).collect();
            frames.extend(trails.then(|| trailer("x-sum", "7")));
            let key = format!("{count}-{size}");
            let request = keyed("POST", "/things", &key).body(pieces(frames)).unwrap();
            assert_eq!(api.send(request).await.status, 201);
            let (files, length, trailers, read) = seen.lock().pop().unwrap();
            // A frame that crosses the limit goes to the file whole.
            assert_eq!(files, spooled, "{count} octets in pieces of {size}");
            let known = (!trails).then_some(count as u64);
            assert_eq!(length, known, "over HTTP/1.1, trailers follow where no length is said");
            assert_eq!(trailers.is_some_and(|trailers| trailers["x-sum"] == "7"), trails);
            assert!(read == body, "{count} octets in pieces of {size}");
            assert_eq!(open_files(&path), 0, "closed when it was read");
        }
    }
}

#[tokio::test]
async fn m16_c13_a_spooled_body_is_compared_octet_by_octet() {
    let api = Api::new(small());
    let body = octets(5_000);
    assert_eq!(api.send(things(chunked(&body, 100))).await.decision, Some(Decision::Fresh));
    for again in [chunked(&body, 777), Body::full(body.clone())] {
        let reply = api.send(things(again)).await;
        assert_eq!((reply.seen(), reply.decision), ((201, "{\"n\":1}"), Some(Decision::Replayed)));
    }
    for at in [0, 999, 1_000, 4_999] {
        let reply = api.send(things(chunked(&same_but_for(&body, at), 100))).await;
        assert_eq!(reply.decision, Some(Decision::Mismatch), "octet {at}");
    }
    assert_eq!(api.send(things(chunked(&body[..4_999], 100))).await.status, 422);
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c13_a_spool_that_fails_is_an_unavailable_store_and_claims_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for profile in [small(), streaming()] {
        let api = spooling(profile, &missing, |n, _| async move { created(n) });
        for count in [1_001, 5_000, 6_000] {
            let reply = api.send(things(chunked(&octets(count), 100))).await;
            assert_eq!((reply.status.as_u16(), reply.decision), (503, Some(Decision::StoreFailed)));
            assert_eq!(reply.json()["code"], "store-unavailable");
            assert!(reply.headers.contains_key("retry-after"));
        }
        assert_eq!((api.runs(), api.store.lookups()), (0, 0));
        assert_eq!(api.send(things(chunked(&octets(1_000), 100))).await.status, 201);
    }
}

#[tokio::test]
async fn c15_a_body_that_breaks_off_in_the_file_never_claims() {
    let directory = tempfile::tempdir().unwrap();
    let api = spooling(small(), directory.path(), |n, _| async move { created(n) });
    let broken = pieces([data(octets(2_000)), Err("cut off".into())]);
    assert_eq!(api.send(things(broken)).await.status, 400);
    assert_eq!((api.runs(), api.store.lookups()), (0, 0));
    assert_eq!(open_files(directory.path()), 0);
}

#[tokio::test]
async fn c11_json_is_the_same_request_however_it_is_written() {
    let mut profile = Profile::standard();
    profile.canonical = Canonical::Json;
    let sent = Arc::new(parking_lot::Mutex::new(Bytes::new()));
    let api = Api::with(profile, {
        let sent = Arc::clone(&sent);
        move |n, request| {
            let sent = Arc::clone(&sent);
            async move {
                *sent.lock() = read(request).await;
                created(n)
            }
        }
    });
    let send = |body: &'static str| {
        let request = keyed("POST", "/things", "k").header("content-type", "application/json");
        api.send(request.body(Body::full(body)).unwrap())
    };
    let first = r#"{ "amount": 10.0, "to": "caf\u00e9" }"#;
    assert_eq!(send(first).await.decision, Some(Decision::Fresh));
    assert_eq!(*sent.lock(), first, "the handler gets what was sent");
    assert_eq!(send(r#"{"to":"café","amount":1e1}"#).await.decision, Some(Decision::Replayed));
    for other in [
        r#"{"amount":10.01,"to":"café"}"#,
        r#"{"amount":"10","to":"café"}"#,
        r#"{"amount":10,"to":"café","to":"café"}"#,
        r#"{"amount":10,"to":"café""#,
    ] {
        assert_eq!(send(other).await.decision, Some(Decision::Mismatch), "{other}");
    }
}

/// An API that streams, whose handler reads all of a body, says when it starts, and answers with
/// what it read when it is let.
struct Gated {
    api: Api,
    started: Arc<Notify>,
    gate: Arc<Semaphore>,
}

fn gated(profile: Profile) -> Gated {
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let api = Api::with(profile, {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        move |n, request| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                started.notify_one();
                let body = read(request).await;
                gate.acquire().await.unwrap().forget();
                answer(n, &body)
            }
        }
    });
    Gated { api, started, gate }
}

fn answer(n: usize, body: &[u8]) -> Response<Body> {
    Response::builder().status(201).body(Body::full(format!("run {n}: {}", body.len()))).unwrap()
}

/// An API that streams, and reads all of a body.
fn reading(profile: Profile) -> Api {
    Api::with(profile, |n, request| async move { answer(n, &read(request).await) })
}

fn spawn(api: &Api, request: Request<Body>) -> tokio::task::JoinHandle<Reply> {
    let api = api.clone();
    tokio::spawn(async move { api.send(request).await })
}

#[tokio::test]
async fn c13_a_streamed_request_is_replayed_to_the_same_body_alone() {
    let api = reading(streaming());
    let body = octets(20_000);
    let first = api.send(things(Body::full(body.clone()))).await;
    assert_eq!((first.seen(), first.decision), ((201, "run 1: 20000"), Some(Decision::Fresh)));
    // Announced or not, in whatever pieces.
    for again in [Body::full(body.clone()), chunked(&body, 100), chunked(&body, 3_000)] {
        let reply = api.send(things(again)).await;
        assert_eq!(reply.seen(), (201, "run 1: 20000"));
        assert_eq!(reply.decision, Some(Decision::Replayed));
    }
    for other in [
        Body::full(same_but_for(&body, 0)),
        Body::full(same_but_for(&body, 19_999)),
        chunked(&same_but_for(&body, 5_500), 100),
        Body::full(body[..19_999].to_vec()),
        Body::full(body[..100].to_vec()),
        Body::empty(),
    ] {
        let reply = api.send(things(other)).await;
        assert_eq!((reply.status.as_u16(), reply.decision), (422, Some(Decision::Mismatch)), "M16");
    }
    let elsewhere = keyed("POST", "/others", "k").body(Body::full(body)).unwrap();
    assert_eq!(api.send(elsewhere).await.decision, Some(Decision::Mismatch), "C9");
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c13_a_body_of_unknown_length_is_streamed_from_where_it_is_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let handler = |n, request| async move { answer(n, &read(request).await) };
    let api = spooling(streaming(), directory.path(), handler);
    let body = octets(20_000);
    assert_eq!(api.send(things(chunked(&body, 100))).await.seen(), (201, "run 1: 20000"));
    assert_eq!(api.send(things(Body::full(body))).await.decision, Some(Decision::Replayed));
    assert_eq!(open_files(directory.path()), 0);
    let echo = spooling(streaming(), directory.path(), |_, request| async move {
        Response::new(Body::full(read(request).await))
    });
    let body = octets(20_000);
    assert_eq!(echo.send(things(chunked(&body, 999))).await.body, body, "in order, nothing lost");
}

#[tokio::test]
async fn c13_the_handler_runs_before_the_body_has_come_and_sees_its_trailers() {
    let seen = Arc::new(Notify::new());
    let api = Api::with(streaming(), {
        let seen = Arc::clone(&seen);
        move |n, request| {
            let seen = Arc::clone(&seen);
            async move {
                let mut body = request.into_body();
                let begun = body.frame().await.unwrap().unwrap().into_data().unwrap();
                seen.notify_one();
                let rest = body.collect().await.unwrap();
                assert_eq!(rest.trailers().unwrap()["x-sum"], "7");
                answer(n, &[begun, rest.to_bytes()].concat())
            }
        }
    });
    let (sender, body) = channel();
    sender.send(data(octets(6_000))).unwrap();
    let request = spawn(&api, things(body));
    seen.notified().await;
    sender.send(data("the rest")).unwrap();
    sender.send(trailer("x-sum", "7")).unwrap();
    drop(sender);
    assert_eq!(request.await.unwrap().seen(), (201, "run 1: 6008"));
}

#[tokio::test]
async fn c13_until_the_hash_is_known_a_duplicate_is_in_flight_whatever_its_body() {
    let Gated { api, started, gate } = gated(streaming());
    let body = octets(20_000);
    let first = spawn(&api, things(Body::full(body.clone())));
    started.notified().await;
    for duplicate in [
        Body::full(body.clone()),
        Body::full(same_but_for(&body, 0)),
        chunked(&body, 100),
        Body::full("short"),
    ] {
        let reply = api.send(things(duplicate)).await;
        assert_eq!((reply.status.as_u16(), reply.decision), (409, Some(Decision::InFlight)));
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    // Another target is another request, whatever the body turns out to be (C38).
    let elsewhere = keyed("POST", "/others", "k").body(Body::full(body.clone())).unwrap();
    assert_eq!(api.send(elsewhere).await.decision, Some(Decision::Mismatch));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().seen(), (201, "run 1: 20000"));
    assert_eq!(api.send(things(Body::full(body.clone()))).await.seen(), (201, "run 1: 20000"));
    assert_eq!(api.send(things(Body::full(same_but_for(&body, 0)))).await.status, 422);
}

#[tokio::test]
async fn c13_c14_an_endless_duplicate_is_read_for_a_bounded_while_and_one_that_waits_not_at_all() {
    let Gated { api, started, gate } = gated(streaming());
    let first = spawn(&api, things(Body::full(octets(20_000))));
    started.notified().await;
    let (taken, body) = endless();
    assert_eq!(api.send(things(body)).await.status, 409);
    let taken = taken.load(std::sync::atomic::Ordering::SeqCst);
    assert!((1 << 20..(1 << 20) + 10_000).contains(&taken), "{taken} octets were taken");
    let waiting = keyed("POST", "/things", "k").header("expect", "100-continue");
    let reply = api.send(waiting.body(untouchable(1 << 40)).unwrap()).await;
    assert_eq!(reply.decision, Some(Decision::InFlight));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
}

#[tokio::test]
async fn c37_a_duplicate_of_a_streamed_request_can_wait() {
    let mut profile = streaming();
    profile.in_flight = InFlight::Wait(Duration::MAX);
    let Gated { api, started, gate } = gated(profile);
    let body = octets(20_000);
    let first = spawn(&api, things(Body::full(body.clone())));
    started.notified().await;
    let same = spawn(&api, things(Body::full(body.clone())));
    let other = spawn(&api, things(Body::full(same_but_for(&body, 7))));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().seen(), (201, "run 1: 20000"));
    assert_eq!(same.await.unwrap().seen(), (201, "run 1: 20000"));
    assert_eq!(other.await.unwrap().decision, Some(Decision::Mismatch));
}

#[tokio::test]
async fn c13_what_the_handler_leaves_unread_counts() {
    for announced in [true, false] {
        let api = Api::with(streaming(), |n, _| async move { answer(n, b"") });
        let send = |octets: &[u8]| {
            let body = if announced { Body::full(octets.to_vec()) } else { chunked(octets, 700) };
            api.send(things(body))
        };
        let body = octets(20_000);
        assert_eq!(send(&body).await.decision, Some(Decision::Fresh));
        assert_eq!(send(&body).await.decision, Some(Decision::Replayed));
        for at in [0, 4_999, 19_999] {
            assert_eq!(send(&same_but_for(&body, at)).await.decision, Some(Decision::Mismatch));
        }
    }
}

#[tokio::test]
async fn c13_a_result_is_stored_when_the_request_has_come_whole_and_not_before() {
    let api = Api::with(streaming(), |n, _| async move { answer(n, b"") });
    let (sender, body) = channel();
    sender.send(data(octets(6_000))).unwrap();
    let request = spawn(&api, things(body));
    while api.runs() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(api.store.states(), [State::InFlight]);
    sender.send(data("the rest")).unwrap();
    drop(sender);
    assert_eq!(request.await.unwrap().decision, Some(Decision::Fresh));
    let mut whole = octets(6_000);
    whole.extend(b"the rest");
    assert_eq!(api.send(things(Body::full(whole))).await.decision, Some(Decision::Replayed));
}

#[tokio::test]
async fn c13_a_streamed_body_that_breaks_off_is_the_handlers_to_judge() {
    for (said, decision, state) in [
        (None, Decision::StoreFailed, Some(State::InDoubt)),
        (Some(Outcome::NotExecuted), Decision::Released, None),
        (Some(Outcome::Unknown), Decision::LeftInDoubt, Some(State::InDoubt)),
    ] {
        for reads in [true, false] {
            let api = Api::with(streaming(), move |_, request| async move {
                if reads {
                    let error = request.into_body().collect().await.unwrap_err();
                    assert_eq!(error.to_string(), "cut off", "the handler sees it");
                }
                let mut response = Response::builder().status(400).body(Body::empty()).unwrap();
                response.extensions_mut().extend(said.map(extension).unwrap_or_default());
                response
            });
            let broken = pieces([data(octets(6_000)), Err("cut off".into())]);
            let reply = api.send(things(broken)).await;
            assert_eq!(reply.decision, Some(decision), "{said:?}, read: {reads}");
            let left: Vec<_> = state.into_iter().collect();
            assert_eq!(api.store.states(), left, "{said:?}, read: {reads}");
        }
    }
}

fn extension(outcome: Outcome) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(outcome);
    extensions
}

#[tokio::test]
async fn c34_a_crash_while_a_request_streams_leaves_its_outcome_unknown() {
    let Gated { api, started, gate } = gated(streaming());
    let body = octets(20_000);
    let first = spawn(&api, things(Body::full(body.clone())));
    started.notified().await;
    api.store.crash();
    // Nobody knows what the first one's body would have been.
    for retry in [Body::full(body.clone()), Body::full(same_but_for(&body, 0)), Body::full("{}")] {
        let reply = api.send(things(retry)).await;
        assert_eq!((reply.status.as_u16(), reply.decision), (409, Some(Decision::InDoubt)));
    }
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 500, "the ticket is fenced");
    assert_eq!((api.runs(), api.store.states()), (1, vec![State::InDoubt]));
    // Whoever resolves it vouches for the result, and the target alone is compared.
    let digest =
        *api.respond(things(Body::full("{}"))).await.extensions().get::<KeyDigest>().unwrap();
    let key = Key::new(&digest.scope, "k").unwrap();
    let result = onceward::http::StoredResponse::new(
        http::StatusCode::CREATED,
        http::HeaderMap::new(),
        Bytes::from_static(b"resolved"),
    );
    let resolution = Resolution::Complete(result.encode());
    assert_eq!(api.store.resolve(key, resolution).await.unwrap(), Resolved::Done);
    for retry in [Body::full(body.clone()), Body::full("{}")] {
        assert_eq!(api.send(things(retry)).await.seen(), (201, "resolved"));
    }
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c13_a_limit_that_has_changed_makes_no_retry_another_request() {
    let body = octets(20_000);
    let mut large = Profile::standard();
    large.oversize_request = OversizeRequest::Stream;
    for (before, after) in [(large.clone(), streaming()), (streaming(), large.clone())] {
        let handler = |n, request| async move { answer(n, &read(request).await) };
        let over = |store: Memory, profile| {
            Api::over(store, |layer| layer.profile(profile).principal(account), handler)
        };
        let first = over(Memory::default(), before);
        assert_eq!(first.send(things(Body::full(body.clone()))).await.status, 201);
        let api = over(first.store.clone(), after);
        let reply = api.send(things(Body::full(body.clone()))).await;
        assert_eq!(
            (reply.seen(), reply.decision),
            ((201, "run 1: 20000"), Some(Decision::Replayed))
        );
        let other = api.send(things(Body::full(same_but_for(&body, 19_999)))).await;
        assert_eq!(other.decision, Some(Decision::Mismatch));
        assert_eq!(api.runs(), 0);
    }
}

#[tokio::test]
async fn c24_a_streamed_request_can_leave_a_tombstone() {
    let mut profile = streaming();
    profile.response_octets_max = 10;
    let body = octets(20_000);
    for (profile, fail) in [
        (profile, Fail::default()),
        (
            streaming(),
            Fail { complete_refused: Some(ErrorKind::PayloadTooLarge), ..Fail::default() },
        ),
    ] {
        let api = reading(profile);
        api.store.fail(fail);
        let first = api.send(things(Body::full(body.clone()))).await;
        assert_eq!(first.seen(), (201, "run 1: 20000"));
        assert_eq!(first.decision, Some(Decision::FreshNotRetained));
        let retry = api.send(things(Body::full(body.clone()))).await;
        assert_eq!(retry.decision, Some(Decision::NotRetained));
        assert_eq!(retry.json()["original_status"], 201);
        let other = api.send(things(Body::full(same_but_for(&body, 9)))).await;
        assert_eq!(other.decision, Some(Decision::Mismatch));
        assert_eq!(api.runs(), 1);
    }
}

/// C25: a handler that answers while it reads would wait forever for a tombstone that waited for
/// the body's end.
#[tokio::test]
async fn c25_a_live_answer_does_not_wait_for_the_end_of_its_request() {
    let api = Api::with(streaming(), |_, request| async move {
        let live = Response::builder().header("content-type", "text/event-stream");
        live.body(request.into_body()).unwrap()
    });
    let (sender, body) = channel();
    sender.send(data(octets(6_000))).unwrap();
    let response = tokio::time::timeout(PATIENCE, api.respond(things(body))).await;
    let response = response.expect("an answer while the request goes on");
    assert_eq!(response.status(), 200);
    assert_eq!(api.store.states(), [State::Complete]);
    sender.send(data("more")).unwrap();
    drop(sender);
    let echoed = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(echoed.len(), 6_004);
    let retry = api.send(things(Body::full(octets(6_004)))).await;
    assert_eq!(retry.decision, Some(Decision::NotRetained));
}

#[tokio::test]
async fn o12_where_bodies_are_not_compared_a_streamed_request_is_not_hashed() {
    let mut profile = Profile::oec();
    profile.request_octets_max = 5_000;
    profile.oversize_request = OversizeRequest::Stream;
    let api = reading(profile);
    let large = |octets: Vec<u8>| oec("/projects", "k", "").map(|_| Body::full(octets));
    assert_eq!(api.send(large(octets(20_000))).await.seen(), (201, "run 1: 20000"));
    assert_eq!(api.send(large(octets(30_000))).await.seen(), (201, "run 1: 20000"));
    let mut untouched = oec("/projects", "k", "").map(|_| untouchable(1 << 40));
    untouched.headers_mut().insert("expect", "100-continue".parse().unwrap());
    assert_eq!(api.send(untouched).await.seen(), (201, "run 1: 20000"), "C14");
    assert_eq!(api.send(oec("/projects", "k", "small")).await.seen(), (201, "run 1: 20000"));
}

/// M17, O12: nobody compares bodies, so nobody has to wait for the rest of one.
#[tokio::test]
async fn m17_o12_where_bodies_are_not_compared_no_rest_of_one_keeps_the_result_waiting() {
    let mut profile = Profile::oec();
    profile.request_octets_max = 5_000;
    profile.oversize_request = OversizeRequest::Stream;
    let (sender, unfinished) = channel();
    for _ in 0..2 {
        sender.send(data(octets(1 << 20))).unwrap();
    }
    let cut_off = pieces([data(octets(6_000)), Err("cut off".into())]);
    for body in [unfinished, cut_off] {
        let api = Api::with(profile.clone(), |n, _| async move { answer(n, b"") });
        let request = oec("/projects", "k", "").map(|_| body);
        let reply = tokio::time::timeout(PATIENCE, api.send(request)).await.unwrap();
        assert_eq!(reply.decision, Some(Decision::Fresh));
        let retry = api.send(oec("/projects", "k", "small")).await;
        assert_eq!(retry.seen(), (201, "run 1: 0"));
    }
}

#[tokio::test]
async fn c14_a_finished_result_is_not_kept_waiting_by_patience() {
    let mut profile = Profile::oec();
    profile.in_flight = InFlight::Wait(Duration::MAX);
    let api = Api::new(profile);
    api.send(oec("/projects", "k", "")).await;
    let (_silent, body) = channel();
    let request = oec("/projects", "k", "").map(|_| body);
    assert_eq!(api.send(request).await.seen(), (201, "{\"n\":1}"));
}

#[tokio::test]
async fn c13_a_result_that_waits_for_nobody_is_found_under_a_profile_that_stopped_comparing() {
    let first = reading(streaming());
    let body = octets(20_000);
    first.send(things(Body::full(body.clone()))).await;
    let mut profile = streaming();
    profile.mismatch = Mismatch::Replay;
    let api = Api::over(
        first.store.clone(),
        |layer| layer.profile(profile).principal(account),
        |n, _| async move { created(n) },
    );
    let other = api.send(things(Body::full(same_but_for(&body, 0)))).await;
    assert_eq!(other.seen(), (201, "run 1: 20000"), "X8");
}

#[tokio::test]
async fn floods_are_refused_before_they_are_read_and_replays_go_on() {
    let api = Api::new(Profile::standard());
    assert_eq!(api.post("known").await.status, 201);
    api.store.fail(Fail { no_room: true, ..Fail::default() });
    let request = keyed("POST", "/things", "new").body(untouchable(10)).unwrap();
    let reply = api.send(request).await;
    assert_eq!((reply.status.as_u16(), reply.decision), (429, Some(Decision::TooManyInFlight)));
    assert_eq!(reply.json()["code"], "too-many-in-flight");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(api.post("known").await.decision, Some(Decision::Replayed));
    let changed = keyed("POST", "/things", "known").body(Body::full("other")).unwrap();
    assert_eq!(api.send(changed).await.decision, Some(Decision::Mismatch));
    let doomed = keyed("POST", "/things", "new").header("expect", "100-continue");
    let reply = api.send(doomed.body(untouchable(1 << 40)).unwrap()).await;
    assert_eq!(reply.status, 413, "what can never be accepted is not told to retry");
    assert_eq!(api.runs(), 1);
}

/// The store's own caps, for a scope and for all of them.
#[tokio::test]
async fn floods_are_counted_by_scope_and_in_all() {
    let directory = tempfile::tempdir().unwrap();
    let options = onceward::Options::new().max_in_flight(2).max_in_flight_per_scope(1);
    let store: Store = options.open(directory.path().join("data")).unwrap();
    let (started, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let service = {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        tower::service_fn(move |_: Request<Body>| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                started.add_permits(1);
                gate.acquire().await.unwrap().forget();
                Ok::<_, std::convert::Infallible>(created(1))
            }
        })
    };
    let service = IdempotencyLayer::new(store.clone()).principal(account).layer(service);
    let send = |account: &str, key: &str, body: Body| {
        let mut request = post(key).map(|_| body);
        request.headers_mut().insert("x-account", account.parse().unwrap());
        let service = service.clone();
        async move { service.oneshot(request).await.unwrap().status().as_u16() }
    };
    let first = tokio::spawn(send("a", "1", Body::full("{}")));
    started.acquire().await.unwrap().forget();
    assert_eq!(send("a", "2", untouchable(10)).await, 429, "the scope is full");
    assert_eq!(send("a", "1", Body::full("{}")).await, 409, "a known key is answered");
    let second = tokio::spawn(send("b", "1", Body::full("{}")));
    started.acquire().await.unwrap().forget();
    assert_eq!(send("c", "1", untouchable(10)).await, 429, "the store is full");
    gate.add_permits(2);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (201, 201));
    gate.add_permits(1);
    assert_eq!(send("c", "1", Body::full("{}")).await, 201, "room has returned");
    store.close().unwrap();
}
