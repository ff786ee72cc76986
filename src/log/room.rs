//! Making room: segments made ahead, so that a full disk shows where it can be borne. How they are
//! filled is `fill`'s.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::Log;
use super::draft::Wanted;
use super::kept::Leftovers;
use super::segment::{self, Prepared, Segment};
use crate::error::{Error, ErrorKind};
use crate::event::fire_all;
use crate::format::segment::Header;

/// The most and the least that is set aside at a time.
const CHUNK_MAX: u64 = 4 << 20;
const CHUNK_MIN: u64 = 16 << 10;
/// What a chunk ends at a multiple of, when it is at least that long.
const LARGE_PAGE: u64 = 2 << 20;

/// What is missing, and what could be extended.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) missing: u64,
    /// Whether somebody waits, or what is reserved has no room: not only the room ahead is short.
    pub(crate) urgent: bool,
    /// Whether the last segment is to be extended before another is made. Not the active one of a
    /// store that writes much: each of its syncs would write the zeros, too, and the file's new
    /// length with them. Such a store prepares whole segments.
    pub(crate) extend: bool,
    /// What somebody waits for.
    pub(crate) wanted: Wanted,
    /// What another segment is to hold beside that frame, because it replaces those that are ready:
    /// what is reserved has its room in them.
    pub(crate) instead: u64,
    /// Octets of a segment before its first record.
    pub(crate) opening: u64,
    pub(crate) last: Arc<Segment>,
    /// The last segment's length, and the most it may have.
    pub(crate) length: u64,
    pub(crate) size: u64,
    pub(crate) next_id: u32,
    pub(crate) epoch: u64,
}

/// A preparation that failed.
struct Refused {
    /// What somebody waited for when it was tried.
    wanted: Wanted,
    error: Error,
}

impl Refused {
    /// Whether less may be had all the same.
    fn is_full(&self) -> bool {
        self.error.kind() == ErrorKind::Full
    }
}

impl<P> Log<P> {
    /// Prepares room until there is enough for whoever waits and the usual amount ahead. Tells
    /// those who wait how it went.
    ///
    /// # Errors
    /// `Full` when the disk, or `max_disk`, has none: it may be tried again. `Io` when the disk
    /// refuses for another reason. Neither poisons by itself: nothing was to be kept there yet. But
    /// where it was a sync that failed, the next sync of that segment fails, too.
    pub(crate) fn make_room(&self) -> Result<(), Error> {
        loop {
            let prepared = self.prepare();
            if let Some(outcome) = self.tell_how(prepared) {
                return outcome;
            }
        }
    }

    /// Tells those who wait for room how its preparation went; `None` when somebody has come to wait
    /// for more since it failed, who was not asked for.
    fn tell_how(&self, prepared: Result<(), Refused>) -> Option<Result<(), Error>> {
        let mut writer = self.writer.lock();
        let met = writer.is_wanted_met();
        let outcome = match prepared {
            Ok(()) => Ok(()),
            // What was refused may have been room ahead, which is not scraped together.
            Err(refused) if !met && writer.wants_beyond(refused.wanted) && refused.is_full() => {
                return None;
            }
            Err(refused) => Err(refused.error),
        };
        writer.grow_ahead();
        let waiters = writer.waiters();
        drop(writer);
        self.refused_room.store(outcome.is_err(), Relaxed);
        if let Some(waiters) = waiters {
            // What failed may have been the room ahead, which nobody waits for.
            fire_all(vec![waiters], if met { Ok(()) } else { outcome.clone() });
        }
        Some(outcome)
    }

    fn prepare(&self) -> Result<(), Refused> {
        let mut leftovers = self.preparing.lock();
        let mut wanted = Wanted::default();
        let mut dropped = false;
        loop {
            self.poison.check().map_err(|error| Refused { wanted, error })?;
            let plan = self.writer.lock().plan();
            let Some(plan) = plan else { return Ok(()) };
            wanted = plan.wanted;
            let Err(error) = self.step(&mut leftovers, &plan) else { continue };
            // Another may be had in its place, once; or with the room of a file that is kept.
            let may_go_on = plan.last.has_failed()
                && self.drop_failed(&mut leftovers, &plan.last)
                && !std::mem::replace(&mut dropped, true)
                || is_full(&error) && self.release_one(&mut leftovers);
            if !may_go_on {
                return Err(Refused { wanted, error: full_or_io(error) });
            }
        }
    }

    /// Drops a segment that is ready and of which a sync failed: it could never be written to. `false`
    /// when it was begun meanwhile.
    fn drop_failed(&self, leftovers: &mut Leftovers, failed: &Segment) -> bool {
        let Some(dropped) = self.writer.lock().drop_next(failed.id) else { return false };
        self.discard(leftovers, &dropped);
        true
    }

    /// Extends the last segment, or makes another.
    fn step(&self, leftovers: &mut Leftovers, plan: &Plan) -> io::Result<()> {
        let wants_large = plan.wanted.frame + plan.opening > self.config.segment_size;
        let left = plan.size.saturating_sub(plan.length);
        if left > 0 && !wants_large && plan.extend {
            let chunk = plan.missing.clamp(CHUNK_MIN, self.chunk()).min(left);
            // Room that nobody needs yet is not scraped together from what a full disk has left:
            // checkpoints and the next open need some, too.
            let least = if plan.urgent { CHUNK_MIN.min(left) } else { chunk };
            // Whole large pages, where there is enough to do.
            let end = plan.length + chunk;
            let chunk = if chunk < LARGE_PAGE {
                chunk
            } else {
                end.next_multiple_of(LARGE_PAGE).min(plan.size) - plan.length
            };
            return self.smaller_and_smaller(chunk, least, |chunk| {
                let fill = self.lately.fill();
                plan.last.extend(plan.length + chunk, fill)?;
                self.lately.set_aside(fill, chunk);
                Ok(())
            });
        }
        let needed = (plan.opening + plan.wanted.frame + plan.instead).next_multiple_of(4096);
        // A frame larger than a segment gets a segment of its own.
        let size = if wants_large { needed } else { self.config.segment_size.max(needed) };
        let (first, least) = if wants_large {
            (size, size)
        } else {
            let least = needed.max(CHUNK_MIN);
            let first = (plan.missing + plan.opening).clamp(least, self.chunk().max(least));
            (first, if plan.urgent { least } else { first })
        };
        let next = (plan.next_id, plan.epoch);
        if size == self.config.segment_size && self.reuse(leftovers, next, needed) {
            return Ok(());
        }
        let first = first.min(size);
        self.smaller_and_smaller(first, least.min(size), |length| {
            let prepared = self.create(next, length, size)?;
            self.add(leftovers, prepared);
            Ok(())
        })
    }

    pub(super) fn add(&self, leftovers: &mut Leftovers, prepared: Prepared) {
        let unused = self.writer.lock().add(prepared);
        for unused in &unused {
            self.discard(leftovers, unused);
        }
    }

    /// Goes on in a new segment, made now if none is ready.
    ///
    /// # Errors
    /// `Full` or `Io` when there is no room for one that also holds what is reserved.
    pub(crate) fn roll(&self) -> Result<(), Error> {
        let mut leftovers = self.preparing.lock();
        self.poison.check()?;
        let (may_roll, id, needed) = {
            let writer = self.writer.lock();
            (writer.may_roll(), writer.next_id(), writer.room_to_roll())
        };
        if !may_roll {
            let length = needed.next_multiple_of(4096);
            let size = self.config.segment_size.max(length);
            let next = (id, self.config.epoch);
            loop {
                if size == self.config.segment_size && self.reuse(&mut leftovers, next, length) {
                    break;
                }
                let made =
                    self.within_max_disk(length).and_then(|()| self.create(next, length, size));
                match made {
                    Ok(prepared) => {
                        self.add(&mut leftovers, prepared);
                        break;
                    }
                    Err(error) if is_full(&error) && self.release_one(&mut leftovers) => {}
                    Err(error) => return Err(full_or_io(error)),
                }
            }
        }
        let mut writer = self.writer.lock();
        self.refuse_ended(&writer)?;
        if !writer.may_roll() {
            return Err(Error::new(ErrorKind::Full, "there is no room for a segment"));
        }
        writer.roll();
        self.work.notify_one();
        Ok(())
    }

    /// What is set aside at a time where there is enough to do, and what a segment has at first.
    pub(super) fn chunk(&self) -> u64 {
        CHUNK_MAX.min(self.config.segment_size / 4).max(CHUNK_MIN)
    }

    /// Tries `make` with `bytes`, and with ever fewer while the disk is full, down to `least`.
    fn smaller_and_smaller(
        &self,
        mut bytes: u64,
        least: u64,
        mut make: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let made = self.within_max_disk(bytes).and_then(|()| make(bytes));
            match made {
                Err(error) if is_full(&error) && bytes > least => {
                    bytes = (bytes / 2).next_multiple_of(8).max(least);
                }
                made => return made,
            }
        }
    }

    pub(super) fn within_max_disk(&self, more: u64) -> io::Result<()> {
        let Some(max) = self.config.max_disk else { return Ok(()) };
        if self.disk_bytes() + self.other_bytes.load(Relaxed) + more > max {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("the store may take {max} bytes of disk"),
            ));
        }
        Ok(())
    }

    /// Bytes the log's files take, those prepared ahead among them.
    pub(crate) fn disk_bytes(&self) -> u64 {
        // What is left of retired segments comes out of the table and goes to the writer: looked at on
        // both sides, it is in one of them at least.
        let leftovers = self.leftover_bytes.load(Acquire);
        // The writer's first: what goes from there into the table meanwhile is in both, not in neither.
        let unlisted = self.writer.lock().unlisted();
        let listed = self.segments.all();
        let is_listed = |id| listed.iter().any(|segment| segment.id == id);
        let unlisted = unlisted.iter().filter(|segment| !is_listed(segment.id));
        let segments = listed.iter().chain(unlisted).map(|segment| segment.length.load(Relaxed));
        segments.sum::<u64>() + leftovers.max(self.leftover_bytes.load(Acquire))
    }

    /// The header of a new segment.
    pub(super) fn header(&self, id: u32, epoch: u64, prepared: u64) -> io::Result<Header> {
        Ok(Header {
            store_id: self.config.store_id,
            salt: self.config.random.number()?,
            id,
            prepared,
            epoch,
            sealed: self.config.master.is_some(),
        })
    }

    fn create(&self, (id, epoch): (u32, u64), length: u64, size: u64) -> io::Result<Prepared> {
        let header = self.header(id, epoch, length)?;
        let (master, fill) = (self.config.master.as_ref(), self.lately.fill());
        let made = segment::create(&*self.storage, &header, size, master, fill);
        match &made {
            Ok(_) => self.lately.set_aside(fill, length),
            Err(_) => self.doubt_removed_names(),
        }
        made
    }

    /// Octets of zeros written ahead since the store was opened.
    pub(crate) fn zeroed(&self) -> u64 {
        self.lately.zeroed()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn full_or_io(error: io::Error) -> Error {
    if is_full(&error) {
        return Error::new(ErrorKind::Full, "there is no room for another claim")
            .with_source(error);
    }
    Error::io("preparing room in the log", error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicU64;

    use super::super::draft::{Draft, NoRoom, Room, Wanted};
    use super::super::fill::Fill;
    use super::super::{Config, DIRECTORY, Segments, Start};
    use super::*;
    use crate::clock::TimeMark;
    use crate::fingerprint::Fingerprint;
    use crate::format::frame::{Kind, payload_crc};
    use crate::options::Durability;
    use crate::poison::Poison;
    use crate::random::Random;
    use crate::storage::{File, Lock, Map, SimDisk, Storage};

    const SIZE: u64 = 1 << 20;

    fn log() -> Log<()> {
        log_within(&Arc::new(SimDisk::new(7)), None)
    }

    fn log_within(disk: &Arc<SimDisk>, max_disk: Option<u64>) -> Log<()> {
        log_of(disk, max_disk, Durability::Sync)
    }

    fn log_of(disk: &Arc<SimDisk>, max_disk: Option<u64>, durability: Durability) -> Log<()> {
        log_on(Arc::clone(disk) as Arc<dyn Storage>, max_disk, durability)
    }

    fn log_on(disk: Arc<dyn Storage>, max_disk: Option<u64>, durability: Durability) -> Log<()> {
        disk.create_dir("").unwrap();
        disk.create_dir(DIRECTORY).unwrap();
        let config = Config {
            store_id: [1; 16],
            secret: [2; 16],
            epoch: 1,
            durability,
            segment_size: SIZE,
            max_disk,
            random: Random::default(),
            master: None,
        };
        let header =
            Header { store_id: [1; 16], salt: 3, id: 1, prepared: 65_536, epoch: 1, sealed: false };
        let active = segment::create(&*disk, &header, SIZE, None, Fill::Zeros).unwrap();
        let start = Start {
            previous: 0,
            last_sequence: 0,
            ttl_max_ms: 0,
            suspect_until_ms: 0,
            next_segment: 2,
        };
        let poison = Arc::new(Poison::default());
        Log::new(disk, config, poison, Arc::new(Segments::default()), active, start)
    }

    #[test]
    fn a_log_that_writes_much_extends_no_segment_it_has_begun() {
        let log = log();
        log.begin(MARK, 0, 0);
        let payload = [7; 4096];
        let draft = result(&payload);
        // Once room was made it is known that much is written.
        log.make_room().unwrap();
        let mut begun = BTreeMap::new();
        while begun.len() < 8 {
            match log.append(&draft, Room::Free { reserve: 0 }, |_, _| ()) {
                Ok(_) => {}
                Err(NoRoom::Short(wanted)) => drop(log.ask_for_room(wanted).unwrap()),
                Err(NoRoom::Ended(error)) => panic!("{error}"),
            }
            if log.writer.lock().runs_short() {
                log.make_room().unwrap();
            }
            let active = log.active();
            let length = active.length.load(Relaxed);
            let first = *begun.entry(active.id).or_insert(length);
            assert_eq!(length, first, "segment {} was extended", active.id);
        }
        assert!(begun.values().skip(1).all(|length| *length == SIZE), "{begun:?}");
    }

    #[test]
    fn what_is_reserved_has_room_while_a_larger_segment_takes_the_place_of_those_ready() {
        let log = log();
        log.begin(MARK, 0, 0);
        let draft = Draft {
            kind: Kind::Claim,
            flags: 0,
            scope: b"",
            key: b"key",
            payload: &[],
            payload_crc: payload_crc(&[]),
            claim_sequence: None,
            claimed_at_ms: 0,
            term_ms: 1,
            fingerprint: Fingerprint::of("a request"),
        };
        let mut granted = 0;
        while granted < 3 * SIZE / 1000 {
            match log.append(&draft, Room::Free { reserve: 1000 }, |_, _| ()) {
                Ok(_) => granted += 1,
                Err(NoRoom::Short(wanted)) => {
                    drop(log.ask_for_room(wanted).unwrap());
                    log.make_room().unwrap();
                }
                Err(NoRoom::Ended(error)) => panic!("{error}"),
            }
        }
        let frame = SIZE + SIZE / 2;
        drop(log.ask_for_room(Wanted { total: 5 * SIZE, frame }).unwrap());
        loop {
            assert!(log.writer.lock().holds_reserved());
            let Some(plan) = log.writer.lock().plan() else { break };
            log.step(&mut log.preparing.lock(), &plan).unwrap();
        }
        assert!(log.writer.lock().is_wanted_met());
    }

    const MARK: TimeMark = TimeMark { store_ms: 0, since_boot_ms: 0, wall_ms: 0, boot_id: [0; 16] };

    fn result(payload: &[u8]) -> Draft<'_> {
        Draft {
            kind: Kind::Complete,
            flags: 0,
            scope: b"",
            key: b"key",
            payload,
            payload_crc: payload_crc(payload),
            claim_sequence: Some(1),
            claimed_at_ms: 0,
            term_ms: 1,
            fingerprint: Fingerprint::of("a request"),
        }
    }

    /// Frames are appended, and committed now and then, for as long as there is room under a bound
    /// anywhere between one segment and a few: at no moment is the bound exceeded, a segment begun
    /// and not yet written included, and in the end it is nearly reached.
    #[test]
    fn no_file_of_the_log_goes_over_max_disk() {
        let mut random = crate::seed::rng();
        for _ in 0..40 {
            let max = random.u64(200_000..5 * SIZE);
            let commits_in = random.u32(1..2000);
            let disk = Arc::new(SimDisk::new(7));
            let log = log_within(&disk, Some(max));
            log.begin(MARK, 0, 0);
            let taken = || {
                let files = disk.files();
                files
                    .iter()
                    .map(|file| disk.open_read_only(file).unwrap().len().unwrap())
                    .sum::<u64>()
            };
            let payload = [7; 4096];
            let full = loop {
                match log.append(&result(&payload), Room::Free { reserve: 0 }, |_, _| ()) {
                    Ok(_) => {}
                    Err(NoRoom::Short(wanted)) => {
                        let asked = log.ask_for_room(wanted).unwrap();
                        let _ = log.make_room();
                        if let Some(Err(error)) = asked.outcome() {
                            break error;
                        }
                    }
                    Err(NoRoom::Ended(error)) => panic!("{error}"),
                }
                if random.u32(..commits_in) == 0 {
                    assert!(log.commit(MARK, &mut Vec::new()).is_ok());
                }
                if log.writer.lock().runs_short() {
                    let _ = log.make_room();
                }
                assert_eq!(log.disk_bytes(), taken(), "each file is counted, once");
                assert!(taken() <= max, "{} of {max} bytes", taken());
            };
            assert_eq!(full.kind(), ErrorKind::Full);
            assert!(taken() <= max && taken() + 2 * CHUNK_MIN > max, "{} of {max}", taken());
        }
    }

    /// The disk has no room for what is made ahead, and enough for one who asks just then: he is not
    /// told that it is full, for nobody has asked the disk for him.
    #[test]
    fn who_asks_as_the_room_ahead_is_refused_has_the_disk_asked_for_him() {
        let disk = Arc::new(SimDisk::new(7));
        let log = log_within(&disk, Some(65_536 + 2 * CHUNK_MIN));
        log.begin(MARK, 0, 0);
        let payload = [7; 1024];
        let append = || log.append(&result(&payload), Room::Free { reserve: 0 }, |_, _| ());
        let wanted = loop {
            match append() {
                Ok(_) => {}
                Err(NoRoom::Short(wanted)) => break wanted,
                Err(NoRoom::Ended(error)) => panic!("{error}"),
            }
        };
        let refused = log.prepare();
        assert!(refused.as_ref().is_err_and(Refused::is_full), "there is room ahead");
        let asked = log.ask_for_room(wanted).unwrap();
        assert!(log.tell_how(refused).is_none() && asked.outcome().is_none());
        let _ = log.make_room();
        assert!(asked.outcome().is_some_and(|made| made.is_ok()), "{:?}", asked.outcome());
        assert!(append().is_ok());
        // When there is none for him either, he is told.
        let frame = 4 * CHUNK_MIN;
        let asked = log.ask_for_room(Wanted { total: frame, frame }).unwrap();
        assert!(log.make_room().is_err_and(|error| error.kind() == ErrorKind::Full));
        assert!(asked.outcome().is_some_and(|made| made.is_err()));
    }

    /// A failed sync is told once. Told to who makes room in the file of a group that is written and
    /// not synced, it is the group's all the same.
    #[cfg(feature = "test-util")]
    #[test]
    fn p0_2_a_sync_that_fails_as_room_is_made_is_no_groups_luck() {
        let payload = [7; 1024];
        let mut lost = 0;
        for nth in 0..6 {
            let disk = Arc::new(SimDisk::new(7));
            let log = log_of(&disk, None, Durability::Buffered);
            disk.sync_dir("").unwrap();
            log.begin(MARK, 0, 0);
            log.append(&result(&payload), Room::Free { reserve: 0 }, |_, _| ()).unwrap();
            assert!(log.commit(MARK, &mut Vec::new()).is_ok());
            disk.fail_operation(disk.operations() + nth, crate::storage::Fault::Io);
            let _ = log.make_room();
            let synced = log.sync();
            let path = crate::log::path(1);
            let after = disk.power_loss_total().read_file(&path).unwrap();
            let stands = after.windows(payload.len()).any(|window| window == payload);
            assert!(stands || synced.is_err(), "operation {nth} failed");
            lost += u32::from(!stands);
        }
        assert!(lost > 0, "no sync failed");
    }

    /// A sync fails as a segment that is ready is made longer. It could never be written to: another
    /// takes its place, and writes go on.
    #[cfg(feature = "test-util")]
    #[test]
    fn c35_a_ready_segment_of_which_a_sync_failed_is_never_begun() {
        let payload = [7; 4096];
        let write = |log: &Log<()>| {
            for _ in 0..16 {
                match log.append(&result(&payload), Room::Free { reserve: 0 }, |_, _| ()) {
                    Ok(_) => {}
                    Err(NoRoom::Short(wanted)) => drop(log.ask_for_room(wanted).unwrap()),
                    Err(NoRoom::Ended(error)) => panic!("{error}"),
                }
            }
            let committed = log.commit(MARK, &mut Vec::new());
            assert!(committed.is_ok(), "{:?}", committed.map_err(|failed| failed.error));
        };
        let mut dropped = 0;
        for nth in 0..40 {
            let disk = Arc::new(SimDisk::new(7));
            let log = log_within(&disk, None);
            log.begin(MARK, 0, 0);
            for _ in 0..20 {
                write(&log);
                log.make_room().unwrap();
            }
            while !log.writer.lock().runs_short() {
                write(&log);
            }
            let before = disk.operations();
            disk.fail_operation(before + nth, crate::storage::Fault::Full);
            let ready = log.writer.lock().next_id();
            let _ = log.make_room();
            if disk.operations() <= before + nth {
                break;
            }
            dropped += u32::from(log.writer.lock().next_id() > ready + 1);
            for _ in 0..60 {
                log.make_room().unwrap();
                write(&log);
            }
        }
        assert!(dropped > 0, "no segment that was ready was dropped");
    }

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
