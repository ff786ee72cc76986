//! The token that the admin address asks for.

use http::header::{self, HeaderMap};
use onceward::Fingerprint;

/// A token, as its SHA-256: so that comparing takes the same time whatever is compared, and memory
/// holds no token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

impl Token {
    /// The token in the text of its file, where white space around it does not count. `None` when
    /// there is nothing else, or something that cannot stand in a header field.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let token = text.trim();
        let printable = token.bytes().all(|octet| octet.is_ascii_graphic());
        (!token.is_empty() && printable).then(|| Self(*Fingerprint::of(token).as_bytes()))
    }

    /// Whether it is the one in the `Authorization` field, in constant time.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(only), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, token)) = only.as_bytes().split_at_checked(7) else { return false };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return false;
        }
        let given = Fingerprint::of(token.trim_ascii());
        let differing = self.0.iter().zip(given.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}
