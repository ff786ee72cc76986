//! The policy as JSON. A change of what a member means is a new [`VERSION`]; a new member is not.

use super::value::Value;
use super::{Policy, fate_on};
use crate::http::policy::{
    Canonical, Dialect, InFlight, KeySyntax, Mismatch, OnCrash, OnDisconnect, OnTimeout,
    OversizeRequest, OversizeResponse, Query, Route, Routes, Scope,
};
use crate::http::problem::{Condition, Refusal, spelled};
use crate::http::profile::Profile;
use crate::key::KEY_OCTETS_MAX;

const VERSION: u64 = 1;

pub(super) fn document(policy: &Policy<'_>) -> Value {
    let profile = policy.profile;
    Value::Object(vec![
        ("policy", VERSION.into()),
        ("profile", (&*profile.name).into()),
        ("key", key(profile)),
        ("covered", covered(profile)),
        ("scope", scope(profile)),
        ("retention", retention(profile)),
        ("same_request", same_request(profile)),
        ("mismatch", mismatch(profile)),
        ("in_flight", in_flight(profile)),
        ("in_doubt", in_doubt(profile)),
        ("replay", replay(profile)),
        ("outcomes", outcomes(profile)),
        ("request_body", request_body(profile)),
        ("response_body", response_body(profile)),
        ("errors", errors(policy)),
    ])
}

fn key(profile: &Profile) -> Value {
    let (syntax, forms): (_, &[&str]) = match profile.key_syntax {
        KeySyntax::Strict => ("strict", &["quoted"]),
        KeySyntax::Lenient => ("lenient", &["bare", "quoted"]),
    };
    Value::Object(vec![
        ("header", spelled(&profile.header).into()),
        ("aliases", Value::texts(profile.header_aliases.iter().map(spelled))),
        ("required", profile.key_required.into()),
        ("syntax", syntax.into()),
        ("forms", Value::texts(forms.iter().copied())),
        ("octets_min", 1_u64.into()),
        ("octets_max", profile.key_octets_max.min(KEY_OCTETS_MAX).into()),
        ("case_sensitive", true.into()),
        ("header_lines_max", 1_u64.into()),
    ])
}

fn covered(profile: &Profile) -> Value {
    let routes = match &profile.routes {
        Routes::Listed(listed) if !profile.enforce_unlisted => routes(listed),
        _ => Value::Null,
    };
    Value::Object(vec![
        ("methods", Value::texts(profile.methods.iter().map(http::Method::as_str))),
        ("routes", routes),
        ("elsewhere", "ignored".into()),
        ("reports_ignored_key", profile.report_ignored.into()),
    ])
}

fn routes(routes: &[Route]) -> Value {
    Value::texts(routes.iter().map(|route| format!("{} {}", route.method, route.path)))
}

fn scope(profile: &Profile) -> Value {
    Value::texts(match profile.scope {
        Scope::Principal => vec!["principal"],
        Scope::PrincipalAndRoute => vec!["principal", "method", "path"],
    })
}

fn retention(profile: &Profile) -> Value {
    Value::Object(vec![
        ("seconds", Value::seconds(profile.ttl)),
        ("starts", "completion".into()),
        ("extended_by_replay", false.into()),
        ("after", "new-request".into()),
    ])
}

fn same_request(profile: &Profile) -> Value {
    if !profile.compares_requests() {
        return Value::Object(vec![("compared", false.into())]);
    }
    let query = match profile.query {
        Query::Include => "as-sent",
        Query::Ignore => "ignored",
        Query::Sorted => "sorted",
    };
    let body = match profile.canonical {
        Canonical::Raw => "octets",
        Canonical::Json => "canonical-json",
    };
    let headers = [http::header::CONTENT_TYPE, http::header::CONTENT_ENCODING];
    let headers = headers.iter().chain(&profile.fingerprint_headers).map(spelled);
    Value::Object(vec![
        ("compared", true.into()),
        ("method", true.into()),
        ("authority", true.into()),
        ("path", "as-sent".into()),
        ("query", query.into()),
        ("headers", Value::texts(headers)),
        ("body", body.into()),
    ])
}

fn mismatch(profile: &Profile) -> Value {
    match profile.mismatch {
        Mismatch::Reject(status) => {
            Value::Object(vec![("action", "reject".into()), ("status", status.into())])
        }
        Mismatch::Replay => Value::Object(vec![("action", "replay".into())]),
    }
}

fn in_flight(profile: &Profile) -> Value {
    let refusal = profile.refusal(&Condition::InProgress);
    let mut members = match profile.in_flight {
        InFlight::Reject => vec![("action", "reject".into())],
        InFlight::Wait(patience) => {
            vec![("action", "wait".into()), ("seconds_max", Value::seconds(patience))]
        }
    };
    members.push(("status", refusal.status.into()));
    members.push(("retry_after_seconds", refusal.retry_after_s.map(u64::from).into()));
    Value::Object(members)
}

fn in_doubt(profile: &Profile) -> Value {
    match profile.on_crash {
        OnCrash::InDoubt => {
            let refusal = profile.refusal(&Condition::OutcomeUnknown);
            Value::Object(vec![
                ("action", "reject".into()),
                ("status", refusal.status.into()),
                ("seconds", Value::seconds(profile.ttl)),
            ])
        }
        OnCrash::Reexecute => Value::Object(vec![("action", "execute-again".into())]),
    }
}

fn replay(profile: &Profile) -> Value {
    let marker = profile.marker.as_ref().map(|name| format!("{}: true", spelled(name)));
    // The same policy is the same text, in whatever case they were written down.
    let omitted = profile.volatile_headers.iter().map(|name| name.to_ascii_lowercase());
    Value::Object(vec![
        ("marker", marker.into()),
        ("echoes_key", profile.echo_key.into()),
        ("status", "stored".into()),
        ("body", if profile.refresh_location { "stored-or-current" } else { "stored" }.into()),
        ("cookies", profile.replay_set_cookie.into()),
        ("trailers", profile.store_trailers.into()),
        ("omitted_headers", Value::texts(omitted)),
    ])
}

/// What becomes of the key. The statuses under `exceptions` go before the classes.
fn outcomes(profile: &Profile) -> Value {
    let mut exceptions: Vec<_> = profile
        .release_statuses
        .iter()
        .map(|status| Value::Object(vec![("status", (*status).into()), ("key", "released".into())]))
        .collect();
    if profile.release_503_with_retry_after {
        exceptions.push(Value::Object(vec![
            ("status", 503_u64.into()),
            ("with_header", "Retry-After".into()),
            ("key", "released".into()),
        ]));
    }
    let timeout = profile.timeout.map(|timeout| {
        let key = match profile.on_timeout {
            OnTimeout::Continue => "in-flight",
            OnTimeout::Cancel => "in-doubt",
        };
        Value::Object(vec![
            ("seconds", Value::seconds(timeout)),
            ("status", 504_u64.into()),
            ("key", key.into()),
        ])
    });
    let disconnect = match profile.on_disconnect {
        OnDisconnect::Detach => "stored",
        OnDisconnect::Cancel => "in-doubt",
    };
    Value::Object(vec![
        ("2xx", "stored".into()),
        ("3xx", "stored".into()),
        ("4xx", fate_on(profile.on_4xx).into()),
        ("5xx", fate_on(profile.on_5xx).into()),
        ("exceptions", Value::List(exceptions)),
        ("crash_of_the_handler", fate_on(profile.on_panic).into()),
        ("timeout", timeout.into()),
        ("client_gone", disconnect.into()),
    ])
}

fn request_body(profile: &Profile) -> Value {
    let longer = match profile.oversize_request {
        OversizeRequest::Reject => "reject",
        OversizeRequest::Stream => "stream",
    };
    Value::Object(vec![
        ("octets_max", profile.request_octets_max.into()),
        ("longer", longer.into()),
    ])
}

fn response_body(profile: &Profile) -> Value {
    let longer = match profile.oversize_response {
        OversizeResponse::Tombstone => "not-retained",
        OversizeResponse::OmitBody => "body-omitted",
    };
    Value::Object(vec![
        ("octets_max", profile.response_octets_max.into()),
        ("longer", longer.into()),
        ("streamed", "not-retained".into()),
        ("streamed_routes", routes(&profile.live_routes)),
    ])
}

fn errors(policy: &Policy<'_>) -> Value {
    let (media_type, code_at, retryable_at) = match policy.profile.dialect {
        Dialect::Problem => ("application/problem+json", "/code", "/retryable"),
        Dialect::ManagedDev => ("application/json", "/error/code", "/error/retryable"),
        Dialect::Oec => ("application/json", "/error", "/retryable"),
    };
    Value::Object(vec![
        ("media_type", media_type.into()),
        ("code_at", code_at.into()),
        ("retryable_at", retryable_at.into()),
        ("list", Value::List(policy.errors.iter().map(error).collect())),
    ])
}

fn error(refusal: &Refusal) -> Value {
    let mut members = vec![("status", refusal.status.into())];
    members.extend(refusal.class.map(|class| ("type", class.into())));
    members.extend([
        ("code", refusal.code.into()),
        ("retryable", refusal.retryable.into()),
        ("retry_after_seconds", refusal.retry_after_s.map(u64::from).into()),
        ("meaning", refusal.title.into()),
    ]);
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::RETRY_AFTER;
    use http::{HeaderMap, HeaderValue, StatusCode};

    fn parsed(profile: &Profile) -> serde_json::Value {
        serde_json::from_str(&profile.policy_json()).unwrap()
    }

    /// What a client makes of `outcomes` for a response.
    fn read(outcomes: &serde_json::Value, status: u16, retry_after: bool) -> String {
        let exception = outcomes["exceptions"].as_array().unwrap().iter().find(|exception| {
            exception["status"] == status && (retry_after || exception["with_header"].is_null())
        });
        let class = &outcomes[format!("{}xx", status / 100)];
        let key = exception.map_or(class, |exception| &exception["key"]);
        key.as_str().unwrap().to_owned()
    }

    /// C16 to C20: the published rules give what the layer decides, for every status.
    #[test]
    fn d5_the_published_outcomes_are_the_layers_own() {
        let mut profiles = Profile::all().to_vec();
        let mut other = Profile::standard();
        (other.on_4xx, other.on_5xx) =
            (crate::http::OnError::Release, crate::http::OnError::InDoubt);
        other.release_503_with_retry_after = false;
        other.release_statuses = vec![StatusCode::ACCEPTED, StatusCode::IM_A_TEAPOT];
        profiles.push(other);
        for profile in profiles {
            let policy = parsed(&profile);
            for code in 200..=599 {
                for retry_after in [false, true] {
                    let mut headers = HeaderMap::new();
                    if retry_after {
                        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
                    }
                    let status = StatusCode::from_u16(code).unwrap();
                    let decided = super::super::fate(profile.verdict(None, status, &headers));
                    let published = read(&policy["outcomes"], code, retry_after);
                    assert_eq!(published, decided, "{} {code} {retry_after}", profile.name);
                }
            }
        }
    }

    #[test]
    fn names_of_headers_are_published_in_lower_case_however_they_are_spelled() {
        let (mut plain, mut spelled) = (Profile::standard(), Profile::standard());
        plain.volatile_headers = vec!["x-node".into(), "x-trace-*".into()];
        spelled.volatile_headers = vec!["X-Node".into(), "x-Trace-*".into()];
        assert_eq!(parsed(&spelled), parsed(&plain));
    }

    /// Every knob a client can observe changes the policy, and every other leaves it alone.
    #[test]
    fn d5_the_policy_follows_the_knobs() {
        type Change = fn(&mut Profile);
        let seen: [Change; 29] = [
            |p| p.header = "x-key".parse().unwrap(),
            |p| p.header_aliases.push("x-key".parse().unwrap()),
            |p| p.key_syntax = KeySyntax::Strict,
            |p| p.key_octets_max = 64,
            |p| p.key_required = true,
            |p| p.methods.clear(),
            |p| p.routes = Routes::Listed(vec![Route::new(http::Method::POST, "/a")]),
            |p| p.scope = Scope::PrincipalAndRoute,
            |p| p.mismatch = Mismatch::Reject(StatusCode::CONFLICT),
            |p| p.query = Query::Sorted,
            |p| p.fingerprint_headers.push("x-version".parse().unwrap()),
            |p| p.canonical = Canonical::Json,
            |p| p.marker = None,
            |p| p.ttl *= 2,
            |p| p.dialect = Dialect::Oec,
            |p| p.request_octets_max = 1,
            |p| p.oversize_request = OversizeRequest::Stream,
            |p| p.response_octets_max = 1,
            |p| p.oversize_response = OversizeResponse::OmitBody,
            |p| p.live_routes.push(Route::new(http::Method::POST, "/a")),
            |p| p.store_trailers = true,
            |p| p.timeout = Some(std::time::Duration::from_secs(1)),
            |p| p.on_disconnect = OnDisconnect::Cancel,
            |p| p.on_crash = OnCrash::Reexecute,
            |p| p.in_flight = InFlight::Wait(std::time::Duration::from_millis(1500)),
            |p| p.volatile_headers.clear(),
            |p| p.replay_set_cookie = true,
            |p| p.report_ignored = false,
            |p| p.echo_key = true,
        ];
        let before = Profile::standard();
        for (position, change) in seen.into_iter().enumerate() {
            let mut profile = before.clone();
            change(&mut profile);
            assert_ne!(profile, before, "change {position} changes nothing");
            assert_ne!(parsed(&profile), parsed(&before), "change {position} is not published");
        }
        let unseen: [Change; 3] =
            [|p| p.request_octets_in_memory = 1, |p| p.docs_url.clear(), |p| p.fail_open = true];
        for change in unseen {
            let mut profile = before.clone();
            change(&mut profile);
            assert_eq!(parsed(&profile), parsed(&before));
        }
    }
}
