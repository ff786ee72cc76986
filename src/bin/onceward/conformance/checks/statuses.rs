//! What a status says about the key: stored, released, or in doubt.

use http::StatusCode;
use onceward::http::{Condition, OnError, Profile};
use serde_json::{Value, json};

use super::super::suite::{Checked, Suite, not_applicable, want};
use super::checks;

checks! {
    ["C16"] "a 5xx" server_errors;
    ["C17"] "a 4xx" client_errors;
    ["C17"] "a handler that says it did nothing" not_executed;
    ["C18"] "425, 429, and 503 with Retry-After; 408 is none of them" retry_later;
    ["C19"] "a handler's 401 and 403" not_allowed;
    ["X12"] "a handler's 409" conflict;
    ["C20"] "a 3xx keeps its Location" redirections;
    ["C22"] "answers without a body" bodiless;
    ["C46" "O16"] "a key that was given back takes any request" given_back;
}

/// What the profile makes of a key, by the status (C16 to C19), where nothing else is said.
fn settled(profile: &Profile, status: u16, retry_after: bool) -> OnError {
    let Ok(code) = StatusCode::from_u16(status) else { return OnError::Store };
    let asks_to_retry = status == 503 && retry_after && profile.release_503_with_retry_after;
    if asks_to_retry || profile.release_statuses.contains(&code) {
        OnError::Release
    } else if code.is_client_error() {
        profile.on_4xx
    } else if code.is_server_error() {
        profile.on_5xx
    } else {
        OnError::Store
    }
}

/// Work that is answered as `plan` says, sent twice.
async fn twice(suite: &Suite, plan: &Value, status: u16, due: OnError) -> Checked {
    let case = suite.case();
    let ask = case.ask().plan(plan);
    let first = case.send(&ask).await?;
    suite.fresh(&first, status)?;
    let again = case.send(&ask).await?;
    match due {
        OnError::Store => {
            suite.replayed(&first, &again)?;
            case.executed(1).await
        }
        OnError::Release => {
            suite.fresh(&again, status)?;
            case.executed(2).await
        }
        OnError::InDoubt => {
            suite.refused(&again, &Condition::OutcomeUnknown).await?;
            case.executed(1).await
        }
    }
}

async fn by_the_profile(suite: &Suite, status: u16) -> Checked {
    suite.needs_contract()?;
    let due = settled(&suite.profile, status, false);
    twice(suite, &json!({ "status": status }), status, due).await
}

/// 502, 503 and 504 are a gateway's to judge: it cannot tell them from its own.
async fn server_errors(suite: &Suite) -> Checked {
    for status in [500, 501, 507] {
        by_the_profile(suite, status).await?;
    }
    Ok(())
}

async fn client_errors(suite: &Suite) -> Checked {
    for status in [400, 404, 418, 422] {
        by_the_profile(suite, status).await?;
    }
    Ok(())
}

async fn not_executed(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let plan = json!({ "status": 422, "not_executed": true });
    twice(suite, &plan, 422, OnError::Release).await
}

async fn retry_later(suite: &Suite) -> Checked {
    for status in [408, 425, 429] {
        by_the_profile(suite, status).await?;
    }
    let plan = json!({ "status": 503, "headers": [["Retry-After", "1"]] });
    twice(suite, &plan, 503, settled(&suite.profile, 503, true)).await
}

async fn not_allowed(suite: &Suite) -> Checked {
    for status in [401, 403] {
        by_the_profile(suite, status).await?;
    }
    Ok(())
}

async fn conflict(suite: &Suite) -> Checked {
    by_the_profile(suite, 409).await
}

async fn redirections(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    for status in [301, 303, 307] {
        let case = suite.case();
        let place = "../jobs/%41?x=1#part";
        let plan = json!({ "status": status, "headers": [["Location", place]], "body": "moved" });
        let ask = case.ask().plan(&plan);
        let first = case.send(&ask).await?;
        suite.fresh(&first, status)?;
        let again = case.send(&ask).await?;
        suite.replayed(&first, &again)?;
        want(again.one("location") == place, || {
            format!("Location {place} was replayed as `{}`", again.one("location"))
        })?;
        case.executed(1).await?;
    }
    Ok(())
}

async fn bodiless(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    for status in [204, 205, 304] {
        let case = suite.case();
        let plan = json!({ "status": status, "headers": [["X-Kept", "yes"]], "body": "" });
        let ask = case.ask().plan(&plan);
        let first = case.send(&ask).await?;
        suite.fresh(&first, status)?;
        let again = case.send(&ask).await?;
        suite.replayed(&first, &again)?;
        want(again.one("x-kept") == "yes", || format!("{status} lost a header"))?;
        case.executed(1).await?;
    }
    Ok(())
}

async fn given_back(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let Some(status) = suite.profile.release_statuses.first().map(StatusCode::as_u16) else {
        return not_applicable("no status gives a key back");
    };
    let case = suite.case();
    let refused = case.ask().plan(&json!({ "status": status }));
    suite.fresh(&case.send(&refused).await?, status)?;
    let other = case.ask().plan(&json!({})).body("{\"another\":true}");
    let first = case.send(&other).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&other).await?)?;
    case.executed(2).await
}
