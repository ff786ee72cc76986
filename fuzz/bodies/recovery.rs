//! Recovery: a store whose files were overwritten, cut off, or are arbitrary octets, opens with the
//! right answers or refuses; it grants no key that the intact store answered otherwise, shows no
//! payload that was not written, and neither opening nor verifying panics.

use std::pin::pin;
use std::sync::{Arc, LazyLock, Once};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onceward::fuzzing::verify;
use onceward::storage::{SimDisk, Storage};
use onceward::{Claim, Error, ErrorKind, Fingerprint, Key, ManualClock, Options, Store};

const BORN_MS: u64 = 1_750_000_000_000;
/// Free, complete, complete and large, tombstone, in doubt; the last is complete in the last group.
const KEYS: [&str; 6] = ["free", "small", "large", "note", "doubt", "last"];
const LARGE: usize = 40_000;

/// A store that was closed, and one that was killed.
static STORES: LazyLock<[SimDisk; 2]> = LazyLock::new(|| [true, false].map(make));

fn open(disk: &Arc<SimDisk>) -> Result<Store, Error> {
    let storage: Arc<SimDisk> = Arc::clone(disk);
    Options::new()
        .ttl(Duration::from_secs(10))
        .segment_size(64 << 10)
        .clock(ManualClock::new(BORN_MS))
        .stepped()
        .open_storage(storage)
}

fn drive<T>(store: &Store, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A fault of the store is told to who waits.
        let _ = store.step();
    }
    panic!("nothing moves, and somebody waits");
}

fn claim(store: &Store, name: &str) -> Result<Claim, Error> {
    drive(store, store.claim(Key::new("acct_1", name).unwrap(), Fingerprint::of("POST")))
}

fn payload(name: &str) -> Vec<u8> {
    let octets = if name == "large" { LARGE } else { 40 };
    name.bytes().cycle().take(octets).collect()
}

fn make(closed: bool) -> SimDisk {
    let disk = Arc::new(SimDisk::new(1));
    let mut store = open(&disk).unwrap();
    let grant = |store: &Store, name: &str| match claim(store, name).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    for name in ["small", "large"] {
        drive(&store, grant(&store, name).complete(payload(name))).unwrap();
        if name == "small" {
            store.checkpoint().unwrap();
            store.close().unwrap();
            store = open(&disk).unwrap();
        }
    }
    drive(&store, grant(&store, "note").complete_without_payload("note")).unwrap();
    drop(grant(&store, "doubt"));
    let last = grant(&store, "last");
    while store.step().unwrap() {}
    drive(&store, last.complete(payload("last"))).unwrap();
    if closed {
        store.close().unwrap();
        disk.fork()
    } else {
        disk.kill()
    }
}

/// How much of a store a change of a file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// One bit turned: it is seen, wherever it is.
    Bit,
    /// More than that, from this octet on.
    From(usize),
}

/// Changes the file `path` as `octets` say.
fn damage(disk: &SimDisk, path: &str, octets: &mut &[u8]) -> Option<Change> {
    let (head, rest) = octets.split_at_checked(4)?;
    let mut bytes = disk.read_file(path).unwrap();
    // What is written stands near the beginning; the rest was made ahead, and is zeros.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |at| at + 1);
    let at = u16::from_le_bytes([head[1], head[2]]) as usize * written / (1 << 16);
    let len = usize::from(head[3]).min(rest.len());
    *octets = rest;
    let before = bytes.clone();
    match head[0] % 8 {
        0 | 1 if !bytes.is_empty() => bytes[at.min(written - 1)] ^= 1 << (head[3] % 8),
        2 => bytes.truncate(at),
        3 => bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte = 0),
        // Arbitrary octets in the place of some, or of all.
        4 | 5 => {
            let (put, rest) = rest.split_at(len);
            bytes.iter_mut().skip(at).zip(put).for_each(|(byte, put)| *byte = *put);
            *octets = rest;
        }
        6 => {
            bytes = rest.to_vec();
            *octets = &[];
        }
        // What stands elsewhere in the file stands here too.
        _ => {
            let copied: Vec<u8> = bytes.iter().copied().take(written).collect();
            bytes.iter_mut().skip(at & !7).zip(copied).for_each(|(byte, put)| *byte = put);
        }
    }
    disk.write_file(path, &bytes).unwrap();
    let same = before.iter().zip(&bytes).take_while(|(was, is)| was == is).count();
    Some(if head[0] % 8 < 2 { Change::Bit } else { Change::From(same) })
}

/// Where the group of the last segment ends that is the first to name the key. `docs/format.md` has
/// the layout.
fn first_named(disk: &SimDisk, name: &str) -> Option<usize> {
    let bytes = disk.read_file(&last_segment(disk)).unwrap();
    let name = ["acct_1", name].concat();
    let mut at = 64;
    while bytes.get(at..at + 4) == Some(b"OWG1") {
        let length = bytes[at + 56..at + 64].try_into().unwrap();
        let end = at + usize::try_from(u64::from_le_bytes(length)).unwrap();
        if bytes[at..end].windows(name.len()).any(|octets| octets == name.as_bytes()) {
            return Some(end);
        }
        at = end;
    }
    None
}

/// The last segment in which a group stands: one behind it was made ahead.
fn last_segment(disk: &SimDisk) -> String {
    let is_begun = |path: &String| {
        path.starts_with("segments/0") && disk.read_file(path).unwrap().get(64..68) == Some(b"OWG1")
    };
    disk.files().into_iter().rfind(is_begun).unwrap()
}

/// A panic within redb is damage to the store, which guards itself; only one that gets past it ends
/// the target. The fuzzer's own hook would end it at any.
fn let_redb_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let within = info.location().is_some_and(|place| place.file().contains("/redb-"));
            if !within {
                end(info);
            }
        }));
    });
}

pub(crate) fn run(data: &[u8]) {
    let_redb_panic();
    let Some((&[first, file], mut octets)) = data.split_first_chunk() else { return };
    let (closed, with_tree) = (first % 2 == 0, first & 2 == 0);
    let disk = Arc::new(STORES[usize::from(!closed)].fork());
    if !with_tree {
        // Made anew from the log.
        disk.remove_file("tree.redb").unwrap();
    }
    let files = disk.files();
    let path = &files[usize::from(file) % files.len()];
    // Nothing is left to tell the end of a log by, when it is gone and so is what names it: the tree
    // of a store that was closed. Without one a bit that turned is seen; of more than that, what ends
    // the log may pass for a tear, and what stood in it for what never was.
    let sealed = closed && with_tree;
    let is_last = *path == last_segment(&disk);
    let mut lost_from = None;
    for _ in 0..if sealed { 4 } else { 1 } {
        match damage(&disk, path, &mut octets) {
            Some(Change::From(at)) if !sealed && is_last => {
                lost_from = Some(at);
            }
            Some(_) => {}
            None => break,
        }
    }
    // A claim whose group was lost with all behind it leaves no trace; any other leaves a doubt.
    let may_be_lost = |name: &str| {
        let named = || first_named(&STORES[usize::from(!closed)], name);
        lost_from.is_some_and(|from| named().is_some_and(|end| from < end))
    };
    let storage: Arc<dyn Storage> = Arc::new(disk.fork());
    drop(verify(&storage));
    let store = match open(&disk) {
        Ok(store) => store,
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::UnsupportedFormat];
            assert!(kinds.contains(&error.kind()), "opening it: {error:?}");
            return;
        }
    };
    for name in KEYS {
        let claim = claim(&store, name);
        match claim {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}"),
            Ok(Claim::Replay(record)) => match record.payload() {
                Ok(Some(found)) => assert_eq!(found, payload(name), "{name}"),
                Ok(None) => assert!(name == "note" && record.is_tombstone(), "{name}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}"),
            },
            // The last group of a store that was killed may pass for torn; the claim before it stands.
            Ok(Claim::InDoubt(_)) => assert_ne!(name, "free"),
            Ok(Claim::Granted(_)) => {
                assert!(name == "free" || may_be_lost(name), "{name} is granted");
            }
            Ok(other) => panic!("{name}: {other:?}"),
        }
    }
}
