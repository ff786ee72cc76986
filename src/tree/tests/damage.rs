//! A tree whose pages changed under it: right answers or `Damaged`, never wrong ones.

use redb::{Database, TableDefinition};

use super::*;
use crate::storage::Storage;
use crate::tree::backend::{Backend, Shared};
use crate::tree::handle::Key;

pub(super) const BLOCKS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("blocks");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Changes the file with redb itself: well-formed pages that hold the wrong thing.
pub(super) fn tamper(bytes: Vec<u8>, change: impl FnOnce(&redb::WriteTransaction)) -> Vec<u8> {
    let disk = Disk::with(FILE, bytes);
    let backend = Shared(Backend::new(disk.open(FILE).unwrap()));
    let database = Database::builder().create_with_backend(backend).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
    database.close().unwrap();
    disk.bytes(FILE)
}

/// Opens and reads the file in every way there is: all damaged, or the first sound answer.
fn damage(bytes: Vec<u8>, bucket: u64) -> [String; 3] {
    let disk = Disk::with(FILE, bytes);
    let whole = open_and_load(&disk).map(drop);
    let one = open(&disk).and_then(|tree| {
        let (mut tree, _) = tree.unwrap();
        tree.for_each_in_bucket(bucket, &mut |_| ())
    });
    let storage: Arc<dyn Storage> = disk;
    let verified = match Tree::verify(&storage, STORE, &mut |_, _| ()) {
        Ok((_, wrong)) if wrong.is_empty() => Ok(()),
        Ok((_, wrong)) => Err(TreeError::Damaged(wrong.join("; "))),
        Err(error) => Err(error),
    };
    [whole, one, verified].map(|outcome| match outcome {
        Err(TreeError::Damaged(what)) => what,
        other => panic!("not damaged: {other:?}"),
    })
}

#[test]
fn what_is_no_tree_of_this_store_is_damaged_and_left_alone() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    let foreign = Disk::with(FILE, file.clone());
    let refused = Tree::open(foreign, [0; 16]).map(drop);
    assert!(
        matches!(&refused, Err(TreeError::Damaged(what)) if what.contains("another store")),
        "{refused:?}"
    );

    let empty_redb = tamper(Vec::new(), |_| ());
    let no_head = tamper(file.clone(), |transaction| {
        transaction.open_table(META).unwrap().remove("head").unwrap();
    });
    let not_a_head = tamper(file.clone(), |transaction| {
        transaction.open_table(META).unwrap().insert("head", &b"?"[..]).unwrap();
    });
    let garbage = std::iter::repeat_with(|| rng.u8(..)).take(100_000).collect();
    for bytes in [Vec::new(), b"redb".to_vec(), garbage, empty_redb, no_head, not_a_head] {
        damage(bytes, 1000);
    }
}

#[test]
fn an_absent_block_is_damage_and_never_a_miss() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    // The last of them are of filters: run 0 has two blocks of entries, the others one.
    let entries = [(1000, 0, 0), (1000, 0, 1), (1000, 1, 0), (2000, 1, 0), (3000, 2, 0)];
    for key in entries.into_iter().chain([(1000, 0, 2), (2000, 1, 1), (3000, 2, 1)]) {
        let bytes = tamper(file.clone(), |transaction| {
            let mut blocks = transaction.open_table(BLOCKS).unwrap();
            assert!(blocks.remove(key).unwrap().is_some());
        });
        let counted = open(&Disk::with(FILE, bytes.clone())).map(drop);
        assert!(matches!(counted, Err(TreeError::Damaged(_))), "{counted:?}");
        damage(bytes, key.0);
        // Another block in its stead keeps the count: the gap is found as it is read.
        let bytes = tamper(file.clone(), |transaction| {
            let mut blocks = transaction.open_table(BLOCKS).unwrap();
            let block = blocks.remove(key).unwrap().unwrap().value().to_vec();
            blocks.insert((key.0, key.1, key.2 + 7), &block[..]).unwrap();
        });
        damage(bytes, key.0);
    }
}

#[test]
fn an_extra_block_anywhere_is_damage() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    let places = [
        (0, 0, 0),
        (1000, 0, 3),
        (1000, 1, 2),
        (1000, 9, 0),
        (1500, 0, 0),
        (3000, 3, 0),
        (4000, 0, 0),
    ];
    for extra in places {
        // A block is taken elsewhere, so that the count stays as it was.
        let bytes = tamper(file.clone(), |transaction| {
            let mut blocks = transaction.open_table(BLOCKS).unwrap();
            let block = blocks.remove((2000, 1, 0)).unwrap().unwrap().value().to_vec();
            blocks.insert(extra, &block[..]).unwrap();
        });
        let [whole, one, _] = damage(bytes, if extra.0 == 0 { 1000 } else { extra.0 });
        assert!(!whole.is_empty() && !one.is_empty());
        let bytes = tamper(file.clone(), |transaction| {
            transaction.open_table(BLOCKS).unwrap().insert(extra, &b"?"[..]).unwrap();
        });
        damage(bytes, extra.0);
    }
}

#[test]
fn a_stale_block_is_damage_however_whole_it_is() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    // The same keys, the same sizes, the same store: another time.
    let (other, _) = small_file(&mut rng);
    for key in [(1000, 0, 0), (1000, 0, 1), (1000, 0, 2), (2000, 1, 0), (3000, 2, 1)] {
        let mut block = Vec::new();
        tamper(other.clone(), |transaction| {
            let blocks = transaction.open_table(BLOCKS).unwrap();
            block = redb::ReadableTable::get(&blocks, key).unwrap().unwrap().value().to_vec();
        });
        let bytes = tamper(file.clone(), |transaction| {
            let mut blocks = transaction.open_table(BLOCKS).unwrap();
            blocks.insert(key, &block[..]).unwrap();
        });
        let [whole, one, verified] = damage(bytes, key.0);
        for said in [whole, one, verified] {
            assert!(said.contains("not the one the directory lists"), "{said}");
        }
    }
}

#[test]
fn verifying_names_what_is_wrong_and_gives_the_rest() {
    let mut rng = rng();
    let (file, runs) = small_file(&mut rng);
    let bytes = tamper(file, |transaction| {
        let mut blocks = transaction.open_table(BLOCKS).unwrap();
        for key in [(1000, 1, 0), (3000, 2, 0)] {
            blocks.insert(key, &b"rotten"[..]).unwrap();
        }
    });
    let storage: Arc<dyn Storage> = Disk::with(FILE, bytes);
    let mut found = Vec::new();
    let (head, wrong) = Tree::verify(&storage, STORE, &mut |bucket, entries| {
        found.push((bucket, entries.to_vec()));
    })
    .unwrap();
    assert_eq!(head, b"three");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains("block 0 of run 1 in bucket 1000"), "{wrong:?}");
    assert!(wrong[1].contains("block 0 of run 2 in bucket 3000"), "{wrong:?}");
    assert_eq!(found, [(1000, runs[0].2.clone()), (2000, runs[2].2.clone())]);
}

/// An older copy of the whole file is a sound tree of an older time: the engine's bytes say of
/// which. A mixture of two times is either one of them or damage.
#[test]
fn pages_of_another_time_are_damage() {
    let mut rng = rng();
    let disk = Disk::new();
    let (mut tree, old_runs) = small(&mut rng, &disk, b"three");
    let old = disk.bytes(FILE);
    let added = entries(&mut rng, 3000, 300);
    tree.checkpoint(b"four", added.clone(), Vec::new()).unwrap();
    tree.drop_buckets(b"five", &[1000]).unwrap();
    let new_runs = load(&mut tree).unwrap();
    let new = disk.bytes(FILE);
    assert_eq!(open_and_load(&Disk::with(FILE, old.clone())).unwrap().1, old_runs);

    let (mut sound, mut damaged) = (0, 0);
    for _ in 0..300 {
        let (mut bytes, other) = if rng.bool() { (new.clone(), &old) } else { (old.clone(), &new) };
        let pages = rng.usize(1..4);
        for _ in 0..pages {
            let used = rng.usize(0..60) * 4096;
            bytes[used..used + 4096].copy_from_slice(&other[used..used + 4096]);
        }
        match open_and_load(&Disk::with(FILE, bytes)) {
            Ok((head, runs)) => {
                let wanted = match &head[..] {
                    b"three" => old_runs.clone(),
                    b"four" => [old_runs.clone(), vec![(3000, 3, sorted(&added))]].concat(),
                    b"five" => new_runs.clone(),
                    head => panic!("{head:?}"),
                };
                assert_eq!(runs, wanted);
                sound += 1;
            }
            Err(error) => {
                assert!(matches!(error, TreeError::Damaged(_)), "{error}");
                damaged += 1;
            }
        }
    }
    println!("{sound} sound, {damaged} damaged");
    assert!(sound > 0 && damaged > 0, "{sound} sound, {damaged} damaged");
}

/// redb over damaged pages can end the process. It does not get to write over any: here one entry of
/// a bucket that the change does not touch is off by a bit.
#[test]
fn nothing_is_written_to_a_file_with_a_damaged_page() {
    let mut rng = rng();
    let (mut file, runs) = small_file(&mut rng);
    let entry = runs[0].2[7].hash.to_le_bytes();
    let at = file.windows(16).position(|bytes| bytes == entry).unwrap();
    file[at] ^= 1;
    let disk = Disk::with(FILE, file);
    let (mut tree, _) = open(&disk).unwrap().unwrap();
    let refused = tree.checkpoint(b"four", entries(&mut rng, 3000, 1), Vec::new());
    assert!(matches!(refused, Err(TreeError::Damaged(_))), "{refused:?}");
    let refused = tree.drop_buckets(b"four", &[3000]);
    assert!(matches!(refused, Err(TreeError::Damaged(_))), "{refused:?}");
}

/// Reads the tree, writes to it, and reads it again, as an engine does that has not noticed the
/// damage yet: exactly what was put in, or damage, at every step. What was put in may be that of
/// an earlier commit, when redb takes the last one for cut off: the head says so.
///
/// Not `thoroughly`, it only opens and reads.
fn use_damaged(
    bytes: Vec<u8>,
    runs: &Runs,
    added: &[(u64, Entry)],
    thoroughly: bool,
) -> Result<(), TreeError> {
    let disk = Disk::with(FILE, bytes);
    if thoroughly {
        let storage: Arc<dyn Storage> = disk.clone();
        let _ = Tree::verify(&storage, STORE, &mut |bucket, entries| {
            assert!(runs.iter().any(|run| run.0 == bucket && run.2 == entries));
        });
    }
    let Some((mut tree, head)) = open(&disk)? else { panic!("the file is there") };
    let next_run = match &head[..] {
        b"three" => 3,
        b"two" => 2,
        b"one" => 1,
        b"new" => 0,
        head => panic!("{head:?}"),
    };
    let runs: Runs = runs.iter().filter(|run| run.1 < next_run).cloned().collect();
    assert_eq!(load(&mut tree)?, runs);
    if !thoroughly {
        return Ok(());
    }
    for bucket in [1000, 2000, 3000] {
        let mut found = Vec::new();
        tree.for_each_in_bucket(bucket, &mut |entries| found.push(entries.to_vec()))?;
        let wanted = runs.iter().filter(|run| run.0 == bucket).map(|run| run.2.clone());
        assert_eq!(found, wanted.collect::<Vec<_>>());
    }
    tree.checkpoint(b"four", added.to_vec(), Vec::new())?;
    let mut wanted = runs.clone();
    wanted.push((3000, next_run, sorted(added)));
    assert_eq!(load(&mut tree)?, wanted);
    tree.drop_buckets(b"five", &[1000])?;
    wanted.retain(|run| run.0 != 1000);
    tree.close()?;
    assert_eq!(open_and_load(&disk)?, (b"five".to_vec(), wanted));
    Ok(())
}

/// Flips single bits of a file: in redb's header, in what is read to answer, and anywhere. How many
/// is taken from `FLIPS`.
fn flip_bits(rng: &mut fastrand::Rng, (file, runs): (Vec<u8>, Runs)) {
    let rounds = std::env::var("FLIPS").map_or(1_000, |flips| flips.parse().unwrap());
    let disk = Disk::with(FILE, file.clone());
    open_and_load(&disk).unwrap();
    let read = disk.bytes_read(FILE);
    let written: Vec<_> = read.into_iter().filter(|at| file[*at] != 0).collect();
    let added = entries(rng, 3000, 30);
    let (mut sound, mut damaged) = (0, 0);
    for round in 0..rounds {
        let at = match round % 8 {
            0 => rng.usize(..file.len()),
            1 | 2 => rng.usize(..320),
            _ => written[rng.usize(..written.len())],
        };
        let bit = rng.u8(..8);
        let mut bytes = file.clone();
        bytes[at] ^= 1 << bit;
        match use_damaged(bytes, &runs, &added, rng.u8(..4) == 0) {
            Ok(()) => sound += 1,
            Err(error) => {
                assert!(matches!(error, TreeError::Damaged(_)), "byte {at} bit {bit}: {error}");
                damaged += 1;
            }
        }
    }
    println!("{sound} sound, {damaged} damaged");
    assert!(sound > rounds / 10 && damaged > rounds / 10, "{sound} sound, {damaged} damaged");
}

#[test]
fn a_flipped_bit_in_a_closed_file_is_damage_or_nothing() {
    let mut rng = rng();
    let file = small_file(&mut rng);
    flip_bits(&mut rng, file);
}

#[test]
fn a_flipped_bit_in_a_file_left_open_is_damage_or_nothing() {
    let mut rng = rng();
    let disk = Disk::new();
    let (tree, runs) = small(&mut rng, &disk, b"three");
    let file = (disk.bytes(FILE), runs);
    drop(tree);
    flip_bits(&mut rng, file);
}

#[test]
fn a_sector_of_something_else_is_damage_or_nothing() {
    let mut rng = rng();
    let (file, runs) = small_file(&mut rng);
    let added = entries(&mut rng, 3000, 30);
    let disk = Disk::with(FILE, file.clone());
    open_and_load(&disk).unwrap();
    let read = disk.bytes_read(FILE);
    let mut damaged = 0;
    for round in 0..200 {
        let mut bytes = file.clone();
        let at = read[rng.usize(..read.len())] / 512 * 512;
        for byte in &mut bytes[at..at + 512] {
            *byte = if round % 2 == 0 { 0 } else { rng.u8(..) };
        }
        match use_damaged(bytes, &runs, &added, true) {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error, TreeError::Damaged(_)), "sector at {at}: {error}");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 20, "{damaged} damaged");
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    let edges = (0..=file.len() / 4096).map(|page| page * 4096).chain([1, 4, 9, 64, 319, 320]);
    let anywhere = std::iter::repeat_with(|| rng.usize(..file.len())).take(200);
    for len in edges.chain(anywhere.collect::<Vec<_>>()).filter(|len| *len < file.len()) {
        let cut = open_and_load(&Disk::with(FILE, file[..len].to_vec()));
        assert!(matches!(cut, Err(TreeError::Damaged(_))), "{len} bytes: {cut:?}");
    }
}

#[test]
fn a_file_that_vanishes_or_changes_under_an_open_tree_is_damage() {
    let mut rng = rng();
    let disk = Disk::new();
    let (mut tree, runs) = small(&mut rng, &disk, b"three");
    let old = disk.bytes(FILE);
    let fail = |tree: &mut Tree| {
        disk.refuse(0..1, std::io::ErrorKind::Other);
        let refused = tree.checkpoint(b"x", Vec::new(), Vec::new());
        assert!(matches!(refused, Err(TreeError::Io(_))), "{refused:?}");
    };
    tree.checkpoint(b"four", entries(&mut rng, 9000, 5), Vec::new()).unwrap();
    fail(&mut tree);
    disk.unlink(FILE).unwrap();
    let gone = tree.head().map(drop);
    assert!(matches!(gone, Err(TreeError::Damaged(_))), "{gone:?}");

    let file = disk.create(FILE).unwrap();
    file.write_at(&old, 0).unwrap();
    let stale = tree.head().map(drop);
    assert!(matches!(stale, Err(TreeError::Damaged(_))), "{stale:?}");
    assert_eq!(disk.bytes(FILE).len(), old.len());
    assert_eq!(open_and_load(&disk).unwrap().1, runs, "by itself it is a sound tree");
}
