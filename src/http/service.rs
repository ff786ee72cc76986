//! The service: admits a request by its head, claims its key, and answers by the claim.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower_service::Service;

use super::admit::{Admission, admit};
use super::body::{Body, BoxError};
use super::detach::detached;
use super::echo::Echo;
use super::execute::execute;
use super::fingerprint::Head;
use super::future::ResponseFuture;
use super::layer::Config;
use super::lookup::Lookup;
use super::outcome::{Decision, Idempotency, Ignored};
use super::overlong::{dismiss, mismatched};
use super::policy::OversizeRequest;
use super::problem::Condition;
use super::receive::{Received, read_aside, receive};
use super::replay::{answer, refuse, store_failed};
use crate::backend::{Backend, BackendTicket, BackendWait};
use crate::outcome::Claim;

/// What [`IdempotencyLayer`](super::IdempotencyLayer) makes of a service.
pub struct IdempotencyService<S, B> {
    inner: S,
    store: B,
    config: Arc<Config>,
}

impl<S, B> IdempotencyService<S, B> {
    pub(crate) fn new(inner: S, store: B, config: Arc<Config>) -> Self {
        Self { inner, store, config }
    }
}

impl<S: Clone, B: Clone> Clone for IdempotencyService<S, B> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            store: self.store.clone(),
            config: Arc::clone(&self.config),
        }
    }
}

impl<S, B> std::fmt::Debug for IdempotencyService<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdempotencyService")
            .field("profile", &self.config.profile)
            .finish_non_exhaustive()
    }
}

impl<S, B, ReqB, ResB> Service<Request<ReqB>> for IdempotencyService<S, B>
where
    S: Service<Request<Body>, Response = Response<ResB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Backend,
    ReqB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    ResB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match admit(&self.config, &parts) {
            Admission::Pass(why) => {
                let tell = matches!(why, Ignored::NoPrincipal | Ignored::Route);
                if tell {
                    self.config.notices.key_ignored(why, &self.config.clock);
                }
                let report = tell && self.config.profile.report_ignored;
                let request = Request::from_parts(parts, Body::new(body));
                ResponseFuture::pass(self.inner.call(request), why, report)
            }
            Admission::Refuse(condition) => {
                let (config, headers) = (&self.config, &parts.headers);
                let mut response = refuse(config, &condition, Decision::Refused, headers);
                Echo::of(headers, &config.profile).onto(&mut response);
                read_aside(config, headers, body);
                ResponseFuture::ready(response)
            }
            Admission::Keyed(keyed) => {
                // The clone that is ready is the one to call; the other takes its place.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                let config = Arc::clone(&self.config);
                let lookup = Lookup { store: self.store.clone(), config, keyed };
                let keyed = KeyedRequest { inner, lookup };
                ResponseFuture::keyed(keyed.respond(parts, body))
            }
        }
    }
}

/// A protected request with a well-formed key.
pub(super) struct KeyedRequest<S, B> {
    inner: S,
    pub(super) lookup: Lookup<B>,
}

impl<S, B, ResB> KeyedRequest<S, B>
where
    S: Service<Request<Body>, Response = Response<ResB>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Backend,
    ResB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    async fn respond<ReqB>(self, parts: Parts, body: ReqB) -> Result<Response<Body>, S::Error>
    where
        ReqB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let digest = self.lookup.keyed.digest();
        let echo = Echo::of(&parts.headers, &self.lookup.config.profile);
        let mut response = self.decide(parts, body).await?;
        echo.onto(&mut response);
        response.extensions_mut().insert(digest);
        Ok(response)
    }

    /// Steps 5 to 7 of the decision.
    async fn decide<ReqB>(self, parts: Parts, body: ReqB) -> Result<Response<Body>, S::Error>
    where
        ReqB: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let config = Arc::clone(&self.lookup.config);
        match self.lookup.known(&parts.headers).await {
            Ok(Some(record)) => {
                read_aside(&config, &parts.headers, body);
                return Ok(answer(&config, record, parts).await);
            }
            Ok(None) => {}
            Err(response) => return Ok(*response),
        }
        // A body that announces too much will not be read, now or later: no retry is asked for.
        let doomed = config.profile.oversize_request == OversizeRequest::Reject
            && body.size_hint().lower() > config.profile.request_octets_max as u64;
        if !doomed && let Err(response) = self.lookup.refuse_flood(&parts.headers).await {
            return Ok(*response);
        }
        let head = Head::of(&parts, &self.lookup.keyed.target, &config.profile);
        let (body, hasher) = match receive(&config, head.body_hasher(), body).await {
            Received::Whole(body, hasher) => (body, hasher),
            Received::TooLong(body)
                if config.profile.oversize_request == OversizeRequest::Stream =>
            {
                return self.stream(parts, head, body).await;
            }
            Received::TooLong(body) => {
                let untouched = body.is_untouched();
                dismiss(body.into_rest(), untouched, &parts.headers).await;
                return Ok(too_large(&config, &parts.headers));
            }
            Received::Failed(error) => return Ok(incomplete(&config, &*error, &parts.headers)),
            Received::NotSpooled(error) => {
                return Ok(spool_failed(&config, &error, &parts.headers));
            }
        };
        let print = head.with(hasher, body.in_memory());
        match self.lookup.claim(print, &parts).await {
            Ok(Claim::Granted(ticket)) => self.run(ticket, parts, body.into_body()).await,
            Ok(Claim::Replay(record) | Claim::InDoubt(record)) => {
                Ok(answer(&config, record, parts).await)
            }
            Ok(Claim::InFlight(wait)) => Ok(answer(&config, wait.record().clone(), parts).await),
            Ok(Claim::Mismatch(record)) => {
                Ok(mismatched(&config, record, &head, print, parts).await)
            }
            Err(error) => Ok(store_failed(&config, &error, &parts.headers)),
        }
    }

    /// Runs the handler. Nothing is awaited between the grant and its task, so whoever drops this
    /// future leaves no claim that nobody minds.
    pub(super) async fn run<T: BackendTicket>(
        self,
        ticket: T,
        mut parts: Parts,
        body: Body,
    ) -> Result<Response<Body>, S::Error> {
        let asked = super::request_id::alone(&parts.headers);
        let Lookup { config, keyed, .. } = self.lookup;
        let live = config.profile.is_live_route(&parts.method, keyed.target.path());
        parts.extensions.insert(Idempotency::new(keyed.scope, keyed.key, ticket.number()));
        // The body is here, or is asked for by reading it: whatever the request goes on to need not
        // wait for leave again.
        parts.headers.remove(EXPECT);
        let request = Request::from_parts(parts, body);
        let work = |stop| execute(Arc::clone(&config), self.inner, request, ticket, live, stop);
        detached(Arc::clone(&config), asked, work).await
    }
}

fn too_large(config: &Config, headers: &HeaderMap) -> Response<Body> {
    refuse(config, &Condition::RequestTooLarge, Decision::Refused, headers)
}

/// The temporary file failed, and nothing is claimed (C13).
pub(super) fn spool_failed(
    config: &Config,
    error: &std::io::Error,
    headers: &HeaderMap,
) -> Response<Body> {
    tracing::error!(%error, "a request body could not be spooled; the request was not executed");
    refuse(config, &Condition::StoreUnavailable, Decision::StoreFailed, headers)
}

/// The request broke off, and most likely nobody reads this (C15); or a limit in front of the layer
/// struck first.
pub(super) fn incomplete(
    config: &Config,
    error: &(dyn std::error::Error + 'static),
    headers: &HeaderMap,
) -> Response<Body> {
    if is_length_limit(error) {
        return too_large(config, headers);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Decision::Refused);
    response
}

fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}
