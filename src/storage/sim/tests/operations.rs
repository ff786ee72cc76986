//! Counting, failing and crashing; room, handles, and what tests do to the disk behind its back.

use super::*;

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
    file.preallocate((64 << 10) + 10).unwrap();
    counts(8);
    disk.sync_dir("d").unwrap();
    counts(9);
    disk.rename("d/f", "d/g").unwrap();
    counts(10);
    disk.unlink("d/g").unwrap();
    counts(11);
    let lock = disk.lock("LOCK").unwrap();
    counts(12);
    drop(lock);
    drop(disk.lock("LOCK").unwrap());
    file.read_at(&mut [0], 0).unwrap();
    file.map(1).unwrap().view(0..1).unwrap();
    assert_eq!(disk.list("d").unwrap(), Vec::<String>::new());
    disk.open("none").unwrap_err();
    disk.create("LOCK").unwrap_err();
    disk.unlink("none").unwrap_err();
    counts(12);
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
fn an_allocation_that_fails_gives_its_space_back_and_what_is_written_in_it_may_be_lost_alone() {
    let disk = disk();
    let file = synced(&disk, "f", b"head");
    disk.set_capacity(Some(2 << 20));
    assert_eq!(file.allocate(5 << 20).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("f").unwrap(), b"head");
    disk.set_capacity(None);
    disk.fail_operation(disk.operations(), Fault::Io);
    assert!(file.allocate(5 << 20).is_err());
    assert_eq!(file.len().unwrap(), 4);
    file.allocate(5 << 20).unwrap();
    file.sync().unwrap();
    file.write_at(&[7; 1000], 3 << 20).unwrap();
    let mut stood = 0;
    for seed in seeds(20) {
        let left = disk.fork().power_loss(seed).read_file("f").unwrap();
        assert_eq!(left.len(), 5 << 20, "SEED={seed}");
        assert!(left.starts_with(b"head\0"), "SEED={seed}");
        let written = left.iter().skip(4).filter(|&&byte| byte != 0).count();
        assert!(written <= 1000, "SEED={seed}");
        stood += usize::from(written > 0);
    }
    assert!(stood > 0, "nothing that was written ever stood");
    file.sync().unwrap();
    let left = disk.power_loss_total().read_file("f").unwrap();
    assert!(left[3 << 20..].starts_with(&[7; 1000]));
}

#[test]
fn a_preallocation_that_fails_gives_its_space_back_and_may_be_tried_again() {
    let disk = disk();
    let file = synced(&disk, "f", b"head");
    disk.set_capacity(Some(2 << 20));
    assert_eq!(file.preallocate(5 << 20).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("f").unwrap(), b"head");
    disk.set_capacity(None);
    for fault in 0..3 {
        disk.fail_operation(disk.operations() + fault, Fault::Io);
        assert!(file.preallocate(5 << 20).is_err(), "operation {fault} fails");
        assert_eq!(file.len().unwrap(), 4);
    }
    file.preallocate(5 << 20).unwrap();
    file.sync().unwrap();
    for seed in seeds(20) {
        let left = disk.power_loss(seed).read_file("f").unwrap();
        assert_eq!(left.len(), 5 << 20, "SEED={seed}");
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
