//! Work under way: duplicates meanwhile, clients that go away, and work that breaks.

use onceward::http::{Condition, OnDisconnect, OnError};
use serde_json::json;

use super::super::suite::{Checked, Suite, not_applicable, want};
use super::super::wire::Reply;
use super::checks;

checks! {
    ["C37" "O15" "D9" "X3" "G4"] "a duplicate of work under way is refused, and gets the answer later" in_flight;
    ["C38"] "one that differs is told so, and not to retry" in_flight_and_differs;
    ["G4" "M1" "C37"] "many at once are executed once" at_once;
    ["C31" "M17" "G12"] "the client goes away, and the result is there for the retry" goes_away;
    ["C32"] "a panic" panics;
    ["C34"] "work that broke is not done again, and nobody claims to know" broken;
    ["C35"] "a response that broke off is no success" cut_off;
}

async fn in_flight(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    suite.needs_rejection()?;
    let case = suite.case();
    let ask = case.ask().plan(&json!({ "hold": true }));
    // Were it executed, nobody would have to wait for it.
    let duplicate = case.ask().plan(&json!({}));
    let (first, meanwhile) = tokio::join!(case.send(&ask), async {
        case.held().await?;
        let refused = case.send(&duplicate).await;
        case.release().await?;
        refused
    });
    suite.refused(&meanwhile?, &Condition::InProgress).await?;
    let first = first?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)?;
    case.executed(1).await
}

async fn in_flight_and_differs(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    suite.needs_rejection()?;
    let case = suite.case();
    let ask = case.ask().plan(&json!({ "hold": true }));
    // Were it executed, nobody would have to wait for it.
    let duplicate = case.ask().plan(&json!({}));
    let (first, meanwhile) = tokio::join!(case.send(&ask), async {
        case.held().await?;
        let refused = case.send(&duplicate.body("{\"another\":true}")).await;
        case.release().await?;
        refused
    });
    let due = if suite.compares() { Condition::KeyReused } else { Condition::InProgress };
    suite.refused(&meanwhile?, &due).await?;
    suite.fresh(&first?, 201)?;
    case.executed(1).await
}

async fn at_once(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let ask = case.ask();
    let send = || case.send(&ask);
    let replies = tokio::join!(send(), send(), send(), send(), send(), send(), send(), send());
    for reply in <[_; 8]>::from(replies) {
        let reply = reply?;
        if reply.status != 201 {
            suite.refused(&reply, &Condition::InProgress).await?;
        }
    }
    case.executed(1).await
}

async fn goes_away(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let ask = case.ask().plan(&json!({ "hold": true }));
    // Whichever ends first: the request does not, and is dropped with its connection.
    tokio::select! {
        reply = case.send(&ask) => {
            return want(false, || format!("held work was answered: {reply:?}"));
        }
        held = case.held() => held?,
    }
    case.release().await?;
    if suite.profile.on_disconnect == OnDisconnect::Cancel {
        let reply = case.until(&ask, "the end", |reply| reply.status != 409).await?;
        suite.refused(&reply, &Condition::OutcomeUnknown).await?;
        return case.executed(1).await;
    }
    let reply = case.until(&ask, "the result", |reply| reply.status == 201).await?;
    suite.marked(&reply)?;
    case.executed(1).await
}

async fn panics(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    if !suite.in_process {
        return not_applicable("the handler is in another process");
    }
    let case = suite.case();
    let ask = case.ask().plan(&json!({ "panic": true }));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 500)?;
    let again = case.send(&ask).await?;
    match suite.profile.on_panic {
        OnError::Store => suite.replayed(&first, &again)?,
        OnError::Release => {
            suite.fresh(&again, 500)?;
            return case.executed(2).await;
        }
        OnError::InDoubt => suite.refused(&again, &Condition::OutcomeUnknown).await?,
    }
    case.executed(1).await
}

async fn broken(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    if suite.in_process {
        return not_applicable("there is no connection to the handler that could break");
    }
    in_doubt(suite, "drop", &Condition::UpstreamBroken).await
}

async fn cut_off(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    in_doubt(suite, "cut", &Condition::CompletionNotWritten).await
}

async fn in_doubt(suite: &Suite, how: &str, first: &Condition) -> Checked {
    let case = suite.case();
    let ask = case.ask().plan(&json!({ how: true }));
    suite.refused(&case.send(&ask).await?, first).await?;
    for _ in 0..2 {
        // Until the doubt is on disk, a server may rightly say that it is not done with the first.
        let unknown = |reply: &Reply| reply.all("retry-after").is_empty();
        let reply = case.until(&ask, "an answer without Retry-After", unknown).await?;
        suite.refused(&reply, &Condition::OutcomeUnknown).await?;
    }
    case.executed(1).await
}
