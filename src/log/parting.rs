//! Files that have lost their names, given back to the disk in slices.
//!
//! A file system mounted with `discard` tells the device of all blocks that one commit of its journal
//! frees, and while the device discards many, it does nothing else: a sync of the log waits.
//!
//! 1. A file comes here once no name leads to it. So whatever it is cut to, nobody who reads the
//!    directory ever sees it, and if the process ends, the rest goes with it.
//! 2. It is cut when nobody holds the segment or its map: a look at a page that the file has no more
//!    would end the process. One that is held stays whole until then.
//! 3. Each cut is synced: without that, one commit of the journal would free several.
//! 4. What is not given back yet counts as the store's; whoever needs the room has all of it at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::segment::Segment;
use super::{DIRECTORY, Log};
use crate::clock;
use crate::storage::File;
use crate::sync::{Condvar, Mutex};

/// What is given back at a time, octets. A disk was measured to discard this in 5 ms, and a segment of
/// 64 MiB in 100.
const SLICE: u64 = 4 << 20;
/// Octets that are given back in a second, at most, where no more wait than in so many seconds go.
const RATE: u64 = 128 << 20;
const WITHIN_S: u64 = 10;
/// How often files that are held are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long the disk is left alone after `given` octets, when `waiting` more are to go.
fn pause(given: u64, waiting: u64) -> Duration {
    let rate = RATE.max(waiting / WITHIN_S);
    Duration::from_nanos(given.saturating_mul(1_000_000_000) / rate)
}

/// Files on their way back to the disk.
#[derive(Debug, Default)]
pub(super) struct Parting {
    /// Held while a file is cut or closed. Lock order: behind `preparing`, before `state`.
    cutting: Mutex<()>,
    /// A leaf.
    state: Mutex<State>,
    /// There is something to do, or nobody does it any more.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a thread gives files back. Where none does, whoever takes a file's name closes it, and
    /// syncs the directory.
    is_served: bool,
    /// Whether names went since their directory was synced.
    is_unsynced: bool,
    /// Oldest first. Taken out under `cutting` alone.
    files: VecDeque<Nameless>,
    /// Not before is the next of them cut.
    next: Option<Instant>,
    /// What failed since somebody was told.
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct Nameless {
    /// As long as it may be held by others.
    segment: Option<Arc<Segment>>,
    file: Arc<dyn File>,
    length: u64,
}

impl Nameless {
    fn is_nobodys(&mut self) -> bool {
        self.segment.as_mut().is_none_or(Segment::is_unread)
    }
}

impl State {
    fn waiting(&self) -> u64 {
        self.files.iter().map(|it| it.length).sum()
    }

    /// The place of the first that nobody holds.
    fn ready(&mut self) -> Option<usize> {
        self.files.iter_mut().position(Nameless::is_nobodys)
    }
}

/// What is to be done next.
enum Turn {
    SyncNames,
    Cut,
}

impl<P> Log<P> {
    /// From here on, until [`end_slices`](Self::end_slices), a thread gives files back.
    pub(crate) fn serve_slices(&self) {
        self.parting.state.lock().is_served = true;
    }

    /// Ends [`give_back_slices`](Self::give_back_slices), whoever runs it.
    pub(crate) fn end_slices(&self) {
        self.parting.state.lock().is_served = false;
        self.parting.changed.notify_all();
    }

    /// Gives files back, in slices, until it is ended. Also when writes have ended: no other process
    /// finds what has no name.
    pub(crate) fn give_back_slices(&self) {
        while let Some(turn) = self.wait_for_turn() {
            match turn {
                Turn::SyncNames => self.sync_names(),
                Turn::Cut => self.cut(SLICE),
            }
        }
    }

    fn wait_for_turn(&self) -> Option<Turn> {
        let mut state = self.parting.state.lock();
        while state.is_served {
            if state.is_unsynced {
                return Some(Turn::SyncNames);
            }
            if state.files.is_empty() {
                self.parting.changed.wait(&mut state);
                continue;
            }
            let now = clock::monotonic();
            if let Some(next) = state.next.filter(|next| *next > now) {
                let _ = self.parting.changed.wait_until(&mut state, next);
            } else if state.ready().is_some() {
                return Some(Turn::Cut);
            } else {
                let _ = self.parting.changed.wait_for(&mut state, LOOK);
            }
        }
        None
    }

    /// Takes the file of a segment, of `length` octets, to which no name leads any more and which is
    /// counted until it is given back.
    pub(super) fn part_with(&self, segment: Arc<Segment>, length: u64) {
        let mut state = self.parting.state.lock();
        if state.is_served {
            let file = Arc::clone(&segment.file);
            state.files.push_back(Nameless { segment: Some(segment), file, length });
            self.parting.changed.notify_one();
        } else {
            drop(state);
            drop(segment);
            self.forget(length);
        }
    }

    /// Has the directory synced, from which names went, under the lock that guards it: at once, or soon,
    /// for nothing depends on it: a name that comes back is of a segment that was retired.
    ///
    /// # Errors
    /// The sync failed.
    pub(super) fn sync_removed_names(&self) -> io::Result<()> {
        let mut state = self.parting.state.lock();
        if state.is_served {
            state.is_unsynced = true;
            self.parting.changed.notify_one();
            return Ok(());
        }
        drop(state);
        self.storage.sync_dir(DIRECTORY)
    }

    fn sync_names(&self) {
        let _names = self.preparing.lock();
        self.parting.state.lock().is_unsynced = false;
        // A store whose writes have ended leaves the directory alone.
        if !self.poison.is_set()
            && let Err(error) = self.storage.sync_dir(DIRECTORY)
        {
            self.parting.state.lock().failed = Some(error);
        }
    }

    /// Takes a slice off the first file that nobody holds. One that cannot be cut is closed, which
    /// gives all of it back.
    fn cut(&self, slice: u64) {
        let _cutting = self.parting.cutting.lock();
        let (place, segment, file, length) = {
            let mut state = self.parting.state.lock();
            let Some(place) = state.ready() else { return };
            let Some(it) = state.files.get_mut(place) else { return };
            (place, it.segment.take(), Arc::clone(&it.file), it.length)
        };
        // The map with it.
        drop(segment);
        let rest = length.saturating_sub(slice);
        let cut = file.set_len(rest).and_then(|()| file.sync());
        drop(file);
        let given = if cut.is_ok() { length - rest } else { length };
        let closed = {
            let mut state = self.parting.state.lock();
            if let Some(it) = state.files.get_mut(place) {
                it.length -= given;
            }
            let closed = if given == length { state.files.remove(place) } else { None };
            state.next = Some(clock::monotonic() + pause(given, state.waiting()));
            if let Err(error) = cut {
                state.failed = Some(error);
            }
            closed
        };
        drop(closed);
        self.forget(given);
    }

    /// Closes all files that wait, because somebody needs the room: those that are held go with the
    /// last hold. Whether there were any.
    pub(super) fn close_nameless(&self) -> bool {
        let _cutting = self.parting.cutting.lock();
        let (files, octets) = {
            let mut state = self.parting.state.lock();
            let octets = state.waiting();
            (std::mem::take(&mut state.files), octets)
        };
        let were_any = !files.is_empty();
        drop(files);
        self.forget(octets);
        were_any
    }

    /// What failed since this was last asked.
    pub(super) fn parting_failed(&self) -> io::Result<()> {
        self.parting.state.lock().failed.take().map_or(Ok(()), Err)
    }

    /// So many octets of files that go are counted no more.
    pub(super) fn forget(&self, octets: u64) {
        self.leftover_bytes.fetch_sub(octets, Relaxed);
    }
}

#[cfg(test)]
mod tests;
