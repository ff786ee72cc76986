//! What makes a request the same request, and what a key is unique within.
//!
//! Both are SHA-256 over length-prefixed parts, so that parts cannot run into one another. The
//! target is taken raw: two spellings of one path are two requests.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::canonical::canonical;
use super::fields;
use super::policy::{Canonical, Query, Scope};
use super::profile::Profile;
use crate::fingerprint::{Fingerprint, FingerprintHasher};

/// Told apart from every other use of the same hash, and from earlier layouts of this one.
const DOMAIN: &[u8] = b"onceward http request 2";

/// What stands for the body, after the head: the digest of its octets, or of its canonical form, or
/// nothing yet. Told apart, so that none passes for another.
const OCTETS: &[u8] = b"octets";
const JSON: &[u8] = b"json";
const STREAMED: &[u8] = b"streamed";

/// What a request's head adds to its fingerprint (D4, C9 to C12).
///
/// Where the profile does not compare requests, every request has the same fingerprint (O12).
pub(crate) struct Head {
    hasher: FingerprintHasher,
    compares: bool,
    /// Whether the body is compared in its canonical form, if it has one (C11).
    json: bool,
}

/// The digest of a body in the making, which may come in pieces; of nothing, where bodies are not
/// compared.
#[derive(Clone)]
pub(crate) struct BodyHasher(Option<FingerprintHasher>);

impl BodyHasher {
    pub(crate) fn update(&mut self, octets: &[u8]) {
        if let Some(hasher) = &mut self.0 {
            hasher.update(octets);
        }
    }
}

impl Head {
    /// `target` is the URI the client sent.
    pub(crate) fn of(parts: &Parts, target: &Uri, profile: &Profile) -> Self {
        let mut hasher = Fingerprint::hasher();
        hasher.part(DOMAIN);
        if !profile.compares_requests() {
            return Self { hasher, compares: false, json: false };
        }
        hasher
            .part(parts.method.as_str())
            .part(target.path())
            .part(query(target, profile.query).as_bytes())
            .part(authority(target, &parts.headers));
        lines(&mut hasher, &parts.headers, &CONTENT_TYPE, media_type);
        lines(&mut hasher, &parts.headers, &CONTENT_ENCODING, <[u8]>::to_ascii_lowercase);
        for name in &profile.fingerprint_headers {
            hasher.part(name.as_str());
            lines(&mut hasher, &parts.headers, name, <[u8]>::to_vec);
        }
        let json = profile.canonical == Canonical::Json && is_json(&parts.headers);
        Self { hasher, compares: true, json }
    }

    /// Whether requests are told apart at all.
    pub(crate) fn compares(&self) -> bool {
        self.compares
    }

    /// To be given every octet of the body.
    pub(crate) fn body_hasher(&self) -> BodyHasher {
        BodyHasher(self.compares.then(Fingerprint::hasher))
    }

    /// The fingerprint of the request with the body that `body` was given. `in_memory` is all of
    /// that body, where memory holds it.
    pub(crate) fn with(&self, body: BodyHasher, in_memory: Option<&[u8]>) -> Fingerprint {
        let mut hasher = self.hasher.clone();
        let Some(octets) = body.0 else { return hasher.finish() };
        match in_memory.filter(|_| self.json).and_then(canonical) {
            Some(form) => hasher.part(JSON).part(Fingerprint::of(form).as_bytes()),
            None => hasher.part(OCTETS).part(octets.finish().as_bytes()),
        };
        hasher.finish()
    }

    /// What stands for the fingerprint of a request whose body is still to come (C13): the same for
    /// every body, and no request's own.
    pub(crate) fn streamed(&self) -> Fingerprint {
        let mut hasher = self.hasher.clone();
        if self.compares {
            hasher.part(STREAMED);
        }
        hasher.finish()
    }
}

/// Whether the body says of itself that it is JSON, and is not encoded.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(essence) = fields::media_type(headers) else { return false };
    let json = essence == b"application/json" || essence.ends_with(b"+json");
    let says_one = headers.get_all(CONTENT_TYPE).iter().count() == 1;
    json && says_one && !headers.contains_key(CONTENT_ENCODING)
}

/// The scope of a key (C8, X7): `principal` is `None` where everyone is one.
pub(crate) fn scope(
    principal: Option<&[u8]>,
    method: &Method,
    target: &Uri,
    rule: Scope,
) -> [u8; 32] {
    let mut hasher = Fingerprint::hasher();
    // "Everyone" is no principal's name, so the presence of one is a part of its own.
    hasher.part([u8::from(principal.is_some())]).part(principal.unwrap_or_default());
    if rule == Scope::PrincipalAndRoute {
        hasher.part(method.as_str()).part(target.path());
    }
    *hasher.finish().as_bytes()
}

impl Profile {
    /// The scope that the keys of `principal` stand under in the store, for tools that look a key up
    /// (C8, X7). `None` is everyone, where everyone is one. The method and the path of `target`
    /// count where this profile's scope is [`Scope::PrincipalAndRoute`], and not elsewhere.
    pub fn scope_of(&self, principal: Option<&[u8]>, method: &Method, target: &Uri) -> [u8; 32] {
        scope(principal, method, target, self.scope)
    }
}

/// Every line of one header, counted, each made comparable first.
fn lines(
    hasher: &mut FingerprintHasher,
    headers: &HeaderMap,
    name: &http::HeaderName,
    comparable: impl Fn(&[u8]) -> Vec<u8>,
) {
    let count = headers.get_all(name).iter().count() as u64;
    hasher.part(count.to_le_bytes());
    for value in headers.get_all(name) {
        hasher.part(comparable(value.as_bytes().trim_ascii()));
    }
}

/// `?` and an absent query are told apart: they are different targets.
fn query(target: &Uri, rule: Query) -> Cow<'_, str> {
    match (rule, target.query()) {
        (Query::Ignore, _) | (_, None) => Cow::Borrowed(""),
        (Query::Include, Some(query)) => Cow::Owned(format!("?{query}")),
        (Query::Sorted, Some(query)) => {
            let mut pairs: Vec<_> = query.split('&').collect();
            pairs.sort_unstable();
            Cow::Owned(format!("?{}", pairs.join("&")))
        }
    }
}

/// The host and port the request is for: the target's own (HTTP/2, or absolute form), else `Host`.
/// Hosts have no case (RFC 9110, section 4.2.3).
fn authority(target: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let authority = match target.authority() {
        Some(authority) => authority.as_str().rsplit('@').next().unwrap_or_default().as_bytes(),
        None => headers.get(HOST).map(http::HeaderValue::as_bytes).unwrap_or_default(),
    };
    authority.to_ascii_lowercase()
}

/// A media type with what has no case in lower case, and no space around `;` and `=`: the type,
/// the names of parameters, and the value of `charset` (RFC 9110, section 8.3.1).
fn media_type(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (position, piece) in unquoted_pieces(value).enumerate() {
        let piece = piece.trim_ascii();
        if position == 0 {
            out.extend(piece.to_ascii_lowercase());
            continue;
        }
        if piece.is_empty() {
            continue;
        }
        out.push(b';');
        let equals = piece.iter().position(|octet| *octet == b'=');
        let (name, value) = piece.split_at(equals.unwrap_or(piece.len()));
        let name = name.trim_ascii().to_ascii_lowercase();
        let value = value.strip_prefix(b"=").map(<[u8]>::trim_ascii);
        out.extend(&name);
        if let Some(value) = value {
            out.push(b'=');
            if name == b"charset" {
                out.extend(without_quotes(value).to_ascii_lowercase());
            } else {
                out.extend(value);
            }
        }
    }
    out
}

fn without_quotes(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// `value` cut at every `;` that is not within a quoted string.
fn unquoted_pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |octet| {
        if escaped {
            escaped = false;
            return false;
        }
        match octet {
            b'"' => quoted = !quoted,
            b'\\' => escaped = quoted,
            _ => {}
        }
        *octet == b';' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn print(change: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Fingerprint {
        print_under(&Profile::standard(), change, b"{}")
    }

    fn print_under(
        profile: &Profile,
        change: impl FnOnce(http::request::Builder) -> http::request::Builder,
        body: &[u8],
    ) -> Fingerprint {
        let request = Request::builder().method("POST").uri("/v1/sites?a=1&b=2");
        let (parts, ()) = change(request).body(()).unwrap().into_parts();
        let head = Head::of(&parts, &parts.uri, profile);
        let mut hasher = head.body_hasher();
        hasher.update(body);
        head.with(hasher, Some(body))
    }

    #[test]
    fn each_part_of_a_request_tells_it_apart() {
        let profile = Profile::standard();
        let prints = [
            print(|r| r),
            print(|r| r.method("PATCH")),
            print(|r| r.uri("/v1/sites?b=2&a=1")),
            print(|r| r.uri("/v1/sites")),
            print(|r| r.uri("/v1/sites?")),
            print(|r| r.uri("/v1/%73ites?a=1&b=2")),
            print(|r| r.header("host", "a.example")),
            print(|r| r.header("host", "b.example")),
            print(|r| r.header("content-type", "application/json")),
            print(|r| r.header("content-type", "text/plain")),
            print(|r| r.header("content-encoding", "gzip")),
            print_under(&profile, |r| r, b"{ }"),
            print_under(&profile, |r| r, b""),
        ];
        for (i, one) in prints.iter().enumerate() {
            for (j, other) in prints.iter().enumerate() {
                assert_eq!(one == other, i == j, "{i} and {j}");
            }
        }
    }

    #[test]
    fn headers_that_are_not_asked_for_do_not_count() {
        let with =
            |value: &'static str| move |r: http::request::Builder| r.header("forge-version", value);
        assert_eq!(print(with("1")), print(with("2")));
        let mut profile = Profile::standard();
        profile.fingerprint_headers.push(http::HeaderName::from_static("forge-version"));
        let print = |value| print_under(&profile, with(value), b"");
        assert_ne!(print("1"), print("2"), "C12");
        assert_eq!(print("1"), print("1"));
    }

    #[test]
    fn c30_an_authority_is_the_same_in_every_version_of_http() {
        assert_eq!(
            print(|r| r.header("host", "API.example:8080")),
            print(|r| r.uri("http://api.example:8080/v1/sites?a=1&b=2")),
        );
    }

    #[test]
    fn c10_the_query_counts_as_the_knob_says() {
        let mut profile = Profile::standard();
        let print =
            |profile: &Profile, uri: &'static str| print_under(profile, |r| r.uri(uri), b"");
        profile.query = Query::Ignore;
        assert_eq!(print(&profile, "/a?x=1"), print(&profile, "/a"));
        profile.query = Query::Sorted;
        assert_eq!(print(&profile, "/a?x=1&y=2"), print(&profile, "/a?y=2&x=1"));
        assert_ne!(print(&profile, "/a?x=1&y=2"), print(&profile, "/a?x=1"));
    }

    #[test]
    fn o12_a_profile_that_does_not_compare_has_one_fingerprint() {
        let oec = Profile::oec();
        assert_eq!(
            print_under(&oec, |r| r, b"a"),
            print_under(&oec, |r| r.method("PUT").uri("/other"), b"b")
        );
    }

    #[test]
    fn c11_json_is_compared_by_value_where_it_is_asked_for() {
        let mut profile = Profile::standard();
        let json = |r: http::request::Builder| r.header("content-type", "Application/JSON; a=b");
        let spellings: [&[u8]; 2] = [b"{\"a\":1,\"b\":2.0}", b" {\"b\": 2, \"a\": 1} "];
        let prints = |profile: &Profile, head: fn(http::request::Builder) -> _| {
            spellings.map(|body| print_under(profile, head, body))
        };
        let [one, other] = prints(&profile, json);
        assert_ne!(one, other, "raw, unless it is asked for");
        profile.canonical = Canonical::Json;
        let [one, other] = prints(&profile, json);
        assert_eq!(one, other);
        let [one, other] =
            prints(&profile, |r| r.header("content-type", "application/merge-patch+json"));
        assert_eq!(one, other);
        for head in [
            |r: http::request::Builder| r.header("content-type", "text/plain"),
            |r: http::request::Builder| r.header("content-type", "application/jsonp"),
            |r: http::request::Builder| {
                r.header("content-type", "application/json").header("content-encoding", "gzip")
            },
            |r: http::request::Builder| {
                r.header("content-type", "text/plain").header("content-type", "application/json")
            },
            |r| r,
        ] {
            let [one, other] = prints(&profile, head);
            assert_ne!(one, other, "raw, unless the request says that it is JSON");
        }
        let print = |body: &[u8]| print_under(&profile, json, body);
        assert_ne!(print(b"{\"a\":1,\"a\":2}"), print(b"{\"a\": 1,\"a\":2}"), "named twice: raw");
        assert_ne!(print(b"9007199254740992"), print(b"9007199254740993"));
        assert_ne!(print(b""), print(b"null"));
    }

    #[test]
    fn c11_a_body_that_memory_does_not_hold_is_compared_raw() {
        let mut profile = Profile::standard();
        profile.canonical = Canonical::Json;
        let request = Request::post("/").header("content-type", "application/json");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = Head::of(&parts, &parts.uri, &profile);
        let print = |body: &[u8], in_memory| {
            let mut hasher = head.body_hasher();
            hasher.update(body);
            head.with(hasher, in_memory)
        };
        assert_ne!(print(b"{ }", None), print(b"{}", None));
        assert_ne!(print(b"{}", None), print(b"{}", Some(b"{}")));
        assert_ne!(print(b"", None), head.streamed(), "C13: no request's own");
    }

    #[test]
    fn c12_what_has_no_case_in_a_media_type_does_not_count() {
        let same = [
            "application/json; charset=utf-8",
            "Application/JSON;charset=UTF-8",
            "application/json ; CHARSET=\"Utf-8\"",
            "application/json; charset=utf-8;",
        ];
        for spelling in same {
            assert_eq!(
                String::from_utf8(media_type(spelling.as_bytes())).unwrap(),
                "application/json;charset=utf-8",
                "{spelling}"
            );
        }
        let boundary =
            |value: &str| media_type(format!("multipart/mixed; boundary={value}").as_bytes());
        assert_ne!(boundary("aB"), boundary("Ab"), "a boundary has case");
        assert_ne!(boundary("\"a;b\""), boundary("\"a; b\""), "a quoted string is kept whole");
        assert_ne!(boundary(r#""a\";b""#), boundary(r#""a\"; b""#));
    }

    #[test]
    fn x7_scopes_are_separate_by_construction() {
        let scope = |principal: Option<&[u8]>, path: &'static str, rule| {
            scope(principal, &Method::POST, &Uri::from_static(path), rule)
        };
        let by_principal = |principal| scope(principal, "/a", Scope::Principal);
        assert_eq!(by_principal(Some(b"p")), scope(Some(b"p"), "/b?c", Scope::Principal));
        assert_ne!(by_principal(None), by_principal(Some(b"")), "everyone is nobody's name");
        let by_route = |path| scope(Some(b"p"), path, Scope::PrincipalAndRoute);
        assert_ne!(by_route("/a"), by_route("/b"));
        assert_eq!(by_route("/a?x=1"), by_route("/a?x=2"), "X7: the path, not the query");
        assert_ne!(by_route("/a"), by_principal(Some(b"p")));
    }

    #[test]
    fn delimiters_within_a_principal_change_nothing() {
        let mut random = crate::seed::rng();
        let mut seen = std::collections::HashMap::new();
        for _ in 0..20_000 {
            let mut text = |max| -> Vec<u8> {
                (0..random.usize(0..max)).map(|_| *random.choice(b"/ \0:a").unwrap()).collect()
            };
            let (principal, path) = (text(4), text(4));
            let path: String =
                path.iter().filter(|c| b"/:a".contains(c)).map(|&c| c as char).collect();
            let uri: Uri = format!("/{path}").parse().unwrap();
            let scope =
                super::scope(Some(&principal), &Method::POST, &uri, Scope::PrincipalAndRoute);
            let pair = (principal, uri.path().to_owned());
            let first = seen.entry(scope).or_insert_with(|| pair.clone());
            assert_eq!(*first, pair);
        }
    }
}
