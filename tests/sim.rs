//! Whole stores on simulated machines, run by scripts that are drawn from seeds: every crash, power
//! loss, fault, rotten bit and jump of a clock that the promise (P0) is made against, in any mixture.
//! What comes back is held to the promise by an oracle that knows nothing of the engine.
//!
//! A seed always gives the same run, to the bit. `SEED` replays the one a failure names, or draws
//! fresh ones when it is `random`; a failing script is cut down to a small one before it is shown.
//! `SCRIPTS`, `BUDGET_SECONDS`, `THREADS`, `EVERY`, `FLIPS` and `PREFIXES` deepen the search, as
//! docs/reliability.md says.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "seeds are printed")]

#[path = "sim/aside.rs"]
mod aside;
#[path = "sim/beside.rs"]
mod beside;
#[path = "sim/call.rs"]
mod call;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/costs.rs"]
mod costs;
#[path = "sim/damage.rs"]
mod damage;
#[path = "sim/draw.rs"]
mod draw;
#[cfg(feature = "encrypt")]
#[path = "sim/encrypted.rs"]
mod encrypted;
#[path = "sim/ends.rs"]
mod ends;
#[path = "sim/fact.rs"]
mod fact;
#[path = "sim/found.rs"]
mod found;
#[path = "sim/known.rs"]
mod known;
#[path = "sim/many.rs"]
mod many;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/planted.rs"]
mod planted;
#[path = "sim/reuse.rs"]
mod reuse;
#[path = "sim/rot.rs"]
mod rot;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/script.rs"]
mod script;
#[path = "sim/shrink.rs"]
mod shrink;
#[path = "sim/tally.rs"]
mod tally;
#[path = "sim/walk.rs"]
mod walk;
#[path = "sim/world.rs"]
mod world;

use onceward::storage::Fault;

use many::{each_seed, hold};
use run::run;
use script::{End, Op, Script, Way};
use tally::Tally;

/// The seed when nobody names one: runs on every change fail for a reason, not by the luck of a draw.
const SEED: u64 = 20_260_101;

/// How many scripts the quick search runs; each planted bug must show within as many of the same.
const SCRIPTS: u64 = 1_700;

/// One operation of the disk in so many is where the world ends on the side.
const ASIDE_ONE_IN: u64 = 12;

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn base_seed() -> u64 {
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..) >> 16,
        Ok(text) => text.parse().expect("SEED is a number, or `random`"),
        Err(_) => SEED,
    };
    println!("SEED={seed}");
    seed
}

/// P0, all of it, under everything at once.
#[test]
fn p0_holds_whatever_happens() {
    let tally = each_seed(SCRIPTS, |seed| hold(&Script::draw(seed).with_asides(ASIDE_ONE_IN)));
    if tally.scripts < 300 {
        // A replay, which meets what it meets.
        return;
    }
    let met = [
        ("crash points", tally.points, 100),
        ("crash points after a power loss", tally.lossy_points, 75),
        ("nested crashes that cut something off", tally.cut_off, 50),
        ("power losses", tally.losses, 5),
        ("clock moves", tally.clock, 10),
        ("verifications", tally.verified, 1),
    ];
    for (what, count, each) in met {
        let least = tally.scripts * each / 2;
        assert!(count >= least, "{count} {what} in {} scripts, not {least}", tally.scripts);
    }
    for (what, count) in [
        ("faults", tally.faults),
        ("refusals for want of space", tally.refused),
        ("dropped futures", tally.dropped),
        ("replays", tally.replayed),
        ("mismatches", tally.mismatched),
        ("waits that ended", tally.waited),
        ("flipped bits", tally.flips),
        ("long segments", tally.long),
        ("steps beside a close", tally.beside),
    ] {
        assert!(count * 30 >= tally.scripts, "{count} {what} in {} scripts", tally.scripts);
    }
}

/// The world ends at each operation of a store's making, by every way there is and again on the way
/// back: there is a store, or none, and never half of one.
#[test]
fn p0_holds_wherever_making_a_store_is_cut_off() {
    each_seed(1, |seed| {
        let mut all = Tally::default();
        let mut rng = fastrand::Rng::with_seed(seed);
        let script = Script { keys: world::KEYS, ops: Vec::new(), ..Script::draw_calm(seed) };
        for after in 0..40 {
            let ways = [Way::Kill, Way::Total, Way::Loss(rng.u64(..)), Way::Torn(rng.u64(..), 1)];
            for way in ways {
                let nested = (0..rng.usize(..5)).map(|_| (rng.u64(..40), End::draw(&mut rng)));
                let nested = nested.collect();
                let end = End { way, ..End::draw(&mut rng) };
                all += hold(&script.after(Op::Crash { after, end, nested }));
            }
        }
        all
    });
}

/// Of a few workloads, each operation is where the world ends once.
#[test]
fn p0_holds_at_every_crash_point() {
    every_crash_point(4);
}

fn every_crash_point(workloads: u64) -> Tally {
    every_crash_point_of(workloads, Script::draw_calm)
}

fn every_crash_point_of(workloads: u64, draw: fn(u64) -> Script) -> Tally {
    let every = variable("EVERY").unwrap_or(3).max(1);
    each_seed(workloads, |seed| {
        let mut all = Tally::default();
        let script = draw(seed);
        let operations = hold(&script).operations;
        let mut rng = fastrand::Rng::with_seed(seed);
        for after in (seed % every..operations).step_by(every as usize) {
            let (end, nested) = (End::draw(&mut rng), Vec::new());
            all += hold(&script.after(Op::Crash { after, end, nested }));
        }
        all
    })
}

/// Stores in a steady state, whose segments are made of the files of retired ones: whatever is read
/// meanwhile, and wherever the world ends.
#[test]
fn p0_holds_where_files_of_retired_segments_are_used_again() {
    let tally = each_seed(25, |seed| {
        let mut all = hold(&Script::draw_steady(seed).with_asides(4));
        all += hold(&Script::draw_steady_and_cut_off(seed));
        all
    });
    assert!(tally.reused >= tally.scripts, "{} reused in {} runs", tally.reused, tally.scripts);
}

/// Of a store in a steady state, each operation is where the world ends once.
#[test]
fn p0_holds_at_every_crash_point_of_a_steady_store() {
    let tally = every_crash_point_of(1, Script::draw_steady);
    assert!(tally.reused >= tally.scripts / 2, "{} reused in {} runs", tally.reused, tally.scripts);
}

/// Of a few workloads, each operation and each read fails once (EIO, or no space in the middle of a
/// write): at most the writes end; what was refused is not granted, and what was seen stays.
#[test]
fn c35_one_failed_call_costs_at_most_the_writes() {
    every_failed_call(3);
}

fn every_failed_call(workloads: u64) {
    let every = variable("EVERY").unwrap_or(3).max(1);
    let all = each_seed(workloads, |seed| {
        let mut all = Tally::default();
        let script = Script::draw_calm(seed);
        let Tally { operations, reads, .. } = hold(&script);
        let mut rng = fastrand::Rng::with_seed(seed);
        for after in (seed % every..operations).step_by(every as usize) {
            let fault = if after % 4 == 3 { Fault::Full } else { Fault::Io };
            let mut script = script.after(Op::Fail { after, fault });
            if after % 2 == 0 {
                // What a failed sync left readable goes with the power.
                let (end, nested) = (End::draw(&mut rng), Vec::new());
                script.ops.extend([Op::Look, Op::Crash { after: 0, end, nested }]);
            }
            all += hold(&script);
        }
        for after in (seed % every..reads).step_by(every as usize) {
            all += hold(&script.after(Op::FailRead { after, fault: Fault::Io }));
        }
        all
    });
    assert!(all.faults >= all.scripts / 2, "{} faults in {} runs", all.faults, all.scripts);
}

/// A run is the same run again: whatever is asked of the disk, to the bit and in its order.
#[test]
fn a_seed_is_the_same_run_to_the_bit() {
    let base = base_seed();
    for seed in (0..20).map(|nth| base.wrapping_add(nth)) {
        let script = Script::draw(seed);
        let (one, two) = (run(&script), run(&script));
        assert_eq!(one, two, "SEED={seed}");
    }
    let different = run(&Script::draw(base)).map(|tally| tally.trace)
        != run(&Script::draw(base.wrapping_add(1))).map(|tally| tally.trace);
    assert!(different, "two seeds gave one trace: it tells nothing");
}
