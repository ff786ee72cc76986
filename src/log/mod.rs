//! The log: append-only segments of checksummed groups, the one truth of a store.
//!
//! `reserve → append → sync → publish`: [`Log::append`] puts a frame into the open group, in memory;
//! [`Log::commit`] writes and syncs groups, in order, and hands back what became durable; the engine
//! publishes that. Room is made ahead ([`Log::make_room`]), so that an append never needs space.

mod append;
pub(crate) mod commit;
mod done;
mod draft;
mod fill;
mod kept;
pub(crate) mod key;
mod near;
mod parting;
pub(crate) mod replay;
mod room;
mod sealed;
pub(crate) mod segment;
mod table;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::crypt::{Master, OVERHEAD};
use crate::event::fire_all;
use crate::options::Durability;
use crate::poison::Poison;
use crate::random::Random;
use crate::storage::Storage;
use crate::sync::{Condvar, Mutex};

pub(crate) use commit::Failed;
pub(crate) use draft::{Appended, Draft, NoRoom, Room, Wanted};
pub(crate) use fill::Fill;
pub(crate) use kept::{Keep, is_kept};
pub(crate) use segment::Segment;
pub(crate) use table::{Hold, Segments};

/// The directory of segments.
pub(crate) const DIRECTORY: &str = "segments";
/// A segment that is not yet one: removed at open.
pub(crate) const TEMPORARY: &str = ".tmp";

/// The file of segment `id`.
pub(crate) fn path(id: u32) -> String {
    format!("{DIRECTORY}/{}", file_name(id))
}

fn file_name(id: u32) -> String {
    format!("{id:010}.log")
}

/// The segment a file name stands for.
pub(crate) fn id_of(file_name: &str) -> Option<u32> {
    file_name.strip_suffix(".log").and_then(digits)
}

/// The id that these are the digits of.
fn digits(digits: &str) -> Option<u32> {
    (digits.len() == 10).then(|| digits.parse().ok()).flatten()
}

/// What a log is built with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) store_id: [u8; 16],
    pub(crate) secret: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) durability: Durability,
    pub(crate) segment_size: u64,
    /// Most bytes of segments and whatever `other_bytes` counts.
    pub(crate) max_disk: Option<u64>,
    /// Where salts come from.
    pub(crate) random: Random,
    /// What the keys of new segments are wrapped by, when payloads are sealed.
    pub(crate) master: Option<Master>,
}

impl Config {
    /// Octets that sealing adds to a payload.
    fn overhead(&self) -> u64 {
        if self.master.is_some() { OVERHEAD } else { 0 }
    }
}

/// A place between groups: everything before it is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    /// Hash of the header of the group that ends here.
    pub(crate) previous: u64,
    pub(crate) last_sequence: u64,
}

/// The log of an open store. `P` is what a frame publishes, of which the log knows nothing.
pub(crate) struct Log<P> {
    storage: Arc<dyn Storage>,
    config: Config,
    poison: Arc<Poison>,
    pub(crate) segments: Arc<Segments>,
    /// Lock order: a shard of the index, then `writer`. Nothing else is taken under it.
    writer: Mutex<writer::Writer<P>>,
    /// One commit at a time. Lock order: `committer`, then `writer`.
    committer: Mutex<commit::Committer>,
    /// Frames wait to be committed; or the log is poisoned.
    work: Condvar,
    /// One preparation at a time, and what is left of retired segments, which others may be made of.
    /// Lock order: `preparing`, then `writer`.
    preparing: Mutex<kept::Leftovers>,
    /// Their files that have no name any more.
    parting: parting::Parting,
    /// Bytes of what is left of them.
    leftover_bytes: AtomicU64,
    /// Segments made of what was left of others.
    reused: AtomicU64,
    /// Room runs short; or the log is poisoned.
    short: Condvar,
    /// Bytes outside the log that count against `max_disk`.
    pub(crate) other_bytes: AtomicU64,
    /// Whether the last preparation found no room.
    refused_room: AtomicBool,
    /// How much is written at a time, which says how room is to be made.
    lately: Arc<fill::Lately>,
}

impl<P> Log<P> {
    /// A log that goes on in `active`, a segment prepared and empty, after `position`.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        config: Config,
        poison: Arc<Poison>,
        segments: Arc<Segments>,
        active: segment::Prepared,
        start: Start,
    ) -> Self {
        let previous = start.previous;
        let zeroed = active.segment.length.load(Relaxed);
        let lately = fill::Lately::new(config.segment_size, config.durability, zeroed);
        let lately = Arc::new(lately);
        Self {
            writer: Mutex::new(writer::Writer::new(active, &config, start)),
            committer: Mutex::new(commit::Committer::new(previous, Arc::clone(&lately))),
            storage,
            config,
            poison,
            segments,
            work: Condvar::new(),
            preparing: Mutex::new(kept::Leftovers::new(start.next_segment)),
            parting: parting::Parting::default(),
            leftover_bytes: 0.into(),
            reused: 0.into(),
            short: Condvar::new(),
            other_bytes: 0.into(),
            refused_room: false.into(),
            lately,
        }
    }

    pub(crate) fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Ends writes: whoever waits for a group or for room is told why.
    pub(crate) fn fail(&self, cause: &crate::error::Error) -> crate::error::Error {
        let error = self.poison.set(cause);
        let (groups, waiting) = {
            let mut writer = self.writer.lock();
            (writer.take_groups(), writer.take_waiting())
        };
        let groups = groups.into_iter().flat_map(|group| group.done.into_events());
        let waiting = groups.chain([waiting]);
        fire_all(waiting.collect(), Err(error.clone()));
        self.work.notify_all();
        self.short.notify_all();
        error
    }

    /// Blocks the committer's thread until there is something to commit. `false` when there never
    /// will be.
    pub(crate) fn wait_for_work(&self) -> bool {
        let mut writer = self.writer.lock();
        loop {
            if self.poison.is_set() {
                return false;
            }
            if writer.has_frames() {
                return true;
            }
            self.work.wait(&mut writer);
        }
    }

    /// Blocks the preparing thread until room runs short; with `patience`, because there was none
    /// just now, that long, unless somebody asks for room. `false` when the log has ended.
    pub(crate) fn wait_for_shortage(&self, patience: Option<Duration>) -> bool {
        let mut writer = self.writer.lock();
        if let Some(patience) = patience {
            let asked = |writer: &mut writer::Writer<P>| {
                !writer.is_asked_for_room() && !self.poison.is_set()
            };
            let _ = self.short.wait_while_for(&mut writer, asked, patience);
        }
        loop {
            if self.poison.is_set() {
                return false;
            }
            if writer.runs_short() {
                return true;
            }
            self.short.wait(&mut writer);
        }
    }

    /// Whether no claim is taken for want of room: there is none for one, and the disk, or
    /// `max_disk`, had none when it was last asked, which the preparing thread does again in each
    /// round.
    pub(crate) fn is_full(&self) -> bool {
        self.refused_room.load(Relaxed) && !self.writer.lock().takes_claims()
    }

    /// Whether room runs short.
    #[cfg(feature = "test-util")]
    pub(crate) fn is_short(&self) -> bool {
        self.writer.lock().runs_short()
    }

    /// An id no segment has had.
    pub(crate) fn next_segment(&self) -> u32 {
        self.writer.lock().next_id()
    }

    /// The longest retention any claim has asked for, milliseconds.
    pub(crate) fn ttl_max_ms(&self) -> u64 {
        self.writer.lock().ttl_max_ms()
    }
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Hash of the header of the last group.
    pub(crate) previous: u64,
    /// The number of the last frame.
    pub(crate) last_sequence: u64,
    pub(crate) ttl_max_ms: u64,
    pub(crate) suspect_until_ms: u64,
    pub(crate) next_segment: u32,
}
