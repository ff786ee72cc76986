//! The test upstream: an API that does as each request tells it, and counts what it did.
//!
//! `docs/conformance.md` is its contract, which others may implement where this program cannot
//! stand. A request to `…/conformance` and below it asks about the upstream; every other request is
//! work, done once for each time it arrives.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use onceward::http::{Body, BoxError, Outcome};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// The request header that names what is counted, and held, together.
pub(crate) const ID: &str = "conformance-id";
/// The request header with the plan, a JSON object.
pub(crate) const PLAN: &str = "conformance-plan";
/// The response header with the number of the execution, from 1.
pub(crate) const EXECUTION: &str = "conformance-execution";

/// The version of the contract.
pub(crate) const CONTRACT: u64 = 1;
/// How long work is held for want of anybody who lets it go on.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// The longest body made, in octets.
const SIZE_MAX: usize = 64 << 20;
/// Octets of a body that are sent together.
const PIECE: usize = 64 << 10;
/// Ids remembered; past that, work with a new one is refused.
const IDS_MAX: usize = 100_000;

/// What a request wants to be answered with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a member of the plan")]
struct Plan {
    /// The status; 201 unless it says so.
    status: Option<u16>,
    /// Header lines, added in order; each character stands for one octet.
    headers: Vec<(String, String)>,
    /// The body, in place of the report.
    body: Option<String>,
    /// Octets of filler, in place of the report.
    size: Option<usize>,
    /// The body comes in pieces, of a length nobody knows beforehand.
    chunked: bool,
    /// Trailer lines; the body is chunked then.
    trailers: Vec<(String, String)>,
    /// The work waits, counted, until it is released.
    hold: bool,
    /// The body waits, behind its first piece, until it is released.
    hold_body: bool,
    /// The connection is closed after the work, in place of a response.
    drop: bool,
    /// The body breaks off behind its first piece.
    cut: bool,
    /// The handler panics, where it is in one process with the layer; else as `drop`.
    panic: bool,
    /// The upstream says that it did nothing (`Onceward-Outcome: not-executed`).
    not_executed: bool,
}

/// What is known of an id.
struct Work {
    executions: AtomicU64,
    waiting: AtomicU64,
    open: watch::Sender<bool>,
}

impl Work {
    fn report(&self) -> Response<Body> {
        reply(
            StatusCode::OK,
            &json!({
                "executions": self.executions.load(Ordering::SeqCst),
                "waiting": self.waiting.load(Ordering::SeqCst),
            }),
        )
    }

    /// Waits to be released.
    async fn hold(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self);
        let mut open = self.open.subscribe();
        // Nobody came, or somebody did: the work goes on either way.
        let _ = tokio::time::timeout(HOLD_MAX, open.wait_for(|open| *open)).await;
        drop(waiting);
    }
}

/// Somebody who waits, and does not any more when this is dropped.
struct Waiting<'w>(&'w Work);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The upstream. Requests are answered by [`answer`](Self::answer), in whatever server.
pub(crate) struct Upstream {
    in_process: bool,
    works: Mutex<HashMap<String, Arc<Work>>>,
}

impl Upstream {
    /// An upstream that has done nothing. `in_process` is whether it is the layer's own handler,
    /// which can panic, and cannot break a connection.
    pub(crate) fn new(in_process: bool) -> Arc<Self> {
        Arc::new(Self { in_process, works: Mutex::default() })
    }

    /// Executions so far, of all ids.
    #[allow(dead_code, reason = "a test that serves this asks it")]
    pub(crate) fn executions(&self) -> u64 {
        let works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        works.values().map(|work| work.executions.load(Ordering::SeqCst)).sum()
    }

    /// Answers one request. An error stands for a connection that is closed without an answer.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, io::Error> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().trim_end_matches('/');
        let of = parts.uri.query().and_then(|query| query.strip_prefix("of="));
        let asks = |of: &str| path.ends_with(&format!("/conformance{of}"));
        match (parts.method.as_str(), of) {
            ("GET", None) if asks("") => {
                let about = json!({ "contract": CONTRACT, "in_process": self.in_process });
                return Ok(reply(StatusCode::OK, &about));
            }
            ("GET", None) if asks("/whoami") => return Ok(who(&parts.headers)),
            ("GET", Some(of)) if asks("/count") => return Ok(self.work(of).report()),
            ("PUT", Some(of)) if asks("/release") => {
                let work = self.work(of);
                work.open.send_replace(true);
                return Ok(work.report());
            }
            _ => {}
        }
        let octets = body.collect().await.map_err(io::Error::other)?.to_bytes().len();
        let plan = match parts.headers.get(PLAN) {
            None => Plan::default(),
            Some(plan) => match serde_json::from_slice(plan.as_bytes()) {
                Ok(plan) => plan,
                Err(error) => {
                    let why = json!({ "plan": error.to_string() });
                    return Ok(reply(StatusCode::NOT_IMPLEMENTED, &why));
                }
            },
        };
        let id = parts.headers.get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let work = self.work(id);
        let number = work.executions.fetch_add(1, Ordering::SeqCst) + 1;
        if plan.hold {
            work.hold().await;
        }
        if plan.panic && self.in_process {
            std::panic::panic_any("as the plan says");
        }
        if plan.drop || plan.panic {
            return Err(io::Error::other("as the plan says"));
        }
        let report = json!({
            "execution": number,
            "method": parts.method.as_str(),
            "target": parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str),
            "octets": octets,
        });
        Ok(self.respond(plan, number, &report, work))
    }

    /// What is known of `id`, from now on if it is new. Past the limit, ids share one count, and
    /// whoever asks gets numbers it did not expect.
    fn work(&self, id: &str) -> Arc<Work> {
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        let id = if works.len() < IDS_MAX { id } else { "" };
        let work = works.entry(id.to_owned()).or_insert_with(|| {
            Arc::new(Work {
                executions: AtomicU64::new(0),
                waiting: AtomicU64::new(0),
                open: watch::Sender::new(false),
            })
        });
        Arc::clone(work)
    }

    fn respond(
        &self,
        plan: Plan,
        number: u64,
        report: &serde_json::Value,
        work: Arc<Work>,
    ) -> Response<Body> {
        let status = plan.status.and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status.unwrap_or(StatusCode::CREATED);
        let headers = response.headers_mut();
        headers.insert(EXECUTION, HeaderValue::from(number));
        if plan.body.is_none() && plan.size.is_none() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        lines(headers, &plan.headers);
        if plan.not_executed {
            if self.in_process {
                response.extensions_mut().insert(Outcome::NotExecuted);
            } else {
                let said = HeaderValue::from_static("not-executed");
                response.headers_mut().insert("onceward-outcome", said);
            }
        }
        let body = match (&plan.body, plan.size) {
            (Some(body), _) => Bytes::from(body.clone()),
            (None, Some(size)) => Bytes::from(vec![b'x'; size.min(SIZE_MAX)]),
            (None, None) => Bytes::from(report.to_string()),
        };
        let streamed = plan.chunked || plan.hold_body || plan.cut || !plan.trailers.is_empty();
        *response.body_mut() = if streamed { stream(plan, body, work) } else { Body::full(body) };
        response
    }
}

/// Who calls, for a gateway that asks: the `Authorization`, as `X-Account`.
fn who(headers: &HeaderMap) -> Response<Body> {
    let Some(caller) = headers.get(AUTHORIZATION) else {
        return reply(StatusCode::UNAUTHORIZED, &json!({ "error": "nobody" }));
    };
    let mut response = reply(StatusCode::OK, &json!({}));
    response.headers_mut().insert("x-account", caller.clone());
    response
}

fn reply(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Adds lines, octet by octet; what can stand in no header is left out. The first line of a name
/// takes the place of what is there.
fn lines(headers: &mut HeaderMap, lines: &[(String, String)]) {
    for (name, value) in lines {
        let value: Vec<u8> = value.chars().map(|octet| octet as u8).collect();
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value))
        else {
            continue;
        };
        if name == CONTENT_TYPE || name == LOCATION {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
}

/// A body in pieces.
struct Pieces(mpsc::Receiver<Result<Frame<Bytes>, BoxError>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

/// Sends `body` in at least two pieces, as the plan says, from a task of its own.
fn stream(plan: Plan, mut body: Bytes, work: Arc<Work>) -> Body {
    let (send, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut rest = body.split_off(body.len().div_ceil(2).min(PIECE));
        if send.send(Ok(Frame::data(body))).await.is_err() {
            return;
        }
        if plan.hold_body {
            work.hold().await;
        }
        if plan.cut {
            // Whoever has gone needs not be told.
            let _ = send.send(Err("as the plan says".into())).await;
            return;
        }
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            if send.send(Ok(Frame::data(piece))).await.is_err() {
                return;
            }
        }
        if !plan.trailers.is_empty() {
            let mut trailers = HeaderMap::new();
            lines(&mut trailers, &plan.trailers);
            let _ = send.send(Ok(Frame::trailers(trailers))).await;
        }
    });
    Body::new(Pieces(pieces))
}
