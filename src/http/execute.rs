//! Steps 7 to 9 of the decision: run the handler, settle the key, then answer.
//!
//! All of it happens in one detached task, so a client that hangs up loses nothing (M17, C31). The
//! key is settled, durably, before the first octet of the response is sent; where it cannot be, the
//! client is not told of a success nobody could replay (C35).

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower_service::Service;

use super::body::{Body, BoxError};
use super::collect::{Collected, collect};
use super::fields;
use super::layer::Config;
use super::outcome::{Decision, Outcome};
use super::panics::{Panicked, catching_panics};
use super::policy::Verdict;
use super::problem::Condition;
use super::replay::refuse;
use super::request_id;
use super::response::StoredResponse;
use super::tombstone::Tombstone;
use crate::backend::BackendTicket;
use crate::error::Error;

/// Runs the handler for a request whose key was granted, and settles the key. An error of the
/// handler says nothing about its effect: the key is left in doubt.
pub(crate) async fn execute<S, T, ResB>(
    config: Arc<Config>,
    mut service: S,
    request: Request<Body>,
    ticket: T,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<ResB>>,
    T: BackendTicket,
    ResB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let granted = Granted { asked: request_id::alone(request.headers()), config, ticket };
    match catching_panics(|| service.call(request)).await {
        Ok(Ok(response)) => {
            let (parts, body) = response.into_parts();
            Ok(granted.settle(parts, body).await)
        }
        Ok(Err(error)) => {
            tracing::warn!("the handler failed without a response: the key is in doubt");
            Err(error)
        }
        Err(Panicked) => Ok(granted.panicked().await),
    }
}

/// A key that was granted, on the way to being settled. Dropped, it leaves the key in doubt.
struct Granted<T> {
    config: Arc<Config>,
    ticket: T,
    /// What of the request's headers a generated error needs.
    asked: HeaderMap,
}

impl<T: BackendTicket> Granted<T> {
    /// Settles the key by the handler's response, and gives the response for the client.
    async fn settle<B>(self, mut parts: Parts, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let said = parts.extensions.remove::<Outcome>();
        fields::strip_marker(&mut parts.headers, &self.config.profile);
        match self.config.profile.verdict(said, parts.status, &parts.headers) {
            Verdict::InDoubt => self.leave_in_doubt(parts, Body::new(body)),
            Verdict::Release => self.release(parts, Body::new(body)).await,
            Verdict::Store if fields::is_live(&parts.headers) => {
                self.keep_no_body(parts, Body::new(body)).await
            }
            Verdict::Store => self.store(parts, body).await,
        }
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

    /// The response reaches its first client whole, and a tombstone stands for it (C24, C25).
    async fn keep_no_body(self, parts: Parts, body: Body) -> Response<Body> {
        let tombstone = Tombstone::of(parts.status, &parts.headers);
        match self.ticket.complete_without_payload(tombstone.encode()).await {
            Ok(()) => respond(parts, body, Decision::FreshNotRetained),
            Err(error) => not_written(&self.config, error.error(), &self.asked),
        }
    }

    async fn store<B>(self, mut parts: Parts, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let octets_max = self.config.profile.response_octets_max;
        let body = if fields::is_bodiless(parts.status) {
            Bytes::new()
        } else {
            match catching_panics(|| collect(body, octets_max)).await {
                Ok(Collected::Whole(body, _trailers)) => body,
                Ok(Collected::TooLong(body)) => {
                    return self.keep_no_body(parts, Body::new(body)).await;
                }
                Ok(Collected::Failed(error)) => return self.broken_off(&error),
                Err(Panicked) => return self.panicked().await,
            }
        };
        fields::fit_collected(&mut parts.headers, parts.status, body.len());
        self.keep(parts, body).await
    }

    /// Keeps a whole response, or a tombstone where the store refuses one of its size or has no
    /// room: there is always room for a tombstone (C35).
    async fn keep(self, parts: Parts, body: Bytes) -> Response<Body> {
        let kept = fields::kept(&parts.headers, &self.config.profile);
        let stored = StoredResponse::new(parts.status, kept, body.clone());
        let refused = match self.ticket.complete(stored.encode()).await {
            Ok(()) => return respond(parts, Body::full(body), Decision::Fresh),
            Err(refused) => refused,
        };
        match refused.into_parts() {
            (_, Some(ticket)) => {
                let again = Granted { config: self.config, ticket, asked: self.asked };
                again.keep_no_body(parts, Body::full(body)).await
            }
            (error, None) => not_written(&self.config, &error, &self.asked),
        }
    }

    /// The handler began a response and broke it off: what it did, nobody knows.
    fn broken_off(self, error: &BoxError) -> Response<Body> {
        tracing::error!(%error, "a response broke off: the key is in doubt");
        drop(self.ticket);
        let condition = Condition::CompletionNotWritten;
        refuse(&self.config, &condition, Decision::LeftInDoubt, &self.asked)
    }

    /// A panic is a 500, settled as the profile says (C32).
    async fn panicked(self) -> Response<Body> {
        tracing::error!("the handler panicked");
        let body = Bytes::from_static(b"Internal Server Error");
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields::set_length(headers, StatusCode::INTERNAL_SERVER_ERROR, body.len());
        let (parts, ()) = response.into_parts();
        match self.config.profile.on_panic.into() {
            Verdict::InDoubt => self.leave_in_doubt(parts, Body::full(body)),
            Verdict::Release => self.release(parts, Body::full(body)).await,
            Verdict::Store => self.keep(parts, body).await,
        }
    }
}

fn respond(parts: Parts, body: Body, decision: Decision) -> Response<Body> {
    let mut response = Response::from_parts(parts, body);
    response.extensions_mut().insert(decision);
    response
}

/// The work was done and nothing could be written about it: not even a success may be sent, for no
/// retry would find it (C35).
fn not_written(config: &Config, error: &Error, asked: &HeaderMap) -> Response<Body> {
    tracing::error!(%error, "a result could not be recorded: the key is in doubt");
    refuse(config, &Condition::CompletionNotWritten, Decision::StoreFailed, asked)
}
