//! The seam between the HTTP layer and a store: async, `Send`, and no word of HTTP or files.

mod embedded;

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;

use crate::error::{Error, TicketError};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::outcome::{Claim, ClaimOptions, Record, Resolution, Resolved};

/// The most octets a tombstone's note may have: room for them is set aside with every grant, so
/// that even a full disk can finish what it granted.
pub const NOTE_OCTETS_MAX: usize = 512;

/// A store of claims. Clones are handles to the same store.
///
/// Every implementation keeps the promise P0 (`docs/design.md`): one grant per (scope, key) until it
/// expires; unknown never becomes a grant; nothing shows a payload before it is as durable as the
/// store promises.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The right, and the duty, to finish a claim.
    type Ticket: BackendTicket;
    /// A place in the queue behind somebody else's claim.
    type Wait: BackendWait<Self>;

    /// Claims `key` for a request with this fingerprint. Starts at the first poll; dropped before
    /// it delivered a ticket, it gives the key back.
    fn claim(
        &self,
        key: Key<'_>,
        print: Fingerprint,
        options: ClaimOptions,
    ) -> impl Future<Output = Result<Claim<Self>, Error>> + Send + 'static;

    /// Whether a claim of a new key in `scope` would be granted now, as far as limits on claims in
    /// flight go. Asked before a request's body is read, so it must not wait for anything; the claim
    /// is what decides. Yes, for a store that has no such limits.
    fn has_room(&self, _scope: &[u8]) -> bool {
        true
    }

    /// Looks at `key` without claiming it: `None` when it is free, which an expired key is.
    fn get(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Option<Record>, Error>> + Send + 'static;

    /// Ends a key in doubt.
    fn resolve(
        &self,
        key: Key<'_>,
        resolution: Resolution,
    ) -> impl Future<Output = Result<Resolved, Error>> + Send + 'static;
}

/// The right, and the duty, to finish a claim. Dropped unused, it leaves the key in doubt.
pub trait BackendTicket: Send + Sized + 'static {
    /// The claim's number, greater than that of every earlier claim of the same key: a fencing
    /// token for whatever the work touches.
    fn number(&self) -> u64;

    /// Keeps `payload` as the result. Resolves once it is durable, and nobody sees it before.
    /// Refused without being written (`PayloadTooLarge`, `Full`), it hands the ticket back.
    fn complete(
        self,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static;

    /// Records that the work is done and its result was not kept: a tombstone, with a note of at
    /// most [`NOTE_OCTETS_MAX`] octets. There is always room for one.
    fn complete_without_payload(
        self,
        note: Bytes,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static;

    /// Gives the key back: the work was not done.
    fn release(self) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static;
}

/// A place in the queue behind somebody else's claim.
pub trait BackendWait<B: Backend<Wait = Self>>: Send + Sized + 'static {
    /// The record of the claim waited for.
    fn record(&self) -> &Record;

    /// Waits until the claim is settled or `deadline` has come, and gives the claim that then
    /// holds: `InFlight` again at the deadline. When the key is released, exactly one of those who
    /// wait is granted. Woken, never polled.
    fn until(
        self,
        deadline: Instant,
    ) -> impl Future<Output = Result<Claim<B>, Error>> + Send + 'static;
}
