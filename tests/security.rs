//! What a store, a gateway and their neighbours are protected against (`SECURITY.md`): what ends up
//! on disk and in logs, links in place of files, floods, callers who would reach one another's
//! records; and `verify`, which tells what became of the files.
#![cfg(all(feature = "cli", feature = "test-util", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says its seed"
)]

mod serve_support;

#[path = "support/anonymous.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod anonymous;
#[path = "security/caps.rs"]
mod caps;
#[path = "security/files.rs"]
mod files;
#[path = "security/floods.rs"]
mod floods;
#[path = "security/foreign.rs"]
mod foreign;
#[path = "security/links.rs"]
mod links;
#[path = "security/secrets.rs"]
mod secrets;
#[path = "security/tenants.rs"]
mod tenants;
#[path = "security/verify.rs"]
mod verify;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use onceward::{Claim, Fingerprint, Key, Store};

/// A generator whose seed is the same each time, unless `SEED` says otherwise.
fn random() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Runs `onceward` to its end: exit code, standard output, standard error.
fn onceward(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
    let ran = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
}

/// Claims `key` and completes it with `payload`.
fn complete(store: &Store, key: &str, payload: &str) {
    let claim = store.blocking_claim(Key::new("acct_1", key).unwrap(), Fingerprint::of("a"));
    let claim = claim.unwrap();
    let Claim::Granted(ticket) = claim else { panic!("{claim:?}") };
    ticket.blocking_complete(payload.to_owned()).unwrap();
}

/// All there is below `root`: of each name its type, mode, links, time of change, and content.
fn snapshot(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() {
                format!("{:?}", Fingerprint::of(std::fs::read(&path).unwrap()))
            } else if metadata.is_symlink() {
                std::fs::read_link(&path).unwrap().display().to_string()
            } else if metadata.file_type().is_fifo() {
                "fifo".to_owned()
            } else {
                "other".to_owned()
            };
            let (mode, links) = (metadata.mode(), metadata.nlink());
            let changed = (metadata.mtime(), metadata.mtime_nsec());
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, format!("{mode:o} {links} {changed:?} {content}"));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}
