//! Files on their way back to the disk, cut as a test has it.

use super::super::kept::tests::{
    NEEDED, SIZE, Watched, gone, let_go_before, log_on, sync, unlink, watched, write_upto,
};
use super::super::{Keep, Wanted, path};
use super::*;
use crate::error::{Error, ErrorKind};
use crate::format::frame::payload_crc;
use crate::outcome::{Place, Source};
use crate::storage::{Disk, Fault, Storage};

/// Handles that say how long files are, whatever becomes of their names.
type Files = Vec<Arc<dyn File>>;

/// Those of some segments.
fn opened(storage: &dyn Storage, ids: std::ops::Range<u32>) -> Files {
    ids.map(|id| storage.open(&path(id)).unwrap()).collect()
}

fn lengths(files: &[Arc<dyn File>]) -> Vec<u64> {
    files.iter().map(|file| file.len().unwrap()).collect()
}

/// A log of which a thread is said to give files back, and three files that have lost their names.
fn parted(max_disk: Option<u64>) -> (Arc<Watched>, Arc<Log<()>>, Files) {
    let (disk, log) = watched(max_disk);
    write_upto(&log, 5);
    let files = opened(&*disk, 2..5);
    log.serve_slices();
    let_go_before(&log, 5);
    // The first segment is longer than others, and is none of these.
    disk.take_calls();
    let (freed, outcome) = log.give_back(Keep::Nothing);
    assert!(outcome.is_ok() && freed >= 4 * SIZE);
    while log.parting.state.lock().files.len() > 3 {
        log.cut(SIZE);
    }
    assert_eq!(lengths(&files), [SIZE; 3]);
    (disk, log, files)
}

fn waiting(log: &Log<()>) -> u64 {
    log.parting.state.lock().waiting()
}

#[test]
fn slices_are_cut_in_order_until_the_files_are_gone() {
    let (disk, log, files) = parted(None);
    for cut in 1..=12 {
        assert_eq!(log.disk_bytes(), disk.octets() + waiting(&log));
        let operations = disk.disk.operations();
        log.cut(SIZE / 4);
        assert_eq!(disk.disk.operations(), operations + 2, "cut, and synced");
        let left: Vec<u64> =
            (0..3).map(|nth| (4 + 4 * nth - cut).clamp(0, 4)).map(quarters).collect();
        assert_eq!(lengths(&files), left, "{cut} slices");
        assert_eq!(waiting(&log), left.iter().sum::<u64>());
    }
    assert!(log.parting.state.lock().files.is_empty() && log.leftover_bytes.load(Relaxed) == 0);
    log.cut(SIZE);
    assert_eq!(log.disk_bytes(), disk.octets());
}

fn quarters(of: i32) -> u64 {
    SIZE / 4 * u64::try_from(of).unwrap()
}

/// Under a real map, where a look at what was cut off would end the process: whoever holds a segment,
/// or a payload from it, has it whole; the others go.
#[test]
fn p0_3_a_file_that_somebody_reads_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(Disk::new(dir.path().join("store")));
    let log = log_on(Arc::clone(&storage) as Arc<dyn Storage>, None);
    write_upto(&log, 6);
    log.serve_slices();
    let files = opened(&*storage, 2..5);
    let octets = [&files[0], &files[1]].map(|file| {
        let mut octets = vec![0; 4096];
        file.read_at(&mut octets, SIZE / 2).unwrap();
        octets
    });
    let places = [0, 1].map(|nth: usize| Place {
        start: SIZE / 2,
        len: 4096,
        crc: payload_crc(&octets[nth]),
    });
    let payload = log.segments.hold(2).unwrap().bytes(places[0]).unwrap();
    let hold = log.segments.hold(3).unwrap();
    let_go_before(&log, 6);
    log.give_back(Keep::Nothing).1.unwrap();
    let cut_all = || (0..20).for_each(|_| log.cut(SIZE / 4));
    cut_all();
    assert_eq!(lengths(&files), [SIZE, SIZE, 0]);
    assert!(payload == octets[0] && hold.bytes(places[1]).unwrap() == octets[1]);
    assert_eq!(waiting(&log), 2 * SIZE);
    drop(payload);
    cut_all();
    assert_eq!(lengths(&files), [0, SIZE, 0]);
    drop(hold);
    cut_all();
    assert_eq!((lengths(&files), log.leftover_bytes.load(Relaxed)), (vec![0; 3], 0));
}

/// What cannot be cut is closed, which gives it back; the next sweep is told, once, and writes go on.
#[test]
fn a_cut_that_fails_is_told_once_and_poisons_nothing() {
    for (nth, which) in [(0, "the cut"), (1, "its sync")] {
        let (disk, log, files) = parted(None);
        log.cut(SIZE / 4);
        disk.disk.fail_operation(disk.disk.operations() + nth, Fault::Io);
        log.cut(SIZE / 4);
        assert_eq!(waiting(&log), 2 * SIZE, "{which}");
        assert_eq!(log.disk_bytes(), disk.octets() + 2 * SIZE, "{which}");
        assert!(!log.poison().is_set(), "{which}");
        assert!(log.give_back(NEEDED).1.is_err_and(|error| error.kind() == ErrorKind::Io));
        assert!(log.give_back(NEEDED).1.is_ok(), "{which}");
        log.cut(SIZE);
        assert_eq!(lengths(&files)[1..], [0, SIZE], "{which}: the next goes on");
        write_upto(&log, 7);
    }
}

/// Nobody is told that the disk is full while files are on their way back to it.
#[test]
fn c36_files_that_are_being_cut_are_room() {
    let (disk, log, files) = parted(Some(8 * SIZE));
    log.cut(SIZE / 4);
    assert_eq!(log.disk_bytes(), disk.octets() + 3 * SIZE - SIZE / 4);
    let frame = 5 * SIZE;
    let asked = log.ask_for_room(Wanted { total: frame, frame }).unwrap();
    let _ = log.make_room();
    assert!(asked.outcome().unwrap().is_ok(), "{:?}", disk.disk.files());
    assert_eq!((waiting(&log), log.disk_bytes()), (0, disk.octets()));
    // Closed, and not cut: as long as these handles are there, the disk has nothing back.
    assert_eq!(lengths(&files), [SIZE - SIZE / 4, SIZE, SIZE]);
}

/// Closing waits for no slices: the thread ends, and what is left is closed as it is.
#[test]
fn closing_in_the_middle_gives_back_the_rest() {
    let (disk, log, files) = parted(None);
    log.cut(SIZE / 4);
    log.fail(&Error::closed());
    log.end_slices();
    // Returns.
    log.give_back_slices();
    log.remove_unused();
    assert_eq!((waiting(&log), log.leftover_bytes.load(Relaxed)), (0, 0));
    assert_eq!(lengths(&files), [SIZE - SIZE / 4, SIZE, SIZE]);
    let names = disk.disk.files().into_iter().filter(|file| file.contains(".log"));
    assert_eq!(names.collect::<Vec<_>>(), [path(log.active().id)]);
}

/// A thread that gives files back ends with the log, at whatever it is.
#[test]
fn the_thread_gives_files_back_and_ends() {
    let (disk, log, _files) = parted(None);
    let thread = {
        let log = Arc::clone(&log);
        std::thread::spawn(move || log.give_back_slices())
    };
    while log.leftover_bytes.load(Relaxed) > 0 && !thread.is_finished() {
        std::thread::yield_now();
    }
    assert_eq!(log.disk_bytes(), disk.octets());
    log.end_slices();
    thread.join().unwrap();
    assert_eq!(gone(&disk.take_calls()).last(), Some(&sync()), "and had the directory synced");
}

/// Who gives segments back does not wait for the directory's sync. If it fails, the next one is told.
#[test]
fn names_that_went_are_synced_behind_the_callers_back() {
    let (disk, log, _files) = parted(None);
    let expected: Vec<String> = (1..5).map(unlink).collect();
    assert_eq!(gone(&disk.take_calls()), expected);
    disk.refuse(&[sync()]);
    // Watched: under the lock.
    log.sync_names();
    assert_eq!(gone(&disk.take_calls()), [sync()]);
    assert!(!log.parting.state.lock().is_unsynced);
    assert!(log.give_back(NEEDED).1.is_err());
    assert!(log.give_back(NEEDED).1.is_ok() && !log.poison().is_set());
    // Once writes have ended the directory may be another process's any moment.
    log.fail(&Error::closed());
    disk.take_calls();
    log.sync_names();
    assert_eq!(disk.take_calls(), Vec::<String>::new());
}

#[test]
fn the_disk_is_left_alone_for_as_long_as_the_rate_has_it() {
    assert_eq!(pause(SLICE, 0), Duration::from_micros(31_250));
    assert_eq!(pause(SLICE / 4, RATE * WITHIN_S), pause(SLICE, 0) / 4);
    // What waits goes faster, the more there is.
    assert_eq!(pause(SLICE, 8 * RATE * WITHIN_S), pause(SLICE, 0) / 8);
    assert!(pause(u64::MAX, u64::MAX) < Duration::from_secs(60));
}
