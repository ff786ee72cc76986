//! Files on their way back to the disk, cut as a test has it.

use super::super::kept::tests::{
    NEEDED, SIZE, Watched, gone, let_go_before, log_on, sync, unlink, watched, write_upto,
};
use super::super::{Keep, Wanted, kept, path};
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

/// A log of which a thread is said to give files back, and three of the four files that have lost
/// their names since the directory was synced: the first is longer than others.
fn unsynced(max_disk: Option<u64>) -> (Arc<Watched>, Arc<Log<()>>, Files) {
    let (disk, log) = watched(max_disk);
    write_upto(&log, 5);
    let files = opened(&*disk, 2..5);
    log.serve_slices();
    let_go_before(&log, 5);
    disk.take_calls();
    let (freed, outcome) = log.give_back(Keep::Nothing);
    assert!(outcome.is_ok() && freed >= 4 * SIZE);
    (disk, log, files)
}

/// The same, once the directory was synced and the first is gone.
fn parted(max_disk: Option<u64>) -> (Arc<Watched>, Arc<Log<()>>, Files) {
    let (disk, log, files) = unsynced(max_disk);
    log.sync_names();
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
    log.sync_names();
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
        assert!(log.give_back(NEEDED).1.is_ok(), "{which}: the store itself tells nobody");
        let told = log.give_back(Keep::Nothing).1;
        assert!(told.is_err_and(|error| error.kind() == ErrorKind::Io), "{which}");
        assert!(log.give_back(Keep::Nothing).1.is_ok(), "{which}");
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
    let (disk, log, _files) = unsynced(None);
    let thread = {
        let log = Arc::clone(&log);
        std::thread::spawn(move || log.give_back_slices())
    };
    let wait = || {
        while log.leftover_bytes.load(Relaxed) > 0 && !thread.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(log.disk_bytes(), disk.octets());
    };
    wait();
    let expected: Vec<String> = (1..5).map(unlink).chain([sync()]).collect();
    assert_eq!(gone(&disk.take_calls()), expected, "and had the directory synced");
    // It waits for nothing in particular, and is woken.
    drop(log.ask_for_room(Wanted { total: 2 * SIZE, frame: 0 }).unwrap());
    log.make_room().unwrap();
    let id = log.next_segment() - 1;
    let unused = log.writer.lock().drop_next(id).unwrap();
    log.discard(&mut log.preparing.lock(), &unused);
    drop(unused);
    wait();
    log.end_slices();
    thread.join().unwrap();
}

/// Who gives segments back does not wait for the directory's sync. If it fails, the next one is told.
#[test]
fn names_that_went_are_synced_behind_the_callers_back() {
    let (disk, log, _files) = unsynced(None);
    let expected: Vec<String> = (1..5).map(unlink).collect();
    assert_eq!(gone(&disk.take_calls()), expected);
    disk.refuse(&[sync()]);
    // Watched: under the lock.
    log.sync_names();
    assert_eq!(gone(&disk.take_calls()), [sync()]);
    assert!(!log.parting.state.lock().is_unsynced);
    assert!(log.give_back(NEEDED).1.is_ok(), "the store itself tells nobody");
    assert!(log.give_back(Keep::Nothing).1.is_err());
    assert!(log.give_back(Keep::Nothing).1.is_ok() && !log.poison().is_set());
    // Once writes have ended the directory may be another process's any moment.
    log.fail(&Error::closed());
    disk.take_calls();
    log.sync_names();
    assert_eq!(disk.take_calls(), Vec::<String>::new());
}

fn give_all(log: &Log<()>) {
    (0..40).for_each(|_| log.cut(SIZE / 4));
}

/// A power cut could bring the name back, of a segment that is shorter than it is known to have been:
/// the store would be refused.
#[test]
fn p0_2_no_file_is_cut_before_its_name_is_gone_on_disk() {
    let (disk, log, files) = unsynced(None);
    let waits = waiting(&log);
    give_all(&log);
    assert_eq!((lengths(&files), waiting(&log)), (vec![SIZE; 3], waits));
    log.sync_names();
    // One that was made ahead and is of no use: nobody's name, until it is another segment's.
    drop(log.ask_for_room(Wanted { total: 2 * SIZE, frame: 0 }).unwrap());
    log.make_room().unwrap();
    let id = log.next_segment() - 1;
    let ahead = opened(&*disk, id..id + 1);
    let length = ahead[0].len().unwrap();
    let unused = log.writer.lock().drop_next(id).unwrap();
    log.discard(&mut log.preparing.lock(), &unused);
    drop(unused);
    give_all(&log);
    assert_eq!((lengths(&files), lengths(&ahead)), (vec![0; 3], vec![length]));
    assert!(waiting(&log) == length && log.parting.state.lock().is_unsynced, "a thread would sync");
    log.sync_names();
    give_all(&log);
    assert_eq!((lengths(&ahead), log.disk_bytes()), (vec![0], disk.octets()));
}

/// What a failed sync has lost, no later one brings to disk.
#[test]
fn p0_2_a_file_whose_name_may_come_back_is_closed_as_it_is() {
    type Harm = fn(&Watched, &Log<()>);
    let harms: [(&str, Harm); 5] = [
        ("its sync failed", |disk, log| {
            disk.refuse(&[sync()]);
            log.sync_names();
        }),
        ("another's sync failed", |disk, log| {
            disk.refuse(&[sync()]);
            drop(log.ask_for_room(Wanted { total: 4 * SIZE, frame: 0 }).unwrap());
            assert!(log.make_room().is_err());
        }),
        ("that of a kept file's name failed", |disk, log| {
            write_upto(log, 6);
            let_go_before(log, 6);
            disk.refuse(&[sync()]);
            assert!(log.give_back(NEEDED).1.is_err());
        }),
        ("a kept file could not be made a segment", |disk, log| {
            write_upto(log, 7);
            let_go_before(log, 6);
            log.give_back(NEEDED).1.unwrap();
            disk.refuse(&[format!("rename {}", kept::path(5))]);
            drop(log.ask_for_room(Wanted { total: 4 * SIZE, frame: 0 }).unwrap());
            log.make_room().unwrap();
        }),
        ("writes have ended", |_, log| drop(log.fail(&Error::closed()))),
    ];
    for (harm, does) in harms {
        let (disk, log, files) = unsynced(None);
        does(&disk, &log);
        disk.refuse(&[]);
        log.sync_names();
        give_all(&log);
        assert_eq!((lengths(&files), waiting(&log)), (vec![SIZE; 3], 0), "{harm}");
        assert_eq!(log.disk_bytes(), disk.octets(), "{harm}");
    }
}

/// A removal that failed may have changed the name, and a sync have failed since.
#[test]
fn p0_2_a_file_whose_name_did_not_go_at_once_is_closed_as_it_is() {
    let (disk, log) = watched(None);
    write_upto(&log, 5);
    let files = opened(&*disk, 2..5);
    log.serve_slices();
    let_go_before(&log, 5);
    disk.refuse(&[unlink(3)]);
    assert!(log.give_back(Keep::Nothing).1.is_err());
    disk.refuse(&[]);
    log.give_back(Keep::Nothing).1.unwrap();
    log.sync_names();
    give_all(&log);
    assert_eq!(lengths(&files), [0, SIZE, 0]);
    assert_eq!((waiting(&log), log.disk_bytes()), (0, disk.octets()));
    // The same of one that was to be kept.
    write_upto(&log, 8);
    let files = opened(&*disk, 5..7);
    let_go_before(&log, 7);
    disk.refuse(&[sync()]);
    assert!(log.give_back(NEEDED).1.is_err());
    disk.refuse(&[]);
    log.give_back(Keep::Nothing).1.unwrap();
    log.sync_names();
    give_all(&log);
    assert_eq!(lengths(&files), [SIZE; 2]);
    assert_eq!((waiting(&log), log.disk_bytes()), (0, disk.octets()));
}

/// What an earlier store handed out of a file, in this process or another, nobody here knows.
#[test]
fn p0_3_a_file_of_an_earlier_store_is_closed_as_it_is() {
    let (disk, log) = watched(None);
    write_upto(&log, 5);
    let files = opened(&*disk, 2..4);
    log.serve_slices();
    let ours = log.segments.all().into_iter().find(|it| it.id == 3).unwrap();
    for segment in [Arc::new(Segment::open(&*disk, 2, 1).unwrap()), ours] {
        log.let_go(segment);
    }
    log.give_back(Keep::Nothing).1.unwrap();
    log.sync_names();
    give_all(&log);
    assert_eq!((lengths(&files), waiting(&log)), (vec![SIZE, 0], 0));
}

/// The slice that a thread would cut next.
fn next_slice(log: &Log<()>) -> u64 {
    match log.wait_for_turn() {
        Some(Turn::Cut(slice)) => slice,
        _ => panic!("nothing is to be cut"),
    }
}

/// Whoever commits is not to wait for the disk's discarding: what the thread goes by is what was
/// committed since its last look.
#[test]
fn more_is_cut_while_nothing_is_committed() {
    let (_disk, log, _files) = parted(None);
    log.parting.state.lock().pace = Pace::default();
    let working = next_slice(&log);
    let resting = next_slice(&log);
    assert!(working < resting);
    write_upto(&log, log.active().id + 1);
    assert_eq!((next_slice(&log), next_slice(&log)), (working, resting));
}

/// Nor does who asked for the disk back wait until nobody works.
#[test]
fn what_was_asked_for_goes_while_others_work() {
    let (_disk, log, _files) = parted(None);
    log.give_back(Keep::Nothing).1.unwrap();
    let seen = log.see();
    let mut state = log.parting.state.lock();
    assert!(state.is_asked);
    for is_asked in [true, false] {
        state.is_asked = is_asked;
        state.pace = Pace::default();
        let cut = clock::monotonic();
        state.pace.gave(cut, 8 << 30, 0);
        // Long enough for a log that rests, and not for one at work.
        assert_eq!(state.ask(cut + Duration::from_secs(1_000), seen).is_ok(), is_asked);
    }
}

#[test]
fn a_log_is_pressed_when_its_next_segment_has_no_room() {
    let (_disk, log, _files) = parted(None);
    assert!(!log.see().is_pressed);
    log.refused_room.store(true, Relaxed);
    assert!(log.see().is_pressed, "the disk had none");
    let (_disk, log, _files) = parted(Some(32 * SIZE));
    let left = 32 * SIZE - log.disk_bytes();
    for (others, is_pressed) in [(left - SIZE, false), (left - SIZE + 1, true)] {
        log.other_bytes.store(others, Relaxed);
        assert_eq!(log.see().is_pressed, is_pressed, "{others}");
    }
}
