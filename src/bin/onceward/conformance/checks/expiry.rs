//! Expiry, where results live short enough to wait for (`--ttl`).

use std::time::{Duration, Instant};

use onceward::http::Condition;
use serde_json::json;

use super::super::suite::{Checked, Suite, not_applicable, want};
use super::checks;

checks! {
    ["M5" "M7" "G14" "G17" "G19" "O5" "X9" "C40" "C42" "C43"]
        "a result lives as long as it should, however often it is asked for, and the key is new then" expires;
    ["C41"] "work under way does not expire" under_way;
}

fn ttl(suite: &Suite) -> Result<Duration, super::super::suite::Stop> {
    suite.needs_contract()?;
    match suite.ttl {
        Some(ttl) => Ok(ttl),
        None => not_applicable("results live long; --ttl says that the server keeps them briefly"),
    }
}

async fn expires(suite: &Suite) -> Checked {
    let ttl = ttl(suite)?;
    let case = suite.case();
    let ask = case.ask();
    let began = Instant::now();
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    // Asking all the time does not keep it.
    let execution = first.one("conformance-execution");
    let next = case
        .until(&ask, "a new execution", |reply| reply.one("conformance-execution") != execution)
        .await?;
    want(began.elapsed() > ttl, || {
        format!("a result was gone after {:?}, of {ttl:?}", began.elapsed())
    })?;
    suite.fresh(&next, 201)?;
    case.executed(2).await
}

async fn under_way(suite: &Suite) -> Checked {
    let ttl = ttl(suite)?;
    suite.needs_rejection()?;
    let case = suite.case();
    let ask = case.ask().plan(&json!({ "hold": true }));
    // Were it executed, nobody would have to wait for it.
    let duplicate = case.ask().plan(&json!({}));
    let (first, meanwhile) = tokio::join!(case.send(&ask), async {
        case.held().await?;
        // What is shown is that nothing happens: there is nothing to wait for but the time.
        tokio::time::sleep(ttl + Duration::from_millis(100)).await;
        let refused = case.send(&duplicate).await;
        case.release().await?;
        refused
    });
    suite.refused(&meanwhile?, &Condition::InProgress).await?;
    suite.fresh(&first?, 201)?;
    case.executed(1).await
}
