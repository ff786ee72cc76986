//! The tour's side of the connection: what it asks, and what it gets.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use onceward::http::Body;
use serde_json::Value;

use crate::Failure;

/// Longer than any answer takes on a busy machine. Only a tour that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The authority all requests name: a request is compared with its authority, and one that is
/// repeated after a restart on another port is to be the same.
const AUTHORITY: &str = "api.example";

/// An API as its document has it, and where the sample has it.
#[derive(Debug)]
pub(crate) struct Document {
    /// What all its paths begin with; not shown in the table.
    pub(crate) base: &'static str,
    /// The header that bears the key.
    pub(crate) key_header: &'static str,
    /// The header that marks a replay.
    pub(crate) marker: Option<&'static str>,
    /// What its tokens begin with; the account follows.
    pub(crate) token: &'static str,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    document: &'static Document,
    method: Method,
    path: String,
    key: Option<String>,
    account: Option<&'static str>,
    body: Option<&'static str>,
    remark: &'static str,
}

impl Document {
    /// A request of the account `acme`, without key and body.
    pub(crate) fn ask(&'static self, method: Method, path: impl Into<String>) -> Ask {
        Ask {
            document: self,
            method,
            path: path.into(),
            key: None,
            account: Some("acme"),
            body: None,
            remark: "",
        }
    }

    /// A POST of the account `acme`.
    pub(crate) fn post(&'static self, path: impl Into<String>) -> Ask {
        self.ask(Method::POST, path)
    }
}

impl Ask {
    /// The same with this key.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same with this JSON.
    pub(crate) fn body(&self, body: &'static str) -> Self {
        Self { body: Some(body), ..self.clone() }
    }

    /// The same from another account, or from nobody.
    pub(crate) fn by(&self, account: Option<&'static str>) -> Self {
        Self { account, ..self.clone() }
    }

    /// The same, with a word for the reader of the table.
    pub(crate) fn remark(&self, remark: &'static str) -> Self {
        Self { remark, ..self.clone() }
    }

    /// The document it is about.
    pub(crate) fn document(&self) -> &'static Document {
        self.document
    }

    /// The key as the header has it.
    pub(crate) fn key_shown(&self) -> &str {
        self.key.as_deref().unwrap_or("–")
    }

    /// What is asked, in at most `width` columns: of a long path, its end.
    pub(crate) fn shown(&self, width: usize) -> String {
        let comma = if self.remark.is_empty() { "" } else { ", " };
        let mut path = self.path.as_str();
        let mut cut = "";
        loop {
            let shown = format!("{} {cut}{path}{comma}{}", self.method, self.remark);
            let rest = path.get(1..).and_then(|rest| rest.find('/')).map(|at| at + 1);
            match rest.and_then(|at| path.get(at..)) {
                Some(rest) if shown.chars().count() > width => (path, cut) = (rest, "…"),
                _ => return shown,
            }
        }
    }

    /// A line for a shell that sends this to `origin`.
    pub(crate) fn curl(&self, origin: &str) -> String {
        let Self { document: Document { base, key_header, token, .. }, path, .. } = self;
        let mut line = "curl -si".to_owned();
        if self.method != Method::POST || self.body.is_none() {
            let _ = write!(line, " -X {}", self.method);
        }
        let _ = write!(line, " {origin}{base}{path}");
        if let Some(account) = self.account {
            let _ = write!(line, " \\\n  -H 'Authorization: Bearer {token}{account}'");
        }
        if let Some(key) = &self.key {
            let _ = write!(line, " \\\n  -H '{key_header}: {key}'");
        }
        if let Some(body) = self.body {
            let _ = write!(line, " \\\n  -H 'Content-Type: application/json' -d '{body}'");
        }
        line
    }
}

/// A response, whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    json: Value,
}

impl Reply {
    fn new(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Self { status, headers, body, json }
    }

    /// The text at a JSON pointer (RFC 6901) in the body; empty when there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// A header's value; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What an API says of itself at `/demo`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// Executions since its file was made.
    pub(crate) executions: u64,
    /// How many of them wait at the gate.
    pub(crate) held: u64,
}

/// Sends requests to one address, over real connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: Http<HttpConnector, Body>,
    origin: String,
}

impl Client {
    /// A client for the API at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let http = Http::builder(TokioExecutor::new()).build_http();
        Self { http, origin: format!("http://{address}") }
    }

    /// Sends `ask`.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Reply, Failure> {
        let Document { base, key_header, token, .. } = ask.document;
        let uri = format!("{}{base}{}", self.origin, ask.path);
        let mut request = Request::builder().method(&ask.method).uri(uri).header(HOST, AUTHORITY);
        if let Some(account) = ask.account {
            request = request.header(AUTHORIZATION, format!("Bearer {token}{account}"));
        }
        if let Some(key) = &ask.key {
            request = request.header(*key_header, key);
        }
        if ask.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = ask.body.map_or_else(Body::empty, Body::from);
        let failed = |why: &dyn std::fmt::Display| {
            Failure::Failed(format!("{} {base}{}: {why}", ask.method, ask.path))
        };
        let request = request.body(body).map_err(|error| failed(&error))?;
        let answer = async {
            let response = self.http.request(request).await.map_err(|error| failed(&error))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| failed(&error))?.to_bytes();
            Ok(Reply::new(parts.status.as_u16(), parts.headers, body))
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(&"there is no answer")),
        }
    }

    /// How the API stands.
    pub(crate) async fn state(&self) -> Result<State, Failure> {
        self.control(Method::GET, "/demo").await
    }

    /// Lets everything go that the API holds back.
    pub(crate) async fn release(&self) -> Result<(), Failure> {
        self.control(Method::POST, "/demo/release").await.map(drop)
    }

    async fn control(&self, method: Method, path: &str) -> Result<State, Failure> {
        let reply = self.send(&PLAIN.ask(method, path)).await?;
        let number = |name| reply.json.get(name).and_then(Value::as_u64);
        match (number("executions"), number("held")) {
            (Some(executions), Some(held)) => Ok(State { executions, held }),
            _ => Err(Failure::Failed(format!("{path} does not say how the API stands"))),
        }
    }
}

/// No API's document: the demo's own paths.
static PLAIN: Document =
    Document { base: "", key_header: "Idempotency-Key", marker: None, token: "demo_" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_shown_by_its_end() {
        let ask = PLAIN.post("/api/public/v1/environments/env_1/actions/stop").remark("retry");
        assert_eq!(ask.shown(80), "POST /api/public/v1/environments/env_1/actions/stop, retry");
        assert_eq!(ask.shown(40), "POST …/env_1/actions/stop, retry");
        assert_eq!(ask.shown(1), "POST …/stop, retry");
    }

    #[test]
    fn a_request_can_be_pasted() {
        let ask = PLAIN.post("/a").key("k").body("{}");
        assert_eq!(
            ask.curl("http://h"),
            "curl -si http://h/a \\\n  -H 'Authorization: Bearer demo_acme' \\\n  \
             -H 'Idempotency-Key: k' \\\n  -H 'Content-Type: application/json' -d '{}'"
        );
        assert_eq!(PLAIN.post("/a").by(None).curl("http://h"), "curl -si -X POST http://h/a");
    }
}
