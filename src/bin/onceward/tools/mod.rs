//! The commands for operators: `list`, `get`, `release`, `resolve`, `stats`, `sweep` and `verify`.
//!
//! `verify` reads the files of a store on which nothing runs. Each of the others asks the admin API:
//! that of a running gateway over the network, or, in this process, that of such a store.

mod args;
mod client;
mod print;
mod verify;

use std::io::Read;

use http::Method;
use serde_json::{Value, json};

use crate::Failure;
use crate::octets::{to_base64, to_percent};
use args::{GetArgs, KeyArgs, ListArgs, ResolveArgs, ScopeArgs, StoreArgs};
use client::Client;
use print::Printer;

pub(crate) use args::{Tool, VerifyArgs};
pub(crate) use print::line;
pub(crate) use verify::verify;

/// Keys asked for at a time.
const PAGE: usize = 500;

/// Runs one command.
pub(crate) fn run(tool: &Tool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(async {
        let client = Client::to(match tool {
            Tool::List(args) => &args.store,
            Tool::Get(args) => &args.key.store,
            Tool::Release(args) => &args.key.store,
            Tool::Resolve(args) => &args.key.store,
            Tool::Stats(args) | Tool::Sweep(args) => args,
        })
        .await?;
        let ran = ask(&client, tool).await;
        let closed = client.close().await;
        ran.and(closed)
    })
}

async fn ask(client: &Client, tool: &Tool) -> Result<(), Failure> {
    match tool {
        Tool::List(args) => list(client, args).await,
        Tool::Get(args) => get(client, args).await,
        Tool::Release(args) => {
            let target = key_target(&args.key, "/release", false);
            show(&args.key.store, &client.call(Method::POST, &target, None).await?)
        }
        Tool::Resolve(args) => {
            let body = resolution(args)?;
            let target = key_target(&args.key, "/resolve", false);
            show(&args.key.store, &client.call(Method::POST, &target, Some(&body)).await?)
        }
        Tool::Stats(args) => show(args, &client.call(Method::GET, "/v1/stats", None).await?),
        Tool::Sweep(args) => show(args, &client.call(Method::POST, "/v1/sweep", None).await?),
    }
}

fn show(args: &StoreArgs, answer: &Value) -> Result<(), Failure> {
    Printer::new(args.json).fields(answer)
}

/// Lists page by page, so that a large store takes no more memory than a small one.
async fn list(client: &Client, args: &ListArgs) -> Result<(), Failure> {
    let mut printer = Printer::new(args.store.json);
    let (mut left, mut after) = (args.limit.unwrap_or(usize::MAX), None);
    let mut unreadable = 0;
    while left > 0 {
        let mut query = scope_query(&args.scope);
        query.push(("limit", left.min(PAGE).to_string()));
        query.extend(args.state.map(|state| ("state", state.word().to_owned())));
        query.extend(args.show_keys.then(|| ("show", "keys".to_owned())));
        query.extend(after.take().map(|after| ("after", after)));
        let page = client.call(Method::GET, &target("/v1/keys", &query), None).await?;
        printer.heading(args.show_keys)?;
        let keys = page.get("keys").and_then(Value::as_array).map(Vec::as_slice);
        for key in keys.unwrap_or_default() {
            if !printer.row(key)? {
                // Whoever read this has read enough.
                return Ok(());
            }
            left = left.saturating_sub(1);
        }
        unreadable += page.get("unreadable").and_then(Value::as_u64).unwrap_or_default();
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    if unreadable > 0 {
        return Err(Failure::Failed(format!(
            "{unreadable} records cannot be read: their bytes on disk are not those written"
        )));
    }
    Ok(())
}

async fn get(client: &Client, args: &GetArgs) -> Result<(), Failure> {
    let target = key_target(&args.key, "", args.show_keys);
    let answer = client.call(Method::GET, &target, None).await?;
    match answer.get("keys").and_then(Value::as_array) {
        None => show(&args.key.store, &answer),
        Some(keys) => keys.iter().try_for_each(|key| show(&args.key.store, key)),
    }
}

fn key_target(args: &KeyArgs, action: &str, show_keys: bool) -> String {
    let mut scope = scope_query(&args.scope);
    scope.extend(show_keys.then(|| ("show", "keys".to_owned())));
    let key = to_percent(args.key.as_bytes());
    let kind = if args.hash { "by-hash" } else { "-" };
    target(&format!("/v1/keys/{kind}/{key}{action}"), &scope)
}

fn scope_query(args: &ScopeArgs) -> Vec<(&'static str, String)> {
    [
        ("scope", &args.scope),
        ("principal", &args.principal),
        ("method", &args.method),
        ("path", &args.path),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.clone()?)))
    .collect()
}

fn target(path: &str, query: &[(&str, String)]) -> String {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", to_percent(value.as_bytes())))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// The body of `resolve`.
fn resolution(args: &ResolveArgs) -> Result<Value, Failure> {
    let Some(status) = args.how.status else { return Ok(json!({ "release": true })) };
    let pairs = args.header.iter().map(|field| {
        let (name, value) = field.split_once(':').ok_or_else(|| {
            Failure::Usage(format!("--header: `{field}` is not of the form NAME: VALUE"))
        })?;
        Ok(json!([name, value.trim_matches([' ', '\t'])]))
    });
    let headers = pairs.collect::<Result<Vec<Value>, Failure>>()?;
    let mut body = Vec::new();
    if let Some(file) = &args.body {
        let read = if file.as_os_str() == "-" {
            std::io::stdin().read_to_end(&mut body).map(|_| ())
        } else {
            std::fs::read(file).map(|octets| body = octets)
        };
        read.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    }
    Ok(json!({
        "complete": { "status": status, "headers": headers, "body_base64": to_base64(&body) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_asked_for_whatever_octets_it_has() {
        assert_eq!(target("/v1/keys", &[]), "/v1/keys");
        let query = [("principal", "Bearer a/b&c".to_owned()), ("path", "/v1".to_owned())];
        assert_eq!(target("/x", &query), "/x?principal=Bearer%20a%2Fb%26c&path=%2Fv1");
    }
}
