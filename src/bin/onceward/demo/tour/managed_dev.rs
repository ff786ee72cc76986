//! The tour of managed.dev's document.

use std::io::Write;

use http::Method;

use super::super::client::{Ask, Document, Reply};
use super::super::promise::Promise;
use super::super::random::uuid;
use super::Tour;
use crate::Failure;

/// The document's API.
pub(crate) static MANAGED_DEV: Document = Document {
    base: "/v1/sites/site_1",
    key_header: "Idempotency-Key",
    marker: None,
    token: "mfk_live_",
};

/// Its jobs, which stand beside the sites.
static JOBS: Document = Document { base: "/v1", ..MANAGED_DEV };

const PREVIEW: &str = r#"{"branch":"feature/checkout","type":"preview"}"#;
const OTHER: &str = r#"{"branch":"feature/search","type":"preview"}"#;
const HELD: &str = r#"{"branch":"held","type":"preview"}"#;
const NO_SUCH_PLUGIN: &str = r#"{"kind":"plugin","slug":"no-such-plugin","version":"latest"}"#;

/// How many callers come at once.
const CALLERS: usize = 64;

/// The document's own example.
pub(crate) fn create() -> Ask {
    MANAGED_DEV.post("/environments").body(PREVIEW)
}

/// A promise for an answer that is a job.
fn job(promise: Promise, reply: &Reply, status: &str) -> Promise {
    promise
        .and("the job has the status it should", reply.text("/status") == status)
        .and("Location leads to the job", leads_to_job(reply))
        .remark(format!("{}: {}", reply.text("/id"), reply.text("/status")))
}

fn leads_to_job(reply: &Reply) -> bool {
    reply.header("location") == format!("/v1/jobs/{}", reply.text("/id"))
}

/// A promise for a refusal in the document's envelope.
fn refusal(reply: &Reply, executions: u64, code: &str) -> Promise {
    Promise::refusal(409, executions)
        .and("the error is a conflict", reply.text("/error/type") == "conflict")
        .and("the error has its code", reply.text("/error/code") == code)
        .remark(reply.text("/error/code"))
}

/// Follows the document.
pub(crate) async fn visit<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.section(
        "managed.dev",
        "profile managed-dev, header Idempotency-Key, below /v1/sites/site_1",
    )?;
    first_and_retry(tour).await?;
    failed_job(tour).await?;
    changed_body(tour).await?;
    at_once(tour).await?;
    without_effect(tour).await?;
    whose(tour).await
}

async fn first_and_retry<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "The first call returns 202 Accepted with a job; a retry gets that same job, and never a \
         second one.",
        "M1, M9",
    )
    .await?;
    let ask = create().key(&uuid()?);
    let first = tour.step(&ask, |r| job(Promise::work(202, 1), r, "queued")).await?;
    tour.step(&ask.remark("retry"), |r| {
        Promise::replay(202, 1)
            .and("it is the same job", r.text("/id") == first.text("/id"))
            .and("Location leads to the job", leads_to_job(r))
            .remark(format!("{}, the same job", r.text("/id")))
    })
    .await?;
    Ok(())
}

async fn failed_job<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "A retry shows the job's current status, and if it has failed since, the failed job. A \
         fresh attempt takes a new key.",
        "M10, M11, M12",
    )
    .await?;
    let ask = MANAGED_DEV.post("/environments/env_1/components").body(NO_SUCH_PLUGIN);
    let retry = ask.key(&uuid()?);
    let first = tour.step(&retry, |r| job(Promise::work(202, 1), r, "queued")).await?;
    let look = JOBS.ask(Method::GET, format!("/jobs/{}", first.text("/id")));
    tour.watch(&look, |r| matches!(r.text("/status"), "failed" | "succeeded")).await?;
    tour.aside("  … and then it runs, and ends")?;
    tour.step(&retry.remark("retry"), |r| {
        job(Promise::replay(202, 1), r, "failed")
            .and("it is the same job", r.text("/id") == first.text("/id"))
    })
    .await?;
    tour.step(&ask.key(&uuid()?).remark("new key"), |r| {
        job(Promise::work(202, 2), r, "queued")
            .and("it is another job", r.text("/id") != first.text("/id"))
    })
    .await?;
    Ok(())
}

async fn changed_body<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "The same key with a changed body is a conflict, not a retry: nothing is executed.",
        "M16",
    )
    .await?;
    let ask = create().key(&uuid()?);
    tour.step(&ask, |_| Promise::work(202, 1)).await?;
    let changed = ask.body(OTHER);
    tour.step(&changed.remark("changed"), |r| refusal(r, 1, "idempotency.key_reused")).await?;
    tour.step(&changed.key(&uuid()?).remark("new key"), |_| Promise::work(202, 2)).await?;
    Ok(())
}

async fn at_once<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "Automated callers retry aggressively. 64 at once, on one key: the work is done once.",
        "M8",
    )
    .await?;
    let ask = create().body(HELD).key(&uuid()?);
    let held = tour.hold(&ask, CALLERS as u64).await?;
    let refused = held.answered.len();
    tour.without_work(&ask.remark("the others"), &held.answered, |r| {
        let code = |reply: &Reply| (reply.status, reply.text("/error/code").to_owned());
        refusal(r, 1, "idempotency.in_progress")
            .and("all but one are refused", refused == CALLERS - 1)
            .and("they are refused alike", held.answered.iter().all(|other| code(other) == code(r)))
            .and("it says when to retry", r.header("retry-after") == "1")
            .remark(format!("{refused} of {CALLERS}: idempotency.in_progress"))
    })
    .await?;
    let (first, executed) = tour.let_go(held).await?;
    let promise =
        job(Promise::work(202, 1), &first, "queued").and("one is executed", executed == 1);
    tour.judge(&ask.remark("the first"), &first, &promise).await?;
    tour.step_without_work(&ask.remark("retry"), |r| {
        Promise::replay(202, 1).and("it is the same job", r.text("/id") == first.text("/id"))
    })
    .await
}

async fn without_effect<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter("A read is safe, key or not. A POST without a key may create twice.", "M14, M15")
        .await?;
    let key = uuid()?;
    tour.step(&create().key(&key), |_| Promise::work(202, 1)).await?;
    let read = MANAGED_DEV.ask(Method::GET, "/environments").key(&key);
    tour.step(&read, |_| Promise::work(200, 1)).await?;
    tour.step(&create().remark("no key"), |_| Promise::work(202, 2)).await?;
    tour.step(&create().remark("no key, again"), |_| Promise::work(202, 3)).await?;
    Ok(())
}

async fn whose<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "The same key of another account is another key. Who may not call gets no replay either.",
        "C8, C19",
    )
    .await?;
    let ask = create().key(&uuid()?);
    let first = tour.step(&ask.remark("acme"), |_| Promise::work(202, 1)).await?;
    let other = ask.by(Some("globex")).remark("globex");
    let second = tour
        .step(&other, |r| {
            Promise::work(202, 2).and("it is another job", r.text("/id") != first.text("/id"))
        })
        .await?;
    tour.step(&other.remark("globex, retry"), |r| {
        Promise::replay(202, 2).and("it is globex's", r.text("/id") == second.text("/id"))
    })
    .await?;
    tour.step(&ask.by(None).remark("nobody"), |_| Promise::refusal(401, 2)).await?;
    Ok(())
}
