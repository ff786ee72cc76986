//! The promise itself: the same key and the same request get the first answer, and the work is done
//! once.

use serde_json::json;

use super::super::suite::{Checked, Suite, not_applicable, want};
use super::super::wire::Reply;
use super::checks;

checks! {
    ["M1" "M2" "M6" "M8" "M18" "G2" "G3" "G10" "G15" "G16" "O1" "O2" "O3" "O4" "D6"]
        "a retry gets the first answer, and nothing is done again" a_retry_gets_the_first_answer;
    ["M9" "M10" "M11" "X1"] "a replayed job keeps its status and its place" a_job_keeps_its_place;
    ["M12" "G13" "D2"] "a new key is a new attempt" a_new_key_is_a_new_attempt;
    ["O6"] "the first status is kept" the_status_is_kept;
    ["O14" "X10" "X13" "D13"] "replays bear the profile's mark, and first answers none" marks;
    ["M3" "G5" "G6" "O7" "O8" "O9" "X5"] "every protected method and path" every_route;
    ["O13"] "a request without a body is one, too" bodyless;
    ["C30"] "a result of HTTP/1.1 is replayed over HTTP/2, and back" versions;
}

async fn a_retry_gets_the_first_answer(suite: &Suite) -> Checked {
    let case = suite.case();
    let first = case.send(&case.ask()).await?;
    suite.fresh(&first, 201)?;
    for _ in 0..3 {
        let again = case.send(&case.ask()).await?;
        suite.replayed(&first, &again)?;
    }
    case.executed(1).await
}

/// The body may be the job's current state, or the stored one: X1 leaves both.
async fn a_job_keeps_its_place(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let place = format!("{}/conformance/count?of={}", suite.target.base(), case.key());
    let plan = json!({ "status": 202, "headers": [["Location", place]], "body": "{\"job\":1}" });
    let ask = case.ask().plan(&plan);
    let first = case.send(&ask).await?;
    suite.fresh(&first, 202)?;
    let again = case.send(&ask).await?;
    want(again.status == 202, || format!("a 202 was replayed as {}", again.status))?;
    want(again.one("location") == first.one("location"), || {
        format!("Location was replayed as `{}`", again.one("location"))
    })?;
    suite.marked(&again)?;
    case.executed(1).await
}

async fn a_new_key_is_a_new_attempt(suite: &Suite) -> Checked {
    let (one, other) = (suite.case(), suite.case());
    let first = one.send(&one.ask()).await?;
    suite.fresh(&first, 201)?;
    suite.fresh(&other.send(&other.ask()).await?, 201)?;
    one.executed(1).await?;
    other.executed(1).await
}

async fn the_status_is_kept(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    for status in [200, 201, 202] {
        let case = suite.case();
        let ask = case.ask().plan(&json!({ "status": status }));
        suite.fresh(&case.send(&ask).await?, status)?;
        let again = case.send(&ask).await?;
        want(again.status == status, || format!("{status} was replayed as {}", again.status))?;
        case.executed(1).await?;
    }
    Ok(())
}

/// What the handler says about replays is not the handler's to say.
async fn marks(suite: &Suite) -> Checked {
    let Some(marker) = &suite.profile.marker else {
        return no_mark(suite).await;
    };
    let case = suite.case();
    let mut ask = case.ask();
    if suite.contract {
        ask = ask.plan(&json!({ "headers": [[marker.as_str(), "true"]] }));
    }
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)
}

/// Without a marker, a replay has nothing that the first answer did not have.
async fn no_mark(suite: &Suite) -> Checked {
    let case = suite.case();
    let first = case.send(&case.ask()).await?;
    let again = case.send(&case.ask()).await?;
    let names = |reply: &Reply| {
        let names = reply.fields.iter().map(|(name, _)| name.clone());
        // A proxy in front may add these to either.
        let mut names: Vec<String> =
            names.filter(|name| !["age", "via", "connection"].contains(&name.as_str())).collect();
        names.sort_unstable();
        names
    };
    let more: Vec<String> =
        names(&again).into_iter().filter(|name| !names(&first).contains(name)).collect();
    want(more.is_empty(), || format!("a replay has {more:?}, and the first answer has not"))
}

async fn every_route(suite: &Suite) -> Checked {
    use onceward::http::Routes;
    suite.needs_contract()?;
    let routes: Vec<(String, String)> = match &suite.profile.routes {
        Routes::Listed(routes) => routes
            .iter()
            .map(|route| (route.method.to_string(), super::super::suite::concrete(&route.path)))
            .collect(),
        Routes::All => {
            let methods = suite.profile.methods.iter();
            methods.map(|method| (method.to_string(), suite.path(0))).collect()
        }
    };
    for (method, path) in routes {
        let case = suite.case();
        let ask = case.ask().method(&method).target(&path);
        let first = case.send(&ask).await?;
        suite.fresh(&first, 201)?;
        let said = |stop| match stop {
            super::super::suite::Stop::Failed(why) => {
                super::super::suite::Stop::Failed(format!("{method} {path}: {why}"))
            }
            other @ super::super::suite::Stop::NotApplicable(_) => other,
        };
        suite.replayed(&first, &case.send(&ask).await?).map_err(said)?;
        case.executed(1).await?;
    }
    Ok(())
}

async fn bodyless(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let ask = case.ask().without("content-type").body("");
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)?;
    case.executed(1).await
}

async fn versions(suite: &Suite) -> Checked {
    let (one, other) = (suite.case(), suite.case());
    let first = match suite.target2.exchange2(&one.ask()).await {
        Ok(first) => first,
        Err(why) if suite.http2 => return Err(why.into()),
        Err(why) => return not_applicable(format!("the server does not speak HTTP/2: {why}")),
    };
    suite.replayed(&first, &suite.target.exchange(&one.ask()).await?)?;
    let first = suite.target.exchange(&other.ask()).await?;
    suite.replayed(&first, &suite.target2.exchange2(&other.ask()).await?)?;
    one.executed(1).await?;
    other.executed(1).await
}
