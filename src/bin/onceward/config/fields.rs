//! The fields of a profile as settings: each by its own name, with `-` or `_` between words.

use std::time::Duration;

use http::{Method, header};
use onceward::http::{Canonical, Mismatch, Profile, Query, Routes, Scope};

use super::file::{Value, same};
use super::written::Written;

/// The most that a store takes, 1 GiB, less room for a response's head.
const RESPONSE_OCTETS_MAX: usize = 1023 << 20;

/// A field of [`Profile`].
pub(crate) struct Field {
    /// Its name, as it stands in the code.
    pub(crate) name: &'static str,
    /// Sets it.
    pub(crate) read: fn(&mut Profile, &Value) -> Result<(), String>,
    /// Writes it as TOML.
    pub(crate) show: fn(&Profile) -> String,
}

macro_rules! fields {
    ($($field:ident),+ $(,)?) => {
        &[$(Field {
            name: stringify!($field),
            read: |profile, value| {
                profile.$field = Written::read(value)?;
                Ok(())
            },
            show: |profile| profile.$field.show(),
        }),+]
    };
}

/// Every field but the name, in the order in which [`Profile`] has them.
pub(crate) const FIELDS: &[Field] = fields![
    header,
    header_aliases,
    key_syntax,
    key_octets_max,
    key_required,
    methods,
    routes,
    enforce_unlisted,
    scope,
    mismatch,
    query,
    fingerprint_headers,
    canonical,
    marker,
    ttl,
    dialect,
    docs_url,
    request_octets_in_memory,
    request_octets_max,
    oversize_request,
    response_octets_max,
    oversize_response,
    live_routes,
    store_trailers,
    timeout,
    on_timeout,
    on_disconnect,
    on_crash,
    fail_open,
    on_4xx,
    on_5xx,
    on_panic,
    release_statuses,
    release_503_with_retry_after,
    in_flight,
    volatile_headers,
    replay_set_cookie,
    report_ignored,
    echo_key,
    refresh_location,
];

/// The field of this name.
pub(crate) fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| same(field.name, name))
}

/// A field's name as it is written in a file.
pub(crate) fn key(name: &str) -> String {
    name.replace('_', "-")
}

/// What makes no sense about a profile of which the fields `set` were written down, if anything
/// does: the field to complain about, and why.
pub(crate) fn nonsense(profile: &Profile, set: &[&str]) -> Option<(&'static str, String)> {
    let wrong = |field, why: &str| Some((field, why.to_owned()));
    let is_set = |field: &str| set.contains(&field);
    if !(1..=255).contains(&profile.key_octets_max) {
        return wrong("key_octets_max", "a key has 1 to 255 octets (C3)");
    }
    if let Some(why) = unprotectable(&profile.methods) {
        return Some(("methods", why));
    }
    if let Some(header) = std::iter::once(&profile.header)
        .chain(&profile.header_aliases)
        .find(|header| is_taken(header.as_str()))
    {
        return Some(("header", format!("`{header}` has another meaning, and cannot bear a key")));
    }
    if profile.header_aliases.contains(&profile.header) {
        return wrong("header_aliases", "the header itself is among its aliases");
    }
    if let Some(marker) = &profile.marker
        && (is_taken(marker.as_str()) || *marker == profile.header)
    {
        return Some((
            "marker",
            format!("`{marker}` has another meaning, and cannot mark a replay"),
        ));
    }
    if let Routes::Listed(routes) = &profile.routes {
        if let Some(route) = routes.iter().find(|route| !profile.methods.contains(&route.method)) {
            return Some((
                "routes",
                format!("`{} {}` has a method that is not in `methods`", route.method, route.path),
            ));
        }
    } else if profile.enforce_unlisted {
        return wrong("enforce_unlisted", "there is no list of routes to be outside of");
    }
    if let Some(route) =
        profile.live_routes.iter().find(|route| !profile.methods.contains(&route.method))
    {
        return Some((
            "live_routes",
            format!("`{} {}` has a method that is not in `methods`", route.method, route.path),
        ));
    }
    if profile.mismatch == Mismatch::Replay {
        // A base may be so by its document; who writes it down is told what it means.
        if profile.scope == Scope::Principal && (is_set("mismatch") || is_set("scope")) {
            return wrong(
                "mismatch",
                "`replay` needs scope = \"principal-and-route\", or one path would replay \
                 another's response (X7)",
            );
        }
        let compared = [
            ("fingerprint_headers", !profile.fingerprint_headers.is_empty()),
            ("canonical", profile.canonical != Canonical::Raw),
            ("query", profile.query != Query::Ignore),
        ];
        if let Some((field, _)) = compared.into_iter().find(|(name, on)| *on && is_set(name)) {
            return wrong(field, "requests are not compared where mismatch = \"replay\"");
        }
    }
    if profile.request_octets_max == 0 {
        return wrong("request_octets_max", "no request fits in nothing");
    }
    if profile.response_octets_max > RESPONSE_OCTETS_MAX {
        return wrong("response_octets_max", "a store keeps 1023MiB of a response at most");
    }
    if is_set("request_octets_in_memory")
        && profile.request_octets_in_memory > profile.request_octets_max
    {
        return wrong("request_octets_in_memory", "more than request-octets-max");
    }
    if is_set("on_timeout") && profile.timeout.is_none() {
        return wrong("on_timeout", "there is no `timeout` in this profile");
    }
    if let Some(status) = profile
        .release_statuses
        .iter()
        .find(|status| !(status.is_client_error() || status.is_server_error()))
    {
        return Some((
            "release_statuses",
            format!("{} does not say that nothing was done", status.as_str()),
        ));
    }
    if profile.ttl == Duration::ZERO {
        return wrong("ttl", "a result that is not kept is never replayed");
    }
    None
}

/// Why these methods cannot be protected, if they cannot.
pub(crate) fn unprotectable(methods: &[Method]) -> Option<String> {
    if methods.is_empty() {
        return Some("no method is protected".to_owned());
    }
    let method = methods.iter().find(|method| method.is_safe() || **method == Method::CONNECT)?;
    Some(format!("a key has no effect on {method} (C7)"))
}

/// Fields that carry something else, or are not passed on.
fn is_taken(name: &str) -> bool {
    [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::HOST,
        header::LOCATION,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VIA,
    ]
    .iter()
    .any(|taken| taken.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_profile_is_a_setting() {
        let shown = format!("{:#?}", Profile::standard());
        let names: Vec<&str> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .filter(|name| *name != "name")
            .collect();
        assert_eq!(FIELDS.iter().map(|field| field.name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn every_field_is_read_back_as_it_is_shown() {
        for profile in Profile::all() {
            // Whatever the field is in the one, it comes from what is written.
            let mut read = if profile.name == "oec" { Profile::ietf() } else { Profile::oec() };
            read.name = profile.name.clone();
            for field in FIELDS {
                let text = format!("it = {}", (field.show)(&profile));
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("one.toml");
                std::fs::write(&path, &text).unwrap();
                let table = super::super::file::Table::read(&path).unwrap();
                (field.read)(&mut read, &table.get("it").unwrap().value).unwrap();
            }
            assert_eq!(read, profile);
        }
    }

    #[test]
    fn the_shipped_profiles_make_sense() {
        for profile in Profile::all() {
            assert_eq!(nonsense(&profile, &[]), None, "{}", profile.name);
        }
    }
}
