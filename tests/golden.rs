//! A store of the first format version, as its files were on the day it was written: it stays
//! readable, and every key in it answers what was said then.
//!
//! `BLESS=1` writes the store anew before it is read. That is for a new format version alone: what
//! stands in `tests/golden/store` is what somebody's disk holds.
#![cfg(feature = "test-util")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onceward::{
    Claim, ClaimOptions, ErrorKind, Fingerprint, Key, ManualClock, Options, Record, Resolution,
    Resolved, State, Store, Ticket, verify,
};

const WALL_MS: u64 = 1_700_000_000_000;
const TTL_MS: u64 = 24 * 60 * 60 * 1000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store")
}

fn open(path: &Path, clock: &ManualClock) -> Store {
    Options::new().segment_size(64 << 10).clock(clock.clone()).open(path).unwrap()
}

fn key(text: &str) -> Key<'_> {
    Key::new("acct_1", text).unwrap()
}

fn print(text: &str) -> Fingerprint {
    Fingerprint::of(format!("POST /v1/sites\n{text}"))
}

fn claim(store: &Store, text: &str) -> Claim {
    store.blocking_claim(key(text), print(text)).unwrap()
}

fn granted(store: &Store, text: &str) -> Ticket {
    match claim(store, text) {
        Claim::Granted(ticket) => ticket,
        other => panic!("{text}: expected a grant, got {other:?}"),
    }
}

/// Long enough that no two groups in a row hold it, and that a part of it is no copy of another.
fn long() -> Vec<u8> {
    (0..9_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// The encrypted twin.
fn golden_sealed() -> PathBuf {
    golden().with_file_name("store-encrypted")
}

/// What the encrypted twin is opened with.
#[cfg(feature = "encrypt")]
fn sealed_options() -> Options {
    let master = [0x2a; 32];
    let keys = onceward::Keys::from_fn(onceward::KeyId::of(&master), move |_| Some(master));
    Options::new().encryption(keys)
}

/// Writes the store: one opening, every kind of frame that a key can have.
fn write(path: &Path, options: Options) {
    let clock = ManualClock::new(WALL_MS);
    let store = options.segment_size(64 << 10).clock(clock.clone()).open(path).unwrap();
    granted(&store, "complete").blocking_complete("created").unwrap();
    granted(&store, "empty").blocking_complete("").unwrap();
    clock.advance(Duration::from_secs(1));
    granted(&store, "long").blocking_complete(long()).unwrap();
    granted(&store, "tombstone").blocking_complete_without_payload("too large").unwrap();
    granted(&store, "released").blocking_release().unwrap();
    drop(granted(&store, "in doubt"));
    for (text, resolution) in
        [("resolved", Resolution::Complete("by hand".into())), ("forgotten", Resolution::Release)]
    {
        drop(granted(&store, text));
        assert_eq!(store.blocking_resolve(key(text), resolution).unwrap(), Resolved::Done);
    }
    let month = ClaimOptions::new().ttl(Duration::from_secs(31 * 24 * 60 * 60));
    match store.blocking_claim_with(key("month"), print("month"), month).unwrap() {
        Claim::Granted(ticket) => ticket.blocking_complete("kept longer").unwrap(),
        other => panic!("expected a grant, got {other:?}"),
    }
    // In flight when the store is closed: the process that held it is gone.
    let held = granted(&store, "held");
    store.close().unwrap();
    drop(held);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if from.is_dir() {
            copy(&from, &to.join(name));
        } else {
            fs::copy(&from, to.join(name)).unwrap();
        }
    }
}

fn replay(store: &Store, text: &str) -> Record {
    match claim(store, text) {
        Claim::Replay(record) => record,
        other => panic!("{text}: expected a replay, got {other:?}"),
    }
}

fn in_doubt(store: &Store, text: &str) -> Record {
    match claim(store, text) {
        Claim::InDoubt(record) => record,
        other => panic!("{text}: expected doubt, got {other:?}"),
    }
}

fn ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Every key answers what was written, and is what it was in every other respect.
fn assert_answers(store: &Store) {
    let later = WALL_MS + 1000;
    for (text, payload, claimed_at, expires_at) in [
        ("complete", &b"created"[..], WALL_MS, WALL_MS + TTL_MS),
        ("empty", b"", WALL_MS, WALL_MS + TTL_MS),
        ("long", &long(), later, later + TTL_MS),
        ("resolved", b"by hand", later, later + TTL_MS),
        ("month", b"kept longer", later, later + 31 * TTL_MS),
    ] {
        let record = replay(store, text);
        assert!(record.payload().unwrap().unwrap() == payload, "{text}");
        assert_eq!(record.state(), State::Complete, "{text}");
        assert_eq!(record.fingerprint(), print(text));
        assert_eq!(ms(record.claimed_at()), claimed_at, "{text}");
        assert_eq!(record.expires_at().map(ms), Some(expires_at), "{text}");
    }

    let tombstone = replay(store, "tombstone");
    assert!(tombstone.is_tombstone() && tombstone.payload().unwrap().is_none());
    assert_eq!(tombstone.note().unwrap(), "too large");
    assert_eq!(tombstone.expires_at().map(ms), Some(later + TTL_MS));

    for text in ["in doubt", "held"] {
        let record = in_doubt(store, text);
        assert_eq!((record.state(), record.fingerprint()), (State::InDoubt, print(text)));
        assert_eq!(ms(record.claimed_at()), later, "{text}");
        assert_eq!(record.expires_at().map(ms), Some(later + TTL_MS), "{text}");
    }
    let other = store.blocking_claim(key("complete"), print("another body")).unwrap();
    assert!(matches!(other, Claim::Mismatch(_)), "{other:?}");

    for text in ["released", "forgotten", "never claimed"] {
        assert!(store.get(key(text)).unwrap().is_none(), "{text} is free");
        granted(store, text).blocking_release().unwrap();
    }
    assert_eq!(store.iter().map(Result::unwrap).count(), 8);
}

/// The encrypted store of the same day answers the same, under its key.
#[cfg(feature = "encrypt")]
#[test]
fn an_old_encrypted_store_stays_readable() {
    let (_parent, path, clock) = copied_from(&golden_sealed());
    let report = verify(&path).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(path.join("segments/0000000001.key").exists());
    let store = sealed_options().segment_size(64 << 10).clock(clock.clone()).open(&path).unwrap();
    assert_answers(&store);
    store.close().unwrap();
    let refused = Options::new().clock(clock).open(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyMissing);
}

/// A program that cannot decrypt refuses it, by a kind of its own, and leaves it as it is.
#[cfg(not(feature = "encrypt"))]
#[test]
fn an_encrypted_store_is_refused_and_not_modified() {
    let (_parent, path, clock) = copied_from(&golden_sealed());
    let segments = || {
        let names = fs::read_dir(path.join("segments")).unwrap();
        let mut found: Vec<_> = names
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        found.sort();
        found
    };
    let (before, tree) = (segments(), fs::read(path.join("tree.redb")).unwrap());
    let refused = Options::new().clock(clock).open(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnsupportedFormat, "{refused}");
    assert!(segments() == before && fs::read(path.join("tree.redb")).unwrap() == tree);
    assert_eq!(verify(&path).unwrap().problems, Vec::<String>::new(), "checksums need no key");
}

/// A copy of the golden store, and a clock that stands where it was closed.
fn copied() -> (tempfile::TempDir, PathBuf, ManualClock) {
    copied_from(&golden())
}

fn copied_from(from: &Path) -> (tempfile::TempDir, PathBuf, ManualClock) {
    static BLESS: Once = Once::new();
    BLESS.call_once(|| {
        if std::env::var_os("BLESS").is_some() {
            let _ = fs::remove_dir_all(golden());
            write(&golden(), Options::new());
            #[cfg(feature = "encrypt")]
            let _ = fs::remove_dir_all(golden_sealed());
            #[cfg(feature = "encrypt")]
            write(&golden_sealed(), sealed_options());
        }
    });
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    copy(from, &path);
    let clock = ManualClock::new(WALL_MS);
    clock.advance(Duration::from_secs(1));
    (parent, path, clock)
}

#[test]
fn an_old_store_stays_readable() {
    let (_parent, path, clock) = copied();
    let report = verify(&path).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.sealed && report.tree_entries > 0);
    assert_eq!((report.complete, report.in_doubt, report.unfinished), (6, 1, 1));

    let store = open(&path, &clock);
    assert_eq!(store.stats().epoch, 2);
    assert_answers(&store);
    store.close().unwrap();

    let store = open(&path, &clock);
    assert_answers(&store);
    clock.advance(Duration::from_millis(TTL_MS + 1));
    assert_eq!(replay(&store, "month").payload().unwrap().unwrap(), "kept longer");
    for text in ["complete", "empty", "long", "resolved", "tombstone", "in doubt", "held"] {
        assert!(store.get(key(text)).unwrap().is_none(), "{text} has expired");
        drop(granted(&store, text));
    }
}

/// The log is the truth: what the tree keeps of it is made anew.
#[test]
fn an_old_log_is_all_that_an_old_store_needs() {
    let (_parent, path, clock) = copied();
    fs::remove_file(path.join("tree.redb")).unwrap();
    let store = open(&path, &clock);
    assert_answers(&store);
}

/// A location without the frame it points at says nothing.
#[test]
fn an_old_tree_alone_is_refused() {
    let (_parent, path, clock) = copied();
    for entry in fs::read_dir(path.join("segments")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let refused = Options::new().clock(clock).open(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
}
