//! What a profile does in each case of the requirements, found out by asking a layer that has it.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use onceward::ErrorKind;
use onceward::http::{Body, Decision, Outcome, Profile};
use tokio::sync::Notify;

use crate::support::memory::Fail;
use crate::support::{Api, Reply, account, created, keyless, status};

/// On a route that every profile protects.
const PATH: &str = "/api/public/v1/projects";
/// On another.
const OTHER: &str = "/api/public/v1/webhooks";
/// A key that every profile takes.
const KEY: &str = "\"k\"";

/// Each case, and what came of it.
pub(crate) async fn of(profile: &Profile) -> Vec<(String, String)> {
    let mut cases = keys(profile).await;
    cases.extend(coverage(profile).await);
    cases.extend(repeats(profile).await);
    cases.extend(results(profile).await);
    cases.extend(refusals(profile).await);
    cases.into_iter().map(|(numbers, case, seen)| (format!("{numbers}: {case}"), seen)).collect()
}

type Case = (&'static str, &'static str, String);

/// A request as account `a`, with these lines of the profile's key header.
fn asked(profile: &Profile, method: &str, path: &str, keys: &[&str], body: &str) -> Request<Body> {
    let mut request = keyless(method, path);
    for key in keys {
        request = request.header(&profile.header, *key);
    }
    request.body(Body::full(body.to_owned())).unwrap()
}

fn good(profile: &Profile) -> Request<Body> {
    asked(profile, "POST", PATH, &[KEY], "{}")
}

/// A reply as the table has it.
fn said(reply: &Reply) -> String {
    match reply.decision {
        Some(Decision::Replayed) => "the first result".into(),
        Some(Decision::Fresh | Decision::Released | Decision::FreshNotRetained) => {
            "executed".into()
        }
        Some(Decision::Ignored(why)) => match reply.header("onceward-key-ignored") {
            Some(word) => format!("passes, `Onceward-Key-Ignored: {word}`"),
            None if why == onceward::http::Ignored::NoKey => "passes".into(),
            None => "passes, its key ignored".into(),
        },
        _ => {
            format!("{} `{}`", reply.status.as_u16(), code(&reply.body))
        }
    }
}

/// The code of a generated error in the problem dialect, whatever its own: the table is about what
/// differs besides the names.
fn code(body: &[u8]) -> &'static str {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap();
    let own = [&json["code"], &json["error"]["code"], &json["error"]];
    let own = own.into_iter().find_map(|code| code.as_str()).unwrap().to_owned();
    let names = [
        ("missing-key", "key_missing", "idempotency_key_missing"),
        ("invalid-key", "key_invalid", "idempotency_key_invalid"),
        ("upgrade-not-supported", "upgrade_not_supported", "idempotency_upgrade_not_supported"),
        ("key-reused", "key_reused", "idempotency_key_reused"),
        ("in-progress", "in_progress", "idempotency_key_in_use"),
        ("outcome-unknown", "outcome_unknown", "idempotency_outcome_unknown"),
        ("response-not-retained", "response_not_retained", "idempotency_response_not_retained"),
        ("record-corrupt", "record_corrupt", "idempotency_record_corrupt"),
        ("request-too-large", "request_too_large", "request_too_large"),
        ("too-many-in-flight", "too_many_in_flight", "too_many_in_flight"),
        ("store-unavailable", "store_unavailable", "store_unavailable"),
    ];
    let named = names.into_iter().find(|(problem, managed_dev, oec)| {
        own == *problem || own.strip_prefix("idempotency.") == Some(managed_dev) || own == *oec
    });
    named.unwrap_or_else(|| panic!("{own} is no error's code")).0
}

/// What the second of two requests gets.
async fn second(api: &Api, first: Request<Body>, again: Request<Body>) -> String {
    api.send(first).await;
    said(&api.send(again).await)
}

async fn keys(profile: &Profile) -> Vec<Case> {
    let api = Api::new(profile.clone());
    let ask = async |keys: &[&str]| said(&api.send(asked(profile, "POST", PATH, keys, "")).await);
    let mut longest = 0;
    for octets in [63, 64, 65, 254, 255, 256] {
        let key = format!("\"{}\"", "k".repeat(octets));
        if ask(&[&key]).await == "executed" {
            longest = octets;
        }
    }
    vec![
        ("X14, D1", "a bare key", ask(&["bare"]).await),
        ("C5", "a quoted key", ask(&["\"quoted\""]).await),
        ("C3, G22", "the longest key, in octets", longest.to_string()),
        ("C1", "two key lines, equal or not", ask(&["\"a\"", "\"a\""]).await),
        ("C2", "an empty key", ask(&[""]).await),
        ("C4", "a bare key with a space in it", ask(&["a b"]).await),
    ]
}

async fn coverage(profile: &Profile) -> Vec<Case> {
    let mut protected = Vec::new();
    for method in ["POST", "PATCH", "PUT", "DELETE", "GET"] {
        let api = Api::new(profile.clone());
        for _ in 0..2 {
            api.send(asked(profile, method, PATH, &[KEY], "")).await;
        }
        if api.runs() == 1 {
            protected.push(method);
        }
    }
    let api = Api::new(profile.clone());
    let unlisted = asked(profile, "POST", "/elsewhere", &[KEY], "");
    let bad_on_get = asked(profile, "GET", PATH, &["a b"], "");
    let keyless = asked(profile, "POST", PATH, &[], "");
    let mut nobody = good(profile);
    nobody.headers_mut().remove("x-account");
    let mut upgrade = asked(profile, "POST", PATH, &["\"upgrade\""], "");
    upgrade.headers_mut().insert("connection", "upgrade".parse().unwrap());
    upgrade.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let mut cases: Vec<Case> =
        vec![("X4, X5, C7", "methods on which a key has an effect", protected.join(", "))];
    for (numbers, case, request) in [
        ("X15, O7", "a POST that `oec` does not list", unlisted),
        ("X6, D7, C47", "no key", keyless),
        ("C6", "a bad key on a GET", bad_on_get),
        ("C8, G1", "a key without a principal", nobody),
        ("C21", "an upgrade with a key", upgrade),
    ] {
        cases.push((numbers, case, said(&api.send(request).await)));
    }
    cases
}

async fn repeats(profile: &Profile) -> Vec<Case> {
    let api = || Api::new(profile.clone());
    let first = || good(profile);
    let mut cases = Vec::new();
    let mut other_account = good(profile);
    other_account.headers_mut().insert("x-account", "b".parse().unwrap());
    let query = format!("{PATH}?a=1");
    for (numbers, case, again) in [
        ("M6, G10, O4", "the same request again", good(profile)),
        ("C9, X7", "the key on another path", asked(profile, "POST", OTHER, &[KEY], "{}")),
        ("C10", "the key with another query", asked(profile, "POST", &query, &[KEY], "{}")),
        ("X2, X8, M16, D8", "the key with another body", asked(profile, "POST", PATH, &[KEY], "")),
        ("C8", "the key of another principal", other_account),
    ] {
        cases.push((numbers, case, second(&api(), first(), again).await));
    }

    let api = api();
    let (before, after) = (api.send(first()).await, api.send(first()).await);
    let marker = after.headers.keys().find(|name| {
        !before.headers.contains_key(*name) && **name != "date" && **name != profile.header
    });
    let marker = marker.map_or("nothing".into(), |name| {
        format!("`{name}: {}`", after.header(name.as_str()).unwrap())
    });
    cases.push(("X10, X13, O14", "what marks a replay", marker));
    api.store.advance(profile.ttl);
    let at_ttl = said(&api.send(first()).await);
    api.store.advance(Duration::from_millis(1));
    let later = said(&api.send(first()).await);
    assert_eq!((&*at_ttl, &*later), ("the first result", "executed"), "C40");
    let lives = crate::knobs::time(profile.ttl);
    cases.push(("X9, C40", "how long a result lives from its completion", lives));

    let busy = busy(profile, good(profile)).await;
    cases.push(("C37, X3, D9, O15", "a duplicate in flight", busy));
    let busy = self::busy(profile, asked(profile, "POST", PATH, &[KEY], "")).await;
    cases.push(("C38", "the key with another body, in flight", busy));
    cases
}

/// What `duplicate` gets while the first request is at work.
async fn busy(profile: &Profile, duplicate: Request<Body>) -> String {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let desk = (Arc::clone(&arrived), Arc::clone(&go));
    let api = Api::with(profile.clone(), move |n, _| {
        let (arrived, go) = desk.clone();
        async move {
            arrived.notify_one();
            go.notified().await;
            created(n)
        }
    });
    let meanwhile = async {
        arrived.notified().await;
        let seen = said(&api.send(duplicate).await);
        go.notify_one();
        seen
    };
    tokio::join!(api.send(good(profile)), meanwhile).1
}

/// What a retry gets after the handler answered in this way.
async fn after<F>(profile: &Profile, handler: F) -> String
where
    F: Fn() -> Response<Body> + Clone + Send + Sync + 'static,
{
    let api = Api::with(profile.clone(), move |_, _| {
        let handler = handler.clone();
        async move { handler() }
    });
    second(&api, good(profile), good(profile)).await
}

async fn results(profile: &Profile) -> Vec<Case> {
    let mut cases = Vec::new();
    for (numbers, case, code) in [
        ("C20", "a retry after a 302", 302),
        ("C19", "a retry after a 401 or a 403", 403),
        ("X12", "a retry after a handler's 409", 409),
        ("C17", "a retry after a 422", 422),
        ("C18", "a retry after a 429", 429),
        ("C16", "a retry after a 500", 500),
    ] {
        cases.push((numbers, case, after(profile, move || status(code)).await));
    }
    let asks_to_wait = || {
        let mut response = status(503);
        response.headers_mut().insert("retry-after", "1".parse().unwrap());
        response
    };
    let case = "a retry after a 503 with `Retry-After`";
    cases.push(("C18", case, after(profile, asks_to_wait).await));
    let unknown = || {
        let mut response = status(504);
        response.extensions_mut().insert(Outcome::Unknown);
        response
    };
    cases.push(("C34, D6", "a retry of interrupted work", after(profile, unknown).await));
    let streamed = || {
        let mut response = created(1);
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        response
    };
    cases.push(("C24, C25", "a retry after a response not kept", after(profile, streamed).await));
    cases
}

async fn refusals(profile: &Profile) -> Vec<Case> {
    let mut cases = Vec::new();
    for (numbers, case, fail) in [
        (
            "C35",
            "a completion that cannot be written",
            Fail { complete_spent: true, ..Fail::default() },
        ),
        (
            "C36, C48",
            "a store that is full",
            Fail { claim: Some(ErrorKind::Full), ..Fail::default() },
        ),
        (
            "D12",
            "too many requests in flight",
            Fail { claim: Some(ErrorKind::TooManyInFlight), ..Fail::default() },
        ),
    ] {
        let api = Api::new(profile.clone());
        api.store.fail(fail);
        cases.push((numbers, case, said(&api.send(good(profile)).await)));
    }
    let api = Api::new(profile.clone());
    api.send(good(profile)).await;
    api.store.fail(Fail { read: true, ..Fail::default() });
    cases.push(("C24", "a record that is damaged", said(&api.send(good(profile)).await)));
    let mut small = profile.clone();
    small.request_octets_max = 1;
    let api = Api::layered(
        |layer| layer.profile(small).principal(account),
        |n, _| async move { created(n) },
    );
    cases.push(("C13", "a body of more than is accepted", said(&api.send(good(profile)).await)));
    cases
}
