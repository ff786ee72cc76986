//! Keeping within `index_memory`: the oldest pieces of the tree leave the index, behind a filter
//! each, and pieces that have become many are made one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Inner;
use super::cold::{BySegment, ColdPiece, List};
use crate::error::Error;
use crate::index::{Identity, Index, SHARDS, Shard};
use crate::location::Location;
use crate::tree::{Filter, Piece};

/// Pieces of one bucket, alike in size, that are worth making one: each look passes one filter for
/// each piece.
const MERGED: usize = 8;
/// The most entries of a piece that was made of others: writing it keeps checkpoints waiting.
const MERGED_ENTRIES_MAX: u64 = 2 << 20;

impl Inner {
    /// How many records the index may have before the oldest leave it, and how many are left then,
    /// when filters take that many bytes.
    fn bounds(&self, filter_bytes: u64) -> (u64, u64) {
        if let Some(records) = self.options.resident_max {
            return (records, records);
        }
        let tables = self.options.index_memory.saturating_sub(filter_bytes);
        let capacity = Index::capacity_within(tables);
        (capacity / 8 * 7, capacity / 8 * 5)
    }

    /// Bytes the index's tables may take, beside the filters.
    pub(super) fn table_bytes_max(&self) -> u64 {
        self.options.index_memory.saturating_sub(self.cold.bytes())
    }

    /// Whether a shard's table would take more than its share with one more key. Shards fill alike,
    /// for the hash is keyed: one speaks for all.
    pub(super) fn is_full(&self, shard: &Shard) -> bool {
        shard.bytes_with_one_more() as u64 > self.table_bytes_max() / SHARDS as u64
    }

    /// Whether so many records of the tree may be read into the index, when so many in all were not
    /// read yet, and so many of these have no filter in memory. What stays out needs room for its
    /// filter.
    pub(super) fn has_memory_for(&self, entries: u64, unread: u64, unfiltered: u64) -> bool {
        let records = self.index.records();
        let filters = self.cold.bytes();
        records + unread <= self.bounds(filters).0
            || records + entries <= self.bounds(filters + Filter::bytes_for(unfiltered)).1
    }

    /// Whether a filter for so many records may be had before they are read: not when it takes from
    /// the index what all that was not read yet needs in it. When there is not enough for that
    /// anyhow, what stays out needs its filter.
    pub(super) fn has_memory_for_filter(&self, entries: u64, unread: u64) -> bool {
        let records = self.index.records() + unread;
        let filters = self.cold.bytes();
        records <= self.bounds(filters + Filter::bytes_for(entries)).0
            || records > self.bounds(filters).0
    }

    /// Whether the index has more records than it should; or a table that takes no more keys, though
    /// it has fewer: tables do not shrink by themselves when filters take what was theirs.
    pub(super) fn is_over_memory(&self) -> bool {
        self.index.records() > self.bounds(self.cold.bytes()).0
            || self.index.shards().any(|shard| self.is_full(&shard))
    }

    /// Lets the oldest checkpointed records go from the index until it is within its budget again,
    /// as far as there are any.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, `Full`: the tree refused. The records that were to go stay.
    pub(super) fn spill(&self) -> Result<(), Error> {
        if !self.is_over_memory() {
            return Ok(());
        }
        let _one = self.sweeping()?;
        self.refuse_closed()?;
        self.cold.refuse_damaged()?;
        let mut checkpointed = false;
        while self.index.records() > self.bounds(self.cold.bytes()).1 {
            let oldest = self.tree.lock().oldest_resident();
            match oldest {
                Some(piece) => self.evict(piece)?,
                None if !checkpointed => {
                    self.checkpoint()?;
                    checkpointed = true;
                }
                None => break,
            }
        }
        self.index.shrink_to(self.table_bytes_max());
        Ok(())
    }

    /// Lets the entries of one piece go from the index.
    fn evict(&self, piece: Piece) -> Result<(), Error> {
        let list = {
            let mut checkpointer = self.tree.lock();
            self.relist(&mut checkpointer, None);
            let reader = checkpointer.tree().map(|tree| tree.reader());
            let list = self.cold.list();
            List { seen: list.seen, reader, pieces: Vec::new() }
        };
        let Some(filter) = self.filter_of(&list, &piece)? else { return Ok(()) };
        // On the list, with its filter, before the first entry goes.
        {
            let mut checkpointer = self.tree.lock();
            checkpointer.let_go(piece);
            self.relist(&mut checkpointer, Some(ColdPiece::leaving(piece, filter)));
        }
        let listed = self.cold.list();
        let Some(cold) = listed.pieces.iter().find(|cold| cold.piece == piece) else {
            return Ok(());
        };
        self.ask_tree(&listed, &piece, |reader| {
            let whole = reader.stream(&piece, &mut |entries| {
                let mut gone = BySegment::new();
                for entry in entries {
                    let identity = Identity::from_ordered(entry.hash);
                    let location = Location::from_bits(entry.location);
                    // Where it stands elsewhere the key has a newer record, which is not here.
                    if self.index.shard(identity).remove(identity, location) {
                        self.log.segments.discount(location);
                        *gone.entry(location.segment()).or_default() += 1;
                    }
                }
                cold.add(gone);
            })?;
            Ok(whole.then_some(()))
        })?;
        Ok(())
    }

    /// Makes one piece of several that are in the tree alone, if there are many alike. `false` when
    /// there are not.
    ///
    /// # Errors
    /// As [`spill`](Self::spill). What was there stays, or is one.
    pub(super) fn merge_pieces(&self) -> Result<bool, Error> {
        let _one = self.sweeping()?;
        let Some((bucket, numbers)) = self.alike() else { return Ok(false) };
        let mut checkpointer = self.tree.lock();
        // After a sync that failed the head would name a position that may not be on the disk.
        self.log.poison().check()?;
        if !checkpointer.is_caught_up() {
            return Ok(false);
        }
        let head = self.head(&checkpointer).encode();
        let Some(tree) = checkpointer.tree() else { return Ok(false) };
        let merged = self.in_kept_room(|| tree.merge(&head, bucket, &numbers));
        let merged = merged.map_err(|error| self.tree_failed(&mut checkpointer, error));
        self.relist(&mut checkpointer, None);
        merged.map(|()| true)
    }

    /// Pieces that were read, of one bucket and alike in size, as many as are worth making one.
    fn alike(&self) -> Option<(u64, Vec<u64>)> {
        let many = if self.options.resident_max.is_some() { 2 } else { MERGED };
        let mut groups = BTreeMap::<_, Vec<(u64, u64)>>::new();
        let list = self.cold.list();
        let read = |cold: &&Arc<ColdPiece>| cold.is_read();
        for Piece { bucket, run } in list.pieces.iter().filter(read).map(|cold| cold.piece) {
            let size = run.entries.max(1).ilog2() / 3;
            groups.entry((bucket, size)).or_default().push((run.entries, run.number));
        }
        groups.into_iter().find_map(|((bucket, _), mut pieces)| {
            pieces.sort_unstable();
            let mut sum = 0;
            let numbers: Vec<u64> = pieces
                .iter()
                .take_while(|(entries, _)| {
                    sum += entries;
                    sum <= MERGED_ENTRIES_MAX
                })
                .map(|(_, number)| *number)
                .collect();
            let enough = pieces.len() >= many && numbers.len() >= many.div_ceil(2).max(2);
            enough.then_some((bucket, numbers))
        })
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;
    use crate::format::frame::Kind;
    use crate::{ErrorKind, Options, storage::SimDisk};

    /// Tables grew as large as they may, most of what was in them has gone, and then filters take a
    /// part of the budget: there is enough for both, and claims are taken once the housekeeper has
    /// come round.
    #[test]
    fn tables_give_back_what_filters_take_though_they_are_not_full_of_records() {
        let options = Options::new().index_memory(16 << 20).stepped();
        let store = options.open_storage(Arc::new(SimDisk::new(1))).unwrap();
        let inner = store.inner();
        let mut random = crate::seed::rng();
        let mut there = Vec::new();
        loop {
            let identity = Identity(random.u128(..));
            let mut shard = inner.index.shard(identity);
            if inner.is_full(&shard) {
                break;
            }
            let location = Location::new(1, 8 * there.len() as u64, Kind::Complete);
            shard.put(identity, None, location);
            there.push((identity, location));
        }
        for (identity, location) in there.iter().skip(there.len() * 2 / 5) {
            assert!(inner.index.shard(*identity).remove(*identity, *location));
        }
        assert!(inner.takes_claims().is_ok());
        inner.cold.pretend_filters(3 << 20);
        assert!(inner.index.records() < inner.bounds(3 << 20).0, "few enough for what is left");
        assert_eq!(inner.takes_claims().unwrap_err().kind(), ErrorKind::Full);
        inner.spill().unwrap();
        inner.takes_claims().unwrap();
    }
}
