//! Which response headers are kept, and which are made anew.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    LAST_MODIFIED, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::profile::Profile;

/// The header that says a key had no effect.
pub(crate) const KEY_IGNORED: HeaderName = HeaderName::from_static("onceward-key-ignored");

/// The header that says that a replay is without the body there was (C24).
pub(crate) const BODY_OMITTED: HeaderName = HeaderName::from_static("onceward-body-omitted");

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

/// Headers that say which state of a resource a body shows.
const VALIDATORS: [HeaderName; 2] = [ETAG, LAST_MODIFIED];

/// Headers that describe the exact octets of a body.
const ABOUT_THE_OCTETS: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_RANGE,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// The headers of a response that are kept: what is stored, and what of it is replayed. Both, since
/// a profile may have grown stricter since.
pub(crate) fn kept(headers: &HeaderMap, profile: &Profile) -> HeaderMap {
    let named: Vec<_> = named_by_connection(headers).collect();
    let keeps = |name: &HeaderName| {
        !(HOP_BY_HOP.contains(name)
            || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
            || *name == CONTENT_LENGTH
            || *name == KEY_IGNORED
            || is_own(name, profile)
            || !profile.replay_set_cookie && CREDENTIALS.contains(name)
            || is_volatile(name.as_str(), profile))
    };
    only(headers, keeps)
}

/// The names in `Connection`: headers, and protocols to change to, that are for this hop alone (C21,
/// C27).
pub(crate) fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
    names.map(<[u8]>::trim_ascii)
}

/// The fields that `keeps`, in their order.
fn only(headers: &HeaderMap, keeps: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    // By names: there may be more lines than a map can be asked to make room for.
    let mut kept = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers.iter().filter(|(name, _)| keeps(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// Takes these fields off. A header map's own removal puts its last field in the place of the one
/// removed; here the rest keeps its order.
fn take_off(headers: &mut HeaderMap, is_one: impl Fn(&HeaderName) -> bool) {
    if headers.keys().any(&is_one) {
        *headers = only(headers, |name| !is_one(name));
    }
}

/// Whether the layer alone says this, and only of a replay.
fn is_own(name: &HeaderName, profile: &Profile) -> bool {
    *name == BODY_OMITTED || profile.marker.as_ref() == Some(name)
}

fn is_volatile(name: &str, profile: &Profile) -> bool {
    profile.volatile_headers.iter().any(|volatile| match volatile.strip_suffix('*') {
        Some(prefix) => {
            name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        }
        None => name.eq_ignore_ascii_case(volatile),
    })
}

/// Makes the headers of a first response fit the body, and the trailers, that were collected for it.
pub(crate) fn fit_collected(
    headers: &mut HeaderMap,
    status: StatusCode,
    body_octets: usize,
    trailers: &HeaderMap,
) {
    take_off(headers, |name| *name == TRANSFER_ENCODING || *name == TRAILER);
    set_length(headers, status, body_octets, trailers);
}

/// Takes off what only a replay bears (X10).
pub(crate) fn strip_own(headers: &mut HeaderMap, profile: &Profile) {
    take_off(headers, |name| is_own(name, profile));
}

/// Says how long the body is, where the status allows one (C22, C25), or which trailers follow it (C26):
/// over HTTP/1.1 none follow a body whose length is said, and none that the head does not name.
pub(crate) fn set_length(
    headers: &mut HeaderMap,
    status: StatusCode,
    body_octets: usize,
    trailers: &HeaderMap,
) {
    let may_have_one = status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    if may_have_one && trailers.is_empty() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body_octets));
    } else {
        take_off(headers, |name| *name == CONTENT_LENGTH);
    }
    let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    if let (false, Ok(names)) = (names.is_empty(), HeaderValue::try_from(names.join(", "))) {
        headers.insert(TRAILER, names);
    }
}

/// Whether a response with this status has no body, whatever its handler wrote (C22).
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

/// Takes off what describes the old body, for a body made anew (X1).
pub(crate) fn forget_old_body(headers: &mut HeaderMap) {
    take_off(headers, |name| ABOUT_THE_OCTETS.contains(name) || VALIDATORS.contains(name));
}

/// Takes off what describes the octets of a body that is left out (C24). A validator stays: it is
/// the resource's.
pub(crate) fn forget_octets(headers: &mut HeaderMap) {
    take_off(headers, |name| ABOUT_THE_OCTETS.contains(name));
}

/// Whether a response is a stream of events, which has no end to wait for (C25).
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|essence| essence == b"text/event-stream")
}

/// The media type these headers name, without its parameters and in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    let essence = value.split(|octet| *octet == b';').next()?.trim_ascii();
    Some(essence.to_ascii_lowercase())
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
        let mut spelled = profile.clone();
        spelled.volatile_headers = vec!["X-Kept".into(), "Et*".into()];
        for name in ["x-kept", "etag"] {
            assert!(!kept(&all, &spelled).contains_key(name), "{name}, however it is spelled");
        }
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
            fit_collected(&mut headers, status, 0, &HeaderMap::new());
            let expected = if length { map(&[("content-length", "0")]) } else { HeaderMap::new() };
            assert_eq!(headers, expected, "{status}");
        }
    }

    #[test]
    fn c25_event_streams_are_known_by_their_media_type() {
        for (media_type, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("application/json", false),
            ("text/event-stream-not", false),
        ] {
            let headers = map(&[("content-type", media_type)]);
            assert_eq!(is_event_stream(&headers), expected, "{media_type}");
        }
        assert!(!is_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn c26_trailers_are_named_in_place_of_a_length() {
        let mut headers = map(&[("content-length", "3"), ("trailer", "x-gone")]);
        fit_collected(&mut headers, StatusCode::OK, 3, &map(&[("x-sum", "1")]));
        assert_eq!(headers, map(&[("trailer", "x-sum")]));
    }

    #[test]
    fn g10_what_is_taken_off_leaves_the_rest_in_order() {
        let mut headers =
            map(&[("transfer-encoding", "chunked"), ("idempotency-replayed", "true"), ("a", "1")]);
        for name in ["b", "c", "d"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        strip_own(&mut headers, &Profile::standard());
        fit_collected(&mut headers, StatusCode::OK, 0, &HeaderMap::new());
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["a", "b", "c", "d", "content-length"]);
    }

    #[test]
    fn c24_what_is_left_of_an_omitted_body_is_what_its_resource_said() {
        let all = [("etag", "\"1\""), ("last-modified", "then"), ("location", "/a")];
        let mut headers = map(&all);
        for name in ["content-encoding", "content-range", "content-md5", "content-digest"] {
            headers.append(name, HeaderValue::from_static("x"));
        }
        forget_octets(&mut headers);
        assert_eq!(headers, map(&all));
        forget_old_body(&mut headers);
        assert_eq!(headers, map(&[("location", "/a")]), "X1: drop the old ETag");
    }
}
