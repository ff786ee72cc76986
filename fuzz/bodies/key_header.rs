//! The key header: whatever stands in it, it is read as a model of the grammar reads it.
//!
//! The model says of whole slices what they are (RFC 9651, its ABNF), where the parser goes octet by
//! octet, so that the two have little in common but the document.

use http::{HeaderMap, HeaderName, HeaderValue};
use onceward::fuzzing::{parse_key, read_key};
use onceward::http::{KeyFault, KeySyntax, Profile};

pub(crate) fn run(data: &[u8]) {
    // The first octet sets the limit, beyond what a store takes too; header lines follow.
    let Some((limit, lines)) = data.split_first() else { return };
    let octets_max = 2 * usize::from(*limit) + 1;
    let lines: Vec<&[u8]> = lines.split(|octet| *octet == b'\n').collect();
    for line in &lines {
        one_line(line, octets_max);
    }
    all_lines(&lines, octets_max);
}

fn one_line(line: &[u8], octets_max: usize) {
    let strict = parse_key(line, KeySyntax::Strict, octets_max);
    let lenient = parse_key(line, KeySyntax::Lenient, octets_max);
    if strict.is_ok() {
        assert_eq!(strict, lenient, "what is a String is the same key, leniently");
    }
    for (syntax, parsed) in [(KeySyntax::Strict, strict), (KeySyntax::Lenient, lenient)] {
        let expected = model(line, syntax, octets_max);
        assert_eq!(parsed.as_ref().map(|key| &key[..]), expected.as_ref().map(|key| &key[..]));
        let Ok(key) = parsed else { continue };
        assert!((1..=octets_max.min(255)).contains(&key.len()));
        for syntax in [KeySyntax::Strict, KeySyntax::Lenient] {
            let again = parse_key(&quoted(&key), syntax, octets_max);
            assert_eq!(again.as_ref(), Ok(&key), "quoted again it is the same key");
        }
    }
}

/// Lines are counted before they are read, whichever header they are of.
fn all_lines(lines: &[&[u8]], octets_max: usize) {
    let alias = HeaderName::from_static("x-key");
    let mut profile = Profile::standard();
    profile.key_octets_max = octets_max;
    profile.header_aliases.push(alias.clone());
    let mut headers = HeaderMap::new();
    let mut values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
    for (number, value) in values.by_ref().take(8).enumerate() {
        let name = if number % 2 == 0 { profile.header.clone() } else { alias.clone() };
        headers.append(name, value);
    }
    for syntax in [KeySyntax::Strict, KeySyntax::Lenient] {
        profile.key_syntax = syntax;
        let mut sent = headers.values();
        let expected = match (sent.next(), sent.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => parse_key(value.as_bytes(), syntax, octets_max).map(Some),
            (Some(_), Some(_)) => Err(KeyFault::Repeated),
        };
        assert_eq!(read_key(&headers, &profile), expected);
    }
}

fn quoted(key: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for octet in key {
        if matches!(octet, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*octet);
    }
    quoted.push(b'"');
    quoted
}

fn model(line: &[u8], syntax: KeySyntax, octets_max: usize) -> Result<Vec<u8>, KeyFault> {
    let mut value = line;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    let bare = |octet: &u8| octet.is_ascii_graphic() && !b"\",;\\".contains(octet);
    let key = match value {
        [] => return Err(KeyFault::Empty),
        [b'"', ..] => item(value).ok_or(KeyFault::Malformed)?,
        _ if syntax == KeySyntax::Lenient && value.iter().all(bare) => value.to_vec(),
        _ => return Err(KeyFault::Malformed),
    };
    match key.len() {
        0 => Err(KeyFault::Empty),
        length if length > octets_max.min(255) => Err(KeyFault::TooLong),
        _ => Ok(key),
    }
}

/// `sf-item` with an `sf-string`: wherever the string may end, its parameters follow.
fn item(value: &[u8]) -> Option<Vec<u8>> {
    (2..=value.len()).find_map(|end| {
        let (string, rest) = value.split_at(end);
        string_of(string).filter(|_| are_parameters(rest))
    })
}

/// `sf-string`, decoded.
fn string_of(value: &[u8]) -> Option<Vec<u8>> {
    let mut inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut decoded = Vec::new();
    while let [first, rest @ ..] = inside {
        let octet;
        (octet, inside) = match (first, rest) {
            (b'\\', [escaped @ (b'"' | b'\\'), rest @ ..]) => (escaped, rest),
            (0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e, _) => (first, rest),
            _ => return None,
        };
        decoded.push(*octet);
    }
    Some(decoded)
}

/// `parameters`.
fn are_parameters(value: &[u8]) -> bool {
    let ends = |end: &usize| value.get(*end).is_none_or(|octet| *octet == b';');
    value.is_empty()
        || (1..=value.len())
            .filter(ends)
            .any(|end| is_parameter(&value[..end]) && are_parameters(&value[end..]))
}

fn is_parameter(value: &[u8]) -> bool {
    let Some(mut value) = value.strip_prefix(b";") else { return false };
    while let Some(rest) = value.strip_prefix(b" ") {
        value = rest;
    }
    let equals = value.iter().position(|octet| *octet == b'=').unwrap_or(value.len());
    let (key, rest) = value.split_at(equals);
    let is_key = key.first().is_some_and(|octet| octet.is_ascii_lowercase() || *octet == b'*')
        && key.iter().all(|octet| {
            octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"_-.*".contains(octet)
        });
    is_key && rest.strip_prefix(b"=").map_or(rest.is_empty(), is_bare_item)
}

fn is_bare_item(value: &[u8]) -> bool {
    let is_bytes = |value: &[u8]| {
        let inside = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
        inside.is_some_and(|inside| {
            inside.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(octet))
        })
    };
    let is_token = value.first().is_some_and(|octet| octet.is_ascii_alphabetic() || *octet == b'*')
        && value
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(octet));
    is_token
        || matches!(value, b"?0" | b"?1")
        || is_bytes(value)
        || string_of(value).is_some()
        || is_number(value, false)
        || is_number(value, true)
        || value.strip_prefix(b"@").is_some_and(|date| is_number(date, false))
        || is_display_string(value)
}

fn is_number(value: &[u8], decimal: bool) -> bool {
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let are_digits = |digits: &[u8], max| {
        (1..=max).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
    };
    let mut parts = value.splitn(2, |octet| *octet == b'.');
    match (parts.next(), parts.next()) {
        (Some(whole), Some(fraction)) => {
            decimal && are_digits(whole, 12) && are_digits(fraction, 3)
        }
        (Some(whole), None) => !decimal && are_digits(whole, 15),
        _ => false,
    }
}

fn is_display_string(value: &[u8]) -> bool {
    let inside = value.strip_prefix(b"%\"").and_then(|rest| rest.strip_suffix(b"\""));
    let Some(mut inside) = inside else { return false };
    let mut decoded = Vec::new();
    let hex = |octet: u8| (octet as char).to_digit(16).filter(|_| !octet.is_ascii_uppercase());
    while let [first, rest @ ..] = inside {
        inside = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => {
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return false };
                decoded.push((high * 16 + low) as u8);
                rest
            }
            (b'%' | b'"', _) => return false,
            (0x20..=0x7e, _) => {
                decoded.push(*first);
                rest
            }
            _ => return false,
        };
    }
    String::from_utf8(decoded).is_ok()
}
