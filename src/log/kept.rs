//! Files of retired segments, kept to be written again: their blocks are there, so that a segment
//! begins in one without zeros, and nothing is given back to the disk only to be asked for again.
//!
//! 1. Once the frame that retires a segment is on disk, it is let go: it leaves the table, and no look
//!    finds it from then on.
//! 2. Its key is destroyed. A file that is likely to be needed soon gets a name that is nobody's data,
//!    and the directory is synced: no crash can bring the old name back. Others are removed.
//! 3. A kept file is written again when nobody holds the segment or its map: whoever was handed a
//!    payload reads what he was handed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::segment::{self, Segment};
use super::{DIRECTORY, Log, TEMPORARY};
use crate::error::Error;
use crate::planted::{Bug, is_planted};

/// The most files that are kept.
const FILES_MAX: usize = 8;
/// How long one is kept that no segment needs, milliseconds of store time.
const UNNEEDED_MS: u64 = 60_000;

/// The name under which the file of segment `id` is kept.
pub(super) fn path(id: u32) -> String {
    format!("{DIRECTORY}/{id:010}.kept{TEMPORARY}")
}

/// What is left of segments that were retired.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// Let go, their files still to be kept or removed.
    going: Vec<Going>,
    /// Files that may be written again, under names that are on disk, the oldest first.
    kept: VecDeque<Kept>,
    /// The number of the next segment when segments were last given back.
    counted_upto: u32,
    /// Segments made until then, since they had been given back before.
    made: u32,
}

#[derive(Debug)]
struct Going {
    segment: Arc<Segment>,
    /// Whether something failed that changes its name: nobody knows which it has, and it is only
    /// removed.
    failed: bool,
}

#[derive(Debug)]
struct Kept {
    segment: Arc<Segment>,
    since_ms: u64,
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
        let (going, kept) = (Vec::new(), VecDeque::new());
        Self { going, kept, counted_upto: next_segment, made: 0 }
    }

    /// How many files are worth keeping: as many as segments were made in one of the last two rounds
    /// that gave some back. So a store that is idle keeps none for long.
    fn count(&mut self, next_segment: u32) -> usize {
        let made = next_segment.saturating_sub(self.counted_upto);
        let before = std::mem::replace(&mut self.made, made);
        self.counted_upto = next_segment;
        made.max(before).min(FILES_MAX as u32) as usize
    }

    /// Takes the files out that are not worth keeping, `most` at most staying.
    fn take_unneeded(&mut self, keep: Keep, most: usize) -> VecDeque<Kept> {
        let Keep::Needed { now_ms } = keep else { return std::mem::take(&mut self.kept) };
        let is_old = |kept: &Kept| now_ms.saturating_sub(kept.since_ms) >= UNNEEDED_MS;
        let old = self.kept.iter().take_while(|kept| is_old(kept)).count();
        let many = self.kept.len().saturating_sub(most);
        self.kept.drain(..old.max(many)).collect()
    }

    /// Takes a file out that has `needed` octets and that nobody reads any more.
    fn take(&mut self, needed: u64) -> Option<Arc<Segment>> {
        let place = self.kept.iter_mut().position(|kept| {
            kept.segment.length.load(Relaxed) >= needed && Segment::is_nobodys(&mut kept.segment)
        })?;
        self.kept.remove(place).map(|kept| kept.segment)
    }
}

impl<P> Log<P> {
    /// Takes a segment out of the table, of which the frame that retires it is on disk. Its file goes
    /// with [`give_back`](Self::give_back), and is counted until then.
    pub(crate) fn let_go(&self, segment: Arc<Segment>) {
        let mut leftovers = self.preparing.lock();
        // Counted here before it is not counted there.
        self.leftover_bytes.fetch_add(segment.length.load(Relaxed), Relaxed);
        self.segments.remove(segment.id);
        leftovers.going.push(Going { segment, failed: false });
    }

    /// Keeps or removes the files of segments that were let go, and removes those that are kept and
    /// not needed. Gives how many octets the disk has back; what fails is tried again the next time.
    /// One at a time.
    ///
    /// # Errors
    /// `Io`: the disk does not remove a file, or the directory's sync failed.
    pub(crate) fn give_back(&self, keep: Keep) -> (u64, Result<(), Error>) {
        let (going, unneeded, mut room) = {
            let mut leftovers = self.preparing.lock();
            let most = match keep {
                Keep::Nothing => 0,
                Keep::Needed { .. } if leftovers.going.is_empty() => FILES_MAX,
                Keep::Needed { .. } => leftovers.count(self.writer.lock().next_id()),
            };
            let unneeded = leftovers.take_unneeded(keep, most);
            let room = most.saturating_sub(leftovers.kept.len());
            (std::mem::take(&mut leftovers.going), unneeded, room)
        };
        let mut outcome = Ok(());
        let (mut freed, mut removed) = (0, false);
        let (mut to_keep, mut staying) = (Vec::new(), Vec::new());
        let unneeded =
            unneeded.into_iter().map(|kept| Going { segment: kept.segment, failed: true });
        for it in unneeded.chain(going) {
            let is_kept =
                room > 0 && !it.failed && it.segment.is_worth_keeping(self.config.segment_size);
            let done = if is_kept {
                it.segment.destroy_key(&*self.storage)
            } else {
                it.segment.remove(&*self.storage)
            };
            match done {
                Ok(()) if is_kept => {
                    room -= 1;
                    to_keep.push(it.segment);
                }
                Ok(()) => {
                    removed = true;
                    freed += self.forget(&it.segment);
                }
                Err(error) => {
                    outcome = Err(error);
                    staying.push(it);
                }
            }
        }
        let kept = self.keep(to_keep, keep, removed);
        self.preparing.lock().going.extend(staying);
        let outcome = outcome.and(kept);
        (freed, outcome.map_err(|error| Error::io("removing segments", error)))
    }

    /// Gives files the names they are kept under, and syncs the directory.
    fn keep(&self, segments: Vec<Arc<Segment>>, keep: Keep, removed: bool) -> io::Result<()> {
        let sync = || self.storage.sync_dir(DIRECTORY);
        let Keep::Needed { now_ms: since_ms } = keep else {
            return if removed { sync() } else { Ok(()) };
        };
        if segments.is_empty() {
            return if removed { sync() } else { Ok(()) };
        }
        // A sync of the directory that fails tells of it once: as long as this is held, nobody else
        // syncs it.
        let mut leftovers = self.preparing.lock();
        let mut renamed = Ok(());
        let mut named = Vec::with_capacity(segments.len());
        for segment in segments {
            match self.storage.rename(&super::path(segment.id), &path(segment.id)) {
                Ok(()) => named.push(segment),
                Err(error) => {
                    renamed = Err(error);
                    leftovers.going.push(Going { segment, failed: true });
                }
            }
        }
        let synced = if is_planted(Bug::ReusedBeforeDirectorySync) { Ok(()) } else { sync() };
        for segment in named {
            if synced.is_ok() {
                leftovers.kept.push_back(Kept { segment, since_ms });
            } else {
                leftovers.going.push(Going { segment, failed: true });
            }
        }
        renamed.and(synced)
    }

    /// Counts a file that is gone no more; gives how long it was.
    fn forget(&self, segment: &Segment) -> u64 {
        let length = segment.length.load(Relaxed);
        self.leftover_bytes.fetch_sub(length, Relaxed);
        length
    }

    /// Makes a kept file of at least `needed` octets segment `id`, the next, if there is one.
    pub(super) fn reuse(
        &self,
        leftovers: &mut Leftovers,
        (id, epoch): (u32, u64),
        needed: u64,
    ) -> Option<io::Result<()>> {
        let old = leftovers.take(needed)?;
        let made = self.header(id, epoch, old.length.load(Relaxed)).and_then(|header| {
            let size = self.config.segment_size;
            segment::reuse(&*self.storage, &old, &header, size, self.config.master.as_ref())
        });
        if let Ok(prepared) = made {
            self.reused.fetch_add(1, Relaxed);
            let added = self.add(prepared);
            self.forget(&old);
            return Some(added);
        }
        // Whatever was in the way, and whichever name it has: it is made of nothing then.
        leftovers.going.push(Going { segment: old, failed: true });
        None
    }

    /// Removes a kept file, because the disk is full. Whether there was one.
    pub(super) fn release_one(&self, leftovers: &mut Leftovers) -> bool {
        while let Some(Kept { segment, .. }) = leftovers.kept.pop_front() {
            if segment.remove(&*self.storage).is_ok() {
                self.forget(&segment);
                return true;
            }
            leftovers.going.push(Going { segment, failed: true });
        }
        false
    }

    /// Removes all kept files, because the disk is full. Whether there were any.
    pub(crate) fn release_kept(&self) -> bool {
        let mut leftovers = self.preparing.lock();
        let mut released = false;
        while self.release_one(&mut leftovers) {
            released = true;
        }
        released
    }

    /// Removes the files that were made ahead or kept, and what is left of retired segments. At close.
    pub(crate) fn remove_unused(&self) {
        let mut leftovers = self.preparing.lock();
        // What stays is removed at the next open: no group stands in it, or none that counts.
        for prepared in self.writer.lock().take_next() {
            let _ = prepared.segment.remove(&*self.storage);
        }
        let going = leftovers.going.drain(..).map(|going| going.segment).collect::<Vec<_>>();
        let kept = leftovers.kept.drain(..).map(|kept| kept.segment);
        for segment in kept.chain(going) {
            if segment.remove(&*self.storage).is_ok() {
                self.forget(&segment);
            }
        }
    }

    /// Segments begun in files of retired ones.
    pub(crate) fn segments_reused(&self) -> u64 {
        self.reused.load(Relaxed)
    }
}
