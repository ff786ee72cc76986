//! Step 8 of the decision: run the handler, and collect its response where it is to be stored.
//!
//! All of it happens in one detached task, so a client that hangs up loses nothing (M17, C31). What
//! is stopped (C31, C33) is this alone: once there is a response, settling the key goes on to its
//! end.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Request, Response};
use tower_service::Service;

use super::body::{Body, BoxError};
use super::collect::{Collected, collect};
use super::detach::Stop;
use super::fields;
use super::grpc::Messages;
use super::layer::Config;
use super::outcome::Outcome;
use super::panics::{Panicked, catching_panics};
use super::policy::Verdict;
use super::profile::Profile;
use super::request_id;
use super::settle::Granted;
use crate::backend::BackendTicket;

/// What the handler did.
pub(crate) enum Worked<E> {
    /// It answered, and the response is sent as it comes, with nothing kept of its body.
    Live(Verdict, Parts, Body),
    /// It answered, and this is all of it, to be stored.
    Whole(Parts, Bytes, HeaderMap),
    /// It answered with more than is kept, or with a second message of gRPC (C24, C26): what was
    /// read of it comes first in the body.
    TooLong(Parts, Body),
    /// It began a response and broke it off.
    BrokenOff(BoxError),
    /// It panicked.
    Panicked,
    /// It failed without a response.
    Failed(E),
}

/// Runs the handler for a request whose key was granted, and settles the key. An error of the
/// handler says nothing about its effect: the key is left in doubt. `live` is whether the route's
/// responses are never collected (C25).
pub(crate) async fn execute<S, T, ResB>(
    config: Arc<Config>,
    service: S,
    request: Request<Body>,
    ticket: T,
    live: bool,
    stop: Stop,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<ResB>>,
    T: BackendTicket,
    ResB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let asked = request_id::alone(request.headers());
    let worked = stop.or(work(&config.profile, service, request, live)).await;
    Granted { config, ticket, asked }.settle(worked).await
}

async fn work<S, ResB>(
    profile: &Profile,
    mut service: S,
    request: Request<Body>,
    live: bool,
) -> Worked<S::Error>
where
    S: Service<Request<Body>, Response = Response<ResB>>,
    ResB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let response = match catching_panics(|| service.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Worked::Failed(error),
        Err(Panicked) => return Worked::Panicked,
    };
    let (mut parts, body) = response.into_parts();
    let said = parts.extensions.remove::<Outcome>();
    fields::strip_own(&mut parts.headers, profile);
    let verdict = profile.verdict(said, parts.status, &parts.headers);
    if verdict != Verdict::Store || live || fields::is_event_stream(&parts.headers) {
        return Worked::Live(verdict, parts, Body::new(body));
    }
    if fields::is_bodiless(parts.status) {
        return Worked::Whole(parts, Bytes::new(), HeaderMap::new());
    }
    let mut messages = Messages::of(&parts.headers);
    let is_stream = |data: &Bytes| messages.second_begins_in(data);
    let octets_max = profile.response_octets_max;
    match catching_panics(|| collect(body, octets_max, is_stream)).await {
        Ok(Collected::Whole(body, trailers)) => {
            Worked::Whole(parts, body, trailers.unwrap_or_default())
        }
        Ok(Collected::TooLong(body)) => Worked::TooLong(parts, Body::new(body)),
        Ok(Collected::Failed(error)) => Worked::BrokenOff(error),
        Err(Panicked) => Worked::Panicked,
    }
}
