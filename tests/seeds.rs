//! What the fuzz targets begin with, and what they found, through the same bodies: every file in
//! `fuzz/seeds/`. That of the gateway's configuration is a test of the gateway's.
#![cfg(all(feature = "http", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../fuzz/bodies/frame.rs"]
mod frame;
#[path = "../fuzz/bodies/key_header.rs"]
mod key_header;
#[path = "../fuzz/bodies/machine.rs"]
mod operations;
#[path = "../fuzz/bodies/recovery.rs"]
mod recovery;
#[path = "../fuzz/bodies/stored_response.rs"]
mod stored_response;
#[path = "../fuzz/bodies/tombstone.rs"]
mod tombstone;

use std::fs;
use std::path::Path;

/// Runs `body` over each seed of `target`, in order, and names the one that it panics at.
fn over_seeds(target: &str, body: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> =
        fs::read_dir(&seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", seeds.display());
    for file in files {
        let octets = fs::read(&file).unwrap();
        let ran = std::panic::catch_unwind(|| body(&octets));
        assert!(ran.is_ok(), "{target}: {}", file.display());
    }
}

#[test]
fn frames_and_groups_of_the_seeds() {
    over_seeds("frame", frame::run);
}

#[test]
fn key_headers_of_the_seeds() {
    over_seeds("key_header", key_header::run);
}

#[test]
fn operations_of_the_seeds() {
    over_seeds("machine", operations::run);
}

#[test]
fn damaged_stores_of_the_seeds() {
    over_seeds("recovery", recovery::run);
}

#[test]
fn stored_responses_of_the_seeds() {
    over_seeds("stored_response", stored_response::run);
}

#[test]
fn tombstones_of_the_seeds() {
    over_seeds("tombstone", tombstone::run);
}
