//! What the tree knows and the index does not: the records of an opened store that are still to be
//! read into memory, and those for which there is no room in it.
//!
//! They are listed by *piece*, one run in one bucket of the tree. A piece has a *filter*, which the
//! tree keeps beside its entries, so that most keys that are not in it cost no search; until that is
//! in memory it is searched for every key. A piece is *read* once its records were counted, too:
//! only then is it known in which segments they stand. Three rules keep a key from ever being in
//! neither place:
//! 1. A piece is listed before the first of its entries leaves the index, and goes off the list only
//!    when the last of them is in the index, or has expired.
//! 2. Each change of the list changes what [`Cold::seen`] gives. Whoever looks compares it before
//!    and after, and looks again when it moved.
//! 3. A piece's filter has all of its keys before it is anybody's.
//!
//! Only results and tombstones are here, for what is in doubt is always in the index. Of those a key
//! has one at most that has not expired: a key is claimed again only once its record has. So a look
//! ends at the first entry whose frame stands, bears the key and has not expired, whichever piece it
//! is in; an entry that has, or whose segment is gone, says nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Inner;
use super::checkpoint::Checkpointer;
use super::record::Settled;
use crate::error::Error;
use crate::expiry::is_expired;
use crate::format::frame::Kind;
use crate::index::{Candidates, Identity};
use crate::key::Key;
use crate::location::Location;
use crate::planted::{Bug, is_planted};
use crate::sync::{Mutex, RwLock};
use crate::tree::{Filter, Piece, Reader, Sought, TreeError};

/// Whether an entry of the tree is one of those a look in it may find: what is in doubt, and what
/// ends that, is in the index.
pub(super) fn is_kept(location: Location) -> bool {
    location.is(Kind::Complete) || location.is(Kind::Tombstone)
}

/// Which list somebody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Seen {
    /// Whether that list was empty: the index knows everything.
    pub(super) const fn is_empty(self) -> bool {
        self.0 & 1 == 0
    }

    const fn next(self, empty: bool) -> Self {
        Self(((self.0 >> 1) + 1) << 1 | !empty as u64)
    }
}

/// How many records stand in which segment.
pub(super) type BySegment = BTreeMap<u32, u64>;

/// A piece of the tree that is not in the index.
pub(super) struct ColdPiece {
    pub(super) piece: Piece,
    /// Of every entry of the piece that may be found; `None` while it is not in memory.
    filter: OnceLock<Filter>,
    /// Records in it that are not in the index: what keeps a segment from going. `None` while they
    /// were not counted.
    counts: OnceLock<Mutex<BySegment>>,
}

impl ColdPiece {
    fn unread(piece: Piece) -> Self {
        Self { piece, filter: OnceLock::new(), counts: OnceLock::new() }
    }

    /// A piece all of whose records are in the index still.
    pub(super) fn leaving(piece: Piece, filter: Filter) -> Self {
        Self { piece, filter: filter.into(), counts: Mutex::default().into() }
    }

    /// Whether an entry of this hash, as [`Identity::ordered`] has it, may be here.
    pub(super) fn may_have(&self, hash: u128) -> bool {
        self.filter.get().is_none_or(|filter| filter.may_have(hash))
    }

    pub(super) fn has_filter(&self) -> bool {
        self.filter.get().is_some()
    }

    /// Whether it is known in which segments its records stand.
    pub(super) fn is_read(&self) -> bool {
        self.counts.get().is_some()
    }

    /// It has its filter, and its records were counted.
    pub(super) fn was_read(&self, counts: BySegment) {
        // Whoever reads pieces holds the sweeper's lock, so nobody else has counted.
        let _ = self.counts.set(Mutex::new(counts));
    }

    /// Records of it that left the index.
    pub(super) fn add(&self, gone: BySegment) {
        let Some(counts) = self.counts.get() else { return };
        let mut counts = counts.lock();
        for (segment, records) in gone {
            *counts.entry(segment).or_default() += records;
        }
    }

    fn records(&self) -> u64 {
        match self.counts.get() {
            Some(counts) => counts.lock().values().sum(),
            None => self.piece.run.entries,
        }
    }
}

/// The pieces, newest bucket first.
pub(super) struct List {
    pub(super) seen: Seen,
    pub(super) reader: Option<Arc<Reader>>,
    pub(super) pieces: Vec<Arc<ColdPiece>>,
}

impl List {
    /// Pieces that are worth reading and were not yet.
    pub(super) fn unread(&self, now_ms: u64) -> impl Iterator<Item = &Arc<ColdPiece>> {
        let unread = self.pieces.iter().filter(|cold| !cold.is_read());
        // All that is in an expired bucket has expired, and says nothing.
        unread.filter(move |cold| !is_expired(cold.piece.bucket, now_ms))
    }
}

/// See the module.
pub(super) struct Cold {
    /// Lock order: a leaf.
    list: RwLock<Arc<List>>,
    /// The list's own `seen`, to be had without its lock.
    seen: AtomicU64,
    filter_bytes: AtomicU64,
    /// The tree cannot be believed, so nobody knows what is cold.
    damaged: AtomicBool,
}

impl Cold {
    pub(super) fn new() -> Self {
        let list = List { seen: Seen(0), reader: None, pieces: Vec::new() };
        Self {
            list: RwLock::new(Arc::new(list)),
            seen: 0.into(),
            filter_bytes: 0.into(),
            damaged: false.into(),
        }
    }

    /// Which list there is. Together with a look at the index under the key's lock it says where
    /// everything is.
    #[inline]
    pub(super) fn seen(&self) -> Seen {
        Seen(self.seen.load(Ordering::SeqCst))
    }

    pub(super) fn list(&self) -> Arc<List> {
        Arc::clone(&self.list.read())
    }

    fn replace(&self, reader: Option<Arc<Reader>>, pieces: Vec<Arc<ColdPiece>>) {
        let mut list = self.list.write();
        let seen = list.seen.next(pieces.is_empty());
        *list = Arc::new(List { seen, reader, pieces });
        self.seen.store(seen.0, Ordering::SeqCst);
        self.count_bytes(&list);
    }

    fn count_bytes(&self, list: &List) {
        let filters = list.pieces.iter().filter_map(|piece| piece.filter.get());
        let bytes = filters.map(Filter::bytes).sum();
        self.filter_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The filter of a piece on the list is in memory, with all of its keys.
    pub(super) fn got_filter(&self, piece: &ColdPiece, filter: Filter) {
        // Whoever reads filters holds the sweeper's lock, so nobody else has.
        let _ = piece.filter.set(filter);
        self.count_bytes(&self.list());
    }

    /// Bytes of heap the filters take.
    pub(super) fn bytes(&self) -> u64 {
        self.filter_bytes.load(Ordering::Relaxed)
    }

    /// Has filters take so many bytes until the list changes.
    #[cfg(all(test, feature = "test-util"))]
    pub(super) fn pretend_filters(&self, bytes: u64) {
        self.filter_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Records that are not in the index; of pieces that were not read, and may have a key that is
    /// in the index as well, about.
    pub(super) fn records(&self) -> u64 {
        self.list().pieces.iter().map(|piece| piece.records()).sum()
    }

    /// Pieces that were not read, and whose buckets have not expired.
    pub(super) fn unread(&self, now_ms: u64) -> u64 {
        self.list().unread(now_ms).count() as u64
    }

    /// Records of pieces that were read which stand in segment `id`, and are not in the index.
    pub(super) fn in_segment(&self, id: u32) -> u64 {
        let list = self.list();
        let counts = list.pieces.iter().filter_map(|piece| piece.counts.get());
        counts.filter_map(|counts| counts.lock().get(&id).copied()).sum()
    }

    /// Records in these buckets that are not in the index.
    pub(super) fn records_in(&self, buckets: &[u64]) -> u64 {
        let list = self.list();
        let within = list.pieces.iter().filter(|cold| buckets.contains(&cold.piece.bucket));
        within.map(|cold| cold.records()).sum()
    }

    /// Nothing in segment `id` lives: what did was written again elsewhere.
    pub(super) fn forget_segment(&self, id: u32) {
        for counts in self.list().pieces.iter().filter_map(|piece| piece.counts.get()) {
            counts.lock().remove(&id);
        }
    }

    /// What is listed cannot be had any more: until it is, a key that is not indexed is refused.
    pub(super) fn damage(&self) {
        self.damaged.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::SeqCst)
    }

    /// The index has everything again.
    pub(super) fn clear(&self) {
        self.replace(None, Vec::new());
        self.damaged.store(false, Ordering::SeqCst);
    }

    /// # Errors
    /// `Corrupt`, while the tree cannot be believed.
    pub(super) fn refuse_damaged(&self) -> Result<(), Error> {
        if self.is_damaged() {
            return Err(Error::unknown(
                "the tree is damaged, and this key may stand in it; it is being made anew",
            ));
        }
        Ok(())
    }
}

/// What a look among the cold records came to.
pub(super) enum ColdLook {
    Nothing,
    /// The key's record; it has not expired.
    Found(Settled),
    /// Something moved meanwhile.
    Again,
}

impl Inner {
    /// Looks for the key's record in the tree, after the index had none but `candidates`, none of
    /// which is alive. Reads from the disk: never under a shard's lock.
    ///
    /// # Errors
    /// `Corrupt` when the tree, or a frame, cannot be believed; `Io`.
    pub(super) fn look_in_tree(
        &self,
        identity: Identity,
        key: Key<'_>,
        candidates: &Candidates,
        seen: Seen,
    ) -> Result<ColdLook, Error> {
        self.cold.refuse_damaged()?;
        let list = self.cold.list();
        if list.seen != seen {
            return Ok(ColdLook::Again);
        }
        let (now_ms, hash) = (self.now_ms(), identity.ordered());
        let mut gone = false;
        let older_first = is_planted(Bug::OlderRunWins);
        let nth = |nth: usize| if older_first { list.pieces.len() - 1 - nth } else { nth };
        for at in (0..list.pieces.len()).map(nth) {
            let Some(cold) = list.pieces.get(at) else { continue };
            if is_planted(Bug::SpilledNotProbed) && cold.is_read() {
                continue;
            }
            // All that is in a bucket has expired when its name says so.
            let expired = is_expired(cold.piece.bucket, now_ms) && !older_first;
            if expired || !cold.may_have(hash) {
                continue;
            }
            let Some(sought) = self.seek(&list, &cold.piece, identity)? else {
                return Ok(ColdLook::Again);
            };
            let Sought::Found(entries) = sought else { continue };
            for location in entries.iter().map(|entry| Location::from_bits(entry.location)) {
                if !is_kept(location) {
                    continue;
                }
                match self.examine(location, key)? {
                    Some(settled) if settled.known().at(now_ms).is_some() => {
                        return Ok(ColdLook::Found(settled));
                    }
                    Some(_) if older_first => return Ok(ColdLook::Nothing),
                    Some(_) => {}
                    None => gone = true,
                }
            }
        }
        // A record whose segment went was written again before: then the index has it, or had.
        let moved = gone
            && (self.index.shard(identity).candidates(identity) != *candidates
                || self.cold.seen() != seen);
        Ok(if moved { ColdLook::Again } else { ColdLook::Nothing })
    }

    /// Looks for a key in one piece; `None` when the piece went meanwhile.
    pub(super) fn seek(
        &self,
        list: &List,
        piece: &Piece,
        identity: Identity,
    ) -> Result<Option<Sought>, Error> {
        let ask = |reader: &Reader| match reader.find(piece, identity.ordered()) {
            Ok(Sought::Gone) => Ok(None),
            found => found.map(Some),
        };
        self.ask_tree(list, piece, ask)
    }

    /// Asks the tree about a piece, once more when a fault has cost it its handle. `None` when the
    /// piece went meanwhile, or the tree, in whose place another may be by now: what came of asking the
    /// one says nothing of the other.
    pub(super) fn ask_tree<T>(
        &self,
        list: &List,
        piece: &Piece,
        mut ask: impl FnMut(&Reader) -> Result<Option<T>, TreeError>,
    ) -> Result<Option<T>, Error> {
        let Some(reader) = &list.reader else { return Ok(None) };
        let mut asked = ask(reader);
        if matches!(asked, Err(TreeError::Io(_))) {
            self.refuse_closed()?;
            let mut checkpointer = self.tree.lock();
            if self.is_replaced(&mut checkpointer, list)? {
                return Ok(None);
            }
            self.revive_tree(&mut checkpointer)?;
            drop(checkpointer);
            asked = ask(reader);
        }
        if let Ok(Some(answer)) = asked {
            return Ok(Some(answer));
        }
        let mut checkpointer = self.tree.lock();
        if self.is_replaced(&mut checkpointer, list)? {
            return Ok(None);
        }
        match asked {
            // Who takes pieces off the tree takes them off the list before he lets go of its lock.
            Ok(_) => {
                self.relist(&mut checkpointer, None);
                let listed = self.cold.list();
                // One that the index has is not on the list, and in the tree all the same.
                let stands = listed.pieces.iter().any(|cold| cold.piece == *piece)
                    || checkpointer.tree().is_some_and(|tree| tree.pieces().any(|it| it == *piece));
                if !stands {
                    return Ok(None);
                }
                let (bucket, run) = piece.name();
                let what = format!("a block of run {run} in bucket {bucket} is absent");
                Err(self.tree_failed(&mut checkpointer, TreeError::Damaged(what)))
            }
            Err(error) => Err(self.tree_failed(&mut checkpointer, error)),
        }
    }

    /// Whether the tree of `list` has gone, so that there is something else to ask.
    ///
    /// # Errors
    /// `Closed`; `Corrupt`, while it is being made anew.
    fn is_replaced(&self, checkpointer: &mut Checkpointer, list: &List) -> Result<bool, Error> {
        let now = checkpointer.tree().map(|tree| tree.reader());
        if let (Some(now), Some(then)) = (&now, &list.reader)
            && Arc::ptr_eq(now, then)
        {
            return Ok(false);
        }
        self.refuse_closed()?;
        self.cold.refuse_damaged()?;
        // A thread that panicked may have left none, and the list as it was.
        Ok(now.is_some() || self.cold.seen() != list.seen)
    }

    fn revive_tree(&self, checkpointer: &mut Checkpointer) -> Result<(), Error> {
        let Some(tree) = checkpointer.tree() else { return Ok(()) };
        let revived = tree.revive();
        revived.map_err(|error| self.tree_failed(checkpointer, error))?;
        self.relist(checkpointer, None);
        Ok(())
    }

    /// Takes note of what the tree refused: one that is damaged is made anew, and until then nobody
    /// knows what was cold.
    pub(super) fn tree_failed(&self, checkpointer: &mut Checkpointer, error: TreeError) -> Error {
        if matches!(error, TreeError::Damaged(_)) {
            checkpointer.condemn();
            if !self.cold.seen().is_empty() {
                self.cold.damage();
            }
        }
        error.into()
    }

    /// Lists what the tree has and the index has not; `ready` is a piece that was read already.
    ///
    /// Whoever changes the tree, or what the index has of it, does this before he lets go of the
    /// tree's lock.
    pub(super) fn relist(&self, checkpointer: &mut Checkpointer, ready: Option<ColdPiece>) {
        let resident = checkpointer.resident();
        // Without a tree what is listed stays so: it is being made anew, or the store is closed.
        let Some((tree, resident)) = resident else { return };
        let before = self.cold.list();
        let mut known: BTreeMap<_, _> =
            before.pieces.iter().map(|cold| (cold.piece.name(), Arc::clone(cold))).collect();
        known.extend(ready.map(|cold| (cold.piece.name(), Arc::new(cold))));
        let mut pieces: Vec<Arc<ColdPiece>> = tree
            .pieces()
            .filter(|piece| !piece.run.doubts && !resident.contains(&piece.name()))
            .map(|piece| match known.remove(&piece.name()) {
                Some(cold) if cold.piece == piece => cold,
                _ => Arc::new(ColdPiece::unread(piece)),
            })
            .collect();
        pieces.reverse();
        let reader = Some(tree.reader());
        let same_reader = match (&before.reader, &reader) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            _ => false,
        };
        let same = pieces.len() == before.pieces.len()
            && pieces.iter().zip(&before.pieces).all(|(now, then)| Arc::ptr_eq(now, then));
        if !same || !(same_reader || pieces.is_empty()) {
            self.cold.replace(reader, pieces);
        }
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::SimDisk;
    use crate::{Claim, ErrorKind, Fingerprint, ManualClock, Options};

    /// A piece whose entries the index has is on no list. One of its blocks that is not there is
    /// damage all the same while the tree has the piece, and says nothing once a sweep took it.
    #[test]
    fn an_absent_block_of_a_piece_that_is_in_memory_is_damage() {
        let ttl = Duration::from_secs(60);
        let clock = ManualClock::new(1_750_000_000_000);
        let options = Options::new().ttl(ttl).segment_size(64 << 10).clock(clock.clone());
        let store = options.open_storage(Arc::new(SimDisk::new(1))).unwrap();
        let inner = store.inner();
        let key = Key::new("scope", "key").unwrap();
        let print = Fingerprint::of("a request");
        let Claim::Granted(ticket) = store.blocking_claim(key, print).unwrap() else {
            panic!("not granted");
        };
        ticket.blocking_complete("done").unwrap();
        let ask = |piece: &Piece| {
            let reader = inner.tree.lock().tree().map(|tree| tree.reader());
            let list = List { seen: inner.cold.seen(), reader, pieces: Vec::new() };
            inner.ask_tree(&list, piece, |_| Ok(None::<()>))
        };
        for _ in 0..2 {
            // What was made anew is damaged as what was before it.
            store.checkpoint().unwrap();
            let piece = inner.tree.lock().oldest_resident().unwrap();
            assert_eq!(ask(&piece).unwrap_err().kind(), ErrorKind::Corrupt);
            assert!(inner.tree.lock().tree().is_none(), "it is not believed any more");
            assert!(matches!(store.blocking_claim(key, print).unwrap(), Claim::Replay(_)));
        }
        store.checkpoint().unwrap();
        let piece = inner.tree.lock().oldest_resident().unwrap();
        clock.advance(3 * ttl);
        store.sweep().unwrap();
        assert_eq!(ask(&piece).unwrap(), None);
        assert!(inner.tree.lock().tree().is_some());
    }
}
