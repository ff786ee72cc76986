//! The engine's behaviours through the public API, on the real disk.
#![cfg(feature = "test-util")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use onceward::{
    Claim, ClaimOptions, ErrorKind, Fingerprint, Key, Options, Resolution, Resolved, State, Store,
    Ticket,
};

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

fn key(text: &str) -> Key<'_> {
    Key::new("acct_1", text).unwrap()
}

fn granted(store: &Store, text: &str) -> Ticket {
    match store.blocking_claim(key(text), print()).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{text}: expected a grant, got {other:?}"),
    }
}

fn replayed(store: &Store, text: &str) -> Option<Vec<u8>> {
    match store.blocking_claim(key(text), print()).unwrap() {
        Claim::Replay(record) => record.payload().unwrap().map(|payload| payload.to_vec()),
        other => panic!("{text}: expected a replay, got {other:?}"),
    }
}

fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    (parent, path)
}

#[test]
fn a_completed_claim_is_replayed_also_after_reopening() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    granted(&store, "a").blocking_complete("created").unwrap();
    assert_eq!(replayed(&store, "a").unwrap(), b"created");
    store.close().unwrap();

    let store = Store::open(&path).unwrap();
    assert_eq!(replayed(&store, "a").unwrap(), b"created");
    assert_eq!(store.stats().epoch, 2);
    granted(&store, "b").blocking_complete("other").unwrap();
    drop(store);

    let store = Store::open(&path).unwrap();
    assert_eq!(replayed(&store, "a").unwrap(), b"created");
    assert_eq!(replayed(&store, "b").unwrap(), b"other");
}

#[test]
fn another_fingerprint_is_a_mismatch_also_while_in_flight_and_in_doubt() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let other = Fingerprint::of("POST /v1/other");
    let mismatched = |text| {
        let claim = store.blocking_claim(key(text), other).unwrap();
        assert!(matches!(claim, Claim::Mismatch(_)), "{text}: {claim:?}");
    };
    granted(&store, "done").blocking_complete("x").unwrap();
    mismatched("done");
    let ticket = granted(&store, "flying");
    mismatched("flying");
    drop(ticket);
    let doubtful = store.blocking_claim(key("flying"), print()).unwrap();
    assert!(matches!(doubtful, Claim::InDoubt(_)), "{doubtful:?}");
    mismatched("flying");
}

#[test]
fn sixty_four_threads_on_one_key_get_one_grant_and_one_answer() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let grants = AtomicU32::new(0);
    let deadline = Instant::now() + Duration::from_secs(30);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let mut claim = store.blocking_claim(key("one"), print()).unwrap();
                loop {
                    claim = match claim {
                        Claim::Granted(ticket) => {
                            grants.fetch_add(1, Ordering::Relaxed);
                            ticket.blocking_complete("once").unwrap();
                            return;
                        }
                        Claim::Replay(record) => {
                            assert_eq!(record.payload().unwrap().unwrap(), "once");
                            return;
                        }
                        Claim::InFlight(wait) => wait.blocking_until(deadline).unwrap(),
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    assert_eq!(grants.load(Ordering::Relaxed), 1);
}

#[test]
fn on_release_exactly_one_of_those_who_wait_is_granted() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let ticket = granted(&store, "k");
    let (grants, ready) = (AtomicU32::new(0), std::sync::Barrier::new(9));
    let deadline = Instant::now() + Duration::from_secs(30);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let claim = store.blocking_claim(key("k"), print()).unwrap();
                let Claim::InFlight(wait) = claim else { panic!("{claim:?}") };
                ready.wait();
                match wait.blocking_until(deadline).unwrap() {
                    Claim::Granted(ticket) => {
                        grants.fetch_add(1, Ordering::Relaxed);
                        ticket.blocking_complete("second").unwrap();
                    }
                    Claim::Replay(record) => {
                        assert_eq!(record.payload().unwrap().unwrap(), "second");
                    }
                    other => panic!("{other:?}"),
                }
            });
        }
        ready.wait();
        ticket.blocking_release().unwrap();
    });
    assert_eq!(grants.load(Ordering::Relaxed), 1);
}

#[test]
fn a_wait_gives_in_flight_again_at_its_deadline() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let _ticket = granted(&store, "k");
    let Claim::InFlight(wait) = store.blocking_claim(key("k"), print()).unwrap() else { panic!() };
    let deadline = Instant::now() + Duration::from_millis(20);
    let claim = wait.blocking_until(deadline).unwrap();
    assert!(matches!(claim, Claim::InFlight(_)) && Instant::now() >= deadline, "{claim:?}");
}

#[test]
fn a_wait_that_begins_late_is_told_what_has_become_of_its_claim() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let far = Instant::now() + Duration::from_secs(3600);
    let waits = |text: &str| match store.blocking_claim(key(text), print()).unwrap() {
        Claim::InFlight(wait) => wait,
        other => panic!("not in flight: {other:?}"),
    };
    let ticket = granted(&store, "done");
    let wait = waits("done");
    ticket.blocking_complete("result").unwrap();
    assert!(matches!(wait.blocking_until(far).unwrap(), Claim::Replay(_)));

    let ticket = granted(&store, "released");
    let wait = waits("released");
    ticket.blocking_release().unwrap();
    let again = granted(&store, "released");
    let waiting = std::thread::spawn(move || wait.blocking_until(far).unwrap());
    again.blocking_complete("result").unwrap();
    assert!(matches!(waiting.join().unwrap(), Claim::Replay(_)));

    let _held = granted(&store, "held");
    let wait = waits("held");
    store.close().unwrap();
    assert_eq!(wait.blocking_until(far).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_dropped_ticket_is_in_doubt_until_somebody_resolves_it() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    for (text, resolution) in
        [("freed", Resolution::Release), ("known", Resolution::Complete("done".into()))]
    {
        let live = granted(&store, text);
        let refused = store.blocking_resolve(key(text), resolution.clone()).unwrap();
        assert_eq!(refused, Resolved::InFlight, "a living ticket alone may finish");
        drop(live);
        // The drop waits for nobody; this claim waits for its frame.
        let claim = store.blocking_claim(key(text), print()).unwrap();
        assert!(matches!(claim, Claim::InDoubt(_)), "{claim:?}");
        assert_eq!(store.get(key(text)).unwrap().unwrap().state(), State::InDoubt);
        assert_eq!(store.blocking_resolve(key(text), resolution).unwrap(), Resolved::Done);
    }
    assert_eq!(replayed(&store, "known").unwrap(), b"done");
    assert!(store.get(key("freed")).unwrap().is_none());
    let again = store.blocking_resolve(key("known"), Resolution::Release).unwrap();
    assert_eq!(again, Resolved::Complete);
    let absent = store.blocking_resolve(key("never"), Resolution::Release).unwrap();
    assert_eq!(absent, Resolved::Absent);
    store.close().unwrap();

    let store = Store::open(&path).unwrap();
    assert_eq!(replayed(&store, "known").unwrap(), b"done");
    granted(&store, "freed").blocking_release().unwrap();
}

#[test]
fn a_claim_whose_store_was_closed_is_in_doubt_after_reopening() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let ticket = granted(&store, "k");
    store.close().unwrap();
    let error = ticket.blocking_complete("late").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(store.get(key("k")).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(store.blocking_claim(key("k"), print()).unwrap_err().kind(), ErrorKind::Closed);
    store.close().unwrap();

    let store = Store::open(&path).unwrap();
    let claim = store.blocking_claim(key("k"), print()).unwrap();
    assert!(matches!(claim, Claim::InDoubt(_)), "{claim:?}");
}

#[test]
fn a_tombstone_says_that_the_work_is_done_and_what_was_noted() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    granted(&store, "k").blocking_complete_without_payload("201").unwrap();
    let Claim::Replay(record) = store.blocking_claim(key("k"), print()).unwrap() else { panic!() };
    assert!(record.is_tombstone());
    assert_eq!(record.payload().unwrap(), None);
    assert_eq!(record.note().unwrap(), "201");
}

#[test]
fn a_payload_over_the_cap_hands_the_ticket_back() {
    let (_parent, path) = directory();
    let store = Options::new().max_payload(10).open(&path).unwrap();
    let error = granted(&store, "k").blocking_complete("eleven byte").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    let ticket = error.into_ticket().expect("nothing was written");
    ticket.blocking_complete("ten bytes!").unwrap();
    assert_eq!(replayed(&store, "k").unwrap(), b"ten bytes!");
}

#[test]
fn a_payload_larger_than_a_segment_gets_one_of_its_own() {
    let (_parent, path) = directory();
    let options = || Options::new().segment_size(64 << 10);
    let store = options().open(&path).unwrap();
    let large = vec![7_u8; 3 << 20];
    granted(&store, "small").blocking_complete("small").unwrap();
    granted(&store, "large").blocking_complete(large.clone()).unwrap();
    granted(&store, "after").blocking_complete("after").unwrap();
    assert_eq!(replayed(&store, "large").unwrap(), large);
    drop(store);
    let store = options().open(&path).unwrap();
    assert_eq!(replayed(&store, "small").unwrap(), b"small");
    assert_eq!(replayed(&store, "large").unwrap(), large);
    assert_eq!(replayed(&store, "after").unwrap(), b"after");
}

#[test]
fn many_segments_read_back() {
    let (_parent, path) = directory();
    let options = || Options::new().segment_size(64 << 10);
    let store = options().open(&path).unwrap();
    let payload = |n: usize| format!("payload {n} ").repeat(50);
    let write = |store: &Store, range: std::ops::Range<usize>| {
        for n in range {
            granted(store, &n.to_string()).blocking_complete(payload(n)).unwrap();
        }
    };
    write(&store, 0..500);
    store.checkpoint().unwrap();
    write(&store, 500..1000);
    assert!(store.stats().segments > 5, "{:?}", store.stats());
    drop(store);
    let store = options().open(&path).unwrap();
    for n in 0..1000 {
        assert_eq!(replayed(&store, &n.to_string()).unwrap(), payload(n).as_bytes());
    }
    assert_eq!(store.iter().map(Result::unwrap).count(), 1000);
    drop(store);
    let report = onceward::verify(&path).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.complete, report.sealed), (1000, true));
    assert_eq!(report.tree_entries, 1000);
}

#[test]
fn a_missing_or_damaged_tree_is_rebuilt_from_the_log() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    for n in 0..200 {
        granted(&store, &n.to_string()).blocking_complete(n.to_string()).unwrap();
    }
    store.close().unwrap();
    for damage in ["remove", "garble", "cut"] {
        let tree = path.join("tree.redb");
        match damage {
            "remove" => std::fs::remove_file(&tree).unwrap(),
            "garble" => {
                let mut bytes = std::fs::read(&tree).unwrap();
                for byte in bytes.iter_mut().skip(4096).step_by(7) {
                    *byte ^= 0x5a;
                }
                std::fs::write(&tree, bytes).unwrap();
            }
            _ => {
                let file = std::fs::OpenOptions::new().write(true).open(&tree).unwrap();
                file.set_len(5000).unwrap();
            }
        }
        let store = Store::open(&path).unwrap();
        for n in 0..200 {
            let text = n.to_string();
            assert_eq!(replayed(&store, &text).unwrap(), text.as_bytes(), "{damage}");
        }
        store.close().unwrap();
    }
}

/// C45.
#[test]
fn a_second_opener_fails_at_once_and_the_lock_is_free_after_close() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let clone = store.clone();
    assert_eq!(Store::open(&path).unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(onceward::verify(&path).unwrap_err().kind(), ErrorKind::Locked);
    store.close().unwrap();
    let second = Store::open(&path).unwrap();
    assert_eq!(clone.get(key("k")).unwrap_err().kind(), ErrorKind::Closed);
    granted(&second, "k").blocking_release().unwrap();
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_is() {
    let (_parent, path) = directory();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    assert_eq!(Store::open(&path).unwrap_err().kind(), ErrorKind::UnsupportedFormat);
    let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["notes.txt"]);
    assert_eq!(std::fs::read(path.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_store_of_a_newer_format_is_refused_by_name() {
    let (_parent, path) = directory();
    Store::open(&path).unwrap().close().unwrap();
    let mut bytes = std::fs::read(path.join("STORE")).unwrap();
    bytes[8] = 9;
    std::fs::write(path.join("STORE"), bytes).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn a_missing_segment_is_corrupt_and_never_a_miss() {
    let (_parent, path) = directory();
    let options = || Options::new().segment_size(64 << 10);
    let store = options().open(&path).unwrap();
    for n in 0..300 {
        granted(&store, &n.to_string()).blocking_complete(vec![1; 1000]).unwrap();
    }
    store.close().unwrap();
    let segments: Vec<_> = {
        let mut names: Vec<_> = std::fs::read_dir(path.join("segments"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        names.sort();
        names
    };
    assert!(segments.len() > 3, "{segments:?}");
    for missing in &segments {
        let aside = missing.with_extension("aside");
        let aside = path.parent().unwrap().join(aside.file_name().unwrap());
        std::fs::rename(missing, &aside).unwrap();
        let error = options().open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{missing:?}: {error}");
        std::fs::rename(&aside, missing).unwrap();
    }
    let store = options().open(&path).unwrap();
    assert_eq!(replayed(&store, "0").unwrap(), vec![1; 1000]);
}

#[test]
fn caps_on_claims_in_flight_refuse_and_free_again() {
    let (_parent, path) = directory();
    let store = Options::new().max_in_flight(3).max_in_flight_per_scope(2).open(&path).unwrap();
    let one = granted(&store, "1");
    let _two = granted(&store, "2");
    let error = store.blocking_claim(key("3"), print()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyInFlight);
    let elsewhere = Key::new("acct_2", "3").unwrap();
    let other = store.blocking_claim(elsewhere, print()).unwrap();
    assert!(matches!(other, Claim::Granted(_)), "{other:?}");
    let third = store.blocking_claim(Key::new("acct_3", "3").unwrap(), print()).unwrap_err();
    assert_eq!(third.kind(), ErrorKind::TooManyInFlight);
    one.blocking_complete("done").unwrap();
    granted(&store, "3").blocking_release().unwrap();
}

/// C36, C48.
#[test]
fn over_max_disk_claims_are_refused_and_granted_ones_can_finish() {
    let (_parent, path) = directory();
    let store = Options::new().segment_size(64 << 10).max_disk(Some(1 << 20)).open(&path).unwrap();
    let mut tickets = Vec::new();
    let full =
        (0..100_000).find_map(|n| match store.blocking_claim(key(&n.to_string()), print()) {
            Ok(Claim::Granted(ticket)) => {
                tickets.push(ticket);
                None
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Some(error),
        });
    let full = full.expect("a cap on the disk that is never reached is none");
    assert_eq!(full.kind(), ErrorKind::Full);
    let granted = tickets.len();
    for ticket in tickets {
        let Err(refused) = ticket.blocking_complete(vec![0; 4000]) else { continue };
        assert_eq!(refused.kind(), ErrorKind::Full);
        let ticket = refused.into_ticket().expect("refused without being written");
        ticket.blocking_complete_without_payload("201").unwrap();
    }
    for n in 0..granted {
        let claim = store.blocking_claim(key(&n.to_string()), print()).unwrap();
        assert!(matches!(claim, Claim::Replay(_)), "C48: {n} was evicted: {claim:?}");
    }
    assert!(!store.stats().poisoned);
}

#[test]
fn results_expire_after_their_retention_and_no_earlier() {
    let (_parent, path) = directory();
    let clock = onceward::ManualClock::new(1_700_000_000_000);
    let hour = Duration::from_secs(3600);
    let store = Options::new().ttl(24 * hour).clock(clock.clone()).open(&path).unwrap();
    granted(&store, "day").blocking_complete("day").unwrap();
    let month = ClaimOptions::new().ttl(31 * 24 * hour);
    match store.blocking_claim_with(key("month"), print(), month).unwrap() {
        Claim::Granted(ticket) => ticket.blocking_complete("month").unwrap(),
        other => panic!("{other:?}"),
    }
    let held = granted(&store, "held");
    clock.advance(24 * hour);
    assert_eq!(replayed(&store, "day").unwrap(), b"day", "valid at its last millisecond (X9)");
    clock.advance(Duration::from_millis(1));
    assert!(store.get(key("day")).unwrap().is_none(), "absent, though not swept yet (C43)");
    let claim = store.blocking_claim(key("held"), print()).unwrap();
    assert!(matches!(claim, Claim::InFlight(_)), "a living claim does not expire (C41): {claim:?}");
    granted(&store, "day").blocking_complete("again").unwrap();
    clock.advance(hour);
    let report = store.sweep().unwrap();
    assert_eq!(report.expired, 0, "the key claimed again is not swept with its old entry");
    assert_eq!(replayed(&store, "day").unwrap(), b"again");
    let to_its_last = (30 * 24 * hour).checked_sub(hour + Duration::from_millis(1)).unwrap();
    clock.advance(to_its_last);
    assert_eq!(replayed(&store, "month").unwrap(), b"month");
    held.blocking_complete("at last").unwrap();
    assert_eq!(replayed(&store, "held").unwrap(), b"at last");
    clock.advance(2 * 24 * hour);
    let report = store.sweep().unwrap();
    assert_eq!(report.expired, 3);
    assert_eq!(store.stats().records, 0);
}

#[test]
fn swept_segments_are_given_back_and_long_lived_records_move_on() {
    let (_parent, path) = directory();
    let clock = onceward::ManualClock::new(1_700_000_000_000);
    let hour = Duration::from_secs(3600);
    let options = || Options::new().ttl(hour).segment_size(64 << 10).clock(clock.clone());
    let store = options().open(&path).unwrap();
    let long = ClaimOptions::new().ttl(1000 * hour);
    match store.blocking_claim_with(key("long"), print(), long).unwrap() {
        Claim::Granted(ticket) => ticket.blocking_complete("long").unwrap(),
        other => panic!("{other:?}"),
    }
    let held = granted(&store, "held");
    for n in 0..400 {
        granted(&store, &n.to_string()).blocking_complete(vec![2; 1000]).unwrap();
    }
    let before = store.stats();
    clock.advance(3 * hour);
    let report = store.sweep().unwrap();
    assert_eq!(report.expired, 400);
    assert!(report.segments_removed >= before.segments - 2, "{report:?} of {before:?}");
    assert!(report.bytes_freed > 400_000, "{report:?}");
    assert_eq!(replayed(&store, "long").unwrap(), b"long");
    held.blocking_complete("held").unwrap();
    store.close().unwrap();
    let report = onceward::verify(&path).unwrap();
    assert!(report.is_sound(), "{report:?}");
    // The tree alone may be wrong about what moved: read it all back from the log, too.
    for forget_tree in [false, true] {
        if forget_tree {
            std::fs::remove_file(path.join("tree.redb")).unwrap();
        }
        let store = options().open(&path).unwrap();
        assert_eq!(replayed(&store, "long").unwrap(), b"long");
        assert_eq!(replayed(&store, "held").unwrap(), b"held");
        // The log alone does not know what was swept of a segment that is still there.
        store.sweep().unwrap();
        assert_eq!(store.iter().count(), 2);
        store.close().unwrap();
    }
}

#[test]
fn a_flipped_bit_is_corrupt_and_other_keys_go_on() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    granted(&store, "bad").blocking_complete("a payload to damage").unwrap();
    granted(&store, "good").blocking_complete("good").unwrap();
    store.close().unwrap();
    let segment = path.join("segments/0000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|window| window == b"payload").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let store = Store::open(&path).unwrap();
    let Claim::Replay(record) = store.blocking_claim(key("bad"), print()).unwrap() else {
        panic!()
    };
    assert_eq!(record.payload().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(replayed(&store, "good").unwrap(), b"good");
    store.close().unwrap();
    let report = onceward::verify(&path).unwrap();
    assert!(!report.is_sound() && report.problems[0].contains("0000000001.log"), "{report:?}");

    // Without the tree nobody knows which key stood there, so an unknown one is not granted.
    std::fs::remove_file(path.join("tree.redb")).unwrap();
    let store = Store::open(&path).unwrap();
    let error = store.blocking_claim(key("never seen"), print()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // Its claim stands and its end does not.
    let bad = store.blocking_claim(key("bad"), print()).unwrap();
    assert!(matches!(bad, Claim::InDoubt(_)), "{bad:?}");
    assert_eq!(replayed(&store, "good").unwrap(), b"good");
}

#[test]
fn a_dropped_claim_gives_the_key_back() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..50 {
        let mut claim = Box::pin(store.claim(key("k"), print()));
        let polled = claim.as_mut().poll(&mut cx);
        drop(claim);
        // Where a sync takes no time the grant may be there at once: that is a ticket, and to drop
        // it would leave the key in doubt.
        if let std::task::Poll::Ready(Ok(Claim::Granted(ticket))) = polled {
            ticket.blocking_release().unwrap();
        }
    }
    granted(&store, "k").blocking_complete("kept").unwrap();
    assert_eq!(replayed(&store, "k").unwrap(), b"kept");
}

#[test]
fn a_dropped_completion_is_finished_all_the_same() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    drop(granted(&store, "k").complete("kept"));
    assert_eq!(replayed(&store, "k").unwrap(), b"kept");
}

#[test]
fn payloads_stay_valid_after_the_store_is_closed() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    granted(&store, "k").blocking_complete("kept").unwrap();
    let payload = store.get(key("k")).unwrap().unwrap().payload().unwrap().unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(payload, "kept");
}

#[test]
fn a_buffered_store_survives_its_process() {
    let (_parent, path) = directory();
    let options = || Options::new().durability(onceward::Durability::Buffered);
    let store = options().open(&path).unwrap();
    for n in 0..100 {
        granted(&store, &n.to_string()).blocking_complete("x").unwrap();
    }
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    for n in 0..100 {
        assert_eq!(replayed(&store, &n.to_string()).unwrap(), b"x");
    }
}

#[test]
fn outcomes_and_futures_cross_threads() {
    fn sendable<T: Send + 'static>(_: T) {}
    let (_parent, path) = directory();
    let store = Arc::new(Store::open(&path).unwrap());
    sendable(store.claim(key("k"), print()));
    sendable(store.resolve(key("k"), Resolution::Release));
}

#[test]
fn a_store_that_is_opened_often_does_not_fill_with_segments() {
    let (_parent, path) = directory();
    for n in 0..20 {
        let store = Store::open(&path).unwrap();
        granted(&store, &n.to_string()).blocking_complete(n.to_string()).unwrap();
        if n % 2 == 0 {
            store.close().unwrap();
        }
    }
    let store = Store::open(&path).unwrap();
    assert!(store.stats().segments <= 2, "{:?}", store.stats());
    for n in 0..20 {
        assert_eq!(replayed(&store, &n.to_string()).unwrap(), n.to_string().as_bytes());
    }
}

#[test]
fn a_flipped_bit_in_a_link_leaves_the_store_open_and_unknown_keys_refused() {
    let (_parent, path) = directory();
    let options = || Options::new().segment_size(64 << 10);
    let store = options().open(&path).unwrap();
    for n in 0..300 {
        granted(&store, &n.to_string()).blocking_complete(vec![3; 1000]).unwrap();
    }
    store.close().unwrap();
    std::fs::remove_file(path.join("tree.redb")).unwrap();
    let segment = path.join("segments/0000000003.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[64 + 88 + 20] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let store = options().open(&path).unwrap();
    assert!(store.stats().suspect_until_ms.is_some());
    assert_eq!(replayed(&store, "0").unwrap(), vec![3; 1000]);
    let unknown = store.blocking_claim(key("unknown"), print()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Corrupt);
    assert_eq!(store.get(key("unknown")).unwrap_err().kind(), ErrorKind::Corrupt);
    let resolved = store.blocking_resolve(key("unknown"), Resolution::Release).unwrap_err();
    assert_eq!(resolved.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_resolution_is_kept_as_long_as_the_doubt_would_have_been() {
    let (_parent, path) = directory();
    let clock = onceward::ManualClock::new(1_700_000_000_000);
    let hour = Duration::from_secs(3600);
    let options = || Options::new().ttl(hour).clock(clock.clone());
    let store = options().open(&path).unwrap();
    let long = ClaimOptions::new().ttl(100 * hour);
    drop(store.blocking_claim_with(key("k"), print(), long).unwrap());
    store.checkpoint().unwrap();
    let done = Resolution::Complete("done".into());
    assert_eq!(store.blocking_resolve(key("k"), done).unwrap(), Resolved::Done);
    clock.advance(50 * hour);
    store.sweep().unwrap();
    assert_eq!(replayed(&store, "k").unwrap(), b"done");
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    assert_eq!(replayed(&store, "k").unwrap(), b"done");
}

#[test]
fn p0_5_a_resolution_is_kept_for_the_retention_its_claim_asked_for() {
    let (_parent, path) = directory();
    let clock = onceward::ManualClock::new(1_700_000_000_000);
    let day = Duration::from_secs(24 * 60 * 60);
    let options = || Options::new().ttl(day).clock(clock.clone());
    let store = options().open(&path).unwrap();
    let month = ClaimOptions::new().ttl(31 * day);
    let Claim::Granted(ticket) = store.blocking_claim_with(key("crashed"), print(), month).unwrap()
    else {
        panic!()
    };
    drop(store.blocking_claim_with(key("dropped"), print(), month).unwrap());
    store.close().unwrap();
    drop(ticket);
    let store = options().open(&path).unwrap();
    clock.advance(30 * day);
    for text in ["crashed", "dropped"] {
        let done = Resolution::Complete("paid".into());
        assert_eq!(store.blocking_resolve(key(text), done).unwrap(), Resolved::Done, "{text}");
    }
    clock.advance(31 * day);
    for text in ["crashed", "dropped"] {
        assert_eq!(replayed(&store, text).unwrap(), b"paid", "{text}");
    }
    // X9: and not longer.
    clock.advance(Duration::from_secs(1));
    assert!(store.get(key("crashed")).unwrap().is_none());
}

/// A damaged log is doubted for as long as anything in it may live: the longest retention there was.
/// A request that took long makes no result that outlives that.
#[test]
fn a_resolution_is_kept_no_longer_than_the_longest_retention() {
    let (_parent, path) = directory();
    let clock = onceward::ManualClock::new(1_700_000_000_000);
    let hour = Duration::from_secs(3600);
    let store = Options::new().ttl(hour).clock(clock.clone()).open(&path).unwrap();
    let ticket = granted(&store, "k");
    clock.advance(10 * hour);
    drop(ticket);
    let done = Resolution::Complete("done".into());
    assert_eq!(store.blocking_resolve(key("k"), done).unwrap(), Resolved::Done);
    clock.advance(hour);
    assert_eq!(replayed(&store, "k").unwrap(), b"done");
    clock.advance(Duration::from_secs(1));
    assert!(store.get(key("k")).unwrap().is_none());
}

#[test]
fn a_full_disk_heals_by_expiry_although_the_tree_takes_no_checkpoint() {
    let disk = Arc::new(onceward::storage::SimDisk::new(7));
    let clock = onceward::ManualClock::new(1_700_000_000_000);
    let hour = Duration::from_secs(3600);
    let store = Options::new()
        .ttl(hour)
        .segment_size(64 << 10)
        .clock(clock.clone())
        .open_storage(Arc::clone(&disk) as Arc<dyn onceward::storage::Storage>)
        .unwrap();
    disk.set_capacity(Some(2 << 20));
    let fill = |round: &str| {
        (0..10_000)
            .take_while(|n| match store.blocking_claim(key(&format!("{round}{n}")), print()) {
                Ok(Claim::Granted(ticket)) => ticket.blocking_complete(vec![5; 2000]).is_ok(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full);
                    false
                }
            })
            .count()
    };
    let first = fill("a");
    assert!(first > 100, "{first}");
    assert_eq!(fill("b"), 0, "the disk is full");
    clock.advance(3 * hour);
    let _ = store.sweep();
    let second = fill("c");
    assert!(second > first / 2, "{second} after {first}");
}
