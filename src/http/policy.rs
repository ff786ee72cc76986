//! The choices a [`Profile`] is made of, and the two decisions taken from them alone: whether a
//! request is protected, and what becomes of a key once its response is known.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};

use super::outcome::Outcome;
use super::profile::Profile;

/// How a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySyntax {
    /// A structured-field String, and nothing else: `"k"` (draft section 2.1).
    Strict,
    /// A String, or the bare value: `"k"` and `k` are the same key. A bare key has no space, `"`,
    /// `,`, `;` or `\` (X14).
    Lenient,
}

/// Which requests, of those with a protected method, a profile covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routes {
    /// Every path the layer is put on.
    All,
    /// These alone (O7). A key on another path is ignored, and the response says so (X15).
    Listed(Vec<Route>),
}

/// A method and a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// A path, compared segment by segment with the raw path of the request; a segment in braces
    /// (`{id}`) stands for any one segment that is not empty, and a last segment `**` for any
    /// number of them, also for none.
    pub path: String,
}

impl Route {
    /// The route `method path`.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into() }
    }

    /// Whether a request is of this route.
    pub fn matches(&self, method: &Method, path: &str) -> bool {
        self.method == *method && Self::path_matches(&self.path, path)
    }

    /// Whether `path` (raw, without the query) is one of those `pattern` stands for.
    pub fn path_matches(pattern: &str, path: &str) -> bool {
        let (mut pattern, mut given) = (pattern.split('/').peekable(), path.split('/'));
        loop {
            match (pattern.next(), given.next()) {
                (Some("**"), _) if pattern.peek().is_none() => return true,
                (None, None) => return true,
                (Some(pattern), Some(given)) => {
                    let wildcard = pattern.starts_with('{') && pattern.ends_with('}');
                    if !(pattern == given || wildcard && !given.is_empty()) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }
}

/// What a key is unique within (X7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The principal. The same key on another path is a mismatch.
    Principal,
    /// The principal, the method and the path of the request. The same key on another path is
    /// another key.
    PrincipalAndRoute,
}

/// What a key used for another request comes to (X2, X8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mismatch {
    /// It is refused with this status (409, 400 and 422 are in use).
    Reject(StatusCode),
    /// Nobody compares: whatever the request, the first result is replayed (O12). Requests have no
    /// fingerprint.
    Replay,
}

/// What of the query is in the fingerprint (C10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// All of it, as sent.
    Include,
    /// Nothing.
    Ignore,
    /// Its `&`-separated pairs, as sent, in sorted order.
    Sorted,
}

/// What a duplicate of a request still at work comes to (C37).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InFlight {
    /// It is refused at once.
    Reject,
    /// It waits this long for the first one's result, and is refused then.
    Wait(Duration),
}

/// What becomes of a key when the handler answered with an error status, or panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnError {
    /// The response is stored: an effect may exist.
    Store,
    /// The key is released: nothing happened.
    Release,
    /// The key is left in doubt.
    InDoubt,
}

/// What becomes of a request body longer than the profile's `request_octets_max` (C13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OversizeRequest {
    /// The request is refused with 413, and not executed.
    Reject,
    /// The key is claimed first, and the body goes to the handler as it comes, hashed on its way.
    /// Until all of it has come, a duplicate is in flight; a duplicate is hashed whole before it is
    /// answered.
    Stream,
}

/// What becomes of a response body longer than the profile's `response_octets_max` (C24). The
/// first client gets all of it either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OversizeResponse {
    /// A tombstone is kept: a retry is told that the response was not.
    Tombstone,
    /// Status and headers are kept, and replayed with an empty body and `Onceward-Body-Omitted:
    /// true`.
    OmitBody,
}

/// How a request body is made comparable (C11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Canonical {
    /// Octet by octet, as sent.
    Raw,
    /// A JSON body (`application/json`, `+json`, not encoded) as RFC 8785 writes it, so that white
    /// space and the order of members do not count; but numbers keep all of their digits, where RFC
    /// 8785 makes doubles of them, by which two of them can become one. Any other body raw, and so a
    /// JSON body that cannot be parsed, or names a member twice, or is nested more than 128 deep, or
    /// is longer than the memory a request may take.
    Json,
}

/// What becomes of a handler that has not answered in the profile's `timeout` (C33). The client
/// gets a 504 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnTimeout {
    /// It goes on; its response is stored when it comes, and until then the key is in flight.
    Continue,
    /// It is dropped, and the key is in doubt.
    Cancel,
}

/// What becomes of a handler whose client has gone (C31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// It goes on, and its response is stored for the retry (M17).
    Detach,
    /// It is dropped, and the key is in doubt.
    Cancel,
}

/// What a key in doubt comes to: its work was interrupted by a crash, or left without a word (C34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnCrash {
    /// It is refused until it expires or somebody who knows resolves it.
    InDoubt,
    /// It is executed again. Only for handlers whose effects are one transaction, which a crash
    /// undoes.
    Reexecute,
}

/// How generated errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `application/problem+json` (RFC 9457, D10).
    Problem,
    /// managed.dev's envelope: `{"error":{"type","code",…},"request_id"}`.
    ManagedDev,
    /// oec.sh's `{"error","message"}`.
    Oec,
}

/// Whether a request is one the profile protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    Protected,
    OtherMethod,
    OtherRoute,
}

/// What becomes of the key of a request that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Store,
    Release,
    InDoubt,
}

impl From<OnError> for Verdict {
    fn from(rule: OnError) -> Self {
        match rule {
            OnError::Store => Self::Store,
            OnError::Release => Self::Release,
            OnError::InDoubt => Self::InDoubt,
        }
    }
}

impl Profile {
    /// Whether the profile protects `method` on `path` (raw, without the query).
    pub(crate) fn coverage(&self, method: &Method, path: &str) -> Coverage {
        if !self.methods.contains(method) {
            return Coverage::OtherMethod;
        }
        match &self.routes {
            Routes::Listed(routes)
                if !self.enforce_unlisted
                    && !routes.iter().any(|route| route.matches(method, path)) =>
            {
                Coverage::OtherRoute
            }
            _ => Coverage::Protected,
        }
    }

    /// Whether responses to `method` on `path` (raw, without the query) are never collected (C25).
    pub(crate) fn is_live_route(&self, method: &Method, path: &str) -> bool {
        self.live_routes.iter().any(|route| route.matches(method, path))
    }

    /// What becomes of the key, by what the handler said, else by the status (C16 to C21).
    pub(crate) fn verdict(
        &self,
        said: Option<Outcome>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Verdict {
        match said {
            Some(Outcome::NotExecuted) => return Verdict::Release,
            Some(Outcome::Unknown) => return Verdict::InDoubt,
            None => {}
        }
        if status.is_informational() {
            // Not a final response: what follows it, nobody sees (C21).
            return Verdict::InDoubt;
        }
        let asks_to_retry = self.release_503_with_retry_after
            && status == StatusCode::SERVICE_UNAVAILABLE
            && headers.contains_key(RETRY_AFTER);
        if asks_to_retry || self.release_statuses.contains(&status) {
            Verdict::Release
        } else if status.is_client_error() {
            self.on_4xx.into()
        } else if status.is_server_error() {
            self.on_5xx.into()
        } else {
            Verdict::Store
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_retry_after() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, http::HeaderValue::from_static("5"));
        headers
    }

    #[test]
    fn o7_the_closed_list_is_matched_on_the_raw_path() {
        let oec = Profile::oec();
        let covers = |method: Method, path: &str| {
            oec.coverage(&method, &format!("/api/public/v1{path}")) == Coverage::Protected
        };
        for path in ["/projects", "/environments", "/webhooks"] {
            assert!(covers(Method::POST, path), "{path}");
        }
        for action in ["deploy", "redeploy", "restart", "start", "stop"] {
            assert!(covers(Method::POST, &format!("/environments/env_1/actions/{action}")));
        }
        for path in [
            "/projects/",
            "/projects/p1",
            "/Projects",
            "/%70rojects",
            "/environments//actions/deploy",
            "/environments/a/b/actions/deploy",
            "/environments/a/actions/destroy",
            "/environments/a/actions/deploy/x",
            "",
        ] {
            assert!(!covers(Method::POST, path), "{path}");
        }
        assert_eq!(oec.coverage(&Method::POST, "/projects"), Coverage::OtherRoute);
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(
                oec.coverage(&method, "/api/public/v1/projects"),
                Coverage::OtherMethod,
                "O10: {method}"
            );
        }
    }

    #[test]
    fn a_last_segment_may_stand_for_any_number_of_them() {
        for (pattern, path, matched) in [
            ("/v1/**", "/v1", true),
            ("/v1/**", "/v1/", true),
            ("/v1/**", "/v1/a/b", true),
            ("/v1/**", "/v10", false),
            ("/v1/{id}/**", "/v1/a", true),
            ("/v1/{id}/**", "/v1//a", false),
            ("/**", "/", true),
            ("/**", "*", false),
            ("/**/a", "/b/a", false),
            ("/v1/**", "/%76%31/a", false),
        ] {
            assert_eq!(Route::path_matches(pattern, path), matched, "{path} under {pattern}");
        }
    }

    #[test]
    fn x15_unlisted_paths_can_be_covered_too() {
        let mut oec = Profile::oec();
        oec.enforce_unlisted = true;
        assert_eq!(oec.coverage(&Method::POST, "/anything"), Coverage::Protected);
        assert_eq!(oec.coverage(&Method::PATCH, "/anything"), Coverage::OtherMethod);
    }

    /// C16, C17, C18, C19, C20, C21.
    #[test]
    fn statuses_are_judged_by_the_table() {
        let profile = Profile::standard();
        let plain = HeaderMap::new();
        for code in 100..=599_u16 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = match code {
                100..=199 => Verdict::InDoubt,
                401 | 403 | 425 | 429 => Verdict::Release,
                _ => Verdict::Store,
            };
            assert_eq!(profile.verdict(None, status, &plain), expected, "{code}");
            let expected = if code == 503 { Verdict::Release } else { expected };
            assert_eq!(profile.verdict(None, status, &with_retry_after()), expected, "{code} RA");
        }
        let verdict =
            |said, code| profile.verdict(Some(said), StatusCode::from_u16(code).unwrap(), &plain);
        for code in [200, 422, 500] {
            assert_eq!(verdict(Outcome::NotExecuted, code), Verdict::Release);
            assert_eq!(verdict(Outcome::Unknown, code), Verdict::InDoubt);
        }
    }

    #[test]
    fn x12_oec_alone_releases_on_409() {
        let conflict = StatusCode::CONFLICT;
        for profile in Profile::all() {
            let expected = if profile.name == "oec" { Verdict::Release } else { Verdict::Store };
            assert_eq!(profile.verdict(None, conflict, &HeaderMap::new()), expected);
        }
    }

    #[test]
    fn knobs_change_the_verdict_on_errors() {
        let mut profile = Profile::standard();
        (profile.on_4xx, profile.on_5xx) = (OnError::Release, OnError::InDoubt);
        profile.release_503_with_retry_after = false;
        let verdict = |status, headers: &HeaderMap| profile.verdict(None, status, headers);
        assert_eq!(verdict(StatusCode::BAD_REQUEST, &HeaderMap::new()), Verdict::Release);
        assert_eq!(verdict(StatusCode::SERVICE_UNAVAILABLE, &with_retry_after()), Verdict::InDoubt);
        assert_eq!(verdict(StatusCode::CREATED, &HeaderMap::new()), Verdict::Store);
    }
}
