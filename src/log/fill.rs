//! Which way room ahead is set aside: written full of zeros, or allocated alone. The one place that
//! decides it.
//!
//! A sync of blocks that were never written also writes the file system's journal, and waits for it;
//! zeros that were written before spare it that, and are as many octets again as the log itself. So it
//! depends on how much goes to the disk with one sync. If it is little, the wait for a sync is what a
//! store's time goes by; if it is much, the octets are. The page cache goes by it, too: blocks alone
//! are held in large pages, which looks gain by, zeros in small ones, which are quicker to sync. What
//! was set aside stays as it is: a change shows from the next piece on, a segment or less away.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::options::Durability;
use crate::storage::File;

/// Octets a sync from which on zeros cost more than they spare, and below which they do not: apart,
/// so that a store between them does not go to and fro.
const MUCH: u64 = 24 * 1024;
const LITTLE: u64 = 16 * 1024;
/// At most these parts of a segment, so that stores of small ones, as the simulator's, have both.
const PART: u64 = 64;
/// Of how many syncs the mean is, about.
const SYNCS: u64 = 64;
/// How many times as much as is much a sync counts for at most, so that one large frame does not decide
/// for the many small ones behind it.
const ONE_AT_MOST: u64 = 8;

/// A way to set room aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Zeros are written.
    Zeros,
    /// Blocks are allocated, and nothing is written.
    Nothing,
}

impl Fill {
    /// Makes `file` `length` octets long, if it is shorter. Durable once it is synced.
    pub(super) fn up_to(self, file: &dyn File, length: u64) -> io::Result<()> {
        match self {
            Self::Zeros => file.preallocate(length),
            Self::Nothing => file.allocate(length),
        }
    }
}

/// How much goes to the disk with one sync, lately. Told by one thread at a time, the committer.
#[derive(Debug)]
pub(super) struct Lately {
    much: u64,
    little: u64,
    /// Octets of [`SYNCS`] syncs, if all were as the mean is.
    sum: AtomicU64,
    is_much: AtomicBool,
    /// Octets of zeros written.
    zeroed: AtomicU64,
}

impl Lately {
    /// Of a log that has written nothing yet but the zeros of its first segment.
    pub(super) fn new(segment_size: u64, durability: Durability, zeroed: u64) -> Self {
        let much = match durability {
            Durability::Sync => MUCH.min(segment_size / PART),
            // Nobody waits for a sync, which is all that zeros are for.
            Durability::Buffered => 0,
        };
        let little = much * LITTLE / MUCH;
        let is_much = AtomicBool::new(much == 0);
        Self { much, little, sum: 0.into(), is_much, zeroed: zeroed.into() }
    }

    /// So many octets were synced together.
    pub(super) fn synced(&self, octets: u64) {
        let sum = self.sum.load(Relaxed);
        let sum = sum - sum / SYNCS + octets.min(ONE_AT_MOST * self.much);
        self.sum.store(sum, Relaxed);
        let least = if self.is_much.load(Relaxed) { self.little } else { self.much };
        self.is_much.store(sum / SYNCS >= least, Relaxed);
    }

    /// How the next piece of room is to be set aside.
    pub(super) fn fill(&self) -> Fill {
        if self.is_much.load(Relaxed) { Fill::Nothing } else { Fill::Zeros }
    }

    /// So many octets were set aside that way.
    pub(super) fn set_aside(&self, fill: Fill, octets: u64) {
        if fill == Fill::Zeros {
            self.zeroed.fetch_add(octets, Relaxed);
        }
    }

    /// Octets of zeros written since the log was opened.
    pub(super) fn zeroed(&self) -> u64 {
        self.zeroed.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_at_a_time_wants_no_zeros_and_in_between_stays_what_it_was() {
        let buffered = Lately::new(64 << 20, Durability::Buffered, 0);
        assert_eq!(buffered.fill(), Fill::Nothing);
        buffered.synced(1);
        assert_eq!(buffered.fill(), Fill::Nothing, "nobody waits for its syncs");
        let lately = Lately::new(64 << 20, Durability::Sync, 0);
        let after = |octets| {
            (0..10 * SYNCS).for_each(|_| lately.synced(octets));
            lately.fill()
        };
        assert_eq!(lately.fill(), Fill::Zeros, "nothing is known yet");
        assert_eq!(after(MUCH - 2048), Fill::Zeros);
        assert_eq!(after(MUCH + 2048), Fill::Nothing);
        assert_eq!(after(MUCH - 2048), Fill::Nothing);
        assert_eq!(after(LITTLE + 2048), Fill::Nothing);
        assert_eq!(after(LITTLE - 2048), Fill::Zeros);
        assert_eq!(after(LITTLE + 2048), Fill::Zeros);
        // One large group among small ones is not how a store writes.
        lately.synced(400 * MUCH);
        assert_eq!(lately.fill(), Fill::Zeros);
    }
}
