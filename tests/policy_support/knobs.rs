//! A profile's fields as the documentation writes them.

use std::time::Duration;

use onceward::http::{InFlight, Mismatch, Profile, Routes};

/// Every field but the name, in the order of the struct, with its value.
pub(crate) fn of(profile: &Profile) -> Vec<(&'static str, String)> {
    let p = profile;
    vec![
        ("header", code(&p.header)),
        ("header_aliases", list(p.header_aliases.iter().map(code))),
        ("key_syntax", debug(p.key_syntax)),
        ("key_octets_max", p.key_octets_max.to_string()),
        ("key_required", yes(p.key_required)),
        ("methods", list(p.methods.iter().map(code))),
        ("routes", routes(&p.routes)),
        ("enforce_unlisted", yes(p.enforce_unlisted)),
        ("scope", debug(p.scope)),
        ("mismatch", mismatch(p.mismatch)),
        ("query", debug(p.query)),
        ("fingerprint_headers", list(p.fingerprint_headers.iter().map(code))),
        ("canonical", debug(p.canonical)),
        ("marker", p.marker.as_ref().map_or("none".into(), code)),
        ("ttl", time(p.ttl)),
        ("dialect", debug(p.dialect)),
        ("docs_url", code(&p.docs_url)),
        ("request_octets_in_memory", octets(p.request_octets_in_memory)),
        ("request_octets_max", octets(p.request_octets_max)),
        ("oversize_request", debug(p.oversize_request)),
        ("response_octets_max", octets(p.response_octets_max)),
        ("oversize_response", debug(p.oversize_response)),
        ("live_routes", list(p.live_routes.iter().map(|route| code(&route.path)))),
        ("store_trailers", yes(p.store_trailers)),
        ("timeout", p.timeout.map_or("none".into(), time)),
        ("on_timeout", debug(p.on_timeout)),
        ("on_disconnect", debug(p.on_disconnect)),
        ("on_crash", debug(p.on_crash)),
        ("fail_open", yes(p.fail_open)),
        ("on_4xx", debug(p.on_4xx)),
        ("on_5xx", debug(p.on_5xx)),
        ("on_panic", debug(p.on_panic)),
        ("release_statuses", list(p.release_statuses.iter().map(|s| s.as_u16().to_string()))),
        ("release_503_with_retry_after", yes(p.release_503_with_retry_after)),
        (
            "in_flight",
            match p.in_flight {
                InFlight::Reject => "`Reject`".into(),
                InFlight::Wait(patience) => format!("`Wait` {}", time(patience)),
            },
        ),
        ("volatile_headers", format!("{} names, [below](#the-response)", p.volatile_headers.len())),
        ("replay_set_cookie", yes(p.replay_set_cookie)),
        ("report_ignored", yes(p.report_ignored)),
        ("echo_key", yes(p.echo_key)),
        ("refresh_location", yes(p.refresh_location)),
    ]
}

fn code(value: impl std::fmt::Display) -> String {
    format!("`{value}`")
}

fn debug(value: impl std::fmt::Debug) -> String {
    format!("`{value:?}`")
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.into()
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

fn octets(count: usize) -> String {
    format!("{} MiB", count >> 20)
}

pub(crate) fn time(time: Duration) -> String {
    let hours = time.as_secs() / 3_600;
    if hours > 48 && hours.is_multiple_of(24) {
        format!("{} days", hours / 24)
    } else {
        format!("{hours} h")
    }
}

fn routes(routes: &Routes) -> String {
    match routes {
        Routes::All => "`All`".into(),
        Routes::Listed(routes) => format!("`Listed`: {}", routes.len()),
    }
}

fn mismatch(mismatch: Mismatch) -> String {
    match mismatch {
        Mismatch::Reject(status) => format!("`Reject` {}", status.as_u16()),
        Mismatch::Replay => "`Replay`".into(),
    }
}
