//! The simulated disk is a witness in every crash test: here it is heard itself.

mod operations;
mod power_loss;

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
