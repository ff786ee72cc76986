//! Outcomes: what a claim, a look or a resolution found. Values, never errors.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::backend::Backend;
use crate::engine::Store;
use crate::error::Error;
use crate::fingerprint::Fingerprint;

/// What a claim came to.
#[derive(Debug)]
pub enum Claim<B: Backend = Store> {
    /// The key is yours, and that is on disk: do the work, then use the ticket.
    Granted(B::Ticket),
    /// The work was done before: here is its record.
    Replay(Record),
    /// Somebody else holds the key and is still at work.
    InFlight(B::Wait),
    /// The key was used with another fingerprint. Said whatever else holds: a request that can
    /// never be answered is never told to wait.
    Mismatch(Record),
    /// The work was granted and nobody knows whether it was done.
    InDoubt(Record),
}

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Claimed, and its owner is alive.
    InFlight,
    /// Done; the record has the payload, or a tombstone in its place.
    Complete,
    /// Claimed, and its owner is gone.
    InDoubt,
}

/// How somebody who knows better ends a key in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The work was not done: the key is free again.
    Release,
    /// The work was done, with this payload. It is kept from now on for the retention its claim asked
    /// for, or the store's own, if that is longer.
    Complete(Bytes),
}

/// What a resolution came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a resolution may have been refused"]
pub enum Resolved {
    /// The key was in doubt and is resolved, on disk.
    Done,
    /// Refused: a living ticket holds the key, and it alone may finish.
    InFlight,
    /// Refused: the key is complete already.
    Complete,
    /// Refused: there is no such key.
    Absent,
}

/// How a claim differs from the store's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimOptions {
    ttl: Option<Duration>,
}

impl ClaimOptions {
    /// The store's defaults.
    pub const fn new() -> Self {
        Self { ttl: None }
    }

    /// Keeps the result for `ttl` from its completion, instead of the store's `ttl`. At least one
    /// millisecond; fractions of one are rounded up, for expiry is a floor.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The retention asked for, if any.
    pub const fn ttl_asked(&self) -> Option<Duration> {
        self.ttl
    }
}

/// The record of a key. Cheap to clone; a payload it hands out stays valid after the store closed.
///
/// Times are *store time* (see `docs/design.md`): the wall clock's when the store was made, and
/// advanced since by elapsed time alone.
#[derive(Clone)]
pub struct Record {
    state: State,
    fingerprint: Fingerprint,
    claimed_at_ms: u64,
    expires_at_ms: Option<u64>,
    content: Content,
}

/// What a record's payload is read from.
#[derive(Clone)]
enum Content {
    None,
    Payload(Bytes),
    Note(Bytes),
    /// Bytes under a map, their checksum not yet compared.
    Unverified(Unverified),
}

/// Payloads that are verified each time they are read, where they stand.
pub(crate) trait Source: Send + Sync {
    /// The payload `place` names, when its checksum holds; `Corrupt` when not.
    fn view(&self, place: Place) -> Result<Cow<'_, [u8]>, Error>;
    /// The same, holding what it stands in.
    fn bytes(&self, place: Place) -> Result<Bytes, Error>;
}

/// Where in its source a payload stands, and what its checksum must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

/// A payload that is verified each time it is asked for.
#[derive(Clone)]
pub(crate) struct Unverified {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) place: Place,
}

impl Record {
    /// A record without a payload: in flight, or in doubt. Times in milliseconds of store time
    /// since the Unix epoch; `expires_at_ms` is `None` while in flight. For backends.
    pub fn bare(
        state: State,
        fingerprint: Fingerprint,
        claimed_at_ms: u64,
        expires_at_ms: Option<u64>,
    ) -> Self {
        Self { state, fingerprint, claimed_at_ms, expires_at_ms, content: Content::None }
    }

    /// This record, complete with `payload`. For backends.
    #[must_use]
    pub fn with_payload(mut self, payload: Bytes) -> Self {
        self.content = Content::Payload(payload);
        self
    }

    /// This record, complete without a payload: a tombstone that carries `note`. For backends.
    #[must_use]
    pub fn with_note(mut self, note: Bytes) -> Self {
        self.content = Content::Note(note);
        self
    }

    /// A complete record, with a payload that is checked when read; times as those of
    /// [`bare`](Record::bare).
    #[inline]
    pub(crate) fn complete(
        fingerprint: Fingerprint,
        claimed_at_ms: u64,
        expires_at_ms: u64,
        content: Unverified,
    ) -> Self {
        Self {
            state: State::Complete,
            fingerprint,
            claimed_at_ms,
            expires_at_ms: Some(expires_at_ms),
            content: Content::Unverified(content),
        }
    }

    /// The state of the key.
    pub fn state(&self) -> State {
        self.state
    }

    /// The fingerprint the key was claimed with.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the key was claimed, in store time.
    pub fn claimed_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.claimed_at_ms)
    }

    /// When the record expires, in store time: `None` while in flight.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Whether the work is done and its payload was not kept.
    pub fn is_tombstone(&self) -> bool {
        matches!(self.content, Content::Note(_))
    }

    /// How many octets the payload has, without reading it: `None` for a tombstone, and while there
    /// is none yet.
    pub fn payload_octets(&self) -> Option<u64> {
        match &self.content {
            Content::None | Content::Note(_) => None,
            Content::Payload(payload) => Some(payload.len() as u64),
            Content::Unverified(payload) => Some(u64::from(payload.place.len)),
        }
    }

    /// The payload, its checksum compared on every call: `None` for a tombstone, and while there is
    /// none yet.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes on disk are not the ones written.
    pub fn payload(&self) -> Result<Option<Bytes>, Error> {
        match &self.content {
            Content::None | Content::Note(_) => Ok(None),
            Content::Payload(payload) => Ok(Some(payload.clone())),
            Content::Unverified(payload) => payload.source.bytes(payload.place).map(Some),
        }
    }

    /// Gives the payload to `look` where it stands, its checksum compared, and gives back what that
    /// makes of it: what [`payload`](Record::payload) does, without an allocation. `None` for a
    /// tombstone, and while there is no payload yet.
    ///
    /// # Errors
    /// As [`payload`](Record::payload).
    pub fn read<R>(&self, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
        match &self.content {
            Content::None | Content::Note(_) => Ok(None),
            Content::Payload(payload) => Ok(Some(look(payload))),
            Content::Unverified(payload) => {
                payload.source.view(payload.place).map(|payload| Some(look(&payload)))
            }
        }
    }

    /// What was noted in place of a payload: `Some` for a tombstone alone.
    pub fn note(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Note(note) => Some(note),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("state", &self.state)
            .field("fingerprint", &self.fingerprint)
            .field("claimed_at_ms", &self.claimed_at_ms)
            .field("expires_at_ms", &self.expires_at_ms)
            .field("tombstone", &self.is_tombstone())
            .finish_non_exhaustive()
    }
}
