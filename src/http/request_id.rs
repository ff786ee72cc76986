//! The `request_id` of managed.dev's envelope.

use http::{HeaderMap, HeaderName};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const OCTETS_MAX: usize = 128;

/// The request's own `X-Request-Id` when it is short visible ASCII, else a new random one.
pub(crate) fn of(headers: &HeaderMap) -> String {
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let usable = (1..=OCTETS_MAX).contains(&given.len())
        && given.bytes().all(|octet| octet.is_ascii_graphic());
    if usable { given.to_owned() } else { random() }
}

/// The one header that [`of`] looks at, for when the rest is gone.
pub(crate) fn alone(headers: &HeaderMap) -> HeaderMap {
    headers.get(HEADER).map(|value| (HEADER, value.clone())).into_iter().collect()
}

fn random() -> String {
    let mut octets = [0_u8; 16];
    // Without randomness an id of zeros is still an id; nothing is secured by it.
    let _ = getrandom::fill(&mut octets);
    let mut id = String::from("req_");
    for octet in octets {
        id.extend([octet >> 4, octet & 15].map(|d| char::from_digit(d.into(), 16).unwrap_or('0')));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_id_is_repeated_and_a_bad_one_replaced() {
        let of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, http::HeaderValue::from_bytes(value).unwrap());
            super::of(&headers)
        };
        assert_eq!(of(b"req_01"), "req_01");
        for bad in [&b""[..], b"a b", b"\xff", &[b'a'; 129]] {
            let id = of(bad);
            assert!(id.starts_with("req_") && id.len() == 36, "{id}");
        }
        assert_ne!(super::of(&HeaderMap::new()), super::of(&HeaderMap::new()));
    }
}
