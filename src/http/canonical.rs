//! JSON made comparable: RFC 8785 (JCS), but for its rounding of numbers (C11).
//!
//! Members are sorted by the UTF-16 code units of their names, strings and numbers are written as
//! ECMAScript writes them, and white space is left out. RFC 8785 makes a double of every number,
//! by which 9007199254740993 becomes its neighbour; here a number keeps every digit it has, so a
//! text means what its canonical form means, and two values that differ have two forms.

use std::borrow::Cow;

/// How deep arrays and objects may be nested: the parser calls itself for each.
const DEPTH_MAX: usize = 128;

/// The canonical form of `text`; `None` when it is not JSON in UTF-8, when an object names a member
/// twice (parsers differ in which they take), when a string has half a surrogate pair, or when it
/// is nested more than [`DEPTH_MAX`] deep.
pub(crate) fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut writer = Writer { rest: text, out: Vec::with_capacity(text.len()) };
    writer.value(DEPTH_MAX)?;
    writer.blank();
    writer.rest.is_empty().then_some(writer.out)
}

/// What is left to read, and what is written of it.
struct Writer<'a> {
    rest: &'a str,
    out: Vec<u8>,
}

/// A member of an object, as it was written: `out[start..end]`.
struct Member<'a> {
    name: Cow<'a, str>,
    start: usize,
    end: usize,
}

impl<'a> Writer<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Skips octets that are known to be there, and to end with a character.
    fn skip(&mut self, octets: usize) {
        self.rest = self.rest.get(octets..).unwrap_or_default();
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.skip(1))
    }

    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.blank();
        match self.peek()? {
            b'{' => self.object(depth.checked_sub(1)?),
            b'[' => self.array(depth.checked_sub(1)?),
            b'"' => {
                let text = self.string()?;
                write_string(&mut self.out, &text);
                Some(())
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        self.out.extend(word.as_bytes());
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.take(b'[')?;
        self.out.push(b'[');
        self.blank();
        if self.peek()? == b']' {
            self.skip(1);
            self.out.push(b']');
            return Some(());
        }
        loop {
            self.value(depth)?;
            self.blank();
            let next = self.peek()?;
            self.skip(1);
            self.out.push(next);
            match next {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.take(b'{')?;
        self.out.push(b'{');
        let first = self.out.len();
        let mut members = Vec::new();
        self.blank();
        if self.peek()? == b'}' {
            self.skip(1);
        } else {
            loop {
                members.push(self.member(depth)?);
                self.blank();
                let next = self.peek()?;
                self.skip(1);
                match next {
                    b',' => {}
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        members.sort_unstable_by(|a, b| a.name.encode_utf16().cmp(b.name.encode_utf16()));
        if members.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name)) {
            return None;
        }
        let unsorted = self.out.split_off(first);
        for (position, member) in members.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            self.out.extend(unsorted.get(member.start - first..member.end - first)?);
        }
        self.out.push(b'}');
        Some(())
    }

    fn member(&mut self, depth: usize) -> Option<Member<'a>> {
        self.blank();
        let name = self.string()?;
        let start = self.out.len();
        write_string(&mut self.out, &name);
        self.blank();
        self.take(b':')?;
        self.out.push(b':');
        self.value(depth)?;
        Some(Member { name, start, end: self.out.len() })
    }

    /// A string, its escapes undone; one that has none is not copied.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"')?;
        let mut text = Cow::Borrowed("");
        loop {
            let plain =
                self.rest.bytes().position(|octet| octet < 0x20 || b"\"\\".contains(&octet));
            let (plain, rest) = self.rest.split_at_checked(plain?)?;
            self.rest = rest;
            // `+=` borrows where nothing was read so far.
            text += plain;
            match self.peek()? {
                b'"' => {
                    self.skip(1);
                    return Some(text);
                }
                b'\\' => {
                    self.skip(1);
                    let escaped = self.escaped()?;
                    text.to_mut().push(escaped);
                }
                _ => return None,
            }
        }
    }

    /// The character an escape stands for; the `\` is read.
    fn escaped(&mut self) -> Option<char> {
        let kind = self.peek()?;
        let plain = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'f' => '\u{c}',
            b'r' => '\r',
            b'u' => {
                self.skip(1);
                let unit = self.unit()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit);
                }
                self.take(b'\\')?;
                self.take(b'u')?;
                let low = self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                return char::from_u32(0x1_0000 + ((unit - 0xd800) << 10 | low));
            }
            _ => return None,
        };
        self.skip(1);
        Some(plain)
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        hex.then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn digits(&mut self) -> &'a str {
        let rest = self.rest;
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        self.skip(count);
        rest.get(..count).unwrap_or_default()
    }

    fn number(&mut self) -> Option<()> {
        let negative = self.peek()? == b'-';
        if negative {
            self.skip(1);
        }
        let whole = self.digits();
        if whole.is_empty() || whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let mut fraction = "";
        if self.peek() == Some(b'.') {
            self.skip(1);
            fraction = self.digits();
            if fraction.is_empty() {
                return None;
            }
        }
        let mut exponent = 0;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.skip(1);
            let less = self.peek() == Some(b'-');
            if less || self.peek() == Some(b'+') {
                self.skip(1);
            }
            // An exponent that fits no integer is nothing anybody computes with.
            let size: i64 = self.digits().parse().ok()?;
            exponent = if less { -size } else { size };
        }
        write_number(&mut self.out, negative, whole, fraction, exponent)
    }
}

/// `text` as ECMAScript's `JSON.stringify` writes it (RFC 8785, section 3.2.2.2).
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for octet in text.bytes() {
        match octet {
            b'"' | b'\\' => out.extend([b'\\', octet]),
            0x08 => out.extend(b"\\b"),
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            0x0c => out.extend(b"\\f"),
            b'\r' => out.extend(b"\\r"),
            0..0x20 => out.extend(format!("\\u{octet:04x}").as_bytes()),
            _ => out.push(octet),
        }
    }
    out.push(b'"');
}

/// A decimal number in the layout of ECMAScript's `Number::toString` (RFC 8785, section 3.2.2.3),
/// with all of its digits. `None` when its exponent is beyond counting.
fn write_number(
    out: &mut Vec<u8>,
    negative: bool,
    whole: &str,
    fraction: &str,
    exponent: i64,
) -> Option<()> {
    let all = [whole, fraction].concat();
    let significant = all.trim_start_matches('0');
    let leading_zeros = all.len() - significant.len();
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        // Minus zero is zero, too.
        out.push(b'0');
        return Some(());
    }
    if negative {
        out.push(b'-');
    }
    // The value is 0.digits times ten to the power of `point`.
    let point = exponent.checked_add(signed(whole.len())? - signed(leading_zeros)?)?;
    let zeros = |count: i64| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or(0));
    let count = signed(digits.len())?;
    match point {
        1..=21 if count <= point => {
            out.extend(digits.as_bytes());
            out.extend(zeros(point - count));
        }
        1..=21 => {
            let (whole, fraction) = digits.split_at_checked(usize::try_from(point).ok()?)?;
            out.extend(whole.as_bytes());
            out.push(b'.');
            out.extend(fraction.as_bytes());
        }
        -5..=0 => {
            out.extend(b"0.");
            out.extend(zeros(-point));
            out.extend(digits.as_bytes());
        }
        _ => {
            let (first, others) = digits.split_at_checked(1)?;
            out.extend(first.as_bytes());
            if !others.is_empty() {
                out.push(b'.');
                out.extend(others.as_bytes());
            }
            out.extend(format!("e{:+}", point.checked_sub(1)?).as_bytes());
        }
    }
    Some(())
}

fn signed(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
