//! Lookups and merges, beside whoever changes the tree.

use std::collections::BTreeMap;

use super::*;
use crate::tree::{Piece, Sought};

fn pieces(tree: &Tree) -> Vec<Piece> {
    tree.pieces().collect()
}

/// Every entry of a piece, by the way that streams them.
fn streamed(tree: &Tree, piece: &Piece) -> Vec<Entry> {
    let mut found = Vec::new();
    let whole = tree.reader().stream(piece, &mut |entries| found.extend_from_slice(entries));
    assert!(whole.unwrap(), "a block is not there");
    found
}

#[test]
fn each_entry_is_found_and_no_other() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk, STORE, b"").unwrap();
    for count in [1, 2, 251, 252, 253, 5_000] {
        tree.checkpoint(b"", entries(&mut rng, 1000, count), Vec::new()).unwrap();
    }
    for piece in pieces(&tree) {
        let all = streamed(&tree, &piece);
        assert_eq!(all.len() as u64, piece.run.entries);
        for entry in &all {
            let found = tree.reader().find(&piece, entry.hash).unwrap();
            assert_eq!(found, Sought::Found(vec![*entry]));
            for hash in [entry.hash.wrapping_sub(1), entry.hash.wrapping_add(1)] {
                assert_eq!(tree.reader().find(&piece, hash).unwrap(), Sought::Not);
            }
        }
        for hash in [0, u128::MAX] {
            assert_eq!(tree.reader().find(&piece, hash).unwrap(), Sought::Not);
        }
    }
}

/// Entries of one hash that a block's end parts are all found.
#[test]
fn entries_that_share_a_hash_are_found_together() {
    let mut rng = rng();
    let mut tree = Tree::create(Disk::new(), STORE, b"").unwrap();
    let mut given = entries(&mut rng, 1000, 600);
    given.sort_by_key(|(_, entry)| entry.hash);
    // The last of the first block, and two more behind it.
    let shared = given[251].1.hash;
    for nth in 0..2 {
        given.push((1000, Entry { hash: shared, location: nth, sequence: nth }));
    }
    tree.checkpoint(b"", given.clone(), Vec::new()).unwrap();
    let piece = pieces(&tree)[0];
    let Sought::Found(found) = tree.reader().find(&piece, shared).unwrap() else { panic!("none") };
    assert_eq!(found.len(), 3);
}

#[test]
fn a_range_has_what_is_in_it() {
    let mut rng = rng();
    let mut tree = Tree::create(Disk::new(), STORE, b"").unwrap();
    tree.checkpoint(b"", entries(&mut rng, 1000, 3_000), Vec::new()).unwrap();
    let piece = pieces(&tree)[0];
    let all = streamed(&tree, &piece);
    for _ in 0..100 {
        let (one, other) = (rng.u128(..), rng.u128(..));
        let range = one.min(other)..=one.max(other);
        let mut found = Vec::new();
        assert!(tree.reader().range(&piece, &range, &mut found).unwrap());
        let wanted: Vec<_> =
            all.iter().filter(|entry| range.contains(&entry.hash)).copied().collect();
        assert_eq!(found, wanted);
    }
}

/// Runs of doubts are told apart, and stay out of a merge; what a merge makes has every entry, in
/// place of the runs it was made of, and is there when the file is opened again.
#[test]
fn a_merge_keeps_every_entry_and_leaves_the_rest_alone() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    let mut all = Vec::new();
    for _ in 0..4 {
        let given = entries(&mut rng, 1000, 700);
        all.extend(given.iter().map(|(_, entry)| *entry));
        let doubts = entries(&mut rng, 1000, 3);
        tree.checkpoint(b"", [given, entries(&mut rng, 2000, 5)].concat(), doubts).unwrap();
    }
    let before = pieces(&tree);
    let is_merged = |piece: &&Piece| piece.bucket == 1000 && !piece.run.doubts;
    let numbers: Vec<u64> = before.iter().filter(is_merged).map(|piece| piece.run.number).collect();
    assert_eq!(numbers.len(), 4);
    tree.merge(b"merged", 1000, &numbers).unwrap();
    for tree in [tree, { open(&disk).unwrap().unwrap().0 }] {
        let after = pieces(&tree);
        let merged: Vec<_> = after.iter().filter(is_merged).copied().collect();
        assert_eq!(merged.len(), 1);
        all.sort_by_key(|entry| entry.hash);
        assert_eq!(streamed(&tree, &merged[0]), all);
        let others = |pieces: &[Piece]| -> BTreeMap<_, _> {
            let others = pieces.iter().filter(|piece| !is_merged(piece));
            others.map(|piece| (piece.name(), *piece)).collect()
        };
        assert_eq!(others(&after), others(&before));
        // Whoever still has an old name is told that it is gone, and not that the key is.
        let old = before.iter().find(is_merged).unwrap();
        assert_eq!(tree.reader().find(old, all[0].hash).unwrap(), Sought::Gone);
    }
}

/// A lookup goes on over a view while the first commit makes another handle, and after it.
#[test]
fn lookups_follow_the_tree_from_handle_to_handle() {
    let mut rng = rng();
    let disk = Disk::new();
    let (tree, runs) = small(&mut rng, &disk, b"three");
    tree.close().unwrap();
    let (mut tree, _) = open(&disk).unwrap().unwrap();
    let (reader, piece, entry) = (tree.reader(), pieces(&tree)[0], runs[0].2[7]);
    for round in 0..4 {
        assert_eq!(reader.find(&piece, entry.hash).unwrap(), Sought::Found(vec![entry]));
        tree.checkpoint(b"", entries(&mut rng, 5000 + round, 300), Vec::new()).unwrap();
    }
    tree.close().unwrap();
    assert!(matches!(reader.find(&piece, entry.hash), Err(TreeError::Io(_))));
}
