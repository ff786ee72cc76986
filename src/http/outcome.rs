//! What the two sides of the layer tell each other, in request and response extensions.

use bytes::Bytes;

use crate::fingerprint::Fingerprint;

/// Told apart from every other use of the same hash, and from later layouts of this one.
const DERIVED_KEY: &[u8] = b"onceward derived key 1";
/// 144 bits, as 36 characters: as many as a UUID has.
const DERIVED_KEY_HASHED_OCTETS: usize = 18;

/// What became of the work, said by the inner service in a *response* extension. Absent, the status
/// decides (C16 to C19).
///
/// Whatever answers says it, also an extractor that turns a request down before the handler runs:
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use onceward::http::Outcome;
///
/// /// What an extractor rejects with: nothing was done, and the key may be used again.
/// struct NotValid;
///
/// impl IntoResponse for NotValid {
///     fn into_response(self) -> Response {
///         let nothing_done = axum::Extension(Outcome::NotExecuted);
///         (axum::http::StatusCode::UNPROCESSABLE_ENTITY, nothing_done, "not valid").into_response()
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was done: the key is released and the response still reaches the client (C17).
    NotExecuted,
    /// Nobody knows whether it was done: the key is left in doubt and the response still reaches
    /// the client.
    Unknown,
}

/// What the layer knows about a keyed request it granted: a *request* extension for handlers.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Idempotency {
    /// The key's octets, decoded (1 to 255 of them).
    pub key: Bytes,
    /// The claim's number, greater than that of every earlier claim of this key: a fencing token
    /// for whatever the work touches.
    pub number: u64,
    /// What the key is unique within.
    scope: [u8; 32],
}

impl Idempotency {
    pub(crate) fn new(scope: [u8; 32], key: Bytes, number: u64) -> Self {
        Self { key, number, scope }
    }

    /// Whether it is this key that was granted.
    pub(crate) fn is_of(&self, scope: &[u8; 32], key: &[u8]) -> bool {
        self.scope == *scope && self.key == key
    }

    /// An idempotency key for a call that the handler makes downstream: 36 characters of `0-9a-f`,
    /// 144 bits of a SHA-256. `label` tells the calls of one handler apart.
    ///
    /// It is the same for every execution under this key, also after a restart: work that is done
    /// again because the first time was broken off finds what it did downstream. It tells nothing of
    /// the key. Once a key has expired and is used again, its derived keys are the ones they were: a
    /// service that remembers longer than the profile's `ttl` answers with what it did then.
    ///
    /// ```
    /// # fn handler(idempotency: &onceward::http::Idempotency) {
    /// let charge = idempotency.derived_key("charge");
    /// let receipt = idempotency.derived_key("receipt");
    /// # }
    /// ```
    pub fn derived_key(&self, label: &str) -> String {
        derive(&self.scope, &self.key, label)
    }
}

/// A key for calls downstream, derived from `key` within `scope`.
pub(crate) fn derive(scope: &[u8; 32], key: &[u8], label: &str) -> String {
    let mut hasher = Fingerprint::hasher();
    hasher.part(DERIVED_KEY).part(scope).part(key).part(label);
    let digest = hasher.finish();
    let octets = digest.as_bytes().iter().take(DERIVED_KEY_HASHED_OCTETS);
    octets
        .flat_map(|octet| [octet >> 4, octet & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

impl std::fmt::Debug for Idempotency {
    /// Shows the number alone: a key may be guessable (D12).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Which key a request was about, for logs: hashed, since a key may be guessable and a log is read
/// by many (D12). A *response* extension of every protected request with a
/// well-formed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KeyDigest {
    /// The scope, as the store knows it.
    pub scope: [u8; 32],
    /// SHA-256 of the key's octets.
    pub key: [u8; 32],
}

/// What the layer decided about a request: a *response* extension, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// The request was executed and its response is stored.
    Fresh,
    /// The request was executed; its response was not kept, and a tombstone stands in its place
    /// (C24, C25).
    FreshNotRetained,
    /// The request was executed; its status and headers are stored, its body was too long (C24).
    FreshBodyOmitted,
    /// The request was executed, its response could not be stored, and was sent all the same: the
    /// key is in doubt (C35, `fail_open`).
    FreshNotRecorded,
    /// The request was executed and the key released again, by status or by [`Outcome`].
    Released,
    /// The request was sent on and its effect is not known: the key is in doubt. So it is when the
    /// handler was stopped (C31, C33).
    LeftInDoubt,
    /// The handler has not answered in time and is still at work: the key is in flight (C33).
    TimedOut,
    /// A stored response was sent.
    Replayed,
    /// Refused: the key was used for another request.
    Mismatch,
    /// Refused: the key is held by a request still at work.
    InFlight,
    /// Refused: nobody knows what became of the work.
    InDoubt,
    /// Refused: the work was done and its response was not kept.
    NotRetained,
    /// Refused: the record is damaged.
    Corrupt,
    /// Refused before any lookup: the key, or the request that bears it, is not acceptable.
    Refused,
    /// Refused: as many requests are in flight as there may be (C14). As often as whoever floods the
    /// store likes, and no fault of the store's.
    TooManyInFlight,
    /// The store could not take or finish the claim.
    StoreFailed,
    /// The key had no effect, and why.
    Ignored(Ignored),
}

/// Why a key had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The request has no principal.
    NoPrincipal,
    /// The route is not listed (X15).
    Route,
    /// The method is not one the profile protects (C6, C7).
    Method,
    /// There is no key.
    NoKey,
    /// A layer around this one granted it: the request is executed under that grant.
    Granted,
}

impl Ignored {
    /// The word for it in the `Onceward-Key-Ignored` header and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPrincipal => "no-principal",
            Self::Route => "route",
            Self::Method => "method",
            Self::NoKey => "no-key",
            Self::Granted => "granted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_key_is_the_same_for_the_same_and_another_for_any_other() {
        let of = |scope: u8, key: &'static str, number, label: &str| {
            Idempotency::new([scope; 32], Bytes::from_static(key.as_bytes()), number)
                .derived_key(label)
        };
        let first = of(1, "k", 1, "charge");
        assert_eq!(first, "c19739244f2c6c4dfdb83d44cbd35ae60eed", "another one would charge twice");
        assert!(first.len() == 36 && first.bytes().all(|octet| octet.is_ascii_hexdigit()));
        assert_eq!(first, of(1, "k", 2, "charge"), "whichever execution of it");
        let others = [
            of(2, "k", 1, "charge"),
            of(1, "kc", 1, "harge"),
            of(1, "k", 1, ""),
            of(1, "", 1, "k"),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(*other != first && !others[..at].contains(other), "{other}");
        }
    }

    #[test]
    fn d12_debug_shows_no_key() {
        let told = Idempotency::new([1; 32], Bytes::from_static(b"secret"), 7);
        assert_eq!(format!("{told:?}"), "Idempotency { number: 7, .. }");
    }
}
