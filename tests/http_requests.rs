//! The edges of requests and of claims (section C): bodies, concurrency, failing stores.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use onceward::http::{
    Body, Decision, Idempotency, IdempotencyLayer, Ignored, InFlight, KeyDigest, Profile, Query,
};
use onceward::{ErrorKind, State};
use support::memory::{Fail, Memory};
use support::stream::{channel, data, endless, pieces, trailer, untouchable};
use support::{Api, account, created, keyed, keyless, oec, post, status};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

/// An API whose handler says when it starts, and answers when it is let.
struct Gated {
    api: Api,
    started: Arc<Notify>,
    gate: Arc<Semaphore>,
}

fn gated(profile: Profile) -> Gated {
    let (started, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let api = Api::with(profile, {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        move |n, _| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                started.notify_one();
                gate.acquire().await.unwrap().forget();
                created(n)
            }
        }
    });
    Gated { api, started, gate }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g4_d9_c37_of_64_callers_at_once_one_runs_and_the_rest_are_told_to_retry() {
    let Gated { api, gate, .. } = gated(Profile::standard());
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let api = api.clone();
        callers.spawn(async move { api.post("k").await });
    }
    for _ in 0..63 {
        let reply = callers.join_next().await.unwrap().unwrap();
        assert_eq!((reply.status.as_u16(), reply.decision), (409, Some(Decision::InFlight)));
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    gate.add_permits(1);
    let reply = callers.join_next().await.unwrap().unwrap();
    assert_eq!(reply.seen(), (201, "{\"n\":1}"));
    assert_eq!(api.post("k").await.seen(), (201, "{\"n\":1}"), "O16");
    assert_eq!(api.runs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c37_duplicates_can_wait_for_the_first_result() {
    let mut profile = Profile::standard();
    profile.in_flight = InFlight::Wait(Duration::MAX);
    let Gated { api, started, gate } = gated(profile);
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let api = api.clone();
        callers.spawn(async move { api.post("k").await });
    }
    started.notified().await;
    gate.add_permits(1);
    while let Some(reply) = callers.join_next().await {
        assert_eq!(reply.unwrap().seen(), (201, "{\"n\":1}"));
    }
    assert_eq!(api.runs(), 1);
}

/// Each that waits holds the body of its request: 1,024 of one caller may, and the next is told to
/// retry at once.
#[tokio::test]
async fn c37_only_so_many_duplicates_wait_and_the_next_is_told_to_retry() {
    let mut profile = Profile::standard();
    profile.in_flight = InFlight::Wait(Duration::MAX);
    let Gated { api, started, gate } = gated(profile);
    let mut callers = JoinSet::new();
    let mut spawn = || {
        let api = api.clone();
        callers.spawn(async move { api.post("k").await })
    };
    spawn();
    started.notified().await;
    (0..1_025).for_each(|_| drop(spawn()));
    // Where all may wait, nobody comes back.
    let first = tokio::time::timeout(Duration::from_secs(30), callers.join_next()).await;
    let refused = first.unwrap().unwrap().unwrap();
    assert_eq!((refused.status.as_u16(), refused.decision), (409, Some(Decision::InFlight)));
    gate.add_permits(1);
    while let Some(reply) = callers.join_next().await {
        assert_eq!(reply.unwrap().seen(), (201, "{\"n\":1}"));
    }
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c37_a_duplicate_whose_patience_ends_is_told_to_retry() {
    let mut profile = Profile::standard();
    profile.in_flight = InFlight::Wait(Duration::ZERO);
    let Gated { api, started, gate } = gated(profile);
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.post("k").await }
    });
    started.notified().await;
    assert_eq!(api.post("k").await.decision, Some(Decision::InFlight));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
}

#[tokio::test]
async fn c38_a_mismatch_wins_over_in_flight() {
    let Gated { api, started, gate } = gated(Profile::standard());
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.post("k").await }
    });
    started.notified().await;
    let changed = keyed("POST", "/things", "k").body(Body::full("other")).unwrap();
    assert_eq!(api.send(changed).await.decision, Some(Decision::Mismatch));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
}

#[tokio::test]
async fn m17_c31_a_client_that_hangs_up_loses_nothing() {
    let Gated { api, started, gate } = gated(Profile::managed_dev());
    {
        let request = api.respond(post("k"));
        tokio::pin!(request);
        tokio::select! {
            biased;
            _ = &mut request => panic!("answered before the handler was let go"),
            () = started.notified() => {}
        }
    }
    assert_eq!(api.store.states(), [State::InFlight], "the work goes on");
    gate.add_permits(1);
    api.store.all_settled().await;
    let retry = api.post("k").await;
    assert_eq!((retry.seen(), retry.decision), ((201, "{\"n\":1}"), Some(Decision::Replayed)));
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c15_a_request_that_never_arrived_whole_never_claims() {
    let api = Api::new(Profile::standard());
    let broken = pieces([data("{"), Err("cut off".into())]);
    let reply = api.send(keyed("POST", "/things", "k").body(broken).unwrap()).await;
    assert_eq!((reply.status, reply.decision), (StatusCode::BAD_REQUEST, Some(Decision::Refused)));
    let (sender, body) = channel();
    sender.send(data("{")).unwrap();
    {
        let request = api.respond(keyed("POST", "/things", "k").body(body).unwrap());
        tokio::pin!(request);
        let waker = std::task::Waker::noop();
        let poll = request.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(poll.is_pending());
    }
    assert_eq!((api.runs(), api.store.lookups()), (0, 0));
}

#[tokio::test]
async fn c13_a_request_over_the_limit_is_refused_and_never_claims() {
    let mut profile = Profile::standard();
    profile.request_octets_max = 8;
    let api = Api::with(profile, |n, request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
        assert_eq!(body.to_bytes().len(), 8);
        created(n)
    });
    let send = |body| api.send(keyed("POST", "/things", "k").body(body).unwrap());
    for body in [Body::full("123456789"), pieces([data("12345678"), data("9")])] {
        let reply = send(body).await;
        assert_eq!((reply.status.as_u16(), reply.decision), (413, Some(Decision::Refused)));
    }
    assert_eq!((api.runs(), api.store.lookups()), (0, 0));
    assert_eq!(send(pieces([data("1234"), data("5678")])).await.status, 201);
    // Without a key, and so without a claim, any body passes.
    let long = keyless("GET", "/things").body(Body::full("12345678")).unwrap();
    assert_eq!(api.send(long).await.status, 201);
}

#[tokio::test]
async fn c13_a_bounded_part_of_what_is_too_long_is_read_on() {
    let api = Api::new(Profile::standard());
    let (taken, body) = endless();
    let reply = api.send(keyed("POST", "/things", "k").body(body).unwrap()).await;
    assert_eq!(reply.status, 413);
    let beyond = taken.load(Ordering::SeqCst) - (16 << 20);
    assert!((1 << 20..(1 << 20) + 2000).contains(&beyond), "{beyond} octets were drained");
}

#[tokio::test]
async fn c13_a_limit_in_front_of_the_layer_is_a_413_too() {
    let api = Api::new(Profile::standard());
    let limited = http_body_util::Limited::new(pieces([data("12345"), data("6789")]), 8);
    let request = keyed("POST", "/things", "k").body(Body::new(limited)).unwrap();
    assert_eq!(api.send(request).await.status, 413);
    assert_eq!((api.runs(), api.store.lookups()), (0, 0));
}

#[tokio::test]
async fn c14_what_the_head_decides_is_decided_before_the_body_is_asked_for() {
    let api = Api::new(Profile::ietf());
    for (request, expected) in [
        (keyed("POST", "/things", "bare"), 400),
        (keyless("POST", "/things"), 400),
        (keyed("POST", "/things", "\"k\""), 413),
    ] {
        let request = request.header("expect", "100-continue");
        let reply = api.send(request.body(untouchable(1 << 40)).unwrap()).await;
        assert_eq!(reply.status, expected);
    }
    // Where bodies are not compared, a replay does not wait for one.
    let api = Api::new(Profile::oec());
    api.send(oec("/projects", "k", "")).await;
    let (_silent, body) = channel();
    let request = oec("/projects", "k", "").map(|_| body);
    assert_eq!(api.send(request).await.seen(), (201, "{\"n\":1}"));
    let mut request = oec("/projects", "k", "").map(|_| untouchable(10));
    request.headers_mut().insert("expect", "100-continue".parse().unwrap());
    assert_eq!(api.send(request).await.seen(), (201, "{\"n\":1}"));
}

#[tokio::test]
async fn c14_a_request_that_is_here_does_not_ask_for_leave_again() {
    let api = Api::with(Profile::standard(), |n, request| async move {
        assert!(!request.headers().contains_key("expect"));
        created(n)
    });
    let request = keyed("POST", "/things", "k").header("expect", "100-continue");
    assert_eq!(api.send(request.body(Body::full("{}")).unwrap()).await.status, 201);
}

#[tokio::test]
async fn c21_an_upgrade_with_a_key_is_refused_and_without_passes() {
    let api = Api::new(Profile::standard());
    let upgrade = |request: http::request::Builder| {
        let request = request.header("connection", "keep-alive, Upgrade");
        request.header("upgrade", "websocket").body(Body::empty()).unwrap()
    };
    let reply = api.send(upgrade(keyed("POST", "/things", "k"))).await;
    assert_eq!((reply.status.as_u16(), api.store.lookups()), (400, 0));
    assert_eq!(reply.json()["code"], "upgrade-not-supported");
    assert_eq!(api.send(upgrade(keyless("POST", "/things"))).await.status, 201);
    assert_eq!(api.send(upgrade(keyed("GET", "/things", "k"))).await.status, 201);
    let not_for_this_hop = keyed("POST", "/things", "k").header("upgrade", "h2c");
    assert_eq!(api.send(not_for_this_hop.body(Body::empty()).unwrap()).await.status, 201);
}

#[tokio::test]
async fn c21_a_connect_with_a_key_is_refused_where_it_is_protected() {
    let mut profile = Profile::standard();
    for expected in [201, 400] {
        let api = Api::new(profile.clone());
        let request = keyed("CONNECT", "/things", "k").body(Body::empty()).unwrap();
        assert_eq!(api.send(request).await.status, expected);
        profile.methods.push(Method::CONNECT);
    }
}

#[tokio::test]
async fn the_handler_gets_the_request_whole_with_its_trailers() {
    let api = Api::with(Profile::standard(), |n, request| async move {
        let (parts, body) = request.into_parts();
        assert_eq!(parts.uri.path(), "/things");
        assert_eq!(parts.headers["x-account"], "a");
        let length = http_body::Body::size_hint(&body).exact();
        assert_eq!(length, None, "over HTTP/1.1 no trailers follow a body whose length is said");
        let body = http_body_util::BodyExt::collect(body).await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "1");
        assert_eq!(body.to_bytes(), "abc");
        created(n)
    });
    let body = pieces([data("ab"), data("c"), trailer("x-sum", "1")]);
    let reply = api.send(keyed("POST", "/things", "k").body(body).unwrap()).await;
    assert_eq!(reply.seen(), (201, "{\"n\":1}"));
}

#[tokio::test]
async fn c34_a_crash_in_flight_leaves_the_outcome_unknown() {
    for (profile, expected) in [(Profile::standard(), 409), (Profile::managed_dev(), 409)] {
        let Gated { api, started, gate } = gated(profile);
        let first = tokio::spawn({
            let api = api.clone();
            async move { api.post("k").await }
        });
        started.notified().await;
        api.store.crash();
        let retry = api.post("k").await;
        assert_eq!((retry.status.as_u16(), retry.decision), (expected, Some(Decision::InDoubt)));
        assert_eq!(retry.header("retry-after"), None);
        // The ticket of the first is fenced: it must not report a success.
        gate.add_permits(1);
        assert_eq!(first.await.unwrap().status, 500);
        assert_eq!((api.runs(), api.store.states()), (1, vec![State::InDoubt]));
    }
    let Gated { api, started, .. } = gated(Profile::oec());
    let _first = tokio::spawn({
        let api = api.clone();
        async move { api.send(oec("/projects", "k", "")).await }
    });
    started.notified().await;
    let busy = api.send(oec("/projects", "k", "")).await;
    assert_eq!(
        (busy.status.as_u16(), busy.json()["error"].as_str()),
        (409, Some("idempotency_key_in_use"))
    );
    api.store.crash();
    let retry = api.send(oec("/projects", "k", "")).await;
    assert_eq!(retry.status, 500, "X12");
}

#[tokio::test]
async fn c36_a_store_that_fails_runs_nothing() {
    for (kind, expected) in [
        (ErrorKind::Full, (503, "store-unavailable")),
        (ErrorKind::Poisoned, (503, "store-unavailable")),
        (ErrorKind::Closed, (503, "store-unavailable")),
        (ErrorKind::Unavailable, (503, "store-unavailable")),
        (ErrorKind::Io, (503, "store-unavailable")),
        (ErrorKind::TooManyInFlight, (429, "too-many-in-flight")),
        (ErrorKind::Corrupt, (500, "record-corrupt")),
    ] {
        let api = Api::new(Profile::standard());
        api.store.fail(Fail { claim: Some(kind), ..Fail::default() });
        let reply = api.post("k").await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["code"].as_str()),
            (expected.0, Some(expected.1))
        );
        assert_eq!(reply.headers.contains_key("retry-after"), kind != ErrorKind::Corrupt);
        assert_eq!(api.runs(), 0);
        let oec_api = Api::new(Profile::oec());
        oec_api.store.fail(Fail { claim: Some(kind), ..Fail::default() });
        let reply = oec_api.send(oec("/projects", "k", "")).await;
        assert_eq!((reply.status.as_u16(), oec_api.runs()), (expected.0, 0));
    }
}

#[tokio::test]
async fn c46_a_released_key_takes_any_request() {
    let api = Api::with(Profile::standard(), |n, _| async move {
        if n == 1 { status(429) } else { created(n) }
    });
    assert_eq!(api.post("k").await.decision, Some(Decision::Released));
    let other = keyed("POST", "/others", "k").body(Body::full("other")).unwrap();
    assert_eq!(api.send(other).await.seen(), (201, "{\"n\":2}"));
}

#[tokio::test]
async fn a_profiles_ttl_and_query_rule_are_knobs() {
    let mut profile = Profile::standard();
    profile.ttl = Duration::from_millis(10);
    profile.query = Query::Sorted;
    let api = Api::new(profile);
    let send = |path| api.send(keyed("POST", path, "k").body(Body::empty()).unwrap());
    assert_eq!(send("/a?x=1&y=2").await.json()["n"], 1);
    api.store.advance(Duration::from_millis(10));
    assert_eq!(send("/a?y=2&x=1").await.json()["n"], 1);
    api.store.advance(Duration::from_millis(1));
    assert_eq!(send("/a?y=2&x=1").await.json()["n"], 2);
}

#[tokio::test]
async fn handlers_are_told_the_key_and_a_fencing_number() {
    let api = Api::with(Profile::standard(), |_, request| async move {
        let told = request.extensions().get::<Idempotency>().unwrap();
        assert_eq!(told.key, "k 1");
        assert_eq!(request.headers()["idempotency-key"], "\"k 1\"");
        http::Response::builder().status(429).body(Body::full(told.number.to_string())).unwrap()
    });
    let (first, second) = (api.post("\"k 1\"").await, api.post("\"k 1\"").await);
    assert_eq!((first.seen(), second.seen()), ((429, "1"), (429, "2")));
}

#[tokio::test]
async fn logs_are_told_the_decision_and_the_hashed_key_alone() {
    let api = Api::new(Profile::standard());
    let mut digests = Vec::new();
    for (key, same) in [("secret-k", true), ("\"secret-k\"", true), ("other", false)] {
        let response = api.respond(post(key)).await;
        let digest = *response.extensions().get::<KeyDigest>().unwrap();
        assert!(response.extensions().get::<Decision>().is_some());
        let first = *digests.first().unwrap_or(&digest);
        assert_eq!(first == digest, same);
        digests.push(digest);
    }
    let response = api.respond(keyless("POST", "/").body(Body::empty()).unwrap()).await;
    let decision = response.extensions().get::<Decision>();
    assert_eq!(decision, Some(&Decision::Ignored(Ignored::NoKey)));
    assert!(response.extensions().get::<KeyDigest>().is_none());
}

#[tokio::test]
async fn the_uri_the_client_sent_can_be_found_elsewhere() {
    #[derive(Clone)]
    struct Sent(http::Uri);
    let api = Api::layered(
        |layer| {
            layer
                .principal(account)
                .original_uri(|parts| parts.extensions.get::<Sent>().map(|sent| sent.0.clone()))
        },
        |n, _| async move { created(n) },
    );
    for (sent, expected) in [(Some("/a/things"), 201), (Some("/b/things"), 422), (None, 422)] {
        let mut request: Request<Body> = post("k");
        if let Some(sent) = sent {
            request.extensions_mut().insert(Sent(sent.parse().unwrap()));
        }
        assert_eq!(api.send(request).await.status, expected, "{sent:?}");
    }
}

#[tokio::test]
async fn methods_of_ones_own_can_be_protected() {
    let mut profile = Profile::standard();
    profile.methods = vec![Method::DELETE];
    let api = Api::new(profile);
    for _ in 0..2 {
        let request = keyed("DELETE", "/things/1", "k").body(Body::empty()).unwrap();
        assert_eq!(api.send(request).await.json()["n"], 1);
    }
}

/// M1: a layer put on a router and again on its route is a slip, not a request in its own way.
#[tokio::test]
async fn m1_two_layers_on_one_route_execute_once_and_replay() {
    for waits in [false, true] {
        let mut profile = Profile::standard();
        if waits {
            profile.in_flight = InFlight::Wait(Duration::from_secs(1));
        }
        let store = Memory::default();
        let layer = || {
            let layer = IdempotencyLayer::new(store.clone()).profile(profile.clone());
            layer.principal(account)
        };
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let handler = tower::service_fn(move |_: Request<Body>| {
            let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, std::convert::Infallible>(created(n)) }
        });
        let service = layer().layer(layer().layer(handler));
        for decision in [Decision::Fresh, Decision::Replayed] {
            let response = service.clone().oneshot(post("k")).await.unwrap();
            assert_eq!(response.status(), 201);
            assert_eq!(response.extensions().get(), Some(&decision));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(store.states(), [State::Complete]);
    }
}

#[tokio::test]
async fn x11_an_alias_that_names_the_header_again_is_one_line() {
    let mut profile = Profile::standard();
    let alias = http::HeaderName::from_static("x-idempotency-key");
    profile.header_aliases = vec![profile.header.clone(), alias.clone(), alias];
    let api = Api::new(profile);
    assert_eq!(api.post("k").await.seen(), (201, "{\"n\":1}"));
    let other = keyless("POST", "/things").header("x-idempotency-key", "k");
    let reply = api.send(other.body(Body::full("{}")).unwrap()).await;
    assert_eq!(reply.seen(), (201, "{\"n\":1}"));
    let both = keyed("POST", "/things", "k").header("x-idempotency-key", "k");
    assert_eq!(api.send(both.body(Body::full("{}")).unwrap()).await.status, 400, "C1");
}
