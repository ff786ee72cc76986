//! The filters of runs: whole wherever they come from, or damage.

use redb::ReadableTable as _;

use super::damage::{BLOCKS, META, tamper};
use super::*;
use crate::storage::Storage;
#[cfg(feature = "test-util")]
use crate::tree::Reader;
use crate::tree::filter_block::{self, LINES_MAX};
use crate::tree::head;
use crate::tree::header::BlockId;
use crate::tree::{Filter, Piece};

#[cfg(feature = "test-util")]
impl Tree {
    /// Takes the filters out, as if all runs were of the format before them.
    pub(crate) fn remove_filters(&mut self, engine: &[u8]) -> Result<(), TreeError> {
        let removed = self.commit(engine, |next, blocks| {
            for (bucket, runs) in &mut next.buckets {
                for run in runs {
                    let of = |part| (*bucket, run.number, part);
                    blocks.remove(of(run.parts), of(u32::MAX), run.filter_parts().into())?;
                    (run.lines, run.filter_crc) = (0, 0);
                }
            }
            Ok(0..0)
        });
        removed.map(drop)
    }
}

#[cfg(feature = "test-util")]
impl Reader {
    /// Whether it was asked anything since the last time: who asks has the file opened again, which
    /// this closes.
    pub(crate) fn was_asked(&self) -> bool {
        let asked = self.is_open();
        self.put(None);
        asked
    }
}

fn piece(tree: &Tree, nth: usize) -> Piece {
    tree.pieces().nth(nth).unwrap()
}

/// Every entry of the piece is in its filter, and next to nothing else is.
fn assert_whole(tree: &Tree, piece: &Piece, rng: &mut fastrand::Rng) {
    let filter = tree.reader().filter(piece).unwrap().unwrap();
    assert_eq!(filter.bytes(), Filter::bytes_for(piece.run.entries));
    let whole = tree.reader().stream(piece, &mut |entries| {
        assert!(entries.iter().all(|entry| filter.may_have(entry.hash)));
    });
    assert!(whole.unwrap());
    let others = (0..20_000).filter(|_| filter.may_have(rng.u128(..))).count();
    assert!(others < 200, "{others} of 20000");
}

/// One line, one block, a block and one more line; and more than one transaction reads at once.
#[test]
fn a_filter_has_every_entry_of_its_run_and_stands_with_it() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    let sizes = [1, 32, 33, 32 * LINES_MAX, 32 * LINES_MAX + 1, 300_000];
    for size in sizes {
        tree.checkpoint(b"", entries(&mut rng, 1000, size), Vec::new()).unwrap();
    }
    for tree in [&tree, &open(&disk).unwrap().unwrap().0] {
        assert_eq!(tree.pieces().count(), sizes.len());
        for piece in tree.pieces() {
            assert_whole(tree, &piece, &mut rng);
        }
    }
}

#[test]
fn a_run_of_doubts_has_none() {
    let mut rng = rng();
    let mut tree = Tree::create(Disk::new(), STORE, b"").unwrap();
    let given = [10, 20].map(|count| entries(&mut rng, 1000, count));
    let [records, doubts] = given;
    tree.checkpoint(b"", records, doubts).unwrap();
    let has: Vec<_> = tree.pieces().map(|it| (it.run.doubts, it.run.has_filter())).collect();
    assert_eq!(has, [(false, true), (true, false)]);
}

/// What a merge makes has a filter of its own, whether the runs it was made of had one or not; and
/// whoever asks for one of those is told that it is gone.
#[test]
fn a_merge_makes_a_filter_of_all_its_entries() {
    let mut rng = rng();
    let disk = Disk::new();
    let mut tree = Tree::create(disk.clone(), STORE, b"").unwrap();
    for _ in 0..3 {
        tree.checkpoint(b"", entries(&mut rng, 1000, 5_000), Vec::new()).unwrap();
    }
    let old = piece(&tree, 0);
    #[cfg(feature = "test-util")]
    {
        tree.remove_filters(b"").unwrap();
        assert!(tree.pieces().all(|piece| !piece.run.has_filter()));
        tree.checkpoint(b"", entries(&mut rng, 1000, 5_000), Vec::new()).unwrap();
    }
    let numbers: Vec<u64> = tree.pieces().map(|piece| piece.run.number).collect();
    tree.merge(b"", 1000, &numbers).unwrap();
    assert!(tree.reader().filter(&old).unwrap().is_none(), "it is gone");
    for tree in [&tree, &open(&disk).unwrap().unwrap().0] {
        assert_eq!(tree.pieces().count(), 1);
        assert_whole(tree, &piece(tree, 0), &mut rng);
    }
    // And is taken away with its bucket.
    tree.drop_buckets(b"", &[1000]).unwrap();
    assert_eq!(load(&mut tree).unwrap(), []);
}

fn asked(bytes: Vec<u8>) -> Result<Option<Filter>, TreeError> {
    let (tree, _) = open(&Disk::with(FILE, bytes))?.unwrap();
    tree.reader().filter(&piece(&tree, 0))
}

/// The filter of run 0 in bucket 1000 of a small file, which is one block.
const FILTER: (u64, u64, u32) = (1000, 0, 2);

#[test]
fn a_filter_of_another_run_or_time_is_damage() {
    let mut rng = rng();
    let (file, _) = small_file(&mut rng);
    let (other, _) = small_file(&mut rng);
    assert!(matches!(asked(file.clone()), Ok(Some(_))));
    for (from, key) in [(&file, (3000, 2, 1)), (&file, (1000, 0, 1)), (&other, FILTER)] {
        let mut block = Vec::new();
        tamper(from.clone(), |transaction| {
            let blocks = transaction.open_table(BLOCKS).unwrap();
            block = blocks.get(key).unwrap().unwrap().value().to_vec();
        });
        let swapped = tamper(file.clone(), |transaction| {
            transaction.open_table(BLOCKS).unwrap().insert(FILTER, &block[..]).unwrap();
        });
        let refused = asked(swapped).map(|filter| filter.is_some());
        assert!(matches!(refused, Err(TreeError::Damaged(_))), "{key:?}: {refused:?}");
    }
}

/// A filter that is not there is no filter of nothing: whoever asks is told, and judges.
#[test]
fn a_filter_that_is_not_there_is_said_to_be_gone() {
    let (file, _) = small_file(&mut rng());
    let absent = tamper(file, |transaction| {
        let mut blocks = transaction.open_table(BLOCKS).unwrap();
        let block = blocks.remove(FILTER).unwrap().unwrap().value().to_vec();
        blocks.insert((FILTER.0, FILTER.1, FILTER.2 + 7), &block[..]).unwrap();
    });
    assert!(matches!(asked(absent), Ok(None)));
}

/// Wherever a page with it was left, for the one that counts is among them.
#[test]
fn every_flipped_bit_of_a_filter_is_noticed() {
    let (file, _) = small_file(&mut rng());
    let begins = [&b"owtf\x01\0\0\0"[..], &STORE, &1000_u64.to_le_bytes(), &[0; 8]].concat();
    let places = file.windows(begins.len()).enumerate().filter(|(_, bytes)| *bytes == begins);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let lines = 10;
    for bit in 0..8 * (56 + 64 * lines) {
        let mut bytes = file.clone();
        for at in &places {
            bytes[at + bit / 8] ^= 1 << (bit % 8);
        }
        let refused = asked(bytes).map(|filter| filter.is_some());
        assert!(matches!(refused, Err(TreeError::Damaged(_))), "bit {bit}: {refused:?}");
    }
}

/// Its checksums hold, and so does all it says of itself: who wrote it was wrong. What is read is
/// given all the same.
#[test]
fn verifying_names_a_filter_that_lacks_an_entry() {
    let mut rng = rng();
    let (file, runs) = small_file(&mut rng);
    let lacking = tamper(file, |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        let mut head = {
            let bytes = meta.get("head").unwrap().unwrap();
            head::decode(STORE, bytes.value()).unwrap()
        };
        let run = &mut head.buckets.get_mut(&1000).unwrap()[0];
        let mut filter = Filter::with_room(run.entries);
        for entry in runs[0].2.iter().skip(1) {
            filter.insert(entry.hash);
        }
        let id = BlockId { store_id: STORE, bucket: 1000, run: 0, part: 0, parts: 1 };
        let mut block = Vec::new();
        let crc = filter_block::encode(&id, filter.lines(), &mut block);
        run.filter_crc = crc32fast::hash(&crc.to_le_bytes());
        transaction.open_table(BLOCKS).unwrap().insert(FILTER, &block[..]).unwrap();
        meta.insert("head", &head::encode(STORE, &head)[..]).unwrap();
    });
    let storage: Arc<dyn Storage> = Disk::with(FILE, lacking);
    let mut found = Vec::new();
    let (_, wrong) = Tree::verify(&storage, STORE, &mut |bucket, entries| {
        found.push((bucket, entries.to_vec()));
    })
    .unwrap();
    let [wrong] = &wrong[..] else { panic!("{wrong:?}") };
    assert!(
        wrong.contains("the filter of run 0 in bucket 1000 lacks 1 of its 300 entries"),
        "{wrong}"
    );
    assert_eq!(found, runs.into_iter().map(|run| (run.0, run.2)).collect::<Vec<_>>());
}
