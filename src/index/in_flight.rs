//! Keys that are not settled: claimed, or about to be settled.

use std::sync::Arc;

use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::key::{KEY_OCTETS_MAX, Key, SCOPE_OCTETS_MAX};
use crate::location::Location;
use crate::outcome::{Record, State};

/// Whose claim it is: the octets of scope and key, shared by the flight and its ticket.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    octets: Arc<[u8]>,
    scope_len: u8,
}

impl Owner {
    pub(crate) fn of(key: Key<'_>) -> Self {
        // In one piece first: an `Arc` takes a slice as it is, and an iterator octet by octet.
        let mut octets = [0; SCOPE_OCTETS_MAX + KEY_OCTETS_MAX];
        let (scope, rest) = octets.split_at_mut(key.scope().len());
        let (name, _) = rest.split_at_mut(key.key().len());
        scope.copy_from_slice(key.scope());
        name.copy_from_slice(key.key());
        let len = key.scope().len() + key.key().len();
        let octets = octets.get(..len).unwrap_or_default().into();
        Self { octets, scope_len: key.scope().len() as u8 }
    }

    pub(crate) fn scope(&self) -> &[u8] {
        self.octets.get(..usize::from(self.scope_len)).unwrap_or_default()
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.octets.get(usize::from(self.scope_len)..).unwrap_or_default()
    }

    pub(crate) fn as_key(&self) -> Key<'_> {
        Key::of_checked(self.scope(), self.key())
    }
}

/// How far a flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its claim frame is in the log; durable once [`Flight::written`] has happened.
    Held,
    /// A frame that ends it is in the log, and settled once [`Flight::written`] has happened.
    Settling {
        /// Whether the claim was on disk before: one that is given up on its way there may never
        /// have been.
        durable: bool,
    },
}

/// A key that is not settled.
pub(crate) struct Flight {
    pub(crate) owner: Owner,
    pub(crate) fingerprint: Fingerprint,
    /// The claim's number: its ticket's.
    pub(crate) claim_sequence: u64,
    /// Where the claim frame stands; of a resolution, where the frame in doubt does.
    pub(crate) location: Location,
    pub(crate) claimed_at_ms: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) phase: Phase,
    /// Happens when the flight's latest frame is durable and published, or never will be.
    pub(crate) written: Arc<Event>,
    /// The key's slot when the flight began: an expired record, or one in doubt being resolved.
    pub(crate) replaces: Option<Location>,
    /// Whether it counts against the caps: claims do, resolutions do not.
    pub(crate) counted: bool,
    /// Happens when the flight has ended. Made for the first who waits.
    pub(crate) ended: Option<Arc<Event>>,
}

impl Flight {
    /// Whether it is shown to anybody. A claim that is not on disk yet may never have been: nobody
    /// has been told of it.
    pub(crate) fn is_shown(&self) -> bool {
        self.counted && self.is_durable()
    }

    /// Whether somebody who looks at `key` sees it in flight.
    pub(crate) fn is_seen(&self, key: Key<'_>) -> bool {
        self.is_shown() && self.owner.as_key() == key
    }

    /// Whether the claim is on disk.
    pub(crate) fn is_durable(&self) -> bool {
        match self.phase {
            Phase::Held => self.written.outcome().is_some_and(|written| written.is_ok()),
            Phase::Settling { durable } => durable,
        }
    }

    pub(crate) fn record(&self) -> Record {
        Record::bare(State::InFlight, self.fingerprint, self.claimed_at_ms, None)
    }

    /// The event that the flight has ended.
    pub(crate) fn end(&mut self) -> Arc<Event> {
        Arc::clone(self.ended.get_or_insert_with(Event::new))
    }
}
