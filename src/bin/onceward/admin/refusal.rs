//! Why the admin API does not do what it was asked: a status, a code, and a sentence.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use onceward::{Error, ErrorKind};
use serde_json::{Value, json};

/// A refusal: `{"error": code, "message": sentence}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None }
    }

    /// What was sent makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// There is nothing under this path.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-path", "there is nothing under this path")
    }

    /// The store has no such key.
    pub(super) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-key", "there is no such key in the store")
    }

    /// The path takes `allow` alone.
    pub(super) fn method(allow: &'static str) -> Self {
        let message = format!("this path takes {allow} alone");
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message);
        Self { allow: Some(allow), ..refusal }
    }

    /// As a response.
    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = json!({ "error": self.code, "message": self.message });
        let mut response = json_response(self.status, &body);
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::InvalidKey => (StatusCode::BAD_REQUEST, "bad-request"),
            ErrorKind::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            ErrorKind::Corrupt if error.refuses_unknown_keys() => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable")
            }
            ErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "record-corrupt"),
            ErrorKind::Full => (StatusCode::SERVICE_UNAVAILABLE, "store-full"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// A response with `body`, and a line end behind it for who reads it in a terminal.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{body}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
