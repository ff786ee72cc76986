use std::io::ErrorKind;
use std::sync::Arc;

use super::*;

/// The seeds a random test runs over: all below `count`, or the one in `SEED`.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..count).collect(),
    }
}

/// A disk with its directory.
fn disk() -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::new(7));
    disk.create_dir("").unwrap();
    disk
}

/// A file whose name and content are on the disk, opened.
fn synced(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.create(path).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    file
}

/// Shows that the file `f` holds `expected` (or is not there) however the power is lost.
fn always(disk: &SimDisk, expected: Option<&[u8]>) {
    for seed in seeds(100) {
        let left = disk.power_loss(seed).read_file("f").ok();
        assert_eq!(left.as_deref(), expected, "SEED={seed}");
    }
}

/// What the file `f` may hold after a power loss, sorted. Over a fixed range of seeds: a single one
/// shows no variety.
fn outcomes(disk: &SimDisk, count: u64) -> Vec<Option<Vec<u8>>> {
    let mut found: Vec<_> =
        (0..count).map(|seed| disk.power_loss(seed).read_file("f").ok()).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn an_unsynced_write_may_be_kept_or_lost_and_a_synced_one_is_kept() {
    let disk = disk();
    let file = synced(&disk, "f", b"old");
    always(&disk.fork(), Some(b"old"));
    file.write_at(b"new", 0).unwrap();
    let found = outcomes(&disk, 200);
    assert!(found.contains(&Some(b"old".to_vec())));
    assert!(found.contains(&Some(b"new".to_vec())));
    assert_eq!(disk.power_loss_total().read_file("f").unwrap(), b"old");
}

#[test]
fn a_sync_makes_all_of_a_file_durable_and_no_other() {
    let disk = disk();
    let (file, other) = (synced(&disk, "f", b"a"), synced(&disk, "g", b"a"));
    file.write_at(b"b", 0).unwrap();
    file.write_at(b"c", 5000).unwrap();
    other.write_at(b"b", 0).unwrap();
    file.sync().unwrap();
    let mut expected = b"b".to_vec();
    expected.resize(5000, 0);
    expected.push(b'c');
    for seed in seeds(100) {
        let after = disk.power_loss(seed);
        assert_eq!(after.read_file("f").unwrap(), expected, "SEED={seed}");
    }
    assert_eq!(disk.power_loss_total().read_file("g").unwrap(), b"a");
}

#[test]
fn writes_may_arrive_in_any_order() {
    let disk = disk();
    let file = synced(&disk, "f", b"---");
    for at in 0..3 {
        file.write_at(b"x", at).unwrap();
    }
    let found = outcomes(&disk, 500);
    for subset in ["---", "x--", "-x-", "--x", "xx-", "x-x", "-xx", "xxx"] {
        assert!(found.contains(&Some(subset.into())), "{subset} never came out");
    }
    assert_eq!(found.len(), 8);
    assert!(disk.is_off(), "a power loss ends the machine it happens to");
}

#[test]
fn a_write_is_torn_at_the_grain_and_nowhere_else() {
    for grain in [512, 8, 1] {
        let disk = disk();
        let file = synced(&disk, "f", &[0; 4096]);
        file.write_at(&[1; 3000], 100).unwrap();
        let (mut torn, mut scattered) = (0, 0);
        for seed in 0..200 {
            let after = disk.power_loss_torn(seed, grain).read_file("f").unwrap();
            let edges: Vec<u64> =
                (1..4096_u64).filter(|&at| after[at as usize] != after[at as usize - 1]).collect();
            assert!(
                edges.iter().all(|&at| at % grain == 0 || at == 100 || at == 3100),
                "SEED={seed} tore at {edges:?} by {grain}"
            );
            torn += u32::from(!edges.is_empty() && edges != [100, 3100]);
            scattered += u32::from(edges.len() > 2);
        }
        assert!(torn > 20, "{torn} torn by {grain}");
        assert!(scattered > 0, "holes in the middle, by {grain}");
    }
}

#[test]
fn a_lost_length_takes_what_is_beyond_it() {
    let disk = disk();
    let file = synced(&disk, "f", b"head");
    file.write_at(b"tail", 4).unwrap();
    let found = outcomes(&disk, 300);
    assert!(found.contains(&Some(b"head".to_vec())), "the length is lost, with or without bytes");
    assert!(found.contains(&Some(b"headtail".to_vec())));
    assert!(found.contains(&Some(b"head\0\0\0\0".to_vec())), "the length came, the bytes did not");
    let disk = disk.power_loss_total();
    disk.open("f").unwrap().set_len(1000).unwrap();
    assert_eq!(disk.power_loss_total().read_file("f").unwrap(), b"head");
}

#[test]
fn a_cut_may_be_lost_and_what_it_cut_off_is_back() {
    let disk = disk();
    let file = synced(&disk, "f", b"headtail");
    file.set_len(4).unwrap();
    assert_eq!(disk.read_file("f").unwrap(), b"head");
    assert_eq!(outcomes(&disk, 100), [Some(b"head".to_vec()), Some(b"headtail".to_vec())]);
}

#[test]
fn bytes_beyond_a_lost_length_do_not_come_back_when_the_file_grows_again() {
    let disk = disk();
    let file = synced(&disk, "f", b"head");
    file.write_at(b"tail", 4).unwrap();
    for seed in seeds(200) {
        let after = disk.power_loss(seed);
        if after.read_file("f").unwrap() == b"head" {
            let file = after.open("f").unwrap();
            file.set_len(8).unwrap();
            assert_eq!(after.read_file("f").unwrap(), b"head\0\0\0\0", "SEED={seed}");
        }
    }
}

#[test]
fn a_name_is_on_the_disk_only_once_its_directory_is_synced() {
    let disk = disk();
    let file = disk.create("f").unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    let found = outcomes(&disk, 100);
    assert_eq!(found, [None, Some(b"x".to_vec())], "syncing a file does not sync its name");
    let disk = disk.kill();
    disk.sync_dir("").unwrap();
    always(&disk, Some(b"x"));
}

#[test]
fn a_directory_that_is_lost_takes_its_files() {
    let disk = disk();
    disk.create_dir("d").unwrap();
    let file = disk.create("d/f").unwrap();
    file.sync().unwrap();
    disk.sync_dir("d").unwrap();
    let after = disk.power_loss_total();
    assert_eq!(after.files(), Vec::<String>::new());
    assert_eq!(after.list("d").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.kill().files(), ["d/f"]);
}

#[test]
fn a_rename_is_atomic_and_may_be_lost() {
    let disk = disk();
    drop(synced(&disk, "f", b"old"));
    drop(synced(&disk, "g", b"new"));
    disk.rename("g", "f").unwrap();
    let mut seen = [false; 2];
    for seed in 0..100 {
        let after = disk.power_loss(seed);
        match (after.read_file("f").unwrap().as_slice(), after.files().len()) {
            (b"old", 2) => seen[0] = true,
            (b"new", 1) => seen[1] = true,
            other => panic!("SEED={seed} left {other:?}"),
        }
    }
    assert_eq!(seen, [true; 2]);
    let disk = disk.kill();
    disk.sync_dir("").unwrap();
    always(&disk, Some(b"new"));
}

#[test]
fn a_rename_may_outrun_the_content() {
    let disk = disk();
    let file = disk.create("f.tmp").unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.rename("f.tmp", "f").unwrap();
    disk.sync_dir("").unwrap();
    assert!(outcomes(&disk, 100).contains(&Some(Vec::new())));
}

#[test]
fn a_file_never_has_two_names() {
    let disk = disk();
    drop(synced(&disk, "a", b"x"));
    disk.rename("a", "b").unwrap();
    disk.rename("b", "c").unwrap();
    for seed in seeds(200) {
        let files = disk.power_loss(seed).files();
        assert_eq!(files.len(), 1, "SEED={seed}: {files:?}");
    }
}

#[test]
fn a_removal_may_be_lost() {
    let disk = disk();
    let file = synced(&disk, "f", b"x");
    disk.unlink("f").unwrap();
    drop(file);
    assert_eq!(outcomes(&disk, 50), [None, Some(b"x".to_vec())]);
    let disk = disk.power_loss_total();
    disk.unlink("f").unwrap();
    disk.sync_dir("").unwrap();
    always(&disk, None);
}

#[test]
fn names_may_change_in_any_order() {
    let disk = disk();
    drop(disk.create("a").unwrap());
    drop(disk.create("b").unwrap());
    let mut found: Vec<_> = (0..200).map(|seed| disk.power_loss(seed).files().concat()).collect();
    found.sort();
    found.dedup();
    assert_eq!(found, ["", "a", "ab", "b"]);
}

#[test]
fn a_killed_process_leaves_its_writes_readable_and_not_on_the_disk() {
    let disk = disk();
    let file = synced(&disk, "f", b"old");
    file.write_at(b"new", 0).unwrap();
    let _lock = disk.lock("LOCK").unwrap();
    let next = disk.kill();
    assert_eq!(next.read_file("f").unwrap(), b"new");
    next.lock("LOCK").unwrap();
    assert_eq!(next.operations(), 0, "looking and locking change nothing");
    assert_eq!(next.power_loss_total().read_file("f").unwrap(), b"old");
    disk.crash_at(0);
    disk.fail_operation(2, Fault::Io);
    let next = disk.kill();
    drop((next.create("a").unwrap(), next.create("b").unwrap()));
    next.open("f").unwrap().sync().expect("a machine starts without a crash or a fault set");
    assert_eq!(next.power_loss_total().read_file("f").unwrap(), b"new");
}

#[test]
fn handles_of_a_machine_that_is_off_fail() {
    let disk = disk();
    let file = synced(&disk, "f", b"x");
    let map = file.map(1).unwrap();
    let lock = disk.lock("LOCK").unwrap();
    let next = disk.kill();
    assert!(disk.is_off() && !next.is_off());
    assert!(file.len().is_err());
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.write_at(b"y", 0).is_err());
    assert!(file.sync().is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.preallocate(10).is_err());
    assert!(file.map(1).is_err());
    assert!(map.view(0..1).is_err());
    assert!(Arc::clone(&map).bytes(0..1).is_err());
    assert!(disk.list("").is_err());
    assert!(disk.open("f").is_err());
    assert!(disk.open_read_only("f").is_err());
    assert!(disk.create("g").is_err());
    assert!(disk.create_dir("").is_err());
    assert!(disk.sync_dir("").is_err());
    assert!(disk.rename("f", "g").is_err());
    assert!(disk.unlink("f").is_err());
    assert!(disk.lock("OTHER").is_err());
    let again = next.lock("LOCK").unwrap();
    drop(lock);
    assert!(next.lock("LOCK").is_err(), "an old lock dropped late frees no new one");
    drop(again);
    assert_eq!(next.read_file("f").unwrap(), b"x");
}

/// A sync fails once. The kernel has taken the pages for clean: they read back, the next sync says
/// all is well, and the power loss shows that they never were on the disk.
#[test]
fn what_a_failed_sync_left_unwritten_no_later_sync_writes() {
    let disk = disk();
    let file = synced(&disk, "f", b"--");
    file.write_at(b"a", 0).unwrap();
    disk.fail_operation(disk.operations(), Fault::Io);
    let error = file.sync().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(disk.read_file("f").unwrap(), b"a-");
    file.write_at(b"b", 1).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read_file("f").unwrap(), b"ab");
    let killed = disk.kill();
    killed.open("f").unwrap().sync().unwrap();
    assert_eq!(killed.read_file("f").unwrap(), b"ab", "a kill does not tell either");
    assert_eq!(killed.power_loss_total().read_file("f").unwrap(), b"-b");
    let found = outcomes(&killed, 100);
    assert_eq!(found, [Some(b"-b".to_vec()), Some(b"ab".to_vec())]);
}

#[test]
fn a_write_after_a_failed_sync_stands_over_what_that_may_have_written() {
    let disk = disk();
    let file = synced(&disk, "f", b"-");
    file.write_at(b"a", 0).unwrap();
    disk.fail_operation(disk.operations(), Fault::Io);
    file.sync().unwrap_err();
    file.write_at(b"b", 0).unwrap();
    file.sync().unwrap();
    always(&disk, Some(b"b"));
}

#[test]
fn a_sync_after_a_failed_one_keeps_the_length_its_bytes_need() {
    let disk = disk();
    let file = synced(&disk, "f", b"");
    file.write_at(b"ab", 0).unwrap();
    disk.fail_operation(disk.operations(), Fault::Io);
    file.sync().unwrap_err();
    file.write_at(b"B", 1).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.power_loss_total().read_file("f").unwrap(), b"\0B");
}

#[test]
fn a_failed_directory_sync_is_not_made_good_by_the_next() {
    let disk = disk();
    drop(disk.create("f").unwrap());
    disk.fail_operation(disk.operations(), Fault::Io);
    disk.sync_dir("").unwrap_err();
    drop(disk.create("g").unwrap());
    disk.sync_dir("").unwrap();
    assert_eq!(disk.files(), ["f", "g"]);
    assert_eq!(disk.power_loss_total().files(), ["g"]);
}

#[test]
fn a_write_that_fails_may_have_got_anywhere() {
    let mut got = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        disk.create_dir("").unwrap();
        let file = disk.create("f").unwrap();
        disk.fail_operation(disk.operations(), Fault::Io);
        file.write_at(b"abc", 0).unwrap_err();
        let left = disk.read_file("f").unwrap();
        assert!(b"abc".starts_with(&left));
        got.insert(left.len());
        file.write_at(b"xyz", 0).unwrap();
        assert_eq!(disk.read_file("f").unwrap(), b"xyz", "it failed once");
    }
    assert_eq!(got.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn an_operation_that_fails_has_happened_or_not() {
    let mut seen = [[false; 2]; 4];
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        disk.create_dir("").unwrap();
        for path in ["b", "c", "d"] {
            disk.write_file(path, b"12345678").unwrap();
        }
        let failing = |work: &dyn Fn() -> io::Result<()>| {
            disk.fail_operation(disk.operations(), Fault::Kind(ErrorKind::Other));
            assert_eq!(work().unwrap_err().kind(), ErrorKind::Other);
        };
        failing(&|| disk.create("a").map(drop));
        failing(&|| disk.unlink("b"));
        failing(&|| disk.rename("c", "C"));
        failing(&|| disk.open("d").unwrap().set_len(4));
        let files = disk.files();
        let has = |name: &str| files.iter().any(|file| file == name);
        assert!(has("c") != has("C"));
        seen[0][usize::from(has("a"))] = true;
        seen[1][usize::from(has("b"))] = true;
        seen[2][usize::from(has("c"))] = true;
        seen[3][usize::from(disk.read_file("d").unwrap().len() == 8)] = true;
    }
    assert_eq!(seen, [[true; 2]; 4]);
}

#[test]
fn every_change_and_every_sync_has_a_number_and_no_look_has() {
    let disk = SimDisk::new(0);
    let counts = |expected: u64| assert_eq!(disk.operations(), expected);
    disk.create_dir("").unwrap();
    counts(1);
    disk.create_dir("d").unwrap();
    counts(2);
    let file = disk.create("d/f").unwrap();
    counts(3);
    file.write_at(b"x", 0).unwrap();
    counts(4);
    file.set_len(10).unwrap();
    counts(5);
    file.sync().unwrap();
    counts(6);
    file.preallocate((2 << 20) + 10).unwrap();
    counts(9);
    disk.sync_dir("d").unwrap();
    counts(10);
    disk.rename("d/f", "d/g").unwrap();
    counts(11);
    disk.unlink("d/g").unwrap();
    counts(12);
    let lock = disk.lock("LOCK").unwrap();
    counts(13);
    drop(lock);
    drop(disk.lock("LOCK").unwrap());
    file.read_at(&mut [0], 0).unwrap();
    file.map(1).unwrap().view(0..1).unwrap();
    assert_eq!(disk.list("d").unwrap(), Vec::<String>::new());
    disk.open("none").unwrap_err();
    disk.create("LOCK").unwrap_err();
    disk.unlink("none").unwrap_err();
    counts(13);
}

/// A small history with a point of no return: once `STORE` is seen, all of `data` is there.
fn history(disk: &SimDisk) -> io::Result<()> {
    disk.create_dir("")?;
    let data = disk.create("data")?;
    data.preallocate(3000)?;
    data.write_at(&[1; 1000], 0)?;
    data.write_at(&[2; 1000], 1000)?;
    data.sync()?;
    let store = disk.create("STORE.tmp")?;
    store.write_at(b"onceward", 0)?;
    store.sync()?;
    disk.sync_dir("")?;
    disk.rename("STORE.tmp", "STORE")?;
    disk.sync_dir("")
}

#[test]
fn a_history_that_syncs_holds_its_promise_at_every_crash_point() {
    let whole = SimDisk::new(0);
    history(&whole).unwrap();
    let (mut before, mut after) = (0, 0);
    for operation in 0..=whole.operations() {
        for seed in seeds(100) {
            let disk = SimDisk::new(seed);
            disk.crash_at(operation);
            let done = history(&disk).is_ok();
            assert_eq!(done, operation == whole.operations());
            assert_eq!(disk.is_off(), !done);
            // Killed first, and the power lost later, is no different.
            let disk = if seed % 2 == 0 { disk.kill() } else { disk };
            let left = disk.power_loss(seed);
            let said = format!("operation {operation}, SEED={seed}");
            if let Ok(store) = left.read_file("STORE") {
                assert_eq!(store, b"onceward", "{said}");
                let data = [[1; 1000], [2; 1000], [0; 1000]].concat();
                assert!(left.read_file("data").unwrap() == data, "{said}");
                after += 1;
            } else {
                assert!(!done, "{said}");
                before += 1;
            }
        }
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let image = |seed: u64, crash_at: u64| {
        let disk = SimDisk::new(seed);
        disk.crash_at(crash_at);
        let _ = history(&disk);
        disk.power_loss(seed).digest()
    };
    let mut images = Vec::new();
    for crash_at in 0..12 {
        for seed in seeds(10) {
            images.push(image(seed, crash_at));
            assert_eq!(images.last(), Some(&image(seed, crash_at)), "SEED={seed} at {crash_at}");
        }
    }
    images.sort_unstable();
    images.dedup();
    assert!(images.len() > 10, "{} images", images.len());
}

#[test]
fn from_a_crash_on_reads_fail_too() {
    let disk = disk();
    let file = synced(&disk, "f", b"x");
    disk.crash_at(disk.operations() + 1);
    file.write_at(b"y", 0).unwrap();
    assert!(!disk.is_off());
    assert!(file.sync().is_err());
    assert!(disk.is_off());
    assert!(file.read_at(&mut [0], 0).is_err());
    let count = disk.operations();
    assert!(file.write_at(b"z", 0).is_err());
    assert_eq!(disk.operations(), count, "nothing happens any more");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = disk();
    let file = synced(&disk, "f", &[1; 100]);
    disk.set_capacity(Some(150));
    let other = disk.create("g").unwrap();
    assert_eq!(other.write_at(&[2; 51], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    let got = disk.read_file("g").unwrap();
    assert!(got.len() <= 50 && got.iter().all(|&byte| byte == 2), "a short write at most");
    assert_eq!(other.set_len(51).unwrap_err().kind(), ErrorKind::StorageFull);
    other.set_len(0).unwrap();
    other.write_at(&[2; 50], 0).unwrap();
    file.write_at(&[3; 100], 0).unwrap();
    assert_eq!(file.write_at(&[3; 2], 99).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.unlink("g").unwrap();
    assert_eq!(file.write_at(&[3; 2], 99).unwrap_err().kind(), ErrorKind::StorageFull);
    drop(other);
    file.write_at(&[3; 2], 99).unwrap();
    disk.set_capacity(None);
    file.write_at(&[3; 100], 1000).unwrap();
}

#[test]
fn a_preallocation_that_fails_gives_its_space_back_and_may_be_tried_again() {
    let disk = disk();
    let file = synced(&disk, "f", b"head");
    disk.set_capacity(Some(2 << 20));
    assert_eq!(file.preallocate(3 << 20).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("f").unwrap(), b"head");
    disk.set_capacity(None);
    for fault in 0..4 {
        disk.fail_operation(disk.operations() + fault, Fault::Io);
        assert!(file.preallocate(3 << 20).is_err(), "operation {fault} fails");
        assert_eq!(file.len().unwrap(), 4);
    }
    file.preallocate(3 << 20).unwrap();
    for seed in seeds(20) {
        let left = disk.power_loss(seed).read_file("f").unwrap();
        assert_eq!(left.len(), 3 << 20, "SEED={seed}");
        assert!(left.starts_with(b"head\0") && left[4..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_flipped_bit_is_flipped_in_the_cache_and_on_the_disk() {
    let disk = disk();
    let file = synced(&disk, "f", &[0; 5000]);
    disk.flip_bit("f", 8 * 4999 + 3).unwrap();
    assert_eq!(disk.read_file("f").unwrap()[4999], 8);
    assert_eq!(disk.power_loss_total().read_file("f").unwrap()[4999], 8);
    assert!(disk.flip_bit("f", 8 * 5000).is_err());
    assert!(disk.flip_bit("none", 0).is_err());
    let disk = disk.kill();
    drop(file);
    let file = disk.open("f").unwrap();
    file.write_at(b"abc", 0).unwrap();
    disk.flip_bit("f", 8).unwrap();
    file.sync().unwrap();
    assert_eq!(&disk.power_loss_total().read_file("f").unwrap()[..4], b"acc\0");
}

#[test]
fn planted_files_are_there_at_once_and_for_good() {
    let disk = SimDisk::new(0);
    disk.write_file("d/e/f", b"a longer one").unwrap();
    disk.write_file("d/e/f", b"short").unwrap();
    disk.write_file("g", b"").unwrap();
    assert_eq!(disk.operations(), 0);
    assert!(disk.write_file("d/e", b"").is_err());
    assert!(disk.write_file("g/h", b"").is_err());
    let disk = disk.power_loss_total();
    assert_eq!(disk.files(), ["d/e/f", "g"]);
    assert_eq!(disk.read_file("d/e/f").unwrap(), b"short");
    disk.remove_file("d/e/f").unwrap();
    assert!(disk.remove_file("d/e").is_err());
    assert_eq!(disk.power_loss_total().files(), ["g"]);
}

#[test]
fn a_digest_tells_any_change_apart() {
    let disk = disk();
    disk.write_file("a", b"bc").unwrap();
    let mut digests = vec![disk.digest()];
    assert_eq!(disk.digest(), digests[0]);
    assert_eq!(disk.fork().digest(), digests[0]);
    for (path, bytes) in [("a", &b"bd"[..]), ("ab", b"c"), ("a", b"b"), ("b", b"")] {
        disk.write_file(path, bytes).unwrap();
        digests.push(disk.digest());
    }
    disk.create_dir("d").unwrap();
    digests.push(disk.digest());
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = disk();
    let file = synced(&disk, "f", b"old");
    file.write_at(b"new", 0).unwrap();
    let lock = disk.lock("LOCK").unwrap();
    disk.crash_at(disk.operations() + 1);
    let fork = disk.fork();
    assert_eq!(fork.operations(), disk.operations());
    assert!(fork.lock("LOCK").is_ok(), "a lock belongs to a handle, and a fork has none");
    let forked = fork.open("f").unwrap();
    forked.write_at(b"FORK", 0).unwrap();
    assert_eq!(disk.read_file("f").unwrap(), b"new");
    assert!(forked.sync().is_err(), "the crash was copied");
    file.sync().unwrap();
    assert_eq!(disk.power_loss_total().read_file("f").unwrap(), b"new");
    assert_eq!(fork.power_loss_total().read_file("f").unwrap(), b"old");
    drop(lock);
}

#[test]
fn one_moment_may_be_lost_in_many_ways() {
    let disk = disk();
    let file = synced(&disk, "f", b"---");
    file.write_at(b"xxx", 0).unwrap();
    let first = disk.power_loss(3).read_file("f").unwrap();
    for seed in 0..20 {
        let _ = disk.power_loss(seed);
    }
    assert_eq!(disk.power_loss(3).read_file("f").unwrap(), first);
}

#[test]
fn a_killed_process_holds_no_file_that_has_no_name() {
    let disk = disk();
    let file = synced(&disk, "f", b"x");
    let map = file.map(1).unwrap();
    disk.unlink("f").unwrap();
    disk.sync_dir("").unwrap();
    drop(file);
    disk.set_capacity(Some(1));
    let other = disk.create("g").unwrap();
    assert!(other.write_at(b"y", 0).is_err(), "a map holds the space too");
    assert_eq!(&*map.view(0..1).unwrap(), b"x");
    let killed = disk.kill();
    killed.open("g").unwrap().write_at(b"y", 0).unwrap();
    assert!(map.view(0..1).is_err());
}

#[test]
fn the_space_of_an_open_file_without_a_name_is_free_when_it_is_closed() {
    let disk = disk();
    let file = synced(&disk, "f", b"x");
    disk.unlink("f").unwrap();
    disk.set_capacity(Some(1));
    let other = disk.create("g").unwrap();
    assert!(other.write_at(b"y", 0).is_err());
    drop(file);
    other.write_at(b"y", 0).unwrap();
}
