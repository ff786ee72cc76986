//! The edges of responses (section C): what is stored, what is replayed, what is never kept.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use onceward::http::{
    Body, Decision, IdempotencyLayer, OnError, Outcome, OversizeResponse, Profile, Route,
};
use onceward::{ErrorKind, State};
use support::memory::{Fail, Memory};
use support::stream::{channel, data, pieces, trailer};
use support::{Api, created, keyed, oec, post, status};
use tower::{Layer, ServiceExt};

/// Longer than anything takes on a busy machine. Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_response_waits_until_it_is_durable() {
    let api = Api::new(Profile::standard());
    let disk = api.store.hold_the_disk().await;
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.post("k").await }
    });
    api.store.completing().await;
    // One thread runs all of this: whatever could go on without the disk, has.
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished());
    drop(disk);
    assert_eq!(first.await.unwrap().seen(), (201, "{\"n\":1}"));
}

#[tokio::test]
async fn c25_not_an_octet_of_a_live_stream_comes_before_its_tombstone() {
    let (events, body) = channel();
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let api = Api::with(Profile::standard(), move |_, _| {
        let body = body.lock().unwrap().take().unwrap();
        async move {
            let response = Response::builder().header("content-type", "text/event-stream");
            response.body(body).unwrap()
        }
    });
    let disk = api.store.hold_the_disk().await;
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.respond(post("k")).await }
    });
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished());
    drop(disk);
    let mut first = first.await.unwrap();
    assert_eq!(first.extensions().get(), Some(&Decision::FreshNotRetained));
    assert_eq!(api.store.states(), [State::Complete], "while the stream is still open");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(data(event)).unwrap();
        let frame = first.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event, "sent as it comes");
    }
    let retry = api.post("k").await;
    assert_eq!(retry.json()["code"], "response-not-retained");
    assert_eq!((retry.json()["original_status"].as_u64(), api.runs()), (Some(200), 1));
}

#[tokio::test]
async fn c16_c17_c18_c19_c20_a_status_is_stored_or_releases_the_key() {
    for (code, stored) in [
        (200, true),
        (302, true),
        (400, true),
        (401, false),
        (403, false),
        (404, true),
        (408, true),
        (409, true),
        (422, true),
        (425, false),
        (429, false),
        (500, true),
        (503, true),
        (504, true),
    ] {
        let api = Api::with(Profile::standard(), move |_, _| async move { status(code) });
        let (first, second) = (api.post("k").await, api.post("k").await);
        let decisions = (first.decision.unwrap(), second.decision.unwrap());
        if stored {
            assert_eq!(decisions, (Decision::Fresh, Decision::Replayed), "{code}");
        } else {
            assert_eq!(decisions, (Decision::Released, Decision::Released), "{code}");
        }
        assert_eq!(api.runs(), if stored { 1 } else { 2 }, "{code}");
        assert_eq!(first.seen(), second.seen(), "{code}");
    }
}

#[tokio::test]
async fn c18_a_503_that_says_when_to_retry_releases_the_key() {
    let api = Api::with(Profile::standard(), |_, _| async {
        let mut response = status(503);
        response.headers_mut().insert("retry-after", "7".parse().unwrap());
        response
    });
    let first = api.post("k").await;
    assert_eq!(
        (first.header("retry-after"), first.decision),
        (Some("7"), Some(Decision::Released))
    );
}

#[tokio::test]
async fn c17_a_handler_can_say_what_became_of_the_work() {
    for (outcome, decision, next) in [
        (Outcome::NotExecuted, Decision::Released, 422),
        (Outcome::Unknown, Decision::LeftInDoubt, 409),
    ] {
        let api = Api::with(Profile::standard(), move |_, _| async move {
            let mut response = status(422);
            response.extensions_mut().insert(outcome);
            response
        });
        let first = api.post("k").await;
        assert_eq!((first.seen(), first.decision), ((422, "status 422"), Some(decision)));
        assert_eq!(api.post("k").await.status, next);
    }
}

#[tokio::test]
async fn a_release_that_fails_still_answers_and_never_runs_again() {
    let api = Api::with(Profile::standard(), |_, _| async { status(429) });
    api.store.fail(Fail { release: true, ..Fail::default() });
    let first = api.post("k").await;
    assert_eq!((first.seen(), first.decision), ((429, "status 429"), Some(Decision::LeftInDoubt)));
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::InDoubt), 1));
}

#[tokio::test]
async fn g10_headers_are_replayed_raw_with_their_duplicates_in_order() {
    let api = Api::with(Profile::standard(), |_, _| async {
        let mut response = status(303);
        let headers = response.headers_mut();
        headers.append("link", HeaderValue::from_static("<a>; rel=\"x, y\""));
        headers.append("link", HeaderValue::from_static("<b>"));
        headers.append("location", HeaderValue::from_bytes(b"/caf\xe9?a=%2F").unwrap());
        headers.append("x-empty", HeaderValue::from_static(""));
        headers.append("link", HeaderValue::from_bytes(b"<\xff>").unwrap());
        response
    });
    let first = api.post("k").await;
    let retry = api.post("k").await;
    for reply in [first, retry] {
        let links: Vec<_> =
            reply.headers.get_all("link").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(links, [&b"<a>; rel=\"x, y\""[..], b"<b>", b"<\xff>"]);
        assert_eq!(reply.headers["location"].as_bytes(), b"/caf\xe9?a=%2F", "C20");
        assert_eq!(reply.headers["x-empty"].as_bytes(), b"");
        assert_eq!(reply.status, 303);
    }
}

#[tokio::test]
async fn c22_a_status_without_content_is_replayed_without_content() {
    for code in [204, 205, 304] {
        let api = Api::with(Profile::standard(), move |_, _| async move { status(code) });
        for _ in 0..2 {
            let reply = api.post("k").await;
            assert_eq!(reply.seen(), (code, ""));
            let length = (code == 205).then_some("0");
            assert_eq!(reply.header("content-length"), length, "{code}");
        }
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn c27_c28_c29_a_replay_bears_no_header_of_the_first_transmission() {
    let api = Api::with(Profile::standard(), |_, _| async {
        let mut response = created(1);
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("age", "7"),
            ("x-ratelimit-remaining", "7"),
            ("x-request-id", "req_first"),
            ("traceparent", "00-0-0-00"),
            ("set-cookie", "session=CANARY"),
        ] {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    });
    let first = api.post("k").await;
    assert_eq!(first.header("set-cookie"), Some("session=CANARY"), "the first gets its cookie");
    assert_eq!(first.header("x-request-id"), Some("req_first"));
    for payload in api.store.payloads() {
        let text = String::from_utf8_lossy(&payload).into_owned();
        assert!(!text.contains("CANARY"), "a cookie is not even stored");
    }
    let retry = api.post("k").await;
    for name in [
        "connection",
        "x-hop",
        "age",
        "x-ratelimit-remaining",
        "x-request-id",
        "traceparent",
        "set-cookie",
    ] {
        assert_eq!(retry.header(name), None, "{name}");
    }
    assert_eq!(retry.headers.get_all("date").iter().count(), 1);
    let date = httpdate::parse_http_date(retry.header("date").unwrap()).unwrap();
    let age = SystemTime::now().duration_since(date).unwrap_or_default();
    assert!(age < Duration::from_secs(3600), "C28: the date is that of the replay");
}

#[tokio::test]
async fn c29_cookies_can_be_replayed() {
    let mut profile = Profile::standard();
    profile.replay_set_cookie = true;
    let api = Api::with(profile, |_, _| async {
        let mut response = created(1);
        response.headers_mut().append("set-cookie", "a=1".parse().unwrap());
        response.headers_mut().append("set-cookie", "b=2".parse().unwrap());
        response
    });
    for _ in 0..2 {
        let reply = api.post("k").await;
        assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
    }
}

#[tokio::test]
async fn c29_a_cookie_stored_under_another_profile_is_not_replayed() {
    let mut lax = Profile::standard();
    lax.replay_set_cookie = true;
    let before = Api::with(lax, |_, _| async {
        let mut response = created(1);
        response.headers_mut().append("set-cookie", "a=1".parse().unwrap());
        response
    });
    before.post("k").await;
    let after = Api::over(
        before.store.clone(),
        |layer| layer.principal(support::account),
        |_, _| async { status(500) },
    );
    let retry = after.post("k").await;
    assert_eq!((retry.status.as_u16(), retry.header("set-cookie")), (201, None));
}

#[tokio::test]
async fn c25_a_chunked_response_is_collected_and_its_length_said() {
    let api = Api::with(Profile::standard(), |_, _| async {
        let response = Response::builder().header("transfer-encoding", "chunked");
        response.body(pieces([data("ab"), data(""), data("cd"), trailer("x-sum", "1")])).unwrap()
    });
    for _ in 0..2 {
        let response = api.respond(post("k")).await;
        assert_eq!(response.headers()["content-length"], "4");
        assert!(!response.headers().contains_key("transfer-encoding"));
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), None, "C26: dropped, for the first as for the rest");
        assert_eq!(body.to_bytes(), "abcd");
    }
}

#[tokio::test]
async fn c26_a_grpc_response_of_one_message_is_replayed_with_its_trailers() {
    for message in ["", "\0\0\0\0\x02ab"] {
        let api = Api::with(Profile::standard(), move |_, _| async move {
            let response = Response::builder().header("content-type", "application/grpc+proto");
            response.body(pieces([data(message), trailer("grpc-status", "0")])).unwrap()
        });
        for decision in [Decision::Fresh, Decision::Replayed] {
            let response = api.respond(post("k")).await;
            assert_eq!(response.extensions().get(), Some(&decision));
            assert_eq!(response.headers()["trailer"], "grpc-status");
            assert!(!response.headers().contains_key("content-length"));
            let read = response.into_body().collect().await.unwrap();
            assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
            assert_eq!(read.to_bytes(), message);
        }
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn c26_a_second_grpc_message_makes_a_live_stream_of_the_response() {
    let (messages, body) = channel();
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let mut profile = Profile::standard();
    profile.oversize_response = OversizeResponse::OmitBody;
    let api = Api::with(profile, move |_, _| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::builder().header("content-type", "application/grpc").body(body).unwrap() }
    });
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.respond(post("k")).await }
    });
    messages.send(data("\0\0\0\0\x01a")).unwrap();
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished(), "one message may be all there is");
    messages.send(data("\0\0\0\0\x01b")).unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.extensions().get(), Some(&Decision::FreshNotRetained));
    assert_eq!(api.store.states(), [State::Complete], "while the stream is still open");
    messages.send(trailer("grpc-status", "0")).unwrap();
    drop(messages);
    let read = first.into_body().collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(read.to_bytes(), "\0\0\0\0\x01a\0\0\0\0\x01b");
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::NotRetained), 1));
}

#[tokio::test]
async fn c26_trailers_are_stored_where_the_profile_says_so() {
    let mut profile = Profile::standard();
    profile.store_trailers = true;
    let handler = |_, _: Request<Body>| async {
        let response = Response::builder().header("content-length", "4");
        let trailers = [("x-sum", "1"), ("server-timing", "a"), ("idempotency-replayed", "true")];
        let mut map = http::HeaderMap::new();
        for (name, value) in trailers {
            map.insert(name, HeaderValue::from_static(value));
        }
        response.body(pieces([data("abcd"), Ok(http_body::Frame::trailers(map))])).unwrap()
    };
    let api = Api::with(profile, handler);
    for names in [&["x-sum", "server-timing"][..], &["x-sum"]] {
        let response = api.respond(post("k")).await;
        assert!(!response.headers().contains_key("content-length"));
        assert_eq!(response.headers()["trailer"], names.join(", "));
        let read = response.into_body().collect().await.unwrap();
        let trailers = read.trailers().unwrap();
        assert_eq!(
            trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(),
            names,
            "C28, X10"
        );
        assert_eq!(read.to_bytes(), "abcd");
    }
    let dropping = Api::over(api.store.clone(), |layer| layer.principal(support::account), handler);
    let response = dropping.respond(post("k")).await;
    assert_eq!(response.headers()["content-length"], "4");
    assert_eq!(response.into_body().collect().await.unwrap().trailers(), None);
}

#[tokio::test]
async fn c25_a_live_route_is_streamed_and_not_kept_whatever_its_type() {
    let mut profile = Profile::standard();
    profile.live_routes = vec![Route::new(http::Method::POST, "/logs/{id}")];
    let (lines, body) = channel();
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let api = Api::with(profile, move |_, request| {
        let live = request.uri().path() == "/logs/1";
        let body = if live { body.lock().unwrap().take().unwrap() } else { Body::full("whole") };
        async move { Response::new(body) }
    });
    let ask = |path| keyed("POST", path, path).body(Body::empty()).unwrap();
    // A test that fails would wait for the end of the stream.
    let first = tokio::time::timeout(PATIENCE, api.respond(ask("/logs/1")));
    let mut first = first.await.unwrap();
    assert_eq!(first.extensions().get(), Some(&Decision::FreshNotRetained));
    assert_eq!(api.store.states(), [State::Complete], "while the stream is still open");
    lines.send(data("line")).unwrap();
    let frame = first.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "line", "sent as it comes");
    assert_eq!(api.send(ask("/logs/1")).await.json()["code"], "response-not-retained");
    for decision in [Decision::Fresh, Decision::Replayed] {
        assert_eq!(api.send(ask("/logs/1/lines")).await.decision, Some(decision));
    }
}

#[tokio::test]
async fn c24_a_response_over_the_limit_reaches_its_first_client_whole_and_is_never_run_again() {
    for (octets, kept) in [(7, true), (8, true), (9, false), (100, false)] {
        for in_pieces in [false, true] {
            let mut profile = Profile::standard();
            profile.response_octets_max = 8;
            let whole = Bytes::from("x".repeat(octets));
            let body = whole.clone();
            let api = Api::with(profile, move |_, _| {
                let body = if in_pieces {
                    pieces(body.chunks(3).map(|piece| data(piece.to_vec())).collect::<Vec<_>>())
                } else {
                    Body::full(body.clone())
                };
                let response = Response::builder().status(201).header("location", "/things/1");
                async move { response.body(body).unwrap() }
            });
            let first = api.post("k").await;
            assert_eq!((first.status.as_u16(), &first.body), (201, &whole));
            let retry = api.post("k").await;
            if kept {
                assert_eq!((retry.decision, retry.body), (Some(Decision::Replayed), whole));
            } else {
                assert_eq!(first.decision, Some(Decision::FreshNotRetained));
                assert_eq!(
                    (retry.status.as_u16(), retry.decision),
                    (409, Some(Decision::NotRetained))
                );
                assert_eq!(retry.json()["original_status"], 201);
                assert_eq!(retry.header("location"), Some("/things/1"));
            }
            assert_eq!(api.runs(), 1);
        }
    }
}

#[tokio::test]
async fn c24_of_a_response_over_the_limit_status_and_headers_can_be_kept() {
    for in_pieces in [false, true] {
        let mut profile = Profile::standard();
        profile.response_octets_max = 8;
        profile.oversize_response = OversizeResponse::OmitBody;
        let api = Api::with(profile, move |_, _| async move {
            let body = if in_pieces {
                pieces([data("12345"), data("67890")])
            } else {
                Body::full("1234567890")
            };
            Response::builder()
                .status(201)
                .header("location", "/things/1")
                .header("etag", "\"1\"")
                .header("content-encoding", "x-none")
                .header("onceward-body-omitted", "true")
                .body(body)
                .unwrap()
        });
        let first = api.post("k").await;
        assert_eq!(first.seen(), (201, "1234567890"), "the first client gets it all");
        assert_eq!(first.decision, Some(Decision::FreshBodyOmitted));
        assert_eq!(first.header("onceward-body-omitted"), None, "nobody else may say so");
        for _ in 0..2 {
            let retry = api.post("k").await;
            assert_eq!((retry.seen(), retry.decision), ((201, ""), Some(Decision::Replayed)));
            let header = |name| retry.header(name);
            assert_eq!(header("onceward-body-omitted"), Some("true"));
            assert_eq!(header("idempotency-replayed"), Some("true"));
            assert_eq!((header("location"), header("etag")), (Some("/things/1"), Some("\"1\"")));
            assert_eq!((header("content-length"), header("content-encoding")), (Some("0"), None));
        }
        assert_eq!(api.runs(), 1);
    }
}

/// The store's own limit on a payload counts as the profile's does.
#[tokio::test]
async fn c24_of_a_response_over_the_stores_limit_status_and_headers_can_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options = onceward::Options::new().max_payload(1024);
    let store = options.open(directory.path().join("data")).unwrap();
    let mut profile = Profile::standard();
    profile.oversize_response = OversizeResponse::OmitBody;
    let long = tower::service_fn(|request: Request<Body>| async move {
        let response = Response::builder().status(201).header("location", request.uri().path());
        let header = request.headers().get("x-long").cloned();
        let response =
            header.into_iter().fold(response, |response, long| response.header("x", long));
        Ok::<_, std::convert::Infallible>(response.body(Body::full("x".repeat(1024))).unwrap())
    });
    let service = IdempotencyLayer::new(store).profile(profile).single_tenant().layer(long);
    let decide = |request| {
        let service = service.clone();
        async move {
            let response = service.oneshot(request).await.unwrap();
            (*response.extensions().get::<Decision>().unwrap(), response)
        }
    };
    assert_eq!(decide(post("k")).await.0, Decision::FreshBodyOmitted);
    let (decision, retry) = decide(post("k")).await;
    assert_eq!((decision, retry.status().as_u16()), (Decision::Replayed, 201));
    assert_eq!(retry.headers()["onceward-body-omitted"], "true");
    assert_eq!(retry.headers()["location"], "/things");
    let long = || {
        let request = keyed("POST", "/things", "l").header("x-long", "x".repeat(1024));
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(decide(long()).await.0, Decision::FreshNotRetained, "not even the headers fit");
    assert_eq!(decide(long()).await.0, Decision::NotRetained);
}

#[tokio::test]
async fn c28_what_is_volatile_is_a_knob() {
    let mut profile = Profile::standard();
    profile.volatile_headers = vec!["X-Node".into(), "x-Trace-*".into()];
    let api = Api::with(profile, |_, _| async {
        let mut response = created(1);
        for name in ["x-node", "x-trace-id", "x-trace", "x-request-id", "date", "date"] {
            response.headers_mut().append(name, "1".parse().unwrap());
        }
        response
    });
    api.post("k").await;
    let retry = api.post("k").await;
    for (name, kept) in
        [("x-node", false), ("x-trace-id", false), ("x-trace", true), ("x-request-id", true)]
    {
        assert_eq!(retry.headers.contains_key(name), kept, "{name}");
    }
    assert_eq!(retry.headers.get_all("date").iter().count(), 1, "whatever is volatile");
    assert_ne!(retry.header("date"), Some("1"));
}

#[tokio::test]
async fn c24_where_not_even_the_headers_fit_there_is_a_tombstone() {
    for kind in [ErrorKind::PayloadTooLarge, ErrorKind::Full] {
        let mut profile = Profile::standard();
        profile.oversize_response = OversizeResponse::OmitBody;
        let api = Api::new(profile);
        api.store.fail(Fail { complete_refused: Some(kind), ..Fail::default() });
        assert_eq!(api.post("k").await.decision, Some(Decision::FreshNotRetained));
        assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::NotRetained), 1));
    }
}

#[tokio::test]
async fn x1_c24_a_refresh_hook_gives_a_body_to_a_replay_without_one() {
    let mut profile = Profile::standard();
    profile.response_octets_max = 1;
    profile.oversize_response = OversizeResponse::OmitBody;
    let api = Api::layered(
        |layer| {
            layer.profile(profile).single_tenant().refresh(|stored, _| async move {
                assert!(stored.body_omitted);
                Ok(Some(onceward::http::Refreshed::new("now")))
            })
        },
        |n, _| async move { created(n) },
    );
    api.post("k").await;
    let retry = api.post("k").await;
    assert_eq!((retry.seen(), retry.header("onceward-body-omitted")), ((201, "now"), None));
}

#[tokio::test]
async fn x12_in_oec_a_response_not_retained_is_a_500() {
    let mut profile = Profile::oec();
    profile.response_octets_max = 1;
    let api = Api::new(profile);
    assert_eq!(api.send(oec("/projects", "k", "")).await.status, 201);
    let retry = api.send(oec("/projects", "k", "")).await;
    assert_eq!(retry.status, 500);
    assert_eq!(retry.json()["error"], "idempotency_response_not_retained");
}

#[tokio::test]
async fn c32_a_panic_is_a_500_stored_and_replayed() {
    let in_handler = Api::with(Profile::standard(), |_, _| async { panic!("in the handler") });
    let at_call = Api::with(Profile::standard(), |n, _| {
        assert_eq!(n, 0, "a panic before there is a future");
        async { created(0) }
    });
    let in_body = Api::with(Profile::standard(), |_, _| async {
        Response::new(support::stream::untouchable(5))
    });
    for api in [in_handler, at_call, in_body] {
        for decision in [Decision::Fresh, Decision::Replayed] {
            let reply = api.post("k").await;
            assert_eq!((reply.seen().0, reply.decision), (500, Some(decision)));
        }
        assert_eq!(api.store.states(), [State::Complete]);
    }
}

#[tokio::test]
async fn c32_what_a_panic_comes_to_is_a_knob() {
    for (on_panic, first, second) in [
        (OnError::Release, Decision::Released, Decision::Released),
        (OnError::InDoubt, Decision::LeftInDoubt, Decision::InDoubt),
    ] {
        let mut profile = Profile::standard();
        profile.on_panic = on_panic;
        let api = Api::with(profile, |_, _| async { panic!("in the handler") });
        let reply = api.post("k").await;
        assert_eq!((reply.status.as_u16(), reply.decision), (500, Some(first)));
        assert_eq!(api.post("k").await.decision, Some(second));
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_leaves_the_key_in_doubt() {
    let api = Api::with(Profile::standard(), |_, _| async {
        Response::new(pieces([data("half"), Err("cut off".into())]))
    });
    let first = api.post("k").await;
    assert_eq!(
        (first.status.as_u16(), first.json()["code"].as_str()),
        (500, Some("outcome-unknown"))
    );
    assert_eq!((api.post("k").await.decision, api.runs()), (Some(Decision::InDoubt), 1));
}

#[tokio::test]
async fn a_service_that_fails_without_a_response_leaves_the_key_in_doubt() {
    let store = Memory::default();
    let failing = tower::service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, _>("the connection broke")
    });
    let service = IdempotencyLayer::new(store.clone()).single_tenant().layer(failing);
    let error = service.clone().oneshot(post("k")).await.unwrap_err();
    assert_eq!(error, "the connection broke");
    assert_eq!(store.states(), [State::InDoubt]);
    let retry = service.oneshot(post("k")).await.unwrap();
    assert_eq!(retry.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn c35_a_response_the_store_refuses_reaches_its_first_client_and_is_a_tombstone() {
    for kind in [ErrorKind::PayloadTooLarge, ErrorKind::Full] {
        let api = Api::new(Profile::standard());
        api.store.fail(Fail { complete_refused: Some(kind), ..Fail::default() });
        let first = api.post("k").await;
        assert_eq!(first.seen(), (201, "{\"n\":1}"));
        assert_eq!(first.decision, Some(Decision::FreshNotRetained));
        let retry = api.post("k").await;
        assert_eq!(retry.json()["code"], "response-not-retained");
        assert_eq!(retry.json()["location"], "/things/1");
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn c35_a_success_nobody_could_replay_is_never_sent() {
    let full = Some(ErrorKind::Full);
    for fail in [
        Fail { complete_spent: true, ..Fail::default() },
        Fail { complete_refused: full, tombstone: true, ..Fail::default() },
    ] {
        let api = Api::new(Profile::standard());
        api.store.fail(fail);
        let first = api.post("k").await;
        assert_eq!((first.status.as_u16(), first.decision), (500, Some(Decision::StoreFailed)));
        assert_eq!(first.json()["code"], "outcome-unknown");
        assert_eq!(first.json()["retryable"], false);
        let retry = api.post("k").await;
        assert_eq!((retry.status.as_u16(), retry.decision), (409, Some(Decision::InDoubt)));
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn a_damaged_record_is_said_to_be_damaged() {
    let api = Api::new(Profile::standard());
    api.post("k").await;
    for octets in [&b""[..], b"\x03\0\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0", b"{}"] {
        api.store.overwrite_payloads(octets);
        let reply = api.post("k").await;
        assert_eq!((reply.status.as_u16(), reply.decision), (500, Some(Decision::Corrupt)));
        assert_eq!(reply.json()["code"], "record-corrupt");
        assert_eq!(reply.header("idempotency-replayed"), None);
    }
    assert_eq!(api.runs(), 1);
}

/// G10, C24: as many lines as anybody may send are replayed; more than a record can count are a
/// tombstone, and never a record that nobody can read.
#[tokio::test]
async fn g10_c24_header_lines_beyond_counting_are_a_tombstone() {
    for (lines, retried) in [(40_000, Decision::Replayed), (70_000, Decision::NotRetained)] {
        let api = Api::with(Profile::standard(), move |n, _| async move {
            let mut response = created(n);
            for _ in 0..lines {
                response.headers_mut().append("x-line", HeaderValue::from_static("1"));
            }
            response
        });
        let first = api.post("k").await;
        assert_eq!(
            (first.status.as_u16(), first.headers.get_all("x-line").iter().count()),
            (201, lines)
        );
        let retry = api.post("k").await;
        assert_eq!(retry.decision, Some(retried), "{lines}");
        if retried == Decision::Replayed {
            assert_eq!(retry.headers.get_all("x-line").iter().count(), lines);
        }
    }
}
