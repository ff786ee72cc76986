//! Generated errors, octet by octet, in the three dialects (section C's table).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use onceward::http::{Condition, KeyFault, Mismatch, Profile, Tombstone};

async fn error(profile: &Profile, condition: &Condition) -> (u16, HeaderMap, Bytes) {
    let mut request = HeaderMap::new();
    request.insert("x-request-id", HeaderValue::from_static("req_1"));
    let (parts, body) = profile.error(condition, &request).into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
}

fn left() -> Tombstone {
    let mut headers = HeaderMap::new();
    headers.insert("location", HeaderValue::from_static("/things/1"));
    Tombstone::of(http::StatusCode::CREATED, &headers)
}

/// condition; code, problem status; M status, type, code; O status, code; Retry-After; retryable.
type Row = (
    Condition,
    (&'static str, u16),
    (u16, &'static str, &'static str),
    (u16, &'static str),
    bool,
    bool,
);

#[rustfmt::skip]
fn table() -> [Row; 16] {
    [
        (Condition::MissingKey, ("missing-key", 400),
            (400, "invalid_request", "idempotency.key_missing"), (400, "idempotency_key_missing"), false, false),
        (Condition::InvalidKey(KeyFault::Malformed), ("invalid-key", 400),
            (400, "invalid_request", "idempotency.key_invalid"), (400, "idempotency_key_invalid"), false, false),
        (Condition::UpgradeNotSupported, ("upgrade-not-supported", 400),
            (400, "invalid_request", "idempotency.upgrade_not_supported"), (400, "idempotency_upgrade_not_supported"), false, false),
        (Condition::KeyReused, ("key-reused", 422),
            (409, "conflict", "idempotency.key_reused"), (422, "idempotency_key_reused"), false, false),
        (Condition::InProgress, ("in-progress", 409),
            (409, "conflict", "idempotency.in_progress"), (409, "idempotency_key_in_use"), true, true),
        (Condition::OutcomeUnknown, ("outcome-unknown", 409),
            (409, "conflict", "idempotency.outcome_unknown"), (500, "idempotency_outcome_unknown"), false, false),
        (Condition::ResponseNotRetained(Some(left())), ("response-not-retained", 409),
            (409, "conflict", "idempotency.response_not_retained"), (500, "idempotency_response_not_retained"), false, false),
        (Condition::RecordCorrupt, ("record-corrupt", 500),
            (500, "api_error", "idempotency.record_corrupt"), (500, "idempotency_record_corrupt"), false, false),
        (Condition::CompletionNotWritten, ("outcome-unknown", 500),
            (500, "api_error", "idempotency.outcome_unknown"), (500, "idempotency_outcome_unknown"), false, false),
        (Condition::ResponseTimeout, ("response-timeout", 504),
            (504, "api_error", "idempotency.response_timeout"), (504, "response_timeout"), true, true),
        (Condition::HandlerStopped, ("outcome-unknown", 504),
            (504, "api_error", "idempotency.outcome_unknown"), (504, "idempotency_outcome_unknown"), false, false),
        (Condition::RequestTooLarge, ("request-too-large", 413),
            (413, "invalid_request", "idempotency.request_too_large"), (413, "request_too_large"), false, false),
        (Condition::TooManyInFlight, ("too-many-in-flight", 429),
            (429, "rate_limit", "idempotency.too_many_in_flight"), (429, "too_many_in_flight"), true, true),
        (Condition::StoreUnavailable, ("store-unavailable", 503),
            (503, "api_error", "idempotency.store_unavailable"), (503, "store_unavailable"), true, true),
        (Condition::UpstreamUnreachable, ("upstream-unreachable", 502),
            (502, "api_error", "idempotency.upstream_unreachable"), (502, "upstream_unreachable"), false, true),
        (Condition::UpstreamBroken, ("outcome-unknown", 502),
            (502, "api_error", "idempotency.outcome_unknown"), (502, "idempotency_outcome_unknown"), false, false),
    ]
}

#[tokio::test]
async fn every_error_is_as_the_table_says_in_every_dialect() {
    for (condition, problem, managed, oec, retry_after, retryable) in table() {
        for profile in Profile::all() {
            let (status, headers, body) = error(&profile, &condition).await;
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let case = format!("{} {condition:?}: {json}", profile.name);
            assert_eq!(headers["cache-control"], "no-store", "{case}");
            assert_eq!(headers["content-length"], body.len().to_string(), "{case}");
            assert_eq!(headers.contains_key("retry-after"), retry_after, "{case}");
            for marker in ["idempotency-replayed", "x-idempotency-replayed"] {
                assert!(!headers.contains_key(marker), "{case}");
            }
            let docs_url = format!("https://onceward.example/docs/http.md#{}", problem.0);
            let members = match &*profile.name {
                "managed-dev" => {
                    assert_eq!(headers["content-type"], "application/json", "{case}");
                    assert_eq!(status, managed.0, "{case}");
                    assert_eq!(json["request_id"], "req_1", "{case}");
                    assert_eq!(json["error"]["type"], managed.1, "{case}");
                    assert_eq!(json["error"]["code"], managed.2, "{case}");
                    assert_eq!(json["error"]["doc_url"], docs_url, "{case}");
                    assert!(json["error"]["message"].is_string(), "{case}");
                    &json["error"]
                }
                "oec" => {
                    assert_eq!(headers["content-type"], "application/json", "{case}");
                    assert_eq!((status, &json["error"]), (oec.0, &oec.1.into()), "{case}");
                    assert!(json["message"].is_string(), "{case}");
                    &json
                }
                _ => {
                    assert_eq!(headers["content-type"], "application/problem+json", "{case}");
                    assert_eq!(headers["content-language"], "en", "D10: {case}");
                    let link = format!("<{docs_url}>; rel=\"describedby\"; type=\"text/html\"");
                    assert_eq!(headers["link"], link, "D10: {case}");
                    let expected = match (&condition, profile.mismatch) {
                        (Condition::KeyReused, Mismatch::Reject(status)) => status.as_u16(),
                        _ => problem.1,
                    };
                    assert_eq!(status, expected, "X2: {case}");
                    assert_eq!(json["status"], status, "RFC 9457: {case}");
                    assert_eq!(json["code"], problem.0, "{case}");
                    assert_eq!(json["type"], docs_url, "{case}");
                    assert!(json["title"].is_string() && json["detail"].is_string(), "{case}");
                    &json
                }
            };
            let in_use = profile.name == "oec" && condition == Condition::InProgress;
            if !in_use {
                assert_eq!(members["retryable"], retryable, "{case}");
            }
            let kept = matches!(condition, Condition::ResponseNotRetained(_));
            assert_eq!(members.get("original_status").is_some(), kept, "{case}");
            if kept {
                assert_eq!(members["original_status"], 201, "C24: {case}");
                assert_eq!(members["location"], "/things/1", "C24: {case}");
                assert_eq!(headers["location"], "/things/1", "C24: {case}");
            }
        }
    }
}

#[tokio::test]
async fn o15_the_body_in_flight_is_exactly_the_documented_one() {
    let (status, headers, body) = error(&Profile::oec(), &Condition::InProgress).await;
    assert_eq!(
        body,
        "{\"error\":\"idempotency_key_in_use\",\"message\":\"A request with this idempotency key \
         is already being processed. Retry after a moment.\"}"
    );
    assert_eq!((status, &headers["retry-after"]), (409, &HeaderValue::from_static("1")));
}

#[tokio::test]
async fn d7_d8_d9_the_titles_are_the_drafts() {
    for (condition, title) in [
        (Condition::MissingKey, "Idempotency-Key is missing"),
        (Condition::KeyReused, "Idempotency-Key is already used"),
        (Condition::InProgress, "A request is outstanding for this Idempotency-Key"),
    ] {
        let (_, _, body) = error(&Profile::ietf(), &condition).await;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["title"], title);
    }
}

#[tokio::test]
async fn one_error_of_each_dialect_is_golden() {
    let golden = |profile| async move { error(&profile, &Condition::KeyReused).await.2 };
    let detail = "This key was used with a different request, and this request was not executed. \
                  Use a new key for a new request.";
    let docs_url = "https://onceward.example/docs/http.md#key-reused";
    assert_eq!(
        golden(Profile::magnolia()).await,
        format!(
            "{{\"type\":\"{docs_url}\",\"title\":\"Idempotency-Key is already used\",\
             \"status\":422,\"detail\":\"{detail}\",\"code\":\"key-reused\",\"retryable\":false}}"
        )
    );
    assert_eq!(
        golden(Profile::managed_dev()).await,
        format!(
            "{{\"error\":{{\"type\":\"conflict\",\"code\":\"idempotency.key_reused\",\
             \"message\":\"{detail}\",\"doc_url\":\"{docs_url}\",\"retryable\":false}},\
             \"request_id\":\"req_1\"}}"
        )
    );
    assert_eq!(
        golden(Profile::oec()).await,
        format!(
            "{{\"error\":\"idempotency_key_reused\",\"message\":\"{detail}\",\"retryable\":false}}"
        )
    );
}

#[tokio::test]
async fn the_place_errors_point_to_is_a_knob() {
    for (docs_url, expected) in [
        ("https://example.com/docs", "https://example.com/docs"),
        ("https://example.com/{code}.html", "https://example.com/missing-key.html"),
    ] {
        let mut profile = Profile::ietf();
        profile.docs_url = docs_url.into();
        let (_, headers, body) = error(&profile, &Condition::MissingKey).await;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["type"], expected);
        assert!(headers["link"].to_str().unwrap().starts_with(&format!("<{expected}>")));
    }
}

/// Every code has its place in the documentation, where the errors point to.
#[test]
fn every_code_has_an_anchor_in_the_documentation() {
    let docs = std::fs::read_to_string("docs/http.md").unwrap();
    for (condition, ..) in table() {
        let anchor = format!("<a id=\"{}\"></a>", condition.code());
        assert!(docs.contains(&anchor), "{anchor}");
    }
}
