//! Opening a store again: what stands on the disk before and after, and what it is told as.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onceward::storage::{Fault, SimDisk, Storage};
use onceward::{
    Claim, Error, ErrorKind, Fingerprint, Key, ManualClock, Options, Resolution, Resolved, Store,
    Ticket, verify, verify_storage,
};

const BORN_MS: u64 = 1_750_000_000_000;
const KIB: usize = 1024;

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

fn options(clock: &ManualClock) -> Options {
    Options::new().segment_size(1 << 20).clock(clock.clone()).seeded(1).stepped()
}

fn open(options: Options, disk: &Arc<SimDisk>) -> Result<Store, Error> {
    options.open_storage(Arc::clone(disk) as Arc<dyn Storage>)
}

/// Drives a future to its end by stepping the store.
fn drive<T>(store: &Store, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        store.step().unwrap();
    }
    panic!("the store steps without end");
}

fn claim(store: &Store, number: usize) -> Result<Claim, Error> {
    drive(store, store.claim(Key::new("s", &format!("{number:03}")).unwrap(), print()))
}

fn granted(store: &Store, number: usize) -> Ticket {
    match claim(store, number).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{number}: expected a grant, got {other:?}"),
    }
}

fn complete(store: &Store, number: usize, octets: usize) {
    drive(store, granted(store, number).complete(vec![7; octets])).unwrap();
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|path| path.rsplit('.').next() == Some("log")).collect()
}

/// The newest segment's length, and where its last frame ends.
fn newest(disk: &SimDisk) -> (usize, usize) {
    let path = segments(disk).pop().unwrap();
    (disk.read_file(&path).unwrap().len(), end_of(disk, &path))
}

/// The newest segment in which a group stands.
fn newest_begun(disk: &SimDisk) -> String {
    segments(disk).into_iter().rfind(|path| !is_unused(disk, path)).unwrap()
}

/// Where a segment's last frame ends.
fn end_of(disk: &SimDisk, path: &str) -> usize {
    let bytes = disk.read_file(path).unwrap();
    align8(bytes.iter().rposition(|octet| *octet != 0).unwrap() + 1)
}

/// The machine after its processes were killed, before the store could close.
fn killed(disk: &SimDisk, store: Store) -> Arc<SimDisk> {
    let next = Arc::new(disk.kill());
    drop(store);
    next
}

/// Whether no group stands in a segment's file.
fn is_unused(disk: &SimDisk, path: &str) -> bool {
    disk.read_file(path).unwrap()[64..].iter().all(|octet| *octet == 0)
}

const fn align8(octets: usize) -> usize {
    octets.next_multiple_of(8)
}

/// Octets of a link that names so many segments, in its frame.
const fn link(segments: usize) -> usize {
    align8(80 + 72 + 4 * segments)
}

/// What is claimed and not finished is put in doubt in the segment that an opening begins. Whatever
/// it comes to, it has its room, and 64 KiB more to begin with, in whole pages.
#[test]
fn an_opening_has_room_for_every_claim_it_puts_in_doubt() {
    // Flights whose keys take so many octets together, on so many older segments.
    let opened = |older: usize, keys: usize| {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let options = || options(&clock);
        let store = open(options(), &disk).unwrap();
        for number in 0..3 * older {
            complete(&store, number, 300 * KIB);
        }
        let tickets: Vec<_> = (0..20)
            .map(|nth| {
                let octets = 8 + keys.saturating_sub(nth * 240).min(240);
                let key = format!("{nth:0>octets$}");
                drive(&store, store.claim(Key::new("", &key).unwrap(), print())).unwrap()
            })
            .collect();
        // Longer than what is written again.
        complete(&store, 999, 300 * KIB);
        store.close().unwrap();
        drop(tickets);
        let store = open(options().seeded(2), &disk).unwrap();
        assert_eq!(store.stats().in_doubt, 20);
        let before = segments(&disk).len() - 1;
        assert!(before >= older, "{before}");
        let (len, end) = newest(&disk);
        // A link might have to name the new segment, too.
        (len, end + link(before + 1) - link(before))
    };
    for older in [1, 2, 3] {
        let (_, end) = opened(older, 0);
        // At a page's end, and just past it: an octet less or more would show.
        for past in [0, 8] {
            let (len, end) = opened(older, (4096 + past - end % 4096) % 4096);
            assert_eq!(end % 4096, past, "{older} older segments");
            assert_eq!(len, (end + 64 * KIB).next_multiple_of(4096), "{older} older segments");
        }
    }
}

/// What a short segment holds is written again, and each claim of it may have to be put in doubt.
#[test]
fn an_opening_has_room_for_the_tail_it_writes_again() {
    // What was plain might be sealed in its new place.
    const OVERHEAD: usize = if cfg!(feature = "encrypt") { 16 } else { 0 };
    let opened = |results: usize, octets: usize, reopened: fn(Options) -> Options| {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let options = || options(&clock).segment_size(16 << 20).max_in_flight_per_scope(9_999);
        let store = open(options(), &disk).unwrap();
        let large = octets / 16 * 8;
        complete(&store, 0, large);
        complete(&store, 1, octets - large);
        for number in 2..results {
            complete(&store, number, 0);
        }
        let disk = killed(&disk, store);
        let store = open(reopened(options().seeded(2)), &disk).unwrap();
        assert_eq!(store.stats().records, results as u64);
        assert_eq!(segments(&disk).len(), 1, "the old one is void");
        // A second group, a link to one segment and itself, and each frame's head once more.
        let slack = 88 + link(2) - link(0) + 2 * results * (88 + OVERHEAD);
        (newest(&disk), slack)
    };
    let plain: fn(Options) -> Options = |options| options;
    for results in [2, 40] {
        let ((_, end), slack) = opened(results, 0, plain);
        for past in [0, 8] {
            let octets = (4096 + past - (end + slack) % 4096) % 4096;
            let ((len, end), slack) = opened(results, octets, plain);
            assert_eq!((end + slack) % 4096, past, "{results} results");
            assert_eq!(len, (end + slack + 64 * KIB).next_multiple_of(4096), "{results} results");
        }
    }
    let ((len, end), _) = opened(400, 8 * KIB, plain);
    assert!(len - end >= 64 * KIB, "{end} of {len}");
}

/// Files that nobody needs any more, and that a process which was killed had no time to remove.
#[test]
fn an_opening_removes_what_no_group_stands_in() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let options = || options(&clock).segment_size(64 << 10);
    let store = open(options(), &disk).unwrap();
    let unused = (0..100)
        .find_map(|number| {
            complete(&store, number, 4 * KIB);
            while store.step().unwrap() {}
            segments(&disk).into_iter().find(|path| is_unused(&disk, path))
        })
        .expect("a segment is made ahead of its need");
    let disk = killed(&disk, store);
    disk.write_file("segments/0000000099.log.tmp", b"half a segment").unwrap();
    let store = open(options().seeded(2), &disk).unwrap();
    let files = disk.files();
    assert!(!files.contains(&unused), "{files:?}");
    assert!(!files.contains(&"segments/0000000099.log.tmp".to_owned()), "{files:?}");
    assert!(!files.contains(&"segments/newborn.tmp".to_owned()), "{files:?}");
    assert!(store.stats().records > 0);
}

/// A key file whose segment was never begun seals nothing.
#[cfg(feature = "encrypt")]
#[test]
fn an_opening_destroys_keys_without_a_segment_and_no_others() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let options = || {
        let master = [0x2a; 32];
        let keys = onceward::Keys::from_fn(onceward::KeyId::of(&master), move |_| Some(master));
        options(&clock).encryption(keys)
    };
    let store = open(options(), &disk).unwrap();
    complete(&store, 1, 300 * KIB);
    store.close().unwrap();
    let ours: Vec<_> = disk.files().into_iter().filter(|path| path.contains(".key")).collect();
    let kept = ours.first().unwrap();
    let orphan = kept.replace("0000000001", "0000000077");
    disk.write_file(&orphan, &disk.read_file(kept).unwrap()).unwrap();
    let store = open(options().seeded(2), &disk).unwrap();
    let files = disk.files();
    assert!(files.contains(kept) && !files.contains(&orphan), "{files:?}");
    let used = |key: &&String| files.contains(&key.replace(".key", ".log"));
    assert!(ours.iter().filter(used).all(|key| files.contains(key)), "{ours:?}, now {files:?}");
    assert!(matches!(claim(&store, 1).unwrap(), Claim::Replay(_)));
}

/// The removal of a segment fails, or never happened: it is retired all the same, and the next
/// opening removes it.
#[test]
fn a_retired_segment_that_stayed_goes_with_the_next_opening() {
    let mut stayed = 0;
    // By its seed a disk has done what it says has failed, or has not.
    for (seed, nth) in (1..4).flat_map(|seed| (0..40).map(move |nth| (seed, nth))) {
        let (disk, clock) = (Arc::new(SimDisk::new(seed)), ManualClock::new(BORN_MS));
        let options = || options(&clock).segment_size(64 << 10).ttl(Duration::from_secs(10));
        let store = open(options(), &disk).unwrap();
        for number in 0..4 {
            complete(&store, number, 300 * KIB);
        }
        while store.step().unwrap() {}
        store.checkpoint().unwrap();
        clock.advance(Duration::from_secs(3600));
        let before = disk.operations();
        disk.fail_operation(before + nth, Fault::Io);
        let swept = store.sweep();
        if before + nth >= disk.operations() {
            assert!(swept.unwrap().segments_removed > 0);
            continue;
        }
        let stands = |path: &String| !is_unused(&disk, path);
        let standing = segments(&disk).iter().filter(|path| stands(path)).count() as u64;
        let length = |path: &String| disk.read_file(path).unwrap().len() as u64;
        let octets = segments(&disk).iter().map(length).sum::<u64>();
        assert!(octets <= store.stats().log_bytes, "{nth}: one that stands is not counted");
        let removing = swept.is_err_and(|error| format!("{error:?}").contains("removing segments"));
        stayed += u64::from(removing && standing > store.stats().segments);
        let disk = killed(&disk, store);
        let store = open(options().seeded(2), &disk).unwrap();
        assert_eq!(segments(&disk).len() as u64, store.stats().segments, "{nth}");
    }
    assert!(stayed > 0, "no removal failed");
}

/// A group says up to where the log was on disk before it. In a long segment only what nobody vouches
/// for is written again, and the segment stays, its end known.
#[test]
fn what_is_surely_on_disk_is_not_written_again() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    complete(&store, 0, 300 * KIB);
    let last = granted(&store, 2);
    complete(&store, 1, 300 * KIB);
    // Its group vouches for all before it, and nothing for it.
    drive(&store, last.complete(vec![7; 8])).unwrap();
    let mut disk = killed(&disk, store);
    for opening in 2..4 {
        let store = open(options(&clock).seeded(opening), &disk).unwrap();
        let (_, end) = newest(&disk);
        assert!(end < 4 * KIB, "opening {opening}: {end} octets");
        assert_eq!(store.stats().suspect_until_ms, None, "opening {opening}");
        for number in 0..3 {
            let again = claim(&store, number).unwrap();
            assert!(matches!(again, Claim::Replay(_)), "opening {opening}: {again:?}");
        }
        disk = killed(&disk, store);
    }
}

/// Nothing stands in the octets that are gone; but a file that got shorter is not the one that was
/// written, and what else it lost nobody knows.
#[test]
fn a_segment_of_a_killed_store_that_was_cut_off_is_refused() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    complete(&store, 1, 8);
    let disk = killed(&disk, store);
    let path = segments(&disk).pop().unwrap();
    let mut bytes = disk.read_file(&path).unwrap();
    assert_eq!(bytes.pop(), Some(0));
    disk.write_file(&path, &bytes).unwrap();
    let error = open(options(&clock).seeded(2), &disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    bytes.push(0);
    disk.write_file(&path, &bytes).unwrap();
    let store = open(options(&clock).seeded(2), &disk).unwrap();
    assert!(matches!(claim(&store, 1).unwrap(), Claim::Replay(_)));
}

/// What the last group said of the time counts, not when the segment was begun.
#[test]
fn a_trusted_wall_clock_counts_from_the_last_group() {
    for (later, gone) in [(40, false), (70, true)] {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let options = || options(&clock).ttl(minutes(60)).trust_wall_clock(true);
        let store = open(options(), &disk).unwrap();
        clock.advance(minutes(30));
        complete(&store, 1, 8);
        let disk = killed(&disk, store);
        clock.reboot();
        clock.set_wall_ms(BORN_MS + (30 + later) * 60_000);
        let store = open(options().seeded(2), &disk).unwrap();
        let claim = claim(&store, 1).unwrap();
        assert_eq!(matches!(claim, Claim::Granted(_)), gone, "{later} minutes: {claim:?}");
        assert_eq!(matches!(claim, Claim::Replay(_)), !gone, "{later} minutes: {claim:?}");
    }
}

/// A doubt is in the tree, and that somebody ended it in the log alone: what the next checkpoint
/// makes of it must outlive the doubt's own entry, or the doubt would be back.
#[test]
fn a_doubt_that_was_ended_before_a_kill_does_not_come_back() {
    let (mut disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let hour = Duration::from_secs(3600);
    let options = |seed| options(&clock).ttl(10 * hour).seeded(seed);
    let store = open(options(1), &disk).unwrap();
    drop(granted(&store, 1));
    while store.step().unwrap() {}
    store.checkpoint().unwrap();
    let name = Key::new("s", "001").unwrap();
    let resolved = drive(&store, store.resolve(name, Resolution::Release)).unwrap();
    assert_eq!(resolved, Resolved::Done);
    disk = killed(&disk, store);

    let store = open(options(2), &disk).unwrap();
    store.checkpoint().unwrap();
    clock.advance(hour);
    store.sweep().unwrap();
    store.close().unwrap();
    let store = open(options(3), &disk).unwrap();
    assert_eq!(store.stats().in_doubt, 0);
    drop(granted(&store, 1));
}

/// Told by the checkpoint of one that was closed, and by the log alone of one that was killed.
#[test]
fn each_opening_is_an_epoch_of_its_own() {
    for closed in [true, false] {
        let (mut disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        for epoch in 1..5 {
            let store = open(options(&clock).seeded(epoch), &disk).unwrap();
            assert_eq!(store.stats().epoch, epoch, "closed: {closed}");
            complete(&store, epoch as usize, 1);
            if closed {
                store.close().unwrap();
            }
            disk = killed(&disk, store);
        }
    }
}

#[test]
fn a_trusted_wall_clock_counts_the_time_switched_off_and_no_other_does() {
    for trusted in [false, true] {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let hour = Duration::from_secs(3600);
        let options = || options(&clock).ttl(hour).trust_wall_clock(trusted);
        let store = open(options(), &disk).unwrap();
        complete(&store, 1, 1);
        store.close().unwrap();
        clock.reboot();
        clock.set_wall_ms(BORN_MS + 2 * 3_600_000);
        let store = open(options().seeded(2), &disk).unwrap();
        let claim = claim(&store, 1).unwrap();
        assert_eq!(matches!(claim, Claim::Granted(_)), trusted, "{claim:?}");
        assert_eq!(matches!(claim, Claim::Replay(_)), !trusted, "{claim:?}");
    }
}

/// A store on a disk that is full to the last octet: what it keeps for its next opening is room
/// enough, and without it the disk is told to be full.
#[test]
fn c36_a_store_on_a_full_disk_opens_again_by_the_room_it_kept() {
    const RESERVE: &str = "segments/reserve.tmp";
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    complete(&store, 1, 100 * KIB);
    store.close().unwrap();
    let octets = |disk: &SimDisk| -> u64 {
        disk.files().iter().map(|path| disk.read_file(path).unwrap().len() as u64).sum()
    };
    assert_eq!(disk.read_file(RESERVE).unwrap().len(), 512 * KIB);
    disk.set_capacity(Some(octets(&disk)));
    let store = open(options(&clock).seeded(2), &disk).unwrap();
    assert!(matches!(claim(&store, 1).unwrap(), Claim::Replay(_)));
    store.close().unwrap();

    // What was kept has been used, and there is no room to keep it again: all of it, or none.
    assert!(!disk.files().contains(&RESERVE.to_owned()), "{:?}", disk.files());
    disk.set_capacity(Some(octets(&disk)));
    let error = open(options(&clock).seeded(3), &disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    disk.set_capacity(None);
    let store = open(options(&clock).seeded(4), &disk).unwrap();
    assert!(matches!(claim(&store, 1).unwrap(), Claim::Replay(_)), "it heals");
}

#[test]
fn c36_a_disk_without_room_for_a_new_store_is_told_to_be_full() {
    let clock = ManualClock::new(BORN_MS);
    for octets in [0, 8, 55, 56, 4096] {
        let disk = Arc::new(SimDisk::new(1));
        disk.set_capacity(Some(octets));
        let error = open(options(&clock), &disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{octets} octets: {error:?}");
        disk.set_capacity(None);
        complete(&open(options(&clock), &disk).unwrap(), 1, 1);
    }
}

/// Any one call of the making of a store fails: so does the opening, unless what failed was only to
/// make the next one easier; and nothing of a birth is left in a store that opened.
#[test]
fn a_call_that_fails_while_a_store_is_made_fails_the_opening() {
    let clock = ManualClock::new(BORN_MS);
    let (mut refused, mut opened) = (0, 0);
    for nth in 0.. {
        let disk = Arc::new(SimDisk::new(nth));
        disk.fail_operation(nth, Fault::Io);
        let store = open(options(&clock), &disk);
        if nth >= disk.operations() {
            break;
        }
        if let Err(error) = store {
            let io = matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned);
            assert!(io, "{nth}: {error:?}");
            refused += 1;
        } else {
            let files = disk.files();
            assert!(!files.contains(&"segments/newborn.tmp".to_owned()), "{nth}: {files:?}");
            opened += 1;
        }
    }
    assert!(refused > opened, "{refused} refused, {opened} opened");
}

#[test]
fn a_directory_that_cannot_be_listed_is_no_new_one() {
    let clock = ManualClock::new(BORN_MS);
    for made in [false, true] {
        let disk = Arc::new(SimDisk::new(1));
        if made {
            open(options(&clock), &disk).unwrap().close().unwrap();
        }
        let before = (disk.files(), disk.operations());
        disk.fail_read(disk.reads(), Fault::Io);
        let error = open(options(&clock).seeded(2), &disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
        assert_eq!((disk.files(), disk.operations()), before, "nothing was done");
    }
}

/// What making a store leaves when it is cut off before the file `STORE` has its name.
#[test]
fn a_store_that_was_half_made_is_made() {
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(1));
    disk.create_dir("").unwrap();
    disk.create_dir("segments").unwrap();
    for path in ["LOCK", "STORE.tmp", "segments/newborn.tmp", "segments/0000000001.log.tmp"] {
        disk.write_file(path, b"").unwrap();
    }
    complete(&open(options(&clock), &disk).unwrap(), 1, 1);
}

#[test]
fn segments_without_a_store_are_nobodys_to_take() {
    let clock = ManualClock::new(BORN_MS);
    let made = Arc::new(SimDisk::new(1));
    let store = open(options(&clock), &made).unwrap();
    complete(&store, 1, 1);
    store.close().unwrap();
    made.remove_file("STORE").unwrap();
    let digest = made.digest();
    let error = open(options(&clock).seeded(2), &made).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error:?}");
    assert_eq!(made.digest(), digest, "nothing was done");
}

#[test]
fn a_file_of_somebody_elses_among_segments_is_not_taken_for_a_half_made_store() {
    for (path, ours) in [("segments/1.log.tmp", true), ("segments/notes.txt", false)] {
        let disk = Arc::new(SimDisk::new(1));
        disk.create_dir("").unwrap();
        disk.create_dir("segments").unwrap();
        disk.write_file(path, b"").unwrap();
        let digest = disk.digest();
        let opened = open(options(&ManualClock::new(BORN_MS)), &disk);
        if ours {
            opened.unwrap().close().unwrap();
        } else {
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
            assert_eq!(disk.digest(), digest, "nothing was done");
        }
    }
}

#[test]
fn what_is_no_store_is_not_verified() {
    let parent = tempfile::tempdir().unwrap();
    let kind = |path: &std::path::Path| verify(path).unwrap_err().kind();
    let foreign = parent.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "mine").unwrap();
    assert_eq!(kind(&foreign), ErrorKind::UnsupportedFormat);

    let ours = parent.path().join("ours");
    let store = Store::open(&ours).unwrap();
    drop(store.blocking_claim(Key::new("s", "k").unwrap(), print()).unwrap());
    store.close().unwrap();
    std::fs::remove_file(ours.join("LOCK")).unwrap();
    assert!(verify(&ours).unwrap().is_sound(), "nobody has it open");
    assert!(!ours.join("LOCK").exists(), "and nothing is left behind");
    std::fs::remove_file(ours.join("STORE")).unwrap();
    assert_eq!(kind(&ours), ErrorKind::Corrupt);
}

/// Where no opening reads the frames of either again, the tree alone tells that a doubt was ended:
/// for as long as the doubt is in it.
#[test]
fn the_end_of_a_doubt_is_in_the_tree_as_long_as_the_doubt() {
    for copied in [true, false] {
        let (mut disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let hour = Duration::from_secs(3600);
        let options = |seed| options(&clock).ttl(10 * hour).seeded(seed);
        let store = open(options(1), &disk).unwrap();
        complete(&store, 0, 300 * KIB);
        drop(granted(&store, 1));
        while store.step().unwrap() {}
        store.checkpoint().unwrap();
        let name = Key::new("s", "001").unwrap();
        let resolved = drive(&store, store.resolve(name, Resolution::Release)).unwrap();
        assert_eq!(resolved, Resolved::Done);
        if !copied {
            // Its group vouches for the one before it, which then stays where it is.
            drive(&store, granted(&store, 2).release()).unwrap();
        }
        disk = killed(&disk, store);

        let store = open(options(2), &disk).unwrap();
        complete(&store, 3, 300 * KIB);
        store.checkpoint().unwrap();
        clock.advance(hour);
        store.sweep().unwrap();
        store.close().unwrap();
        let store = open(options(3), &disk).unwrap();
        assert_eq!(store.stats().in_doubt, 0, "copied: {copied}");
        drop(granted(&store, 1));
    }
}

/// What changed in it is not known, so it is kept for whoever looks into it, and nothing of it is
/// taken for void.
#[test]
fn a_short_segment_with_a_damaged_header_stays() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    complete(&store, 1, 8);
    let disk = killed(&disk, store);
    let path = newest_begun(&disk);
    disk.flip_bit(&path, 8 * 20).unwrap();
    let store = open(options(&clock).seeded(2), &disk).unwrap();
    assert!(store.stats().suspect_until_ms.is_some());
    assert!(matches!(claim(&store, 1).unwrap(), Claim::Replay(_)));
    assert!(segments(&disk).contains(&path), "{:?}", disk.files());
}

/// One sector of a segment is lost, with its header and its first group: what stands behind it is
/// found all the same, and a key that is not known is refused.
#[test]
fn a_segment_without_its_first_sector_is_damaged_and_no_more() {
    for last in [true, false] {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let store = open(options(&clock), &disk).unwrap();
        for number in 0..4 {
            complete(&store, number, 200);
        }
        let path = newest_begun(&disk);
        if !last {
            complete(&store, 4, 900 * KIB);
            complete(&store, 5, 900 * KIB);
            assert_ne!(newest_begun(&disk), path);
        }
        let disk = killed(&disk, store);
        let mut octets = disk.read_file(&path).unwrap();
        octets[..512].fill(0);
        disk.write_file(&path, &octets).unwrap();
        let store = open(options(&clock).seeded(2), &disk).unwrap();
        assert!(matches!(claim(&store, 3).unwrap(), Claim::Replay(_)), "last: {last}");
        assert_eq!(claim(&store, 77).unwrap_err().kind(), ErrorKind::Corrupt, "last: {last}");
    }
}

/// A store that was killed gives back what it had made ready, at once.
#[test]
fn an_opening_cuts_the_last_segment_behind_its_groups() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    let path = loop {
        complete(&store, disk.files().len() * 100 + end_of(&disk, &newest_begun(&disk)), 20 * KIB);
        let path = newest_begun(&disk);
        if end_of(&disk, &path) > 300 * KIB {
            break path;
        }
    };
    let disk = killed(&disk, store);
    let (end, before) = (end_of(&disk, &path), disk.read_file(&path).unwrap().len());
    assert!(before > end + 100 * KIB, "{before}");
    let store = open(options(&clock).seeded(2), &disk).unwrap();
    assert_eq!(disk.read_file(&path).unwrap().len(), end);
    drop(killed(&disk, store));
}

/// A checkpoint knows what was on disk before it. Where that does not stand any more it was damaged,
/// and is no torn tail, however short the segment: nothing that stood there is free.
#[test]
fn what_stood_before_a_checkpoint_is_no_torn_tail() {
    for before in [8, 300 * KIB] {
        for finished in [true, false] {
            let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
            // Longer than the retention of the next opening.
            let hour = Duration::from_secs(3600);
            let store = open(options(&clock).ttl(10 * hour), &disk).unwrap();
            complete(&store, 0, before);
            let path = newest_begun(&disk);
            let end = end_of(&disk, &path);
            let ticket = granted(&store, 1);
            let held = if finished {
                drive(&store, ticket.complete("done")).unwrap();
                None
            } else {
                Some(ticket)
            };
            store.checkpoint().unwrap();
            assert_eq!(newest_begun(&disk), path);
            let disk = killed(&disk, store);
            drop(held);
            let mut bytes = disk.read_file(&path).unwrap();
            bytes[end..].fill(0);
            disk.write_file(&path, &bytes).unwrap();
            let store = open(options(&clock).ttl(hour).seeded(2), &disk).unwrap();
            let what = format!("finished: {finished}, behind {before} octets");
            for later in [0, 9] {
                clock.advance(later * hour);
                let error = claim(&store, 1).expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
                assert!(matches!(claim(&store, 0).unwrap(), Claim::Replay(_)), "{what}");
            }
        }
    }
}

/// To the octet: what is longer is not read and written again at every opening.
#[test]
fn a_segment_of_256_kib_is_written_again_and_a_longer_one_is_not() {
    let opened = |octets: usize, checkpoint: bool| {
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let store = open(options(&clock), &disk).unwrap();
        complete(&store, 0, octets);
        if checkpoint {
            store.checkpoint().unwrap();
        }
        let path = newest_begun(&disk);
        let end = end_of(&disk, &path);
        let disk = killed(&disk, store);
        let store = open(options(&clock).seeded(2), &disk).unwrap();
        assert!(matches!(claim(&store, 0).unwrap(), Claim::Replay(_)));
        (end, segments(&disk).contains(&path))
    };
    for checkpoint in [false, true] {
        let (short, _) = opened(8, checkpoint);
        for past in [0, 8] {
            let (end, stays) = opened(8 + 256 * KIB + past - short, checkpoint);
            assert_eq!(end, 256 * KIB + past);
            // Without a checkpoint nothing vouches for the last group, which is written again in
            // any case: the claim before it makes the segment stay.
            assert_eq!(stays, past > 0, "{past} octets past it, checkpoint: {checkpoint}");
        }
    }
}

/// A store whose writes have failed is closed, and others of the same process open the directory: what
/// it had handed out is read all the same.
#[test]
fn p0_3_a_payload_outlives_its_store_and_the_openings_that_follow() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    // Longer than what is written again as a whole: of this segment the last group alone is.
    let is_long = |disk: &SimDisk| end_of(disk, &newest_begun(disk)) > 300 * KIB;
    let last = (0..90).find(|number| {
        complete(&store, *number, 60 * KIB);
        is_long(&disk)
    });
    let last = format!("{:03}", last.unwrap());
    let record = store.get(Key::new("s", &last).unwrap()).unwrap().unwrap();
    let mut claim = Box::pin(store.claim(Key::new("s", "lost").unwrap(), print()));
    assert!(claim.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    disk.fail_operation(disk.operations(), Fault::Io);
    assert!(store.step().is_err());
    assert!(store.close().is_err());
    for opening in 2..5 {
        let store = open(options(&clock).seeded(opening), &disk).unwrap();
        complete(&store, 100 + opening as usize, 8);
        // Time enough to go on in another segment, and to cut those before.
        clock.advance(Duration::from_secs(2 * 60 * 60));
        store.keep_house(0);
        let read = record.read(|payload| payload == vec![7; 60 * KIB]);
        assert_eq!(read.unwrap(), Some(true), "opening {opening}");
        store.close().unwrap();
    }
}

/// Somebody removes a segment's file. The newest link names every segment before it, and the tree those
/// it knows: whichever it was, nothing that stood in it is free. Only of the newest one may nobody know.
#[test]
fn p0_1_a_segment_whose_file_is_gone_is_missed() {
    for (closed, checkpoint_at, with_tree) in [
        (true, None, true),
        (true, Some(4), false),
        (false, None, true),
        (false, Some(4), true),
        (false, Some(4), false),
        (false, Some(17), true),
    ] {
        let what = format!("closed: {closed}, {checkpoint_at:?}, with its tree: {with_tree}");
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let store = open(options(&clock), &disk).unwrap();
        for number in 0..18 {
            complete(&store, number, 300 * KIB);
            if checkpoint_at == Some(number) {
                store.checkpoint().unwrap();
            }
        }
        if closed {
            store.close().unwrap();
        }
        let disk = killed(&disk, store);
        if !with_tree {
            disk.unlink("tree.redb").unwrap();
        }
        let begun: Vec<_> =
            segments(&disk).into_iter().filter(|path| !is_unused(&disk, path)).collect();
        assert!(begun.len() > 5, "{begun:?}");
        let in_the_tree = with_tree && (closed || checkpoint_at == Some(17));
        for path in &begun {
            let disk = Arc::new(disk.fork());
            disk.unlink(path).unwrap();
            let said = open(options(&clock).seeded(2), &disk).map_err(|error| error.to_string());
            let missed =
                said.is_err_and(|said| said == format!("{path} is missing and was not retired"));
            assert_eq!(missed, in_the_tree || Some(path) != begun.last(), "{what}: {path}");
        }
    }
}

/// What closing commits may begin another segment: the tree of a closed store names that one, too.
#[test]
fn p0_1_the_newest_segment_of_a_closed_store_is_missed() {
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
    let store = open(options(&clock), &disk).unwrap();
    let ticket = granted(&store, 0);
    let before = loop {
        complete(&store, disk.files().len() + end_of(&disk, &newest_begun(&disk)), 50 * KIB);
        while store.step().unwrap() {}
        let path = newest_begun(&disk);
        let is_ready = segments(&disk).pop().is_some_and(|last| is_unused(&disk, &last));
        if is_ready && end_of(&disk, &path) > 964 * KIB {
            break path;
        }
    };
    // Appended, and not committed.
    let mut done = Box::pin(ticket.complete(vec![7; 60 * KIB]));
    let mut context = Context::from_waker(Waker::noop());
    assert!(done.as_mut().poll(&mut context).is_pending());
    store.close().unwrap();
    assert!(matches!(done.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    let path = newest_begun(&disk);
    assert_ne!(path, before);
    disk.unlink(&path).unwrap();
    let error = open(options(&clock).seeded(2), &disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// A file system gives a whole file of zeros back, or of anything. What stood in it is refused, and the
/// rest goes on. Of the last segment alone the store is refused: how late it was stood there.
#[test]
fn p0_1_a_segment_of_which_nothing_stands_costs_what_it_had() {
    for (closed, checkpoint_at, zeros) in
        [(true, None, true), (false, None, false), (false, Some(10), true)]
    {
        let what = format!("closed: {closed}, {checkpoint_at:?}");
        let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new(BORN_MS));
        let hour = Duration::from_secs(3600);
        let options = |seed| options(&clock).ttl(hour).seeded(seed);
        let store = open(options(1), &disk).unwrap();
        let mut held = None;
        for number in 0..18 {
            complete(&store, number, 300 * KIB);
            if number == 3 {
                held = Some(granted(&store, 50));
            }
            if checkpoint_at == Some(number) {
                store.checkpoint().unwrap();
            }
        }
        if closed {
            store.close().unwrap();
        }
        let killed_disk = killed(&disk, store);
        drop(held);
        let begun: Vec<_> = segments(&killed_disk)
            .into_iter()
            .filter(|path| !is_unused(&killed_disk, path))
            .collect();
        let (last, rest) = begun.split_last().unwrap();
        assert!(rest.len() > 4, "{begun:?}");
        for path in rest {
            let mut disk = Arc::new(killed_disk.fork());
            let octet = if zeros { 0 } else { 0xa5 };
            disk.write_file(path, &vec![octet; disk.read_file(path).unwrap().len()]).unwrap();
            let findings =
                verify_storage(&(Arc::clone(&disk) as Arc<dyn Storage>)).unwrap().findings;
            assert!(findings.iter().any(|it| it.file == *path), "{what}: {findings:?}");
            for opening in 2..5 {
                let store = open(options(opening), &disk).unwrap();
                let mut replayed = 0;
                for number in (0..18).chain([50, 77]) {
                    match claim(&store, number) {
                        Ok(Claim::Replay(_)) => replayed += 1,
                        // Of a claim that stands elsewhere the end is lost.
                        Ok(Claim::InDoubt(_)) => assert_ne!(number, 77, "{what}: {path}"),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                        other => panic!("{what}: {path}: {number}: {other:?}"),
                    }
                }
                // The first segment has a claim alone.
                let all = if *path == begun[0] { 18..=18 } else { 14..=17 };
                assert!(all.contains(&replayed), "{what}: {path}: {replayed}");
                assert_eq!(
                    segments(&disk).contains(path),
                    opening == 2,
                    "for whoever looks into it"
                );
                if opening == 2 {
                    disk = killed(&disk, store);
                } else if opening == 3 {
                    store.checkpoint().unwrap();
                    store.close().unwrap();
                } else if Some(path) == rest.last() {
                    clock.advance(hour + Duration::from_millis(1));
                    for number in (0..18).chain([77]) {
                        drive(&store, granted(&store, number).release()).unwrap();
                    }
                }
            }
        }
        killed_disk.write_file(last, &vec![0; killed_disk.read_file(last).unwrap().len()]).unwrap();
        let error = open(options(2), &killed_disk).unwrap_err();
        assert_eq!(error.to_string(), format!("{last} is damaged, or was cut off"), "{what}");
    }
}
