//! What becomes of a key whose work was stopped, broken off or waited for (C31 to C43).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use onceward::State;
use onceward::http::{
    Body, Decision, Doubt, Idempotency, IdempotencyLayer, InFlight, Mismatch, OnCrash,
    OnDisconnect, OnTimeout, Outcome, Profile, Ruling, StoredResponse,
};
use support::memory::{Fail, Memory};
use support::{Api, account, created, keyed, keyless, oec, post, status};
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// An API whose handler says when it starts and when it is dropped, and answers when it is let.
struct Held {
    api: Api,
    started: Arc<Notify>,
    dropped: Arc<Notify>,
    gate: Arc<Semaphore>,
}

/// Rings when it is dropped.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn held(profile: Profile) -> Held {
    let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = Arc::new(Semaphore::new(0));
    let api = Api::with(profile, {
        let (started, dropped, gate) =
            (Arc::clone(&started), Arc::clone(&dropped), Arc::clone(&gate));
        move |n, _| {
            let (started, bell, gate) =
                (Arc::clone(&started), Bell(Arc::clone(&dropped)), Arc::clone(&gate));
            async move {
                let _bell = bell;
                started.notify_one();
                gate.acquire().await.unwrap().forget();
                created(n)
            }
        }
    });
    Held { api, started, dropped, gate }
}

fn in_task(api: &Api, key: &'static str) -> JoinHandle<support::Reply> {
    let api = api.clone();
    tokio::spawn(async move { api.post(key).await })
}

fn after_a_second(on_timeout: OnTimeout) -> Profile {
    let mut profile = Profile::standard();
    (profile.timeout, profile.on_timeout) = (Some(SECOND), on_timeout);
    profile
}

/// A store that is asked and does not answer is one that fails: who asks is told so when the time has
/// passed that a handler has, nothing runs, then or later, and the key is free when the store is back.
#[tokio::test(start_paused = true)]
async fn c36_a_store_that_does_not_answer_in_time_runs_nothing() {
    // It is asked for a claim; whether a key is known, where bodies are not compared; and the same
    // where it has no room.
    for (compares, no_room) in [(true, false), (false, false), (true, true)] {
        let mut profile = after_a_second(OnTimeout::Continue);
        if !compares {
            profile.mismatch = Mismatch::Replay;
        }
        let api = Api::new(profile);
        api.store.fail(Fail { silent: true, no_room, ..Fail::default() });
        let asked = Instant::now();
        let reply = tokio::time::timeout(DAY, api.post("k")).await.unwrap();
        let refused = (StatusCode::SERVICE_UNAVAILABLE, Some(Decision::StoreFailed));
        assert_eq!((reply.status, reply.decision), refused);
        assert!((SECOND..2 * SECOND).contains(&asked.elapsed()), "{:?}", asked.elapsed());
        tokio::time::sleep(DAY).await;
        assert_eq!((api.runs(), api.store.states()), (0, Vec::new()));
        api.store.fail(Fail::default());
        assert_eq!(api.post("k").await.decision, Some(Decision::Fresh));
    }
}

/// A duplicate has its own patience, and the store as long again as a handler to say how it ended.
#[tokio::test(start_paused = true)]
async fn c36_a_store_that_falls_silent_while_a_duplicate_waits_is_as_one_that_fails() {
    let mut profile = after_a_second(OnTimeout::Continue);
    profile.in_flight = InFlight::Wait(5 * SECOND);
    let Held { api, started, .. } = held(profile);
    let first = in_task(&api, "k");
    started.notified().await;
    let (asked, second) = (Instant::now(), in_task(&api, "k"));
    assert_eq!(first.await.unwrap().status, StatusCode::GATEWAY_TIMEOUT);
    api.store.fail(Fail { silent: true, ..Fail::default() });
    let reply = tokio::time::timeout(DAY, second).await.unwrap().unwrap();
    assert_eq!(reply.decision, Some(Decision::StoreFailed));
    assert!((6 * SECOND..7 * SECOND).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    assert_eq!((api.runs(), api.store.states()), (1, vec![State::InFlight]));
}

/// Without a limit it is waited for, and nothing runs meanwhile.
#[tokio::test(start_paused = true)]
async fn c36_behind_a_store_that_does_not_answer_nothing_runs() {
    let api = Api::new(Profile::standard());
    api.store.fail(Fail { silent: true, ..Fail::default() });
    assert!(tokio::time::timeout(DAY, api.post("k")).await.is_err());
    assert_eq!((api.runs(), api.store.states()), (0, Vec::new()));
    api.store.fail(Fail::default());
    assert_eq!(api.post("k").await.decision, Some(Decision::Fresh));
}

#[tokio::test(start_paused = true)]
async fn c33_a_handler_out_of_time_goes_on_and_its_response_is_there_for_the_retry() {
    let Held { api, gate, .. } = held(after_a_second(OnTimeout::Continue));
    let first = api.post("k").await;
    assert_eq!((first.status.as_u16(), first.decision), (504, Some(Decision::TimedOut)));
    assert_eq!(first.json()["code"], "response-timeout");
    assert_eq!(
        (&first.json()["retryable"], first.header("retry-after")),
        (&true.into(), Some("1"))
    );
    assert_eq!(api.post("k").await.json()["code"], "in-progress");
    gate.add_permits(1);
    api.store.all_settled().await;
    let retry = api.post("k").await;
    assert_eq!((retry.seen(), retry.decision), ((201, "{\"n\":1}"), Some(Decision::Replayed)));
    assert_eq!(api.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn c33_a_handler_out_of_time_can_be_stopped_and_its_key_is_in_doubt() {
    let Held { api, dropped, .. } = held(after_a_second(OnTimeout::Cancel));
    let first = api.post("k").await;
    dropped.notified().await;
    assert_eq!((first.status.as_u16(), first.decision), (504, Some(Decision::LeftInDoubt)));
    assert_eq!(first.json()["code"], "outcome-unknown");
    assert_eq!((&first.json()["retryable"], first.header("retry-after")), (&false.into(), None));
    let retry = api.post("k").await;
    assert_eq!((retry.status.as_u16(), retry.decision), (409, Some(Decision::InDoubt)));
    assert_eq!(api.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn c33_a_body_that_does_not_end_in_time_is_no_answer() {
    let api = Api::with(after_a_second(OnTimeout::Cancel), |_, _| async {
        let (sender, body) = support::stream::channel();
        std::mem::forget(sender);
        Response::new(body)
    });
    assert_eq!(api.post("k").await.decision, Some(Decision::LeftInDoubt));
}

/// The work is done: what is left is to write it down, and that is not stopped.
#[tokio::test(start_paused = true)]
async fn c33_c31_what_was_answered_is_stored_whatever_the_time_and_whoever_waits() {
    let mut profile = after_a_second(OnTimeout::Cancel);
    profile.on_disconnect = OnDisconnect::Cancel;
    let api = Api::new(profile);
    let disk = api.store.hold_the_disk().await;
    let first = in_task(&api, "k");
    api.store.completing().await;
    tokio::time::advance(2 * SECOND).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    drop(disk);
    api.store.all_settled().await;
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::Replayed), 1));
}

#[tokio::test]
async fn c31_a_handler_nobody_waits_for_can_be_stopped_and_its_key_is_in_doubt() {
    let mut profile = Profile::standard();
    profile.on_disconnect = OnDisconnect::Cancel;
    let Held { api, started, dropped, .. } = held(profile);
    let first = in_task(&api, "k");
    started.notified().await;
    first.abort();
    dropped.notified().await;
    api.store.all_settled().await;
    assert_eq!(api.store.states(), [State::InDoubt]);
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::InDoubt), 1));
}

#[tokio::test]
async fn c31_a_client_that_waits_gets_its_answer_whatever_is_done_about_those_that_go() {
    let mut profile = Profile::standard();
    profile.on_disconnect = OnDisconnect::Cancel;
    let Held { api, started, gate, .. } = held(profile);
    let first = in_task(&api, "k");
    started.notified().await;
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().decision, Some(Decision::Fresh));
}

/// The client of a 504 was told to come back for the result, so its going stops nothing.
#[tokio::test(start_paused = true)]
async fn c31_c33_a_client_that_was_told_to_come_back_may_go() {
    let mut profile = after_a_second(OnTimeout::Continue);
    profile.on_disconnect = OnDisconnect::Cancel;
    let Held { api, gate, .. } = held(profile);
    assert_eq!(api.post("k").await.decision, Some(Decision::TimedOut));
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(api.store.states(), [State::InFlight]);
    gate.add_permits(1);
    api.store.all_settled().await;
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::Replayed), 1));
}

/// Leaves key `k` in doubt, as a crash does, in a store under `profile`.
async fn in_doubt(profile: Profile) -> Memory {
    let is_oec = profile.name == "oec";
    let api = Api::with(profile, |_, _| async {
        let mut response = status(500);
        response.extensions_mut().insert(Outcome::Unknown);
        response
    });
    let request = if is_oec { oec("/projects", "k", "") } else { post("k") };
    assert_eq!(api.send(request).await.decision, Some(Decision::LeftInDoubt));
    assert_eq!(api.store.states(), [State::InDoubt]);
    api.store
}

fn over(store: &Memory, profile: Profile) -> Api {
    let choose = |layer: IdempotencyLayer<_>| layer.profile(profile).principal(account);
    Api::over(store.clone(), choose, |n, _| async move { created(n) })
}

#[tokio::test]
async fn c34_a_key_in_doubt_is_executed_again_where_the_profile_says_so() {
    let mut profile = Profile::standard();
    profile.on_crash = OnCrash::Reexecute;
    let store = in_doubt(Profile::standard()).await;
    let api = over(&store, profile);
    let other = keyed("POST", "/things", "k").body(Body::full("other")).unwrap();
    assert_eq!(api.send(other).await.decision, Some(Decision::Mismatch), "M16");
    for decision in [Decision::Fresh, Decision::Replayed] {
        let reply = api.post("k").await;
        assert_eq!((reply.seen(), reply.decision), ((201, "{\"n\":1}"), Some(decision)));
    }
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c34_o12_a_key_in_doubt_is_executed_again_where_requests_are_not_compared() {
    let mut profile = Profile::oec();
    profile.on_crash = OnCrash::Reexecute;
    let api = over(&in_doubt(Profile::oec()).await, profile.clone());
    for decision in [Decision::Fresh, Decision::Replayed] {
        assert_eq!(api.send(oec("/projects", "k", "other")).await.decision, Some(decision));
    }
    // From when requests were compared: the fingerprint is another one.
    let mut comparing = Profile::oec();
    comparing.mismatch = onceward::http::Mismatch::Reject(StatusCode::UNPROCESSABLE_ENTITY);
    let api = over(&in_doubt(comparing).await, profile);
    assert_eq!(api.send(oec("/projects", "k", "other")).await.decision, Some(Decision::Fresh));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c34_of_many_that_come_upon_a_key_in_doubt_one_executes_it_again() {
    for wait in [false, true] {
        let mut profile = Profile::standard();
        profile.on_crash = OnCrash::Reexecute;
        if wait {
            profile.in_flight = InFlight::Wait(Duration::MAX);
        }
        let api = over(&in_doubt(Profile::standard()).await, profile);
        let mut callers = JoinSet::new();
        for _ in 0..64 {
            let api = api.clone();
            callers.spawn(async move { api.post("k").await });
        }
        while let Some(reply) = callers.join_next().await {
            let decision = reply.unwrap().decision.unwrap();
            let refused = decision == Decision::InFlight && !wait;
            assert!(refused || matches!(decision, Decision::Fresh | Decision::Replayed));
        }
        assert_eq!(api.runs(), 1);
    }
}

/// An API over `store` whose resolver says `ruling`, and how often it was asked.
fn resolved<F>(store: &Memory, profile: Profile, ruling: F) -> (Api, Arc<AtomicUsize>)
where
    F: Fn(Doubt) -> Result<Ruling, onceward::http::BoxError> + Send + Sync + 'static,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let api = Api::over(
        store.clone(),
        |layer| {
            let asked = Arc::clone(&asked);
            layer.profile(profile).principal(account).resolver(move |doubt| {
                asked.fetch_add(1, Ordering::SeqCst);
                std::future::ready(ruling(doubt))
            })
        },
        |n, _| async move { created(n) },
    );
    (api, asked)
}

#[tokio::test]
async fn c34_a_resolver_that_says_nothing_was_done_lets_the_request_run() {
    let (api, asked) =
        resolved(&in_doubt(Profile::standard()).await, Profile::standard(), |doubt| {
            assert_eq!((doubt.key.as_ref(), doubt.request.uri.path()), (&b"k"[..], "/things"));
            assert_eq!(doubt.record.state(), State::InDoubt);
            assert_eq!(doubt.request.headers["x-account"], "a");
            assert!(!format!("{doubt:?}").contains("x-account"), "D12");
            Ok(Ruling::Release)
        });
    for decision in [Decision::Fresh, Decision::Replayed] {
        assert_eq!(api.post("k").await.decision, Some(decision));
    }
    assert_eq!((api.runs(), asked.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn c34_a_resolver_that_knows_the_response_has_it_stored_and_replayed() {
    let store = in_doubt(Profile::oec()).await;
    let (api, asked) = resolved(&store, Profile::oec(), |_| {
        let mut headers = HeaderMap::new();
        headers.insert("location", "/things/7".parse().unwrap());
        headers.insert("set-cookie", "CANARY".parse().unwrap());
        let body = Bytes::from_static(b"found");
        Ok(Ruling::Complete(StoredResponse::new(StatusCode::CREATED, headers, body)))
    });
    for _ in 0..2 {
        let reply = api.send(oec("/projects", "k", "")).await;
        assert_eq!((reply.seen(), reply.decision), ((201, "found"), Some(Decision::Replayed)));
        assert_eq!(
            (reply.header("location"), reply.header("set-cookie")),
            (Some("/things/7"), None)
        );
        assert_eq!(reply.header("x-idempotency-replayed"), Some("true"));
    }
    assert!(!store.payloads()[0].windows(6).any(|octets| octets == b"CANARY"), "C29");
    assert_eq!((api.runs(), asked.load(Ordering::SeqCst)), (0, 1));
}

/// Also where the profile would execute it again: the resolver has the only word.
#[tokio::test]
async fn c34_a_resolver_that_does_not_know_or_fails_leaves_the_key_in_doubt() {
    let mut profile = Profile::standard();
    profile.on_crash = OnCrash::Reexecute;
    for ruling in [
        (|_| Ok(Ruling::InDoubt)) as fn(Doubt) -> Result<Ruling, onceward::http::BoxError>,
        |_| Err("no answer".into()),
        |_| panic!("in the resolver"),
        |_| {
            let (status, headers) = (StatusCode::EARLY_HINTS, HeaderMap::new());
            Ok(Ruling::Complete(StoredResponse::new(status, headers, Bytes::new())))
        },
    ] {
        let store = in_doubt(Profile::standard()).await;
        let (api, asked) = resolved(&store, profile.clone(), ruling);
        for n in 1..=2 {
            assert_eq!(api.post("k").await.decision, Some(Decision::InDoubt));
            assert_eq!(asked.load(Ordering::SeqCst), n, "asked each time");
        }
        let other = keyed("POST", "/things", "k").body(Body::full("other")).unwrap();
        assert_eq!(api.send(other).await.decision, Some(Decision::Mismatch));
        assert_eq!((api.runs(), asked.load(Ordering::SeqCst)), (0, 2));
    }
}

/// Two requests come upon one doubt. While the second one's ruling is still on its way, the first
/// is executed again and left in doubt once more. "It was not done" was said of the first doubt, and
/// must not release the second.
#[tokio::test]
async fn c34_a_ruling_on_one_doubt_does_not_end_a_later_one() {
    let store = in_doubt(Profile::standard()).await;
    let (asked, slow, go) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let api = Api::over(
        store.clone(),
        |layer| {
            let (slow, go) = (Arc::clone(&slow), Arc::clone(&go));
            layer.principal(account).resolver(move |_| {
                let is_slow = asked.fetch_add(1, Ordering::SeqCst) == 0;
                let (slow, go) = (Arc::clone(&slow), Arc::clone(&go));
                async move {
                    if is_slow {
                        slow.notify_one();
                        go.notified().await;
                    }
                    Ok(Ruling::Release)
                }
            })
        },
        |_, _| async {
            let mut response = status(500);
            response.extensions_mut().insert(Outcome::Unknown);
            response
        },
    );
    let second = in_task(&api, "k");
    slow.notified().await;
    store.advance(SECOND);
    assert_eq!(api.post("k").await.decision, Some(Decision::LeftInDoubt));
    go.notify_one();
    assert_eq!(second.await.unwrap().decision, Some(Decision::InDoubt));
    assert_eq!((api.runs(), store.states()), (1, vec![State::InDoubt]));
}

#[tokio::test]
async fn c35_a_success_that_was_not_recorded_can_be_sent_all_the_same() {
    let full = Some(onceward::ErrorKind::Full);
    for fail in [
        Fail { complete_spent: true, ..Fail::default() },
        Fail { complete_refused: full, tombstone: true, ..Fail::default() },
    ] {
        let mut profile = Profile::standard();
        profile.fail_open = true;
        let api = Api::new(profile);
        api.store.fail(fail);
        let first = api.post("k").await;
        assert_eq!(first.seen(), (201, "{\"n\":1}"));
        assert_eq!(first.decision, Some(Decision::FreshNotRecorded));
        assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::InDoubt), 1));
    }
}

#[tokio::test]
async fn the_key_is_repeated_as_it_was_written_on_every_response_to_it() {
    let mut profile = Profile::standard();
    profile.echo_key = true;
    profile.header_aliases = vec![http::HeaderName::from_static("x-key")];
    let api = Api::with(profile, |_, _| async {
        let mut response = created(1);
        response.headers_mut().insert("idempotency-key", "the handler's".parse().unwrap());
        response
    });
    let named = |name: &'static str, key: &'static str, body: &'static str| {
        keyless("POST", "/things").header(name, key).body(Body::full(body)).unwrap()
    };
    for (request, decision) in [
        (named("idempotency-key", "\"k\";a=1", "{}"), Decision::Fresh),
        (named("idempotency-key", "\"k\";a=1", "{}"), Decision::Replayed),
        (named("idempotency-key", "k", "{}"), Decision::Replayed),
        (named("x-key", "k", "{}"), Decision::Replayed),
        (named("x-key", "k", "other"), Decision::Mismatch),
        (named("x-key", "a,b", "{}"), Decision::Refused),
    ] {
        let name =
            if request.headers().contains_key("x-key") { "x-key" } else { "idempotency-key" };
        let key = request.headers()[name].clone();
        let reply = api.send(request).await;
        assert_eq!((reply.decision, &reply.headers[name]), (Some(decision), &key));
        assert_eq!(reply.headers.get_all(name).iter().count(), 1);
    }
    let twice = keyed("POST", "/things", "k").header("x-key", "k").body(Body::empty()).unwrap();
    let reply = api.send(twice).await;
    assert_eq!((reply.header("idempotency-key"), reply.header("x-key")), (None, None), "C1");
    let ignored = api.send(keyed("GET", "/things", "k").body(Body::empty()).unwrap()).await;
    assert_eq!(ignored.header("idempotency-key"), Some("the handler's"), "C7");
    let api = Api::new(Profile::standard());
    assert_eq!(api.post("k").await.header("idempotency-key"), None, "off unless asked for");
}

#[tokio::test]
async fn o16_a_derived_key_is_the_same_whenever_the_work_is_done_again() {
    let api = Api::with(Profile::standard(), |_, request| async move {
        let told = request.extensions().get::<Idempotency>().unwrap();
        let body = Body::full(told.derived_key("charge"));
        Response::builder().status(429).body(body).unwrap()
    });
    let first = api.post("k").await;
    assert_eq!(first.body.len(), 36, "at most 64 octets (Adyen)");
    assert_eq!(api.post("\"k\"").await.body, first.body, "C5");
    assert_ne!(api.post("l").await.body, first.body);
    let other = Request::post("/things").header("idempotency-key", "k").header("x-account", "b");
    let other = api.send(other.body(Body::full("{}")).unwrap()).await;
    assert_ne!(other.body, first.body, "C8");
    // By it a resolver asks about the work of the run that was broken off.
    let expected = String::from_utf8(first.body.to_vec()).unwrap();
    let (api, asked) =
        resolved(&in_doubt(Profile::standard()).await, Profile::standard(), move |doubt| {
            assert_eq!(doubt.derived_key("charge"), expected);
            Ok(Ruling::Release)
        });
    assert_eq!(api.post("k").await.decision, Some(Decision::Fresh));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

fn waiting() -> Profile {
    let mut profile = Profile::standard();
    profile.in_flight = InFlight::Wait(Duration::MAX);
    profile
}

/// What a duplicate that waits is answered when the first one is settled in each way.
#[tokio::test]
async fn c37_a_duplicate_that_waited_is_answered_by_what_the_first_came_to() {
    for (said, code, decision, runs) in [
        (None, 201, Decision::Replayed, 1),
        (Some(Outcome::Unknown), 201, Decision::InDoubt, 1),
        (Some(Outcome::NotExecuted), 422, Decision::Released, 2),
    ] {
        let both = Arc::new(Barrier::new(2));
        let api = Api::with(waiting(), {
            let both = Arc::clone(&both);
            move |n, _| {
                let both = Arc::clone(&both);
                async move {
                    if n == 1 {
                        both.wait().await;
                    }
                    let mut response = status(code);
                    if let Some(said) = said {
                        response.extensions_mut().insert(said);
                    }
                    response
                }
            }
        });
        let (first, second) = (in_task(&api, "k"), in_task(&api, "k"));
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        let other = keyed("POST", "/things", "k").body(Body::full("other")).unwrap();
        assert_eq!(api.send(other).await.decision, Some(Decision::Mismatch), "C38: at once");
        assert!(!first.is_finished() && !second.is_finished());
        both.wait().await;
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let decisions = [first.decision.unwrap(), second.decision.unwrap()];
        assert!(decisions.contains(&decision), "{decisions:?}");
        assert_eq!(api.runs(), runs, "{said:?}");
    }
}

#[tokio::test]
async fn c37_a_duplicate_that_waits_and_goes_leaves_nothing_behind() {
    let Held { api, started, gate, .. } = held(waiting());
    let first = in_task(&api, "k");
    started.notified().await;
    let second = in_task(&api, "k");
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().decision, Some(Decision::Fresh));
    assert_eq!((api.runs(), api.store.states()), (1, vec![State::Complete]));
}

/// The one that waited has gone when the key is released: it must not be the one that is granted,
/// for nobody would do its work.
#[tokio::test]
async fn c37_a_key_is_not_granted_to_a_duplicate_that_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = onceward::Store::open(directory.path().join("data")).unwrap();
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let handler = tower::service_fn({
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        move |_: Request<Body>| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                started.notify_one();
                gate.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(status(429))
            }
        }
    });
    let layer = IdempotencyLayer::new(store.clone()).profile(waiting()).single_tenant();
    let service = layer.layer(handler);
    let ask = || tokio::spawn(service.clone().oneshot(post("k")));
    let first = ask();
    started.notified().await;
    let gone = [ask(), ask()];
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    for waited in gone {
        waited.abort();
        assert!(waited.await.unwrap_err().is_cancelled());
    }
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().extensions().get(), Some(&Decision::Released));
    assert_eq!(store.stats().in_flight, 0, "and nothing in doubt:");
    gate.add_permits(1);
    let next = ask().await.unwrap().unwrap();
    assert_eq!(next.extensions().get(), Some(&Decision::Released));
}

/// What an extractor rejects with, before the handler runs.
struct NotValid;

impl IntoResponse for NotValid {
    fn into_response(self) -> axum::response::Response {
        (StatusCode::UNPROCESSABLE_ENTITY, axum::Extension(Outcome::NotExecuted), "no")
            .into_response()
    }
}

struct Valid;

impl<S: Sync> axum::extract::FromRequestParts<S> for Valid {
    type Rejection = NotValid;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotValid> {
        if parts.headers.contains_key("x-valid") { Ok(Self) } else { Err(NotValid) }
    }
}

#[tokio::test]
async fn c17_an_extractor_that_rejects_says_that_nothing_was_done() {
    let store = Memory::default();
    let app = axum::Router::new()
        .route("/things", axum::routing::post(|_: Valid| async { "made" }))
        .route_layer(IdempotencyLayer::new(store.clone()).single_tenant());
    let send = |valid| {
        let mut request = post("k");
        if valid {
            request.headers_mut().insert("x-valid", "yes".parse().unwrap());
        }
        app.clone().oneshot(request)
    };
    let rejected = send(false).await.unwrap();
    assert_eq!(rejected.status(), 422);
    assert_eq!(rejected.extensions().get(), Some(&Decision::Released));
    assert!(rejected.extensions().get::<Outcome>().is_none(), "it was meant for the layer");
    assert_eq!(store.states(), []);
    for decision in [Decision::Fresh, Decision::Replayed] {
        assert_eq!(send(true).await.unwrap().extensions().get(), Some(&decision));
    }
}

#[tokio::test]
async fn c39_c42_c43_neither_a_replay_nor_a_refusal_lengthens_a_results_life() {
    let api = Api::new(Profile::standard());
    api.post("k").await;
    api.store.advance(DAY);
    assert_eq!(api.post("k").await.decision, Some(Decision::Replayed), "C40: valid at 24 h");
    let other = || keyed("POST", "/things", "k").body(Body::full("other")).unwrap();
    let refused = api.send(other()).await;
    assert_eq!(refused.decision, Some(Decision::Mismatch));
    assert_eq!(api.post("k").await.seen(), (201, "{\"n\":1}"), "C39: the record is untouched");
    api.store.advance(Duration::from_millis(1));
    assert_eq!(api.send(other()).await.seen(), (201, "{\"n\":2}"), "C46: any request");
}

#[tokio::test]
async fn c39_a_refused_duplicate_leaves_the_work_and_its_result_alone() {
    let Held { api, started, gate, .. } = held(Profile::standard());
    let first = in_task(&api, "k");
    started.notified().await;
    api.store.advance(DAY);
    assert_eq!(api.post("k").await.decision, Some(Decision::InFlight));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().decision, Some(Decision::Fresh));
    assert_eq!(api.post("k").await.decision, Some(Decision::Replayed));
}

#[tokio::test]
async fn c41_what_is_at_work_does_not_expire_and_its_result_lives_from_its_completion() {
    let Held { api, started, gate, .. } = held(Profile::magnolia());
    let first = in_task(&api, "k");
    started.notified().await;
    api.store.advance(10 * DAY);
    assert_eq!(api.post("k").await.decision, Some(Decision::InFlight), "G12");
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().decision, Some(Decision::Fresh));
    api.store.advance(DAY);
    assert_eq!(api.post("k").await.decision, Some(Decision::Replayed), "X9");
    api.store.advance(Duration::from_millis(1));
    gate.add_permits(1);
    assert_eq!(api.post("k").await.decision, Some(Decision::Fresh), "G17");
}

#[tokio::test]
async fn c21_a_response_that_is_not_final_is_never_stored() {
    let api = Api::with(Profile::standard(), |_, _| async { status(103) });
    assert_eq!(api.post("k").await.decision, Some(Decision::LeftInDoubt));
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::InDoubt), 1));
}

#[tokio::test]
async fn c23_a_head_request_is_passed_on_key_or_not() {
    for profile in Profile::all() {
        let api = Api::new(profile);
        for _ in 0..2 {
            let head = keyed("HEAD", "/api/public/v1/projects", "k");
            let head = head.header("x-idempotency-key", "k").body(Body::empty()).unwrap();
            assert!(api.send(head).await.header("location").is_some());
        }
        assert_eq!((api.runs(), api.store.lookups()), (2, 0));
    }
}
