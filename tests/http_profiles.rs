//! What the four documents promise, item by item: M = managed.dev, G = Magnolia, O = oec.sh,
//! D = the IETF draft, X = where they had to be reconciled.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use onceward::http::{
    Body, Decision, IdempotencyLayer, Ignored, InFlight, Mismatch, Profile, Refreshed,
};
use support::{Api, account, created, keyed, keyless, oec, post, status};
use tokio::sync::Notify;

const DAY: Duration = Duration::from_secs(86_400);
const UUID: &str = "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04";

/// Makes a request whose key is good in a profile.
type Good = fn() -> http::Request<Body>;

/// An API of each profile, and a good request, and how to make more of it.
fn each_profile() -> Vec<(Api, http::Request<Body>, Good)> {
    let good = each_good().into_iter();
    good.map(|(profile, request)| (Api::new(profile), request(), request)).collect()
}

/// Each profile, and a request that is good in it.
fn each_good() -> [(Profile, Good); 7] {
    [
        (Profile::standard(), || post("k")),
        (Profile::ietf(), || post("\"k\"")),
        (Profile::managed_dev(), || post("k")),
        (Profile::magnolia(), || post("k")),
        (Profile::oec(), || oec("/projects", "k", "{}")),
        (Profile::stripe(), || post("k")),
        (Profile::adyen(), || post("k")),
    ]
}

#[test]
fn the_tests_know_every_profile() {
    assert_eq!(each_good().map(|(profile, _)| profile), Profile::all());
}

#[tokio::test]
async fn m1_m8_m18_g10_g15_g16_o2_o4_d6_a_retry_gets_the_first_response_and_nothing_runs_again() {
    for (api, request, again) in each_profile() {
        let first = api.send(request).await;
        assert_eq!(first.seen(), (201, "{\"n\":1}"), "O6");
        assert_eq!(first.decision, Some(Decision::Fresh));
        for _ in 0..3 {
            let retry = api.send(again()).await;
            assert_eq!(retry.seen(), first.seen());
            assert_eq!(retry.header("location"), Some("/things/1"));
            assert_eq!(retry.header("content-type"), Some("application/json"));
            assert_eq!(retry.header("content-length"), Some("7"));
            assert_eq!(retry.decision, Some(Decision::Replayed));
        }
        assert_eq!(api.runs(), 1);
    }
}

#[tokio::test]
async fn m5_m7_g14_g17_o3_o5_x9_c40_a_result_lives_a_day_from_its_completion() {
    for (profile, again) in each_good() {
        let ttl = if profile.name == "adyen" { 31 * DAY } else { DAY };
        let api = Api::new(profile);
        api.send(again()).await;
        api.store.advance(ttl);
        assert_eq!(api.send(again()).await.seen(), (201, "{\"n\":1}"), "C42: and is not renewed");
        api.store.advance(Duration::from_millis(1));
        let fresh = api.send(again()).await;
        assert_eq!((fresh.seen(), api.runs()), ((201, "{\"n\":2}"), 2));
    }
}

#[tokio::test]
async fn x13_o14_only_a_replay_bears_the_profiles_marker() {
    let markers = [
        Some("idempotency-replayed"),
        Some("idempotency-replayed"),
        None,
        Some("idempotency-replayed"),
        Some("x-idempotency-replayed"),
        Some("idempotent-replayed"),
        None,
    ];
    for ((api, request, again), marker) in each_profile().into_iter().zip(markers) {
        let (first, retry) = (api.send(request).await, api.send(again()).await);
        for name in ["idempotency-replayed", "x-idempotency-replayed", "idempotent-replayed"] {
            assert_eq!(first.header(name), None);
            let expected = (marker == Some(name)).then_some("true");
            assert_eq!(retry.header(name), expected);
        }
    }
}

#[tokio::test]
async fn x10_a_handlers_own_marker_is_taken_off() {
    let api = Api::with(Profile::oec(), |_, _| async {
        let mut response = created(1);
        response.headers_mut().append("x-idempotency-replayed", "true".parse().unwrap());
        response
    });
    let first = api.send(oec("/projects", "k", "")).await;
    assert_eq!(first.header("x-idempotency-replayed"), None);
    let retry = api.send(oec("/projects", "k", "")).await;
    assert_eq!(retry.headers.get_all("x-idempotency-replayed").iter().count(), 1);
}

#[tokio::test]
async fn m9_m10_m11_a_stored_202_stays_202() {
    let api = Api::with(Profile::managed_dev(), |_, _| async {
        let mut response = created(1);
        *response.status_mut() = StatusCode::ACCEPTED;
        response
    });
    assert_eq!(api.post(UUID).await.status, 202);
    assert_eq!(api.post(UUID).await.status, 202);
    assert_eq!(api.post("another-key").await.status, 202, "M12");
    assert_eq!(api.runs(), 2, "M12");
}

#[tokio::test]
async fn x1_a_refresh_hook_makes_the_body_anew_and_nothing_else() {
    let api = Api::layered(
        |layer| {
            layer.profile(Profile::managed_dev()).principal(account).refresh(
                |stored, parts| async move {
                    assert_eq!(stored.body, "{\"n\":1}");
                    assert_eq!(parts.uri.path(), "/things");
                    Ok(Some(Refreshed::new("{\"n\":1,\"status\":\"failed\"}")))
                },
            )
        },
        |n, _| async move {
            let mut response = created(n);
            *response.status_mut() = StatusCode::ACCEPTED;
            response.headers_mut().insert("etag", "\"old\"".parse().unwrap());
            response
        },
    );
    let first = api.post("k").await;
    assert_eq!((first.seen(), first.header("etag")), ((202, "{\"n\":1}"), Some("\"old\"")));
    let retry = api.post("k").await;
    assert_eq!(retry.seen(), (202, "{\"n\":1,\"status\":\"failed\"}"));
    assert_eq!(retry.header("location"), Some("/things/1"));
    assert_eq!(retry.header("content-type"), Some("application/json"));
    assert_eq!(retry.header("content-length"), Some("25"));
    assert_eq!(retry.header("etag"), None);
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn x1_a_refresh_hook_that_fails_leaves_the_stored_response() {
    for way in 0..3 {
        let api = Api::layered(
            |layer| {
                layer.single_tenant().refresh(move |_, _| async move {
                    match way {
                        0 => Ok(None),
                        1 => Err("no".into()),
                        _ => panic!("in the hook"),
                    }
                })
            },
            |n, _| async move { created(n) },
        );
        api.post("k").await;
        let retry = api.post("k").await;
        assert_eq!((retry.seen(), retry.decision), ((201, "{\"n\":1}"), Some(Decision::Replayed)));
    }
}

#[tokio::test]
async fn m3_m14_g1_g5_g6_g20_o10_x4_x5_each_profile_protects_its_own_methods() {
    let protected: [(Profile, &[&str]); 7] = [
        (Profile::standard(), &["POST", "PATCH"]),
        (Profile::ietf(), &["POST", "PATCH"]),
        (Profile::managed_dev(), &["POST"]),
        (Profile::magnolia(), &["POST", "PATCH"]),
        (Profile::oec(), &["POST"]),
        (Profile::stripe(), &["POST"]),
        (Profile::adyen(), &["POST"]),
    ];
    for (profile, protected) in protected {
        let header = profile.header.clone();
        let api = Api::new(profile);
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "POST"] {
            let (runs, lookups) = (api.runs(), api.store.lookups());
            for _ in 0..2 {
                let request = keyless(method, "/api/public/v1/projects")
                    .header(&header, format!("\"{method}\""))
                    .body(Body::empty())
                    .unwrap();
                let reply = api.send(request).await;
                let ignored = reply.decision == Some(Decision::Ignored(Ignored::Method));
                assert_eq!(ignored, !protected.contains(&method), "{method}");
            }
            let expected = if protected.contains(&method) { 1 } else { 2 };
            assert_eq!(api.runs() - runs, expected, "{method}");
            if expected == 2 {
                assert_eq!(api.store.lookups(), lookups, "C7: the store is not touched");
            }
        }
    }
}

#[tokio::test]
async fn m15_g18_o17_x6_d7_c47_a_key_is_required_by_the_draft_alone() {
    for profile in Profile::all() {
        let required = profile.name == "ietf";
        let api = Api::new(profile);
        for _ in 0..2 {
            let request = keyless("POST", "/api/public/v1/projects").body(Body::empty()).unwrap();
            let reply = api.send(request).await;
            assert_eq!(reply.status, if required { 400 } else { 201 });
        }
        assert_eq!(api.runs(), if required { 0 } else { 2 });
        assert_eq!(api.store.lookups(), 0);
    }
}

#[tokio::test]
async fn m16_d8_a_changed_body_is_a_conflict_and_does_not_execute() {
    for (profile, expected) in [
        (Profile::standard(), 422),
        (Profile::managed_dev(), 409),
        (Profile::magnolia(), 422),
        (Profile::stripe(), 400),
    ] {
        let api = Api::new(profile);
        api.post("k").await;
        let changed = keyed("POST", "/things", "k").body(Body::full("{ }")).unwrap();
        let reply = api.send(changed).await;
        assert_eq!(reply.status, expected);
        assert_eq!(reply.decision, Some(Decision::Mismatch));
        assert_eq!(api.runs(), 1);
        assert_eq!(api.post("k").await.seen(), (201, "{\"n\":1}"), "C39: the record is untouched");
    }
}

#[tokio::test]
async fn adyen_replays_the_first_result_to_the_whole_company_whatever_the_request() {
    let api = Api::new(Profile::adyen());
    for (path, body) in [("/payments", "{}"), ("/payments", "{\"a\":1}"), ("/refunds", "")] {
        let request = keyed("POST", path, "k").body(Body::full(body)).unwrap();
        assert_eq!(api.send(request).await.seen(), (201, "{\"n\":1}"), "{path} {body}");
    }
    assert_eq!(api.runs(), 1);
    let key = |octets| post(&"k".repeat(octets));
    assert_eq!(api.send(key(64)).await.status, 201);
    assert_eq!(api.send(key(65)).await.status, 400, "C3: 64 octets at most");
}

/// "Retries return the same result, 500s too", and a 400 replays as a 400; what never reached the
/// endpoint is not kept.
#[tokio::test]
async fn stripe_keeps_what_its_endpoint_answered() {
    for (code, runs) in [(400, 1), (402, 1), (500, 1), (503, 1), (401, 2), (429, 2)] {
        let api = Api::with(Profile::stripe(), move |_, _| async move { status(code) });
        for _ in 0..2 {
            assert_eq!(api.post("k").await.status, code, "C16, C17");
        }
        assert_eq!(api.runs(), runs, "{code}: C16 to C19");
    }
}

#[tokio::test]
async fn m2_g2_o1_each_profile_reads_its_own_header_alone() {
    for profile in Profile::all() {
        let own = if profile.name == "oec" { "x-idempotency-key" } else { "idempotency-key" };
        let required = profile.key_required;
        assert_eq!(profile.header, own, "{}", profile.name);
        let api = Api::new(profile);
        for name in ["idempotency-key", "x-idempotency-key"] {
            let runs = api.runs();
            for _ in 0..2 {
                let request = keyless("POST", "/api/public/v1/projects").header(name, "\"k\"");
                api.send(request.body(Body::empty()).unwrap()).await;
            }
            let expected = match (name == own, required) {
                (true, _) => 1,
                (false, true) => 0,
                (false, false) => 2,
            };
            assert_eq!(api.runs() - runs, expected, "{name}");
        }
    }
}

/// G2: `Idempotency-Key`, and the draft for what Magnolia's document leaves open.
#[tokio::test]
async fn g2_magnolia_follows_the_draft_where_it_is_silent() {
    let (magnolia, draft) = (Profile::magnolia(), Profile::ietf());
    let mut alike = draft.clone();
    (alike.name, alike.key_syntax, alike.key_required) =
        (magnolia.name.clone(), magnolia.key_syntax, magnolia.key_required);
    assert_eq!(magnolia, alike, "X6 and X14 alone set them apart");
    let api = Api::new(magnolia);
    api.post("k").await;
    let reply = api.send(keyed("POST", "/things", "k").body(Body::full("x")).unwrap()).await;
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.json()["title"], "Idempotency-Key is already used", "D8");
}

/// G3, M17: the response is lost on its way, and nobody has read any of it.
#[tokio::test]
async fn g3_m17_a_lost_response_is_there_for_the_retry() {
    for (api, request, again) in each_profile() {
        drop(api.respond(request).await);
        assert_eq!(api.send(again()).await.seen(), (201, "{\"n\":1}"));
        assert_eq!(api.runs(), 1);
    }
}

/// G11, D2: keys are the client's. None is made for a request without one, and one used again for
/// something else never gets that done where requests are compared.
#[tokio::test]
async fn g11_d2_nobody_makes_a_key_but_the_client() {
    for profile in Profile::all().into_iter().filter(|profile| !profile.key_required) {
        let header = profile.header.clone();
        let api = Api::with(profile, |_, request| async move {
            let known = request.extensions().get::<onceward::http::Idempotency>();
            status(if known.is_some() { 500 } else { 201 })
        });
        let request = keyless("POST", "/api/public/v1/projects").body(Body::empty()).unwrap();
        let reply = api.send(request).await;
        assert_eq!((reply.status.as_u16(), reply.header(header.as_str())), (201, None));
        assert_eq!(api.store.lookups(), 0);
    }
    let api = Api::new(Profile::ietf());
    for (body, expected) in [("a", 201), ("b", 422), ("c", 422)] {
        let request = keyed("POST", "/things", "\"k\"").body(Body::full(body)).unwrap();
        assert_eq!(api.send(request).await.status, expected, "D2");
    }
    assert_eq!(api.runs(), 1, "D2");
}

/// O8: a repeated creation finds what was created.
#[tokio::test]
async fn o8_a_repeated_creation_gives_back_what_was_created() {
    let api = Api::new(Profile::oec());
    for (n, path) in ["/projects", "/environments", "/webhooks"].into_iter().enumerate() {
        let (first, again) =
            (api.send(oec(path, "k", "")).await, api.send(oec(path, "k", "")).await);
        let location = format!("/things/{}", n + 1);
        assert_eq!(again.header("location"), Some(&*location), "{path}");
        assert_eq!(
            (again.seen(), again.header("location")),
            (first.seen(), first.header("location"))
        );
    }
    assert_eq!(api.runs(), 3);
}

#[tokio::test]
async fn x3_managed_dev_in_flight_is_a_409_in_its_envelope_that_says_when_to_retry() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let desk = (Arc::clone(&arrived), Arc::clone(&go));
    let api = Api::with(Profile::managed_dev(), move |n, _| {
        let (arrived, go) = desk.clone();
        async move {
            arrived.notify_one();
            go.notified().await;
            created(n)
        }
    });
    let meanwhile = async {
        arrived.notified().await;
        let reply = api.post("k").await;
        go.notify_one();
        reply
    };
    let (first, busy) = tokio::join!(api.post("k"), meanwhile);
    assert_eq!((first.status.as_u16(), busy.status.as_u16()), (201, 409));
    assert_eq!(busy.json()["error"]["type"], "conflict");
    assert_eq!(busy.json()["error"]["code"], "idempotency.in_progress");
    assert_eq!(busy.header("retry-after"), Some("1"));
}

/// X16: an error is a result, but for those that say that nothing was done (C16 to C19, X12).
#[tokio::test]
async fn x16_errors_are_stored_but_for_those_that_say_that_nothing_was_done() {
    for (profile, good) in each_good() {
        let released: &[u16] =
            if profile.name == "oec" { &[401, 403, 409, 425, 429] } else { &[401, 403, 425, 429] };
        for code in 400..=599 {
            let api = Api::with(profile.clone(), move |_, _| async move { status(code) });
            for _ in 0..2 {
                assert_eq!(api.send(good()).await.status, code);
            }
            let expected = if released.contains(&code) { 2 } else { 1 };
            assert_eq!(api.runs(), expected, "{} {code}", profile.name);
        }
    }
}

#[tokio::test]
async fn c23_a_head_is_executed_each_time() {
    for profile in Profile::all() {
        let header = profile.header.clone();
        let api = Api::new(profile);
        for n in 1..=2 {
            let request = keyless("HEAD", "/api/public/v1/projects").header(&header, "\"k\"");
            let reply = api.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(reply.decision, Some(Decision::Ignored(Ignored::Method)));
            assert_eq!((api.runs(), api.store.lookups()), (n, 0));
        }
    }
}

/// C11: by default white space and the order of members count.
#[tokio::test]
async fn c11_bodies_are_compared_octet_by_octet_unless_told_otherwise() {
    for profile in [Profile::standard(), Profile::managed_dev(), Profile::stripe()] {
        let api = Api::new(profile);
        let ask = |body: &'static str| {
            let request = keyed("POST", "/things", "k").header("content-type", "application/json");
            api.send(request.body(Body::full(body)).unwrap())
        };
        assert_eq!(ask(r#"{"a":1,"b":2}"#).await.status, 201);
        for other in [r#"{"a":1, "b":2}"#, r#"{"b":2,"a":1}"#] {
            assert_eq!(ask(other).await.decision, Some(Decision::Mismatch), "{other}");
        }
        assert_eq!(ask(r#"{"a":1,"b":2}"#).await.decision, Some(Decision::Replayed));
    }
}

/// D13: what the draft has no word for can be turned off, and set.
#[tokio::test]
async fn d13_marker_lifetime_and_length_are_knobs() {
    let mut profile = Profile::ietf();
    (profile.marker, profile.ttl, profile.key_octets_max) = (None, Duration::from_secs(1), 8);
    let api = Api::new(profile);
    api.post("\"12345678\"").await;
    let again = api.post("\"12345678\"").await;
    assert_eq!(again.decision, Some(Decision::Replayed));
    assert_eq!(again.header("idempotency-replayed"), None);
    assert_eq!(api.post("\"123456789\"").await.status, 400);
    api.store.advance(Duration::from_millis(1_001));
    assert_eq!(api.post("\"12345678\"").await.json()["n"], 2);
}

#[tokio::test]
async fn x2_the_status_of_a_mismatch_is_a_knob() {
    let mut profile = Profile::managed_dev();
    profile.mismatch = Mismatch::Reject(StatusCode::BAD_REQUEST);
    let api = Api::new(profile);
    api.post("k").await;
    let changed = keyed("POST", "/things", "k").body(Body::full("x")).unwrap();
    let reply = api.send(changed).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["code"], "idempotency.key_reused");
}

#[tokio::test]
async fn x7_c9_c10_elsewhere_a_key_is_a_conflict_and_in_oec_another_key() {
    let api = Api::new(Profile::magnolia());
    api.post("k").await;
    for (method, path) in [("POST", "/others"), ("PATCH", "/things"), ("POST", "/things?a=1")] {
        let request = keyed(method, path, "k").body(Body::full("{}")).unwrap();
        assert_eq!(api.send(request).await.status, 422, "{method} {path}");
    }
    assert_eq!(api.runs(), 1);

    let api = Api::new(Profile::oec());
    for (path, n) in [
        ("/projects", 1),
        ("/webhooks", 2),
        ("/environments/a/actions/deploy", 3),
        ("/environments/b/actions/deploy", 4),
        ("/projects?dry=1", 1),
    ] {
        let reply = api.send(oec(path, "gh-actions-run-12345678", "")).await;
        assert_eq!(reply.json()["n"], n, "{path}");
    }
}

#[tokio::test]
async fn o12_x8_oec_replays_the_first_result_whatever_the_body() {
    let api = Api::new(Profile::oec());
    for body in ["{\"a\":1}", "{\"a\":2}", ""] {
        let reply = api.send(oec("/projects", "k", body)).await;
        assert_eq!(reply.seen(), (201, "{\"n\":1}"));
    }
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn x8_oec_can_be_told_to_compare() {
    let mut profile = Profile::oec();
    profile.mismatch = Mismatch::Reject(StatusCode::UNPROCESSABLE_ENTITY);
    let api = Api::new(profile);
    api.send(oec("/projects", "k", "a")).await;
    let reply = api.send(oec("/projects", "k", "b")).await;
    assert_eq!((reply.status.as_u16(), api.runs()), (422, 1));
    assert_eq!(reply.json()["error"], "idempotency_key_reused");
}

#[tokio::test]
async fn o12_a_record_from_when_requests_were_compared_is_replayed_all_the_same() {
    let mut comparing = Profile::oec();
    comparing.mismatch = Mismatch::Reject(StatusCode::UNPROCESSABLE_ENTITY);
    let before = Api::with(comparing, |n, _| async move { created(n) });
    before.send(oec("/projects", "k", "a")).await;
    for in_flight in [InFlight::Reject, InFlight::Wait(Duration::ZERO)] {
        let mut profile = Profile::oec();
        profile.in_flight = in_flight;
        let after = Api::over(
            before.store.clone(),
            |layer| layer.profile(profile).principal(account),
            |_, _| async { status(500) },
        );
        let reply = after.send(oec("/projects", "k", "b")).await;
        assert_eq!((reply.seen(), reply.decision), ((201, "{\"n\":1}"), Some(Decision::Replayed)));
    }
}

#[tokio::test]
async fn x15_an_unlisted_post_passes_and_says_so() {
    let api = Api::new(Profile::oec());
    for n in 1..=2 {
        let reply = api.send(oec("/databases", "k", "")).await;
        assert_eq!(reply.json()["n"], n);
        assert_eq!(reply.header("onceward-key-ignored"), Some("route"));
        assert_eq!(reply.decision, Some(Decision::Ignored(Ignored::Route)));
    }
    let mut profile = Profile::oec();
    profile.enforce_unlisted = true;
    let api = Api::new(profile);
    for _ in 1..=2 {
        let reply = api.send(oec("/databases", "k", "")).await;
        assert_eq!(
            (reply.json()["n"].as_i64(), reply.header("onceward-key-ignored")),
            (Some(1), None)
        );
    }
}

#[tokio::test]
async fn c8_g1_a_request_without_a_principal_passes_and_says_so() {
    for report in [true, false] {
        let mut profile = Profile::magnolia();
        profile.report_ignored = report;
        let api = Api::new(profile);
        for n in 1..=2 {
            let request = http::Request::post("/things").header("idempotency-key", "k");
            let reply = api.send(request.body(Body::full("{}")).unwrap()).await;
            assert_eq!(reply.json()["n"], n);
            let expected = report.then_some("no-principal");
            assert_eq!(reply.header("onceward-key-ignored"), expected);
        }
        let request = http::Request::post("/things").body(Body::full("{}")).unwrap();
        let reply = api.send(request).await;
        assert_eq!(reply.header("onceward-key-ignored"), None, "there was no key to ignore");
        assert_eq!(api.store.lookups(), 0);
    }
}

#[tokio::test]
async fn c8_another_tenants_key_is_another_key() {
    let api = Api::new(Profile::standard());
    api.post("k").await;
    let request = http::Request::post("/things").header("x-account", "b");
    let request = request.header("idempotency-key", "k").body(Body::full("{}")).unwrap();
    assert_eq!(api.send(request).await.json()["n"], 2);
    let all = Api::layered(IdempotencyLayer::single_tenant, |n, _| async move { created(n) });
    for account in ["a", "b"] {
        let request = http::Request::post("/things").header("x-account", account);
        let request = request.header("idempotency-key", "k").body(Body::full("{}")).unwrap();
        assert_eq!(all.send(request).await.json()["n"], 1, "all are one tenant, {account} too");
    }
}

#[tokio::test]
async fn m4_g9_g21_o11_c5_keys_are_bare_or_quoted_and_have_case() {
    let api = Api::new(Profile::magnolia());
    for (n, spellings) in [
        (1, [UUID.to_owned(), format!("\"{UUID}\""), format!(" {UUID} ")]),
        (2, ["Key".into(), "\"Key\"".into(), "\"Key\";v=1".into()]),
        (3, ["key".into(), "\"key\"".into(), "key".into()]),
    ] {
        for key in spellings {
            assert_eq!(api.post(&key).await.json()["n"], n, "{key}");
        }
    }
}

#[tokio::test]
async fn x14_d1_the_draft_takes_quoted_keys_alone() {
    let api = Api::new(Profile::ietf());
    for (key, expected) in [(UUID, 400), ("\"k\"", 201), ("\"k\";v=1", 201), ("\"k", 400)] {
        assert_eq!(api.post(key).await.status, expected, "{key}");
    }
    assert_eq!(api.runs(), 1);
}

#[tokio::test]
async fn c1_c2_c3_c4_a_key_that_cannot_be_one_is_refused_before_anything() {
    for profile in Profile::all() {
        let header = profile.header.clone();
        let api = Api::new(profile);
        let lines: [&[&[u8]]; 8] = [
            &[b"\"k\"", b"\"k\""],
            &[b"\"a\", \"b\""],
            &[b""],
            &[b"  "],
            &[b"\"\""],
            &[&[b'k'; 256]],
            &[b"\"caf\xc3\xa9\""],
            &[b"a b"],
        ];
        for lines in lines {
            let mut request = keyless("POST", "/api/public/v1/projects");
            for line in lines {
                request = request.header(&header, *line);
            }
            let reply = api.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((reply.status.as_u16(), reply.decision), (400, Some(Decision::Refused)));
        }
        // C6: on a method that is not protected, a bad key has no effect either.
        let request = keyless("GET", "/api/public/v1/projects").header(&header, "a b");
        assert_eq!(api.send(request.body(Body::empty()).unwrap()).await.status, 201);
        assert_eq!((api.runs(), api.store.lookups()), (1, 0));
    }
}

#[tokio::test]
async fn x11_a_header_alias_is_a_knob() {
    let mut profile = Profile::oec();
    profile.header_aliases.push(http::HeaderName::from_static("idempotency-key"));
    let api = Api::new(profile);
    let path = "/api/public/v1/projects";
    for name in ["x-idempotency-key", "idempotency-key"] {
        let request = keyless("POST", path).header(name, "k").body(Body::empty()).unwrap();
        assert_eq!(api.send(request).await.json()["n"], 1);
    }
    let both =
        keyless("POST", path).header("idempotency-key", "k").header("x-idempotency-key", "k");
    assert_eq!(api.send(both.body(Body::empty()).unwrap()).await.status, 400, "C1");
}

#[tokio::test]
async fn x12_oec_releases_the_key_when_the_handler_is_busy() {
    let api =
        Api::with(
            Profile::oec(),
            |n, _| async move { if n == 1 { status(409) } else { created(n) } },
        );
    let first = api.send(oec("/projects", "k", "")).await;
    assert_eq!((first.seen(), first.decision), ((409, "status 409"), Some(Decision::Released)));
    assert_eq!(api.send(oec("/projects", "k", "")).await.json()["n"], 2);
    // Elsewhere a 409 is a result like another.
    let api = Api::with(Profile::magnolia(), |_, _| async { status(409) });
    for _ in 0..2 {
        assert_eq!(api.post("k").await.seen(), (409, "status 409"));
    }
    assert_eq!(api.runs(), 1);
}
