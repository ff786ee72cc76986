//! Responses: what is kept of them, and what belonged to the first transmission alone.

use bytes::Bytes;
use onceward::http::{Condition, OversizeResponse, Tombstone};
use serde_json::json;

use super::super::suite::{Checked, Suite, want};
use super::super::wire::{Ask, Reply};
use super::checks;

checks! {
    ["M6" "D6"] "headers are kept, in order and to the octet, and so is the body" verbatim;
    ["C24"] "a response too long to keep reaches its first client, and is not made again" oversize;
    ["C25"] "a response in pieces is whole when it is replayed" in_pieces;
    ["C25"] "events are streamed as they come, and not replayed" events;
    ["C26"] "trailers" trailers;
    ["C27"] "headers of the connection are not kept" hop_by_hop;
    ["C28"] "nor are those of the transmission, and Date is the replay's" volatile;
    ["C29"] "cookies" cookies;
    ["D10"] "generated errors are as the profile writes them, and cached nowhere" errors;
}

async fn verbatim(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let plan = json!({
        "status": 200,
        "headers": [
            ["X-Many", "one"], ["X-Many", "two, three"], ["X-Many", ""],
            ["X-Obs-Text", "caf\u{e9}\u{ff}"], ["Content-Type", "text/plain; charset=utf-8"],
            ["ETag", "\"v1\""], ["Cache-Control", "private"],
        ],
        "body": "line\r\n\u{0}\u{e9}\u{1f600} end",
    });
    let ask = case.ask().plan(&plan);
    let first = case.send(&ask).await?;
    suite.fresh(&first, 200)?;
    let again = case.send(&ask).await?;
    suite.replayed(&first, &again)?;
    for name in ["x-many", "x-obs-text", "content-type", "etag", "cache-control", "content-length"]
    {
        want(again.all(name) == first.all(name), || {
            format!("{name} {:?} was replayed as {:?}", first.all(name), again.all(name))
        })?;
    }
    want(again.all("x-obs-text") == [b"caf\xe9\xff"], || "obs-text was changed".to_owned())?;
    case.executed(1).await
}

/// One octet more than is kept.
async fn oversize(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let size = suite.profile.response_octets_max + 1;
    let case = suite.case();
    let plan = json!({ "size": size, "headers": [["Location", "/jobs/1"]] });
    let ask = case.ask().plan(&plan);
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    want(first.body.len() == size, || {
        format!("the first client got {} octets, of {size}", first.body.len())
    })?;
    let again = case.send(&ask).await?;
    if suite.profile.oversize_response == OversizeResponse::OmitBody {
        want(again.status == 201 && again.body.is_empty(), || {
            format!("{} with {} octets came", again.status, again.body.len())
        })?;
        want(again.one("onceward-body-omitted") == "true", || "nobody says so".to_owned())?;
    } else {
        not_retained(suite, &again, 201, Some("/jobs/1")).await?;
    }
    case.executed(1).await
}

async fn not_retained(
    suite: &Suite,
    reply: &Reply,
    status: u16,
    location: Option<&str>,
) -> Checked {
    suite.refused(reply, &Condition::ResponseNotRetained(None::<Tombstone>)).await?;
    let body = reply.json();
    let error = body.get("error").filter(|error| error.is_object()).unwrap_or(&body);
    want(error.get("original_status") == Some(&json!(status)), || {
        format!("original_status is {status}, and {:?} came", error.get("original_status"))
    })?;
    want(error.get("location").and_then(|at| at.as_str()) == location, || {
        format!("location is {location:?}, and {:?} came", error.get("location"))
    })
}

async fn in_pieces(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let size = 200_000;
    let ask = case.ask().plan(&json!({ "size": size, "chunked": true }));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    want(first.body.len() == size, || format!("{} octets came of {size}", first.body.len()))?;
    let again = case.send(&ask).await?;
    suite.replayed(&first, &again)?;
    want(again.one("content-length") == size.to_string(), || {
        format!("a replay has a length, and `{}` came", again.one("content-length"))
    })?;
    case.executed(1).await
}

/// The first piece comes while the rest is held back.
async fn events(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let ask = case.ask().plan(&json!({
        "status": 200,
        "headers": [["Content-Type", "text/event-stream"]],
        "body": "data: one\n\ndata: two\n\n",
        "hold_body": true,
    }));
    let body = live(suite, &ask, || case.release()).await?;
    want(body == "data: one\n\ndata: two\n\n", || format!("{body:?} came"))?;
    not_retained(suite, &case.send(&ask).await?, 200, None).await?;
    case.executed(1).await
}

/// Reads the first piece, lets the work go on, and reads the rest.
async fn live<F>(
    suite: &Suite,
    ask: &Ask,
    release: impl FnOnce() -> F,
) -> Result<Bytes, super::super::suite::Stop>
where
    F: Future<Output = Checked>,
{
    let mut body = Vec::new();
    if suite.http2 {
        let (mut reply, mut stream) = suite.target.begin2(ask).await?;
        suite.fresh(&reply, 200)?;
        body.extend(stream.piece(&mut reply).await?.unwrap_or_default());
        release().await?;
        while let Some(piece) = stream.piece(&mut reply).await? {
            body.extend(piece);
        }
    } else {
        let (reply, mut wire) = suite.target.begin(ask).await?;
        suite.fresh(&reply, 200)?;
        body.extend(wire.chunk().await?.unwrap_or_default());
        release().await?;
        while let Some(chunk) = wire.chunk().await? {
            body.extend(chunk);
        }
    }
    Ok(body.into())
}

async fn trailers(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let plan = json!({
        "body": "with trailers",
        "headers": [["Trailer", "X-Sum"]],
        "trailers": [["X-Sum", "7"]],
    });
    let ask = case.ask().field("TE", "trailers").plan(&plan);
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    let again = case.send(&ask).await?;
    suite.replayed(&first, &again)?;
    let kept = again.trailers.iter().any(|(name, value)| name == "x-sum" && value == b"7");
    // HTTP/1.1 may leave them out on the way (RFC 9110, section 6.5.1); what is not stored cannot come.
    want(!kept || suite.profile.store_trailers, || "trailers were replayed".to_owned())?;
    want(kept || !suite.profile.store_trailers || !suite.http2, || {
        "trailers were not replayed".to_owned()
    })?;
    want(again.all("x-sum").is_empty(), || "a trailer became a header".to_owned())?;
    case.executed(1).await
}

async fn hop_by_hop(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let plan = json!({ "headers": [
        ["Connection", "X-Hop"], ["X-Hop", "1"], ["Keep-Alive", "timeout=5"],
        ["Proxy-Connection", "keep-alive"], ["X-End", "1"],
    ] });
    let ask = case.ask().plan(&plan);
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    let again = case.send(&ask).await?;
    suite.replayed(&first, &again)?;
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        want(again.all(name).is_empty(), || format!("{name} was replayed"))?;
    }
    want(again.one("x-end") == "1", || "X-End was lost".to_owned())?;
    case.executed(1).await
}

async fn volatile(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let names = [
        "Age",
        "X-RateLimit-Remaining",
        "X-Request-Id",
        "X-Correlation-Id",
        "Traceparent",
        "Server-Timing",
    ];
    let listed = |name: &str| {
        suite.profile.volatile_headers.iter().any(|volatile| match volatile.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == volatile,
        })
    };
    let case = suite.case();
    let date = "Thu, 01 Jan 1998 00:00:00 GMT";
    let mut lines: Vec<[&str; 2]> = names.map(|name| [name, "first"]).into();
    lines.push(["Date", date]);
    let ask = case.ask().plan(&json!({ "headers": lines }));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    let again = case.send(&ask).await?;
    suite.replayed(&first, &again)?;
    for name in names.map(str::to_ascii_lowercase) {
        let firsts = again.all(&name).contains(&b"first".as_slice());
        want(firsts != listed(&name), || {
            format!("{name} was {}replayed", if firsts { "" } else { "not " })
        })?;
    }
    let dates = again.all("date");
    want(dates.len() == 1 && dates != [date.as_bytes()], || {
        format!("a replay has one Date, its own, and not {dates:?}")
    })?;
    case.executed(1).await
}

async fn cookies(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let case = suite.case();
    let ask =
        case.ask().plan(&json!({ "headers": [["Set-Cookie", "s=1"], ["Set-Cookie", "t=2"]] }));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    want(first.all("set-cookie").len() == 2, || "the first client lost a cookie".to_owned())?;
    let again = case.send(&ask).await?;
    suite.replayed(&first, &again)?;
    let due = if suite.profile.replay_set_cookie { 2 } else { 0 };
    want(again.all("set-cookie").len() == due, || {
        format!("{} cookies were replayed, {due} are due", again.all("set-cookie").len())
    })?;
    case.executed(1).await
}

/// The same error twice: neither the first nor the second is kept anywhere.
async fn errors(suite: &Suite) -> Checked {
    let case = suite.case();
    let ask = case.ask().with(suite.profile.header.as_str(), "no, key");
    for _ in 0..2 {
        suite.key_refused(&case.send(&ask).await?).await?;
    }
    case.executed(0).await
}
