//! Steps 9 and 10 of the decision: settle the key, then answer.
//!
//! The key is settled, durably, before the first octet of the response is sent; where it cannot be,
//! the client is not told of a success nobody could replay, unless the profile says so (C35).

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::{Body, BoxError};
use super::detach::Stopped;
use super::execute::Worked;
use super::fields;
use super::grpc;
use super::layer::Config;
use super::outcome::Decision;
use super::policy::{OversizeResponse, Verdict};
use super::problem::Condition;
use super::replay::refuse;
use super::response::StoredResponse;
use super::tombstone::Tombstone;
use super::trailers;
use crate::backend::BackendTicket;
use crate::error::{Error, ErrorKind};

/// A key that was granted, on the way to being settled. Dropped, it leaves the key in doubt.
pub(crate) struct Granted<T> {
    pub(crate) config: Arc<Config>,
    pub(crate) ticket: T,
    /// What of the request's headers a generated error needs.
    pub(crate) asked: HeaderMap,
}

/// A response that was not stored.
enum Unstored<T> {
    /// Nothing was written, and the key can still be settled.
    Refused(Granted<T>, Error),
    /// Nobody knows what was written: the key is in doubt.
    Lost(Spent, Error),
}

/// What is left of [`Granted`] once its ticket is used.
struct Spent {
    config: Arc<Config>,
    asked: HeaderMap,
}

impl<T: BackendTicket> Granted<T> {
    /// Settles the key by what the handler did, and gives the response for the client.
    pub(crate) async fn settle<E>(
        self,
        worked: Result<Worked<E>, Stopped>,
    ) -> Result<Response<Body>, E> {
        Ok(match worked {
            Ok(Worked::Whole(parts, body, trailers)) => self.keep(parts, body, trailers).await,
            Ok(Worked::TooLong(parts, body)) => self.keep_head(parts, body).await,
            Ok(Worked::Live(Verdict::Store, parts, body)) => self.keep_no_body(parts, body).await,
            Ok(Worked::Live(Verdict::Release, parts, body)) => self.release(parts, body).await,
            Ok(Worked::Live(Verdict::InDoubt, parts, body)) => self.leave_in_doubt(parts, body),
            Ok(Worked::BrokenOff(error)) => self.broken_off(&error),
            Ok(Worked::Panicked) => self.panicked().await,
            Ok(Worked::Failed(error)) => {
                tracing::warn!("the handler failed without a response: the key is in doubt");
                return Err(error);
            }
            Err(stopped) => self.stopped(stopped),
        })
    }

    fn leave_in_doubt(self, parts: Parts, body: Body) -> Response<Body> {
        drop(self.ticket);
        respond(parts, body, Decision::LeftInDoubt)
    }

    /// Nothing was done. A release that fails leaves the key in doubt, which refuses more than it
    /// must, and harms nobody: the response says itself that nothing was done.
    async fn release(self, parts: Parts, body: Body) -> Response<Body> {
        let decision = match self.ticket.release().await {
            Ok(()) => Decision::Released,
            Err(error) => {
                tracing::error!(%error, "a key could not be released: it is in doubt");
                Decision::LeftInDoubt
            }
        };
        respond(parts, body, decision)
    }

    /// Keeps a whole response, or what the profile keeps of one that is too long for the store, or
    /// a tombstone where the store has no room: there is always room for a tombstone (C35).
    async fn keep(self, mut parts: Parts, body: Bytes, after: HeaderMap) -> Response<Body> {
        let profile = &self.config.profile;
        let after = trailers::sent(after, &parts.headers, profile);
        fields::fit_collected(&mut parts.headers, parts.status, body.len(), &after);
        let stored = StoredResponse {
            trailers: fields::kept(&after, profile),
            ..StoredResponse::new(parts.status, fields::kept(&parts.headers, profile), body.clone())
        };
        let body = trailers::body(body, after);
        if !stored.is_countable() {
            return self.keep_no_body(parts, body).await;
        }
        match self.store(&stored).await {
            Ok(()) => respond(parts, body, Decision::Fresh),
            Err(Unstored::Refused(again, error)) if error.kind() == ErrorKind::PayloadTooLarge => {
                again.keep_head(parts, body).await
            }
            Err(Unstored::Refused(again, _)) => again.keep_no_body(parts, body).await,
            Err(Unstored::Lost(spent, error)) => spent.not_written(&error, parts, body),
        }
    }

    /// Keeps what the profile keeps of a response whose body is too long (C24). A gRPC response
    /// without its trailers is none, so nothing is kept of one.
    async fn keep_head(self, parts: Parts, body: Body) -> Response<Body> {
        let profile = &self.config.profile;
        if profile.oversize_response == OversizeResponse::Tombstone || grpc::is_grpc(&parts.headers)
        {
            return self.keep_no_body(parts, body).await;
        }
        let mut kept = fields::kept(&parts.headers, profile);
        fields::forget_octets(&mut kept);
        let stored = StoredResponse {
            body_omitted: true,
            ..StoredResponse::new(parts.status, kept, Bytes::new())
        };
        if !stored.is_countable() {
            return self.keep_no_body(parts, body).await;
        }
        match self.store(&stored).await {
            Ok(()) => respond(parts, body, Decision::FreshBodyOmitted),
            Err(Unstored::Refused(again, _)) => again.keep_no_body(parts, body).await,
            Err(Unstored::Lost(spent, error)) => spent.not_written(&error, parts, body),
        }
    }

    /// The response reaches its first client whole, and a tombstone stands for it (C24, C25).
    async fn keep_no_body(self, parts: Parts, body: Body) -> Response<Body> {
        let Self { config, ticket, asked } = self;
        let tombstone = Tombstone::of(parts.status, &parts.headers);
        match ticket.complete_without_payload(tombstone.encode()).await {
            Ok(()) => respond(parts, body, Decision::FreshNotRetained),
            Err(error) => Spent { config, asked }.not_written(error.error(), parts, body),
        }
    }

    async fn store(self, response: &StoredResponse) -> Result<(), Unstored<T>> {
        let Self { config, ticket, asked } = self;
        let Err(refused) = ticket.complete(response.encode()).await else { return Ok(()) };
        Err(match refused.into_parts() {
            (error, Some(ticket)) => Unstored::Refused(Granted { config, ticket, asked }, error),
            (error, None) => Unstored::Lost(Spent { config, asked }, error),
        })
    }

    /// The handler began a response and broke it off: what it did, nobody knows.
    fn broken_off(self, error: &BoxError) -> Response<Body> {
        tracing::error!(%error, "a response broke off: the key is in doubt");
        drop(self.ticket);
        let condition = Condition::CompletionNotWritten;
        refuse(&self.config, &condition, Decision::LeftInDoubt, &self.asked)
    }

    /// The handler was dropped as it worked: what it did by then, nobody knows (C31, C33).
    fn stopped(self, stopped: Stopped) -> Response<Body> {
        let why = match stopped {
            Stopped::TooLate => "it did not answer in time",
            Stopped::ClientGone => "its client has gone",
        };
        tracing::error!("the handler was stopped, for {why}: the key is in doubt");
        drop(self.ticket);
        refuse(&self.config, &Condition::HandlerStopped, Decision::LeftInDoubt, &self.asked)
    }

    /// A panic is a 500, settled as the profile says (C32).
    async fn panicked(self) -> Response<Body> {
        tracing::error!("the handler panicked");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let body = Bytes::from_static(b"Internal Server Error");
        let none = HeaderMap::new();
        let mut response = Response::new(());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields::set_length(headers, status, body.len(), &none);
        let (parts, ()) = response.into_parts();
        match self.config.profile.on_panic.into() {
            Verdict::InDoubt => self.leave_in_doubt(parts, Body::full(body)),
            Verdict::Release => self.release(parts, Body::full(body)).await,
            Verdict::Store => self.keep(parts, body, none).await,
        }
    }
}

impl Spent {
    /// The work was done and nothing could be written about it: not even a success is sent, for no
    /// retry would find it; or it is sent all the same, where the profile says so (C35).
    fn not_written(&self, error: &Error, parts: Parts, body: Body) -> Response<Body> {
        tracing::error!(%error, "a result could not be recorded: the key is in doubt");
        if self.config.profile.fail_open {
            return respond(parts, body, Decision::FreshNotRecorded);
        }
        let condition = Condition::CompletionNotWritten;
        refuse(&self.config, &condition, Decision::StoreFailed, &self.asked)
    }
}

fn respond(parts: Parts, body: Body, decision: Decision) -> Response<Body> {
    let mut response = Response::from_parts(parts, body);
    response.extensions_mut().insert(decision);
    response
}
