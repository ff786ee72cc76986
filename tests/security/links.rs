//! Links, FIFOs and directories in the place of a store's files, and names that lead elsewhere (PROOF
//! "file tricks": no symlink or hard link followed, no traversal).

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use onceward::{ErrorKind, Fingerprint, Key, Options, Store};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::serve_support::{Gateway, command};
use crate::{complete, onceward, snapshot};

/// What stands there instead, and whether it is a way to a file outside.
const TRICKS: [&str; 6] = ["symlink", "dangling", "hard link", "fifo", "directory", "socket"];

/// Puts `trick` in the place of the file `name`; what it leads to is a true copy of the file.
fn play(trick: &str, path: &Path, outside: &Path) {
    fs::copy(path, outside).unwrap();
    fs::remove_file(path).unwrap();
    match trick {
        "symlink" => symlink(outside, path).unwrap(),
        "dangling" => symlink(outside.with_extension("none"), path).unwrap(),
        "hard link" => fs::hard_link(outside, path).unwrap(),
        "fifo" => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        _ => panic!("{trick}"),
    }
}

fn store(path: &Path) {
    let store = Store::open(path).unwrap();
    complete(&store, "key", "payload");
    store.close().unwrap();
}

// 24 cases: each of the store's files, replaced by each trick. Whoever can write to the directory is
// trusted; but a store that was copied or unpacked must not reach through it to another file.
#[test]
fn what_stands_in_the_place_of_a_file_is_never_followed() {
    for name in ["STORE", "LOCK", "segments/0000000001.log", "tree.redb"] {
        for trick in TRICKS {
            let parent = tempfile::tempdir().unwrap();
            let (path, outside) = (parent.path().join("data"), parent.path().join("outside"));
            fs::create_dir(&outside).unwrap();
            store(&path);
            play(trick, &path.join(name), &outside.join("copy"));
            let (before, within) = (snapshot(&outside), snapshot(&path));

            let (code, out, err) = onceward(&["verify", "--data", path.to_str().unwrap()]);
            assert_eq!(code, 1, "{name} {trick}: {out}{err}");
            assert_eq!(snapshot(&path), within, "{name} {trick}: verified, and left alone");

            match Store::open(&path) {
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Io | ErrorKind::Corrupt),
                        "{name} {trick}: {error}"
                    );
                }
                // The tree alone is made anew from the log, over whatever bears its name.
                Ok(store) => {
                    assert_eq!(name, "tree.redb", "{trick}");
                    complete(&store, "other", "payload");
                    store.close().unwrap();
                    let made = fs::symlink_metadata(path.join(name)).unwrap();
                    assert!(made.is_file(), "{trick}");
                }
            }
            assert_eq!(
                snapshot(&outside),
                before,
                "{name} {trick}: nothing is read or written there"
            );
        }
    }
}

/// The gateway's record of how the store was run is read and written by the same rule (6 cases).
#[test]
fn what_stands_in_the_place_of_the_gateways_record_is_never_followed() {
    for trick in TRICKS {
        let parent = tempfile::tempdir().unwrap();
        let (path, outside) = (parent.path().join("data"), parent.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let flags = ["--principal", "single-tenant"];
        Gateway::over(&path, "http://127.0.0.1:9", &flags).stop();
        play(trick, &path.join("GATEWAY"), &outside.join("copy"));
        let before = snapshot(&outside);
        let mut all = vec!["--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"];
        all.extend(["--data", path.to_str().unwrap()]);
        all.extend(flags);
        let (status, said) = Gateway::spawn_unready(&mut command(&all)).ended();
        let said = said.join("\n");
        assert_eq!(status.code(), Some(2), "{trick}: {said}");
        assert!(said.contains("GATEWAY: "), "{trick}: {said}");
        assert_eq!(snapshot(&outside), before, "{trick}");
    }
}

// 8 cases more: the directory of segments, the store's directory, and the names a store is made under.
#[test]
fn directories_and_temporary_names_are_not_followed_either() {
    let parent = tempfile::tempdir().unwrap();
    let case = |nth: usize| {
        let folder = parent.path().join(nth.to_string());
        let (path, outside) = (folder.join("data"), folder.join("outside"));
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("theirs"), "theirs").unwrap();
        (path, outside)
    };
    let tricks: [fn(&Path, &Path); 4] = [
        |path, outside| symlink(outside, path).unwrap(),
        |path, outside| symlink(outside.join("none"), path).unwrap(),
        |path, _| fs::write(path, "file").unwrap(),
        |path, _| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
    ];
    for (nth, trick) in tricks.iter().enumerate() {
        let (path, outside) = case(nth);
        store(&path);
        fs::rename(path.join("segments"), outside.join("segments")).unwrap();
        trick(&path.join("segments"), &outside.join("segments"));
        let before = snapshot(&outside);
        assert!(Store::open(&path).is_err(), "the directory of segments, trick {nth}");
        let (code, _, err) = onceward(&["verify", "--data", path.to_str().unwrap()]);
        assert_eq!(code, 1, "{err}");
        assert_eq!(snapshot(&outside), before, "trick {nth}");
    }
    // The directory itself may be a link, which is an operator's business; nothing else may.
    for (nth, trick) in tricks[1..].iter().enumerate() {
        let (path, outside) = case(10 + nth);
        let before = snapshot(&outside);
        trick(&path, &outside);
        assert!(Store::open(&path).is_err(), "the store's directory, trick {nth}");
        assert_eq!(snapshot(&outside), before, "trick {nth}");
    }
    // A name that a store is made under leads elsewhere: it is taken away, not written through.
    let (path, outside) = case(20);
    fs::create_dir(&path).unwrap();
    symlink(outside.join("theirs"), path.join("STORE.tmp")).unwrap();
    let before = snapshot(&outside);
    store(&path);
    assert_eq!(snapshot(&outside), before);
}

/// Octets of a scope or a key are never part of a file's name.
#[test]
fn d12_scopes_and_keys_that_look_like_paths_name_no_file() {
    let names = [
        "../escape",
        "../../escape",
        "/escape",
        "segments/0000000001.log",
        "STORE",
        "LOCK",
        "tree.redb",
        "a\0b",
        "..",
        ".",
        "C:\\escape",
        "%2e%2e%2fescape",
        "GATEWAY",
        "~",
        "$(id)",
        "\n",
    ];
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a/b/data");
    let store = Options::new().open(&path).unwrap();
    complete(&store, "first", "payload");
    store.checkpoint().unwrap();
    let before: Vec<String> = snapshot(parent.path()).into_keys().collect();
    for scope in names {
        for key in names {
            let of = Key::new(scope, key).unwrap();
            let claim = store.blocking_claim(of, Fingerprint::of("a")).unwrap();
            let onceward::Claim::Granted(ticket) = claim else { panic!("{claim:?}") };
            ticket.blocking_complete([scope, "\0", key].concat()).unwrap();
        }
    }
    store.checkpoint().unwrap();
    store.sweep().unwrap();
    for (scope, key) in names.iter().flat_map(|scope| names.map(|key| (*scope, key))) {
        let record = store.get(Key::new(scope, key).unwrap()).unwrap().unwrap();
        assert_eq!(record.payload().unwrap().unwrap(), [scope, "\0", key].concat());
    }
    let after: Vec<String> = snapshot(parent.path()).into_keys().collect();
    assert_eq!(after, before, "no file more and none elsewhere");
}
