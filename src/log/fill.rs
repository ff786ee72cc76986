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
}

impl Lately {
    /// Of a log that has written nothing yet.
    pub(super) fn new(segment_size: u64, durability: Durability) -> Self {
        let much = MUCH.min(segment_size / PART);
        let little = much * LITTLE / MUCH;
        // Where groups are not synced, a sync is of many.
        let is_much = durability == Durability::Buffered;
        Self { much, little, sum: 0.into(), is_much: is_much.into() }
    }

    /// So many octets were synced together.
    pub(super) fn synced(&self, octets: u64) {
        let sum = self.sum.load(Relaxed);
        let sum = sum - sum / SYNCS + octets;
        self.sum.store(sum, Relaxed);
        let least = if self.is_much.load(Relaxed) { self.little } else { self.much };
        self.is_much.store(sum / SYNCS >= least, Relaxed);
    }

    /// How the next piece of room is to be set aside.
    pub(super) fn fill(&self) -> Fill {
        if self.is_much.load(Relaxed) { Fill::Nothing } else { Fill::Zeros }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::draft::{NoRoom, Room};
    use super::super::room::tests::{MARK, SIZE, log_on, result};
    use super::*;
    use crate::storage::{Lock, Map, SimDisk, Storage};

    /// Octets by which files were made longer, either way.
    #[derive(Debug, Default)]
    struct Seen {
        zeros: AtomicU64,
        nothing: AtomicU64,
    }

    impl Seen {
        fn take(&self) -> (u64, u64) {
            (self.zeros.swap(0, Relaxed), self.nothing.swap(0, Relaxed))
        }
    }

    /// A disk of which it is counted how files are made longer.
    #[derive(Debug)]
    struct Counting(SimDisk, Arc<Seen>);

    #[derive(Debug)]
    struct Counted(Arc<dyn File>, Arc<Seen>);

    impl Counted {
        fn grown(&self, grow: impl FnOnce() -> io::Result<()>) -> io::Result<u64> {
            let before = self.0.len()?;
            grow()?;
            Ok(self.0.len()? - before)
        }
    }

    impl File for Counted {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_at(out, offset)
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let written = self.grown(|| self.0.write_at(bytes, offset))?;
            assert_eq!(written, 0, "a group is written past the room there is");
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn preallocate(&self, len: u64) -> io::Result<()> {
            let grown = self.grown(|| self.0.preallocate(len))?;
            self.1.zeros.fetch_add(grown, Relaxed);
            Ok(())
        }

        fn allocate(&self, len: u64) -> io::Result<()> {
            let grown = self.grown(|| self.0.allocate(len))?;
            self.1.nothing.fetch_add(grown, Relaxed);
            Ok(())
        }

        fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
            self.0.map(len)
        }
    }

    impl Storage for Counting {
        fn list(&self, dir: &str) -> io::Result<Vec<String>> {
            self.0.list(dir)
        }

        fn create_dir(&self, dir: &str) -> io::Result<()> {
            self.0.create_dir(dir)
        }

        fn sync_dir(&self, dir: &str) -> io::Result<()> {
            self.0.sync_dir(dir)
        }

        fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
            Ok(Arc::new(Counted(self.0.create(path)?, Arc::clone(&self.1))))
        }

        fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
            self.0.open(path)
        }

        fn open_read_only(&self, path: &str) -> io::Result<Arc<dyn File>> {
            self.0.open_read_only(path)
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }

        fn unlink(&self, path: &str) -> io::Result<()> {
            self.0.unlink(path)
        }

        fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
            self.0.lock(path)
        }
    }

    #[test]
    fn much_at_a_time_wants_no_zeros_and_in_between_stays_what_it_was() {
        let buffered = Lately::new(64 << 20, Durability::Buffered);
        assert_eq!(buffered.fill(), Fill::Nothing);
        let lately = Lately::new(64 << 20, Durability::Sync);
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
        lately.synced(10 * MUCH);
        assert_eq!(lately.fill(), Fill::Zeros);
    }

    /// Room is made by the segment, so what was made the other way is used up first.
    #[test]
    fn room_is_made_by_what_was_written_at_a_time() {
        let seen = Arc::new(Seen::default());
        let disk = Arc::new(Counting(SimDisk::new(7), Arc::clone(&seen)));
        let log = log_on(disk, None, Durability::Sync);
        log.begin(MARK, 0, 0);
        let payload = [7; 4096];
        let write = |frames: usize, octets: u64| {
            let until = log.committed().bytes + octets;
            while log.committed().bytes < until {
                for _ in 0..frames {
                    match log.append(&result(&payload), Room::Free { reserve: 0 }, |_, _| ()) {
                        Ok(_) => {}
                        Err(NoRoom::Short(wanted)) => drop(log.ask_for_room(wanted).unwrap()),
                        Err(NoRoom::Ended(error)) => panic!("{error}"),
                    }
                }
                assert!(log.commit(MARK, &mut Vec::new()).is_ok());
                log.make_room().unwrap();
            }
        };
        // A 64th of a segment is 16 KiB here.
        write(1, 4 * SIZE);
        let (zeros, nothing) = seen.take();
        assert!(zeros > 3 * SIZE && nothing == 0, "{zeros}, {nothing}");
        write(8, 4 * SIZE);
        seen.take();
        write(8, 4 * SIZE);
        let (zeros, nothing) = seen.take();
        assert!(zeros == 0 && nothing > 3 * SIZE, "{zeros}, {nothing}");
        write(1, 4 * SIZE);
        seen.take();
        write(1, 4 * SIZE);
        let (zeros, nothing) = seen.take();
        assert!(zeros > 3 * SIZE && nothing == 0, "{zeros}, {nothing}");
    }
}
