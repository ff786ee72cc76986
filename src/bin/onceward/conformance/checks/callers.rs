//! Whose key it is, and of which path.

use onceward::http::{Condition, Query, Routes, Scope};

use super::super::suite::{Case, Checked, Suite, not_applicable, want};
use super::super::wire::{Ask, Reply};
use super::checks;

checks! {
    ["C8"] "another caller's key of the same spelling is another key" other_caller;
    ["C8" "G1"] "without a caller, a key has no effect, and the answer says so" nobody;
    ["C9" "X7" "O11"] "the same key on another path" other_path;
    ["C9" "X7"] "the same key with another method" other_method;
    ["C10"] "the same key with another query" other_query;
    ["O7" "X15"] "a key on a path that is not listed has no effect" unlisted;
    ["X4"] "methods outside the profile are not protected" unprotected_patch;
}

/// What a request that differs from the first has to come to.
enum Differs {
    /// It is another key's.
    OtherKey,
    /// It is compared, and refused.
    Refused,
    /// It is the same one.
    Same,
}

async fn comes_to(
    suite: &Suite,
    case: &Case<'_>,
    first: &Reply,
    ask: &Ask,
    due: &Differs,
) -> Checked {
    let reply = case.send(ask).await?;
    match due {
        Differs::OtherKey => {
            suite.fresh(&reply, 201)?;
            return case.executed(2).await;
        }
        Differs::Refused => suite.refused(&reply, &Condition::KeyReused).await?,
        Differs::Same => suite.replayed(first, &reply)?,
    }
    case.executed(1).await
}

fn compared(suite: &Suite) -> Differs {
    if suite.compares() { Differs::Refused } else { Differs::Same }
}

async fn other_caller(suite: &Suite) -> Checked {
    if suite.principal_header.is_none() {
        return not_applicable("every caller is the same one");
    }
    let case = suite.case();
    let first = case.send(&case.ask()).await?;
    suite.fresh(&first, 201)?;
    let theirs = case.send(&case.ask_by(Some("two"))).await?;
    suite.fresh(&theirs, 201)?;
    case.executed(2).await?;
    suite.replayed(&first, &case.send(&case.ask()).await?)?;
    suite.replayed(&theirs, &case.send(&case.ask_by(Some("two"))).await?)
}

async fn nobody(suite: &Suite) -> Checked {
    if suite.principal_header.is_none() {
        return not_applicable("every caller is the same one");
    }
    suite.needs_contract()?;
    let case = suite.case();
    for _ in 0..2 {
        let reply = case.send(&case.ask_by(None)).await?;
        suite.fresh(&reply, 201)?;
        if suite.profile.report_ignored {
            let said = reply.one("onceward-key-ignored");
            want(said == "no-principal", || {
                format!("Onceward-Key-Ignored should be no-principal, and is `{said}`")
            })?;
        }
    }
    case.executed(2).await
}

async fn other_path(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let first = case.send(&case.ask()).await?;
    suite.fresh(&first, 201)?;
    let due = if suite.profile.scope == Scope::PrincipalAndRoute {
        Differs::OtherKey
    } else {
        compared(suite)
    };
    comes_to(suite, &case, &first, &case.ask().target(suite.path(1)), &due).await
}

async fn other_method(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let Some(other) = suite.profile.methods.get(1) else {
        return not_applicable("one method is protected");
    };
    if matches!(suite.profile.routes, Routes::Listed(_)) {
        return not_applicable("each path is listed with one method");
    }
    let case = suite.case();
    let first = case.send(&case.ask()).await?;
    suite.fresh(&first, 201)?;
    let due = if suite.profile.scope == Scope::PrincipalAndRoute {
        Differs::OtherKey
    } else {
        compared(suite)
    };
    comes_to(suite, &case, &first, &case.ask().method(other.as_str()), &due).await
}

async fn other_query(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let at = |query: &str| case.ask().target(format!("{}?{query}", suite.path(0)));
    let first = case.send(&at("a=1&b=2")).await?;
    suite.fresh(&first, 201)?;
    let rule = suite.profile.query;
    let counts = |counted: bool| if counted { compared(suite) } else { Differs::Same };
    let (other, order) = (rule != Query::Ignore, rule == Query::Include);
    comes_to(suite, &case, &first, &at("a=1&b=3"), &counts(other)).await?;
    comes_to(suite, &case, &first, &at("b=2&a=1"), &counts(order)).await
}

async fn unlisted(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let profile = &suite.profile;
    if !matches!(profile.routes, Routes::Listed(_)) || profile.enforce_unlisted {
        return not_applicable("every path is protected");
    }
    let case = suite.case();
    for path in ["/jobs/elsewhere", "/api/public/v1/projects/"] {
        let reply = case.send(&case.ask().target(path)).await?;
        suite.fresh(&reply, 201)?;
        if profile.report_ignored {
            let said = reply.one("onceward-key-ignored");
            want(said == "route", || format!("Onceward-Key-Ignored should be route, is `{said}`"))?;
        }
        suite.fresh(&case.send(&case.ask().target(path)).await?, 201)?;
    }
    case.executed(4).await
}

async fn unprotected_patch(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let others = suite.other_methods();
    let Some(other) = others.iter().find(|method| *method == http::Method::PATCH) else {
        return not_applicable("PATCH is protected");
    };
    let case = suite.case();
    let first = case.send(&case.ask()).await?;
    suite.fresh(&first, 201)?;
    for _ in 0..2 {
        suite.fresh(&case.send(&case.ask().method(other.as_str())).await?, 201)?;
    }
    case.executed(3).await
}
