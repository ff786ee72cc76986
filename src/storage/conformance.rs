//! What every `Storage` does, shown on the disk and on the simulated one.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{Disk, File, SimDisk, Storage};

/// Runs each behaviour on both.
macro_rules! behaviours {
    ($($name:ident)*) => {
        mod on_the_disk {
            $(
                #[test]
                fn $name() {
                    let dir = tempfile::tempdir().unwrap();
                    super::$name(&super::opened(super::Disk::new(dir.path().join("store"))));
                }
            )*
        }

        mod simulated {
            $(
                #[test]
                fn $name() {
                    super::$name(&super::opened(super::SimDisk::new(1)));
                }
            )*
        }
    };
}

behaviours! {
    without_its_directory_there_is_nothing
    names_are_listed_in_order
    a_directory_may_be_created_twice_but_not_over_a_file
    a_path_that_leads_elsewhere_is_refused_everywhere
    what_is_written_is_read
    a_read_past_the_end_fails
    a_file_is_cut_and_extended_with_zeros
    a_name_is_created_once
    what_is_missing_is_not_found
    a_directory_is_not_a_file
    a_read_only_handle_changes_nothing
    a_rename_takes_the_place_of_the_old_file
    a_rename_stays_in_its_directory
    an_unlinked_file_lives_while_it_is_open
    preallocation_is_zeros_from_the_end_on
    allocation_is_zeros_from_the_end_on
    a_map_may_reach_past_the_end_and_the_file_grow_into_it
    a_range_outside_the_map_is_refused
    bytes_outlive_their_map_and_their_file
    an_empty_map_has_an_empty_range
    a_lock_is_held_by_one
    syncing_is_allowed_at_any_time
}

fn opened(storage: impl Storage) -> Arc<dyn Storage> {
    Arc::new(storage)
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind(),
    }
}

fn content(storage: &Arc<dyn Storage>, path: &str) -> Vec<u8> {
    let file = storage.open_read_only(path).unwrap();
    let mut bytes = vec![0xee; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn put(storage: &Arc<dyn Storage>, path: &str, bytes: &[u8]) -> Arc<dyn super::File> {
    let file = storage.create(path).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn without_its_directory_there_is_nothing(storage: &Arc<dyn Storage>) {
    assert_eq!(kind(storage.list("")), ErrorKind::NotFound);
    assert_eq!(kind(storage.open("f")), ErrorKind::NotFound);
    assert_eq!(kind(storage.create("f")), ErrorKind::NotFound);
    assert_eq!(kind(storage.create_dir("d")), ErrorKind::NotFound);
    assert_eq!(kind(storage.sync_dir("")), ErrorKind::NotFound);
    assert_eq!(kind(storage.lock("l")), ErrorKind::NotFound);
    storage.create_dir("").unwrap();
    assert_eq!(storage.list("").unwrap(), Vec::<String>::new());
}

fn names_are_listed_in_order(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    for name in ["b", "a", "ab", "B"] {
        storage.create(name).unwrap();
    }
    storage.create_dir("aa").unwrap();
    storage.create("aa/z").unwrap();
    assert_eq!(storage.list("").unwrap(), ["B", "a", "aa", "ab", "b"]);
    assert_eq!(storage.list("aa").unwrap(), ["z"]);
    assert_eq!(kind(storage.list("none")), ErrorKind::NotFound);
    assert!(storage.list("a").is_err(), "a file has no names");
}

fn a_directory_may_be_created_twice_but_not_over_a_file(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    storage.create_dir("").unwrap();
    storage.create_dir("d").unwrap();
    storage.create("d/f").unwrap();
    storage.create_dir("d").unwrap();
    assert_eq!(storage.list("d").unwrap(), ["f"]);
    assert_eq!(kind(storage.create_dir("d/f")), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.create_dir("d/f/g")), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.create_dir("none/d")), ErrorKind::NotFound);
}

fn a_path_that_leads_elsewhere_is_refused_everywhere(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    storage.create("f").unwrap();
    for path in ["..", "../f", "/f", "./f", "d/../f", "f/", "a\0b"] {
        assert_eq!(kind(storage.open(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.open_read_only(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.create(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.unlink(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.rename("f", path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.rename(path, "f")), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.list(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.create_dir(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.sync_dir(path)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(storage.lock(path)), ErrorKind::InvalidInput, "{path:?}");
    }
}

fn what_is_written_is_read(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", b"hello");
    file.write_at(b"y", 4).unwrap();
    file.write_at(b"far", 10_000).unwrap();
    file.write_at(b"", 20_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_003, "writing nothing extends nothing");
    let mut expected = b"helly".to_vec();
    expected.resize(10_000, 0);
    expected.extend(b"far");
    assert_eq!(content(storage, "f"), expected);
    assert!(file.write_at(b"x", u64::MAX).is_err());
    assert!(file.write_at(b"x", i64::MAX as u64).is_err());
    assert_eq!(file.len().unwrap(), 10_003);
}

fn a_read_past_the_end_fails(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", b"hello");
    let mut out = [0; 3];
    file.read_at(&mut out, 2).unwrap();
    assert_eq!(&out, b"llo");
    assert_eq!(kind(file.read_at(&mut out, 3)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.read_at(&mut out, 100)), ErrorKind::UnexpectedEof);
    file.read_at(&mut [], 5).unwrap();
}

fn a_file_is_cut_and_extended_with_zeros(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", &[7; 9000]);
    file.set_len(4100).unwrap();
    assert_eq!(content(storage, "f"), [7; 4100]);
    file.set_len(9000).unwrap();
    let mut expected = vec![7; 4100];
    expected.resize(9000, 0);
    assert_eq!(content(storage, "f"), expected, "what was cut off does not come back");
    file.set_len(0).unwrap();
    assert_eq!(file.len().unwrap(), 0);
    assert!(file.set_len(u64::MAX).is_err());
}

fn a_name_is_created_once(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    storage.create_dir("d").unwrap();
    let _ = put(storage, "f", b"kept");
    assert_eq!(kind(storage.create("f")), ErrorKind::AlreadyExists);
    assert_eq!(kind(storage.create("d")), ErrorKind::AlreadyExists);
    assert_eq!(content(storage, "f"), b"kept");
}

fn what_is_missing_is_not_found(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    assert_eq!(kind(storage.open("f")), ErrorKind::NotFound);
    assert_eq!(kind(storage.open_read_only("f")), ErrorKind::NotFound);
    assert_eq!(kind(storage.unlink("f")), ErrorKind::NotFound);
    assert_eq!(kind(storage.rename("f", "g")), ErrorKind::NotFound);
    assert_eq!(kind(storage.open("d/f")), ErrorKind::NotFound);
    assert_eq!(kind(storage.sync_dir("d")), ErrorKind::NotFound);
    assert_eq!(storage.list("").unwrap(), Vec::<String>::new());
}

fn a_directory_is_not_a_file(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    storage.create_dir("d").unwrap();
    storage.create("f").unwrap();
    assert_eq!(kind(storage.open("d")), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.open_read_only("d")), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.lock("d")), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.open("f/g")), ErrorKind::InvalidInput);
    assert!(storage.unlink("d").is_err());
    assert!(storage.rename("f", "d").is_err());
    assert_eq!(storage.list("").unwrap(), ["d", "f"]);
}

fn a_read_only_handle_changes_nothing(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let _ = put(storage, "f", b"kept");
    let file = storage.open_read_only("f").unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.preallocate(100).is_err());
    assert!(file.allocate(100).is_err());
    assert_eq!(&*file.map(4).unwrap().view(0..4).unwrap(), b"kept");
    assert_eq!(content(storage, "f"), b"kept");
}

fn a_rename_takes_the_place_of_the_old_file(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let old = put(storage, "f", b"old");
    let new = put(storage, "f.tmp", b"new");
    storage.rename("f.tmp", "f").unwrap();
    assert_eq!(storage.list("").unwrap(), ["f"]);
    assert_eq!(content(storage, "f"), b"new");
    new.write_at(b"NEW", 0).unwrap();
    assert_eq!(content(storage, "f"), b"NEW", "the handle follows the file, not the name");
    let mut out = [0; 3];
    old.read_at(&mut out, 0).unwrap();
    assert_eq!(&out, b"old");
}

fn a_rename_stays_in_its_directory(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    storage.create_dir("d").unwrap();
    storage.create("f").unwrap();
    assert_eq!(kind(storage.rename("f", "d/f")), ErrorKind::InvalidInput);
    storage.create("d/g").unwrap();
    storage.rename("d/g", "d/h").unwrap();
    assert_eq!(storage.list("d").unwrap(), ["h"]);
    storage.rename("f", "f").unwrap();
    assert_eq!(storage.list("").unwrap(), ["d", "f"]);
}

fn an_unlinked_file_lives_while_it_is_open(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", b"hello");
    storage.unlink("f").unwrap();
    storage.sync_dir("").unwrap();
    assert_eq!(storage.list("").unwrap(), Vec::<String>::new());
    file.write_at(b"J", 0).unwrap();
    file.sync().unwrap();
    let _ = put(storage, "f", b"other");
    let mut out = [0; 5];
    file.read_at(&mut out, 0).unwrap();
    assert_eq!(&out, b"Jello");
    assert_eq!(content(storage, "f"), b"other");
}

fn preallocation_is_zeros_from_the_end_on(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    room_is_zeros_from_the_end_on(storage, "f", &|file, len| file.preallocate(len));
}

fn allocation_is_zeros_from_the_end_on(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    room_is_zeros_from_the_end_on(storage, "f", &|file, len| file.allocate(len));
    // One after the other, each goes on where the last one ended.
    let file = storage.open("f").unwrap();
    file.write_at(b"within", 2_400_000).unwrap();
    file.preallocate(2_600_000).unwrap();
    file.allocate(7_000_000).unwrap();
    file.sync().unwrap();
    let mut expected = b"head".to_vec();
    expected.resize(7_000_000, 0);
    expected[2_400_000..2_400_006].copy_from_slice(b"within");
    assert!(content(storage, "f") == expected);
    assert!(*file.map(7_000_000).unwrap().view(0..7_000_000).unwrap() == expected);
}

fn room_is_zeros_from_the_end_on(
    storage: &Arc<dyn Storage>,
    name: &str,
    make: &dyn Fn(&dyn File, u64) -> std::io::Result<()>,
) {
    let file = put(storage, name, b"head");
    let len = 2_500_000;
    make(&*file, len).unwrap();
    let mut expected = b"head".to_vec();
    expected.resize(usize::try_from(len).unwrap(), 0);
    assert!(content(storage, name) == expected);
    make(&*file, 100).unwrap();
    assert_eq!(file.len().unwrap(), len, "less cuts nothing");
    assert_eq!(kind(make(&*file, u64::MAX)), ErrorKind::InvalidInput);
    assert_eq!(file.len().unwrap(), len);
}

fn a_map_may_reach_past_the_end_and_the_file_grow_into_it(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", b"hello");
    let map = file.map(1 << 20).unwrap();
    assert_eq!(&*map.view(1..5).unwrap(), b"ello");
    assert_eq!(kind(map.view(4..6)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(Arc::clone(&map).bytes(500_000..500_005)), ErrorKind::UnexpectedEof);
    file.write_at(b"later", 500_000).unwrap();
    assert_eq!(&*map.view(500_000..500_005).unwrap(), b"later");
    assert_eq!(Arc::clone(&map).bytes(499_999..500_005).unwrap(), &b"\0later"[..]);
    file.write_at(b"last", (1 << 20) - 4).unwrap();
    assert_eq!(&*map.view((1 << 20) - 4..1 << 20).unwrap(), b"last");
}

fn a_range_outside_the_map_is_refused(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", &[1; 100]);
    let map = file.map(50).unwrap();
    assert_eq!(map.view(0..50).unwrap().len(), 50);
    #[allow(clippy::reversed_empty_ranges)]
    for range in [0..51, 50..51, 51..51, 9..8, 0..u64::MAX, u64::MAX..u64::MAX] {
        assert_eq!(kind(map.view(range.clone())), ErrorKind::InvalidInput, "{range:?}");
        let bytes = Arc::clone(&map).bytes(range.clone());
        assert_eq!(kind(bytes), ErrorKind::InvalidInput, "{range:?}");
    }
    assert_eq!(map.view(50..50).unwrap().len(), 0);
}

fn bytes_outlive_their_map_and_their_file(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let file = put(storage, "f", &[b'x'; 10_000]);
    let map = file.map(10_000).unwrap();
    let bytes = Arc::clone(&map).bytes(4000..8200).unwrap();
    drop(map);
    drop(file);
    storage.unlink("f").unwrap();
    storage.sync_dir("").unwrap();
    let _ = put(storage, "f", &[b'y'; 10_000]);
    assert_eq!(bytes, vec![b'x'; 4200]);
}

fn an_empty_map_has_an_empty_range(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let map = storage.create("f").unwrap().map(0).unwrap();
    assert_eq!(map.view(0..0).unwrap().len(), 0);
    assert_eq!(Arc::clone(&map).bytes(0..0).unwrap().len(), 0);
    assert_eq!(kind(map.view(0..1)), ErrorKind::InvalidInput);
}

fn a_lock_is_held_by_one(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    let lock = storage.lock("LOCK").unwrap();
    assert_eq!(storage.list("").unwrap(), ["LOCK"]);
    assert_eq!(kind(storage.lock("LOCK")), ErrorKind::WouldBlock);
    let other = storage.lock("OTHER").unwrap();
    drop(lock);
    let again = storage.lock("LOCK").unwrap();
    assert_eq!(kind(storage.lock("LOCK")), ErrorKind::WouldBlock);
    assert_eq!(kind(storage.lock("OTHER")), ErrorKind::WouldBlock);
    drop((again, other));
}

fn syncing_is_allowed_at_any_time(storage: &Arc<dyn Storage>) {
    storage.create_dir("").unwrap();
    storage.sync_dir("").unwrap();
    storage.create_dir("d").unwrap();
    let file = put(storage, "d/f", b"x");
    file.sync().unwrap();
    file.sync().unwrap();
    storage.sync_dir("d").unwrap();
    storage.sync_dir("").unwrap();
    storage.open_read_only("d/f").unwrap().sync().unwrap();
    assert_eq!(content(storage, "d/f"), b"x");
}

/// Does one random thing to `storage` and says what came of it: everything a caller can see.
fn random_step(storage: &Arc<dyn Storage>, rng: &mut fastrand::Rng) -> String {
    const PATHS: [&str; 7] = ["a", "b", "c", "d/a", "d/b", "d", "none/a"];
    let path = PATHS[rng.usize(..PATHS.len())];
    let other = PATHS[rng.usize(..PATHS.len())];
    let (offset, len, value) = (rng.u64(..9000), rng.usize(..5000), rng.u8(..));
    let told = |result: std::io::Result<()>| result.map_err(|error| error.kind());
    match rng.u8(..10) {
        0 => format!("create {path}: {:?}", told(storage.create(path).map(drop))),
        1 => format!("unlink {path}: {:?}", storage.unlink(path).is_ok()),
        2 => format!("rename {path} {other}: {:?}", {
            // A directory's rename is nobody's business here: the seam renames files.
            path == "d" || other == "d" || storage.rename(path, other).is_ok()
        }),
        3 => format!("list: {:?} {:?}", storage.list("").unwrap(), storage.list("d").unwrap()),
        4 => format!("sync: {:?}", told(storage.sync_dir(""))),
        step => {
            let file = match storage.open(path) {
                Ok(file) => file,
                Err(error) => return format!("open {path}: {:?}", error.kind()),
            };
            let done = match step {
                5 => file.set_len(offset),
                6 if offset % 2 == 0 => file.preallocate(offset),
                6 => file.allocate(offset),
                7 => file.sync(),
                _ => file.write_at(&vec![value; len], offset),
            };
            format!("{step} {path} {:?}: {:?}", told(done), content(storage, path))
        }
    }
}

#[test]
fn the_disk_and_the_simulated_one_tell_the_same_story() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..20).collect(),
    };
    for seed in seeds {
        let dir = tempfile::tempdir().unwrap();
        let both = [opened(Disk::new(dir.path())), opened(SimDisk::new(seed))];
        for storage in &both {
            storage.create_dir("").unwrap();
            storage.create_dir("d").unwrap();
        }
        let mut rngs = [(); 2].map(|()| fastrand::Rng::with_seed(seed));
        for step in 0..200 {
            let real = random_step(&both[0], &mut rngs[0]);
            let simulated = random_step(&both[1], &mut rngs[1]);
            assert!(real == simulated, "SEED={seed}, step {step}: {real:.200} / {simulated:.200}");
        }
    }
}
