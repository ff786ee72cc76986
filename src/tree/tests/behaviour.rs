//! What the tree does when nothing goes wrong.

use super::*;
use crate::storage::Storage;
use crate::tree::block::ENTRIES_MAX;

#[test]
fn what_is_checkpointed_is_there_after_reopening_in_run_order() {
    let mut rng = rng();
    let disk = Disk::new();
    assert!(matches!(open(&disk), Ok(None)), "no file is no tree");
    let (mut tree, runs) = small(&mut rng, &disk, b"three");
    assert_eq!(load(&mut tree).unwrap(), runs);
    assert_eq!(tree.buckets(), [(1000, 340), (2000, 30), (3000, 20)]);
    tree.close().unwrap();

    let (mut tree, head) = open(&disk).unwrap().unwrap();
    assert_eq!(head, b"three");
    assert_eq!(tree.head().unwrap(), b"three");
    assert_eq!(load(&mut tree).unwrap(), runs);
    assert_eq!(tree.buckets(), [(1000, 340), (2000, 30), (3000, 20)]);
    assert_eq!(tree.file_len().unwrap(), disk.bytes(FILE).len() as u64);
}

/// The first commit after an open walks through the whole file, unless somebody has seen to it before.
#[test]
fn a_tree_that_is_prepared_commits_without_a_walk() {
    let mut rng = rng();
    let disk = Disk::new();
    small(&mut rng, &disk, b"three").0.close().unwrap();
    for is_prepared in [false, true] {
        let disk = Disk::with(FILE, disk.bytes(FILE));
        let (mut tree, _) = open(&disk).unwrap().unwrap();
        let read = disk.bytes_read(FILE).len();
        if is_prepared {
            tree.prepare().unwrap();
            assert!(disk.bytes_read(FILE).len() > 2 * read, "it verifies what it will write over");
        }
        disk.refuse_reads(true);
        let more = entries(&mut rng, 4000, 10);
        assert_eq!(tree.checkpoint(b"four", more, Vec::new()).is_ok(), is_prepared);
    }
}

#[test]
fn a_tree_that_was_not_closed_opens_as_well() {
    let mut rng = rng();
    let disk = Disk::new();
    let (_tree, runs) = small(&mut rng, &disk, b"three");
    let killed = Disk::with(FILE, disk.bytes(FILE));
    assert_eq!(open_and_load(&killed).unwrap(), (b"three".to_vec(), runs));
}

#[test]
fn an_older_bucket_filled_later_comes_in_the_order_of_runs() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    let (newer, older) = (entries(&mut rng, 9, 3), entries(&mut rng, 4, 3));
    tree.checkpoint(b"", newer.clone(), Vec::new()).unwrap();
    tree.checkpoint(b"", older.clone(), Vec::new()).unwrap();
    assert_eq!(load(&mut tree).unwrap(), [(9, 0, sorted(&newer)), (4, 1, sorted(&older))]);
    assert_eq!(tree.buckets(), [(4, 3), (9, 3)]);
}

#[test]
fn a_bucket_is_read_by_itself_in_run_order() {
    let mut rng = rng();
    let disk = Disk::new();
    let (mut tree, runs) = small(&mut rng, &disk, b"three");
    for bucket in [1000, 2000, 3000, 999, 1500, 4000] {
        let mut found = Vec::new();
        tree.for_each_in_bucket(bucket, &mut |entries| found.push(entries.to_vec())).unwrap();
        let wanted = runs.iter().filter(|run| run.0 == bucket).map(|run| run.2.clone());
        assert_eq!(found, wanted.collect::<Vec<_>>(), "bucket {bucket}");
    }
}

#[test]
fn a_run_of_any_size_reads_back() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    let mut wanted = Runs::new();
    let sizes = [0, 1, ENTRIES_MAX - 1, ENTRIES_MAX, ENTRIES_MAX + 1, 2 * ENTRIES_MAX, 5000];
    for (run, size) in (0..).zip(sizes) {
        let given = entries(&mut rng, 7, size);
        tree.checkpoint(b"", given.clone(), Vec::new()).unwrap();
        if size > 0 {
            wanted.push((7, run, sorted(&given)));
        }
    }
    assert_eq!(load(&mut tree).unwrap(), wanted);
    drop(tree);
    assert_eq!(open_and_load(&disk).unwrap().1, wanted);
}

#[test]
fn the_same_hash_may_come_more_than_once() {
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    let entry = |sequence| Entry { hash: 5, location: sequence * 10, sequence };
    tree.checkpoint(b"", vec![(1, entry(2)), (1, entry(1))], Vec::new()).unwrap();
    tree.checkpoint(b"", vec![(1, entry(3))], Vec::new()).unwrap();
    let wanted = [(1, 0, vec![entry(1), entry(2)]), (1, 1, vec![entry(3)])];
    assert_eq!(load(&mut tree).unwrap(), wanted);
}

#[test]
fn dropped_buckets_are_gone_whole_and_the_others_stay() {
    let mut rng = rng();
    let disk = Disk::new();
    let (mut tree, mut runs) = small(&mut rng, &disk, b"three");
    tree.drop_buckets(b"four", &[1000, 3000, 5]).unwrap();
    runs.retain(|run| run.0 == 2000);
    assert_eq!(load(&mut tree).unwrap(), runs);
    assert_eq!(tree.buckets(), [(2000, 30)]);
    drop(tree);
    assert_eq!(open_and_load(&disk).unwrap(), (b"four".to_vec(), runs));

    let (mut tree, _) = open(&disk).unwrap().unwrap();
    tree.drop_buckets(b"five", &[2000]).unwrap();
    assert_eq!(load(&mut tree).unwrap(), []);
    let again = entries(&mut rng, 1000, 10);
    tree.checkpoint(b"six", again.clone(), Vec::new()).unwrap();
    assert_eq!(load(&mut tree).unwrap(), [(1000, 3, sorted(&again))], "numbers are not reused");
}

#[test]
fn a_new_tree_takes_the_place_of_whatever_is_there() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    for bytes in [file, b"something else".to_vec(), Vec::new()] {
        let disk = Disk::with(FILE, bytes);
        Tree::create(disk.clone(), STORE, b"new").unwrap().close().unwrap();
        assert_eq!(open_and_load(&disk).unwrap(), (b"new".to_vec(), Runs::new()));
    }
}

/// The index above reads a run whole before it believes it, and rewrites nothing: the file must
/// not grow by much more than what is put in, and not at all for what is dropped and put again.
#[test]
fn the_file_stays_near_the_size_of_its_entries() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    let empty = tree.file_len().unwrap();
    for round in 0..12_u64 {
        for _ in 0..4 {
            tree.checkpoint(b"", entries(&mut rng, round, 5_000), Vec::new()).unwrap();
        }
        if let Some(expired) = round.checked_sub(2) {
            tree.drop_buckets(b"", &[expired]).unwrap();
        }
    }
    // At most three buckets of 20,000 entries of 32 bytes live at once.
    let live = 3 * 20_000 * 32;
    let len = tree.file_len().unwrap();
    assert!(len < empty + 2 * live, "{len} bytes for {live} bytes of entries");
}

#[test]
fn verifying_reads_everything_and_changes_nothing() {
    let mut rng = rng();
    let disk = Disk::new();
    let (tree, runs) = small(&mut rng, &disk, b"three");
    let wanted: Vec<_> = runs.iter().map(|run| (run.0, run.2.clone())).collect();
    let verify = |bytes: Vec<u8>| {
        let disk = Disk::with(FILE, bytes.clone());
        let storage: Arc<dyn Storage> = disk.clone();
        let mut found = Vec::new();
        let outcome = Tree::verify(&storage, STORE, &mut |bucket, entries| {
            found.push((bucket, entries.to_vec()));
        });
        assert_eq!(disk.bytes(FILE), bytes, "the file was changed");
        (outcome.unwrap(), found)
    };
    let sound = (b"three".to_vec(), Vec::new());
    assert_eq!(verify(disk.bytes(FILE)), (sound.clone(), wanted.clone()), "not closed");
    tree.close().unwrap();
    assert_eq!(verify(disk.bytes(FILE)), (sound, wanted), "closed");

    let empty = Disk::new();
    Tree::create(empty.clone(), STORE, b"").unwrap().close().unwrap();
    assert_eq!(verify(empty.bytes(FILE)), ((Vec::new(), Vec::new()), Vec::new()));
}

#[test]
fn verifying_nothing_is_damage() {
    let storage: Arc<dyn Storage> = Disk::new();
    let refused = Tree::verify(&storage, STORE, &mut |_, _| ());
    assert!(matches!(refused, Err(TreeError::Damaged(_))), "{refused:?}");
}
