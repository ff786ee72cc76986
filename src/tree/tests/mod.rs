//! The tree's behaviours, over a disk in memory. `behaviour` is what it does on a sound disk,
//! `damage` and `refusal` what it does on the others; `filters` is both, of the runs' filters.

use std::sync::Arc;

use super::{Entry, FILE, Tree, TreeError};
use crate::seed::rng;
use memory::Disk;

mod behaviour;
mod damage;
mod filters;
mod memory;
mod model;
mod parts;
mod pieces;
mod refusal;

const STORE: [u8; 16] = *b"a store's own id";

/// One run of one bucket, as the tree gives it.
type Runs = Vec<(u64, u64, Vec<Entry>)>;

/// `count` entries with random hashes, in random order, in the bucket.
fn entries(rng: &mut fastrand::Rng, bucket: u64, count: usize) -> Vec<(u64, Entry)> {
    (0..count)
        .map(|_| {
            let entry = Entry { hash: rng.u128(..), location: rng.u64(..), sequence: rng.u64(..) };
            (bucket, entry)
        })
        .collect()
}

fn sorted(given: &[(u64, Entry)]) -> Vec<Entry> {
    let mut entries: Vec<_> = given.iter().map(|(_, entry)| *entry).collect();
    entries.sort_by_key(|entry| entry.hash);
    entries
}

fn open(disk: &Arc<Disk>) -> Result<Option<(Tree, Vec<u8>)>, TreeError> {
    Tree::open(disk.clone(), STORE)
}

/// Everything in the tree, in run order.
fn load(tree: &mut Tree) -> Result<Runs, TreeError> {
    let mut found = Runs::new();
    tree.for_each_in_run_order(|_| true, &mut |bucket, run, entries| {
        found.push((bucket, run, entries.to_vec()));
    })?;
    Ok(found)
}

/// Opens the file and reads all of it: the engine's bytes and every run.
fn open_and_load(disk: &Arc<Disk>) -> Result<(Vec<u8>, Runs), TreeError> {
    let (mut tree, head) = open(disk)?.expect("there is a file");
    let found = load(&mut tree)?;
    Ok((head, found))
}

/// A small tree: three runs over three buckets, `head` as the last one's head. Two buckets share
/// a run, and one run takes several blocks.
fn small(rng: &mut fastrand::Rng, disk: &Arc<Disk>, head: &[u8]) -> (Tree, Runs) {
    let mut tree = Tree::create(disk.clone(), STORE, b"new").unwrap();
    let first = entries(rng, 1000, 300);
    let second = [entries(rng, 1000, 40), entries(rng, 2000, 30)];
    let third = entries(rng, 3000, 20);
    tree.checkpoint(b"one", first.clone(), Vec::new()).unwrap();
    tree.checkpoint(b"two", second.concat(), Vec::new()).unwrap();
    tree.checkpoint(head, third.clone(), Vec::new()).unwrap();
    let runs = vec![
        (1000, 0, sorted(&first)),
        (1000, 1, sorted(&second[0])),
        (2000, 1, sorted(&second[1])),
        (3000, 2, sorted(&third)),
    ];
    (tree, runs)
}

/// The tree of [`small`], closed: the file and what is in it.
fn small_file(rng: &mut fastrand::Rng) -> (Vec<u8>, Runs) {
    let disk = Disk::new();
    let (tree, runs) = small(rng, &disk, b"three");
    tree.close().unwrap();
    (disk.bytes(FILE), runs)
}
