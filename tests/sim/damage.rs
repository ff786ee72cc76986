//! Bytes that rot and files that are cut off: refused, and never answered wrongly.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use fastrand::Rng;
use onceward::storage::SimDisk;
use onceward::{Claim, Error, ErrorKind, Fingerprint, Record, Store};

use crate::costs::{Costs, Seen};
use crate::fact::{Content, content};
use crate::many::budget;
use crate::world::{KEYS, Time, key, open};
use crate::{base_seed, variable};

/// What a key of the small store must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Free,
    InDoubt,
    Done(Content),
}

pub(crate) struct Small {
    pub(crate) disk: SimDisk,
    time: Time,
    pub(crate) keys: Vec<Kept>,
}

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

/// Drives a future to its end by stepping the store.
fn drive<T>(store: &Store, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        store.step().unwrap();
    }
    panic!("the store steps without end");
}

fn claim(store: &Store, number: usize) -> Result<Claim, Error> {
    drive(store, store.claim(key(number).as_key(), print()))
}

fn payload(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.u8(..)).collect()
}

/// A store with a handful of keys; closed, or killed with the completion of the last key but one in
/// the last group.
pub(crate) fn small(seed: u64, closed: bool) -> Small {
    let (disk, time) = (Arc::new(SimDisk::new(seed)), Time::new(seed));
    let store = open(&disk, &time, seed).unwrap();
    let mut rng = Rng::with_seed(seed);
    let mut keys = vec![Kept::Free; KEYS];
    let granted = |number| match claim(&store, number).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    let mut last = None;
    for (number, len) in [(0, 0), (1, 40), (2, 3_000), (6, 300)] {
        let ticket = granted(number);
        let bytes = payload(&mut rng, len);
        keys[number] = Kept::Done(Content::Payload(bytes[..].into()));
        if number == 6 {
            last = Some((ticket, bytes));
        } else {
            drive(&store, ticket.complete(bytes)).unwrap();
        }
        if number == 1 {
            store.checkpoint().unwrap();
        }
    }
    let note = payload(&mut rng, 20);
    drive(&store, granted(3).complete_without_payload(note.clone())).unwrap();
    keys[3] = Kept::Done(Content::Note(note[..].into()));
    drive(&store, granted(4).release()).unwrap();
    drop(granted(5));
    keys[5] = Kept::InDoubt;
    while store.step().unwrap() {}
    let (ticket, bytes) = last.unwrap();
    drive(&store, ticket.complete(bytes)).unwrap();
    let disk = if closed {
        store.close().unwrap();
        disk.fork()
    } else {
        disk.kill()
    };
    Small { disk, time, keys }
}

/// What a damaged store comes to.
#[derive(Debug)]
pub(crate) enum Came {
    /// It was refused as a whole, for this.
    Refused(Error),
    /// It opened, and refused these keys, or has lost how their claims ended.
    Opened(Vec<usize>),
}

/// Holds what the key answers against what it must; with damage, a refusal will do as well. Whether
/// it came to less than the right answer.
fn check(
    store: &Store,
    number: usize,
    kept: &Kept,
    damaged: bool,
    maybe_torn: bool,
) -> Result<bool, String> {
    let right = |record: &Record| match (content(record), kept) {
        (Ok(content), Kept::Done(kept)) => content == *kept,
        _ => false,
    };
    let refused = |record: &Record| {
        let error = content(record).err().filter(|_| damaged && matches!(kept, Kept::Done(_)));
        error.is_some_and(|error| error.kind() == ErrorKind::Corrupt)
    };
    let wrong = |what: String| {
        let kept: String = format!("{kept:?}").chars().take(80).collect();
        Err(format!("key {number}, {kept}: {what}"))
    };
    match (claim(store, number), kept) {
        (Ok(Claim::Granted(ticket)), Kept::Free) => {
            drive(store, ticket.release()).map(|()| false).map_err(|error| error.to_string())
        }
        (Ok(Claim::Replay(record)), _) if right(&record) => Ok(false),
        (Ok(Claim::Replay(record)), _) if refused(&record) => Ok(true),
        (Ok(Claim::InDoubt(_)), Kept::InDoubt) => Ok(false),
        // The claim stands, and what ended it does not.
        (Ok(Claim::InDoubt(_)), _) if damaged || maybe_torn => Ok(true),
        (Err(error), _) if damaged && error.kind() == ErrorKind::Corrupt => Ok(true),
        (other, _) => wrong(format!("{other:?}")),
    }
}

/// Everything on the disk, compared byte by byte.
fn same(left: &SimDisk, right: &SimDisk) -> bool {
    let paths = left.files();
    paths == right.files()
        && paths.iter().all(|path| left.read_file(path).unwrap() == right.read_file(path).unwrap())
}

pub(crate) fn check_all(
    damaged_disk: &SimDisk,
    small: &Small,
    damaged: bool,
    closed: bool,
) -> Result<Came, String> {
    let disk = Arc::new(damaged_disk.fork());
    match open(&disk, &small.time.fork(), 1) {
        Ok(store) => {
            let mut refused = Vec::new();
            for (number, kept) in small.keys.iter().enumerate() {
                if check(&store, number, kept, damaged, !closed && number == 6)? {
                    refused.push(number);
                }
            }
            // A store that is let go of is closed, which shows nothing here and takes long.
            disk.switch_off();
            Ok(Came::Opened(refused))
        }
        Err(error)
            if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedFormat) =>
        {
            Err(format!("opening it: {error:?}"))
        }
        Err(error) if !same(&disk, damaged_disk) => {
            Err(format!("modified, and then refused: {error:?}"))
        }
        Err(error) => Ok(Came::Refused(error)),
    }
}

/// The files whose bytes mean something.
pub(crate) fn files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let read = |path: String| {
        let bytes = disk.read_file(&path).unwrap();
        (path, bytes)
    };
    disk.files().into_iter().map(read).filter(|(_, bytes)| !bytes.is_empty()).collect()
}

#[test]
fn a_small_store_is_right_before_it_is_damaged() {
    for closed in [true, false] {
        let small = small(1, closed);
        check_all(&small.disk, &small, false, true).unwrap();
        small.disk.remove_file("tree.redb").unwrap();
        check_all(&small.disk, &small, false, true).unwrap();
    }
}

#[test]
fn a_bit_that_turned_is_refused_and_never_answered() {
    flip_bits(20_000);
}

/// The small store closed or killed, with its tree or without, and which of these it is.
pub(crate) fn each_small(seed: u64) -> impl Iterator<Item = (Small, bool, bool)> {
    [(true, true), (false, true), (true, false), (false, false)].into_iter().map(
        move |(closed, with_tree)| {
            let small = small(seed, closed);
            if !with_tree {
                small.disk.remove_file("tree.redb").unwrap();
            }
            (small, closed, with_tree)
        },
    )
}

/// Fails with the first of what went wrong, if anything did.
pub(crate) fn assert_none(failures: &[String], seed: u64) {
    let some = failures.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "SEED={seed}\n{some}");
}

pub(crate) fn flip_bits(flips: u64) {
    let seed = base_seed();
    let flips = variable("FLIPS").unwrap_or(flips);
    let mut rng = Rng::with_seed(seed);
    let mut failures = Vec::new();
    let (started, mut flipped, mut seen) = (Instant::now(), 0, Seen::default());
    for (nth, (small, closed, with_tree)) in (0..).zip(each_small(seed)) {
        let costs = Costs::of(&small, closed);
        // Most of a file was made ahead, and is zeros: what is written counts.
        let files: Vec<(String, usize, Vec<usize>)> = files(&small.disk)
            .into_iter()
            .map(|(path, bytes)| {
                let written = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
                let written = written.map(|(at, _)| at).collect();
                (path, bytes.len(), written)
            })
            .collect();
        for done in 0..flips / 4 {
            if budget().is_some_and(|budget| started.elapsed() >= budget * (nth + 1) / 4) {
                println!("out of time after {done} of {}", flips / 4);
                break;
            }
            flipped += 1;
            let (path, len, written) = &files[rng.usize(..files.len())];
            let at = match rng.u32(..6) {
                _ if written.is_empty() => rng.usize(..*len),
                0 => rng.usize(..*len),
                1 => (written[rng.usize(..written.len())] + rng.usize(..64)).min(len - 1),
                _ => written[rng.usize(..written.len())],
            };
            let bit = at as u64 * 8 + rng.u64(..8);
            let disk = small.disk.fork();
            disk.flip_bit(path, bit).unwrap();
            let came = check_all(&disk, &small, true, closed);
            if let Err(wrong) = came.and_then(|came| costs.hold(path, at as u64, &came, &mut seen))
            {
                failures.push(format!(
                    "bit {bit} of {path}, closed {closed}, with tree {with_tree}: {wrong}"
                ));
            }
        }
    }
    println!("figures: {flipped} flipped bits, {} wrong; {seen}", failures.len());
    assert_none(&failures, seed);
}

/// Whatever is left of a file of a store that was closed, opening refuses it and changes nothing, or
/// gives the right answers.
#[test]
pub(crate) fn every_prefix_of_a_file_is_refused_or_right() {
    let seed = base_seed();
    let sampled = variable("PREFIXES").unwrap_or(150);
    let mut rng = Rng::with_seed(seed);
    let small = small(seed, true);
    let (mut failures, mut cut) = (Vec::new(), 0);
    for (path, bytes) in files(&small.disk) {
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let few = (0..32.min(bytes.len()))
            .chain(written.saturating_sub(32)..bytes.len().min(written + 8));
        let more = (0..sampled).map(|_| rng.usize(..bytes.len())).collect::<Vec<_>>();
        for len in few.chain(more) {
            cut += 1;
            let disk = small.disk.fork();
            disk.write_file(&path, &bytes[..len]).unwrap();
            if let Err(wrong) = check_all(&disk, &small, false, true) {
                failures.push(format!("{len} of the {} bytes of {path}: {wrong}", bytes.len()));
            }
        }
        let disk = small.disk.fork();
        disk.remove_file(&path).unwrap();
        if let Err(wrong) = check_all(&disk, &small, false, true) {
            failures.push(format!("without {path}: {wrong}"));
        }
    }
    println!("figures: {cut} files cut off, {} wrong", failures.len());
    assert_none(&failures, seed);
}
