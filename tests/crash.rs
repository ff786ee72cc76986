//! The simulated disk ends the world at every operation of random workloads, and the store that
//! comes back keeps its promise: what was acknowledged is there, and nothing is granted twice.
//!
//! `SEED` and `CRASH_AT` replay the workload and the operation that a failure names; `WORKLOADS`,
//! `CRASH_POINTS`, `FAULT_EVERY` (1: every operation fails once), `FLIPS` and `PREFIXES` deepen the
//! search. Keys and salts of a store are random all the same, so a
//! failure that hangs on the order of hashes may want a second run.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "seeds are printed")]

#[path = "crash/call.rs"]
mod call;
#[path = "crash/damage.rs"]
mod damage;
#[cfg(feature = "encrypt")]
#[path = "crash/encrypted.rs"]
mod encrypted;
#[path = "crash/oracle.rs"]
mod oracle;
#[path = "crash/tolerance.rs"]
mod tolerance;
#[path = "crash/workload.rs"]
mod workload;
#[path = "crash/world.rs"]
mod world;

use fastrand::Rng;
use onceward::storage::{Fault, SimDisk};

use oracle::Oracle;
use tolerance::Tolerance;
use workload::Workload;
use world::{KEYS, TTL_MS, Time, Way};

/// Failures of one run that are looked for before it ends.
const FAILURES_MAX: usize = 20;

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn base_seed() -> u64 {
    let seed = variable("SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

/// How long a workload is.
fn length(seed: u64) -> u32 {
    Rng::with_seed(!seed).u32(40..=120)
}

/// Runs the workload of this seed until the power goes at this operation.
fn run_until(seed: u64, crash_at: Option<u64>) -> Result<Workload, String> {
    let mut workload = Workload::begin(seed, Tolerance::None);
    if let Some(operation) = crash_at {
        workload.disk.crash_at(operation);
    }
    workload.run(length(seed))?;
    Ok(workload)
}

/// Comes back from a crash, perhaps crashing again on the way, and uses the store.
fn come_back(
    disk: &SimDisk,
    mut time: Time,
    oracle: &Oracle,
    way: Way,
    rng: &mut Rng,
) -> Result<u64, String> {
    let mut points = 1;
    let mut disk = way.back(disk, &mut time, rng);
    let mut oracle = oracle.clone();
    for _ in 0..rng.u32(..4) {
        // Dies again while it recovers, or just after.
        disk.crash_at(rng.u64(..30));
        let mut again = Workload::new(disk, time, oracle, rng.fork(), Tolerance::None);
        again.open().map_err(|wrong| format!("nested: {wrong}"))?;
        again.end();
        (disk, time, oracle) = (again.disk, again.time, again.oracle);
        let way = Way::draw(rng);
        disk = way.back(&disk, &mut time, rng);
        points += 1;
    }
    if rng.u32(..3) == 0 {
        let ms = [1, 500, TTL_MS + 1][rng.usize(..3)];
        time.advance(ms);
        oracle.now_ms += ms;
    }
    let mut after = Workload::new(disk, time, oracle, rng.fork(), Tolerance::None);
    after.open().map_err(|wrong| format!("reopened: {wrong}"))?;
    use_a_little(&mut after, rng).map_err(|wrong| format!("in use after reopening: {wrong}"))?;
    if rng.bool() {
        after.close().map_err(|wrong| format!("closing: {wrong}"))?;
        after.open().map_err(|wrong| format!("reopened after a close: {wrong}"))?;
    } else {
        after.end();
        let way = Way::draw_loss(rng);
        after.disk = way.back(&after.disk, &mut after.time, rng);
        points += 1;
        after.open().map_err(|wrong| format!("reopened after {way:?} in turn: {wrong}"))?;
    }
    Ok(points)
}

/// Claims every key, and finishes some of what is granted.
fn use_a_little(workload: &mut Workload, rng: &mut Rng) -> Result<(), String> {
    let Some(store) = workload.store.clone() else { return Ok(()) };
    for number in 0..KEYS {
        workload.claim(&store, number)?;
    }
    workload.settle()?;
    for (number, ttl_ms, ticket) in workload.take_tickets() {
        if rng.u32(..4) > 0 {
            workload.finish_ticket(number, ttl_ms, ticket, rng.u32(..10));
        } else {
            workload
                .oracle
                .begun(number, oracle::Fact::InDoubt { until_ms: workload.oracle.now_ms + ttl_ms });
        }
    }
    workload.settle()
}

/// What an operation that ends the world does to the promise, by a few ways back.
fn crash_point(seed: u64, operation: u64) -> Result<u64, String> {
    let mut crashed = run_until(seed, Some(operation))?;
    crashed.end();
    let mut rng = Rng::with_seed(seed ^ operation.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut points = 0;
    let ways = [Way::Total, Way::Kill, Way::draw_loss(&mut rng), Way::draw_loss(&mut rng)];
    for way in ways {
        let time = crashed.time.fork();
        points += come_back(&crashed.disk, time, &crashed.oracle, way, &mut rng)
            .map_err(|wrong| format!("{way:?}: {wrong}"))?;
    }
    Ok(points)
}

#[test]
fn every_operation_is_a_crash_point() {
    crash_points(200, 10_000);
}

/// Crashes at that many points of that many workloads, or as the environment says.
fn crash_points(workloads: u64, wanted: u64) {
    let base = base_seed();
    let workloads = variable("WORKLOADS").unwrap_or(workloads);
    let wanted = variable("CRASH_POINTS").unwrap_or(wanted);
    let only = variable("CRASH_AT");
    let mut points = 0;
    let mut failures = Vec::new();
    for nth in 0..workloads {
        let seed = base.wrapping_add(nth);
        let operations = match run_until(seed, None) {
            Ok(whole) => whole.disk.operations(),
            Err(wrong) => {
                failures.push(format!("SEED={seed} WORKLOADS=1: without any crash, {wrong}"));
                continue;
            }
        };
        let share = (wanted - points.min(wanted)).div_ceil(workloads - nth);
        // Each crash is come back from in several ways, which count.
        let every = (operations * 8 / share.max(1)).max(1);
        let first = Rng::with_seed(seed).u64(..every);
        let mut at = only.unwrap_or(first);
        while at < operations {
            match crash_point(seed, at) {
                Ok(more) => points += more,
                Err(wrong) => {
                    let replay = format!("SEED={seed} CRASH_AT={at} WORKLOADS=1: {wrong}");
                    println!("{replay}");
                    failures.push(replay);
                }
            }
            if only.is_some() {
                break;
            }
            at += every;
        }
        if failures.len() > FAILURES_MAX {
            break;
        }
    }
    assert!(failures.is_empty(), "{points} crash points, and\n{}", failures.join("\n"));
    println!("{points} crash points in {workloads} workloads");
    assert!(only.is_some() || points >= wanted * 9 / 10, "only {points} crash points");
}

/// A store is made by few operations, on which all that follows rests: each of them, often.
#[test]
fn a_store_is_made_whole_or_not_at_all() {
    let base = base_seed();
    for seed in (0..variable("WORKLOADS").unwrap_or(1)).map(|nth| base.wrapping_add(nth)) {
        for at in variable("CRASH_AT").map_or(0..40, |at| at..at + 1) {
            if let Err(wrong) = crash_point(seed, at) {
                panic!("{wrong}\nreplay: SEED={seed} CRASH_AT={at} WORKLOADS=1");
            }
        }
    }
}

/// A device fails once, at any operation. What was refused is not granted and what was seen stays,
/// in the store that goes on, in the one reopened over the same page cache, and after the power
/// went: a failed sync leaves bytes that read back and are on no disk.
#[test]
fn one_failed_operation_costs_at_most_the_writes() {
    failed_operations(4);
}

fn failed_operations(workloads: u64) {
    let base = base_seed();
    let workloads = variable("WORKLOADS").unwrap_or(workloads);
    let every = variable("FAULT_EVERY").unwrap_or(4).max(1);
    let only = variable("CRASH_AT");
    let (mut faults, mut failures) = (0, Vec::new());
    for seed in (0..workloads).map(|nth| base.wrapping_add(nth)) {
        let operations = match run_until(seed, None) {
            Ok(whole) => whole.disk.operations(),
            Err(wrong) => panic!("without any fault: {wrong}\nreplay: SEED={seed} WORKLOADS=1"),
        };
        let (first, step) = only.map_or((seed % every, every), |at| (at, u64::from(u32::MAX)));
        for at in (first..operations.max(first + 1)).step_by(step as usize) {
            faults += 1;
            if let Err(wrong) = failed_operation(seed, at) {
                failures.push(format!("SEED={seed} CRASH_AT={at} WORKLOADS=1: {wrong}"));
            }
        }
        if failures.len() > FAILURES_MAX {
            break;
        }
    }
    assert!(failures.is_empty(), "{faults} faults, and\n{}", failures.join("\n"));
    println!("{faults} faults in {workloads} workloads");
    assert!(faults >= workloads.min(only.map_or(u64::MAX, |_| 1)));
}

fn failed_operation(seed: u64, operation: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed ^ operation.rotate_left(32));
    let mut workload = Workload::begin(seed, Tolerance::Io);
    workload.disk.fail_operation(operation, Fault::Io);
    workload.run(length(seed)).map_err(|wrong| format!("going on: {wrong}"))?;
    workload.look_at_living().map_err(|wrong| format!("still open: {wrong}"))?;
    if workload.store.is_none() {
        // The fault was in a reopening, which gives up after a second attempt.
        return Err("the store does not open again".to_owned());
    }
    // Closing a poisoned store says so, and gives the directory back all the same.
    workload.close()?;
    if rng.bool() {
        workload.open().map_err(|wrong| format!("reopened at once: {wrong}"))?;
        workload.end();
    }
    let time = workload.time.fork();
    let way = Way::draw(&mut rng);
    come_back(&workload.disk, time, &workload.oracle, way, &mut rng)
        .map_err(|wrong| format!("{way:?}: {wrong}"))?;
    Ok(())
}

/// A full disk refuses new claims and nothing else: replays go on, what was granted can finish, at
/// the least without its payload, and when there is space again claims go on, without reopening.
#[test]
fn a_full_disk_refuses_new_claims_alone() {
    let base = base_seed();
    let workloads = variable("WORKLOADS").unwrap_or(20);
    let mut refused = 0;
    for seed in (0..workloads).map(|nth| base.wrapping_add(nth)) {
        match full_disk(seed) {
            Ok(more) => refused += more,
            Err(wrong) => panic!("{wrong}\nreplay: SEED={seed} WORKLOADS=1"),
        }
    }
    println!("{refused} claims and payloads were refused");
    assert!(refused > 0, "the disk was never full");
}

fn full_disk(seed: u64) -> Result<u64, String> {
    let mut workload = Workload::begin(seed, Tolerance::Full);
    let mut rng = Rng::with_seed(seed);
    workload.run(rng.u32(..20))?;
    let taken = |disk: &SimDisk| -> u64 {
        disk.files()
            .iter()
            .map(|path| disk.read_file(path).map_or(0, |file| file.len() as u64))
            .sum()
    };
    workload.disk.set_capacity(Some(taken(&workload.disk) + rng.u64(..20_000)));
    let refused = workload.refused;
    // Long enough for the room made ahead to be used up.
    for _ in 0..200 {
        workload.run(10)?;
        let Some(store) = workload.store.clone() else { return Err("it is closed".to_owned()) };
        if store.stats().poisoned {
            return Err("a full disk has poisoned the store".to_owned());
        }
        if workload.refused > refused + 4 {
            break;
        }
    }
    let refusals = workload.refused - refused;
    // Whatever was granted can finish.
    for (number, ttl_ms, ticket) in workload.take_tickets() {
        let how = [8, 9][rng.usize(..2)];
        workload.finish_ticket(number, ttl_ms, ticket, how);
    }
    let refused = workload.refused;
    workload.settle()?;
    if workload.refused > refused {
        return Err("a tombstone or a release was refused for want of space".to_owned());
    }
    workload.look_at_living()?;
    workload.disk.set_capacity(None);
    let refused = workload.refused;
    // Past every retention all the keys are free again.
    workload.advance(2 * TTL_MS);
    let Some(store) = workload.store.clone() else { return Err("it is closed".to_owned()) };
    for number in 0..KEYS {
        workload.claim(&store, number)?;
    }
    workload.settle()?;
    let granted = workload.take_tickets().len();
    if workload.refused > refused || granted != KEYS {
        return Err(format!("with space again {granted} claims are granted"));
    }
    drop(store);
    workload.close()?;
    workload.open()?;
    Ok(refusals)
}
