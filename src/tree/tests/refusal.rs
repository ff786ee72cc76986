//! A disk that refuses, once, at any call.

use std::io::ErrorKind as Io;

use super::*;
use crate::error::{Error, ErrorKind};

/// A change to the tree of [`small`], and what it leaves.
struct Change {
    added: Vec<(u64, Entry)>,
    dropped: Vec<u64>,
}

impl Change {
    fn checkpoint(rng: &mut fastrand::Rng) -> Self {
        let added = [entries(rng, 2000, 300), entries(rng, 4000, 10)].concat();
        Self { added, dropped: Vec::new() }
    }

    fn drop_buckets() -> Self {
        Self { added: Vec::new(), dropped: vec![1000, 2000] }
    }

    fn make(&self, tree: &mut Tree) -> Result<(), TreeError> {
        if self.dropped.is_empty() {
            tree.checkpoint(b"four", self.added.clone(), Vec::new()).map(drop)
        } else {
            tree.drop_buckets(b"four", &self.dropped)
        }
    }

    /// What the tree holds afterwards, with `number` as the number of the added run.
    fn after(&self, before: &Runs, number: u64) -> Runs {
        let mut runs = before.clone();
        runs.retain(|run| !self.dropped.contains(&run.0));
        for group in self.added.chunk_by(|one, other| one.0 == other.0) {
            runs.push((group[0].0, number, sorted(group)));
        }
        runs
    }
}

/// Calls `test` with a tree as [`small`] makes it, new or opened again, once for each call the change
/// makes to the disk, with that call about to be refused.
fn at_every_call(change: &Change, seed: u64, mut test: impl FnMut(u64, &Arc<Disk>, Tree, Runs)) {
    for reopened in [false, true] {
        let build = || {
            let disk = Disk::new();
            let (mut tree, runs) = small(&mut fastrand::Rng::with_seed(seed), &disk, b"three");
            if reopened {
                tree.close().unwrap();
                tree = open(&disk).unwrap().unwrap().0;
            }
            (disk, tree, runs)
        };
        let (disk, mut tree, _) = build();
        disk.refuse(0..0, Io::Other);
        change.make(&mut tree).unwrap();
        let calls = disk.calls();
        assert!(calls > 4, "{calls} calls");
        for call in 0..calls {
            let (disk, tree, runs) = build();
            disk.refuse(call..call + 1, Io::Other);
            test(call, &disk, tree, runs);
        }
    }
}

#[test]
fn a_change_refused_anywhere_can_be_repeated_and_leaves_no_trace() {
    let mut rng = rng();
    for change in [Change::checkpoint(&mut rng), Change::drop_buckets()] {
        let mut refused = 0;
        at_every_call(&change, rng.u64(..), |call, disk, mut tree, before| {
            if let Err(error) = change.make(&mut tree) {
                assert!(matches!(error, TreeError::Io(_)), "call {call}: {error}");
                refused += 1;
                change.make(&mut tree).unwrap();
            }
            let found = load(&mut tree).unwrap();
            let number = found.last().map_or(3, |run| run.1.max(3));
            assert!(number <= 4, "call {call}: run {number}");
            assert_eq!(found, change.after(&before, number), "call {call}");
            assert_eq!(tree.head().unwrap(), b"four", "call {call}");
            let counts: u64 = tree.buckets().iter().map(|bucket| bucket.1).sum();
            assert_eq!(counts, found.iter().map(|run| run.2.len() as u64).sum::<u64>());
            drop(tree);
            assert_eq!(open_and_load(disk).unwrap().1, found, "call {call}");
        });
        assert!(refused > 4, "{refused} refusals came through");
    }
}

#[test]
fn after_a_refusal_the_head_tells_which_state_stands_and_it_is_whole() {
    let mut rng = rng();
    for change in [Change::checkpoint(&mut rng), Change::drop_buckets()] {
        let (mut old, mut new) = (0, 0);
        at_every_call(&change, rng.u64(..), |call, disk, mut tree, before| {
            if change.make(&mut tree).is_ok() {
                return;
            }
            let killed = Disk::with(FILE, disk.bytes(FILE));
            let wanted = match tree.head().unwrap() {
                b"three" => {
                    old += 1;
                    before
                }
                b"four" => {
                    new += 1;
                    change.after(&before, 3)
                }
                head => panic!("call {call}: {head:?}"),
            };
            assert_eq!(load(&mut tree).unwrap(), wanted, "call {call}");
            // What the head has told is on the disk, and no longer only in the system's cache.
            for _ in 0..3 {
                let left = Disk::with(FILE, disk.after_power_loss(FILE, &mut rng));
                assert_eq!(open_and_load(&left).unwrap().1, wanted, "call {call}, power lost");
            }
            let (_, runs) = open_and_load(&killed).unwrap();
            assert_eq!(runs, wanted, "call {call}, killed");

            // Whoever has read the head knows what is there: a further run comes on top.
            let more = entries(&mut rng, 5000, 5);
            tree.checkpoint(b"five", more.clone(), Vec::new()).unwrap();
            let last = load(&mut tree).unwrap().pop().unwrap();
            assert_eq!((last.0, last.2), (5000, sorted(&more)), "call {call}");
            assert_eq!(load(&mut tree).unwrap().len(), wanted.len() + 1, "call {call}");
        });
        assert!(old > 0, "never the old state");
        assert!(new > 0, "never the new state");
    }
}

/// The next commit takes out what a refused checkpoint left in the file: whoever let go of a record
/// because such a run had it would lose it.
#[test]
fn what_a_refused_checkpoint_left_in_the_file_is_nobodys_piece() {
    let mut rng = rng();
    let mut left = 0;
    at_every_call(&Change::checkpoint(&mut rng), rng.u64(..), |call, _, mut tree, _| {
        let before: Vec<_> = tree.pieces().collect();
        if tree.checkpoint(b"four", entries(&mut rng, 1000, 9), Vec::new()).is_ok() {
            return;
        }
        tree.revive().unwrap();
        left += u64::from(tree.head.runs().count() > before.len());
        assert_eq!(tree.pieces().collect::<Vec<_>>(), before, "call {call}");
    });
    assert!(left > 0, "it was never in the file");
}

/// The checkpoint is refused at its very end: it is in the file, and the engine believes it is not.
/// What it then writes, the same entries and some more, takes the place of the first attempt.
#[test]
fn a_checkpoint_repeated_with_more_entries_duplicates_nothing() {
    let mut rng = rng();
    let change = Change::checkpoint(&mut rng);
    let more = [change.added.clone(), entries(&mut rng, 6000, 7)].concat();
    let mut in_file = 0;
    at_every_call(&change, rng.u64(..), |call, disk, mut tree, before| {
        if change.make(&mut tree).is_ok() {
            return;
        }
        let killed = Disk::with(FILE, disk.bytes(FILE));
        in_file += u32::from(open_and_load(&killed).unwrap().0 == b"four");
        // A drop in between takes the run out as well: its head says that it is not there.
        if call % 2 == 1 {
            tree.drop_buckets(b"three and a half", &[]).unwrap();
            assert_eq!(load(&mut tree).unwrap(), before, "call {call}");
        }
        tree.checkpoint(b"four", more.clone(), Vec::new()).unwrap();
        let found = load(&mut tree).unwrap();
        let wanted = Change { added: more.clone(), dropped: Vec::new() };
        let number = found.last().unwrap().1;
        assert_eq!(found, wanted.after(&before, number), "call {call}");
    });
    assert!(in_file > 0, "no attempt was ever in the file");
}

#[test]
fn a_full_disk_is_no_damage_and_heals() {
    let mut rng = rng();
    let disk = Disk::new();
    let (mut tree, runs) = small(&mut rng, &disk, b"three");
    let change = Change::checkpoint(&mut rng);
    disk.refuse(0..u64::MAX, Io::StorageFull);
    for _ in 0..3 {
        let refused = change.make(&mut tree).unwrap_err();
        assert!(
            matches!(&refused, TreeError::Io(error) if error.kind() == Io::StorageFull),
            "{refused}"
        );
        assert_eq!(Error::from(refused).kind(), ErrorKind::Full);
    }
    assert_eq!(tree.buckets(), [(1000, 340), (2000, 30), (3000, 20)]);
    disk.refuse(0..0, Io::StorageFull);
    change.make(&mut tree).unwrap();
    assert_eq!(load(&mut tree).unwrap(), change.after(&runs, 3));
}

#[test]
fn opening_and_reading_changes_nothing() {
    let mut rng = rng();
    let closed = small_file(&mut rng);
    let disk = Disk::new();
    let (tree, runs) = small(&mut rng, &disk, b"three");
    let killed = (disk.bytes(FILE), runs);
    drop(tree);
    for (file, runs) in [closed, killed] {
        let disk = Disk::with(FILE, file);
        disk.refuse(0..u64::MAX, Io::Other);
        let (mut tree, _) = open(&disk).unwrap().unwrap();
        assert_eq!(load(&mut tree).unwrap(), runs);
        tree.close().unwrap();
        drop(open(&disk).unwrap().unwrap());
        assert_eq!(disk.calls(), 0);
    }
}

#[test]
fn what_cannot_be_read_is_no_damage() {
    let mut rng = rng();
    let (file, runs) = small_file(&mut rng);
    let disk = Disk::with(FILE, file);
    disk.refuse_reads(true);
    let refused = open(&disk).map(drop);
    assert!(matches!(refused, Err(TreeError::Io(_))), "{refused:?}");
    disk.refuse_reads(false);

    let (mut tree, _) = open(&disk).unwrap().unwrap();
    disk.refuse_reads(true);
    let refused = tree.checkpoint(b"four", Vec::new(), Vec::new()).unwrap_err();
    assert_eq!(Error::from(refused).kind(), ErrorKind::Io);
    disk.refuse_reads(false);
    tree.checkpoint(b"four", Vec::new(), Vec::new()).unwrap();
    assert_eq!(load(&mut tree).unwrap(), runs);
}

#[test]
fn a_refusal_while_making_a_tree_is_no_damage() {
    for call in 0.. {
        let disk = Disk::new();
        disk.refuse(call..call + 1, Io::Other);
        match Tree::create(disk.clone(), STORE, b"new") {
            Err(error) => assert!(matches!(error, TreeError::Io(_)), "call {call}: {error}"),
            Ok(_) if disk.calls() <= call => break,
            Ok(_) => {}
        }
        let again = Tree::create(disk.clone(), STORE, b"again");
        assert!(again.is_ok(), "call {call}: {again:?}");
        drop(again);
        assert_eq!(open_and_load(&disk).unwrap(), (b"again".to_vec(), Runs::new()));
    }
}

#[test]
fn a_refusal_while_closing_loses_nothing() {
    let mut rng = rng();
    for call in 0..8 {
        let disk = Disk::new();
        let (tree, runs) = small(&mut rng, &disk, b"three");
        disk.refuse(call..u64::MAX, Io::Other);
        let closed = tree.close();
        disk.refuse(0..0, Io::Other);
        if let Err(error) = closed {
            assert!(matches!(error, TreeError::Io(_)), "call {call}: {error}");
        }
        assert_eq!(open_and_load(&disk).unwrap(), (b"three".to_vec(), runs), "call {call}");
    }
}

/// The power goes at one call: whatever part of the unsynced writes reached the platter, what opens
/// is the old state or the new, whole.
#[test]
fn power_lost_at_any_call_leaves_the_old_state_or_the_new() {
    let mut rng = rng();
    let mut seen = [0, 0];
    for change in [Change::checkpoint(&mut rng), Change::drop_buckets()] {
        let mut power = fastrand::Rng::with_seed(rng.u64(..));
        at_every_call(&change, rng.u64(..), |call, disk, mut tree, before| {
            disk.refuse(call..u64::MAX, Io::Other);
            let _ = change.make(&mut tree);
            for _ in 0..6 {
                let left = disk.after_power_loss(FILE, &mut power);
                let (head, found) = open_and_load(&Disk::with(FILE, left)).unwrap();
                let new = head == b"four";
                seen[usize::from(new)] += 1;
                let wanted = if new { change.after(&before, 3) } else { before.clone() };
                assert_eq!(found, wanted, "call {call}");
            }
        });
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// A sync fails, the pages it was to write stay readable and are lost, the tree goes on over them,
/// and then the power goes. The tree may be damaged by that; it may not be wrong.
#[test]
fn a_sync_that_failed_and_then_a_power_cut_is_never_a_wrong_answer() {
    let mut rng = rng();
    let (mut whole, mut damaged) = (0, 0);
    let change = Change::checkpoint(&mut rng);
    let mut power = fastrand::Rng::with_seed(rng.u64(..));
    at_every_call(&change, rng.u64(..), |call, disk, mut tree, before| {
        if change.make(&mut tree).is_err() {
            change.make(&mut tree).unwrap();
        }
        let after = load(&mut tree).unwrap();
        for _ in 0..3 {
            let left = disk.after_power_loss(FILE, &mut power);
            match open_and_load(&Disk::with(FILE, left)) {
                Ok((head, found)) => {
                    let wanted = if head == b"three" { &before } else { &after };
                    assert!(
                        found == *wanted || found == change.after(&before, 3),
                        "call {call}: {head:?}"
                    );
                    whole += 1;
                }
                Err(error) => {
                    assert!(matches!(error, TreeError::Damaged(_)), "call {call}: {error}");
                    damaged += 1;
                }
            }
        }
    });
    println!("{whole} whole, {damaged} damaged");
    assert!(whole > 0);
}
