//! Profiles: each API document's rules as a plain value.

use std::borrow::Cow;
use std::time::Duration;

use http::header::HeaderName;
use http::{Method, StatusCode};

use super::policy::{
    Canonical, Dialect, InFlight, KeySyntax, Mismatch, OnCrash, OnDisconnect, OnError, OnTimeout,
    OversizeRequest, OversizeResponse, Query, Route, Routes, Scope,
};
use crate::key::KEY_OCTETS_MAX;

/// 24 hours: what all three seeds promise (M5, G14, O3).
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 16 MiB: the default limit of a request body, and of a response kept (C13, C24).
const BODY_OCTETS_MAX: usize = 16 << 20;

/// The rules for one API: data, to be taken from a constructor and changed field by field.
///
/// ```
/// use onceward::http::{InFlight, Profile};
///
/// let mut profile = Profile::standard();
/// profile.ttl = std::time::Duration::from_secs(7 * 24 * 60 * 60);
/// profile.in_flight = InFlight::Wait(std::time::Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is a knob with a name of its own")]
pub struct Profile {
    /// The profile's name, for logs and for [`Profile::named`].
    pub name: Cow<'static, str>,
    /// The request header that bears the key (M2, G2, O1).
    pub header: HeaderName,
    /// Other headers that may bear it. Two lines are a fault, whichever headers they are of (X11).
    pub header_aliases: Vec<HeaderName>,
    /// How the key may be written (D1, X14).
    pub key_syntax: KeySyntax,
    /// The longest key, in decoded octets: 1 to 255, and never more than 255 (C3, G22).
    pub key_octets_max: usize,
    /// Whether a protected request without a key is refused (X6, D7).
    pub key_required: bool,
    /// The methods protected. A key on another has no effect (X4, X5, C6, C7).
    pub methods: Vec<Method>,
    /// The paths protected (O7).
    pub routes: Routes,
    /// Whether paths that are not listed are protected all the same (X15, `unlisted_post`).
    pub enforce_unlisted: bool,
    /// What a key is unique within (X7).
    pub scope: Scope,
    /// What a key used for another request comes to (X2, X8).
    pub mismatch: Mismatch,
    /// What of the query is in the fingerprint (C10).
    pub query: Query,
    /// Request headers in the fingerprint, besides `Content-Type` and `Content-Encoding` (C12).
    pub fingerprint_headers: Vec<HeaderName>,
    /// How request bodies are compared (C11).
    pub canonical: Canonical,
    /// The response header that marks a replay, with the value `true`; `None` for none (X10, X13).
    /// A handler's own header of that name is removed.
    pub marker: Option<HeaderName>,
    /// How long a result is kept, from its completion (X9).
    pub ttl: Duration,
    /// How generated errors are written.
    pub dialect: Dialect,
    /// Where generated errors point to; `{code}` in it stands for the error's code. See
    /// `docs/http.md` for what is there by default.
    pub docs_url: String,
    /// How much of a request body is held in memory, in octets; the rest waits in a temporary file
    /// without a name (C13).
    pub request_octets_in_memory: usize,
    /// The longest request body read whole before its key is claimed, in octets (C13).
    pub request_octets_max: usize,
    /// What becomes of a longer one.
    pub oversize_request: OversizeRequest,
    /// The longest response body kept, in octets; a longer one reaches the first client whole and
    /// is not kept (C24). The store's `max_payload` binds too.
    pub response_octets_max: usize,
    /// What becomes of a longer one.
    pub oversize_response: OversizeResponse,
    /// Routes whose responses are streamed live, whatever their type, and not kept: a tombstone
    /// stands for them before the first octet is sent (C25).
    pub live_routes: Vec<Route>,
    /// Whether trailers are stored and replayed (C26).
    pub store_trailers: bool,
    /// How long the handler has to answer; `None` for as long as it takes (C33). Before it runs, the
    /// store has as long for each answer, and then counts as one that failed (C36).
    pub timeout: Option<Duration>,
    /// What becomes of a handler that has not answered by then.
    pub on_timeout: OnTimeout,
    /// What becomes of a handler whose client has gone (C31).
    pub on_disconnect: OnDisconnect,
    /// What a key in doubt comes to (C34).
    pub on_crash: OnCrash,
    /// Whether a success is sent although it could not be recorded (C35). The key is in doubt all
    /// the same.
    pub fail_open: bool,
    /// What becomes of the key on a handler's 4xx (C17).
    pub on_4xx: OnError,
    /// What becomes of the key on a handler's 5xx (C16).
    pub on_5xx: OnError,
    /// What becomes of the key when the handler panics (C32). The first client gets a 500.
    pub on_panic: OnError,
    /// Statuses by which a handler says that nothing was done: the key is released, whatever
    /// `on_4xx` and `on_5xx` say (C18, C19, X12).
    pub release_statuses: Vec<StatusCode>,
    /// Whether a 503 with `Retry-After` is such a status too (C18).
    pub release_503_with_retry_after: bool,
    /// What a duplicate of a request still at work comes to (C37).
    pub in_flight: InFlight,
    /// Response headers neither stored nor replayed, besides the hop-by-hop ones; a name that ends
    /// in `*` stands for every name it begins (C28). In any case.
    pub volatile_headers: Vec<String>,
    /// Whether `Set-Cookie` and its like are stored and replayed (C29).
    pub replay_set_cookie: bool,
    /// Whether a response says, in `Onceward-Key-Ignored`, that the key had no effect for want of
    /// a principal or of a listed route.
    pub report_ignored: bool,
    /// Whether a response bears the key that its request bore, as it was written.
    pub echo_key: bool,
    /// Whether the gateway makes the body of a replayed 202 anew from where its `Location` points,
    /// unless it is configured otherwise (X1). In the library, `IdempotencyLayer::refresh` does
    /// what it is given.
    pub refresh_location: bool,
}

impl Profile {
    /// What nearly every client in the field sends: as [`ietf`](Self::ietf), but keys are quoted
    /// or bare, and optional.
    pub fn standard() -> Self {
        Self {
            name: "standard".into(),
            header: HeaderName::from_static("idempotency-key"),
            header_aliases: Vec::new(),
            key_syntax: KeySyntax::Lenient,
            key_octets_max: KEY_OCTETS_MAX,
            key_required: false,
            methods: vec![Method::POST, Method::PATCH],
            routes: Routes::All,
            enforce_unlisted: false,
            scope: Scope::Principal,
            mismatch: Mismatch::Reject(StatusCode::UNPROCESSABLE_ENTITY),
            query: Query::Include,
            fingerprint_headers: Vec::new(),
            canonical: Canonical::Raw,
            marker: Some(HeaderName::from_static("idempotency-replayed")),
            ttl: DAY,
            dialect: Dialect::Problem,
            // A reserved name (RFC 2606), which no stranger can come to own: `docs/http.md` has no home
            // on the web yet. A deployment points to its own.
            docs_url: "https://onceward.example/docs/http.md#{code}".into(),
            request_octets_in_memory: 1 << 20,
            request_octets_max: BODY_OCTETS_MAX,
            oversize_request: OversizeRequest::Reject,
            response_octets_max: BODY_OCTETS_MAX,
            oversize_response: OversizeResponse::Tombstone,
            live_routes: Vec::new(),
            store_trailers: false,
            timeout: None,
            on_timeout: OnTimeout::Continue,
            on_disconnect: OnDisconnect::Detach,
            on_crash: OnCrash::InDoubt,
            fail_open: false,
            on_4xx: OnError::Store,
            on_5xx: OnError::Store,
            on_panic: OnError::Store,
            release_statuses: vec![
                StatusCode::UNAUTHORIZED,
                StatusCode::FORBIDDEN,
                StatusCode::TOO_EARLY,
                StatusCode::TOO_MANY_REQUESTS,
            ],
            release_503_with_retry_after: true,
            in_flight: InFlight::Reject,
            volatile_headers: VOLATILE.iter().map(|&name| name.to_owned()).collect(),
            replay_set_cookie: false,
            report_ignored: true,
            echo_key: false,
            refresh_location: false,
        }
    }

    /// draft-ietf-httpapi-idempotency-key-header to the letter: keys are structured Strings, and
    /// required (section B of the requirements).
    pub fn ietf() -> Self {
        Self {
            name: "ietf".into(),
            key_syntax: KeySyntax::Strict,
            key_required: true,
            ..Self::standard()
        }
    }

    /// managed.dev (M1 to M18): any POST, a changed body is a 409, replays are not marked, and a
    /// job is replayed "with its current status" (M10).
    pub fn managed_dev() -> Self {
        Self {
            name: "managed-dev".into(),
            methods: vec![Method::POST],
            mismatch: Mismatch::Reject(StatusCode::CONFLICT),
            marker: None,
            dialect: Dialect::ManagedDev,
            refresh_location: true,
            ..Self::standard()
        }
    }

    /// Magnolia (G1 to G22): POST and PATCH, the draft for the rest, bare keys as its document
    /// shows them.
    pub fn magnolia() -> Self {
        Self { name: "magnolia".into(), ..Self::standard() }
    }

    /// oec.sh (O1 to O17): a closed list of POSTs, a key belongs to its path, bodies are not
    /// compared.
    pub fn oec() -> Self {
        let mut release_statuses = Self::standard().release_statuses;
        release_statuses.push(StatusCode::CONFLICT);
        let routes = OEC_PATHS
            .iter()
            .map(|path| Route::new(Method::POST, format!("{OEC_BASE}{path}")))
            .collect();
        Self {
            name: "oec".into(),
            header: HeaderName::from_static("x-idempotency-key"),
            methods: vec![Method::POST],
            routes: Routes::Listed(routes),
            scope: Scope::PrincipalAndRoute,
            mismatch: Mismatch::Replay,
            query: Query::Ignore,
            marker: Some(HeaderName::from_static("x-idempotency-replayed")),
            dialect: Dialect::Oec,
            release_statuses,
            ..Self::standard()
        }
    }

    /// Stripe's API v1, by its public reference ("Idempotent requests", "Advanced error handling").
    ///
    /// From there: any POST; keys of up to 255 characters, kept for at least 24 hours; changed
    /// parameters, or another endpoint, are an error; whatever the endpoint answers is kept, 400s
    /// and 500s too; a 401 and a rate limiter's 429 are not, and neither is a conflict with a
    /// request still at work; replays bear `Idempotent-Replayed: true`.
    ///
    /// The statuses of the two errors, 400 and 409, are what its clients meet, and are not on those
    /// pages. Ours: bare or quoted keys, errors in the problem dialect, and every knob not named
    /// here.
    pub fn stripe() -> Self {
        Self {
            name: "stripe".into(),
            methods: vec![Method::POST],
            mismatch: Mismatch::Reject(StatusCode::BAD_REQUEST),
            marker: Some(HeaderName::from_static("idempotent-replayed")),
            ..Self::standard()
        }
    }

    /// Adyen's API, by its public documentation ("API idempotency").
    ///
    /// From there: any POST; keys of up to 64 characters, unique within a company account, which
    /// is the principal here, and valid for at least 31 days; a request processed before gets the
    /// first one's response; the key stands in the response.
    ///
    /// Ours: requests are not compared, since the document knows no error for a changed one; 409
    /// for a request still at work; bare or quoted keys, no marker beside the key, errors in the
    /// problem dialect, and every knob not named here.
    pub fn adyen() -> Self {
        Self {
            name: "adyen".into(),
            key_octets_max: 64,
            methods: vec![Method::POST],
            mismatch: Mismatch::Replay,
            query: Query::Ignore,
            marker: None,
            ttl: 31 * DAY,
            echo_key: true,
            ..Self::standard()
        }
    }

    /// Every profile there is, the default first.
    pub fn all() -> [Self; 7] {
        [
            Self::standard(),
            Self::ietf(),
            Self::managed_dev(),
            Self::magnolia(),
            Self::oec(),
            Self::stripe(),
            Self::adyen(),
        ]
    }

    /// The profile of this name: `standard`, `ietf`, `managed-dev`, `magnolia`, `oec`, `stripe` or
    /// `adyen`.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|profile| profile.name == name)
    }

    /// Whether requests are told apart by more than their key.
    pub(crate) fn compares_requests(&self) -> bool {
        self.mismatch != Mismatch::Replay
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::standard()
    }
}

/// O7: the base of the API, and what is supported under it.
const OEC_BASE: &str = "/api/public/v1";
const OEC_PATHS: [&str; 8] = [
    "/projects",
    "/environments",
    "/webhooks",
    "/environments/{id}/actions/deploy",
    "/environments/{id}/actions/redeploy",
    "/environments/{id}/actions/restart",
    "/environments/{id}/actions/start",
    "/environments/{id}/actions/stop",
];

/// C28: headers about this transmission, not about the result.
const VOLATILE: [&str; 14] = [
    "date",
    "age",
    "via",
    "x-ratelimit-*",
    "x-rate-limit-*",
    "ratelimit",
    "ratelimit-*",
    "request-id",
    "x-request-id",
    "x-correlation-id",
    "x-amzn-trace-id",
    "traceparent",
    "tracestate",
    "server-timing",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds' three documents, and what follows them for want of a number of its own.
    const SEEDS: [&str; 5] = ["standard", "ietf", "managed-dev", "magnolia", "oec"];

    #[test]
    fn every_profile_is_found_by_its_name() {
        for profile in Profile::all() {
            assert_eq!(Profile::named(&profile.name).as_ref(), Some(&profile));
        }
        assert_eq!(Profile::named("Stripe"), None);
    }

    #[test]
    fn m5_g14_g22_o3_the_seeds_promise_a_day_and_255_octets() {
        for profile in SEEDS.map(|name| Profile::named(name).unwrap()) {
            assert_eq!(profile.ttl.as_secs(), 86_400, "M5, G14, O3: {}", profile.name);
            assert_eq!(profile.key_octets_max, 255, "G22: {}", profile.name);
        }
    }

    #[test]
    fn x6_x14_only_the_draft_requires_keys_and_is_strict() {
        for profile in Profile::all() {
            let draft = profile.name == "ietf";
            assert_eq!(profile.key_required, draft, "X6");
            assert_eq!(profile.key_syntax == KeySyntax::Strict, draft, "X14");
        }
    }

    #[test]
    fn x1_managed_dev_alone_promises_a_current_status() {
        for profile in Profile::all() {
            let promises = profile.name == "managed-dev";
            assert_eq!(profile.refresh_location, promises, "M10: {}", profile.name);
        }
    }
}
