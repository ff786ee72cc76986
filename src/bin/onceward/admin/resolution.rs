//! What somebody who knows better says about a key in doubt: the body of `resolve`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use onceward::Resolution;
use onceward::http::StoredResponse;
use serde::Deserialize;

use super::refusal::Refusal;
use crate::octets;

/// The body, as it is written: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    release: bool,
    complete: Option<Response>,
}

/// The response that replays are to give.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body_base64: String,
}

/// Reads the body of `resolve`.
pub(super) fn read(body: &[u8]) -> Result<Resolution, Refusal> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body: {error}")))?;
    match body {
        Body { release: true, complete: None } => Ok(Resolution::Release),
        Body { release: false, complete: Some(response) } => {
            response.stored().map(|stored| Resolution::Complete(stored.encode()))
        }
        _ => Err(Refusal::bad_request("the body: either `\"release\":true` or `complete`")),
    }
}

impl Response {
    fn stored(self) -> Result<StoredResponse, Refusal> {
        // An interim response answers nothing (C21).
        let status = StatusCode::from_u16(self.status)
            .ok()
            .filter(|status| (200..600).contains(&status.as_u16()))
            .ok_or_else(|| Refusal::bad_request("`status` is from 200 to 599"))?;
        if self.headers.len() > usize::from(u16::MAX) {
            return Err(Refusal::bad_request("`headers` has more lines than are kept, 65535"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let field = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .zip(HeaderValue::from_bytes(value.as_bytes()).ok())
                .and_then(|(name, value)| headers.try_append(name, value).ok());
            if field.is_none() {
                return Err(Refusal::bad_request("`headers` has a pair that is no header field"));
            }
        }
        let body = octets::from_base64(&self.body_base64)
            .ok_or_else(|| Refusal::bad_request("`body_base64` is not base64 with padding"))?;
        let bodiless =
            [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
        if bodiless.contains(&status) && !body.is_empty() {
            return Err(Refusal::bad_request("a response with this status has no body"));
        }
        Ok(StoredResponse::new(status, headers, Bytes::from(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolution_is_a_release_or_a_response() {
        assert_eq!(read(br#"{"release":true}"#).unwrap(), Resolution::Release);
        let body = br#"{"complete":{"status":201,"headers":[["X-A","1"],["x-a","2"]],
                       "body_base64":"Zm9v"}}"#;
        let Resolution::Complete(octets) = read(body).unwrap() else { panic!("a response") };
        let stored = StoredResponse::decode(octets).unwrap();
        assert_eq!((stored.status.as_u16(), &stored.body[..]), (201, &b"foo"[..]));
        let values: Vec<_> = stored.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        let many = vec![["x-a", "1"]; 65_536];
        let body = serde_json::json!({ "complete": { "status": 201, "headers": many } });
        assert!(read(body.to_string().as_bytes()).is_err(), "no retry could be answered by it");
        assert!(read(br#"{"complete":{"status":204}}"#).is_ok());
    }

    #[test]
    fn anything_else_is_refused() {
        for body in [
            "",
            "null",
            "{}",
            "[]",
            r#"{"release":false}"#,
            r#"{"release":"yes"}"#,
            r#"{"relaese":true}"#,
            r#"{"release":true,"complete":{"status":201}}"#,
            r#"{"complete":{}}"#,
            r#"{"complete":{"status":100}}"#,
            r#"{"complete":{"status":600}}"#,
            r#"{"complete":{"status":70000}}"#,
            r#"{"complete":{"status":201,"body":"x"}}"#,
            r#"{"complete":{"status":201,"body_base64":"x"}}"#,
            r#"{"complete":{"status":204,"body_base64":"Zm9v"}}"#,
            r#"{"complete":{"status":201,"headers":[["a b","1"]]}}"#,
            r#"{"complete":{"status":201,"headers":[["a","1\r\nb: 2"]]}}"#,
            r#"{"complete":{"status":201,"headers":[["a"]]}}"#,
            r#"{"release":true} x"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes()).is_err());
    }
}
