//! Every octet of a small store's files with a bit of it turned, and every length they may be cut
//! to, one after the other and none drawn: what it costs, and whether `verify` says where it is.
//!
//! The quick tier takes one in so many; `EVERY` says one in how many, and 1 is all.

use std::sync::Arc;

use onceward::storage::{SimDisk, Storage};
use onceward::verify_storage;

use crate::costs::{Costs, Seen};
use crate::damage::{Came, assert_none, check_all, each_small, files, small};
use crate::{base_seed, variable};

/// Octets of a file, or lengths of it: one in so many of what is written; of redb's, most of whose
/// pages are unused, fewer, and those that are not zero. What was made ahead is zeros, and one of
/// them as good as another.
fn steps(path: &str, bytes: &[u8]) -> Vec<u64> {
    let quick = if path == "tree.redb" { 997 } else { 17 };
    let every = variable("EVERY").map_or(quick, |every| every.max(1) as usize);
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let counts = |at: &usize| path != "tree.redb" || bytes[*at] != 0;
    let all = (0..written).filter(counts).step_by(every).chain((0..bytes.len()).step_by(16_411));
    all.map(|at| at as u64).collect()
}

/// Holds that `verify` refuses the store, or finds fault in that file, and there where it says where.
fn is_found(disk: &SimDisk, path: &str, at: u64) -> Result<(), String> {
    let storage: Arc<dyn Storage> = Arc::new(disk.fork());
    let Ok(report) = verify_storage(&storage) else { return Ok(()) };
    let here = report.findings.iter().any(|finding| {
        finding.file == path && finding.octets.as_ref().is_none_or(|octets| octets.contains(&at))
    });
    if here { Ok(()) } else { Err(format!("verify finds {:?}", report.findings)) }
}

/// In a store that was closed `verify` names the group of each octet of the log, and anything else of
/// the log and `STORE`. What is not written of redb's file nobody misses, and what ends the log of a
/// store that was killed may be torn.
#[test]
fn each_octet_that_turned_costs_what_stands_there_and_is_found() {
    let seed = base_seed();
    let (mut flipped, mut seen, mut failures) = (0_u64, Seen::default(), Vec::new());
    for (small, closed, with_tree) in each_small(seed) {
        let costs = Costs::of(&small, closed);
        for (path, bytes) in files(&small.disk) {
            for at in steps(&path, &bytes) {
                flipped += 1;
                let disk = small.disk.fork();
                // Each bit of an octet gets its turn, and none is drawn.
                disk.flip_bit(&path, at * 8 + (at / 8 + at) % 8).unwrap();
                let came = check_all(&disk, &small, true, closed);
                let mut held = came.and_then(|came| costs.hold(&path, at, &came, &mut seen));
                if closed && costs.is_known(&path, at) {
                    held = held.and_then(|()| is_found(&disk, &path, costs.told_at(&path, at)));
                }
                if let Err(what) = held {
                    failures.push(format!(
                        "octet {at} of {path}, closed {closed}, with tree {with_tree}: {what}"
                    ));
                }
            }
        }
    }
    println!("figures: {flipped} octets with a bit turned, {} wrong; {seen}", failures.len());
    assert_none(&failures, seed);
}

/// A store whose tree is whole, closed or killed, refuses each of its files that is cut off, unless
/// nothing is lost by that; and `verify` misses what is gone.
#[test]
fn each_length_that_a_file_is_cut_to_is_refused_or_right_and_found() {
    let seed = base_seed();
    let (mut cut, mut refused, mut failures) = (0_u64, 0_u64, Vec::new());
    for closed in [true, false] {
        let small = small(seed, closed);
        let costs = Costs::of(&small, closed);
        for (path, bytes) in files(&small.disk) {
            for len in steps(&path, &bytes) {
                cut += 1;
                let disk = small.disk.fork();
                disk.write_file(&path, &bytes[..len as usize]).unwrap();
                let mut held = check_all(&disk, &small, false, closed).map(|came| {
                    refused += u64::from(matches!(came, Came::Refused(_)));
                });
                if costs.is_known(&path, len) {
                    held = held.and_then(|()| is_found(&disk, &path, len));
                }
                if let Err(what) = held {
                    failures.push(format!("{path} cut to {len}, closed {closed}: {what}"));
                }
            }
        }
    }
    println!("figures: {cut} files cut off, {refused} stores refused, {} wrong", failures.len());
    assert_none(&failures, seed);
}
