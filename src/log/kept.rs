//! Files of retired segments, kept to be written again: their blocks are there, so that a segment
//! begins in one without zeros, and nothing is given back to the disk only to be asked for again.
//!
//! 1. Once the frame that retires a segment is on disk, it is let go: it leaves the table, and no look
//!    finds it from then on.
//! 2. Its key is destroyed. A file that is likely to be needed soon gets a name that is nobody's data,
//!    and the directory is synced: no crash can bring the old name back. Others are removed. This goes
//!    in the order of the segments, because a frame that ends a claim stands behind it.
//! 3. A kept file is written again when nobody holds the segment or its map: whoever was handed a
//!    payload reads what he was handed.
//! 4. One that is shorter than a segment, because it was retired before it had grown, or was cut to
//!    what it had, is made longer once it is one again, as a new one is: by whoever makes room, while
//!    it waits to be begun.
//! 5. A file that is removed is given back to the disk as `parting` has it.
//!
//! Files are made, named, removed, and their directory synced, under one lock. A sync that fails tells
//! of it once, to whoever asked for it: under the lock nobody else waits for a name to be on disk.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::segment::{self, Prepared, Segment};
use super::{DIRECTORY, Log, TEMPORARY};
use crate::error::Error;
use crate::planted::{Bug, is_planted};
use crate::storage::Storage;

/// The most files that are kept.
const FILES_MAX: u32 = 64;
/// How long one is kept that no segment needs, milliseconds of store time.
const UNNEEDED_MS: u64 = 60_000;

/// What the name of a kept file ends in, before what says that it is nobody's data.
const KEPT: &str = ".kept";

/// The name under which the file of segment `id` is kept.
pub(super) fn path(id: u32) -> String {
    format!("{DIRECTORY}/{id:010}{KEPT}{TEMPORARY}")
}

/// Whether a file of this name was kept.
pub(crate) fn is_kept(path: &str) -> bool {
    path.strip_suffix(TEMPORARY).is_some_and(|name| name.ends_with(KEPT))
}

/// What is left of segments that were retired, or dropped before they were begun.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// Their files still to be kept or removed.
    going: VecDeque<Going>,
    /// Files that may be written again, under names that are on disk, the oldest first.
    kept: VecDeque<Kept>,
    /// Whether a segment was let go since `made` was counted.
    is_news: bool,
    /// The number of the next segment when `made` was counted.
    counted_upto: u32,
    /// Segments made until then, since it had been counted before.
    made: u32,
    /// Bytes the disk has had back because it was full.
    released: u64,
}

#[derive(Debug)]
struct Going {
    segment: Arc<Segment>,
    /// How long the file was when it was counted.
    length: u64,
    name: Name,
    /// Whether the disk did not do what was asked of it in this round.
    is_stuck: bool,
    /// Whether removing it failed before: what has become of its name is not known.
    has_failed: bool,
}

impl Going {
    fn new(segment: Arc<Segment>, length: u64, name: Name) -> Self {
        Self { segment, length, name, is_stuck: false, has_failed: false }
    }

    /// Whether its name may be there still when it was removed and the directory synced: a change of
    /// a name that was lost with a failed sync is made up for by no other.
    fn may_come_back(&self) -> bool {
        self.has_failed || self.name == Name::Unknown
    }
}

/// Which name a file has that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// That of its segment. It may be kept.
    Own,
    /// Something failed that changes it: it is only removed.
    Unknown,
    /// One that no group counts under: it is only removed, whenever that is.
    Idle,
}

#[derive(Debug)]
struct Kept {
    segment: Arc<Segment>,
    length: u64,
    since_ms: u64,
}

impl Kept {
    fn going(self) -> Going {
        Going::new(self.segment, self.length, Name::Idle)
    }
}

/// Who gives segments back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The store itself, as time passes: it keeps what it needs again.
    Needed { now_ms: u64 },
    /// Somebody who wants the disk back.
    Nothing,
}

impl Leftovers {
    pub(super) fn new(next_segment: u32) -> Self {
        Self {
            going: VecDeque::new(),
            kept: VecDeque::new(),
            is_news: false,
            counted_upto: next_segment,
            made: 0,
            released: 0,
        }
    }

    /// How many files are worth keeping: half as many again as segments were made in one of the last
    /// two rounds in which some were let go, for a sweep lets many go at once, and each that is removed
    /// may hold up a sync. So a store that is idle keeps none for long.
    fn most(&mut self, keep: Keep, next_segment: u32) -> usize {
        if keep == Keep::Nothing {
            return 0;
        }
        // What the disk does not remove says nothing of how many the store needs.
        if !std::mem::take(&mut self.is_news) {
            return FILES_MAX as usize;
        }
        let made = next_segment.saturating_sub(self.counted_upto);
        let before = std::mem::replace(&mut self.made, made);
        self.counted_upto = next_segment;
        let needed = made.max(before);
        needed.saturating_add(needed.div_ceil(2)).min(FILES_MAX) as usize
    }

    /// Begins a round: what is kept and not worth it goes, `most` at most staying. Gives how many more
    /// may be kept.
    fn begin_round(&mut self, keep: Keep, most: usize) -> usize {
        for it in &mut self.going {
            it.is_stuck = false;
        }
        let unneeded = match keep {
            Keep::Nothing => self.kept.len(),
            Keep::Needed { now_ms } => {
                let is_old = |kept: &Kept| now_ms.saturating_sub(kept.since_ms) >= UNNEEDED_MS;
                let old = self.kept.iter().take_while(|kept| is_old(kept)).count();
                old.max(self.kept.len().saturating_sub(most))
            }
        };
        self.going.extend(self.kept.drain(..unneeded).map(Kept::going));
        most.saturating_sub(self.kept.len())
    }

    /// The place of the next that may go: of those whose order counts, none behind one that is stuck.
    fn next(&self) -> Option<usize> {
        let mut is_held_up = false;
        self.going.iter().position(|it| {
            let is_ordered = it.name != Name::Idle;
            is_held_up |= is_ordered && it.is_stuck;
            !(it.is_stuck || is_ordered && is_held_up)
        })
    }

    /// Takes out those from `place` on that are worth keeping, one behind the other, `most` at most.
    fn take_worthy(
        &mut self,
        place: usize,
        most: usize,
        lengths: &RangeInclusive<u64>,
    ) -> Vec<Going> {
        let mut worthy = Vec::new();
        let is_worthy = |it: &Going| it.name == Name::Own && it.segment.is_worth_keeping(lengths);
        while worthy.len() < most && self.going.get(place).is_some_and(is_worthy) {
            worthy.extend(self.going.remove(place));
        }
        worthy
    }

    /// Takes the one at `place` out, its file removed; if that fails, it is stuck there.
    fn take_name(&mut self, storage: &dyn Storage, place: usize) -> io::Result<Option<Going>> {
        let Some(it) = self.going.get_mut(place) else { return Ok(None) };
        it.segment.remove(storage).inspect_err(|_| (it.is_stuck, it.has_failed) = (true, true))?;
        Ok(self.going.remove(place))
    }

    /// Takes a file out that has `needed` octets and that nobody reads any more.
    fn take(&mut self, needed: u64) -> Option<Kept> {
        let place = self
            .kept
            .iter_mut()
            .position(|kept| kept.length >= needed && Segment::is_nobodys(&mut kept.segment))?;
        self.kept.remove(place)
    }
}

impl<P> Log<P> {
    /// Takes a segment out of the table, of which the frame that retires it is on disk. Its file goes
    /// with [`give_back`](Self::give_back), and is counted until then.
    pub(crate) fn let_go(&self, segment: Arc<Segment>) {
        let mut leftovers = self.preparing.lock();
        let length = segment.settle_length();
        // Counted here before it is not counted there.
        self.leftover_bytes.fetch_add(length, Relaxed);
        self.segments.remove(segment.id);
        leftovers.is_news = true;
        leftovers.going.push_back(Going::new(segment, length, Name::Own));
    }

    /// Keeps or removes the files of segments that were let go, in order, and removes those that are
    /// kept and not needed. Gives how many octets the disk has back, or has soon; what fails is tried
    /// again the next time, and until then what must not go before it stays, too. One at a time. A store
    /// whose writes have ended leaves all files to the next open: they may be another process's any
    /// moment.
    ///
    /// # Errors
    /// `Io`: the disk does not remove a file, or the directory's sync failed. Whoever wants the disk back
    /// is told, too, of a sync that failed since somebody was last told, and of a file that could not be
    /// cut since then.
    pub(crate) fn give_back(&self, keep: Keep) -> (u64, Result<(), Error>) {
        let mut room = {
            let mut leftovers = self.preparing.lock();
            let next_segment = self.writer.lock().next_id();
            let most = leftovers.most(keep, next_segment);
            leftovers.begin_round(keep, most)
        };
        // The store itself tells nobody.
        let mut outcome = if keep == Keep::Nothing { self.parting_failed() } else { Ok(()) };
        let mut freed = 0;
        // One that is as long as a segment is at first is as good as a new one, and no further from its
        // full size.
        let lengths = self.chunk()..=self.config.segment_size;
        loop {
            // For each anew: others make room meanwhile, and closing waits for one file alone.
            let mut leftovers = self.preparing.lock();
            if self.poison.is_set() {
                self.wake_slices();
                break;
            }
            let Some(place) = leftovers.next() else {
                if freed > 0 {
                    outcome = outcome.and(self.sync_removed_names());
                }
                break;
            };
            let worthy = leftovers.take_worthy(place, room, &lengths);
            let done = if let (Keep::Needed { now_ms }, false) = (keep, worthy.is_empty()) {
                room -= worthy.len();
                self.keep(&mut leftovers, place, worthy, now_ms)
            } else {
                self.remove_at(&mut leftovers, place).map(|length| freed += length)
            };
            outcome = outcome.and(done);
        }
        if keep == Keep::Nothing {
            self.hurry_slices();
        }
        (freed, outcome.map_err(|error| Error::io("removing segments", error)))
    }

    /// Gives files the names they are kept under, and syncs the directory. Those that are not kept are
    /// put back to `place`.
    fn keep(
        &self,
        leftovers: &mut Leftovers,
        place: usize,
        worthy: Vec<Going>,
        since_ms: u64,
    ) -> io::Result<()> {
        let mut renamed = Ok(());
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for mut it in worthy {
            if renamed.is_ok() {
                renamed = it.segment.destroy_key(&*self.storage).and_then(|()| {
                    it.name = Name::Unknown;
                    self.storage.rename(&super::path(it.segment.id), &path(it.segment.id))
                });
                it.is_stuck = renamed.is_err();
            }
            if it.name == Name::Unknown && !it.is_stuck {
                named.push(it);
            } else {
                others.push(it);
            }
        }
        let synced = if named.is_empty() || is_planted(Bug::ReusedBeforeDirectorySync) {
            Ok(())
        } else {
            self.storage.sync_dir(DIRECTORY)
        };
        if synced.is_ok() {
            let kept = named.into_iter().map(|Going { segment, length, .. }| Kept {
                segment,
                length,
                since_ms,
            });
            leftovers.kept.extend(kept);
        } else {
            self.doubt_removed_names();
            for it in &mut named {
                it.is_stuck = true;
            }
            others.splice(..0, named);
        }
        for it in others.into_iter().rev() {
            leftovers.going.insert(place, it);
        }
        renamed.and(synced)
    }

    /// Removes the file at `place` of those that go; one that is not removed is stuck there. Gives how
    /// long it was.
    fn remove_at(&self, leftovers: &mut Leftovers, place: usize) -> io::Result<u64> {
        let Some(it) = leftovers.take_name(&*self.storage, place)? else { return Ok(0) };
        let (may_come_back, length) = (it.may_come_back(), it.length);
        self.part_with(it.segment, length, may_come_back);
        Ok(length)
    }

    /// Makes a kept file of at least `needed` octets segment `id`, the next. Whether there is one.
    pub(super) fn reuse(
        &self,
        leftovers: &mut Leftovers,
        (id, epoch): (u32, u64),
        needed: u64,
    ) -> bool {
        let Some(old) = leftovers.take(needed) else { return false };
        let made = self.header(id, epoch, old.length).and_then(|header| {
            let (old, size) = (&old.segment, self.config.segment_size);
            segment::reuse(&*self.storage, old, &header, size, self.config.master.as_ref())
        });
        if let Ok(prepared) = made {
            self.reused.fetch_add(1, Relaxed);
            self.add(leftovers, prepared);
            self.forget(old.length);
            return true;
        }
        self.doubt_removed_names();
        // Whatever was in the way, the disk being full perhaps: the file is room for another.
        leftovers.going.push_front(old.going());
        let _ = self.release_at(leftovers, 0);
        false
    }

    /// Removes the file of a segment that was ready and is not begun. One that the disk does not remove
    /// goes with [`give_back`](Self::give_back), and is counted until then.
    pub(super) fn discard(&self, leftovers: &mut Leftovers, unused: &Prepared) {
        let (segment, length) = (Arc::clone(&unused.segment), unused.segment.settle_length());
        self.leftover_bytes.fetch_add(length, Relaxed);
        leftovers.going.push_front(Going::new(segment, length, Name::Idle));
        // Tried again, and told of, by the next round.
        let _ = self.remove_at(leftovers, 0);
        self.wake_slices();
    }

    /// Gives back what is on its way to the disk, or one file that is kept, or one that goes anyway,
    /// because the disk is full. Whether there was any.
    pub(super) fn release_one(&self, leftovers: &mut Leftovers) -> bool {
        if self.close_nameless() {
            return true;
        }
        for it in &mut leftovers.going {
            it.is_stuck = false;
        }
        while let Some(kept) = leftovers.kept.pop_front() {
            leftovers.going.push_front(kept.going());
            if self.release_at(leftovers, 0) {
                return true;
            }
        }
        while let Some(place) = leftovers.next() {
            if self.release_at(leftovers, place) {
                return true;
            }
        }
        false
    }

    /// Removes the file at `place`, and gives it back at once.
    fn release_at(&self, leftovers: &mut Leftovers, place: usize) -> bool {
        let Ok(removed) = leftovers.take_name(&*self.storage, place) else { return false };
        if let Some(Going { segment, length, .. }) = removed {
            drop(segment);
            self.forget(length);
            leftovers.released += length;
        }
        true
    }

    /// Removes all files that are kept or go anyway, because the disk is full. Whether there were any.
    pub(crate) fn release_kept(&self) -> bool {
        let mut leftovers = self.preparing.lock();
        let mut released = false;
        while self.release_one(&mut leftovers) {
            released = true;
        }
        released
    }

    /// Octets the disk has had back because it was full, since the log is there.
    pub(crate) fn released(&self) -> u64 {
        self.preparing.lock().released
    }

    /// Removes the files that were made ahead or kept, and what is left of retired segments. At close,
    /// once writes have ended: nobody makes, names or removes a file from then on.
    pub(crate) fn remove_unused(&self) {
        let mut leftovers = self.preparing.lock();
        // What stays is removed at the next open: no group stands in it, or none that counts.
        let unused = self.writer.lock().take_next();
        for prepared in unused {
            let _ = prepared.segment.remove(&*self.storage);
        }
        leftovers.begin_round(Keep::Nothing, 0);
        while let Some(place) = leftovers.next() {
            let _ = self.remove_at(&mut leftovers, place);
        }
        self.close_nameless();
    }

    /// Segments begun in files of retired ones.
    pub(crate) fn segments_reused(&self) -> u64 {
        self.reused.load(Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests;
