//! The policy in Markdown, for an API's own documentation.

use std::time::Duration;

use super::{Policy, fate, fate_on};
use crate::http::policy::{
    Canonical, InFlight, KeySyntax, Mismatch, OnCrash, OnDisconnect, OnTimeout, OversizeRequest,
    OversizeResponse, Query, Route, Routes, Scope,
};
use crate::http::problem::{Condition, Refusal, spelled};
use crate::http::profile::Profile;
use crate::key::KEY_OCTETS_MAX;

pub(super) fn document(policy: &Policy<'_>) -> String {
    let profile = policy.profile;
    let mut parts = vec![
        listed("The key", &key(profile)),
        listed("The same request", &same_request(profile)),
        listed("The result", &result(profile)),
        listed("What becomes of the key", &outcomes(policy)),
        errors(policy),
    ];
    if let Some(routes) = restricted(profile) {
        let routes: Vec<_> = routes.iter().map(written).collect();
        parts.push(listed("Paths", &routes));
    }
    parts.join("\n")
}

fn listed(title: &str, items: &[String]) -> String {
    format!("{title}:\n\n- {}\n", items.join("\n- "))
}

fn written(route: &Route) -> String {
    format!("`{} {}`", route.method, route.path)
}

/// The routes a profile is restricted to.
fn restricted(profile: &Profile) -> Option<&[Route]> {
    match &profile.routes {
        Routes::Listed(routes) if !profile.enforce_unlisted => Some(routes),
        _ => None,
    }
}

fn key(profile: &Profile) -> Vec<String> {
    let mut lines = vec![format!("Keys are read from the `{}` header.", spelled(&profile.header))];
    if !profile.header_aliases.is_empty() {
        let aliases: Vec<_> =
            profile.header_aliases.iter().map(|name| format!("`{}`", spelled(name))).collect();
        lines.push(format!("{} will do as well.", aliases.join(" or ")));
    }
    let octets_max = profile.key_octets_max.min(KEY_OCTETS_MAX);
    lines.push(match profile.key_syntax {
        KeySyntax::Strict => format!(
            "A key is a structured-field String (RFC 9651), such as `\"k\"`, of 1 to {octets_max} \
             octets. Case counts."
        ),
        KeySyntax::Lenient => format!(
            "A key is 1 to {octets_max} octets of visible ASCII, bare or quoted; a bare key has no \
             `\"`, `,`, `;` or `\\`. Case counts."
        ),
    });
    lines.push("One request bears one key, on one header line.".into());
    let methods: Vec<_> = profile.methods.iter().map(http::Method::as_str).collect();
    lines.push(format!(
        "{} requests are covered{}; on others a key has no effect. A key is {}.",
        methods.join(" and "),
        if restricted(profile).is_some() { " on the paths listed below" } else { "" },
        if profile.key_required { "required" } else { "optional" },
    ));
    if profile.report_ignored {
        lines.push(
            "A response says `Onceward-Key-Ignored` where a key had no effect for want of a caller \
             or of a listed path."
                .into(),
        );
    }
    lines.push(
        match profile.scope {
            Scope::Principal => "A key belongs to the caller, on every path.",
            Scope::PrincipalAndRoute => "A key belongs to the caller, the method and the path.",
        }
        .into(),
    );
    lines
}

fn same_request(profile: &Profile) -> Vec<String> {
    let mut lines = Vec::new();
    match profile.mismatch {
        Mismatch::Replay => lines.push(
            "Requests are not compared: a key used again gets the first result, whatever the \
             request."
                .into(),
        ),
        Mismatch::Reject(status) => {
            let query = match profile.query {
                Query::Include => ", the query as sent",
                Query::Ignore => "",
                Query::Sorted => ", the query in any order",
            };
            let headers = [http::header::CONTENT_TYPE, http::header::CONTENT_ENCODING];
            let headers = headers.iter().chain(&profile.fingerprint_headers);
            let headers: Vec<_> = headers.map(|name| format!("`{}`", spelled(name))).collect();
            let body = match profile.canonical {
                Canonical::Raw => "the body, octet by octet",
                Canonical::Json => {
                    "the body, a JSON one without regard to white space and order (RFC 8785)"
                }
            };
            lines.push(format!(
                "Compared are the method, the host, the path{query}, {}, and {body}.",
                headers.join(", ")
            ));
            lines.push(format!(
                "A key used with a different request is refused with {}, and nothing is executed.",
                status.as_u16()
            ));
        }
    }
    let busy = profile.refusal(&Condition::InProgress).status.as_u16();
    lines.push(match profile.in_flight {
        InFlight::Reject => {
            format!("A duplicate of a request still at work is refused with {busy}.")
        }
        InFlight::Wait(patience) => format!(
            "A duplicate of a request still at work waits up to {}, and is refused with {busy} \
             then.",
            spoken(patience)
        ),
    });
    let octets_max = size(profile.request_octets_max);
    lines.push(match profile.oversize_request {
        OversizeRequest::Reject => {
            format!("With a key, a body of more than {octets_max} is refused.")
        }
        OversizeRequest::Stream => {
            format!("Until a body of more than {octets_max} has come whole, its key is in flight.")
        }
    });
    lines
}

fn result(profile: &Profile) -> Vec<String> {
    let mut lines = vec![format!(
        "A result is kept for {} from its completion, and replayed until then; a replay does not \
         extend that, and a later request with the key is a new one.",
        spoken(profile.ttl),
    )];
    lines.push(format!(
        "A replay has the first response's status, headers and body{}. Headers about one \
         transmission (`Date` and the like){} are not repeated.",
        if profile.refresh_location {
            ", or, for an accepted job, its body as it stands now"
        } else {
            ""
        },
        if profile.replay_set_cookie { "" } else { ", and cookies," },
    ));
    if let Some(marker) = &profile.marker {
        lines.push(format!("A replayed response has the header `{}: true`.", spelled(marker)));
    }
    if profile.echo_key {
        lines.push("A response has the key it was asked with.".into());
    }
    if profile.store_trailers {
        lines.push("Trailers are replayed too.".into());
    }
    let octets_max = size(profile.response_octets_max);
    lines.push(match profile.oversize_response {
        OversizeResponse::Tombstone => format!(
            "A response of more than {octets_max}, or one that is streamed, reaches the \
             first caller and is not kept; a retry is told so, and nothing is executed again."
        ),
        OversizeResponse::OmitBody => format!(
            "A response of more than {octets_max} is replayed without its body, and with \
             `Onceward-Body-Omitted: true`; one that is streamed is not kept, and a retry is told \
             so. Nothing is executed again."
        ),
    });
    if !profile.live_routes.is_empty() {
        let routes: Vec<_> = profile.live_routes.iter().map(written).collect();
        lines.push(format!("Always streamed: {}.", routes.join(", ")));
    }
    lines
}

fn outcomes(policy: &Policy<'_>) -> Vec<String> {
    let profile = policy.profile;
    let mut lines = vec![format!(
        "2xx and 3xx: stored. 4xx: {}. 5xx: {}. A crash of the handler: {}.",
        fate_on(profile.on_4xx),
        fate_on(profile.on_5xx),
        fate_on(profile.on_panic),
    )];
    if let Some(lost) = policy.lost {
        lines.push(format!(
            "502, 504, and 503 without `Retry-After`: {}, for a gateway further in lost the request.",
            fate(lost)
        ));
    }
    let released: Vec<_> = policy
        .released()
        .map(|exception| {
            let status = exception.status.as_u16();
            let only = if exception.with_retry_after { " with `Retry-After`" } else { "" };
            format!("{status}{only}")
        })
        .collect();
    if !released.is_empty() {
        lines.push(format!(
            "Released, for nothing was done: {}. The key may be used again.",
            released.join(", ")
        ));
    }
    if let Some(timeout) = profile.timeout {
        lines.push(format!(
            "No answer within {}: 504, and the key is {}.",
            spoken(timeout),
            match profile.on_timeout {
                OnTimeout::Continue => "in flight until the work is done",
                OnTimeout::Cancel => "in doubt",
            }
        ));
    }
    lines.push(
        match profile.on_disconnect {
            OnDisconnect::Detach => "A caller that hangs up: the work goes on, and is stored.",
            OnDisconnect::Cancel => {
                "A caller that hangs up: the work is dropped, the key in doubt."
            }
        }
        .into(),
    );
    lines.push(match profile.on_crash {
        OnCrash::InDoubt => format!(
            "Interrupted work: in doubt. The key is refused with {} for {}, or until somebody who \
             knows resolves it.",
            profile.refusal(&Condition::OutcomeUnknown).status.as_u16(),
            spoken(profile.ttl),
        ),
        OnCrash::Reexecute => "Interrupted work: executed again.".into(),
    });
    lines
}

fn errors(policy: &Policy<'_>) -> String {
    let row = |error: &Refusal| {
        let again = match (error.retryable, error.retry_after_s) {
            (false, _) => "no".into(),
            (true, None) => "yes".into(),
            (true, Some(seconds)) => {
                format!("yes, after {}", spoken(Duration::from_secs(seconds.into())))
            }
        };
        format!("| {} | `{}` | {again} | {} |", error.status.as_u16(), error.code, error.title)
    };
    let rows: Vec<_> = policy.errors.iter().map(row).collect();
    format!(
        "Errors:\n\n| status | code | send again with the same key | meaning |\n\
         |---|---|---|---|\n{}\n",
        rows.join("\n")
    )
}

/// A number of octets, in MiB where it is a whole number of them.
fn size(octets: usize) -> String {
    const MIB: usize = 1 << 20;
    if octets >= MIB && octets.is_multiple_of(MIB) {
        format!("{} MiB", octets / MIB)
    } else {
        format!("{octets} octets")
    }
}

/// A length of time in the largest unit it is a whole number of; a day is 24 hours.
fn spoken(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [(2, 86_400_000, "day"), (1, 3_600_000, "hour"), (1, 60_000, "minute")];
    let fits =
        |&(least, unit, _): &(u128, u128, &str)| ms.is_multiple_of(unit) && ms / unit >= least;
    let (unit, name) = match units.into_iter().find(fits) {
        Some((_, unit, name)) => (unit, name),
        None if ms.is_multiple_of(1_000) => (1_000, "second"),
        None => (1, "millisecond"),
    };
    let number = ms / unit;
    format!("{number} {name}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_every_profile_has_a_policy_to_publish() {
        for profile in Profile::all() {
            let document = profile.policy_document();
            assert!(document.contains(&format!("`{}`", spelled(&profile.header))), "{document}");
            let kept = if profile.name == "adyen" { "31 days" } else { "24 hours" };
            assert!(document.contains(&format!("kept for {kept} from its completion")));
            let required = document.contains("A key is required");
            assert_eq!(required, profile.name == "ietf", "{document}");
            let replays = document.contains("gets the first result");
            assert_eq!(replays, profile.mismatch == Mismatch::Replay, "{document}");
        }
        let oec = Profile::oec().policy_document();
        assert!(oec.contains("- `POST /api/public/v1/environments/{id}/actions/deploy`"), "{oec}");
        let managed_dev = Profile::managed_dev().policy_document();
        assert!(managed_dev.contains("refused with 409, and nothing is executed"), "{managed_dev}");
    }

    #[test]
    fn a_size_reads_as_one() {
        for (octets, text) in
            [(0, "0 octets"), (1 << 20, "1 MiB"), ((1 << 20) + 1, "1048577 octets")]
        {
            assert_eq!(size(octets), text);
        }
    }

    #[test]
    fn a_duration_reads_as_one() {
        for (ms, text) in [
            (1, "1 millisecond"),
            (1_500, "1500 milliseconds"),
            (1_000, "1 second"),
            (59_000, "59 seconds"),
            (60_000, "1 minute"),
            (3_600_000, "1 hour"),
            (5_400_000, "90 minutes"),
            (86_400_000, "24 hours"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(spoken(Duration::from_millis(ms)), text);
        }
    }
}
