//! What is left after a kill, a power loss, and both.

use super::*;

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
    let one_seed = seeds(100).len() == 1;
    assert!(one_seed || (before > 0 && after > 0), "{before} before, {after} after");
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
    let variety = images.len();
    assert!(seeds(10).len() == 1 || variety > 10, "{variety} images over all the seeds");
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
fn a_cut_is_the_machine_whose_power_went_there_and_the_other_goes_on() {
    let disk = disk();
    let file = synced(&disk, "f", b"old");
    disk.cut_one_in(1);
    let before = disk.operations();
    file.write_at(b"new", 0).unwrap();
    file.sync().unwrap();
    let cuts = disk.take_cuts();
    assert!(disk.take_cuts().is_empty() && !disk.is_off(), "each is given once, on the side");
    let last: Vec<u64> = cuts.iter().map(SimDisk::operations).collect();
    assert_eq!(last, [before + 1, before + 2]);
    assert!(cuts.iter().all(SimDisk::is_off));
    let total = cuts.iter().map(|cut| cut.power_loss_total().read_file("f").unwrap());
    assert_eq!(total.clone().next().unwrap(), b"old", "the write was not synced");
    assert!(total.into_iter().all(|left| left == b"old" || left == b"new"));
    always(&disk, Some(b"new"));
}
