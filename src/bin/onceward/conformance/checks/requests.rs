//! Requests: what makes them the same, and bodies that are long, late, or not there.

use bytes::Bytes;
use onceward::http::{Canonical, Condition, OversizeRequest};
use serde_json::json;

use super::super::suite::{Checked, Stop, Suite, not_applicable, want};
use super::super::wire::Ask;
use super::checks;

checks! {
    ["M16" "O12" "G13" "D2" "D8" "X2" "X8"] "a changed body" changed_body;
    ["C39"] "a refusal leaves the record as it was" refusal_leaves_the_record;
    ["C11"] "white space and order in JSON" json_spelling;
    ["C12"] "another Content-Type or Content-Encoding" content_fields;
    ["C12"] "the case of a media type does not count" media_type_case;
    ["C12"] "other headers do not count" other_fields;
    ["C13"] "a body longer than memory should hold is a body like another" long_body;
    ["C13"] "a body longer than is protected is refused" oversize_body;
    ["C14"] "a bad key is refused before the body is sent" expect_refused;
    ["C14"] "a good one gets its 100" expect_granted;
    ["C15"] "half a request claims nothing" half_a_body;
    ["C21"] "an upgrade with a key is refused, and one without a protected method is not" upgrade;
}

async fn comes_to(suite: &Suite, asks: &[(Ask, bool)], first: &Ask) -> Checked {
    let reply = suite.send(first).await?;
    suite.fresh(&reply, 201)?;
    for (ask, same) in asks {
        let again = suite.send(ask).await?;
        if *same || !suite.compares() {
            suite.replayed(&reply, &again)?;
        } else {
            suite.refused(&again, &Condition::KeyReused).await?;
        }
    }
    Ok(())
}

async fn changed_body(suite: &Suite) -> Checked {
    let case = suite.case();
    let changed = case.ask().body(format!("{} ", suite.create_body).replace('{', "{\"a\":1,"));
    comes_to(suite, &[(changed, false)], &case.ask()).await?;
    case.executed(1).await
}

async fn refusal_leaves_the_record(suite: &Suite) -> Checked {
    if !suite.compares() {
        return not_applicable("requests are not compared");
    }
    let case = suite.case();
    let changed = case.ask().body("{\"another\":true}");
    comes_to(suite, &[(changed.clone(), false), (changed, false), (case.ask(), true)], &case.ask())
        .await?;
    case.executed(1).await
}

async fn json_spelling(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let same = suite.profile.canonical == Canonical::Json;
    let spaced = case.ask().body("{ \"b\": 2, \"a\": 1 }");
    comes_to(suite, &[(spaced, same)], &case.ask().body("{\"a\":1,\"b\":2}")).await?;
    case.executed(1).await
}

async fn content_fields(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let typed = case.ask().with("Content-Type", "text/plain");
    let coded = case.ask().field("Content-Encoding", "identity");
    comes_to(suite, &[(typed, false), (coded, false)], &case.ask()).await?;
    case.executed(1).await
}

async fn media_type_case(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let of = |value: &str| case.ask().with("Content-Type", value);
    let same = (of("Application/JSON;charset=UTF-8"), true);
    comes_to(suite, &[same], &of("application/json; charset=utf-8")).await?;
    case.executed(1).await
}

async fn other_fields(suite: &Suite) -> Checked {
    let case = suite.case();
    let other = case.ask().field("User-Agent", "retry/2").field("Traceparent", "00-1-1-00");
    comes_to(suite, &[(other, true)], &case.ask()).await?;
    case.executed(1).await
}

async fn long_body(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let octets = suite.profile.request_octets_in_memory.saturating_mul(2);
    if octets > suite.profile.request_octets_max {
        return not_applicable("all that is protected is held in memory");
    }
    let case = suite.case();
    let ask = case.ask().body(Bytes::from(vec![b'a'; octets]));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    want(first.json().get("octets") == Some(&json!(octets)), || {
        format!("the handler got {:?} octets, of {octets}", first.json().get("octets"))
    })?;
    suite.replayed(&first, &case.send(&ask).await?)?;
    if suite.compares() {
        let mut other = vec![b'a'; octets];
        if let Some(last) = other.last_mut() {
            *last = b'b';
        }
        let reply = case.send(&ask.clone().body(other)).await?;
        suite.refused(&reply, &Condition::KeyReused).await?;
    }
    case.executed(1).await
}

/// The sender waits for leave, so that all of it need not be sent to be refused.
async fn oversize_body(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    if suite.profile.oversize_request != OversizeRequest::Reject {
        return not_applicable("longer bodies are streamed");
    }
    suite.needs_http1("the sender has to wait for 100 Continue")?;
    let case = suite.case();
    let mut wire = suite.target.wire().await?;
    let length = suite.profile.request_octets_max + 1;
    let lines = format!("Content-Length: {length}\r\nExpect: 100-continue\r\n");
    wire.send(&suite.target.head(&case.ask(), &lines)).await?;
    let head = wire.reply_head().await?;
    want(head.informed.is_empty(), || format!("{:?} came in front", head.informed))?;
    let reply = wire.rest(head, false).await?;
    suite.refused(&reply, &Condition::RequestTooLarge).await?;
    case.executed(0).await
}

async fn expect_refused(suite: &Suite) -> Checked {
    suite.needs_http1("Expect is HTTP/1.1's")?;
    let case = suite.case();
    let ask = case.ask().with(suite.profile.header.as_str(), "two, keys");
    let mut wire = suite.target.wire().await?;
    let lines = "Content-Length: 100\r\nExpect: 100-continue\r\n";
    wire.send(&suite.target.head(&ask, lines)).await?;
    let head = wire.reply_head().await?;
    want(head.informed.is_empty(), || "100 Continue came for a request to be refused".to_owned())?;
    let reply = wire.rest(head, false).await?;
    suite.key_refused(&reply).await?;
    case.executed(0).await
}

async fn expect_granted(suite: &Suite) -> Checked {
    suite.needs_http1("Expect is HTTP/1.1's")?;
    let case = suite.case();
    let ask = case.ask();
    let mut replies = Vec::new();
    for turn in 0..2 {
        let mut wire = suite.target.wire().await?;
        let lines = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", ask.body.len());
        wire.send(&suite.target.head(&ask, &lines)).await?;
        let head = wire.one_head().await?;
        // Where nobody compares, a replay needs no body to be told.
        let at_once = turn == 1 && !suite.compares();
        let head = if at_once && head.status >= 200 {
            head
        } else {
            want(head.status == 100, || format!("100 is due, and {} came", head.status))?;
            wire.send(&ask.body).await?;
            wire.reply_head().await?
        };
        replies.push(wire.rest(head, false).await?);
    }
    let [first, again] = replies.as_slice() else { return Ok(()) };
    suite.fresh(first, 201)?;
    suite.replayed(first, again)?;
    case.executed(1).await
}

async fn half_a_body(suite: &Suite) -> Checked {
    suite.needs_http1("half a body is half a message of HTTP/1.1")?;
    let case = suite.case();
    let ask = case.ask();
    for (framing, part) in
        [("Content-Length: 100\r\n", "half"), ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n")]
    {
        let mut wire = suite.target.wire().await?;
        wire.send(&suite.target.head(&ask, framing)).await?;
        wire.send(part.as_bytes()).await?;
        wire.end().await?;
        // 400 or a closed connection: either is right, and both mean that it was noticed.
        if let Ok(head) = wire.reply_head().await {
            want(head.status == 400, || {
                format!("half a request was answered with {}", head.status)
            })?;
        }
    }
    case.executed(0).await?;
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)?;
    case.executed(1).await
}

async fn upgrade(suite: &Suite) -> Checked {
    suite.needs_http1("Upgrade is HTTP/1.1's")?;
    let case = suite.case();
    let asks = |ask: Ask| ask.field("Connection", "Upgrade").field("Upgrade", "example");
    let reply = case.send(&asks(case.ask())).await?;
    suite.refused(&reply, &Condition::UpgradeNotSupported).await?;
    case.executed(0).await?;
    if !suite.contract {
        return Ok::<(), Stop>(());
    }
    let reply = case.send(&asks(case.ask().method("GET").body(""))).await?;
    suite.fresh(&reply, 201)?;
    case.executed(1).await
}
