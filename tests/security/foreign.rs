//! Directories that are no store, not one that we know, or not a whole one (PROOF "truncated,
//! foreign, newer-format, half-created directory"): refused with a reason, and nothing is modified.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use onceward::{ErrorKind, Store};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{complete, random, snapshot};

/// What stands in the directory, by name and content.
type Files = Vec<(Vec<u8>, Vec<u8>)>;

/// The files of a store with a record, closed.
fn store(parent: &Path) -> Files {
    let path = parent.join("ours");
    let store = Store::open(&path).unwrap();
    complete(&store, "key", "payload");
    store.close().unwrap();
    ["STORE", "LOCK", "segments/0000000001.log", "tree.redb"]
        .map(|name| (name.into(), fs::read(path.join(name)).unwrap()))
        .into()
}

/// A store's files with `name` changed, or taken away.
fn with(files: &Files, name: &str, change: impl FnOnce(&mut Vec<u8>) -> bool) -> Files {
    let mut files = files.clone();
    let at = files.iter().position(|file| file.0 == name.as_bytes()).unwrap();
    if !change(&mut files[at].1) {
        files.remove(at);
    }
    files
}

fn put(path: &Path, files: &Files) {
    fs::create_dir(path).unwrap();
    for (name, content) in files {
        let path = path.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// What other programs keep, or people do.
fn others() -> Vec<Files> {
    let file = |name: &[u8], content: &[u8]| vec![(name.to_vec(), content.to_vec())];
    vec![
        file(b"notes.txt", b"mine"),
        file(b".hidden", b""),
        file(b"a\nb", b""),
        file(b"not utf-8 \xff\xfe", b""),
        file(b"STORE\xff", b""),
        file(b"store", b"of another case"),
        file(b"STORE ", b""),
        file(b"STORE.bak", b"ONCEWARD"),
        file(b"STORE.tmp/inside", b"a directory"),
        file(b"LOCK.old", b""),
        file(b"GATEWAY", b""),
        file(b"tree.redb", b"redb\x1a\x0a\xa9\x0d\x0a"),
        file(b"tree.redb", b""),
        file(b"data.mdb", &[0; 4096]),
        file(b"CURRENT", b"MANIFEST-000001\n"),
        file(b"PG_VERSION", b"17\n"),
        file(b"dump.rdb", b"REDIS0011"),
        file(b"appendonlydir/appendonly.aof.1.base.rdb", b"REDIS0011"),
        file(b"app.sqlite", b"SQLite format 3\0"),
        file(b".git/HEAD", b"ref: refs/heads/main\n"),
        file(b"Maildir/cur/1", b"From: a\n"),
        file(b"lost+found/x", b""),
        file(b"segments/letters.txt", b"dear"),
        file(b"segments/0000000001.log", b""),
        file(b"segments/0000000001.log", b"not a segment"),
        file(b"segments/0000000001.log.tmp/inside", b""),
        file(b"segments/deep/er/file", b""),
        file(b"segments", b"a file"),
        file(b"STORE", b""),
        file(b"STORE", b"\n"),
        file(b"STORE", b"ONCEWARD"),
        file(b"STORE", b"apples, pears"),
        file(b"STORE", b"SQLite format 3\0 and more of it, for longer than any head of ours is"),
        file(b"STORE", &[0; 4096]),
        file(b"STORE", &[0xff; 4096]),
        file(b"STORE/inside", b"a directory"),
    ]
}

/// Stores that were, or will be.
fn damaged(parent: &Path) -> Vec<Files> {
    let ours = store(parent);
    let length = ours[0].1.len();
    let mut rng = random();
    let mut all = vec![
        with(&ours, "STORE", |_| false),
        with(&ours, "segments/0000000001.log", |_| false),
        with(&ours, "STORE", |store| {
            store.push(0);
            true
        }),
        // Another version than ours, the later and the earlier.
        with(&ours, "STORE", |store| {
            store[8] = 9;
            true
        }),
        with(&ours, "STORE", |store| {
            store[8] = 0;
            true
        }),
        // Two files in each other's place.
        with(&ours, "STORE", |store| {
            store.clone_from(&ours[2].1);
            true
        }),
        with(&ours, "segments/0000000001.log", |segment| {
            segment.clone_from(&ours[3].1);
            true
        }),
        with(&ours, "segments/0000000001.log", |segment| {
            segment.clear();
            true
        }),
    ];
    for _ in 0..8 {
        let cut = rng.usize(..length);
        all.push(with(&ours, "STORE", |store| {
            store.truncate(cut);
            true
        }));
        let (at, bit) = (rng.usize(..length), rng.u8(..8));
        all.push(with(&ours, "STORE", |store| {
            store[at] ^= 1 << bit;
            true
        }));
    }
    all
}

/// What such a directory is refused as, by docs/format.md: no store of ours as `UnsupportedFormat`,
/// one of ours that is not whole as `Corrupt`; only where a folder stands in a file's place, or a
/// file in a folder's, as the `Io` that the system calls it.
fn kind(files: &Files) -> ErrorKind {
    let of = |name: &[u8]| files.iter().find(|file| file.0 == name).map(|file| &file.1[..]);
    let Some(store) = of(b"STORE") else {
        let inside = files.iter().any(|(name, _)| name.starts_with(b"STORE/"));
        return if inside { ErrorKind::Io } else { ErrorKind::UnsupportedFormat };
    };
    match store.split_first_chunk::<12>() {
        Some((b"ONCEWARD\x01\0\0\0", sound)) if sound.len() == 44 && of(b"segments").is_some() => {
            ErrorKind::Io
        }
        Some((head, _)) if head != b"ONCEWARD\x01\0\0\0" => ErrorKind::UnsupportedFormat,
        _ => ErrorKind::Corrupt,
    }
}

/// What is wrong with how `path` is refused, which must be as `kind`.
fn refused(path: &Path, kind: ErrorKind) -> Result<(), String> {
    let parent = path.parent().unwrap();
    let before = snapshot(parent);
    match Store::open(path).map_err(|error| error.kind()) {
        Err(refused) if refused == kind => {}
        other => return Err(format!("opened: {other:?}, and not {kind:?}")),
    }
    if snapshot(parent) != before {
        return Err(format!("opening has made of it {:#?}", snapshot(parent)));
    }
    if onceward::verify(path).is_ok_and(|verified| verified.is_sound()) {
        return Err("it is taken for sound".to_owned());
    }
    if snapshot(parent) != before {
        return Err(format!("verifying has made of it {:#?}", snapshot(parent)));
    }
    Ok(())
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fifty_foreign_directories_are_refused_and_left_as_they_are() {
    let parent = tempfile::tempdir().unwrap();
    let all: Vec<Files> = others().into_iter().chain(damaged(parent.path())).collect();
    assert!(all.len() >= 50, "{}", all.len());
    let mut wrong = Vec::new();
    for (nth, files) in all.iter().enumerate() {
        let home = parent.path().join(nth.to_string());
        fs::create_dir(&home).unwrap();
        put(&home.join("data"), files);
        if let Err(what) = refused(&home.join("data"), kind(files)) {
            let names: Vec<_> = files
                .iter()
                .map(|(name, content)| (name.escape_ascii().to_string(), content.len()))
                .collect();
            wrong.push(format!("number {nth}, {names:?}: {what}"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn what_is_no_directory_is_refused_and_left_as_it_is() {
    let makings: [fn(&Path); 6] = [
        |path| fs::write(path, "a file").unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        |path| drop(UnixListener::bind(path).unwrap()),
        |path| symlink(path, path).unwrap(),
        |path| symlink(path.with_extension("none").join("deeper"), path).unwrap(),
    ];
    let mut wrong = Vec::new();
    for (nth, make) in makings.iter().enumerate() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        make(&path);
        let refused = refused(&path, ErrorKind::Io);
        wrong.extend(refused.err().map(|what| format!("number {nth}: {what}")));
    }
    assert_none(&wrong);
}
