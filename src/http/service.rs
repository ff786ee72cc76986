//! The service: admits a request by its head, claims its key, and answers by the claim.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower_service::Service;

use super::admit::{Admission, admit};
use super::body::{Body, BoxError};
use super::collect::{Collected, collect, drain};
use super::detach::detached;
use super::echo::Echo;
use super::execute::execute;
use super::fingerprint;
use super::future::ResponseFuture;
use super::layer::Config;
use super::lookup::Lookup;
use super::outcome::{Decision, Idempotency, Ignored};
use super::policy::Mismatch;
use super::problem::Condition;
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
struct KeyedRequest<S, B> {
    inner: S,
    lookup: Lookup<B>,
}

/// A request body in memory.
struct Whole {
    octets: Bytes,
    trailers: Option<HeaderMap>,
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
            Ok(Some(record)) => return Ok(answer(&config, record, parts).await),
            Ok(None) => {}
            Err(response) => return Ok(*response),
        }
        let body = match read(&config, &parts.headers, body).await {
            Ok(body) => body,
            Err(response) => return Ok(*response),
        };
        let target = &self.lookup.keyed.target;
        let print = fingerprint::of(&parts, target, &body.octets, &config.profile);
        let claim = match self.lookup.claim(print).await {
            Ok(claim) => self.lookup.past_doubt(claim, print, &parts).await,
            Err(error) => Err(error),
        };
        match claim {
            Ok(Claim::Granted(ticket)) => self.run(ticket, parts, body).await,
            Ok(Claim::Replay(record) | Claim::InDoubt(record)) => {
                Ok(answer(&config, record, parts).await)
            }
            Ok(Claim::InFlight(wait)) => Ok(answer(&config, wait.record().clone(), parts).await),
            Ok(Claim::Mismatch(record)) if config.profile.mismatch == Mismatch::Replay => {
                // Nobody compares now; the record is from when somebody did.
                Ok(answer(&config, record, parts).await)
            }
            Ok(Claim::Mismatch(_)) => {
                Ok(refuse(&config, &Condition::KeyReused, Decision::Mismatch, &parts.headers))
            }
            Err(error) => Ok(store_failed(&config, &error, &parts.headers)),
        }
    }

    /// Runs the handler. Nothing is awaited between the grant and its task, so whoever drops this
    /// future leaves no claim that nobody minds.
    async fn run(
        self,
        ticket: B::Ticket,
        mut parts: Parts,
        body: Whole,
    ) -> Result<Response<Body>, S::Error> {
        let asked = super::request_id::alone(&parts.headers);
        let Lookup { config, keyed, .. } = self.lookup;
        let live = config.profile.is_live_route(&parts.method, keyed.target.path());
        parts.extensions.insert(Idempotency::new(keyed.scope, keyed.key, ticket.number()));
        // The body is here: whatever the request goes on to need not wait for leave again.
        parts.headers.remove(EXPECT);
        let request = Request::from_parts(parts, body.into_body());
        let work = |stop| execute(Arc::clone(&config), self.inner, request, ticket, live, stop);
        detached(Arc::clone(&config), asked, work).await
    }
}

impl Whole {
    fn into_body(self) -> Body {
        match self.trailers {
            None => Body::full(self.octets),
            Some(trailers) => {
                let trailers = std::future::ready(Some(Ok(trailers)));
                Body::new(http_body_util::Full::new(self.octets).with_trailers(trailers))
            }
        }
    }
}

/// Reads the request's body, or gives the refusal (C13, C15).
async fn read<ReqB>(
    config: &Config,
    headers: &HeaderMap,
    body: ReqB,
) -> Result<Whole, Box<Response<Body>>>
where
    ReqB: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    match collect(body, config.profile.request_octets_max).await {
        Collected::Whole(octets, trailers) => return Ok(Whole { octets, trailers }),
        Collected::TooLong(rest) => {
            // To read on would ask a sender who waits for leave to send all of it (C14).
            if !(rest.is_untouched() && headers.contains_key(EXPECT)) {
                drain(rest).await;
            }
        }
        Collected::Failed(error) if !is_length_limit(&*error) => {
            return Err(Box::new(incomplete()));
        }
        // A limit in front of the layer struck first.
        Collected::Failed(_) => {}
    }
    let condition = Condition::RequestTooLarge;
    Err(Box::new(refuse(config, &condition, Decision::Refused, headers)))
}

fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

/// The request broke off, and most likely nobody reads this (C15).
fn incomplete() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Decision::Refused);
    response
}
