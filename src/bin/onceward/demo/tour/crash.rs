//! The tour of a crash: the API runs as a process of its own, is killed in the middle of its work,
//! and started again on the same directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use onceward::http::StoredResponse;
use onceward::{Error, Key, Resolution, Resolved, State, Store};

use super::super::child::Child;
use super::super::client::{Ask, Document};
use super::super::promise::Promise;
use super::super::random::uuid;
use super::super::{STORE, store_failed};
use super::Tour;
use super::magnolia::MAGNOLIA;
use super::managed_dev::MANAGED_DEV;
use super::oec::OEC;
use crate::Failure;

static SITES: Document = Document { base: "", ..MANAGED_DEV };
static DEPLOYS: Document = Document { base: "", ..OEC };
static ACCOUNTS: Document = Document { base: "", ..MAGNOLIA };

/// What an operator found out: the redeploy took place after all.
const FOUND_OUT: &str = r#"{"action":"redeploy","status":"succeeded"}"#;

/// Crashes, twice. The API's stores are in `directory`.
pub(crate) async fn visit<W: Write>(tour: &mut Tour<W>, directory: &Path) -> Result<(), Failure> {
    tour.section("A crash", "the same APIs in a process of their own, killed in the middle")?;
    let child = Child::start(directory).await?;
    tour.turn_to(child.client());
    tour.chapter("Two requests are done. Two are at work when the process is killed.", "M13, C34")
        .await?;
    let environments = SITES.post("/v1/sites/site_1/environments");
    let done = [
        (environments.body(r#"{"branch":"feature/checkout"}"#).key(&uuid()?), 202),
        (ACCOUNTS.post("/magnolia/v1/accounts").body(r#"{"name":"Ada"}"#).key(&uuid()?), 201),
    ];
    let mut firsts = Vec::new();
    for ((ask, status), executions) in done.iter().zip(1..) {
        firsts.push(tour.step(ask, |_| Promise::work(*status, executions)).await?);
    }
    let create = environments.body(r#"{"branch":"held"}"#).key(&uuid()?);
    let deploy =
        DEPLOYS.post("/api/public/v1/environments/env_held/actions/redeploy").key(&uuid()?);
    let begun = Begun::new(tour, [&create, &deploy]).await?;
    let executions = tour.executions().await?;
    child.kill().await?;
    let killed = executions == 4 && begun.unanswered().await;
    tour.fact("SIGKILL: the two at work get no answer", executions, killed)?;

    let child = Child::start(directory).await?;
    tour.turn_to(child.client());
    tour.chapter_goes_on(
        "Started again, it replays what was done byte for byte. Of what was at work nobody knows \
         whether it was done: it is not done again, and the answer says so.",
        "M6, M13, C34",
    )?;
    for ((ask, status), first) in done.iter().zip(&firsts) {
        tour.step(&ask.remark("retry"), |r| {
            Promise::replay(*status, 4).and("it is the same, octet by octet", r.body == first.body)
        })
        .await?;
    }
    tour.step(&create.remark("retry"), |r| {
        Promise::refusal(409, 4)
            .and("it says so", r.text("/error/code") == "idempotency.outcome_unknown")
            .remark(r.text("/error/code"))
    })
    .await?;
    tour.step(&deploy.remark("retry"), |r| {
        Promise::refusal(500, 4)
            .and("it says so", r.text("/error") == "idempotency_outcome_unknown")
            .remark(r.text("/error"))
    })
    .await?;
    child.kill().await?;
    let resolved = resolve(directory, &create, &deploy).await?;

    let child = Child::start(directory).await?;
    tour.turn_to(child.client());
    tour.chapter_goes_on(
        "Who finds out says so in the store: the environment was not created, so its key is \
         released; the redeploy was done, so its key is completed with a response.",
        "C34",
    )?;
    let executions = tour.executions().await?;
    let what = "Store::resolve: one free, one complete";
    tour.fact(what, executions, resolved && executions == 4)?;
    let held = tour.hold(&create, 1).await?;
    let (reply, _) = tour.let_go(held).await?;
    tour.judge(&create.remark("retry"), &reply, &Promise::work(202, 5)).await?;
    tour.step(&deploy.remark("retry"), |r| {
        Promise::replay(200, 5)
            .and("it is the response it was completed with", r.body == FOUND_OUT)
            .remark(FOUND_OUT)
    })
    .await?;
    child.kill().await
}

/// Requests at work in a process that is about to be killed.
struct Begun(tokio::task::JoinSet<bool>);

impl Begun {
    /// Sends `asks` and waits until all have begun to execute.
    async fn new<W: Write>(tour: &Tour<W>, asks: [&Ask; 2]) -> Result<Self, Failure> {
        let mut open = tokio::task::JoinSet::new();
        for ask in asks {
            let (client, ask) = (tour.client().clone(), ask.clone());
            open.spawn(async move { client.send(&ask).await.is_ok() });
        }
        tour.until_held(asks.len() as u64).await?;
        Ok(Self(open))
    }

    /// Whether none of them was answered.
    async fn unanswered(self) -> bool {
        !self.0.join_all().await.contains(&true)
    }
}

/// Ends both keys in doubt, in the store that no process has open now.
async fn resolve(directory: &Path, create: &Ask, deploy: &Ask) -> Result<bool, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response =
        StoredResponse::new(StatusCode::OK, headers, Bytes::from_static(FOUND_OUT.as_bytes()));
    let resolutions = [
        (create.key_shown().to_owned(), Resolution::Release),
        (deploy.key_shown().to_owned(), Resolution::Complete(response.encode())),
    ];
    let directory = directory.join(STORE);
    let resolved = tokio::task::spawn_blocking(move || resolve_all(directory, resolutions)).await;
    resolved
        .map_err(|error| Failure::Failed(error.to_string()))?
        .map_err(|error| store_failed(&error))
}

fn resolve_all(directory: PathBuf, resolutions: [(String, Resolution); 2]) -> Result<bool, Error> {
    let store = Store::open(directory)?;
    let mut resolved = true;
    for (key, resolution) in resolutions {
        let mut found = None;
        for item in &store {
            let item = item?;
            if item.key == key.as_bytes() && item.record.state() == State::InDoubt {
                found = Some(item.scope);
            }
        }
        let Some(scope) = found else { return Ok(false) };
        resolved &= store.blocking_resolve(Key::new(&scope, &key)?, resolution)? == Resolved::Done;
    }
    store.close()?;
    Ok(resolved)
}
