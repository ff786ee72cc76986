//! One shard: 16-byte slots of what is settled, and the flights of what is not.

use std::sync::Arc;

use super::slots::Slots;
use super::table::{Slot, Table};
use super::{ByIdentity, Flight, Identity};
use crate::format::frame::Kind;
use crate::location::Location;

/// Part of the index.
///
/// Invariants: at most one slot a key; a slot stands for a published frame. A key with a flight is
/// decided by the flight, whatever its slot says.
#[derive(Default)]
pub(crate) struct Shard {
    slots: Table,
    /// How many slots stand for a frame that leaves its key in doubt.
    in_doubt: usize,
    pub(crate) flights: ByIdentity<Flight>,
}

impl Shard {
    /// An empty shard with these slots, which are empty.
    pub(super) fn of(slots: Arc<Slots>) -> Self {
        Self { slots: Table::of(slots), ..Self::default() }
    }

    /// The slots that may be the key's: its own, and those of keys that share half its hash, which
    /// hardly ever are any.
    pub(crate) fn candidates(&self, identity: Identity) -> Candidates {
        let mut found = Candidates::default();
        for slot in self.slots.with_hash(identity.low()) {
            found.push(slot.location);
        }
        found
    }

    /// Puts the key's slot at `new`, in place of `old` where that still stands. Gives the location
    /// that was replaced.
    pub(crate) fn put(
        &mut self,
        identity: Identity,
        old: Option<Location>,
        new: Location,
    ) -> Option<Location> {
        let hash = identity.low();
        self.in_doubt += usize::from(new.is(Kind::InDoubt));
        if let Some(old) = old
            && self.slots.relocate(hash, old, new)
        {
            self.in_doubt -= usize::from(old.is(Kind::InDoubt));
            return Some(old);
        }
        self.slots.insert(Slot { hash, location: new });
        None
    }

    /// Moves a slot, if it still stands at `old`, to where the same record was written again.
    pub(crate) fn relocate(&mut self, identity: Identity, old: Location, new: Location) -> bool {
        self.slots.relocate(identity.low(), old, new)
    }

    /// Removes the key's slot, if it still stands at `location`.
    pub(crate) fn remove(&mut self, identity: Identity, location: Location) -> bool {
        let removed = self.slots.remove(identity.low(), location);
        self.in_doubt -= usize::from(removed && location.is(Kind::InDoubt));
        removed
    }

    /// Forgets everything. For recovery, which starts over when the tree cannot be believed.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.in_doubt = 0;
        self.flights.clear();
    }

    /// Keeps the slots whose frames stand where `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(Location) -> bool) {
        self.slots.retain(|slot| keep(slot.location));
        self.in_doubt = self.slots.iter().filter(|slot| slot.location.is(Kind::InDoubt)).count();
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many keys are in doubt.
    pub(crate) fn in_doubt(&self) -> usize {
        self.in_doubt
    }

    /// The half hash of every slot, and where its frame stands.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u64, Location)> {
        self.slots.iter().map(|slot| (slot.hash, slot.location))
    }

    /// Bytes of heap the slots take, the free ones among them.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// How many slots a shard of this many bytes can take.
    pub(crate) fn capacity_within(bytes: usize) -> usize {
        Table::capacity_within(bytes)
    }

    /// See [`Table::shrink_to`].
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.slots.shrink_to(bytes);
    }

    /// See [`Table::probes`].
    #[cfg(test)]
    pub(crate) fn probes(&self) -> (usize, usize) {
        self.slots.probes()
    }

    /// See [`Table::bytes_with_one_more`].
    pub(crate) fn bytes_with_one_more(&self) -> usize {
        self.slots.bytes_with_one_more()
    }
}

/// A few locations, without allocation but for the unlikely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    first: Option<Location>,
    others: Vec<Location>,
}

impl Candidates {
    pub(crate) fn of(first: Option<Location>) -> Self {
        Self { first, others: Vec::new() }
    }

    fn push(&mut self, location: Location) {
        if self.first.is_none() {
            self.first = Some(location);
        } else {
            self.others.push(location);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The one there is, if there is but one.
    pub(crate) fn only(&self) -> Option<Location> {
        self.first.filter(|_| self.others.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Location> {
        self.first.iter().chain(&self.others).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Location {
        Location::new(1, offset, Kind::Complete)
    }

    #[test]
    fn a_slot_is_replaced_only_where_it_stands() {
        let (mut shard, key) = (Shard::default(), Identity(7));
        assert_eq!(shard.put(key, None, at(8)), None);
        assert_eq!(shard.put(key, Some(at(8)), at(16)), Some(at(8)));
        assert_eq!(shard.candidates(key).iter().collect::<Vec<_>>(), [at(16)]);
        assert!(!shard.relocate(key, at(8), at(24)), "it moved on");
        assert!(shard.relocate(key, at(16), at(24)));
    }

    #[test]
    fn sweeping_an_old_entry_leaves_its_successor() {
        let (mut shard, key) = (Shard::default(), Identity(7));
        shard.put(key, None, at(8));
        shard.put(key, Some(at(8)), at(16));
        assert!(!shard.remove(key, at(8)));
        assert!(shard.remove(key, at(16)));
        assert_eq!(shard.len(), 0);
    }

    #[test]
    fn keys_in_doubt_are_counted() {
        let (mut shard, key, other) = (Shard::default(), Identity(7), Identity(8));
        let doubt = |offset| Location::new(1, offset, Kind::InDoubt);
        shard.put(key, None, doubt(8));
        shard.put(other, None, at(16));
        assert_eq!(shard.in_doubt(), 1);
        assert!(shard.relocate(key, doubt(8), doubt(24)) && !shard.remove(key, doubt(8)));
        assert_eq!(shard.in_doubt(), 1);
        shard.put(key, Some(doubt(24)), at(32));
        assert_eq!(shard.in_doubt(), 0);
        shard.put(other, Some(at(16)), doubt(40));
        shard.retain(|location| location != at(32));
        assert_eq!(shard.in_doubt(), 1);
        assert!(shard.remove(other, doubt(40)));
        assert_eq!((shard.in_doubt(), shard.len()), (0, 0));
    }

    #[test]
    fn keys_that_share_half_a_hash_both_stand() {
        let mut shard = Shard::default();
        let (one, other) = (Identity(7), Identity(7 | 64 << 64));
        shard.put(one, None, at(8));
        shard.put(other, None, at(16));
        assert_eq!(shard.candidates(one).iter().count(), 2);
        assert!(shard.remove(other, at(16)));
        assert_eq!(shard.candidates(one).iter().collect::<Vec<_>>(), [at(8)]);
    }
}
