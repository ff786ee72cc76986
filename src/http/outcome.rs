//! What the two sides of the layer tell each other, in request and response extensions.

use bytes::Bytes;

/// What became of the work, said by the inner service in a *response* extension. Absent, the status
/// decides (C16 to C19).
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
}

impl std::fmt::Debug for Idempotency {
    /// Shows the number alone: a key may be guessable (D12).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Which key a request was about, for logs: hashed, since a key may be guessable and a log is read
/// by many (D12). A *response* extension of every request that got as far as a lookup.
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
    /// The request was executed and the key released again, by status or by [`Outcome`].
    Released,
    /// The request was sent on and its effect is not known: the key is in doubt.
    LeftInDoubt,
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
}

impl Ignored {
    /// The word for it in the `Onceward-Key-Ignored` header and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPrincipal => "no-principal",
            Self::Route => "route",
            Self::Method => "method",
            Self::NoKey => "no-key",
        }
    }
}
