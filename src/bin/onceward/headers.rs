//! Header fields that belong to one connection, and those the gateway adds for the upstream.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

/// Fields that are for the next hop alone, whether `Connection` names them or not (RFC 9110,
/// section 7.6.1; C27).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that frame or address the message. `Connection` cannot make them go away: a sender who
/// names them there wants the two hops to disagree about the message.
const KEPT: [HeaderName; 2] = [header::CONTENT_LENGTH, header::HOST];

/// Fields about a request as such, which a subrequest for its sender does not have: expectations,
/// conditions, parts, changes of protocol.
const OF_THE_REQUEST: [HeaderName; 8] = [
    header::EXPECT,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
    header::UPGRADE,
];

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes what is for this connection alone: the fields above and those `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // The length is then the transfer coding's to say (RFC 9112, section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Makes one field of several `Cookie` fields. HTTP/2 lets a client split it; whoever passes it on in
/// HTTP/1.1, or reads it as one, puts it together again (RFC 9113, section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // What was received can be sent.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

/// The protocol a message asks to change to, or changes to: its `Upgrade` field, when `Connection`
/// names it.
pub(crate) fn upgrade_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    connection_options(headers)
        .any(|option| option.eq_ignore_ascii_case("upgrade"))
        .then(|| protocol.clone())
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

/// The host a request is for. The authority in the target wins over `Host` (RFC 9112, section
/// 3.2.2), and HTTP/2 has it alone; a user name in it is for nobody further on (RFC 9110, section
/// 4.2.4).
pub(crate) fn host(parts: &Parts) -> Option<HeaderValue> {
    let Some(authority) = parts.uri.authority() else {
        return parts.headers.get(header::HOST).cloned();
    };
    let host = authority.as_str();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    HeaderValue::try_from(host).ok()
}

/// What is known of the hop a request came over.
pub(crate) struct Hop {
    /// Who sent it.
    pub(crate) peer: Option<IpAddr>,
    /// Whether the peer is a proxy whose word about earlier hops is believed.
    pub(crate) trusted: bool,
    /// `http` or `https`.
    pub(crate) proto: &'static str,
    /// The host it was for.
    pub(crate) host: Option<HeaderValue>,
}

/// Tells the upstream who asked, over what, and for which host. What the sender says of other hops
/// is replaced, unless the sender is a trusted proxy: then the list of addresses gets one more, and
/// the rest stays where it stands.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, hop: Hop) {
    let mut before = Vec::new();
    if hop.trusted {
        before.extend(headers.get_all(X_FORWARDED_FOR).iter().map(|line| line.as_bytes().to_vec()));
        append_forwarded(headers, &hop);
    } else {
        for name in [FORWARDED, X_FORWARDED_PROTO, X_FORWARDED_HOST] {
            headers.remove(name);
        }
    }
    headers.remove(X_FORWARDED_FOR);
    before.extend(hop.peer.map(|peer| peer.to_string().into_bytes()));
    // In one line: some read the first alone.
    let list = before.join(&b", "[..]);
    if let Some(list) = HeaderValue::from_bytes(&list).ok().filter(|list| !list.is_empty()) {
        headers.insert(X_FORWARDED_FOR, list);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(hop.proto));
    if let Some(host) = hop.host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// Adds this hop to `Forwarded` (RFC 7239), where a trusted proxy has begun one: without it, the
/// upstream would take the hop before for the last.
fn append_forwarded(headers: &mut HeaderMap, hop: &Hop) {
    if !headers.contains_key(FORWARDED) {
        return;
    }
    let peer = match hop.peer {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(peer)) => peer.to_string(),
        Some(IpAddr::V6(peer)) => format!("\"[{peer}]\""),
    };
    if let Ok(entry) = HeaderValue::try_from(format!("for={peer};proto={}", hop.proto)) {
        headers.append(FORWARDED, entry);
    }
}

/// The fields of a request the gateway makes on behalf of another's sender: the same but for those
/// about a body, a condition, a part, a change of protocol or a key (`key_headers`).
pub(crate) fn for_subrequest(parts: &Parts, key_headers: &[HeaderName]) -> HeaderMap {
    let mut fields = parts.headers.clone();
    // Now, and not on the way out: what the gateway adds is not the sender's to take away.
    strip_hop_by_hop(&mut fields);
    let content = parts.headers.keys().filter(|name| name.as_str().starts_with("content-"));
    for name in content.chain(&OF_THE_REQUEST).chain(key_headers) {
        fields.remove(name);
    }
    if let Some(host) = host(parts) {
        fields.insert(header::HOST, host);
    }
    fields
}

/// Adds this hop to `Via`, which a gateway owes its upstream (RFC 9110, section 7.6.3).
/// `version` is that of the message as it was received.
pub(crate) fn append_via(headers: &mut HeaderMap, version: http::Version) {
    let hop = match version {
        http::Version::HTTP_10 => "1.0 onceward",
        http::Version::HTTP_2 => "2 onceward",
        _ => "1.1 onceward",
    };
    headers.append(header::VIA, HeaderValue::from_static(hop));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn c27_what_is_for_one_hop_goes_and_the_rest_stays_in_order() {
        let mut map = headers(&[
            ("connection", "close, X-One"),
            ("connection", " x-two ,, Keep-Alive"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("x-three", "4"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "expires"),
            ("upgrade", "h2c"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("x-three", "3"), ("x-three", "4")]));
    }

    #[test]
    fn connection_cannot_take_away_the_framing_or_the_host() {
        let mut map = headers(&[
            ("connection", "content-length, host, close"),
            ("content-length", "3"),
            ("host", "a"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("content-length", "3"), ("host", "a")]));
    }

    #[test]
    fn a_transfer_coding_takes_the_length_with_it() {
        let mut map = headers(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        strip_hop_by_hop(&mut map);
        assert!(map.is_empty(), "{map:?}");
    }

    #[test]
    fn the_crumbs_of_a_cookie_are_put_together_in_their_order() {
        let mut map = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("x", "z")]);
        join_cookies(&mut map);
        assert_eq!(map, headers(&[("cookie", "a=1; b=2; c=3"), ("x", "y"), ("x", "z")]));
        for whole in [headers(&[("cookie", "a=1; b=2")]), headers(&[("x", "y")])] {
            let mut map = whole.clone();
            join_cookies(&mut map);
            assert_eq!(map, whole);
        }
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_names_it() {
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade_asked(&asked).unwrap(), "websocket");
        assert_eq!(upgrade_asked(&headers(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade_asked(&headers(&[("connection", "upgrade")])), None);
    }

    #[test]
    fn the_senders_word_about_other_hops_is_replaced() {
        let mut map = headers(&[
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
        ]);
        let peer = Some(IpAddr::from([127, 0, 0, 1]));
        set_forwarded(&mut map, Hop { peer, trusted: false, proto: "http", host: None });
        assert_eq!(
            map,
            headers(&[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http")])
        );
    }

    #[test]
    fn a_trusted_proxys_word_about_other_hops_is_kept_and_added_to() {
        let mut map = headers(&[
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
        ]);
        let host = Some(HeaderValue::from_static("api.example"));
        let peer = Some("2001:db8::1".parse().unwrap());
        set_forwarded(&mut map, Hop { peer, trusted: true, proto: "http", host });
        assert_eq!(
            map,
            headers(&[
                ("forwarded", "for=1.2.3.4"),
                ("forwarded", "for=\"[2001:db8::1]\";proto=http"),
                ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 2001:db8::1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "api.example"),
            ])
        );
    }

    #[test]
    fn a_subrequest_bears_the_credentials_and_nothing_of_the_body_or_the_key() {
        let parts = http::Request::post("http://api.example/v1/sites")
            .header("authorization", "Bearer x")
            .header("cookie", "s=1")
            .header("content-type", "application/json")
            .header("content-length", "3")
            .header("if-match", "x")
            .header("range", "bytes=0-1")
            .header("upgrade", "websocket")
            .header("idempotency-key", "k")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let fields = for_subrequest(&parts, &[HeaderName::from_static("idempotency-key")]);
        assert_eq!(
            fields,
            headers(&[("authorization", "Bearer x"), ("cookie", "s=1"), ("host", "api.example")])
        );
    }

    #[test]
    fn via_is_added_behind_what_is_there() {
        let mut map = headers(&[("via", "1.0 front")]);
        append_via(&mut map, http::Version::HTTP_11);
        assert_eq!(map, headers(&[("via", "1.0 front"), ("via", "1.1 onceward")]));
    }
}
