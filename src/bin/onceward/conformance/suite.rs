//! What the checks stand on: the server under test, requests that are its profile's, and what an
//! answer has to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use onceward::http::{Condition, InFlight, KeyFault, KeySyntax, Mismatch, Profile, Routes};
use serde_json::Value;

use super::upstream::{EXECUTION, ID, PLAN};
use super::wire::{Ask, PATIENCE, Reply, Target};

/// How long between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(10);

/// Why a check ended before its end.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// A promise is broken, and how.
    Failed(String),
    /// There is nothing to check, and why.
    NotApplicable(String),
}

/// Words for a fault are a broken promise: a server that cannot be talked to keeps none.
impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// What came of a check.
pub(crate) type Checked = Result<(), Stop>;

/// A promise: `holds`, or the check fails with these words.
pub(crate) fn want(holds: bool, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Stop::Failed(why())) }
}

/// The check ends, for there is nothing to check.
pub(crate) fn not_applicable<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::NotApplicable(why.into()))
}

/// The server under test, and what it should be.
pub(crate) struct Suite {
    pub(crate) profile: Profile,
    pub(crate) target: Target,
    /// The same, always by HTTP/2, for what compares versions.
    pub(crate) target2: Target,
    /// Whether requests go by HTTP/2.
    pub(crate) http2: bool,
    /// The header that tells callers apart; `None` where nobody does.
    pub(crate) principal_header: Option<String>,
    /// The one path of an API without the test contract.
    pub(crate) create_path: Option<String>,
    /// What that path takes.
    pub(crate) create_body: String,
    /// Whether the test contract is there.
    pub(crate) contract: bool,
    /// Whether the upstream is the layer's own handler.
    pub(crate) in_process: bool,
    /// How long the server keeps results, where it is short enough to wait for.
    pub(crate) ttl: Option<Duration>,
    /// Random, so that no run meets another's keys.
    pub(crate) run: String,
    pub(crate) cases: AtomicU64,
}

impl Suite {
    /// A key nobody used, and a count of its own.
    pub(crate) fn case(&self) -> Case<'_> {
        let number = self.cases.fetch_add(1, Ordering::Relaxed);
        // Any profile takes it: within 64 octets, none of which needs an escape.
        let id = format!("{}-{number}", self.run);
        Case { suite: self, id }
    }

    /// A path that is protected, by number: 0 and 1 differ.
    pub(crate) fn path(&self, number: usize) -> String {
        if let Some(path) = &self.create_path {
            return path.clone();
        }
        match &self.profile.routes {
            Routes::Listed(routes) => {
                let path =
                    routes.get(number % routes.len().max(1)).map(|route| route.path.as_str());
                concrete(path.unwrap_or("/"))
            }
            Routes::All => format!("/jobs/{}", number % 2),
        }
    }

    /// A method that is protected.
    pub(crate) fn method(&self) -> &str {
        self.profile.methods.first().map_or("POST", Method::as_str)
    }

    /// Methods that are not protected, of those a handler might answer.
    pub(crate) fn other_methods(&self) -> Vec<Method> {
        let all = [Method::GET, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        all.into_iter().filter(|method| !self.profile.methods.contains(method)).collect()
    }

    /// `key` as its header has it.
    pub(crate) fn written(&self, key: &str) -> String {
        match self.profile.key_syntax {
            KeySyntax::Strict => quoted(key),
            KeySyntax::Lenient => key.to_owned(),
        }
    }

    /// Whether requests are compared.
    pub(crate) fn compares(&self) -> bool {
        self.profile.mismatch != Mismatch::Replay
    }

    /// The check ends here unless the test contract is there: it needs to tell the API what to do.
    pub(crate) fn needs_contract(&self) -> Checked {
        if self.contract {
            return Ok(());
        }
        not_applicable("the API does not have the test contract")
    }

    /// The check ends here over HTTP/2, for the reason given.
    pub(crate) fn needs_http1(&self, why: &str) -> Checked {
        if self.http2 { not_applicable(format!("over HTTP/2: {why}")) } else { Ok(()) }
    }

    /// The check ends here where duplicates wait.
    pub(crate) fn needs_rejection(&self) -> Checked {
        match self.profile.in_flight {
            InFlight::Reject => Ok(()),
            InFlight::Wait(_) => not_applicable("duplicates of this profile wait"),
        }
    }

    /// Sends `ask` on a connection of its own.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Reply, Stop> {
        let reply = if self.http2 {
            self.target.exchange2(ask).await
        } else {
            self.target.exchange(ask).await
        };
        Ok(reply?)
    }

    /// An answer of the upstream's about itself.
    pub(crate) async fn upstream(&self, method: &str, path: &str) -> Result<Value, Stop> {
        let ask = Ask {
            method: method.to_owned(),
            target: format!("/conformance{path}"),
            fields: self.caller("one"),
            body: Bytes::new(),
        };
        let reply = self.send(&ask).await?;
        want(reply.status == 200, || {
            format!(
                "{method} {} of the test contract was answered with {}",
                ask.target, reply.status
            )
        })?;
        Ok(reply.json())
    }

    /// The line that says who calls.
    fn caller(&self, who: &str) -> Vec<(String, Vec<u8>)> {
        let Some(header) = &self.principal_header else { return Vec::new() };
        let value = if header.eq_ignore_ascii_case("authorization") {
            format!("Bearer {}-{who}", self.run)
        } else {
            format!("{}-{who}", self.run)
        };
        vec![(header.clone(), value.into_bytes())]
    }

    /// Whether `reply` is the profile's error for `condition`, and stored nowhere.
    pub(crate) async fn refused(&self, reply: &Reply, condition: &Condition) -> Checked {
        let code = condition.code();
        let expected = self.profile.error(condition, &HeaderMap::new());
        let (parts, body) = expected.into_parts();
        let octets = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Err(Stop::Failed(error.to_string())),
        };
        let status = parts.status.as_u16();
        want(reply.status == status, || {
            format!("`{code}` is a {status}, and {} came", reply.status)
        })?;
        let of = |name: &str| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        for name in ["content-type", "cache-control", "content-language"] {
            want(reply.one(name) == of(name), || {
                format!("`{code}` has {name}: {}, and `{}` came", of(name), reply.one(name))
            })?;
        }
        want(
            reply.all("retry-after").is_empty() != parts.headers.contains_key("retry-after"),
            || format!("`{code}` and Retry-After: `{}` came", reply.one("retry-after")),
        )?;
        if parts.headers.contains_key("retry-after") {
            want(reply.one("retry-after").parse::<u32>().is_ok(), || {
                format!("Retry-After is in seconds (C37), and `{}` came", reply.one("retry-after"))
            })?;
        }
        want(reply.all("link").is_empty() != parts.headers.contains_key("link"), || {
            format!("`{code}` and Link: `{}` came (D10)", reply.one("link"))
        })?;
        if let Some(marker) = &self.profile.marker {
            want(reply.all(marker.as_str()).is_empty(), || {
                format!("a generated error bears {marker}")
            })?;
        }
        let expected: Value = serde_json::from_slice(&octets).unwrap_or_default();
        same_code(code, &expected, &reply.json())
    }

    /// Whether `reply` refuses the key's spelling.
    pub(crate) async fn key_refused(&self, reply: &Reply) -> Checked {
        self.refused(reply, &Condition::InvalidKey(KeyFault::Malformed)).await
    }

    /// Whether `again` is `first` replayed: status, body, number of the execution, mark.
    pub(crate) fn replayed(&self, first: &Reply, again: &Reply) -> Checked {
        want(again.status == first.status, || {
            format!("{} was replayed as {}", first.status, again.status)
        })?;
        want(again.body == first.body, || {
            format!("another body came: {} octets, first {}", again.body.len(), first.body.len())
        })?;
        let execution = EXECUTION;
        want(again.all(execution) == first.all(execution), || {
            "the answer is of another execution".to_owned()
        })?;
        self.marked(again)
    }

    /// Whether a replay is marked as the profile says.
    pub(crate) fn marked(&self, reply: &Reply) -> Checked {
        let Some(marker) = &self.profile.marker else { return Ok(()) };
        let lines = reply.all(marker.as_str());
        want(lines == [b"true"], || format!("a replay has `{marker}: true` once, not {lines:?}"))
    }

    /// Whether `reply` is of an execution: not marked, and of the status of the plan.
    pub(crate) fn fresh(&self, reply: &Reply, status: u16) -> Checked {
        if self.contract {
            want(reply.status == status, || {
                format!("{status} was asked for, {} came", reply.status)
            })?;
        } else {
            want(reply.status < 500, || format!("the API answered with {}", reply.status))?;
        }
        let Some(marker) = &self.profile.marker else { return Ok(()) };
        want(reply.all(marker.as_str()).is_empty(), || format!("a first answer has {marker}"))
    }
}

/// The members by which a program knows an error, and the titles of the draft.
fn same_code(code: &str, expected: &Value, came: &Value) -> Checked {
    let titled = ["missing-key", "key-reused", "in-progress"].contains(&code);
    let members =
        ["/code", "/status", "/retryable", "/error/type", "/error/code", "/error/retryable"];
    let title = titled.then_some("/title");
    for pointer in members.into_iter().chain(title) {
        let (expected, came) = (expected.pointer(pointer), came.pointer(pointer));
        want(expected == came, || {
            format!("`{code}` has {pointer} {expected:?}, and {came:?} came")
        })?;
    }
    if let Some(error) = expected.get("error").filter(|error| error.is_string()) {
        want(came.get("error") == Some(error), || {
            format!("`{code}` has error {error}, not {came}")
        })?;
    }
    // O15: these two members, and no other.
    if expected.as_object().is_some_and(|members| members.len() == 2)
        && expected.get("message").is_some()
    {
        want(came == expected, || format!("the body is exactly {expected}, and {came} came"))?;
    }
    Ok(())
}

/// `key` as a structured-field String.
pub(crate) fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A path of a pattern.
pub(crate) fn concrete(pattern: &str) -> String {
    let segment = |segment: &str| {
        if segment.starts_with('{') { "env_01abc".to_owned() } else { segment.to_owned() }
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// A key, and what is done with it.
pub(crate) struct Case<'s> {
    suite: &'s Suite,
    id: String,
}

impl Case<'_> {
    /// The key, as its owner thinks of it.
    pub(crate) fn key(&self) -> &str {
        &self.id
    }

    /// A protected request with the key and a body, of the caller `one`.
    pub(crate) fn ask(&self) -> Ask {
        let suite = self.suite;
        let mut ask = Ask {
            method: suite.method().to_owned(),
            target: suite.path(0),
            fields: suite.caller("one"),
            body: Bytes::from(suite.create_body.clone()),
        }
        .field("Content-Type", "application/json")
        .field(suite.profile.header.as_str(), suite.written(&self.id));
        if suite.contract {
            ask = ask.field(ID, &self.id);
        }
        ask
    }

    /// The same from another caller, or from nobody.
    pub(crate) fn ask_by(&self, who: Option<&str>) -> Ask {
        let mut ask = self.ask();
        if let Some(header) = &self.suite.principal_header {
            ask = ask.without(header);
        }
        if let Some(who) = who {
            ask.fields.extend(self.suite.caller(who));
        }
        ask
    }

    /// Sends `ask`.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Reply, Stop> {
        self.suite.send(ask).await
    }

    /// Whether the work was done `count` times. Without the contract nobody can tell.
    pub(crate) async fn executed(&self, count: u64) -> Checked {
        if !self.suite.contract {
            return Ok(());
        }
        let executions = self.count("executions").await?;
        want(executions == count, || format!("{count} executions were due, {executions} were done"))
    }

    /// How much of this case the upstream counts as `what`.
    pub(crate) async fn count(&self, what: &str) -> Result<u64, Stop> {
        let report = self.suite.upstream("GET", &format!("/count?of={}", self.id)).await?;
        let count = report.get(what).and_then(Value::as_u64);
        count.ok_or_else(|| Stop::Failed(format!("the test contract does not count {what}")))
    }

    /// Waits until the work is held.
    pub(crate) async fn held(&self) -> Checked {
        let began = Instant::now();
        while self.count("waiting").await? == 0 {
            want(began.elapsed() < PATIENCE, || "the work was not begun".to_owned())?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Lets the work go on.
    pub(crate) async fn release(&self) -> Checked {
        self.suite.upstream("PUT", &format!("/release?of={}", self.id)).await?;
        Ok(())
    }

    /// Sends `ask` until `done` says that its time has come; gives that answer.
    pub(crate) async fn until(
        &self,
        ask: &Ask,
        what: &str,
        done: impl Fn(&Reply) -> bool,
    ) -> Result<Reply, Stop> {
        let patience = PATIENCE + self.suite.ttl.unwrap_or_default();
        let began = Instant::now();
        loop {
            let reply = self.send(ask).await?;
            if done(&reply) {
                return Ok(reply);
            }
            want(began.elapsed() < patience, || {
                format!("{what} did not come about; {} is the last answer", reply.status)
            })?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Ask {
    /// The same with a line more.
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The same without the lines of this name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self
    }

    /// The same with this line in place of those of its name.
    pub(crate) fn with(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).field(name, value)
    }

    /// The same with this to be answered.
    pub(crate) fn plan(self, plan: &Value) -> Self {
        // It stands in a header: what is not ASCII is escaped.
        let escaped = |unit: u16| match u8::try_from(unit) {
            Ok(octet) if octet.is_ascii() => char::from(octet).to_string(),
            _ => format!("\\u{unit:04x}"),
        };
        let text: String = plan.to_string().encode_utf16().map(escaped).collect();
        self.with(PLAN, text)
    }

    /// The same with another body.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same for another method.
    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// The same for another path and query.
    pub(crate) fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }
}
