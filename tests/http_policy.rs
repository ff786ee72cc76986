//! The published policy (D3, D5) and the tables of `docs/http.md` say what the layer does.
//!
//! The tables are generated: `BLESS=1 cargo test --all-features --test http_policy` writes them anew.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "policy_support/cases.rs"]
mod cases;
#[path = "policy_support/knobs.rs"]
mod knobs;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::BTreeSet;

use http::HeaderMap;
use http_body_util::BodyExt;
use onceward::http::{Condition, KeyFault, Profile};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/policy");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http.md");

fn is_blessing() -> bool {
    std::env::var("BLESS").is_ok_and(|bless| bless == "1")
}

fn page() -> String {
    std::fs::read_to_string(PAGE).unwrap()
}

/// Holds the part of the page between the marks of `name` to `expected`, or writes it.
fn hold(name: &str, expected: &str) {
    let page = page();
    let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
    let from = page.find(&open).unwrap_or_else(|| panic!("{open} is not in docs/http.md"));
    let from = from + open.len();
    let to = from + page[from..].find(close).unwrap();
    if is_blessing() {
        let page = format!("{}{expected}{}", &page[..from], &page[to..]);
        std::fs::write(PAGE, page).unwrap();
    } else {
        assert_eq!(
            &page[from..to],
            expected,
            "docs/http.md is not what the code does: write it anew with BLESS=1"
        );
    }
}

/// A Markdown table with a column for each profile.
fn table(first: &str, rows: &[(String, Vec<String>)]) -> String {
    let names: Vec<_> =
        Profile::all().iter().map(|profile| format!("`{}`", profile.name)).collect();
    let head =
        format!("| {first} | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let rows = rows.iter().map(|(name, cells)| format!("| {name} | {} |\n", cells.join(" | ")));
    std::iter::once(head).chain(rows).collect()
}

/// All generated parts in one test, for they are written to one file.
#[tokio::test]
async fn the_page_says_what_the_code_does() {
    let profiles = Profile::all();
    let standard = knobs::of(&profiles[0]);
    let others: Vec<_> = profiles[1..].iter().map(knobs::of).collect();
    let rows: Vec<_> = standard
        .iter()
        .enumerate()
        .map(|(at, (name, value))| {
            let cell = |of: &Vec<(&str, String)>| match &of[at].1 {
                same if same == value => String::new(),
                other => other.clone(),
            };
            let cells = std::iter::once(value.clone()).chain(others.iter().map(cell)).collect();
            (format!("`{name}`"), cells)
        })
        .collect();
    hold("knobs", &table("field", &rows));

    let mut seen = Vec::new();
    for profile in &profiles {
        seen.push(cases::of(profile).await);
    }
    let (mut differ, mut same) =
        (Vec::new(), vec!["| case | every profile |\n|---|---|".to_owned()]);
    for (at, (case, first)) in seen[0].iter().enumerate() {
        let cells: Vec<String> = seen.iter().map(|of| of[at].1.clone()).collect();
        if cells.iter().all(|cell| cell == first) {
            same.push(format!("| {case} | {first} |"));
        } else {
            differ.push((case.clone(), cells));
        }
    }
    hold("cases", &format!("{}\n{}\n", table("case", &differ), same.join("\n")));
    hold("policy", &format!("```json\n{}```\n", Profile::oec().policy_json()));
}

/// D5: the octets of each profile's policy, in both forms, are those that were looked at last.
#[test]
fn d5_the_policies_are_golden() {
    for profile in Profile::all() {
        for (kind, written) in [("json", profile.policy_json()), ("md", profile.policy_document())]
        {
            let path = format!("{GOLDEN}/{}.{kind}", profile.name);
            if is_blessing() {
                std::fs::create_dir_all(GOLDEN).unwrap();
                std::fs::write(&path, written).unwrap();
            } else {
                let golden = std::fs::read_to_string(&path).unwrap_or_default();
                assert_eq!(written, golden, "{path} is another: write it anew with BLESS=1");
            }
        }
    }
}

/// A profile is what its fields say: under another name it does the same in every case.
#[tokio::test]
async fn a_profiles_name_decides_nothing() {
    for profile in Profile::all() {
        let mut renamed = profile.clone();
        renamed.name = "somebody-elses".into();
        assert_eq!(cases::of(&renamed).await, cases::of(&profile).await, "{}", profile.name);
        let own = profile.policy_json().replace(&format!("\"{}\"", profile.name), "\"-\"");
        assert_eq!(renamed.policy_json().replace("\"somebody-elses\"", "\"-\""), own);
        assert_eq!(renamed.policy_document(), profile.policy_document());
    }
}

/// A knob that is not in the tables is one nobody finds.
#[test]
fn every_knob_is_documented() {
    let debug = format!("{:#?}", Profile::standard());
    let fields: Vec<&str> = debug
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| !line.starts_with([' ', ']', '}', ')']))
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        .filter(|name| *name != "name")
        .collect();
    let tabled: Vec<&str> = knobs::of(&Profile::standard()).iter().map(|(name, _)| *name).collect();
    assert_eq!(tabled, fields, "tests/policy_support/knobs.rs has every field, in order");
    let page = page();
    let knobs = page.split("### Knobs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let explained = knobs.split("<!-- generated").next().unwrap();
    for field in fields {
        assert!(explained.contains(&format!("`{field}`")), "docs/http.md explains no `{field}`");
    }
}

fn policy(profile: &Profile) -> serde_json::Value {
    serde_json::from_str(&profile.policy_json()).unwrap()
}

/// Every path of members in a policy, lists of objects included.
fn paths(value: &serde_json::Value, above: &str, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
                paths(value, &path, into);
                into.insert(path);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| paths(item, above, into)),
        _ => {}
    }
}

/// D5: who reads the policy finds every member explained, and no member that is not there.
#[test]
fn d3_d5_every_member_of_the_policy_is_explained() {
    let mut members = BTreeSet::new();
    for mut profile in Profile::all() {
        paths(&policy(&profile), "", &mut members);
        profile.timeout = Some(std::time::Duration::from_secs(1));
        profile.in_flight = onceward::http::InFlight::Wait(std::time::Duration::from_secs(1));
        paths(&policy(&profile), "", &mut members);
    }
    let page = page();
    let section = page.split("### The policy as JSON\n").nth(1).unwrap();
    let rows = section.split("<!-- generated").next().unwrap().lines();
    let mut explained = BTreeSet::new();
    for row in rows.filter_map(|line| line.strip_prefix("| `")) {
        let names = row.split(" | ").next().unwrap();
        for name in names.split(", ") {
            explained.insert(name.trim_matches('`').to_owned());
        }
    }
    assert_eq!(members, explained, "left: in the policy; right: in docs/http.md");
}

fn conditions() -> Vec<Condition> {
    vec![
        Condition::MissingKey,
        Condition::InvalidKey(KeyFault::Empty),
        Condition::UpgradeNotSupported,
        Condition::KeyReused,
        Condition::InProgress,
        Condition::OutcomeUnknown,
        Condition::ResponseNotRetained(None),
        Condition::RecordCorrupt,
        Condition::CompletionNotWritten,
        Condition::RequestTooLarge,
        Condition::TooManyInFlight,
        Condition::StoreUnavailable,
        Condition::UpstreamUnreachable,
        Condition::UpstreamBroken,
    ]
}

/// D5: a client finds each error it is sent in the policy, by the way the policy tells it.
#[tokio::test]
async fn d5_the_errors_of_the_policy_are_those_that_are_sent() {
    for profile in Profile::all() {
        let errors = &policy(&profile)["errors"];
        let mut unseen: Vec<_> = errors["list"].as_array().unwrap().clone();
        for condition in conditions() {
            let never = match condition {
                Condition::MissingKey => !profile.key_required,
                Condition::KeyReused => profile.mismatch == onceward::http::Mismatch::Replay,
                _ => false,
            };
            if never {
                continue;
            }
            let (parts, body) = profile.error(&condition, &HeaderMap::new()).into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(parts.headers["content-type"], errors["media_type"].as_str().unwrap());
            let code = body.pointer(errors["code_at"].as_str().unwrap()).unwrap();
            let case = format!("{} {condition:?}", profile.name);
            let at = unseen
                .iter()
                .position(|error| {
                    error["status"] == parts.status.as_u16() && error["code"] == *code
                })
                .unwrap_or_else(|| panic!("{case} is not in the policy, or once too few"));
            let listed = unseen.remove(at);
            // O15's body has two members alone.
            let retryable = body.pointer(errors["retryable_at"].as_str().unwrap());
            if let Some(retryable) = retryable {
                assert_eq!(*retryable, listed["retryable"], "{case}");
            }
            let after = parts.headers.get("retry-after");
            let after: Option<u64> = after.map(|value| value.to_str().unwrap().parse().unwrap());
            assert_eq!(listed["retry_after_seconds"].as_u64(), after, "{case}");
            if let Some(class) = listed.get("type") {
                assert_eq!(body["error"]["type"], *class, "{case}");
            }
        }
        assert!(unseen.is_empty(), "{}: nobody sends {unseen:?}", profile.name);
    }
}

/// D3, D5, G12, G19: the expiry is published, and is the same wherever the profile is used.
#[test]
fn d3_d5_g12_g19_the_policy_says_when_a_key_expires() {
    for profile in Profile::all() {
        let retention = &policy(&profile)["retention"];
        assert_eq!(retention["seconds"].as_u64(), Some(profile.ttl.as_secs()));
        assert_eq!(retention["starts"], "completion", "X9");
        assert_eq!(retention["extended_by_replay"], false, "C42");
        assert!(profile.policy_document().contains("from its completion"));
    }
    assert_eq!(policy(&Profile::magnolia())["retention"]["seconds"], 86_400, "G19");
}

/// D11: a client sends the same request again only where the error says so; and when it says so, it
/// is one of the errors that come before any work, or that work still going on.
#[test]
fn d11_only_what_was_not_executed_may_be_sent_again_as_it_is() {
    let retryable =
        ["in-progress", "too-many-in-flight", "store-unavailable", "upstream-unreachable"];
    let errors = policy(&Profile::ietf())["errors"]["list"].as_array().unwrap().clone();
    for error in errors {
        let expected = retryable.contains(&error["code"].as_str().unwrap());
        assert_eq!(error["retryable"], expected, "{error}");
        assert!(expected || error["retry_after_seconds"].is_null(), "{error}");
    }
}

/// D4: what the policy says is compared, is; and what it does not name, is not.
#[tokio::test]
async fn d4_the_fingerprint_has_the_parts_that_the_policy_names() {
    for mut profile in Profile::all() {
        profile.fingerprint_headers.push(http::HeaderName::from_static("x-version"));
        let same_request = &policy(&profile)["same_request"];
        let compared = same_request["compared"].as_bool().unwrap();
        if compared {
            let headers = same_request["headers"].as_array().unwrap();
            assert_eq!(headers, &["Content-Type", "Content-Encoding", "X-Version"]);
        }
        for (name, counts) in [
            ("content-type", compared),
            ("content-encoding", compared),
            ("x-version", compared),
            ("host", compared),
            ("accept", false),
            ("user-agent", false),
        ] {
            let api = support::Api::new(profile.clone());
            let ask = |value: &str| {
                let request = support::keyless("POST", "/api/public/v1/projects")
                    .header(&profile.header, "\"k\"")
                    .header(name, value);
                api.send(request.body(onceward::http::Body::empty()).unwrap())
            };
            assert_eq!(ask("a").await.status, 201);
            let refused = ask("b").await.status != 201;
            assert_eq!(refused, counts, "{} {name}", profile.name);
        }
    }
}
