//! The tour of oec.sh's document.

use std::io::Write;

use http::Method;
use serde_json::json;

use super::super::client::{Ask, Document};
use super::super::promise::Promise;
use super::super::random::{named, uuid};
use super::Tour;
use crate::Failure;

/// The document's API.
pub(crate) static OEC: Document = Document {
    base: "/api/public/v1",
    key_header: "X-Idempotency-Key",
    marker: Some("x-idempotency-replayed"),
    token: "oec_live_rw_",
};

const SHOP: &str = r#"{"name":"shop"}"#;

/// The document's own example.
pub(crate) fn redeploy() -> Ask {
    OEC.post("/environments/env_1/actions/redeploy")
}

/// Follows the document.
pub(crate) async fn visit<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.section("oec.sh", "profile oec, header X-Idempotency-Key, below /api/public/v1")?;
    first_and_retry(tour).await?;
    in_flight(tour).await?;
    one_key_for_two(tour).await?;
    ignored(tour).await?;
    whose(tour).await
}

async fn first_and_retry<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "A retry returns the existing project with the original status, 201 stays 201, and says \
         X-Idempotency-Replayed: true.",
        "O2, O6, O14",
    )
    .await?;
    let ask = OEC.post("/projects").body(SHOP).key(&uuid()?);
    let first = tour
        .step(&ask, |r| Promise::work(201, 1).remark(format!("{}, new", r.text("/id"))))
        .await?;
    tour.step(&ask.remark("retry"), |r| {
        Promise::replay(201, 1)
            .and("it is the same, octet by octet", r.body == first.body)
            .remark(format!("{}, the existing one", r.text("/id")))
    })
    .await?;
    tour.chapter(
        "A second redeploy with the key returns the original job status; no action is taken. No \
         body is needed.",
        "O4, O9, O13",
    )
    .await?;
    let ask = redeploy().key(&uuid()?);
    let first = tour.step(&ask, |_| Promise::work(200, 1)).await?;
    tour.step(&ask.remark("retry"), |r| {
        Promise::replay(200, 1)
            .and("it is the same, octet by octet", r.body == first.body)
            .remark(format!("{}: {}", r.text("/job_id"), r.text("/status")))
    })
    .await?;
    Ok(())
}

async fn in_flight<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "A duplicate of a request still in flight gets 409 idempotency_key_in_use; the same key \
         works a moment later.",
        "O15, O16",
    )
    .await?;
    let ask = OEC.post("/environments/env_held/actions/restart").key(&uuid()?);
    let held = tour.hold(&ask, 1).await?;
    // The document's own words, with no member beside them.
    let words = json!({
        "error": "idempotency_key_in_use",
        "message": "A request with this idempotency key is already being processed. Retry after a \
                    moment.",
    });
    tour.step_without_work(&ask.remark("duplicate"), |r| {
        Promise::refusal(409, 1)
            .and("the body is the document's", *r.json() == words)
            .remark(r.text("/error"))
    })
    .await?;
    let (first, _) = tour.let_go(held).await?;
    tour.judge(&ask.remark("the first"), &first, &Promise::work(200, 1)).await?;
    tour.step_without_work(&ask.remark("retry"), |r| {
        Promise::replay(200, 1).and("it is the same, octet by octet", r.body == first.body)
    })
    .await
}

async fn one_key_for_two<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "One key for two deployments: the second returns the cached result of the first and never \
         runs.",
        "O12",
    )
    .await?;
    let ask = redeploy().key(&named("redeploy-env_1-")?);
    let first = ask.body(r#"{"commit":"abc123"}"#);
    let first = tour.step(&first.remark("abc123"), |_| Promise::work(200, 1)).await?;
    let second = ask.body(r#"{"commit":"def456"}"#);
    tour.step(&second.remark("def456"), |r| {
        Promise::replay(200, 1).and("it is the first's result", r.body == first.body)
    })
    .await?;
    tour.chapter(
        "A pipeline's run id is as good a key, for all of the run's calls: on another path it is \
         another key.",
        "O11, X7",
    )
    .await?;
    let key = named("gh-actions-run-")?;
    let project = OEC.post("/projects").body(SHOP).key(&key);
    tour.step(&project, |_| Promise::work(201, 1)).await?;
    tour.step(&redeploy().key(&key), |_| Promise::work(200, 2)).await?;
    tour.step(&project.remark("retry"), |_| Promise::replay(201, 2)).await?;
    tour.step(&redeploy().key(&key).remark("retry"), |_| Promise::replay(200, 2)).await?;
    Ok(())
}

async fn ignored<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter("On GET, PUT, PATCH and DELETE a key is accepted and ignored.", "O10").await?;
    let key = uuid()?;
    for (method, status, executions) in [
        (Method::GET, 200, [0, 0]),
        (Method::PUT, 200, [1, 2]),
        (Method::PATCH, 200, [3, 4]),
        (Method::DELETE, 204, [5, 6]),
    ] {
        let ask = OEC.ask(method, "/environments/env_1").key(&key);
        let [once, twice] = executions;
        tour.step(&ask, |_| Promise::work(status, once)).await?;
        tour.step(&ask.remark("again"), |_| Promise::work(status, twice)).await?;
    }
    Ok(())
}

async fn whose<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "A key is not required. The same key of another account is another key.",
        "O17, C8",
    )
    .await?;
    let ask = OEC.post("/webhooks").body(r#"{"url":"https://example.com/hook"}"#);
    tour.step(&ask.remark("no key"), |_| Promise::work(201, 1)).await?;
    let ask = ask.key(&uuid()?);
    tour.step(&ask.remark("acme"), |_| Promise::work(201, 2)).await?;
    tour.step(&ask.by(Some("globex")).remark("globex"), |_| Promise::work(201, 3)).await?;
    Ok(())
}
