//! The slots of a shard: open addressing in one array, so that a look touches one cache line where a
//! table with control bytes of its own touches two.

use crate::location::Location;

/// A settled key: half of its hash, and where its frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) hash: u64,
    pub(crate) location: Location,
}

const _: () = assert!(size_of::<Slot>() == 16);

/// No frame stands at these bits: a location has the kind of its frame in it, which is never zero.
const EMPTY: Slot = Slot { hash: 0, location: Location::from_bits(0) };

/// Slots of the smallest table that has any.
const LEAST: usize = 16;

/// Slots by hash; several may have one hash.
///
/// Linear probing from the place a hash names, up to the first empty slot. At most three quarters
/// are taken, so that there is always one soon. Removing moves later slots back, so that no mark of
/// a removed one is needed.
#[derive(Default)]
pub(crate) struct Table {
    /// A power of two of them, or none.
    slots: Vec<Slot>,
    len: usize,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots that can be taken before the table doubles.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len() / 4 * 3
    }

    /// The capacity of the largest table of at most this many bytes.
    pub(crate) fn capacity_within(bytes: usize) -> usize {
        match (bytes / size_of::<Slot>()).checked_ilog2() {
            Some(log) if 1 << log >= LEAST => (1 << log) / 4 * 3,
            _ => 0,
        }
    }

    /// Halves the table until it takes at most this many bytes, as long as all of it fits.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let mut smaller = self.slots.len();
        while smaller * size_of::<Slot>() > bytes
            && smaller > LEAST
            && self.len < smaller / 2 / 4 * 3
        {
            smaller /= 2;
        }
        if smaller < self.slots.len() {
            self.resize(smaller);
        }
    }

    /// Bytes of heap.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// Every slot, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| **slot != EMPTY)
    }

    /// The slots with this hash.
    pub(crate) fn with_hash(&self, hash: u64) -> impl Iterator<Item = &Slot> {
        self.run(hash).filter(move |(_, slot)| slot.hash == hash).map(|(_, slot)| slot)
    }

    /// The slot with this hash that stands for the frame at `location`.
    pub(crate) fn find_mut(&mut self, hash: u64, location: Location) -> Option<&mut Slot> {
        let at = self.position(hash, location)?;
        self.slots.get_mut(at)
    }

    pub(crate) fn insert(&mut self, slot: Slot) {
        if self.len >= self.capacity() {
            self.grow();
        }
        self.place(slot);
        self.len += 1;
    }

    /// Removes the slot with this hash that stands for the frame at `location`.
    pub(crate) fn remove(&mut self, hash: u64, location: Location) -> bool {
        let Some(mut hole) = self.position(hash, location) else { return false };
        self.len -= 1;
        let mut at = hole;
        loop {
            at = self.after(at);
            let slot = self.slots.get(at).copied().unwrap_or(EMPTY);
            if slot == EMPTY {
                break;
            }
            // A slot may move back into the hole unless that is before the place its hash names.
            let home = self.home(slot.hash);
            let mask = self.slots.len() - 1;
            let moves = (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask);
            if moves && let Some(place) = self.slots.get_mut(hole) {
                *place = slot;
                hole = at;
            }
        }
        if let Some(place) = self.slots.get_mut(hole) {
            *place = EMPTY;
        }
        true
    }

    /// How many slots are looked at to find each key once: in all, and for one at most.
    #[cfg(test)]
    pub(crate) fn probes(&self) -> (usize, usize) {
        let places = self.slots.iter().enumerate().filter(|(_, slot)| **slot != EMPTY);
        let mask = self.slots.len().wrapping_sub(1);
        let each = places.map(|(at, slot)| 1 + (at.wrapping_sub(self.home(slot.hash)) & mask));
        each.fold((0, 0), |(sum, most), probes| (sum + probes, most.max(probes)))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps the slots that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        let slots = std::mem::take(&mut self.slots);
        self.slots = vec![EMPTY; slots.len()];
        self.len = 0;
        for slot in slots.into_iter().filter(|slot| *slot != EMPTY && keep(slot)) {
            self.place(slot);
            self.len += 1;
        }
    }

    fn grow(&mut self) {
        self.resize((self.slots.len() * 2).max(LEAST));
    }

    fn resize(&mut self, to: usize) {
        let slots = std::mem::replace(&mut self.slots, vec![EMPTY; to]);
        for slot in slots.into_iter().filter(|slot| *slot != EMPTY) {
            self.place(slot);
        }
    }

    fn place(&mut self, slot: Slot) {
        let free = self.run(slot.hash).last().map(|(at, _)| self.after(at));
        let at = free.unwrap_or_else(|| self.home(slot.hash));
        if let Some(place) = self.slots.get_mut(at) {
            debug_assert_eq!(*place, EMPTY);
            *place = slot;
        }
    }

    fn position(&self, hash: u64, location: Location) -> Option<usize> {
        let wanted = Slot { hash, location };
        self.run(hash).find(|(_, slot)| **slot == wanted).map(|(at, _)| at)
    }

    /// The slots from the place a hash names to the first empty one, with their places.
    fn run(&self, hash: u64) -> impl Iterator<Item = (usize, &Slot)> {
        let mut at = self.home(hash);
        std::iter::from_fn(move || {
            let slot = self.slots.get(at).filter(|slot| **slot != EMPTY)?;
            let here = at;
            at = self.after(at);
            Some((here, slot))
        })
    }

    /// The place a hash names. The shard was chosen by the other half of the identity.
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.slots.len().wrapping_sub(1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Kind;

    fn slot(hash: u64, nth: u64) -> Slot {
        Slot { hash, location: Location::new(1, 8 * nth, Kind::Complete) }
    }

    #[test]
    fn an_empty_table_finds_nothing_and_takes_nothing() {
        let mut table = Table::default();
        assert_eq!((table.with_hash(7).count(), table.bytes()), (0, 0));
        assert!(!table.remove(7, slot(7, 1).location));
        assert!(table.find_mut(7, slot(7, 1).location).is_none());
    }

    #[test]
    fn it_does_what_a_list_does() {
        let mut random = crate::seed::rng();
        let (mut table, mut list) = (Table::default(), Vec::<Slot>::new());
        for step in 0..60_000_u64 {
            // Few places and many hashes of one place, so that runs meet and wrap around.
            let hash = random.u64(0..40) | random.u64(0..4) << 32;
            match random.u8(0..100) {
                0..50 => {
                    table.insert(slot(hash, step));
                    list.push(slot(hash, step));
                }
                50..98 if !list.is_empty() => {
                    let gone = list.swap_remove(random.usize(..list.len()));
                    assert!(table.remove(gone.hash, gone.location), "step {step}");
                }
                98 => {
                    let kept = random.u64(0..2);
                    table.retain(|slot| slot.hash % 2 == kept || slot.hash.is_multiple_of(7));
                    list.retain(|slot| slot.hash % 2 == kept || slot.hash.is_multiple_of(7));
                }
                _ => assert!(!table.remove(hash, slot(hash, step).location)),
            }
            assert_eq!(table.len(), list.len());
            let mut found: Vec<_> = table.with_hash(hash).copied().collect();
            let mut meant: Vec<_> = list.iter().filter(|slot| slot.hash == hash).copied().collect();
            found.sort_by_key(|slot| slot.location);
            meant.sort_by_key(|slot| slot.location);
            assert_eq!(found, meant, "step {step}");
        }
        assert_eq!(table.iter().count(), list.len());
    }

    #[test]
    fn a_table_is_made_smaller_as_far_as_what_is_in_it_fits() {
        let mut table = Table::default();
        (0..1000).for_each(|nth| table.insert(slot(nth << 20 | nth, nth)));
        let large = table.bytes();
        table.shrink_to(0);
        assert_eq!(table.bytes(), large, "there is no room to give");
        for nth in 100..1000 {
            assert!(table.remove(nth << 20 | nth, slot(nth, nth).location));
        }
        table.shrink_to(large / 4);
        assert_eq!(table.bytes(), large / 4);
        assert!(Table::capacity_within(large / 4) == table.capacity());
        assert!((0..100).all(|nth| table.with_hash(nth << 20 | nth).count() == 1));
    }

    #[test]
    fn a_slot_is_moved_where_it_stands() {
        let mut table = Table::default();
        table.insert(slot(7, 1));
        table.insert(slot(7, 2));
        table.find_mut(7, slot(7, 1).location).unwrap().location = slot(7, 9).location;
        assert!(table.find_mut(7, slot(7, 1).location).is_none());
        assert!(table.remove(7, slot(7, 9).location));
        assert_eq!(table.with_hash(7).collect::<Vec<_>>(), [&slot(7, 2)]);
    }
}
