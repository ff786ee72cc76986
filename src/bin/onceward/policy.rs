//! What clients are told about keys (D3, D5): the command `policy`, and what the gateway publishes
//! at a well-known path.

use std::fmt::Write as _;
use std::io::Write as _;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use onceward::http::{Body, OnError, Profile};
use serde_json::Value;

use crate::Failure;
use crate::args::PolicyArgs;
use crate::config::{Choice, ChoiceFlags, OnGatewayStatus, Rule};

/// Where the gateway publishes it.
pub(crate) const PATH: &str = "/.well-known/idempotency-policy";

/// The policy of a gateway, written once.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    json: String,
    markdown: String,
}

impl Policy {
    /// The policy of these profiles and rules.
    pub(crate) fn of(choice: &Choice) -> Self {
        Self { json: json(choice), markdown: markdown(choice) }
    }

    /// Answers a request for [`PATH`]: in Markdown where `Accept` asks for that and not for JSON.
    pub(crate) fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let (text, kind) = if wants_markdown(headers) {
            (&self.markdown, "text/markdown; charset=utf-8")
        } else {
            (&self.json, "application/json")
        };
        let mut response = Response::new(Body::full(text.clone()));
        if *method != Method::GET && *method != Method::HEAD {
            response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let headers = response.headers_mut();
        let fields: [(HeaderName, HeaderValue); 3] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::VARY, HeaderValue::from_static("accept")),
            (header::CACHE_CONTROL, HeaderValue::from_static("max-age=300")),
        ];
        headers.extend(fields);
        response
    }
}

/// Whether the first of the two types named in `Accept` is Markdown. Weights are left out of
/// account: who sends them for this is told in JSON, as is everybody who names neither.
fn wants_markdown(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .find_map(|range| match range.as_str() {
            "text/markdown" | "text/*" => Some(true),
            "application/json" | "application/*" | "*/*" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

/// The main profile's policy; where there are rules, with one more member for them.
fn json(choice: &Choice) -> String {
    let main = told(choice.profile(), choice).json();
    // Members keep the order they were written in: the text is added to, and not read.
    let Some(members) = main.trim_end().strip_suffix('}').filter(|_| !choice.rules.is_empty())
    else {
        return main;
    };
    let rules: Vec<String> = choice.rules.iter().map(|rule| of_rule(rule, choice)).collect();
    let (members, rules) = (members.trim_end(), rules.join(",\n"));
    format!("{members},\n  \"routes\": [\n{rules}\n  ]\n}}\n")
}

/// The policy of this gateway for what is under `profile`.
fn told<'a>(profile: &'a Profile, choice: &Choice) -> onceward::http::Policy<'a> {
    profile.policy().behind_gateway(match choice.on_gateway_status {
        OnGatewayStatus::InDoubt => OnError::InDoubt,
        OnGatewayStatus::Store => OnError::Store,
        OnGatewayStatus::Release => OnError::Release,
    })
}

/// A rule as one of the list's objects, as far to the right as it stands there.
fn of_rule(rule: &Rule, choice: &Choice) -> String {
    let path = Value::from(rule.path.as_str());
    let methods: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { Value::Null } else { methods.into() };
    let policy = if rule.protect {
        // No string of JSON has a line feed in it: every line may be moved.
        told(&rule.profile, choice).json().trim_end().replace('\n', "\n      ")
    } else {
        "null".to_owned()
    };
    format!(
        "    {{\n      \"path\": {path},\n      \"methods\": {methods},\n      \"policy\": {policy}\n    }}"
    )
}

fn markdown(choice: &Choice) -> String {
    let mut text = told(choice.profile(), choice).markdown();
    for rule in &choice.rules {
        let methods: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
        let methods = if methods.is_empty() { String::new() } else { methods.join(", ") + " " };
        let policy = if rule.protect {
            told(&rule.profile, choice).markdown()
        } else {
            "- A key has no effect here.\n".to_owned()
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## `{methods}{}`\n\n{policy}", rule.path);
    }
    text
}

/// `onceward policy`.
pub(crate) fn print(args: PolicyArgs) -> Result<(), Failure> {
    let flags = ChoiceFlags { profile: args.profile, ..ChoiceFlags::default() };
    let choice = Choice::resolve(args.config, flags, &|name| std::env::var_os(name))
        .map_err(Failure::Usage)?;
    let policy = Policy::of(&choice);
    let text = if args.json { policy.json } else { policy.markdown };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Failed(format!("standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_for_those_who_ask_for_it() {
        for (accept, markdown) in [
            ("", false),
            ("*/*", false),
            ("text/markdown", true),
            ("text/html, Text/Markdown;q=0.9, application/json", true),
            ("application/json, text/markdown", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_markdown(&headers), markdown, "{accept}");
        }
        assert!(!wants_markdown(&HeaderMap::new()));
    }
}
