//! Answering from a record instead of the handler.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};

use super::body::Body;
use super::fields;
use super::layer::Config;
use super::outcome::Decision;
use super::panics::{Panicked, catching_panics};
use super::problem::Condition;
use super::response::StoredResponse;
use super::tombstone::Tombstone;
use super::trailers;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::outcome::{Record, State};

/// A body made anew for a replay (X1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// The new body.
    pub body: Bytes,
    /// Its `Content-Type`; `None` keeps the stored one.
    pub content_type: Option<HeaderValue>,
    /// Its `Content-Encoding`; `None` for none.
    pub content_encoding: Option<HeaderValue>,
}

impl Refreshed {
    /// A new body of the stored `Content-Type`, not encoded.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), content_type: None, content_encoding: None }
    }
}

/// The answer a record stands for, whoever asks.
pub(crate) async fn answer(config: &Config, record: Record, parts: Parts) -> Response<Body> {
    match record.state() {
        State::Complete => replay(config, &record, parts).await,
        State::InFlight => {
            refuse(config, &Condition::InProgress, Decision::InFlight, &parts.headers)
        }
        State::InDoubt => {
            refuse(config, &Condition::OutcomeUnknown, Decision::InDoubt, &parts.headers)
        }
    }
}

async fn replay(config: &Config, record: &Record, parts: Parts) -> Response<Body> {
    let payload = match record.payload() {
        Ok(Some(payload)) => payload,
        Ok(None) => {
            let left = record.note().and_then(Tombstone::decode);
            let condition = Condition::ResponseNotRetained(left);
            return refuse(config, &condition, Decision::NotRetained, &parts.headers);
        }
        Err(error) => return store_failed(config, &error, &parts.headers),
    };
    let Ok(mut stored) = StoredResponse::decode(payload) else {
        tracing::error!(
            "a stored response cannot be decoded: it is damaged, or of a newer version"
        );
        return refuse(config, &Condition::RecordCorrupt, Decision::Corrupt, &parts.headers);
    };
    stored.trailers = trailers::kept(&stored.trailers, &stored.headers, &config.profile);
    stored.headers = fields::kept(&stored.headers, &config.profile);
    let mut stored = refreshed(config, stored, parts).await;
    let headers = &mut stored.headers;
    fields::set_length(headers, stored.status, stored.body.len(), &stored.trailers);
    if stored.body_omitted {
        headers.insert(fields::BODY_OMITTED, HeaderValue::from_static("true"));
    }
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(config.clock.read().wall_ms);
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        headers.insert(DATE, date);
    }
    if let Some(marker) = &config.profile.marker {
        headers.insert(marker.clone(), HeaderValue::from_static("true"));
    }
    let mut response = Response::new(trailers::body(stored.body, stored.trailers));
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.headers;
    response.extensions_mut().insert(Decision::Replayed);
    response
}

/// The stored response with the body that the refresh hook made, if it made one.
async fn refreshed(config: &Config, stored: StoredResponse, parts: Parts) -> StoredResponse {
    let Some(refresh) = &config.refresh else { return stored };
    if fields::is_bodiless(stored.status) {
        return stored;
    }
    let made = catching_panics(|| refresh(stored.clone(), parts)).await;
    match made {
        Ok(Ok(Some(new))) => with_body(stored, new),
        Ok(Ok(None)) => stored,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the refresh hook failed: the stored response is sent");
            stored
        }
        Err(Panicked) => {
            tracing::error!("the refresh hook panicked: the stored response is sent");
            stored
        }
    }
}

fn with_body(mut stored: StoredResponse, new: Refreshed) -> StoredResponse {
    fields::forget_old_body(&mut stored.headers);
    for (name, value) in
        [(CONTENT_TYPE, new.content_type), (CONTENT_ENCODING, new.content_encoding)]
    {
        if let Some(value) = value {
            stored.headers.insert(name, value);
        }
    }
    stored.trailers.clear();
    stored.body_omitted = false;
    stored.body = new.body;
    stored
}

/// A generated error, with the decision for whoever logs it.
pub(crate) fn refuse(
    config: &Config,
    condition: &Condition,
    decision: Decision,
    request: &HeaderMap,
) -> Response<Body> {
    let mut response = config.profile.error(condition, request);
    response.extensions_mut().insert(decision);
    response
}

/// The answer while as many requests are in flight as there may be (C14).
pub(crate) fn flooded(config: &Config, request: &HeaderMap) -> Response<Body> {
    refuse(config, &Condition::TooManyInFlight, Decision::TooManyInFlight, request)
}

/// The answer when the store fails before anything ran (C36).
pub(crate) fn store_failed(config: &Config, error: &Error, request: &HeaderMap) -> Response<Body> {
    let (condition, decision) = match error.kind() {
        // Every key it does not know is refused: none of them has a record that could be damaged.
        ErrorKind::Corrupt if error.refuses_unknown_keys() => {
            (Condition::StoreUnavailable, Decision::StoreFailed)
        }
        ErrorKind::Corrupt => (Condition::RecordCorrupt, Decision::Corrupt),
        // No fault of the store's, and as frequent as whoever floods it likes.
        ErrorKind::TooManyInFlight => return flooded(config, request),
        _ => (Condition::StoreUnavailable, Decision::StoreFailed),
    };
    tracing::error!(%error, "the idempotency store failed; the request was not executed");
    refuse(config, &condition, decision, request)
}
