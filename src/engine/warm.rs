//! Reading what the tree has into memory, after the store was opened, newest bucket first: the
//! filters of all its pieces, so that a new key is searched for in next to none of them; then the
//! pieces themselves, into the index as far as its budget goes. The rest is counted.

use std::sync::Arc;

use super::Inner;
use super::cold::{BySegment, ColdPiece, List, is_kept};
use crate::error::Error;
use crate::index::Identity;
use crate::key::Key;
use crate::location::Location;
use crate::planted::{Bug, is_planted};
use crate::tree::{Entry, Filter, Piece};

/// How many entries these pieces have.
fn entries<'a>(pieces: impl IntoIterator<Item = &'a &'a Arc<ColdPiece>>) -> u64 {
    pieces.into_iter().map(|cold| cold.piece.run.entries).sum()
}

impl Inner {
    /// Reads one filter of the tree that is not in memory yet. `false` when there is none, or no
    /// memory for it: its piece is searched for every key then, until it is read.
    ///
    /// # Errors
    /// As [`warm`](Self::warm).
    pub(super) fn warm_filter(&self) -> Result<bool, Error> {
        // No piece goes meanwhile.
        let _one = self.sweeping()?;
        self.refuse_closed()?;
        self.cold.refuse_damaged()?;
        let list = self.cold.list();
        let unread: Vec<_> = list.unread(self.now_ms()).collect();
        let is_to_be_had =
            |cold: &&&Arc<ColdPiece>| cold.piece.run.has_filter() && !cold.has_filter();
        let Some(cold) = unread.iter().find(is_to_be_had) else { return Ok(false) };
        if !self.has_memory_for_filter(cold.piece.run.entries, entries(&unread)) {
            return Ok(false);
        }
        self.read_filter(&list, cold).map(|()| true)
    }

    /// Reads one piece of the tree that was not read yet. `false` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the tree cannot be believed: it is being made anew from then on. `Io`.
    pub(super) fn warm(&self) -> Result<bool, Error> {
        // No piece, and no segment, goes meanwhile.
        let _one = self.sweeping()?;
        self.refuse_closed()?;
        self.cold.refuse_damaged()?;
        let list = self.cold.list();
        let unread: Vec<_> = list.unread(self.now_ms()).collect();
        let Some(cold) = unread.first() else { return Ok(false) };
        let unfiltered = entries(unread.iter().filter(|cold| !cold.has_filter()));
        if self.has_memory_for(cold.piece.run.entries, entries(&unread), unfiltered) {
            self.load(&list, cold)?;
        } else {
            self.count_records(&list, cold)?;
        }
        Ok(true)
    }

    /// Reads the filter of a piece into memory.
    fn read_filter(&self, list: &List, cold: &ColdPiece) -> Result<(), Error> {
        if let Some(filter) = self.filter_of(list, &cold.piece)? {
            self.cold.got_filter(cold, filter);
        }
        Ok(())
    }

    /// Puts the entries of a piece into the index, and takes it off the list.
    fn load(&self, list: &List, cold: &Arc<ColdPiece>) -> Result<(), Error> {
        let loaded = self.ask_tree(list, &cold.piece, |reader| {
            let whole = reader.stream(&cold.piece, &mut |entries| {
                for entry in entries {
                    self.admit(entry);
                }
            })?;
            Ok(whole.then_some(()))
        })?;
        if loaded.is_some() {
            let mut checkpointer = self.tree.lock();
            checkpointer.took_in(cold.piece);
            self.relist(&mut checkpointer, None);
        }
        Ok(())
    }

    /// Puts the record of one entry into the index, unless the key has a newer one there.
    pub(super) fn admit(&self, entry: &Entry) {
        let (identity, location) =
            (Identity::from_ordered(entry.hash), Location::from_bits(entry.location));
        if !is_kept(location) || self.log.segments.get(location.segment()).is_none() {
            return;
        }
        loop {
            let mut shard = self.index.shard(identity);
            let candidates = shard.candidates(identity);
            let mut old = None;
            if !candidates.is_empty() {
                if candidates.iter().any(|candidate| candidate == location) {
                    return;
                }
                drop(shard);
                for candidate in candidates.iter() {
                    match self.sequence_of(identity, candidate) {
                        Some(sequence) if sequence >= entry.sequence => return,
                        Some(_) => old = Some(candidate),
                        None => {}
                    }
                }
                shard = self.index.shard(identity);
                if shard.candidates(identity) != candidates {
                    continue;
                }
            }
            self.log.segments.admit(location);
            if let Some(replaced) = shard.put(identity, old, location) {
                self.log.segments.discount(replaced);
            }
            // What the flight's end replaces, as if it had been here when it began.
            if let Some(flight) = shard.flights.get_mut(&identity) {
                flight.replaces = Some(location);
            }
            return;
        }
    }

    /// The number of the frame at `location`, if that is of this key and can be read. One that
    /// cannot be is not taken for it: both then stand, and the key is refused as corrupt.
    fn sequence_of(&self, identity: Identity, location: Location) -> Option<u64> {
        let segment = self.log.segments.get(location.segment())?;
        let read = segment.head(location.offset(), |frame| {
            let key = Key::of_checked(frame.scope, frame.key);
            (Identity::of(key, &self.identity.secret) == identity).then_some(frame.header.sequence)
        });
        read.ok().flatten()
    }

    /// Counts the records of a piece that stays out of the index, once it has its filter; or as that is
    /// made of them, where a tree of an earlier format has none.
    fn count_records(&self, list: &List, cold: &ColdPiece) -> Result<(), Error> {
        let run = cold.piece.run;
        if run.has_filter() && !cold.has_filter() {
            self.read_filter(list, cold)?;
            if !cold.has_filter() {
                // It went meanwhile.
                return Ok(());
            }
        }
        let counted = self.ask_tree(list, &cold.piece, |reader| {
            let mut counts = BySegment::new();
            let mut filter = (!cold.has_filter()).then(|| Filter::with_room(run.entries));
            let whole = reader.stream(&cold.piece, &mut |entries| {
                for entry in entries {
                    if let Some(filter) = &mut filter {
                        filter.insert(entry.hash);
                    }
                    let location = Location::from_bits(entry.location);
                    if is_kept(location) && self.log.segments.get(location.segment()).is_some() {
                        *counts.entry(location.segment()).or_default() += 1;
                    }
                }
            })?;
            Ok(whole.then_some((filter, counts)))
        })?;
        if let Some((filter, counts)) = counted {
            if let Some(filter) = filter {
                self.cold.got_filter(cold, filter);
            }
            cold.was_read(counts);
        }
        Ok(())
    }

    /// The filter of a piece: the tree's own, or, where a tree of an earlier format has none, one
    /// made of the piece's entries. `None` when the piece went meanwhile.
    pub(super) fn filter_of(&self, list: &List, piece: &Piece) -> Result<Option<Filter>, Error> {
        if is_planted(Bug::FilterBitsMissing) {
            // Not in the tree's own, where `verify` would name it at once: looks are on trial.
            return Ok(Some(Filter::with_room(piece.run.entries)));
        }
        self.ask_tree(list, piece, |reader| {
            if piece.run.has_filter() {
                return reader.filter(piece);
            }
            let mut filter = Filter::with_room(piece.run.entries);
            let whole = reader.stream(piece, &mut |entries| {
                for entry in entries {
                    filter.insert(entry.hash);
                }
            })?;
            Ok(whole.then_some(filter))
        })
    }
}

#[cfg(all(test, feature = "test-util"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::SimDisk;
    use crate::{Claim, Fingerprint, ManualClock, Options, Store};

    const KEYS: u32 = 400;

    fn claim(store: &Store, number: u32) -> Claim<Store> {
        let text = format!("key {number}");
        let key = Key::new("scope", &text).unwrap();
        store.blocking_claim(key, Fingerprint::of("a request")).unwrap()
    }

    fn complete(store: &Store, number: u32) {
        let Claim::Granted(ticket) = claim(store, number) else { panic!("key {number}") };
        ticket.blocking_complete("done").unwrap();
    }

    /// Completes these keys, in runs of a hundred.
    fn fill(store: &Store, numbers: std::ops::Range<u32>) {
        for number in numbers {
            complete(store, number);
            if number % 100 == 99 {
                store.checkpoint().unwrap();
            }
        }
    }

    fn pieces_with_filters(store: &Store) -> (usize, usize) {
        let mut checkpointer = store.inner().tree.lock();
        let pieces: Vec<_> = checkpointer.tree().unwrap().pieces().collect();
        (pieces.iter().filter(|piece| piece.run.has_filter()).count(), pieces.len())
    }

    /// The runs of a tree that an earlier program wrote have no filter, those that were added since
    /// have: all are read, and merged, and each key is where it was.
    #[test]
    fn a_tree_whose_runs_have_no_filter_answers_as_one_whose_runs_have() {
        let disk = Arc::new(SimDisk::new(1));
        let clock = ManualClock::new(1_750_000_000_000);
        let open = || {
            let ttl = Duration::from_secs(3600);
            let options = Options::new().ttl(ttl).segment_size(64 << 10).clock(clock.clone());
            options.resident_records(0).open_storage(Arc::clone(&disk) as Arc<_>).unwrap()
        };
        let store = open();
        fill(&store, 0..KEYS / 2);
        {
            let inner = store.inner();
            let mut checkpointer = inner.tree.lock();
            let head = inner.head(&checkpointer).encode();
            checkpointer.tree().unwrap().remove_filters(&head).unwrap();
        }
        assert_eq!(pieces_with_filters(&store).0, 0);
        drop(store);
        let store = open();
        fill(&store, KEYS / 2..KEYS);
        let (with, pieces) = pieces_with_filters(&store);
        assert!(with > 0 && with < pieces, "{with} of {pieces}");
        let inner = store.inner();
        while inner.warm_filter().unwrap() || inner.warm().unwrap() {}
        let resident = |number: &u32| {
            assert!(matches!(claim(&store, *number), Claim::Replay(_)), "key {number}");
            let text = format!("key {number}");
            let key = Key::new("scope", &text).unwrap();
            let identity = Identity::of(key, &inner.identity.secret);
            !inner.index.shard(identity).candidates(identity).is_empty()
        };
        inner.spill().unwrap();
        assert_eq!((0..KEYS).filter(resident).count(), 0);
        while inner.merge_pieces().unwrap() {
            while inner.warm_filter().unwrap() || inner.warm().unwrap() {}
        }
        let (with, pieces) = pieces_with_filters(&store);
        assert!(with == pieces && pieces < 4, "{with} of {pieces}");
        assert_eq!((0..KEYS).filter(resident).count(), 0);
        complete(&store, KEYS);
    }

    /// A store was opened, and the filters are in memory, which stand beside the pieces: next to no
    /// new key is searched for in one, though none was read.
    #[test]
    fn a_new_key_is_searched_for_in_next_to_no_piece_that_was_not_read() {
        let disk = Arc::new(SimDisk::new(1));
        let clock = ManualClock::new(1_750_000_000_000);
        let open = || {
            let options = Options::new().clock(clock.clone()).seeded(1);
            options.stepped().open_storage(Arc::clone(&disk) as Arc<_>).unwrap()
        };
        let with_threads = Options::new().clock(clock.clone()).seeded(1);
        let store = with_threads.open_storage(Arc::clone(&disk) as Arc<_>).unwrap();
        fill(&store, 0..KEYS);
        store.close().unwrap();
        let searched = |store: &Store| {
            let reader = store.inner().cold.list().reader.clone().unwrap();
            reader.was_asked();
            let looks = (0..200).filter(|number| {
                let text = format!("another key {number}");
                assert!(store.get(Key::new("scope", &text).unwrap()).unwrap().is_none());
                reader.was_asked()
            });
            looks.count()
        };
        let store = open();
        assert_eq!(searched(&store), 200);
        let pieces = store.stats().unread_pieces;
        while store.inner().warm_filter().unwrap() {}
        let stats = store.stats();
        assert_eq!((stats.unread_pieces, stats.cold_records), (pieces, u64::from(KEYS)));
        assert!(store.inner().cold.bytes() >= Filter::bytes_for(u64::from(KEYS)), "they count");
        let searched = searched(&store);
        assert!(searched < 10, "{searched} of 200 were searched for");
        (0..KEYS).for_each(|number| {
            let text = format!("key {number}");
            assert!(store.get(Key::new("scope", &text).unwrap()).unwrap().is_some());
        });
    }

    /// Filters come before their pieces as long as they take no memory that these need: that is, when
    /// there is enough for both, or not enough for the pieces anyhow.
    #[test]
    fn filters_keep_no_record_out_of_the_index() {
        let options = Options::new().index_memory(16 << 20).stepped();
        let store = options.open_storage(Arc::new(SimDisk::new(1))).unwrap();
        let inner = store.inner();
        // What fits without a filter for each of them, and what does besides these.
        let fits = |unread: u64, filters: u64| {
            inner.cold.pretend_filters(filters);
            let fits = inner.has_memory_for(u64::MAX >> 1, unread, 0);
            inner.cold.pretend_filters(0);
            fits
        };
        let most = |filters: &dyn Fn(u64) -> u64| {
            let (mut most, mut too_many) = (0, 1 << 20);
            while most + 1 < too_many {
                let middle = u64::midpoint(most, too_many);
                let fits = fits(middle, filters(middle));
                *(if fits { &mut most } else { &mut too_many }) = middle;
            }
            most
        };
        let alone = most(&|_| 0);
        let beside = most(&Filter::bytes_for);
        assert!(0 < beside && beside < alone, "{beside} and {alone}");
        for (unread, filtered) in [
            (1, true),
            (beside, true),
            (beside + 1, false),
            (alone, false),
            (alone + 1, true),
            (u64::MAX >> 1, true),
        ] {
            assert_eq!(inner.has_memory_for_filter(unread, unread), filtered, "{unread}");
        }
    }

    /// Whatever else the housekeeper has to do is not kept waiting by what is to be read.
    #[test]
    fn a_round_of_housekeeping_reads_one_filter_or_one_piece() {
        let disk = Arc::new(SimDisk::new(1));
        let options = || Options::new().clock(ManualClock::new(1_750_000_000_000)).seeded(1);
        let store = options().open_storage(Arc::clone(&disk) as Arc<_>).unwrap();
        fill(&store, 0..KEYS);
        store.close().unwrap();
        let store = options().stepped().open_storage(Arc::clone(&disk) as Arc<_>).unwrap();
        let inner = store.inner();
        let to_be_read = || {
            let list = inner.cold.list();
            let filters = list.pieces.iter().filter(|cold| !cold.has_filter()).count();
            (filters, list.pieces.len())
        };
        let pieces = to_be_read().1;
        assert!(pieces > 2, "{pieces}");
        for round in 0..pieces {
            assert_eq!(to_be_read(), (pieces - round, pieces));
            inner.keep(1);
        }
        for round in 0..pieces {
            assert_eq!(to_be_read(), (0, pieces - round));
            inner.keep(1);
        }
        assert_eq!(to_be_read(), (0, 0));
    }
}
