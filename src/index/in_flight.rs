//! Keys that are not settled: claimed, or about to be settled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::key::{KEY_OCTETS_MAX, Key, SCOPE_OCTETS_MAX};
use crate::location::Location;
use crate::outcome::{Record, State};
use crate::sync::Mutex;

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

/// How many claims may be in flight.
pub(crate) struct Caps {
    max: u32,
    max_per_scope: u32,
    in_flight: AtomicU32,
    scopes: Mutex<HashMap<Box<[u8]>, u32>>,
}

impl Caps {
    pub(crate) fn new(max: u32, max_per_scope: u32) -> Self {
        Self { max, max_per_scope, in_flight: 0.into(), scopes: Mutex::default() }
    }

    /// Counts one more claim in `scope`.
    ///
    /// # Errors
    /// `TooManyInFlight`, and nothing was counted.
    pub(crate) fn enter(&self, scope: &[u8]) -> Result<(), Error> {
        if self.in_flight.fetch_add(1, Relaxed) >= self.max {
            self.in_flight.fetch_sub(1, Relaxed);
            return Err(too_many("store", self.max));
        }
        let mut scopes = self.scopes.lock();
        if let Some(count) = scopes.get_mut(scope) {
            if *count >= self.max_per_scope {
                self.in_flight.fetch_sub(1, Relaxed);
                return Err(too_many("scope", self.max_per_scope));
            }
            *count += 1;
        } else {
            scopes.insert(scope.into(), 1);
        }
        Ok(())
    }

    /// Whether one more claim in `scope` would be counted.
    pub(crate) fn have_room(&self, scope: &[u8]) -> bool {
        let in_scope = || self.scopes.lock().get(scope).copied().unwrap_or(0);
        self.in_flight() < self.max && in_scope() < self.max_per_scope
    }

    /// Whether the store may have one more claim in flight.
    ///
    /// # Errors
    /// `TooManyInFlight`.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.in_flight() >= self.max {
            return Err(too_many("store", self.max));
        }
        Ok(())
    }

    /// Counts one claim in `scope` less.
    pub(crate) fn leave(&self, scope: &[u8]) {
        self.leave_many(scope, 1);
    }

    /// Counts that many claims in `scope` less: at once, because every claim passes by here.
    pub(crate) fn leave_many(&self, scope: &[u8], claims: u32) {
        self.in_flight.fetch_sub(claims, Relaxed);
        let mut scopes = self.scopes.lock();
        if let Some(count) = scopes.get_mut(scope) {
            *count -= claims;
            if *count == 0 {
                scopes.remove(scope);
            }
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

fn too_many(what: &str, max: u32) -> Error {
    Error::new(
        ErrorKind::TooManyInFlight,
        format!("{max} claims are in flight in the {what}, as many as there may be"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_for_the_store_and_for_each_scope() {
        let caps = Caps::new(3, 2);
        caps.enter(b"a").unwrap();
        assert!(caps.have_room(b"a"));
        caps.enter(b"a").unwrap();
        assert!(!caps.have_room(b"a") && caps.have_room(b"b"), "one scope is full");
        assert_eq!(caps.enter(b"a").unwrap_err().kind(), ErrorKind::TooManyInFlight);
        caps.enter(b"b").unwrap();
        assert_eq!(caps.enter(b"c").unwrap_err().kind(), ErrorKind::TooManyInFlight);
        caps.leave(b"a");
        caps.enter(b"c").unwrap();
        assert_eq!(caps.in_flight(), 3);
        assert!(!caps.have_room(b"d"), "the store is full");
        for scope in [b"a", b"b", b"c"] {
            caps.leave(scope);
        }
        assert_eq!(caps.in_flight(), 0);
        assert!(caps.scopes.lock().is_empty(), "a scope without claims is not remembered");
    }
}
