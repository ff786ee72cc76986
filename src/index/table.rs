//! The slots of a shard: open addressing in one array, so that a look touches one cache line where a
//! table with control bytes of its own touches two.

use std::sync::Arc;

use super::slots::{EMPTY, PIECE, SLOT, Slots};
use crate::location::Location;

pub(crate) use super::slots::Slot;

/// Places behind the last one that a hash may name, of a table with enough of them.
const SPILL: usize = 128;

/// Slots by hash; several may have one hash.
///
/// The place a hash names is the hash's share of all there are, so that any number of them will do,
/// and the order of places is that of hashes. Slots stand in that order: each at its place, or right
/// behind one of a smaller or equal hash. A look for what is not there ends at the first greater hash,
/// and a table that grows is spread out in place, in one walk from its end and one from its start.
/// Removing moves later slots back, so that no mark of a removed one is needed.
#[derive(Default)]
pub(crate) struct Table {
    /// Shared with those who look without the lock: a table is the one that changes it.
    slots: Arc<Slots>,
    len: usize,
}

impl Table {
    /// A table in `slots`, which are empty.
    pub(super) fn of(slots: Arc<Slots>) -> Self {
        Self { slots, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots that can be taken before the table grows: four fifths, where a slot is looked for in
    /// three places on average, and what is not there in as many.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.homes() / 5 * 4
    }

    /// How many slots a table can take that may not grow beyond this many bytes.
    pub(crate) fn capacity_within(bytes: usize) -> usize {
        let places = bytes / SLOT;
        // It may stand just below the size from which it could grow once more, in whole pieces.
        let sure = match places {
            ..PIECE => places / 3 * 2,
            PIECE.. => (places.saturating_sub(PIECE) / 9 * 8).max(PIECE),
        };
        homes_of(sure) / 5 * 4
    }

    /// Gives memory back, as far as there is some to give, if the table takes more bytes than these.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if self.bytes() > bytes {
            self.fit();
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// What [`bytes`](Self::bytes) will be with one more slot.
    pub(crate) fn bytes_with_one_more(&self) -> usize {
        if self.len < self.capacity() { self.bytes() } else { self.grown() * SLOT }
    }

    /// Every slot, in no order that callers may rely on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> {
        (0..self.slots.len()).map(|at| self.slots.get(at)).filter(|slot| *slot != EMPTY)
    }

    /// The slots with this hash.
    pub(crate) fn with_hash(&self, hash: u64) -> impl Iterator<Item = Slot> {
        self.same(hash).map(|(_, slot)| slot)
    }

    /// Moves the slot with this hash that stands for the frame at `old` to `new`; `false` when there
    /// is none.
    pub(crate) fn relocate(&mut self, hash: u64, old: Location, new: Location) -> bool {
        let Some(at) = self.position(hash, old) else { return false };
        self.slots.set(at, Slot { hash, location: new });
        true
    }

    pub(crate) fn insert(&mut self, slot: Slot) {
        if self.len >= self.capacity() {
            self.slots.grow(self.grown());
            self.slots.set_homes(homes_of(self.slots.len()));
            self.spread();
        }
        let mut at = self.home(slot.hash);
        let mut carried = slot;
        // Past those that come before it; then each that comes after it moves on by one.
        loop {
            let there = self.slots.get(at);
            if there == EMPTY {
                break;
            }
            if there.hash > carried.hash {
                self.slots.set(at, carried);
                carried = there;
            }
            at += 1;
        }
        self.place(at, carried);
        self.len += 1;
    }

    /// Removes the slot with this hash that stands for the frame at `location`.
    pub(crate) fn remove(&mut self, hash: u64, location: Location) -> bool {
        let Some(mut hole) = self.position(hash, location) else { return false };
        self.len -= 1;
        loop {
            let next = self.slots.get(hole + 1);
            if next == EMPTY || self.home(next.hash) > hole {
                break;
            }
            self.slots.set(hole, next);
            hole += 1;
        }
        self.slots.set(hole, EMPTY);
        if self.len < self.capacity() / 4 {
            self.fit();
        }
        true
    }

    /// How many slots are looked at to find each key once: in all, and for one at most.
    #[cfg(test)]
    pub(crate) fn probes(&self) -> (usize, usize) {
        let places = (0..self.slots.len()).map(|at| (at, self.slots.get(at)));
        let each = places
            .filter(|(_, slot)| *slot != EMPTY)
            .map(|(at, slot)| 1 + at - self.home(slot.hash));
        each.fold((0, 0), |(sum, most), probes| (sum + probes, most.max(probes)))
    }

    pub(crate) fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Keeps the slots that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(Slot) -> bool) {
        self.pack(0, keep);
        if self.len < self.capacity() / 4 {
            self.fit();
        }
    }

    /// How many places there will be when the table grows: an eighth more, and twice as many of one
    /// that takes next to nothing yet.
    fn grown(&self) -> usize {
        let len = self.slots.len();
        let more = if len < PIECE { (len + len / 2).min(PIECE) } else { len + len / 8 };
        Slots::rounded(more.max(len + 1))
    }

    /// Gives up the memory of all places but those that the slots need, and half as many more.
    fn fit(&mut self) {
        let places = Slots::rounded(self.len * 2 + SPILL);
        if self.slots.len() <= PIECE || places >= self.slots.len() {
            return;
        }
        self.slots.set_homes(homes_of(places.max(PIECE)));
        self.pack(0, |_| true);
        // Nothing stands behind them unless much has one hash.
        let end = (0..self.slots.len()).rev().find(|at| self.slots.get(*at) != EMPTY);
        self.slots.shrink(places.max(end.map_or(0, |end| end + 1)));
    }

    /// Puts every slot where it belongs, now that hashes name places further on.
    fn spread(&mut self) {
        let (mut from, mut to) = (self.slots.walk(), self.slots.walk());
        let mut end = self.slots.len();
        for at in (0..end).rev() {
            let slot = from.take(at);
            if slot != EMPTY {
                end -= 1;
                to.set(end, slot);
            }
        }
        self.pack(end, |_| true);
    }

    /// Puts those slots from `begin` on that `keep` says where they belong, which is not behind where
    /// they stand; before `begin` there is none. The others go.
    fn pack(&mut self, begin: usize, keep: impl Fn(Slot) -> bool) {
        let (mut from, mut to) = (self.slots.walk(), self.slots.walk());
        let (mut next, mut len) = (0, 0);
        let mut behind = Vec::new();
        for at in begin..self.slots.len() {
            let slot = from.take(at);
            if slot == EMPTY || !keep(slot) {
                continue;
            }
            len += 1;
            let place = self.home(slot.hash).max(next);
            // So many have one hash that there are too few places behind it: they wait for more.
            if place > at || !behind.is_empty() {
                behind.push(slot);
                continue;
            }
            to.set(place, slot);
            next = place + 1;
        }
        for slot in behind {
            let place = self.home(slot.hash).max(next);
            self.place(place, slot);
            next = place + 1;
        }
        self.len = len;
    }

    /// Puts `slot` into the empty place `at`, which may be one behind the last.
    fn place(&mut self, at: usize, slot: Slot) {
        self.slots.grow(at + 1);
        debug_assert_eq!(self.slots.get(at), EMPTY);
        self.slots.set(at, slot);
    }

    fn position(&self, hash: u64, location: Location) -> Option<usize> {
        self.same(hash).find(|(_, slot)| slot.location == location).map(|(at, _)| at)
    }

    /// The slots with this hash, with their places.
    fn same(&self, hash: u64) -> impl Iterator<Item = (usize, Slot)> {
        let places = (self.home(hash)..).map(|at| (at, self.slots.get(at)));
        places
            .take_while(move |(_, slot)| *slot != EMPTY && slot.hash <= hash)
            .filter(move |(_, slot)| slot.hash == hash)
    }

    fn home(&self, hash: u64) -> usize {
        self.slots.home(hash)
    }
}

/// How many of so many places hashes name.
fn homes_of(places: usize) -> usize {
    places - (places / 8).min(SPILL)
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
        assert!(!table.relocate(7, slot(7, 1).location, slot(7, 2).location));
    }

    /// Few places and many hashes of one place, the first and the last among them, so that runs meet
    /// and go on behind the end.
    fn hash(random: &mut fastrand::Rng) -> u64 {
        (random.u64(0..40) * (u64::MAX / 39)).saturating_sub(random.u64(0..4))
    }

    #[test]
    fn it_does_what_a_list_does() {
        let mut random = crate::seed::rng();
        let (mut table, mut list) = (Table::default(), Vec::<Slot>::new());
        for step in 0..60_000_u64 {
            let hash = hash(&mut random);
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
            let mut found: Vec<_> = table.with_hash(hash).collect();
            let mut meant: Vec<_> = list.iter().filter(|slot| slot.hash == hash).copied().collect();
            found.sort_by_key(|slot| slot.location);
            meant.sort_by_key(|slot| slot.location);
            assert_eq!(found, meant, "step {step}");
        }
        assert_eq!(table.iter().count(), list.len());
    }

    /// What the field of [`Table`] says of the order, and of where each slot stands.
    fn assert_whole(table: &Table) {
        let slots: Vec<_> = (0..table.slots.len()).map(|at| (at, table.slots.get(at))).collect();
        let mut before: Option<(usize, Slot)> = None;
        for &(at, slot) in slots.iter().filter(|(_, slot)| *slot != EMPTY) {
            let next = before.map_or(0, |(at, _)| at + 1);
            assert_eq!(at, table.home(slot.hash).max(next), "{slot:?}");
            assert!(before.is_none_or(|(_, before)| before.hash <= slot.hash));
            before = Some((at, slot));
        }
        assert_eq!(table.iter().count(), table.len());
    }

    #[test]
    fn it_grows_by_little_and_gives_back_what_it_needs_no_more() {
        let mut random = crate::seed::rng();
        let mut table = Table::default();
        let all: Vec<Slot> = (1..=60_000).map(|nth| slot(random.u64(..), nth)).collect();
        let (mut most, mut broken) = (0, 0);
        for (count, slot) in (1..).zip(&all) {
            let promised = table.bytes_with_one_more();
            table.insert(*slot);
            // Slots that are pushed over the end ask for more, which hardly ever happens.
            broken += usize::from(table.bytes() > promised && table.bytes() > PIECE * SLOT);
            if count % 5_000 == 0 {
                assert_whole(&table);
                most = most.max(table.bytes() / count);
            }
        }
        assert!(most <= 26 && broken <= 1, "{most} bytes a slot, {broken} promises broken");
        assert!(all.iter().all(|slot| table.with_hash(slot.hash).any(|found| found == *slot)));
        let grown = table.bytes();
        for slot in &all[..55_000] {
            assert!(table.remove(slot.hash, slot.location));
        }
        assert_whole(&table);
        assert!(table.bytes() < grown / 3, "{} of {grown} bytes", table.bytes());
        table.retain(|slot| slot.hash.is_multiple_of(2));
        assert_whole(&table);
        assert!(all[55_000..].iter().all(|slot| {
            slot.hash.is_multiple_of(2) == table.with_hash(slot.hash).any(|found| found == *slot)
        }));
        table.clear();
        assert_eq!((table.len(), table.iter().count()), (0, 0));
    }

    #[test]
    fn any_number_of_slots_may_have_one_hash() {
        for hash in [0, 1 << 63, u64::MAX] {
            let mut table = Table::default();
            for nth in 1..=1_500 {
                table.insert(slot(hash, nth));
                table.insert(slot(hash - hash.min(nth), nth));
            }
            assert_whole(&table);
            for nth in 1..=1_500 {
                assert!(table.remove(hash, slot(hash, nth).location), "slot {nth} of {hash}");
            }
            assert_whole(&table);
        }
    }

    #[test]
    fn a_table_keeps_within_the_bytes_its_slots_were_counted_for() {
        for bytes in [64 << 10, 300_000, 4 << 20] {
            let mut table = Table::default();
            let mut random = crate::seed::rng();
            for nth in 1..=Table::capacity_within(bytes) as u64 {
                table.insert(slot(random.u64(..), nth));
            }
            assert!(table.bytes() <= bytes, "{} of {bytes}", table.bytes());
            assert!(table.len() * SLOT > bytes / 2, "{} slots in {bytes}", table.len());
        }
    }

    #[test]
    fn a_slot_is_moved_where_it_stands() {
        let mut table = Table::default();
        table.insert(slot(7, 1));
        table.insert(slot(7, 2));
        assert!(table.relocate(7, slot(7, 1).location, slot(7, 9).location));
        assert!(!table.relocate(7, slot(7, 1).location, slot(7, 8).location));
        assert!(table.remove(7, slot(7, 9).location));
        assert_eq!(table.with_hash(7).collect::<Vec<_>>(), [slot(7, 2)]);
    }

    /// A budget below a piece holds for every size, whatever filters have taken of it.
    #[test]
    fn a_table_of_less_than_a_piece_keeps_within_its_bytes_too() {
        let mut over = Vec::new();
        for places in (64..PIECE).step_by(61) {
            let bytes = places * SLOT;
            let mut table = Table::default();
            let mut random = crate::seed::rng();
            let wanted = Table::capacity_within(bytes) as u64;
            for nth in 1..=wanted {
                if table.bytes_with_one_more() > bytes {
                    over.push((places, wanted, nth - 1));
                    break;
                }
                table.insert(slot(random.u64(..), nth));
            }
        }
        assert!(over.is_empty(), "(places, promised, had): {over:?}");
    }
}
