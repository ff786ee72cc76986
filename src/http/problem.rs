//! Generated errors: the conditions, and their three dialects (section C of the requirements).

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderName, LINK, LOCATION, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::fields::set_length;
use super::key_header::KeyFault;
use super::policy::{Dialect, Mismatch};
use super::profile::Profile;
use super::tombstone::Tombstone;

/// Why the layer, or the gateway, answers in the handler's place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// A key is required and there is none (D7).
    MissingKey,
    /// The key cannot be one (C1 to C4).
    InvalidKey(KeyFault),
    /// A protected request with a key asks to change protocols (C21).
    UpgradeNotSupported,
    /// The key was used for another request (M16, D8).
    KeyReused,
    /// A request with this key is still at work (O15, D9).
    InProgress,
    /// Nobody knows what became of the request (C34).
    OutcomeUnknown,
    /// The work was done and its response was not kept (C24), with what is left of it.
    ResponseNotRetained(Option<Tombstone>),
    /// The stored response is damaged.
    RecordCorrupt,
    /// The work was done and its result could not be recorded (C35).
    CompletionNotWritten,
    /// The handler has not answered in time, and is still at work (C33).
    ResponseTimeout,
    /// The handler has not answered in time, or nobody waited for it any more, and it was stopped
    /// (C31, C33).
    HandlerStopped,
    /// The request body is longer than the profile protects (C13).
    RequestTooLarge,
    /// Too many requests are in flight.
    TooManyInFlight,
    /// The store cannot take claims now (C36).
    StoreUnavailable,
    /// The gateway could not reach its upstream, and sent it nothing.
    UpstreamUnreachable,
    /// The gateway's connection to its upstream broke after the request went out.
    UpstreamBroken,
}

/// A condition's row in the table of the requirements.
struct Row {
    code: &'static str,
    title: &'static str,
    problem_status: u16,
    managed_dev: (u16, &'static str, &'static str),
    oec: (u16, &'static str),
    retry_after_s: Option<u8>,
    retryable: bool,
}

impl Condition {
    /// Every condition, each once, in the order of the requirements.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::MissingKey), Self::next)
    }

    /// The condition after this one: a match, so that a new one cannot be left out of the published
    /// policy without a word from the compiler.
    fn next(&self) -> Option<Self> {
        Some(match self {
            Self::MissingKey => Self::InvalidKey(KeyFault::Malformed),
            Self::InvalidKey(_) => Self::UpgradeNotSupported,
            Self::UpgradeNotSupported => Self::KeyReused,
            Self::KeyReused => Self::InProgress,
            Self::InProgress => Self::OutcomeUnknown,
            Self::OutcomeUnknown => Self::ResponseNotRetained(None),
            Self::ResponseNotRetained(_) => Self::RecordCorrupt,
            Self::RecordCorrupt => Self::CompletionNotWritten,
            Self::CompletionNotWritten => Self::ResponseTimeout,
            Self::ResponseTimeout => Self::HandlerStopped,
            Self::HandlerStopped => Self::RequestTooLarge,
            Self::RequestTooLarge => Self::TooManyInFlight,
            Self::TooManyInFlight => Self::StoreUnavailable,
            Self::StoreUnavailable => Self::UpstreamUnreachable,
            Self::UpstreamUnreachable => Self::UpstreamBroken,
            Self::UpstreamBroken => return None,
        })
    }

    /// The error's code: the `code` of the problem dialect, and the anchor in `docs/http.md`.
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    #[rustfmt::skip]
    fn row(&self) -> Row {
        let row = |code, title, problem_status, managed_dev, oec, retry_after_s, retryable| Row {
            code, title, problem_status, managed_dev, oec, retry_after_s, retryable,
        };
        match self {
            Self::MissingKey => row("missing-key", "Idempotency-Key is missing", 400,
                (400, "invalid_request", "idempotency.key_missing"),
                (400, "idempotency_key_missing"), None, false),
            Self::InvalidKey(_) => row("invalid-key", "Idempotency-Key is invalid", 400,
                (400, "invalid_request", "idempotency.key_invalid"),
                (400, "idempotency_key_invalid"), None, false),
            Self::UpgradeNotSupported => row("upgrade-not-supported",
                "Idempotency-Key cannot be used with an upgrade", 400,
                (400, "invalid_request", "idempotency.upgrade_not_supported"),
                (400, "idempotency_upgrade_not_supported"), None, false),
            Self::KeyReused => row("key-reused", "Idempotency-Key is already used", 422,
                (409, "conflict", "idempotency.key_reused"),
                (422, "idempotency_key_reused"), None, false),
            Self::InProgress => row("in-progress",
                "A request is outstanding for this Idempotency-Key", 409,
                (409, "conflict", "idempotency.in_progress"),
                (409, "idempotency_key_in_use"), Some(1), true),
            Self::OutcomeUnknown => row("outcome-unknown",
                "The outcome of the first request is unknown", 409,
                (409, "conflict", "idempotency.outcome_unknown"),
                (500, "idempotency_outcome_unknown"), None, false),
            Self::ResponseNotRetained(_) => row("response-not-retained",
                "The response to the first request was not retained", 409,
                (409, "conflict", "idempotency.response_not_retained"),
                (500, "idempotency_response_not_retained"), None, false),
            Self::RecordCorrupt => row("record-corrupt", "The stored response is damaged", 500,
                (500, "api_error", "idempotency.record_corrupt"),
                (500, "idempotency_record_corrupt"), None, false),
            Self::CompletionNotWritten => row("outcome-unknown",
                "The outcome of this request could not be recorded", 500,
                (500, "api_error", "idempotency.outcome_unknown"),
                (500, "idempotency_outcome_unknown"), None, false),
            Self::ResponseTimeout => row("response-timeout",
                "This request is taking longer than its response is waited for", 504,
                (504, "api_error", "idempotency.response_timeout"),
                (504, "response_timeout"), Some(1), true),
            Self::HandlerStopped => row("outcome-unknown",
                "This request was stopped before it was answered", 504,
                (504, "api_error", "idempotency.outcome_unknown"),
                (504, "idempotency_outcome_unknown"), None, false),
            Self::RequestTooLarge => row("request-too-large",
                "The request is too large for an Idempotency-Key", 413,
                (413, "invalid_request", "idempotency.request_too_large"),
                (413, "request_too_large"), None, false),
            Self::TooManyInFlight => row("too-many-in-flight", "Too many requests are in flight",
                429, (429, "rate_limit", "idempotency.too_many_in_flight"),
                (429, "too_many_in_flight"), Some(1), true),
            Self::StoreUnavailable => row("store-unavailable",
                "The idempotency store is unavailable", 503,
                (503, "api_error", "idempotency.store_unavailable"),
                (503, "store_unavailable"), Some(5), true),
            Self::UpstreamUnreachable => row("upstream-unreachable",
                "The service could not be reached", 502,
                (502, "api_error", "idempotency.upstream_unreachable"),
                (502, "upstream_unreachable"), None, true),
            Self::UpstreamBroken => row("outcome-unknown",
                "The outcome of this request is unknown", 502,
                (502, "api_error", "idempotency.outcome_unknown"),
                (502, "idempotency_outcome_unknown"), None, false),
        }
    }

    /// What to tell a person who reads the error, and what to do about it.
    fn detail(&self, header: &HeaderName) -> String {
        let header = spelled(header);
        match self {
            Self::MissingKey => format!(
                "This operation requires the {header} header. Send a new unique key, such as a UUID."
            ),
            Self::InvalidKey(KeyFault::Repeated) => {
                format!("The {header} header was sent more than once. Send one key.")
            }
            Self::InvalidKey(KeyFault::Empty) => format!("The {header} header has an empty key."),
            Self::InvalidKey(KeyFault::TooLong) => format!("The key in {header} is too long."),
            Self::InvalidKey(KeyFault::Malformed) => {
                format!("The value of {header} is not a well-formed key.")
            }
            Self::UpgradeNotSupported => {
                "A request that changes protocols has no response to replay. Leave out the key, or \
                 the upgrade."
                    .into()
            }
            Self::KeyReused => "This key was used with a different request, and this request was \
                                not executed. Use a new key for a new request."
                .into(),
            Self::InProgress => {
                "A request with this key is still being processed. Retry after a moment.".into()
            }
            Self::OutcomeUnknown => {
                "The first request with this key was interrupted and may or may not have taken \
                 effect. It is not executed again; check its effect before using a new key."
                    .into()
            }
            Self::ResponseNotRetained(_) => {
                "The first request with this key was executed, and its response was not retained. \
                 It is not executed again."
                    .into()
            }
            Self::RecordCorrupt => {
                "The record of the first request with this key is damaged and cannot be read. The \
                 request is not executed again."
                    .into()
            }
            Self::CompletionNotWritten => {
                "This request was executed and its result could not be recorded. Check its effect \
                 before using a new key."
                    .into()
            }
            Self::ResponseTimeout => {
                "This request is still being processed. Retry with the same key for its response."
                    .into()
            }
            Self::HandlerStopped => {
                "This request took too long and was stopped, and may or may not have taken effect. \
                 It is not executed again; check its effect before using a new key."
                    .into()
            }
            Self::RequestTooLarge => {
                "The request body is longer than is accepted with a key, and was not executed."
                    .into()
            }
            Self::TooManyInFlight => {
                "Too many requests with keys are being processed. Retry after a moment.".into()
            }
            Self::StoreUnavailable => {
                "The request was not executed. Retry later with the same key.".into()
            }
            Self::UpstreamBroken => {
                "The connection to the service broke, and the request may or may not have taken \
                 effect. Check its effect before sending it again."
                    .into()
            }
            Self::UpstreamUnreachable => {
                "The request did not reach the service and was not executed. Retry with the same \
                 key."
                    .into()
            }
        }
    }
}

/// What a generated error tells a program, whatever its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The name in the problem dialect, and the anchor in the documentation.
    pub(crate) anchor: &'static str,
    /// What happened, in a few words.
    pub(crate) title: &'static str,
    pub(crate) status: StatusCode,
    /// The class of error, where the dialect has one.
    pub(crate) class: Option<&'static str>,
    /// The name in the profile's dialect.
    pub(crate) code: &'static str,
    pub(crate) retry_after_s: Option<u8>,
    /// Whether the same request with the same key may be sent again.
    pub(crate) retryable: bool,
}

/// O15, to the octet.
const OEC_IN_USE: &str = concat!(
    r#"{"error":"idempotency_key_in_use","message":"#,
    r#""A request with this idempotency key is already being processed. Retry after a moment."}"#,
);

impl Profile {
    /// What the profile's error for `condition` tells a program.
    pub(crate) fn refusal(&self, condition: &Condition) -> Refusal {
        let row = condition.row();
        let (status, class, code) = match self.dialect {
            Dialect::Problem => (row.problem_status, None, row.code),
            Dialect::ManagedDev => {
                let (status, class, code) = row.managed_dev;
                (status, Some(class), code)
            }
            Dialect::Oec => (row.oec.0, None, row.oec.1),
        };
        let status = match (condition, self.mismatch) {
            (Condition::KeyReused, Mismatch::Reject(status)) => status,
            _ => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        Refusal {
            anchor: row.code,
            title: row.title,
            status,
            class,
            code,
            retry_after_s: row.retry_after_s,
            retryable: row.retryable,
        }
    }

    /// The generated error for `condition`, in the profile's dialect, never cached. `request` is
    /// the headers of the request it answers: managed.dev's envelope repeats its `X-Request-Id`.
    pub fn error(&self, condition: &Condition, request: &HeaderMap) -> Response<Body> {
        let refusal = self.refusal(condition);
        let status = refusal.status;
        let docs_url = self.docs_url.replace("{code}", refusal.anchor);
        let detail = condition.detail(&self.header);
        let left = match condition {
            Condition::ResponseNotRetained(left) => left.as_ref(),
            _ => None,
        };
        let (media_type, body) = match self.dialect {
            Dialect::Problem => {
                let mut object = Object::new();
                object
                    .text("type", &docs_url)
                    .text("title", refusal.title)
                    .number("status", status.as_u16())
                    .text("detail", &detail)
                    .text("code", refusal.code)
                    .flag("retryable", refusal.retryable)
                    .original(left);
                ("application/problem+json", object.finish())
            }
            Dialect::ManagedDev => {
                let mut error = Object::new();
                error
                    .text("type", refusal.class.unwrap_or_default())
                    .text("code", refusal.code)
                    .text("message", &detail)
                    .text("doc_url", &docs_url)
                    .flag("retryable", refusal.retryable)
                    .original(left);
                let mut envelope = Object::new();
                envelope
                    .object("error", &error.finish())
                    .text("request_id", &super::request_id::of(request));
                ("application/json", envelope.finish())
            }
            Dialect::Oec if matches!(condition, Condition::InProgress) => {
                ("application/json", OEC_IN_USE.into())
            }
            Dialect::Oec => {
                let mut object = Object::new();
                object
                    .text("error", refusal.code)
                    .text("message", &detail)
                    .flag("retryable", refusal.retryable)
                    .original(left);
                ("application/json", object.finish())
            }
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.dialect == Dialect::Problem {
            headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
            let link = format!("<{docs_url}>; rel=\"describedby\"; type=\"text/html\"");
            if let Ok(link) = HeaderValue::try_from(link) {
                headers.insert(LINK, link);
            }
        }
        if let Some(seconds) = refusal.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
        if let Some(location) = left.and_then(|left| left.location.as_ref()) {
            headers.insert(LOCATION, location.clone());
        }
        set_length(headers, status, body.len(), &HeaderMap::new());
        *response.body_mut() = Body::full(Bytes::from(body));
        response
    }
}

/// A header's name as people write it: `Idempotency-Key`.
pub(crate) fn spelled(name: &HeaderName) -> String {
    let mut start = true;
    let letter = |c: char| {
        let spelled = if start { c.to_ascii_uppercase() } else { c };
        start = c == '-';
        spelled
    };
    name.as_str().chars().map(letter).collect()
}

/// A JSON object in the making, its members in the order they are added: errors read better in an
/// order of their own than in the alphabet's.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".into())
    }

    fn member(&mut self, name: &str, value: &str) -> &mut Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.member(name, &quoted(value))
    }

    fn number(&mut self, name: &str, value: u16) -> &mut Self {
        self.member(name, &value.to_string())
    }

    fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.member(name, if value { "true" } else { "false" })
    }

    fn object(&mut self, name: &str, value: &str) -> &mut Self {
        self.member(name, value)
    }

    /// What is left of a response that was not kept. A `Location` that is not UTF-8 is in the
    /// header alone.
    fn original(&mut self, left: Option<&Tombstone>) -> &mut Self {
        if let Some(left) = left {
            self.number("original_status", left.status.as_u16());
            let location = left.location.as_ref().map(HeaderValue::as_bytes);
            if let Some(Ok(location)) = location.map(std::str::from_utf8) {
                self.text("location", location);
            }
        }
        self
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_escapes_its_text() {
        let mut object = Object::new();
        object.text("z", "a\"\n\u{1}é").number("a", 7).flag("m", true);
        assert_eq!(object.finish(), "{\"z\":\"a\\\"\\n\\u0001é\",\"a\":7,\"m\":true}");
        assert_eq!(Object::new().finish(), "{}");
    }

    #[test]
    fn header_names_are_spelled_as_people_do() {
        assert_eq!(spelled(&HeaderName::from_static("x-idempotency-key")), "X-Idempotency-Key");
    }
}
