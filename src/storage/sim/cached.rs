//! Something the page cache stands before: what programs see, and what a power loss leaves.

use super::loss::{Fate, Loss, Outage};
use super::rng::Rng;

/// What changes by operations and may lose some of them.
pub(super) trait Medium: Clone {
    type Op: Clone;

    /// Makes the change.
    fn apply(&mut self, op: &Self::Op);

    /// Makes a part of the change, as if the power went while it was made.
    fn apply_torn(&mut self, op: &Self::Op, loss: &Loss, rng: &mut Rng);

    /// Drops what the changes that arrived leave unreachable.
    fn settle(&mut self);
}

/// How an operation stands with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// In the page cache, to be written.
    Dirty,
    /// On the disk, and waiting here only because one before it is orphaned.
    Synced,
    /// In the page cache, and taken for written since a sync failed: no later sync writes it.
    Orphaned,
}

/// A medium under a page cache.
#[derive(Clone, Debug)]
pub(super) struct Cached<M: Medium> {
    now: M,
    durable: M,
    /// What leads from `durable` to `now`, in order. Begins with an operation that is not synced.
    journal: Vec<(Standing, M::Op)>,
}

impl<M: Medium + Default> Default for Cached<M> {
    fn default() -> Self {
        Self { now: M::default(), durable: M::default(), journal: Vec::new() }
    }
}

impl<M: Medium> Cached<M> {
    /// What programs see.
    pub(super) fn now(&self) -> &M {
        &self.now
    }

    /// What is on the disk for certain, but for synced operations behind orphaned ones.
    pub(super) fn durable(&self) -> &M {
        &self.durable
    }

    /// The operations not settled in [`durable`](Self::durable).
    pub(super) fn pending(&self) -> impl Iterator<Item = &M::Op> {
        self.journal.iter().map(|(_, op)| op)
    }

    /// Makes a change in the page cache.
    pub(super) fn change(&mut self, op: M::Op) {
        self.now.apply(&op);
        self.journal.push((Standing::Dirty, op));
    }

    /// Makes a change that is on the disk at once.
    pub(super) fn change_durably(&mut self, op: M::Op) {
        self.now.apply(&op);
        self.journal.push((Standing::Synced, op));
        self.settle_synced();
    }

    /// Makes the same change to what is seen, to what is on the disk and to what is under way.
    pub(super) fn damage(&mut self, medium: impl Fn(&mut M), op: impl Fn(&mut M::Op)) {
        medium(&mut self.now);
        medium(&mut self.durable);
        self.journal.iter_mut().for_each(|(_, pending)| op(pending));
    }

    /// Writes what is dirty.
    pub(super) fn sync(&mut self) {
        self.dirty_becomes(Standing::Synced);
        self.settle_synced();
    }

    /// Fails to write what is dirty, and forgets that it was.
    pub(super) fn fail_sync(&mut self) {
        self.dirty_becomes(Standing::Orphaned);
    }

    fn dirty_becomes(&mut self, after: Standing) {
        for (standing, _) in &mut self.journal {
            if *standing == Standing::Dirty {
                *standing = after;
            }
        }
    }

    /// What is synced goes to the disk in order; an orphaned operation may have reached it before a
    /// later one did, so it stays in the way until a power loss decides.
    fn settle_synced(&mut self) {
        let settled = self.journal.iter().take_while(|(s, _)| *s == Standing::Synced).count();
        for (_, op) in self.journal.drain(..settled) {
            self.durable.apply(&op);
        }
    }

    /// What a power loss leaves.
    pub(super) fn survivor(&self, outage: &Outage, rng: &mut Rng) -> Self {
        let unsynced = self.journal.iter().filter(|(s, _)| *s != Standing::Synced).count();
        let loss = outage.loss(unsynced, rng);
        let mut left = self.durable.clone();
        let mut index = 0;
        for (standing, op) in &self.journal {
            if *standing == Standing::Synced {
                left.apply(op);
                continue;
            }
            match loss.fate(index, rng) {
                Fate::Lost => {}
                Fate::Whole => left.apply(op),
                Fate::Torn => left.apply_torn(op, &loss, rng),
            }
            index += 1;
        }
        left.settle();
        Self { now: left.clone(), durable: left, journal: Vec::new() }
    }
}
