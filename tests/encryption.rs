//! Encryption at rest, through the public API: who can read a store, what is refused, what is left
//! of what has expired.
#![cfg(all(feature = "encrypt", feature = "test-util"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "encryption/forge.rs"]
mod forge;
#[path = "encryption/house.rs"]
mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use onceward::storage::SimDisk;
use onceward::{
    Claim, ErrorKind, KeyId, Keys, ManualClock, Options, Resolution, Resolved, verify,
    verify_encrypted,
};

use forge::Log;
use house::{
    BORN_MS, LONG, TTL, claim, complete, drive, granted, key, long, on, options, replayed, ring,
    segments,
};

/// Every file of a directory, by its path.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Results and notes come back while the store is open, after it was closed, after it was killed,
/// resolved by hand, and written again because their segment went.
#[test]
fn what_is_sealed_comes_back_by_every_road() {
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(1));
    let open = |disk: &Arc<SimDisk>| on(disk, options(&clock).encryption(ring(1, &[]))).unwrap();

    let store = open(&disk);
    complete(&store, "short", b"created");
    complete(&store, "empty", b"");
    drive(&store, granted(&store, "note").complete_without_payload("too large")).unwrap();
    drop(granted(&store, "resolved"));
    while store.step().unwrap() {}
    let by_hand = Resolution::Complete("by hand".into());
    let resolved = drive(&store, store.resolve(key("resolved"), by_hand)).unwrap();
    assert_eq!(resolved, Resolved::Done);

    let check = |store: &onceward::Store| {
        assert_eq!(replayed(store, "short").unwrap(), b"created");
        assert_eq!(replayed(store, "empty").unwrap(), b"");
        assert_eq!(replayed(store, "resolved").unwrap(), b"by hand");
        let Claim::Replay(record) = claim(store, "short") else { panic!("a replay") };
        assert_eq!(record.payload_octets(), Some(7), "what it says has 7 octets");
        assert_eq!(record.read(<[u8]>::to_vec).unwrap().unwrap(), b"created");
        let Claim::Replay(record) = claim(store, "note") else { panic!("a replay") };
        assert_eq!(record.note().unwrap(), "too large");
        assert_eq!(store.iter().map(Result::unwrap).count(), 4);
    };
    check(&store);
    // Killed: the tail is opened, and sealed again for its new place.
    drop(store);
    let disk = Arc::new(disk.kill());
    let store = open(&disk);
    check(&store);
    store.close().unwrap();
    let store = open(&disk);
    check(&store);

    // What outlives its segment's other records is written again elsewhere.
    let month = onceward::ClaimOptions::new().ttl(10 * TTL);
    let claimed = drive(&store, store.claim_with(key("month"), house::print(), month)).unwrap();
    let Claim::Granted(ticket) = claimed else { panic!("a grant") };
    drive(&store, ticket.complete("kept longer")).unwrap();
    for nth in 0..12 {
        complete(&store, &format!("filler {nth}"), &long(nth));
    }
    let before = segments(&disk);
    clock.advance(2 * TTL);
    store.sweep().unwrap();
    assert!(segments(&disk)[0] > before[0], "the segment of the long-lived record is gone");
    assert_eq!(replayed(&store, "month").unwrap(), b"kept longer");
    drop(store);
    let store = open(&Arc::new(disk.power_loss_total()));
    assert_eq!(replayed(&store, "month").unwrap(), b"kept longer");
}

#[test]
fn nothing_in_the_directory_shows_what_is_sealed() {
    let canary = b"canary-7d1f0c";
    for encrypted in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let options =
            if encrypted { Options::new().encryption(ring(1, &[])) } else { Options::new() };
        let store = options.open(&path).unwrap();
        let payload = [&canary[..], &long(1)].concat();
        let ticket = |text| match store.blocking_claim(key(text), house::print()).unwrap() {
            Claim::Granted(ticket) => ticket,
            other => panic!("expected a grant, got {other:?}"),
        };
        ticket("a").blocking_complete(payload).unwrap();
        ticket("b").blocking_complete_without_payload(canary.to_vec()).unwrap();
        store.checkpoint().unwrap();
        store.close().unwrap();
        let shown = files(&path).iter().filter(|(_, bytes)| holds(bytes, canary)).count();
        assert_eq!(shown > 0, !encrypted, "encrypted: {encrypted}");
        let names = files(&path);
        let secret = names.iter().filter(|(_, bytes)| holds(bytes, &[1; 32])).count();
        assert_eq!(secret, 0, "no master key in the directory");
        for (name, _) in names {
            assert_eq!(fs::metadata(&name).unwrap().permissions().mode() & 0o077, 0, "{name}");
        }
    }
}

/// Without the key nothing is answered and nothing is changed; the key's name is said.
#[test]
fn a_store_is_not_opened_without_its_keys() {
    let clock = ManualClock::new(BORN_MS);
    for closed in [true, false] {
        let disk = Arc::new(SimDisk::new(2));
        let store = on(&disk, options(&clock).encryption(ring(1, &[]))).unwrap();
        complete(&store, "a", b"created");
        if closed {
            store.close().unwrap();
        }
        drop(store);
        let disk = Arc::new(disk.kill());
        let before = disk.digest();
        let other_octets = Keys::from_fn(KeyId::of(&[1; 32]), |_| Some([9; 32]));
        let no_current = Keys::from_fn(KeyId::of(&[7; 32]), |_| None);
        for (given, named) in [
            (None, 1),
            (Some(ring(2, &[])), 1),
            (Some(ring(2, &[3])), 1),
            (Some(other_octets), 1),
            (Some(no_current), 7),
        ] {
            let plain = options(&clock);
            let given = given.map_or(plain.clone(), |keys| plain.encryption(keys));
            let error = on(&disk, given).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyMissing, "{error}");
            let name = KeyId::of(&[named; 32]).to_string();
            assert!(error.to_string().contains(&name), "{error}");
            assert!(disk.digest() == before, "modified, and then refused: {error}");
        }
        let store = on(&disk, options(&clock).encryption(ring(1, &[]))).unwrap();
        assert_eq!(replayed(&store, "a").unwrap(), b"created");
    }
    // A store is not even made without its current key.
    let disk = Arc::new(SimDisk::new(2));
    let none = Keys::from_fn(KeyId::of(&[7; 32]), |_| None);
    let error = on(&disk, options(&clock).encryption(none)).unwrap_err();
    assert_eq!((error.kind(), disk.files().len()), (ErrorKind::KeyMissing, 0));
}

/// A plain store goes on encrypted, and no way leads back while anything is sealed.
#[test]
fn a_plain_store_is_encrypted_from_now_on() {
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(3));
    let store = on(&disk, options(&clock)).unwrap();
    for nth in 0..9 {
        complete(&store, &format!("plain {nth}"), &long(nth));
    }
    store.close().unwrap();
    assert!(!disk.files().iter().any(|path| path.strip_suffix(".key").is_some()));

    let store = on(&disk, options(&clock).encryption(ring(1, &[]))).unwrap();
    complete(&store, "sealed", b"created");
    store.close().unwrap();
    let error = on(&disk, options(&clock)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyMissing);
    let store = on(&disk, options(&clock).encryption(ring(1, &[]))).unwrap();
    assert_eq!(replayed(&store, "sealed").unwrap(), b"created");
    for nth in 0..9 {
        assert_eq!(replayed(&store, &format!("plain {nth}")).unwrap(), long(nth), "{nth}");
    }
}

/// The new master wraps what is made from now on; the old one is needed for as long as something
/// made under it is kept, and then no more.
#[test]
fn masters_are_rotated_by_segment() {
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(4));
    let open = |keys| on(&disk, options(&clock).encryption(keys));
    let store = open(ring(1, &[])).unwrap();
    for nth in 0..9 {
        complete(&store, &format!("old {nth}"), &long(nth));
    }
    store.close().unwrap();
    let store = open(ring(2, &[1])).unwrap();
    for nth in 0..9 {
        complete(&store, &format!("new {nth}"), &long(nth));
        assert_eq!(replayed(&store, &format!("old {nth}")).unwrap(), long(nth));
    }
    store.close().unwrap();
    assert_eq!(open(ring(2, &[])).unwrap_err().kind(), ErrorKind::KeyMissing);

    let store = open(ring(2, &[1])).unwrap();
    clock.advance(2 * TTL);
    complete(&store, "newest", b"created");
    store.sweep().unwrap();
    store.close().unwrap();
    let store = open(ring(2, &[])).unwrap();
    assert_eq!(replayed(&store, "newest").unwrap(), b"created");
}

/// Whatever bit turns in the file of a key, the store is refused, and not modified.
#[test]
fn a_damaged_key_is_refused() {
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(5));
    let open = |disk: &Arc<SimDisk>| on(disk, options(&clock).encryption(ring(1, &[])));
    let store = open(&disk).unwrap();
    complete(&store, "a", b"created");
    store.close().unwrap();
    drop(store);
    let path = "segments/0000000001.key";
    let bytes = disk.read_file(path).unwrap();
    for bit in (0..bytes.len() as u64 * 8).step_by(3) {
        let damaged = Arc::new(disk.fork());
        damaged.flip_bit(path, bit).unwrap();
        let before = damaged.digest();
        let error = open(&damaged).unwrap_err();
        let refused = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedFormat);
        assert!(refused && damaged.digest() == before, "bit {bit}: {error}");
    }
    // A checksum made to fit does not help: the wrapped key is bound to what stands before it.
    for at in 16..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        forge::sum_key(&mut forged);
        let damaged = Arc::new(disk.fork());
        damaged.write_file(path, &forged).unwrap();
        let padding = (68..72).contains(&at);
        let opened = open(&damaged).map(|store| replayed(&store, "a"));
        assert!(opened.is_err() != padding, "octet {at}: {opened:?}");
    }
    let without = Arc::new(disk.fork());
    without.remove_file(path).unwrap();
    assert_eq!(open(&without).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Somebody who can write to the directory and compute every checksum moves a payload to another
/// frame, of its segment or of another, or changes the frame it stands in: that is refused, where
/// the same in a plain store would be answered.
#[test]
fn a_payload_opens_in_its_own_frame_alone() {
    let clock = ManualClock::new(BORN_MS);
    for encrypted in [false, true] {
        let plain = options(&clock);
        let opts =
            || if encrypted { plain.clone().encryption(ring(1, &[])) } else { plain.clone() };
        let disk = Arc::new(SimDisk::new(6));
        let store = on(&disk, opts()).unwrap();
        let names: Vec<String> = (0..9).map(|nth| format!("key {nth}")).collect();
        for (nth, name) in names.iter().enumerate() {
            complete(&store, name, &long(nth as u8));
        }
        store.close().unwrap();
        drop(store);
        let log = Log::read(&disk);
        let frames = log.completes();
        let [one, two] = [&frames[0], &frames[1]];
        let other = frames.iter().find(|frame| frame.segment != one.segment).unwrap();
        assert_eq!(one.segment, two.segment, "two in the first segment");
        let last = *segments(&disk).last().unwrap();
        assert!(other.segment != last, "the last segment is read anew when a store opens");

        let swap = |left: &forge::Frame, right: &forge::Frame| {
            let forged = Arc::new(disk.fork());
            let mut log = log.clone();
            log.swap_payloads(left, right);
            log.write(&forged);
            let store = on(&forged, opts()).unwrap();
            for name in &names {
                let Claim::Replay(record) = claim(&store, name) else { panic!("a replay") };
                let moved = name.as_bytes() == left.key || name.as_bytes() == right.key;
                match record.payload() {
                    Ok(_) => assert!(!moved || !encrypted, "{name} is answered with another's"),
                    Err(error) => {
                        assert!(moved && encrypted, "{name}: {error}");
                        assert_eq!(error.kind(), ErrorKind::Corrupt);
                    }
                }
            }
        };
        swap(one, two);
        swap(one, other);

        // A frame that says that it expires later; and one that says that it was never sealed.
        for (at, octet) in [(42, 0xff), (5, 0)] {
            let forged = Arc::new(disk.fork());
            let mut log = log.clone();
            log.set(one, at, octet);
            log.write(&forged);
            let store = on(&forged, opts()).unwrap();
            let Claim::Replay(record) = claim(&store, &names[0]) else { panic!("a replay") };
            let kind = record.payload().map_err(|error| error.kind());
            assert_eq!(kind.is_err(), encrypted, "octet {at}: {kind:?}");
        }
    }
}

#[test]
fn verify_needs_no_keys_and_says_more_with_them() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let opts = || Options::new().segment_size(64 << 10).encryption(ring(1, &[]));
    let store = opts().open(&path).unwrap();
    for nth in 0..9 {
        let claimed = store.blocking_claim(key(&format!("key {nth}")), house::print()).unwrap();
        let Claim::Granted(ticket) = claimed else { panic!("a grant") };
        ticket.blocking_complete(long(nth)).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let none = Vec::<String>::new();
    assert_eq!(verify(&path).unwrap().problems, none);
    let report = verify_encrypted(&path, &ring(1, &[])).unwrap();
    assert_eq!((report.problems, report.complete), (none.clone(), 9));
    let report = verify_encrypted(&path, &ring(2, &[])).unwrap();
    assert!(report.problems.iter().any(|it| it.contains("was not given")), "{:?}", report.problems);

    // Moved with every checksum made to fit: only who has the keys can tell.
    let mut log = Log::read_from(&path);
    let frames = log.completes();
    log.swap_payloads(&frames[0], &frames[1]);
    log.write_to(&path);
    assert_eq!(verify(&path).unwrap().problems, none);
    let report = verify_encrypted(&path, &ring(1, &[])).unwrap();
    let sealed = report.problems.iter().filter(|it| it.contains("not sealed for its frame"));
    assert_eq!(sealed.count(), 2, "{:?}", report.problems);

    fs::remove_file(path.join("segments/0000000001.key")).unwrap();
    let report = verify(&path).unwrap();
    assert!(report.problems.iter().any(|it| it.contains(".key is missing")), "{report:?}");
}

/// Expiry is erasure: a segment's key is overwritten on the disk before its name, or the segment's,
/// goes. The power goes at every operation of a sweep; whatever has lost its name by then, no byte
/// of its key is on the disk.
#[test]
fn a_segment_that_goes_takes_its_key_along() {
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(7));
    let opts = |clock: &ManualClock| options(clock).encryption(ring(1, &[]));
    let store = on(&disk, opts(&clock)).unwrap();
    for nth in 0..9 {
        complete(&store, &format!("key {nth}"), &long(nth));
    }
    store.close().unwrap();
    drop(store);
    let keys: Vec<(String, String, Vec<u8>)> = segments(&disk)
        .into_iter()
        .map(|id| {
            let (file, segment) =
                (format!("segments/{id:010}.key"), format!("segments/{id:010}.log"));
            let bytes = disk.read_file(&file).unwrap();
            (file, segment, bytes[72..].to_vec())
        })
        .collect();
    assert!(keys.len() > 2);
    let anywhere = |disk: &SimDisk, part: &[u8]| {
        disk.files().iter().any(|path| holds(&disk.read_file(path).unwrap(), part))
    };
    let (mut overwritten, mut gone) = (0, 0);
    for operation in 0.. {
        let clock = ManualClock::new(BORN_MS);
        let disk = Arc::new(disk.fork());
        let store = on(&disk, opts(&clock)).unwrap();
        complete(&store, "newer", b"created");
        clock.advance(2 * TTL);
        disk.crash_at(disk.operations() + operation);
        let swept = store.sweep();
        let off = disk.is_off();
        let names = disk.files();
        let platter = disk.power_loss_total();
        for (file, segment, wrapped) in &keys {
            if names.contains(file) && names.contains(segment) {
                continue;
            }
            gone += 1;
            assert!(
                !anywhere(&platter, wrapped),
                "{segment} has gone before its key, at {operation}"
            );
            let left = platter.read_file(file).is_ok_and(|bytes| bytes.iter().all(|it| *it == 0));
            overwritten += u32::from(left);
        }
        drop(store);
        let again = on(&Arc::new(platter), opts(&clock)).unwrap();
        again.sweep().unwrap();
        if !off {
            // Opening has removed the last one, which it wrote again.
            assert_eq!(swept.unwrap().segments_removed as usize, keys.len() - 1);
            assert!(keys.iter().all(|(file, ..)| !names.contains(file)));
            break;
        }
    }
    assert!(gone > 10 && overwritten > 0, "{gone} gone, {overwritten} seen overwritten");
}

#[test]
fn a_key_file_is_raw_or_hexadecimal_and_for_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("master");
    let put = |bytes: &[u8], mode| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Keys::from_file(&path)
    };
    let current = |keys: Keys| keys.current();
    assert_eq!(put(&[1; 32], 0o600).map(current).unwrap(), KeyId::of(&[1; 32]));
    let lines = format!("# new\n{}\n{}\n", "02".repeat(32), "01".repeat(32));
    let keys = put(lines.as_bytes(), 0o400).unwrap();
    assert_eq!(keys.current(), KeyId::of(&[2; 32]));
    for (bytes, mode) in [(&[1; 32][..], 0o640), (b"", 0o600), (b"01", 0o600), (&[1; 31], 0o600)] {
        let _ = fs::remove_file(&path);
        let error = put(bytes, mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    }
    let none = Keys::from_file(parent.path().join("none")).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Io);

    // The older key of the file opens what was made under it.
    let clock = ManualClock::new(BORN_MS);
    let disk = Arc::new(SimDisk::new(8));
    let store = on(&disk, options(&clock).encryption(ring(1, &[]))).unwrap();
    complete(&store, "a", &long(1)[..LONG / 2]);
    store.close().unwrap();
    let store = on(&disk, options(&clock).encryption(keys)).unwrap();
    assert_eq!(replayed(&store, "a").unwrap(), &long(1)[..LONG / 2]);
}
