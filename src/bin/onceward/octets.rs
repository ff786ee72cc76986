//! Octets as text and back: hexadecimal, percent-encoded (RFC 3986), and base64 (RFC 4648).

use std::fmt::Write;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Reads hexadecimal digits, two an octet, of either case. `None` for anything else.
pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let octets = digits.chunks_exact(2).map(|pair| match pair {
        [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
        _ => None,
    });
    octets.collect()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// Reads a part of a URL. `None` when a `%` is not followed by two hexadecimal digits.
pub(crate) fn from_percent(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(if octet == b'%' {
            hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?
        } else {
            octet
        });
    }
    Some(octets)
}

/// Writes octets so that they stand for themselves in any part of a URL.
pub(crate) fn to_percent(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(octet) {
            text.push(char::from(*octet));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{octet:02X}");
        }
        text
    })
}

/// Writes base64 with padding.
pub(crate) fn to_base64(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for three in octets.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = bits >> (18 - 6 * place) & 63;
            let digit = BASE64.get(digit as usize).filter(|_| place <= three.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

/// Reads base64 with padding, in the one form [`to_base64`] writes. `None` for anything else.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut octets = Vec::with_capacity(text.len() / 4 * 3);
    let mut fours = text.chunks_exact(4).peekable();
    while let Some(four) = fours.next() {
        let padding = match four {
            [_, _, b'=', b'='] => 2,
            [_, _, _, b'='] => 1,
            _ => 0,
        };
        if padding > 0 && fours.peek().is_some() {
            return None;
        }
        let mut bits = 0_u32;
        for digit in four.iter().take(4 - padding) {
            bits = bits << 6 | base64_digit(*digit)?;
        }
        bits <<= 6 * padding;
        let kept = 3 - padding;
        let [_, all @ ..] = bits.to_be_bytes();
        if all.iter().skip(kept).any(|octet| *octet != 0) {
            // Two texts would stand for the same octets.
            return None;
        }
        octets.extend(all.iter().take(kept));
    }
    Some(octets)
}

fn base64_digit(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_come_back_from_each_of_their_forms() {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(1);
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for length in 0..300 {
            let octets: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let digits = crate::gateway::hex(&octets);
            assert_eq!(from_hex(&digits), Some(octets.clone()));
            assert_eq!(from_hex(&digits.to_uppercase()), Some(octets.clone()));
            assert_eq!(from_percent(&to_percent(&octets)), Some(octets.clone()));
            assert_eq!(from_base64(&to_base64(&octets)), Some(octets));
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_base64(octets.as_bytes()), text);
        }
        for text in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "=Zg=", "Zg==Zg==", "Zm9v\n", "Zm-_", "===="]
        {
            assert_eq!(from_base64(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_of_a_form_is_refused() {
        for text in ["a", "0g", "+1", "\u{e9}"] {
            assert_eq!(from_hex(text), None, "{text:?}");
        }
        for text in ["%", "%4", "a%zz", "%+1"] {
            assert_eq!(from_percent(text), None, "{text:?}");
        }
        assert_eq!(to_percent(b"a/b c?"), "a%2Fb%20c%3F");
    }
}
