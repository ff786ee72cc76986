//! Keys that are not settled: claimed, or about to be settled.

use std::sync::Arc;

use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::key::{KEY_OCTETS_MAX, Key, SCOPE_OCTETS_MAX};
use crate::location::Location;
use crate::outcome::{Record, State};

/// Whose claim it is: the octets of scope and key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    octets: Octets,
    scope_len: u8,
    key_len: u8,
}

/// Octets of scope and key together that an owner has by itself: at least those of a UUID in a scope of
/// the layer's, which has 32.
const SHORT: usize = 71;
const LONG: usize = SCOPE_OCTETS_MAX + KEY_OCTETS_MAX;

#[derive(Clone, PartialEq, Eq)]
enum Octets {
    /// Zeros behind the last. To copy them is cheaper than to share them: what the thread that claims
    /// allocates, the one that commits gives back, and both count who shares it.
    Short([u8; SHORT]),
    Long(Arc<[u8]>),
}
const _: () = assert!(size_of::<Owner>() == 80);

impl Owner {
    pub(crate) fn of(key: Key<'_>) -> Self {
        let octets = joined(key).map_or_else(|| Octets::long(key), Octets::Short);
        // Each has 255 octets at most.
        Self { octets, scope_len: key.scope().len() as u8, key_len: key.key().len() as u8 }
    }

    fn octets(&self) -> &[u8] {
        match &self.octets {
            Octets::Short(octets) => octets,
            Octets::Long(octets) => octets,
        }
    }

    pub(crate) fn scope(&self) -> &[u8] {
        self.octets().get(..usize::from(self.scope_len)).unwrap_or_default()
    }

    pub(crate) fn key(&self) -> &[u8] {
        let begin = usize::from(self.scope_len);
        self.octets().get(begin..begin + usize::from(self.key_len)).unwrap_or_default()
    }

    pub(crate) fn as_key(&self) -> Key<'_> {
        Key::of_checked(self.scope(), self.key())
    }
}

impl Octets {
    fn long(key: Key<'_>) -> Self {
        // In one piece first: an `Arc` takes a slice as it is, and an iterator octet by octet.
        let octets = joined::<LONG>(key).unwrap_or([0; LONG]);
        let len = key.scope().len() + key.key().len();
        Self::Long(octets.get(..len).unwrap_or_default().into())
    }
}

/// Scope and key one behind the other, if there are no more octets than these.
fn joined<const N: usize>(key: Key<'_>) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let (scope, rest) = octets.split_at_mut_checked(key.scope().len())?;
    scope.copy_from_slice(key.scope());
    rest.get_mut(..key.key().len())?.copy_from_slice(key.key());
    Some(octets)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_scope_and_key_of_whatever_length() {
        let octets: Vec<u8> = (1..=255).collect();
        for scope in [0, 1, 26, 27, 28, 62, 63, 64, 255] {
            for key in [1, 36, 37, 62, 63, 64, 255] {
                let key = Key::new(&octets[..scope], &octets[255 - key..]).unwrap();
                let owner = Owner::of(key);
                assert_eq!((owner.scope(), owner.key()), (key.scope(), key.key()));
                assert!(owner == Owner::of(owner.as_key()));
                let short = matches!(owner.octets, Octets::Short(_));
                assert_eq!(short, key.scope().len() + key.key().len() <= SHORT);
            }
        }
    }

    #[test]
    fn an_octet_more_or_elsewhere_is_another_owner() {
        let of = |scope: &str, key: &str| Owner::of(Key::new(scope, key).unwrap());
        let long = "x".repeat(SHORT);
        for end in ["", &long] {
            let same = |scope: &str, key: &str| of("ab", &format!("c{end}")) == of(scope, key);
            assert!(same("ab", &format!("c{end}")));
            assert!(!same("a", &format!("bc{end}")), "cut elsewhere");
            assert!(!same("ab", &format!("c{end}\0")), "a zero more");
            assert!(!same("ab", &format!("d{end}")));
        }
    }
}
