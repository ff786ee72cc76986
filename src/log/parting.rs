//! Files that have lost their names, given back to the disk in slices.
//!
//! A file system mounted with `discard` tells the device of all blocks that one commit of its journal
//! frees, and while the device discards many, it does nothing else: a sync of the log waits.
//!
//! 1. A file comes here once no name leads to it, and is cut once that is on disk. So whatever it is cut
//!    to, nobody who reads the directory ever sees it, after no crash, and if the process ends, the rest
//!    goes with it. One whose name may come back is closed as it is.
//! 2. It is cut when nobody holds the segment or its map: a look at a page that the file has no more
//!    would end the process. One that is held stays whole until then.
//! 3. Of a file that an earlier store made nobody knows who has it mapped: whoever was handed a payload
//!    by that store, in this process or another, may read it for as long as he likes. It is closed as
//!    it is.
//! 4. Each cut is synced: without that, one commit of the journal would free several.
//! 5. A disk may take as long to discard little as to discard much. So it is cut while the log rests,
//!    and otherwise seldom, unless there is no room for more (see `pace`).
//! 6. What is not given back yet counts as the store's; whoever needs the room has all of it at once.

mod pace;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use self::pace::{Pace, Seen};
use super::segment::Segment;
use super::{DIRECTORY, Log};
use crate::clock;
use crate::storage::File;
use crate::sync::{Condvar, Mutex};

/// How often files that are held are looked at.
const LOOK: Duration = Duration::from_millis(250);

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
    /// Whether names went since their directory was synced. Changed under `preparing` alone.
    is_unsynced: bool,
    /// Oldest first. Taken out under `cutting` alone.
    files: VecDeque<Nameless>,
    /// Whether somebody asked for the disk back, and so does not mind that others wait for it.
    is_asked: bool,
    pace: Pace,
    /// What failed since somebody was told.
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct Nameless {
    /// As long as it may be held by others.
    segment: Option<Arc<Segment>>,
    file: Arc<dyn File>,
    length: u64,
    way: Way,
}

/// How a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// That its name went is not on disk yet: it stays.
    Undecided,
    Sliced,
    /// Closed as it is: its name may come back, or somebody may read it of whom nobody knows.
    Whole,
}

impl Nameless {
    fn is_ready(&mut self) -> bool {
        self.way != Way::Undecided && self.segment.as_mut().is_none_or(Segment::is_unread)
    }
}

impl State {
    fn waiting(&self) -> u64 {
        self.files.iter().map(|it| it.length).sum()
    }

    /// The place of the first that may go and that nobody holds.
    fn ready(&mut self) -> Option<usize> {
        self.files.iter_mut().position(Nameless::is_ready)
    }

    /// As [`Pace::ask`]; whoever asked for the disk back needs it.
    fn ask(&mut self, now: Instant, seen: Seen) -> Result<u64, Instant> {
        self.pace.ask(now, Seen { is_pressed: seen.is_pressed || self.is_asked, ..seen })
    }

    /// Whether the names are gone on disk of those that wait for it is known.
    fn decide(&mut self, are_gone: bool) {
        let way = if are_gone { Way::Sliced } else { Way::Whole };
        self.files.iter_mut().filter(|it| it.way == Way::Undecided).for_each(|it| it.way = way);
    }
}

/// What is to be done next.
enum Turn {
    SyncNames,
    /// So many octets at most.
    Cut(u64),
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
                Turn::Cut(slice) => self.cut(slice),
            }
        }
    }

    fn wait_for_turn(&self) -> Option<Turn> {
        loop {
            let seen = self.see();
            let mut state = self.parting.state.lock();
            if !state.is_served {
                return None;
            }
            if state.is_unsynced {
                return Some(Turn::SyncNames);
            }
            if state.files.is_empty() {
                state.is_asked = false;
                self.parting.changed.wait(&mut state);
                continue;
            }
            if state.ready().is_none() {
                let _ = self.parting.changed.wait_for(&mut state, LOOK);
                continue;
            }
            match state.ask(clock::monotonic(), seen) {
                Ok(slice) => return Some(Turn::Cut(slice)),
                Err(next) => {
                    let _ = self.parting.changed.wait_until(&mut state, next);
                }
            }
        }
    }

    /// Looks at what the log does. Takes the writer's lock: not under `state`, which is a leaf.
    fn see(&self) -> Seen {
        let groups = self.writer.lock().taken();
        let is_pressed = self.refused_room.load(Relaxed)
            || self.within_max_disk(self.config.segment_size).is_err();
        Seen { groups, is_pressed }
    }

    /// Takes the file of a segment, of `length` octets, to which no name leads any more and which is
    /// counted until it is given back. `may_come_back`: a sync of the directory is not enough to know
    /// its name gone. Under the lock that guards the directory; whoever has no more to bring calls
    /// [`sync_removed_names`](Self::sync_removed_names).
    pub(super) fn part_with(&self, segment: Arc<Segment>, length: u64, may_come_back: bool) {
        let mut state = self.parting.state.lock();
        if state.is_served {
            let file = Arc::clone(&segment.file);
            let is_whole = may_come_back || !segment.is_made_here();
            let way = if is_whole { Way::Whole } else { Way::Undecided };
            state.files.push_back(Nameless { segment: Some(segment), file, length, way });
            state.is_unsynced = true;
        } else {
            drop(state);
            drop(segment);
            self.forget(length);
        }
    }

    /// Has the directory synced, from which names went, under the lock that guards it: at once, or soon,
    /// for only cutting waits for it: a name that comes back is of a segment that was retired, or never
    /// begun.
    ///
    /// # Errors
    /// The sync failed.
    pub(super) fn sync_removed_names(&self) -> io::Result<()> {
        if self.wake_slices() { Ok(()) } else { self.storage.sync_dir(DIRECTORY) }
    }

    /// Has a thread look at what it was brought. Whether there is one.
    pub(super) fn wake_slices(&self) -> bool {
        self.parting.changed.notify_one();
        self.parting.state.lock().is_served
    }

    /// What waits is given back as fast as it goes while the log rests: somebody asked for it.
    pub(super) fn hurry_slices(&self) {
        let mut state = self.parting.state.lock();
        state.is_asked = !state.files.is_empty();
    }

    fn sync_names(&self) {
        let _names = self.preparing.lock();
        // A store whose writes have ended leaves the directory alone.
        let ended = self.poison.is_set();
        let synced = if ended { Ok(()) } else { self.storage.sync_dir(DIRECTORY) };
        let mut state = self.parting.state.lock();
        state.is_unsynced = false;
        state.decide(synced.is_ok() && !ended);
        if let Err(error) = synced {
            state.failed = Some(error);
        }
    }

    /// The directory's sync may have failed, under the lock that guards it: what it did not bring to
    /// disk no later one may, so the names that went before may come back.
    pub(super) fn doubt_removed_names(&self) {
        self.parting.state.lock().decide(false);
    }

    /// Takes a slice off the first file that may go and that nobody holds. One that is not cut, or
    /// cannot be, is closed, which gives all of it back.
    fn cut(&self, slice: u64) {
        let _cutting = self.parting.cutting.lock();
        let (place, segment, file, length, way) = {
            let mut state = self.parting.state.lock();
            let Some(place) = state.ready() else { return };
            let Some(it) = state.files.get_mut(place) else { return };
            (place, it.segment.take(), Arc::clone(&it.file), it.length, it.way)
        };
        // The map with it.
        drop(segment);
        let (rest, cut) = if way == Way::Sliced {
            let rest = length.saturating_sub(slice);
            (rest, file.set_len(rest).and_then(|()| file.sync()))
        } else {
            (0, Ok(()))
        };
        drop(file);
        let given = if cut.is_ok() { length - rest } else { length };
        let closed = {
            let mut state = self.parting.state.lock();
            if let Some(it) = state.files.get_mut(place) {
                it.length -= given;
            }
            let closed = if given == length { state.files.remove(place) } else { None };
            let waiting = state.waiting();
            state.pace.gave(clock::monotonic(), given, waiting);
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
