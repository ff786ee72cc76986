//! Identity: the scope and the key a caller names.

use crate::error::{Error, ErrorKind};

/// The longest key, in octets (seed G22: "up to 255 characters").
pub const KEY_OCTETS_MAX: usize = 255;
/// The longest scope, in octets. Callers hash longer ones.
pub const SCOPE_OCTETS_MAX: usize = 255;

/// A scope and a key within it: borrowed, `Copy`, made without allocation.
///
/// Keys are compared octet by octet, case and all (seed G21). Two keys of different scopes never
/// meet, whatever their octets: identity is over the *length-prefixed* pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    scope: &'a [u8],
    key: &'a [u8],
}

impl<'a> Key<'a> {
    /// Names `key` (1..=255 octets) within `scope` (0..=255 octets).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] when either is outside its bounds.
    pub fn new<S, K>(scope: &'a S, key: &'a K) -> Result<Self, Error>
    where
        S: AsRef<[u8]> + ?Sized,
        K: AsRef<[u8]> + ?Sized,
    {
        let (scope, key) = (scope.as_ref(), key.as_ref());
        if key.is_empty() || key.len() > KEY_OCTETS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidKey,
                format!("a key has 1 to {KEY_OCTETS_MAX} octets; this one has {}", key.len()),
            ));
        }
        if scope.len() > SCOPE_OCTETS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidKey,
                format!("a scope has 0 to {SCOPE_OCTETS_MAX} octets; this one has {}", scope.len()),
            ));
        }
        Ok(Self { scope, key })
    }

    /// A key whose bounds were checked when it was first named.
    pub(crate) const fn of_checked(scope: &'a [u8], key: &'a [u8]) -> Self {
        Self { scope, key }
    }

    /// The scope's octets (0..=255).
    pub fn scope(&self) -> &'a [u8] {
        self.scope
    }

    /// The key's octets (1..=255).
    pub fn key(&self) -> &'a [u8] {
        self.key
    }
}

impl std::fmt::Debug for Key<'_> {
    /// Shows lengths alone: a key may be guessable, and logs outlive their readers' discretion.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("scope_octets", &self.scope.len())
            .field("key_octets", &self.key.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_255_octets_and_a_scope_0_to_255() {
        assert!(Key::new("", "k").is_ok());
        assert!(Key::new(&[7_u8; 255], &[7_u8; 255]).is_ok());
        for (scope, key) in [(0, 0), (0, 256), (256, 1)] {
            let (scope, key) = (vec![0_u8; scope], vec![0_u8; key]);
            assert_eq!(Key::new(&scope, &key).unwrap_err().kind(), ErrorKind::InvalidKey);
        }
    }

    #[test]
    fn debug_shows_no_octet_of_the_key() {
        let shown = format!("{:?}", Key::new("tenant", "secret-key").unwrap());
        assert!(!shown.contains("secret") && !shown.contains("tenant"), "{shown}");
    }
}
