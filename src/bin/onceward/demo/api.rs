//! The sample API: the paths that the three documents show, and some of its own for the draft.
//!
//! Whatever is called `held` waits until `POST /demo/release`; a job for something called
//! `no-such-…` fails; everything else is done at once. `/brief` in front of a path is the same API
//! with results that live for two seconds.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use onceward::http::{Body, BoxError, Outcome, Refreshed, StoredResponse};
use serde_json::{Map, Value, json};
use tower_service::Service;

use super::random;
use super::work::{Executions, Gate, Jobs};
use crate::Failure;

/// The longest request body read, in octets.
const BODY_OCTETS_MAX: usize = 1 << 20;

/// Who is calling, as a request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) String);

/// The API, and what it did so far.
pub(crate) struct Api {
    pub(crate) executions: Executions,
    pub(crate) jobs: Jobs,
    pub(crate) gate: Gate,
}

/// What a method on a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Begin a job of this type: 202.
    Begin(&'static str),
    /// Look at a job.
    Job(&'a str),
    /// Create something whose id begins so: 201.
    Create(&'static str),
    /// Do something to the environment of this id: 200.
    Act(&'a str, &'a str),
    /// Change the thing of this id: 200.
    Change(&'a str),
    /// Remove something: 204.
    Remove,
    /// Look at something.
    Read,
}

impl<'a> Route<'a> {
    /// The route of a request; `None` is a 404.
    pub(crate) fn of(method: &Method, path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/brief").unwrap_or(path);
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if parts.contains(&"") {
            return None;
        }
        Some(match (method.as_str(), parts.as_slice()) {
            ("POST", ["v1", "sites", _, "environments"]) => Self::Begin("environment.create"),
            ("POST", ["v1", "sites", _, "environments", _, "components"]) => {
                Self::Begin("component.install")
            }
            ("GET", ["v1", "jobs", id]) => Self::Job(id),
            ("POST", ["api", "public", "v1", "projects"]) => Self::Create("prj_"),
            ("POST", ["api", "public", "v1", "environments"]) => Self::Create("env_"),
            ("POST", ["api", "public", "v1", "webhooks"]) => Self::Create("whk_"),
            (
                "POST",
                [
                    "api",
                    "public",
                    "v1",
                    "environments",
                    id,
                    "actions",
                    action @ ("deploy" | "redeploy" | "restart" | "start" | "stop"),
                ],
            ) => Self::Act(action, id),
            ("POST", ["magnolia", "v1", "accounts"]) => Self::Create("acc_"),
            ("POST", ["magnolia", "v1", "contacts"]) => Self::Create("con_"),
            ("POST", ["ietf", "orders"]) => Self::Create("ord_"),
            (
                "PUT" | "PATCH",
                ["api", "public", "v1", "environments", id]
                | ["magnolia", "v1", "accounts", id]
                | ["ietf", "orders", id],
            ) => Self::Change(id),
            (
                "DELETE",
                ["api", "public", "v1", "environments", _] | ["magnolia", "v1", "accounts", _],
            ) => Self::Remove,
            (
                "GET",
                ["v1", "sites", _, "environments"]
                | ["api", "public", "v1", "environments", _]
                | ["magnolia", "v1", "accounts", _]
                | ["ietf", "orders", _],
            ) => Self::Read,
            _ => return None,
        })
    }
}

impl Api {
    /// An API that counts its executions in the file at `executions`; jobs spend `stage` queued and
    /// as long running.
    pub(crate) fn new(executions: &Path, stage: Duration) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            executions: Executions::open(executions)?,
            jobs: Jobs::new(stage),
            gate: Gate::new(),
        }))
    }

    /// Answers a request, and does what it asks for.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let Some(route) = Route::of(&parts.method, path) else {
            return error(StatusCode::NOT_FOUND, "not_found");
        };
        let Ok(body) = Limited::new(body, BODY_OCTETS_MAX).collect().await else {
            return not_executed(error(StatusCode::BAD_REQUEST, "the body cannot be read"));
        };
        let body = body.to_bytes();
        if !matches!(route, Route::Read | Route::Job(_)) {
            let account = parts.extensions.get::<Account>().map_or("nobody", |of| of.0.as_str());
            if self.executions.add(&format!("{} {path} for {account}", parts.method)).is_err() {
                return not_executed(error(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the execution cannot be counted",
                ));
            }
            if path.contains("held") || contains(&body, b"held") {
                self.gate.pass().await;
            }
        }
        self.carry_out(route, &body).unwrap_or_else(|_| {
            error(StatusCode::INTERNAL_SERVER_ERROR, "there is no randomness for an id")
        })
    }

    fn carry_out(&self, route: Route<'_>, body: &Bytes) -> Result<Response<Body>, Failure> {
        let request_id = random::named("req_")?;
        Ok(match route {
            Route::Begin(kind) => {
                let id = random::named("job_")?;
                self.jobs.begin(id.clone(), contains(body, b"no-such-"));
                let location = HeaderValue::try_from(format!("/v1/jobs/{id}"));
                let job = json!({
                    "id": id, "type": kind, "status": "queued", "request_id": request_id,
                });
                let mut response = reply(StatusCode::ACCEPTED, &job);
                if let Ok(location) = location {
                    response.headers_mut().insert(LOCATION, location);
                }
                response
            }
            Route::Job(id) => match self.jobs.status(id) {
                Some(status) => reply(
                    StatusCode::OK,
                    &json!({ "id": id, "status": status, "request_id": request_id }),
                ),
                None => error(StatusCode::NOT_FOUND, "not_found"),
            },
            Route::Create(prefix) => {
                let id = random::named(prefix)?;
                reply(StatusCode::CREATED, &json!({ "id": id, "request_id": request_id }))
            }
            Route::Act(action, id) => {
                let job = random::named("job_")?;
                let job = json!({
                    "job_id": job, "environment_id": id, "action": action, "status": "queued",
                    "request_id": request_id,
                });
                reply(StatusCode::OK, &job)
            }
            Route::Change(id) => {
                reply(StatusCode::OK, &json!({ "id": id, "request_id": request_id }))
            }
            Route::Remove => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Route::Read => reply(StatusCode::OK, &json!({ "request_id": request_id })),
        })
    }

    /// The body of a replayed job with the job's current status (M10, X1). Everything else in it
    /// stays the original's, and a job that is not known any more is sent as it was stored.
    pub(crate) fn refresh(&self, stored: &StoredResponse) -> Result<Option<Refreshed>, BoxError> {
        if stored.status != StatusCode::ACCEPTED {
            return Ok(None);
        }
        let mut body: Map<String, Value> = serde_json::from_slice(&stored.body)?;
        let id = body.get("id").and_then(Value::as_str);
        let Some(status) = id.and_then(|id| self.jobs.status(id)) else { return Ok(None) };
        body.insert("status".to_owned(), status.into());
        Ok(Some(Refreshed::new(format!("{}\n", Value::from(body)))))
    }
}

/// Who calls: what stands behind the last `_` of the bearer token. A sample of authentication, that
/// knows every account.
pub(crate) fn account(parts: &Parts) -> Option<Account> {
    let credentials = parts.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (_, name) = credentials.strip_prefix("Bearer ")?.rsplit_once('_')?;
    (!name.is_empty()).then(|| Account(name.to_owned()))
}

/// A JSON response, with a line break at its end for who reads it in a terminal.
pub(crate) fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error of the API's own.
pub(crate) fn error(status: StatusCode, what: &str) -> Response<Body> {
    reply(status, &json!({ "error": what }))
}

fn not_executed(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(Outcome::NotExecuted);
    response
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The API as the service inside the layer.
#[derive(Clone)]
pub(crate) struct Sample(pub(crate) Arc<Api>);

impl Service<Request<Body>> for Sample {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = Arc::clone(&self.0);
        Box::pin(async move { Ok(api.answer(request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_whole_or_not_at_all() {
        for (method, path, route) in [
            (Method::POST, "/v1/sites/s/environments", Some(Route::Begin("environment.create"))),
            (Method::GET, "/v1/jobs/job_1", Some(Route::Job("job_1"))),
            (
                Method::POST,
                "/brief/api/public/v1/environments/env_1/actions/stop",
                Some(Route::Act("stop", "env_1")),
            ),
            (Method::PATCH, "/magnolia/v1/accounts/a", Some(Route::Change("a"))),
            (Method::POST, "/api/public/v1/environments/env_1/actions/burn", None),
            (Method::POST, "/v1/sites//environments", None),
            (Method::POST, "/v1/sites/s/environments/", None),
            (Method::PUT, "/ietf/orders", None),
        ] {
            assert_eq!(Route::of(&method, path), route, "{method} {path}");
        }
    }

    #[test]
    fn the_account_is_the_end_of_the_token() {
        for (credentials, name) in [
            (Some("Bearer mfk_live_acme"), Some("acme")),
            (Some("Bearer mfk_live_"), None),
            (Some("Basic mfk_live_acme"), None),
            (None, None),
        ] {
            let mut request = Request::new(());
            if let Some(credentials) = credentials {
                let credentials = HeaderValue::from_static(credentials);
                request.headers_mut().insert(http::header::AUTHORIZATION, credentials);
            }
            let account = account(&request.into_parts().0);
            assert_eq!(account, name.map(|name| Account(name.to_owned())), "{credentials:?}");
        }
    }
}
