//! The tour of draft-ietf-httpapi-idempotency-key-header.

use std::io::Write;

use http::Method;

use super::super::client::{Ask, Document, Reply};
use super::super::promise::Promise;
use super::super::random::uuid;
use super::Tour;
use crate::Failure;

/// An API to the letter of the draft.
pub(crate) static IETF: Document = Document {
    base: "/ietf",
    key_header: "Idempotency-Key",
    marker: Some("idempotency-replayed"),
    token: "ietf_",
};

/// An order.
pub(crate) fn order() -> Ask {
    IETF.post("/orders").body(r#"{"item":"lamp"}"#)
}

/// A key as the draft has it: a structured String.
pub(crate) fn string() -> Result<String, Failure> {
    Ok(format!("\"{}\"", uuid()?))
}

/// A promise for a problem of this title.
fn problem(reply: &Reply, status: u16, executions: u64, title: &str) -> Promise {
    Promise::refusal(status, executions)
        .and(
            "it is application/problem+json",
            reply.header("content-type") == "application/problem+json",
        )
        .and("the problem has the draft's title", reply.text("/title") == title)
        .remark(reply.text("/title"))
}

/// Follows the document.
pub(crate) async fn visit<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.section("IETF draft", "to the letter: profile ietf, header Idempotency-Key, below /ietf")?;
    tour.chapter(
        "The key is a String, in quotes; a retry gets the previous result. PATCH is covered as \
         POST is.",
        "D1, D6",
    )
    .await?;
    let post = order().key(&string()?);
    let patch = IETF.ask(Method::PATCH, "/orders/ord_1").body(r#"{"item":"desk"}"#).key(&string()?);
    for (ask, status, executions) in [(post, 201, 1), (patch, 200, 2)] {
        let first = tour.step(&ask, |_| Promise::work(status, executions)).await?;
        tour.step(&ask.remark("retry"), |r| {
            Promise::replay(status, executions)
                .and("it is the same, octet by octet", r.body == first.body)
        })
        .await?;
    }
    tour.chapter("A key is required, and what is no String is no key.", "D1, D7").await?;
    tour.step(&order().remark("no key"), |r| problem(r, 400, 0, "Idempotency-Key is missing"))
        .await?;
    tour.step(&order().key(&uuid()?).remark("bare"), |r| {
        problem(r, 400, 0, "Idempotency-Key is invalid")
    })
    .await?;
    refusals(tour).await
}

async fn refusals<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "With another payload the key is refused with 422; while the first request is at work, \
         with 409.",
        "D8, D9, D10",
    )
    .await?;
    let ask = order().key(&string()?);
    tour.step(&ask, |_| Promise::work(201, 1)).await?;
    let changed = ask.body(r#"{"item":"desk"}"#).remark("changed");
    tour.step(&changed, |r| problem(r, 422, 1, "Idempotency-Key is already used")).await?;
    let ask = order().body(r#"{"item":"held"}"#).key(&string()?);
    let held = tour.hold(&ask, 1).await?;
    tour.step_without_work(&ask.remark("duplicate"), |r| {
        problem(r, 409, 2, "A request is outstanding for this Idempotency-Key")
    })
    .await?;
    let (first, _) = tour.let_go(held).await?;
    tour.judge(&ask.remark("the first"), &first, &Promise::work(201, 2)).await
}
