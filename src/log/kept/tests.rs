//! What becomes of files that go, on a disk that is watched and refuses what it is told to.

use std::sync::{OnceLock, Weak};

use super::super::draft::{Draft, NoRoom, Room, Wanted};
use super::super::fill::Fill;
use super::super::{Config, Segments, Start};
use super::*;
use crate::clock::TimeMark;
use crate::error::ErrorKind;
use crate::fingerprint::Fingerprint;
use crate::format::frame::{Kind, payload_crc};
use crate::format::segment::Header;
use crate::options::Durability;
use crate::poison::Poison;
use crate::random::Random;
use crate::storage::{Fault, File, Lock, SimDisk, Storage};
use crate::sync::Mutex;

pub(in crate::log) const SIZE: u64 = 64 << 10;
const MARK: TimeMark = TimeMark { store_ms: 0, since_boot_ms: 0, wall_ms: 0, boot_id: [0; 16] };
pub(in crate::log) const NEEDED: Keep = Keep::Needed { now_ms: 0 };

/// A disk of which every name in the segments' directory is made, changed and synced under the log's
/// lock.
#[derive(Debug)]
pub(in crate::log) struct Watched {
    pub(in crate::log) disk: SimDisk,
    log: OnceLock<Weak<Log<()>>>,
    calls: Mutex<Vec<String>>,
    /// What it does not do.
    refused: Mutex<Vec<String>>,
}

impl Watched {
    fn call(&self, what: &str, path: &str) -> io::Result<()> {
        let call = format!("{what} {path}");
        let refused = self.refused.lock().contains(&call);
        let is_nothing = what == "unlink" && self.disk.open_read_only(path).is_err();
        if path.starts_with(DIRECTORY)
            && !is_nothing
            && let Some(log) = self.log.get().and_then(Weak::upgrade)
        {
            assert!(log.preparing.try_lock().is_none(), "{call}, and somebody else may");
            self.calls.lock().push(call);
        }
        if refused { Err(io::Error::other("refused")) } else { Ok(()) }
    }

    pub(in crate::log) fn refuse(&self, calls: &[String]) {
        *self.refused.lock() = calls.to_vec();
    }

    pub(in crate::log) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock())
    }

    /// The lengths of all files.
    pub(in crate::log) fn octets(&self) -> u64 {
        let files = self.disk.files().into_iter();
        files.map(|path| self.disk.open_read_only(&path).unwrap().len().unwrap()).sum()
    }
}

impl Storage for Watched {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.call("sync", dir)?;
        self.disk.sync_dir(dir)
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.call("create", path)?;
        self.disk.create(path)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(path)
    }

    fn open_read_only(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open_read_only(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("rename", from)?;
        self.disk.rename(from, to)
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.call("unlink", path)?;
        self.disk.unlink(path)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

pub(in crate::log) fn watched(max_disk: Option<u64>) -> (Arc<Watched>, Arc<Log<()>>) {
    watched_from(SIZE, max_disk)
}

/// One whose first segment has so many octets.
fn watched_from(first: u64, max_disk: Option<u64>) -> (Arc<Watched>, Arc<Log<()>>) {
    let disk = Arc::new(Watched {
        disk: SimDisk::new(7),
        log: OnceLock::new(),
        calls: Mutex::default(),
        refused: Mutex::default(),
    });
    let log = log_from(first, Arc::clone(&disk) as Arc<dyn Storage>, max_disk);
    disk.log.set(Arc::downgrade(&log)).unwrap();
    (disk, log)
}

/// A new log, whose segments have `SIZE` octets.
pub(in crate::log) fn log_on(disk: Arc<dyn Storage>, max_disk: Option<u64>) -> Arc<Log<()>> {
    log_from(SIZE, disk, max_disk)
}

fn log_from(first: u64, disk: Arc<dyn Storage>, max_disk: Option<u64>) -> Arc<Log<()>> {
    disk.create_dir("").unwrap();
    disk.create_dir(DIRECTORY).unwrap();
    let config = Config {
        store_id: [1; 16],
        secret: [2; 16],
        epoch: 1,
        durability: Durability::Sync,
        segment_size: SIZE,
        max_disk,
        random: Random::default(),
        master: None,
    };
    let header =
        Header { store_id: [1; 16], salt: 3, id: 1, prepared: first, epoch: 1, sealed: false };
    let active = segment::create(&*disk, &header, SIZE, None, Fill::Zeros).unwrap();
    let start = Start {
        previous: 0,
        last_sequence: 0,
        ttl_max_ms: 0,
        suspect_until_ms: 0,
        next_segment: 2,
    };
    let poison = Arc::new(Poison::default());
    let log = Log::new(disk, config, poison, Arc::new(Segments::default()), active, start);
    log.begin(MARK, 0, 0);
    Arc::new(log)
}

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

/// Writes until segment `upto` is the one that is written to.
pub(in crate::log) fn write_upto(log: &Log<()>, upto: u32) {
    let payload = [7; 4096];
    let draft = result(&payload);
    while log.active().id < upto {
        match log.append(&draft, Room::Free { reserve: 0 }, |_, _| ()) {
            Ok(_) => assert!(log.commit(MARK, &mut Vec::new()).is_ok()),
            Err(NoRoom::Short(wanted)) => {
                drop(log.ask_for_room(wanted).unwrap());
                log.make_room().unwrap();
            }
            Err(NoRoom::Ended(error)) => panic!("{error}"),
        }
    }
}

/// Lets every segment before `upto` go.
pub(in crate::log) fn let_go_before(log: &Log<()>, upto: u32) {
    log.segments.all().into_iter().filter(|it| it.id < upto).for_each(|it| log.let_go(it));
}

pub(in crate::log) fn unlink(id: u32) -> String {
    format!("unlink {}", super::super::path(id))
}

fn rename(id: u32) -> String {
    format!("rename {}", super::super::path(id))
}

pub(in crate::log) fn sync() -> String {
    format!("sync {DIRECTORY}")
}

/// Those of the calls that take a segment its own name.
pub(in crate::log) fn gone(calls: &[String]) -> Vec<String> {
    let own = |call: &&String| !call.contains(TEMPORARY);
    calls.iter().filter(own).cloned().collect()
}

fn kept(log: &Log<()>) -> usize {
    log.preparing.lock().kept.len()
}

#[test]
fn p0_2_names_change_and_are_synced_under_the_lock_and_in_the_order_of_the_segments() {
    let (disk, log) = watched(None);
    write_upto(&log, 8);
    // Nothing to be removed, something, and both.
    for (upto, keep) in [(3, NEEDED), (5, Keep::Nothing), (7, NEEDED)] {
        let_go_before(&log, upto);
        disk.take_calls();
        log.give_back(keep).1.unwrap();
        let calls = gone(&disk.take_calls());
        let ids = upto - 2..upto;
        let expected: Vec<String> = match keep {
            Keep::Nothing => ids.map(unlink).chain([sync()]).collect(),
            Keep::Needed { .. } => ids.map(rename).chain([sync()]).collect(),
        };
        assert_eq!(calls, expected);
        assert_eq!(log.disk_bytes(), disk.octets());
    }
}

/// A frame that ends a claim stands behind it: of what has to go in order, nothing does as long as
/// something before it stays. What is nobody's goes.
#[test]
fn a_file_that_stays_keeps_those_behind_it_and_no_others() {
    for stays in [unlink(4), rename(4)] {
        let (disk, log) = watched(None);
        write_upto(&log, 9);
        let_go_before(&log, 3);
        log.give_back(NEEDED).1.unwrap();
        assert_eq!(kept(&log), 2);
        let_go_before(&log, 8);
        let keep = if stays == unlink(4) { Keep::Nothing } else { NEEDED };
        disk.refuse(std::slice::from_ref(&stays));
        disk.take_calls();
        assert!(log.give_back(keep).1.is_err());
        let there: Vec<u32> =
            (1..9).filter(|id| disk.disk.files().contains(&super::super::path(*id))).collect();
        assert_eq!(there, [4, 5, 6, 7, 8], "{stays}");
        assert_eq!(kept(&log), if keep == NEEDED { 3 } else { 0 }, "{stays}");
        assert_eq!(log.disk_bytes(), disk.octets());
        disk.refuse(&[]);
        disk.take_calls();
        let (freed, outcome) = log.give_back(Keep::Nothing);
        outcome.unwrap();
        let expected: Vec<String> = (4..8).map(unlink).chain([sync()]).collect();
        assert_eq!(gone(&disk.take_calls()), expected, "{stays}");
        assert!(freed >= 4 * SIZE && log.disk_bytes() == disk.octets(), "{stays}");
    }
}

/// The sync that was to bring new names to disk fails: no file of them is ever written again.
#[test]
fn p0_2_a_file_whose_name_may_come_back_is_removed() {
    let (disk, log) = watched(None);
    write_upto(&log, 5);
    let_go_before(&log, 4);
    disk.refuse(&[sync()]);
    assert!(log.give_back(NEEDED).1.is_err());
    assert_eq!((kept(&log), log.disk_bytes()), (0, disk.octets()));
    disk.refuse(&[]);
    let (freed, outcome) = log.give_back(NEEDED);
    assert!(outcome.is_ok() && freed == 3 * SIZE && kept(&log) == 0);
    assert_eq!(log.disk_bytes(), disk.octets());
}

/// Somebody who cuts files to what they have may hold a segment that is let go meanwhile. It is
/// counted as long as it is, and given to the next segment so.
#[test]
fn what_was_let_go_is_not_cut() {
    let (disk, log) = watched(None);
    write_upto(&log, 4);
    let held = log.segments.all();
    let_go_before(&log, 3);
    held.iter().filter(|it| it.id < 3).for_each(|it| it.trim(0));
    assert!(held.iter().filter(|it| it.id < 3).all(|it| it.length.load(Relaxed) == SIZE));
    assert_eq!(log.disk_bytes(), disk.octets());
    drop(held);
    assert_eq!(log.give_back(Keep::Nothing).0, 2 * SIZE);
    assert_eq!(log.disk_bytes(), disk.octets());
    assert_eq!(log.leftover_bytes.load(Relaxed), 0);
}

/// A file that the disk does not remove says nothing of how many files the store needs.
#[test]
fn a_file_that_stays_does_not_end_the_keeping_of_others() {
    let (disk, log) = watched(None);
    write_upto(&log, 6);
    log.segments.all()[0].trim(0);
    log.segments.all()[0].length.store(1, Relaxed);
    disk.refuse(&[unlink(1)]);
    let_go_before(&log, 2);
    assert!(log.give_back(NEEDED).1.is_err());
    // Those behind it wait for it; these wait for nobody.
    let kept_now = log.segments.all().into_iter().filter(|it| it.id < 5);
    for segment in kept_now {
        let kept = Kept { length: SIZE, segment, since_ms: 0 };
        log.preparing.lock().kept.push_back(kept);
    }
    for _ in 0..4 {
        assert!(log.give_back(NEEDED).1.is_err());
        assert_eq!(kept(&log), 3);
    }
}

/// Once writes have ended the files are the next open's, which may be another process's.
#[test]
fn a_store_whose_writes_have_ended_touches_no_file() {
    let (disk, log) = watched(None);
    write_upto(&log, 5);
    let_go_before(&log, 2);
    log.give_back(NEEDED).1.unwrap();
    let_go_before(&log, 4);
    log.fail(&Error::closed());
    disk.take_calls();
    for keep in [NEEDED, Keep::Nothing] {
        assert!(log.give_back(keep).1.is_ok());
    }
    assert_eq!(disk.take_calls(), Vec::<String>::new());
    log.remove_unused();
    assert_eq!(gone(&disk.take_calls()).first(), Some(&unlink(2)), "closing does");
}

/// Nobody is told that the disk is full while a retired segment's file is there still.
#[test]
fn c36_what_is_let_go_is_room_before_it_is_given_back() {
    let (disk, log) = watched(Some(8 * SIZE));
    write_upto(&log, 5);
    let full = || {
        let frame = 4 * SIZE;
        let asked = log.ask_for_room(Wanted { total: frame, frame }).unwrap();
        let _ = log.make_room();
        asked.outcome().unwrap().err().map(|error| error.kind())
    };
    assert_eq!(full(), Some(ErrorKind::Full));
    let_go_before(&log, 5);
    disk.refuse(&[unlink(4)]);
    assert_eq!(full(), None, "{:?}", disk.disk.files());
    assert!(log.released() >= SIZE && disk.octets() <= 8 * SIZE);
    assert_eq!(log.disk_bytes(), disk.octets());
}

/// A segment that is ready and of no use goes; if the disk keeps its file, it is counted, and tried
/// again.
#[test]
fn a_file_made_ahead_that_is_not_removed_is_counted() {
    let (disk, log) = watched(None);
    write_upto(&log, 3);
    drop(log.ask_for_room(Wanted { total: 2 * SIZE, frame: 0 }).unwrap());
    log.make_room().unwrap();
    let id = log.next_segment() - 1;
    assert!(id > log.active().id, "one is ready");
    disk.refuse(&[unlink(id)]);
    let unused = log.writer.lock().drop_next(id).unwrap();
    log.discard(&mut log.preparing.lock(), &unused);
    assert_eq!(log.disk_bytes(), disk.octets());
    disk.refuse(&[]);
    assert!(log.give_back(NEEDED).0 > 0);
    assert_eq!(log.disk_bytes(), disk.octets());
}

/// What became of the syncs of a file that an earlier process made, nobody knows.
#[test]
fn p0_2_a_file_of_an_earlier_process_is_not_kept() {
    let (disk, log) = watched(None);
    write_upto(&log, 3);
    let ours = log.segments.all().into_iter().next().unwrap();
    let theirs = Segment::open(&*disk, ours.id, ours.salt).unwrap();
    let lengths = SIZE..=SIZE;
    assert!(ours.is_worth_keeping(&lengths) && !theirs.is_worth_keeping(&lengths));
}

/// A log of which one file is kept, shorter than others.
fn keeping_a_short_file(max_disk: Option<u64>) -> (Arc<Watched>, Arc<Log<()>>) {
    let (disk, log) = watched_from(SIZE / 2, max_disk);
    write_upto(&log, 3);
    let_go_before(&log, 2);
    disk.take_calls();
    let (freed, outcome) = log.give_back(NEEDED);
    assert!(outcome.is_ok() && freed == 0 && kept(&log) == 1);
    assert_eq!(gone(&disk.take_calls()), [rename(1), sync()]);
    assert_eq!(disk.open(&path(1)).unwrap().len().unwrap(), SIZE / 2);
    (disk, log)
}

/// Has as many octets ready as two segments have.
fn ask_for_two(log: &Log<()>) -> Result<(), Error> {
    drop(log.ask_for_room(Wanted { total: 2 * SIZE, frame: 0 }).unwrap());
    log.make_room()
}

/// A segment that was retired before it had grown is the next one's beginning. Nothing is removed.
#[test]
fn a_short_file_is_made_as_long_as_others_before_it_is_begun() {
    let (disk, log) = keeping_a_short_file(None);
    disk.sync_dir("").unwrap();
    let id = log.next_segment();
    ask_for_two(&log).unwrap();
    assert_eq!((log.segments_reused(), kept(&log)), (1, 0));
    let path = super::super::path(id);
    let (content, on_disk) =
        (disk.disk.read_file(&path).unwrap(), disk.disk.power_loss_total().read_file(&path));
    assert_eq!(content.len() as u64, SIZE);
    assert!(content[SIZE as usize / 2..].iter().all(|octet| *octet == 0), "what it had not");
    assert!(content[4096..SIZE as usize / 2].contains(&7), "what it had");
    assert!(on_disk.is_ok_and(|on_disk| on_disk == content), "all of it is on disk");
}

/// One that is shorter than a new segment is at first would be further from its length than that.
#[test]
fn a_file_shorter_than_a_new_segment_is_not_kept() {
    for (shorter, is_kept) in [(0, true), (1, false)] {
        let (_disk, log) = watched(None);
        write_upto(&log, 3);
        let first = log.segments.all().into_iter().next().unwrap();
        first.length.store(log.chunk() - shorter, Relaxed);
        first.file.set_len(log.chunk() - shorter).unwrap();
        let_go_before(&log, 2);
        log.give_back(NEEDED).1.unwrap();
        assert_eq!(kept(&log) == 1, is_kept);
    }
}

/// Whatever fails as a short file is made longer: its room is there as it was, or the disk's again, and
/// writes go on.
#[test]
fn c35_a_short_file_that_cannot_be_made_longer_is_not_lost() {
    for fault in [Fault::Full, Fault::Io] {
        let mut failed = 0;
        for nth in 0.. {
            let (disk, log) = keeping_a_short_file(None);
            let at = disk.disk.operations() + nth;
            disk.disk.fail_operation(at, fault);
            failed += u32::from(ask_for_two(&log).is_err());
            if disk.disk.operations() <= at {
                break;
            }
            assert!(log.disk_bytes() >= disk.octets(), "{fault:?} {nth}: {:?}", disk.disk.files());
            ask_for_two(&log).unwrap();
            assert!(!log.poison().is_set(), "{fault:?} {nth}");
            write_upto(&log, 8);
            let_go_before(&log, 7);
            log.give_back(Keep::Nothing).1.unwrap();
            assert_eq!(log.disk_bytes(), disk.octets(), "{fault:?} {nth}: {:?}", disk.disk.files());
        }
        assert!(failed > 0, "{fault:?}");
    }
}

/// There is no room to make a short file longer: as a segment it is room all the same, and nothing is
/// given back for it.
#[test]
fn c36_a_short_file_that_cannot_be_made_longer_is_room() {
    let (disk, log) = keeping_a_short_file(None);
    let octets = disk.octets();
    disk.disk.set_capacity(Some(octets));
    let payload = [7; 1024];
    let full = loop {
        match log.append(&result(&payload), Room::Free { reserve: 0 }, |_, _| ()) {
            Ok(_) => assert!(log.commit(MARK, &mut Vec::new()).is_ok()),
            Err(NoRoom::Short(wanted)) => {
                let asked = log.ask_for_room(wanted).unwrap();
                let _ = log.make_room();
                if let Some(Err(full)) = asked.outcome() {
                    break full;
                }
            }
            Err(NoRoom::Ended(error)) => panic!("{error}"),
        }
    };
    assert_eq!(full.kind(), ErrorKind::Full);
    assert_eq!((log.segments_reused(), log.released()), (1, 0));
    assert_eq!((disk.octets(), log.disk_bytes()), (octets, octets));
}
