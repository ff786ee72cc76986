//! Files of retired segments that are kept, written again, or given back.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use onceward::storage::{Fault, SimDisk, Storage};
use onceward::{
    Bug, Claim, ClaimOptions, Error, ErrorKind, Fingerprint, Key, ManualClock, Options, Store,
    Ticket, plant, verify,
};

const BORN_MS: u64 = 1_750_000_000_000;
const KIB: usize = 1024;
const TTL: Duration = Duration::from_secs(10);

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

fn options(clock: &ManualClock) -> Options {
    Options::new().segment_size(64 << 10).ttl(TTL).clock(clock.clone()).seeded(1).stepped()
}

fn on(disk: &Arc<SimDisk>, options: Options) -> Store {
    options.open_storage(Arc::clone(disk) as Arc<dyn Storage>).unwrap()
}

/// Drives a future to its end by stepping the store.
fn drive<T>(store: &Store, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let _ = store.step();
    }
    panic!("the store steps without end");
}

fn key(name: &str) -> Key<'_> {
    Key::new("s", name).unwrap()
}

fn claim(store: &Store, name: &str) -> Result<Ticket, Error> {
    match drive(store, store.claim(key(name), print()))? {
        Claim::Granted(ticket) => Ok(ticket),
        other => panic!("{name}: expected a grant, got {other:?}"),
    }
}

fn complete(store: &Store, name: &str, payload: Vec<u8>) {
    drive(store, claim(store, name).unwrap().complete(payload)).unwrap();
}

/// A few segments are filled, expire, and the store keeps house.
fn round(store: &Store, clock: &ManualClock, nth: usize) {
    for part in 0..10 {
        complete(store, &format!("{nth} {part}"), vec![nth as u8; 20 * KIB]);
    }
    clock.advance(TTL + Duration::from_millis(1));
    store.keep_house(40);
}

fn is_kept(path: &str) -> bool {
    path.ends_with(".kept.tmp")
}

fn kept(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|path| is_kept(path)).count()
}

/// The lengths of the log's files, whatever they are called.
fn octets(disk: &SimDisk) -> u64 {
    let files = disk.files().into_iter();
    let files = files.filter(|path| path.contains(".log") || is_kept(path));
    files.map(|path| disk.read_file(&path).unwrap().len() as u64).sum()
}

fn payload_of(store: &Store, name: &str) -> onceward::Record {
    store.get(key(name)).unwrap().unwrap()
}

/// A store on the real disk, under a real map, whose files are written again many times while
/// somebody holds a record, and somebody else the octets of another.
fn read_while_files_are_reused(directory: &Path, holds_octets: bool) -> Result<(), String> {
    let clock = ManualClock::new(BORN_MS);
    let store = options(&clock).open(directory).unwrap();
    let (one, two) = (vec![0xaa; 5 * KIB], vec![0xbb; 5 * KIB]);
    // In two segments, so that neither holds the other's; and not in the first, which is longer than
    // others.
    for (name, payload) in [("one", &one), ("two", &two)] {
        for nth in 0..20 {
            complete(&store, &format!("before {name} {nth}"), vec![1; 5 * KIB]);
        }
        complete(&store, name, payload.clone());
    }
    let record = payload_of(&store, "one");
    let octets = holds_octets.then(|| payload_of(&store, "two").payload().unwrap().unwrap());
    for nth in 0..20 {
        round(&store, &clock, nth);
        let read = record.payload().map_err(|error| error.to_string())?;
        if read.as_deref() != Some(&one[..]) {
            return Err("a record changed".to_owned());
        }
        if octets.as_deref().is_some_and(|octets| octets != two) {
            return Err("octets changed".to_owned());
        }
    }
    let reused = store.stats().segments_reused;
    assert!(reused > 30, "{reused} segments were made of others");
    drop((record, octets));
    store.close().unwrap();
    assert!(verify(directory).unwrap().is_sound());
    Ok(())
}

#[test]
fn p0_3_whoever_was_handed_a_payload_reads_it_whatever_becomes_of_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let read = read_while_files_are_reused(&directory.path().join("store"), true);
    assert_eq!(read, Ok(()));
    // The same, where nobody asks who reads: it shows.
    plant(Some(Bug::ReusedUnderReader));
    let read = read_while_files_are_reused(&directory.path().join("other"), false);
    plant(None);
    assert!(read.is_err(), "a file that was written again under its reader was not noticed");
}

/// In a steady state a store writes no zeros: each segment is made of one that went, and the disk
/// takes no more for it.
#[test]
fn a_store_in_a_steady_state_makes_its_segments_of_those_that_went() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = on(&disk, options(&clock));
    for nth in 0..10 {
        round(&store, &clock, nth);
    }
    let before = store.stats();
    for nth in 10..20 {
        round(&store, &clock, nth);
        assert_eq!(store.stats().log_bytes, octets(&disk), "each file is counted, once");
        assert!(store.stats().log_bytes <= before.log_bytes * 2, "round {nth}");
        assert!(kept(&disk) <= 8);
    }
    let after = store.stats();
    let (reused, went) = (
        after.segments_reused - before.segments_reused,
        after.segments_removed - before.segments_removed,
    );
    assert!(reused * 10 >= went * 7, "{reused} of {went} were used again");
    store.close().unwrap();
    assert!(disk.files().iter().all(|path| !is_kept(path)), "{:?}", disk.files());
}

/// The first segment of a store grows while it is written to, and is shorter than others: its file is
/// used again, too.
#[test]
fn the_first_segments_file_is_used_again() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = on(&disk, options(&clock).segment_size(4 << 20));
    let write = |from: usize, to: usize| {
        (from..to).for_each(|nth| complete(&store, &nth.to_string(), vec![1; 100 * KIB]));
    };
    write(0, 100);
    let first = disk.read_file("segments/0000000001.log").unwrap().len();
    assert!(first < 4 << 20, "{first} octets");
    clock.advance(TTL * 2);
    store.keep_house(40);
    let kept = "segments/0000000001.kept.tmp".to_owned();
    assert!(disk.files().contains(&kept), "{first} octets: {:?}", disk.files());
    write(100, 200);
    assert!(!disk.files().contains(&kept) && store.stats().segments_reused > 0);
    assert_eq!(store.stats().log_bytes, octets(&disk));
    store.close().unwrap();
}

/// What is kept is for a store that needs it: who asks for the disk has it, an idle store keeps
/// nothing, and neither does one that is closed or killed.
#[test]
fn kept_files_go_when_nobody_needs_them() {
    let ways: [fn(&Store, &ManualClock, &Arc<SimDisk>); 3] = [
        |store, _, _| {
            store.sweep().unwrap();
        },
        |store, clock, disk| {
            // What is left expires, and is kept, too.
            clock.advance(Duration::from_secs(3600));
            store.keep_house(40);
            clock.advance(Duration::from_secs(59));
            store.keep_house(40);
            assert!(kept(disk) > 0, "{:?}", disk.files());
            clock.advance(Duration::from_secs(2));
            store.keep_house(40);
        },
        |store, _, _| store.close().unwrap(),
    ];
    for (nth, way) in ways.into_iter().enumerate() {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let store = on(&disk, options(&clock));
        round(&store, &clock, 0);
        round(&store, &clock, 1);
        assert!(kept(&disk) >= 2, "{:?}", disk.files());
        let freed = store.stats().bytes_freed;
        way(&store, &clock, &disk);
        assert!(nth == 2 || store.stats().bytes_freed > freed, "way {nth}");
        assert_eq!(kept(&disk), 0, "way {nth}: {:?}", disk.files());
        assert!(nth == 2 || store.stats().log_bytes == octets(&disk), "way {nth}");
    }
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = on(&disk, options(&clock));
    round(&store, &clock, 0);
    round(&store, &clock, 1);
    assert!(kept(&disk) > 0);
    let next = Arc::new(disk.kill());
    drop(store);
    let store = on(&next, options(&clock).seeded(2));
    assert_eq!(kept(&next), 0);
    complete(&store, "another", vec![1; 10]);
}

/// A disk is not told to be full while there are files that are kept.
#[test]
fn c36_kept_files_are_room() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = on(&disk, options(&clock));
    for nth in 0..4 {
        round(&store, &clock, nth);
    }
    let before = kept(&disk);
    assert!(before >= 3, "{:?}", disk.files());
    let taken: usize = disk.files().iter().map(|path| disk.read_file(path).unwrap().len()).sum();
    disk.set_capacity(Some(taken as u64));
    // One that is kept does for a segment. A result larger than one needs a segment of its own, for
    // which those that are kept go.
    let large = drive(&store, claim(&store, "large").unwrap().complete(vec![1; 80 * KIB]));
    assert!(large.is_ok(), "{large:?}: {:?}", disk.files());
    complete(&store, "other", vec![1; 30 * KIB]);
    store.checkpoint().unwrap();
    assert!(kept(&disk) < before);
    assert_eq!(store.stats().log_bytes, octets(&disk));
    let full = (0..100).find_map(|nth| claim(&store, &format!("{nth}")).err());
    assert!(full.is_none_or(|error| error.kind() == ErrorKind::Full));
}

/// A segment's file that is not removed is counted, and tried again by the next sweep, which goes on
/// with the others; and the log is told once that the segment is retired.
#[test]
fn a_segment_that_is_not_removed_is_retired_once_and_others_go() {
    let mut stayed = 0;
    for (seed, nth) in (1..4).flat_map(|seed| (0..24).map(move |nth| (seed, nth))) {
        let (disk, clock) = (Arc::new(SimDisk::new(seed)), ManualClock::new(BORN_MS));
        let store = on(&disk, options(&clock));
        for number in 0..9 {
            complete(&store, &number.to_string(), vec![1; 20 * KIB]);
        }
        store.checkpoint().unwrap();
        clock.advance(Duration::from_secs(3600));
        let before = store.stats();
        disk.fail_operation(disk.operations() + nth, Fault::Io);
        let failed = store.sweep();
        let left = store.stats();
        if left.poisoned || store.stats().segments_removed == before.segments_removed {
            continue;
        }
        assert_eq!(left.segments, 1, "{nth}: one failed, and the others stay: {failed:?}");
        assert!(left.log_bytes >= octets(&disk), "{nth}: a file is not counted");
        stayed += u64::from(failed.is_err() && octets(&disk) > left.segments * 64 * 1024);
        // The tree may have been closed by what failed.
        let _ = store.sweep();
        let after = store.stats();
        assert_eq!(after.log_bytes, octets(&disk), "{nth}: {:?}", disk.files());
        let (retired, frames) =
            (after.segments_removed - before.segments_removed, after.frames - before.frames);
        assert_eq!(frames, retired, "{nth}: each is retired once");
    }
    assert!(stayed > 0, "no removal failed");
}

/// The store may take no more, all but a few records have expired, and each of these few needs room to
/// be written again: the files of the segments before are that room. One sweep ends it.
#[test]
fn c36_a_sweep_at_the_bound_has_the_room_of_what_it_took_off() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let max = 80 * (64 << 10);
    let store = on(&disk, options(&clock).max_disk(Some(max)));
    let month = ClaimOptions::new().ttl(TTL * 1000);
    let mut names = 0;
    loop {
        let name = names.to_string();
        let long = (200..203).contains(&names);
        let claimed = if long {
            drive(&store, store.claim_with(key(&name), print(), month))
        } else {
            drive(&store, store.claim(key(&name), print()))
        };
        let ticket = match claimed {
            Ok(Claim::Granted(ticket)) => ticket,
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full);
                break;
            }
        };
        // Of those that stay each is large, so that no segment's rest takes it.
        let payload = if long { vec![9; 12 * KIB] } else { vec![1; KIB] };
        if let Err(failed) = drive(&store, ticket.complete(payload)) {
            assert_eq!(failed.error().kind(), ErrorKind::Full);
            break;
        }
        names += 1;
        if names % 100 == 0 {
            // The tree grows beside the log, not in the sweep.
            store.checkpoint().unwrap();
        }
    }
    assert!(store.stats().segments > 60);
    clock.advance(TTL * 2);
    let before = octets(&disk);
    let report = store.sweep().unwrap();
    assert!(report.segments_removed > 60, "{report:?}");
    assert!(store.stats().segments <= 3, "{:?}: {report:?}", store.stats());
    for name in 200..203 {
        let record = payload_of(&store, &name.to_string());
        assert_eq!(record.payload().unwrap().unwrap(), vec![9; 12 * KIB]);
    }
    assert_eq!(store.stats().log_bytes, octets(&disk));
    assert!(report.bytes_freed >= before - octets(&disk), "{report:?}: {before}");
}

/// A sweep that the disk has no room for has that of the files that are kept, whatever it writes; and
/// says how much the disk has back.
#[test]
fn c36_a_sweep_of_a_full_disk_has_the_room_of_kept_files() {
    let mut released = 0;
    for nth in 0..60 {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let store = on(&disk, options(&clock));
        for number in 0..4 {
            round(&store, &clock, number);
        }
        for number in 0..4 {
            complete(&store, &format!("more {number}"), vec![1; KIB]);
        }
        store.checkpoint().unwrap();
        clock.advance(Duration::from_secs(3600));
        assert!(kept(&disk) > 0);
        let (before, at) = (octets(&disk), disk.operations() + nth);
        disk.fail_operation(at, Fault::Full);
        let swept = store.sweep();
        if disk.operations() <= at {
            break;
        }
        if let Err(error) = swept {
            // What is not removed and what poisons is no want of room.
            assert_ne!(error.kind(), ErrorKind::Full, "operation {nth}: {error:?}");
            continue;
        }
        released += 1;
        let stats = store.stats();
        let report = swept.unwrap();
        assert_eq!(stats.log_bytes, octets(&disk), "{nth}");
        assert_eq!(report.bytes_freed, before - octets(&disk), "{nth}: {report:?}");
    }
    assert!(released > 0);
}

/// A file that was kept cannot be used, for want of room for the new segment's key: it is room itself.
#[cfg(feature = "encrypt")]
#[test]
fn c36_a_kept_file_that_is_not_used_is_room() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let keys = onceward::Keys::from_fn(onceward::KeyId::of(&[7; 32]), |_| Some([7; 32]));
    let store = on(&disk, options(&clock).encryption(keys));
    for number in 0..3 {
        round(&store, &clock, number);
    }
    let (before, reused) = (kept(&disk) as u64, store.stats().segments_reused);
    assert!(before >= 1, "{:?}", disk.files());
    let taken: usize = disk.files().iter().map(|path| disk.read_file(path).unwrap().len()).sum();
    disk.set_capacity(Some(taken as u64));
    let full = (0..1000).find_map(|number| {
        let claimed = claim(&store, &format!("more {number}"));
        let work =
            |ticket: Ticket| drive(&store, ticket.complete(vec![1; 9 * KIB])).map_err(Error::from);
        claimed.and_then(work).err()
    });
    assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::Full));
    assert_eq!(kept(&disk), 0, "the disk is said to be full, and such a file is there");
    assert!(before > store.stats().segments_reused - reused, "each was used");
}

/// The lengths of the files in the segments' directory, by their names.
fn named(store: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(store.join("segments")).unwrap().map(Result::unwrap);
    // One that goes meanwhile is none.
    let sized = entries.filter_map(|entry| {
        let length = entry.metadata().ok()?.len();
        Some((entry.file_name().into_string().unwrap(), length))
    });
    sized.filter(|(name, _)| name != "reserve.tmp").collect()
}

/// What a sweep removes has lost its names when the sweep answers, and goes back to the disk while others
/// claim, and while somebody reads what was in it; who closes the store meanwhile does not wait for that.
#[test]
fn what_a_sweep_removes_goes_back_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let clock = ManualClock::new(BORN_MS);
    let size = 8 << 20;
    for is_closed_meanwhile in [false, true] {
        let store =
            Options::new().segment_size(size).ttl(TTL).clock(clock.clone()).open(&path).unwrap();
        let finish = |name: &str, payload: Vec<u8>| {
            let claimed = store.blocking_claim(key(name), print()).unwrap();
            let Claim::Granted(ticket) = claimed else { panic!("{name}: {claimed:?}") };
            ticket.blocking_complete(payload).unwrap();
        };
        for nth in 0..40 {
            finish(&nth.to_string(), vec![nth; 1 << 20]);
        }
        let record = payload_of(&store, "20");
        let octets = payload_of(&store, "30").payload().unwrap().unwrap();
        clock.advance(TTL * 2);
        store.sweep().unwrap();
        let names = named(&path);
        let total: u64 = names.iter().map(|(_, length)| length).sum();
        assert!(total <= 3 * size && !names.iter().any(|(name, _)| is_kept(name)), "{names:?}");
        finish("another", vec![1; 100]);
        if is_closed_meanwhile {
            store.close().unwrap();
            assert!(verify(&path).unwrap().is_sound());
            assert!(octets == vec![30; 1 << 20]);
            continue;
        }
        let until = |done: &dyn Fn() -> bool| {
            let patience = Instant::now() + Duration::from_secs(120);
            while !done() {
                assert!(Instant::now() < patience, "{:?}, {:?}", store.stats(), named(&path));
                std::thread::yield_now();
            }
        };
        let on_its_way = || {
            let named: u64 = named(&path).iter().map(|(_, length)| length).sum();
            store.stats().log_bytes.saturating_sub(named)
        };
        // All but what is read.
        until(&|| on_its_way() <= 2 * size);
        assert!(record.payload().unwrap().unwrap() == vec![20; 1 << 20]);
        assert!(octets == vec![30; 1 << 20]);
        assert!(on_its_way() > size, "what is read stays");
        drop((record, octets));
        until(&|| on_its_way() == 0);
        store.close().unwrap();
    }
}

/// A store that is opened where an earlier one of the process was closed knows nothing of what that one
/// handed out: octets, and records whose octets were not looked at.
#[test]
fn p0_3_what_an_earlier_store_handed_out_is_read_while_a_later_one_removes_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let clock = ManualClock::new(BORN_MS);
    let open =
        || Options::new().segment_size(8 << 20).ttl(TTL).clock(clock.clone()).open(&path).unwrap();
    let earlier = open();
    for nth in 0..24 {
        let claimed = earlier.blocking_claim(key(&nth.to_string()), print()).unwrap();
        let Claim::Granted(ticket) = claimed else { panic!("{nth}: {claimed:?}") };
        ticket.blocking_complete(vec![nth; 1 << 20]).unwrap();
    }
    let record = payload_of(&earlier, "3");
    let octets = payload_of(&earlier, "10").payload().unwrap().unwrap();
    earlier.close().unwrap();
    let later = open();
    clock.advance(TTL * 2);
    assert!(later.sweep().unwrap().segments_removed >= 3);
    let patience = Instant::now() + Duration::from_secs(120);
    let named = || named(&path).iter().map(|(_, length)| length).sum::<u64>();
    while later.stats().log_bytes > named() {
        assert!(Instant::now() < patience, "{:?}", later.stats());
        std::thread::yield_now();
    }
    assert!(octets == vec![10; 1 << 20]);
    assert!(record.payload().unwrap().unwrap() == vec![3; 1 << 20]);
    later.close().unwrap();
    assert!(verify(&path).unwrap().is_sound());
}
