//! Which response headers are kept, and which are made anew.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::profile::Profile;

/// The header that says a key had no effect.
pub(crate) const KEY_IGNORED: HeaderName = HeaderName::from_static("onceward-key-ignored");

/// Headers about one connection (RFC 9110, section 7.6.1), besides those `Connection` names (C27).
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that hand out a credential, to one caller at one time (C29).
const CREDENTIALS: [HeaderName; 4] = [
    SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("proxy-authentication-info"),
];

/// Headers that describe the exact octets of a body.
const ABOUT_THE_BODY: [HeaderName; 7] = [
    ETAG,
    LAST_MODIFIED,
    CONTENT_ENCODING,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// The headers of a response that are kept: what is stored, and what of it is replayed. Both, since
/// a profile may have grown stricter since.
pub(crate) fn kept(headers: &HeaderMap, profile: &Profile) -> HeaderMap {
    let mut named = Vec::new();
    for line in headers.get_all(CONNECTION) {
        named.extend(line.as_bytes().split(|octet| *octet == b',').map(<[u8]>::trim_ascii));
    }
    let keeps = |name: &HeaderName| {
        !(HOP_BY_HOP.contains(name)
            || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
            || *name == CONTENT_LENGTH
            || *name == KEY_IGNORED
            || profile.marker.as_ref() == Some(name)
            || !profile.replay_set_cookie && CREDENTIALS.contains(name)
            || is_volatile(name.as_str(), profile))
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| keeps(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

fn is_volatile(name: &str, profile: &Profile) -> bool {
    profile.volatile_headers.iter().any(|volatile| match volatile.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == volatile,
    })
}

/// Makes the headers of a first response fit the body that was collected for it.
pub(crate) fn fit_collected(headers: &mut HeaderMap, status: StatusCode, body_octets: usize) {
    headers.remove(TRANSFER_ENCODING);
    headers.remove(TRAILER);
    set_length(headers, status, body_octets);
}

/// Takes off the marker, which only a replay bears (X10).
pub(crate) fn strip_marker(headers: &mut HeaderMap, profile: &Profile) {
    if let Some(marker) = &profile.marker {
        headers.remove(marker);
    }
}

/// Says how long the body is, where the status allows one (C22, C25).
pub(crate) fn set_length(headers: &mut HeaderMap, status: StatusCode, body_octets: usize) {
    headers.remove(CONTENT_LENGTH);
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body_octets));
    }
}

/// Whether a response with this status has no body, whatever its handler wrote (C22).
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

/// Takes off what the old body's octets are described by, for a body made anew (X1).
pub(crate) fn forget_old_body(headers: &mut HeaderMap) {
    for name in ABOUT_THE_BODY {
        headers.remove(name);
    }
}

/// Whether a response is sent as it comes, and not collected: a stream of events has no end to wait
/// for (C25), and a gRPC response means something only with its trailers (C26).
pub(crate) fn is_live(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(CONTENT_TYPE) else { return false };
    let media_type = media_type.as_bytes().to_ascii_lowercase();
    let essence = media_type.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii();
    essence == b"text/event-stream" || essence.starts_with(b"application/grpc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in fields {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn c27_c28_c29_what_is_not_kept() {
        let profile = Profile::oec();
        let all = map(&[
            ("connection", "close, X-Hop"),
            ("connection", "x-other-hop"),
            ("x-hop", "1"),
            ("x-other-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-length", "12"),
            ("date", "now"),
            ("age", "1"),
            ("via", "1.1 x"),
            ("x-ratelimit-remaining", "1"),
            ("ratelimit", "1"),
            ("ratelimit-policy", "1"),
            ("x-request-id", "1"),
            ("traceparent", "1"),
            ("set-cookie", "a=1"),
            ("authentication-info", "1"),
            ("x-idempotency-replayed", "true"),
            ("location", "/a"),
            ("x-kept", "1"),
            ("x-kept", "2"),
            ("etag", "\"1\""),
        ]);
        let expected =
            map(&[("location", "/a"), ("x-kept", "1"), ("x-kept", "2"), ("etag", "\"1\"")]);
        assert_eq!(kept(&all, &profile), expected);
        let mut with_cookies = profile;
        with_cookies.replay_set_cookie = true;
        assert!(kept(&all, &with_cookies).contains_key(SET_COOKIE));
    }

    #[test]
    fn c22_a_length_is_said_only_where_there_may_be_a_body() {
        for (status, length) in [(200, true), (204, false), (205, true), (304, false), (500, true)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let mut headers = map(&[("content-length", "99"), ("transfer-encoding", "chunked")]);
            fit_collected(&mut headers, status, 0);
            let expected = if length { map(&[("content-length", "0")]) } else { HeaderMap::new() };
            assert_eq!(headers, expected, "{status}");
        }
    }

    #[test]
    fn c25_c26_event_streams_and_grpc_are_live() {
        for (media_type, live) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/json", false),
            ("text/event-stream-not", false),
        ] {
            assert_eq!(is_live(&map(&[("content-type", media_type)])), live, "{media_type}");
        }
        assert!(!is_live(&HeaderMap::new()));
    }
}
