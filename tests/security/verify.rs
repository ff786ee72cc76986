//! `onceward verify`: what it finds, what it says, and that it leaves everything as it is.

use std::fs;
use std::path::Path;

use onceward::{ErrorKind, Fingerprint, Options, Store, verify_with};
use serde_json::Value;

use crate::{complete, onceward, snapshot};

/// A closed store of 100 records in several segments, half of them in a checkpoint.
fn store(path: &Path) {
    let store = Options::new().segment_size(64 << 10).open(path).unwrap();
    for n in 0..100 {
        complete(&store, &format!("key-{n}"), &format!("payload {n} ").repeat(150));
        if n == 50 {
            store.checkpoint().unwrap();
        }
    }
    store.close().unwrap();
}

fn verified(path: &Path) -> (i32, Value, String) {
    let (code, out, err) = onceward(&["verify", "--json", "--data", path.to_str().unwrap()]);
    (code, serde_json::from_str(&out).unwrap_or(Value::Null), err)
}

/// Flips a bit of the first of `octets` in `file`, and gives its place.
fn flip(file: &Path, octets: &[u8]) -> u64 {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(octets.len()).position(|window| window == octets).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    at as u64
}

#[test]
fn a_sound_store_is_well_and_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    store(&path);
    fs::remove_file(path.join("LOCK")).unwrap();
    let before = snapshot(parent.path());
    let (code, report, err) = verified(&path);
    assert_eq!((code, err.as_str()), (0, ""), "{report}");
    let members: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "bytes",
        "directory",
        "findings",
        "frames",
        "groups",
        "records",
        "sealed",
        "segments",
        "sound",
        "tree",
        "unlisted",
    ];
    assert_eq!(members, documented, "docs/operating.md lists them");
    assert_eq!((&report["sound"], &report["sealed"]), (&true.into(), &true.into()));
    let of_log: u64 = fs::read_dir(path.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(report["bytes"].as_u64().is_some_and(|bytes| bytes > 0 && bytes <= of_log));
    assert!(report["segments"].as_u64() > Some(2), "{report}");
    assert_eq!(report["records"]["complete"], 100);
    let tree = (&report["tree"]["entries"], &report["tree"]["log_only"]);
    assert_eq!(tree, (&100.into(), &0.into()), "closing is a checkpoint");

    let (code, out, _) = onceward(&["verify", "--data", path.to_str().unwrap()]);
    assert!(code == 0 && out.ends_with("all is well\n"), "{out}");
    assert_eq!(
        snapshot(parent.path()),
        before,
        "no file is made, changed or removed, LOCK neither"
    );
}

#[test]
fn a_store_that_was_cut_off_is_no_fault_and_what_was_in_flight_is_told() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let copy = parent.path().join("copy");
    let store = Store::open(&path).unwrap();
    complete(&store, "done", "payload");
    let key = onceward::Key::new("acct_1", "held").unwrap();
    let held = store.blocking_claim(key, Fingerprint::of("a")).unwrap();
    for folder in ["", "segments"] {
        fs::create_dir(copy.join(folder)).unwrap();
        for entry in fs::read_dir(path.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    let (code, _, err) = verified(&path);
    assert_eq!(code, 2, "in use: {err}");
    assert!(err.contains("is in use") && !err.contains("damaged"), "{err}");
    drop(held);

    let (code, report, err) = verified(&copy);
    assert_eq!((code, &report["sealed"]), (0, &false.into()), "{report} {err}");
    assert_eq!(
        (&report["records"]["unfinished"], &report["records"]["complete"]),
        (&1.into(), &1.into())
    );
}

/// PROOF "bit rot": the frame is named, by file and place, and its key by hash.
#[test]
fn d12_a_damaged_payload_is_named_by_file_and_octets_and_its_key_by_hash_alone() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    store(&path);
    let place = flip(&path.join("segments/0000000001.log"), b"payload 7 ");
    let before = snapshot(&path);
    let (code, report, err) = verified(&path);
    assert_eq!((code, &report["sound"]), (1, &false.into()), "{report} {err}");
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|f| f["file"] == "segments/0000000001.log").unwrap();
    let (from, to) = (finding["from"].as_u64().unwrap(), finding["to"].as_u64().unwrap());
    assert!((from..to).contains(&place), "{place} in {finding}");
    // SHA-256("key-7").
    let hash = "78ed7d2bf2a8c4af4a3d3652a89fe8b9f46addb8bc8e7cb69106a6467900f5e6";
    let keys = finding["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["key_sha256"] == hash).unwrap();
    assert_eq!((&key["frame"], &key["payload_sound"]), (&"complete".into(), &false.into()));
    assert!((from..place).contains(&key["offset"].as_u64().unwrap()), "{key}");
    assert!(findings.iter().any(|f| f["file"] == "tree.redb"), "tree and log disagree: {report}");

    let (code, out, err) = onceward(&["verify", "--data", path.to_str().unwrap()]);
    assert!(code == 1 && out.contains("WRONG  segments/0000000001.log, octets "), "{out}{err}");
    assert!(out.contains(&hash[..16]) && !out.contains("key-7"), "{out}");
    assert_eq!(snapshot(&path), before, "damage is left as it is");
}

/// What is done, how, and which file what is found about it names.
type Case = (&'static str, fn(&Path), &'static str, &'static str);

#[test]
fn each_way_to_lose_a_part_is_found_and_the_rest_is_counted() {
    let parent = tempfile::tempdir().unwrap();
    let cases: [Case; 7] = [
        ("tree gone", |path| fs::remove_file(path.join("tree.redb")).unwrap(), "tree.redb", ""),
        (
            "tree empty",
            |path| fs::write(path.join("tree.redb"), "").unwrap(),
            "tree.redb",
            "the file is empty",
        ),
        (
            "segment gone",
            |path| fs::remove_file(path.join("segments/0000000002.log")).unwrap(),
            "segments/0000000002.log",
            "missing and not retired",
        ),
        (
            "segment cut off",
            |path| {
                let file = path.join("segments/0000000002.log");
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(20_000).unwrap();
            },
            "segments/0000000002.log",
            "",
        ),
        (
            "tree gone and segment cut off",
            |path| {
                fs::remove_file(path.join("tree.redb")).unwrap();
                let file = path.join("segments/0000000002.log");
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(20_000).unwrap();
            },
            "segments/0000000002.log",
            "cut off, it has 20000 bytes",
        ),
        (
            "header",
            |path| {
                let file = path.join("segments/0000000001.log");
                let mut bytes = fs::read(&file).unwrap();
                bytes[20] ^= 4;
                fs::write(&file, bytes).unwrap();
            },
            "segments/0000000001.log",
            "its header does not stand",
        ),
        (
            "tree of another store",
            |path| {
                let other = path.with_extension("other");
                store(&other);
                fs::copy(other.join("tree.redb"), path.join("tree.redb")).unwrap();
            },
            "tree.redb",
            "",
        ),
    ];
    for (name, damage, file, what) in cases {
        let path = parent.path().join(name.replace(' ', "-"));
        store(&path);
        damage(&path);
        let before = snapshot(&path);
        let (code, report, err) = verified(&path);
        assert_eq!((code, &report["sound"]), (1, &false.into()), "{name}: {report} {err}");
        let findings = report["findings"].as_array().unwrap();
        let told = |f: &Value| f["file"] == file && f["what"].as_str().unwrap().contains(what);
        assert!(findings.iter().any(told), "{name}: {report}");
        assert!(report["records"]["complete"].as_u64() > Some(10), "{name}: {report}");
        assert_eq!(snapshot(&path), before, "{name}");
        // What verify calls damage, opening survives or refuses: it comes to an end either way.
        let opened = Options::new().segment_size(64 << 10).open(&path).map(|store| store.close());
        let refused = opened.err().map(|error| error.kind());
        assert!(matches!(refused, None | Some(ErrorKind::Corrupt)), "{name}: {refused:?}");
    }
}

#[test]
fn what_is_no_store_is_a_usage_error_and_a_store_without_its_name_is_damage() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    let (code, _, err) = verified(&missing);
    assert!(code == 2 && err.contains("there is no directory"), "{err}");
    assert!(!missing.exists(), "none is made");
    let (code, _, err) = verified(parent.path());
    assert!(code == 2 && err.contains("is not a store"), "{err}");
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(verified(&file).0, 2);
    assert_eq!(onceward(&["verify"]).0, 2);

    let path = parent.path().join("data");
    store(&path);
    fs::remove_file(path.join("STORE")).unwrap();
    let before = snapshot(&path);
    let (code, report, _) = verified(&path);
    assert_eq!((code, &report["sound"]), (1, &false.into()));
    assert!(report["error"].as_str().unwrap().contains("STORE is missing"), "{report}");
    assert_eq!(snapshot(&path), before);
}

#[test]
fn progress_begins_at_nothing_rises_and_ends_with_all_of_the_log() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let large = Options::new().open(&path).unwrap();
    for n in 0..40 {
        complete(&large, &n.to_string(), &"x".repeat(100_000));
    }
    large.close().unwrap();
    let mut told = Vec::new();
    let report = verify_with(&path, |progress| told.push(progress)).unwrap();
    let bytes: Vec<u64> = told.iter().map(|progress| progress.bytes).collect();
    assert!(bytes.is_sorted() && bytes.len() > 4, "about once a mebibyte: {bytes:?}");
    assert_eq!((bytes[0], *bytes.last().unwrap()), (0, report.bytes));
    assert!(told.iter().all(|progress| progress.bytes_total == report.bytes), "{told:?}");
}

/// PROOF "bit rot", "truncated": whatever is damaged, verifying comes to an end and changes nothing,
/// and what it calls sound has every record.
#[test]
fn whatever_is_damaged_it_ends_and_nothing_that_lacks_a_record_is_called_sound() {
    let mut random = crate::random();
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    store(&path);
    let mut files = vec![path.join("STORE"), path.join("tree.redb")];
    files.extend(fs::read_dir(path.join("segments")).unwrap().map(|entry| entry.unwrap().path()));
    let mut found = 0;
    for round in 0..300 {
        let file = random.choice(&files).unwrap();
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        let at = random.usize(..bad.len());
        match random.u8(0..4) {
            0 => bad.truncate(at),
            1 => bad[at..].iter_mut().take(4096).for_each(|octet| *octet = 0),
            2 => bad[at..].iter_mut().take(200).for_each(|octet| *octet = random.u8(..)),
            _ => bad[at] ^= 1 << random.u8(0..8),
        }
        fs::write(file, &bad).unwrap();
        let before = snapshot(&path);
        let name = file.display();
        match onceward::verify(&path) {
            Ok(report) if report.is_sound() => {
                assert_eq!(report.complete, 100, "round {round}, {name} at {at}: {report:?}");
            }
            Ok(report) => {
                assert_eq!(report.problems.len(), report.findings.len());
                found += 1;
            }
            Err(error) => {
                let kind = error.kind();
                let typed = matches!(kind, ErrorKind::Corrupt | ErrorKind::UnsupportedFormat);
                assert!(typed, "round {round}, {name} at {at}: {error}");
                found += 1;
            }
        }
        assert_eq!(snapshot(&path), before, "round {round}, {name} at {at}");
        fs::write(file, &good).unwrap();
    }
    assert!(found > 50, "{found} of 300");
    assert!(onceward::verify(&path).unwrap().is_sound());
}
