//! Reading the key: a structured String (RFC 9651), or, leniently, a bare value too.
//!
//! Bare values never go near a structured-field parser: it takes a UUID that begins with a digit
//! for a number and then trips over the rest (D1).

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::policy::KeySyntax;
use super::profile::Profile;
use crate::key::KEY_OCTETS_MAX;

/// What is wrong with a key header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFault {
    /// More than one field line, equal or not (C1).
    Repeated,
    /// No octet between the quotes, or none at all (C2).
    Empty,
    /// More octets than the profile allows (C3).
    TooLong,
    /// An octet the syntax does not allow, or something after the value (C4, D1).
    Malformed,
}

/// The key of a request: `None` when there is no such header.
///
/// Field lines are counted before anything joins them: two lines are a fault even when they agree.
pub(crate) fn read(headers: &HeaderMap, profile: &Profile) -> Result<Option<Bytes>, KeyFault> {
    let mut lines = lines(headers, profile);
    let Some((_, value)) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(KeyFault::Repeated);
    }
    parse(value.as_bytes(), profile.key_syntax, profile.key_octets_max).map(Some)
}

/// Whether the request bears a key header at all, well-formed or not.
pub(crate) fn is_present(headers: &HeaderMap, profile: &Profile) -> bool {
    lines(headers, profile).next().is_some()
}

/// Every field line that may bear the key, with its name. A header that a profile names twice has
/// its lines once.
pub(crate) fn lines<'a>(
    headers: &'a HeaderMap,
    profile: &'a Profile,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let names = || std::iter::once(&profile.header).chain(&profile.header_aliases);
    names()
        .enumerate()
        .filter(move |(at, name)| names().take(*at).all(|earlier| earlier != *name))
        .flat_map(|(_, name)| headers.get_all(name).iter().map(move |value| (name, value)))
}

/// The key's octets, decoded, so that `"k"` and `k` are the same key (C5). Case is kept (G21).
pub(crate) fn parse(value: &[u8], syntax: KeySyntax, octets_max: usize) -> Result<Bytes, KeyFault> {
    let value = trim(value);
    let key = match (syntax, value.first()) {
        (_, None) => return Err(KeyFault::Empty),
        (KeySyntax::Strict, _) | (KeySyntax::Lenient, Some(b'"')) => string_item(value)?,
        (KeySyntax::Lenient, _) => bare(value)?,
    };
    if key.is_empty() {
        return Err(KeyFault::Empty);
    }
    if key.len() > octets_max.min(KEY_OCTETS_MAX) {
        return Err(KeyFault::TooLong);
    }
    Ok(key.into())
}

/// HTTP's own optional whitespace around a field value (RFC 9110, section 5.5).
fn trim(value: &[u8]) -> &[u8] {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let start = value.iter().position(|octet| !blank(octet)).unwrap_or(value.len());
    let end = value.iter().rposition(|octet| !blank(octet)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// A bare key: visible ASCII without the octets that would make it look like a list, a parameter
/// or a quoted string (X14).
fn bare(value: &[u8]) -> Result<Vec<u8>, KeyFault> {
    let allowed =
        |octet: &u8| matches!(octet, 0x21..=0x7e) && !matches!(octet, b'"' | b',' | b';' | b'\\');
    if value.iter().all(allowed) { Ok(value.to_vec()) } else { Err(KeyFault::Malformed) }
}

/// A structured-field Item that is a String (D1). Its parameters are checked and ignored.
fn string_item(value: &[u8]) -> Result<Vec<u8>, KeyFault> {
    let mut input = Input(value);
    let key = input.string().ok_or(KeyFault::Malformed)?;
    input.parameters().ok_or(KeyFault::Malformed)?;
    if input.0.is_empty() { Ok(key) } else { Err(KeyFault::Malformed) }
}

/// What is left to parse. Each method is a section of RFC 9651, section 4.2; `None` is its "fail
/// parsing".
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, octet: u8) -> Option<()> {
        (self.next()? == octet).then_some(())
    }

    fn while_in(&mut self, set: impl Fn(u8) -> bool) -> usize {
        let count = self.0.iter().take_while(|octet| set(**octet)).count();
        self.0 = self.0.get(count..).unwrap_or_default();
        count
    }

    /// 4.2.5.
    fn string(&mut self) -> Option<Vec<u8>> {
        self.take(b'"')?;
        let mut decoded = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(decoded),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => decoded.push(escaped),
                    _ => return None,
                },
                plain @ 0x20..=0x7e => decoded.push(plain),
                _ => return None,
            }
        }
    }

    /// 4.2.3.2.
    fn parameters(&mut self) -> Option<()> {
        while self.peek() == Some(b';') {
            self.next()?;
            self.while_in(|octet| octet == b' ');
            if !matches!(self.next()?, b'a'..=b'z' | b'*') {
                return None;
            }
            self.while_in(|octet| {
                octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"_-.*".contains(&octet)
            });
            if self.peek() == Some(b'=') {
                self.next()?;
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// 4.2.3.1.
    fn bare_item(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b':' => self.byte_sequence(),
            b'?' => {
                self.next()?;
                matches!(self.next()?, b'0' | b'1').then_some(())
            }
            b'@' => {
                self.next()?;
                (self.number()? == Number::Integer).then_some(())
            }
            b'%' => self.display_string(),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.while_in(|octet| {
                    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&octet)
                });
                Some(())
            }
            _ => None,
        }
    }

    /// 4.2.4.
    fn number(&mut self) -> Option<Number> {
        if self.peek() == Some(b'-') {
            self.next()?;
        }
        let whole = self.while_in(|octet| octet.is_ascii_digit());
        if whole == 0 || whole > 15 {
            return None;
        }
        if self.peek() != Some(b'.') {
            return Some(Number::Integer);
        }
        self.next()?;
        let fraction = self.while_in(|octet| octet.is_ascii_digit());
        (whole <= 12 && (1..=3).contains(&fraction)).then_some(Number::Decimal)
    }

    /// 4.2.7.
    fn byte_sequence(&mut self) -> Option<()> {
        self.take(b':')?;
        self.while_in(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet));
        self.take(b':')
    }

    /// 4.2.10.
    fn display_string(&mut self) -> Option<()> {
        self.take(b'%')?;
        self.take(b'"')?;
        let mut decoded = Vec::new();
        loop {
            match self.next()? {
                b'"' => return std::str::from_utf8(&decoded).ok().map(|_| ()),
                b'%' => decoded.push(lower_hex(self.next()?)? << 4 | lower_hex(self.next()?)?),
                plain @ 0x20..=0x7e => decoded.push(plain),
                _ => return None,
            }
        }
    }
}

#[derive(PartialEq)]
enum Number {
    Integer,
    Decimal,
}

fn lower_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(value: impl AsRef<[u8]>) -> Result<Bytes, KeyFault> {
        parse(value.as_ref(), KeySyntax::Strict, 255)
    }

    fn lenient(value: impl AsRef<[u8]>) -> Result<Bytes, KeyFault> {
        parse(value.as_ref(), KeySyntax::Lenient, 255)
    }

    /// C4, D1, X14: every octet, at the beginning, within and at the end of a key, bare and quoted,
    /// under both syntaxes.
    #[test]
    fn c4_every_octet_is_judged_by_the_table_wherever_it_stands() {
        for octet in 0..=255_u8 {
            let bare_ok = (0x21..=0x7e).contains(&octet) && !b"\",;\\".contains(&octet);
            let quoted_ok = (0x20..=0x7e).contains(&octet) && !b"\"\\".contains(&octet);
            // HTTP's own white space around a value is not of it (RFC 9110, section 5.5).
            let blank = b" \t".contains(&octet);
            for (key, within) in [([octet, b'a', b'b'], false), (*b"ab\0", false), (*b"a\0b", true)]
            {
                let key = key.map(|at| if at == 0 { octet } else { at });
                let context = format!("{octet:#04x} in {key:?}");
                let expected = match (bare_ok, blank && !within) {
                    (true, _) => Ok(Bytes::copy_from_slice(&key)),
                    (false, true) => Ok(Bytes::from_static(b"ab")),
                    (false, false) => Err(KeyFault::Malformed),
                };
                assert_eq!(lenient(key), expected, "bare, {context}");
                assert_eq!(strict(key), Err(KeyFault::Malformed), "D1: bare, strict, {context}");
                let quoted = [b"\"".as_slice(), &key, b"\""].concat();
                for parse in [strict as fn(Vec<u8>) -> _, lenient] {
                    let expected =
                        if quoted_ok { Ok(key.to_vec().into()) } else { Err(KeyFault::Malformed) };
                    if octet == b'\\' && quoted.ends_with(b"\\\"") {
                        assert!(parse(quoted.clone()).is_err(), "the quote is escaped, {context}");
                    } else {
                        assert_eq!(parse(quoted.clone()), expected, "quoted, {context}");
                    }
                }
            }
            // Alone: an empty string and one octet more than that.
            assert_eq!(lenient([octet]).is_ok(), bare_ok, "alone, {octet:#04x}");
            assert_eq!(strict([b'"', octet, b'"']).is_ok(), quoted_ok, "alone, {octet:#04x}");
        }
    }

    /// D1's trap: a parser of "String or Token" refuses both seeds' examples.
    #[test]
    fn bare_uuids_pass_whatever_they_begin_with() {
        for uuid in [
            "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04",
            "550e8400-e29b-41d4-a716-446655440000",
            "a3bb189e-8bf9-3888-9912-ace4e6543002",
        ] {
            assert_eq!(lenient(uuid).unwrap(), uuid);
            assert_eq!(lenient(format!("\"{uuid}\"")).unwrap(), uuid);
            assert_eq!(strict(format!("\"{uuid}\"")).unwrap(), uuid);
            assert_eq!(strict(uuid), Err(KeyFault::Malformed));
        }
        for key in
            ["redeploy-abc123def456", "redeploy-env_01abc-1741958400", "gh-actions-run-12345678"]
        {
            assert_eq!(lenient(key).unwrap(), key, "O11");
        }
    }

    #[test]
    fn c2_c3_a_key_has_1_to_255_decoded_octets() {
        for parse in [strict as fn(String) -> _, lenient] {
            for blank in ["", "  ", "\t", "\"\""] {
                assert_eq!(parse(blank.into()), Err(KeyFault::Empty), "{blank:?}");
            }
            assert_eq!(parse(format!("\"{}\"", "k".repeat(255))).unwrap().len(), 255);
            assert_eq!(parse(format!("\"{}\"", "k".repeat(256))), Err(KeyFault::TooLong));
            // Escapes count as what they stand for.
            assert_eq!(parse(format!("\"{}\"", "\\\\".repeat(255))).unwrap().len(), 255);
        }
        assert_eq!(lenient("k".repeat(255)).unwrap().len(), 255);
        assert_eq!(lenient("k".repeat(256)), Err(KeyFault::TooLong));
        assert_eq!(parse(b"abcde", KeySyntax::Lenient, 4), Err(KeyFault::TooLong));
        assert_eq!(
            parse("k".repeat(300).as_bytes(), KeySyntax::Lenient, 1000),
            Err(KeyFault::TooLong),
            "no profile can ask for more than a store takes"
        );
    }

    #[test]
    fn c1_a_list_is_refused_and_a_comma_within_quotes_is_not() {
        for list in ["a,b", "a, b", "\"a\", \"b\"", "\"a\",\"a\"", "\"a\" \"b\""] {
            assert_eq!(lenient(list), Err(KeyFault::Malformed), "{list}");
            assert_eq!(strict(list), Err(KeyFault::Malformed), "{list}");
        }
        assert_eq!(strict("\"a,b;c d\"").unwrap(), "a,b;c d");
    }

    #[test]
    fn c5_case_is_kept_and_only_two_escapes_exist() {
        assert_ne!(lenient("Key").unwrap(), lenient("key").unwrap());
        assert_eq!(strict(r#""a\"b\\c""#).unwrap(), r#"a"b\c"#);
        for bad in [r#""a\nb""#, r#""a"#, r#""a\"#, r#"""#] {
            assert_eq!(strict(bad), Err(KeyFault::Malformed), "{bad}");
        }
    }

    #[test]
    fn parameters_are_parsed_and_ignored() {
        for good in [
            r#""k";a"#,
            r#""k";a=1"#,
            r#""k"; a=-1.5;b"#,
            r#""k";a="x;y";b=tok/en:1"#,
            r#""k";a=:aGk=:"#,
            r#""k";a=?0"#,
            r#""k";a=@1659578233"#,
            r#""k";a=%"caf%c3%a9""#,
            r#" "k" "#,
        ] {
            assert_eq!(strict(good).unwrap(), "k", "{good}");
            assert_eq!(lenient(good).unwrap(), "k", "{good}");
        }
        for bad in [
            r#""k";"#,
            r#""k";A=1"#,
            r#""k";a="#,
            r#""k";a=1."#,
            r#""k";a=1.2345"#,
            r#""k";a=1234567890123456"#,
            r#""k";a=:a"#,
            r#""k";a=?2"#,
            r#""k";a=@1.5"#,
            r#""k";a=%"%FF""#,
            r#""k";a=%"%ff""#,
            r#""k" ;a"#,
            r#""k"x"#,
        ] {
            assert_eq!(strict(bad), Err(KeyFault::Malformed), "{bad}");
        }
    }
}
