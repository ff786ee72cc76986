//! Whole stores on simulated machines, run by scripts that are drawn from seeds: every crash, power
//! loss, fault, rotten bit and jump of a clock that the promise (P0) is made against, in any mixture.
//! What comes back is held to the promise by an oracle that knows nothing of the engine.
//!
//! A seed always gives the same run, to the bit. `SEED` replays the one a failure names, or draws
//! fresh ones when it is `random`; a failing script is cut down to a small one before it is shown.
//! `SCRIPTS`, `SECONDS`, `FAULT_EVERY`, `FLIPS` and `PREFIXES` deepen the search: docs/reliability.md.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "seeds are printed")]

#[path = "sim/call.rs"]
mod call;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/damage.rs"]
mod damage;
#[path = "sim/found.rs"]
mod found;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/planted.rs"]
mod planted;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/script.rs"]
mod script;
#[path = "sim/shrink.rs"]
mod shrink;
#[path = "sim/tally.rs"]
mod tally;
#[path = "sim/world.rs"]
mod world;

use std::time::{Duration, Instant};

use run::run;
use script::Script;
use shrink::shrink;
use tally::Tally;

/// The seed when nobody names one: runs on every change fail for a reason, not by the luck of a draw.
const SEED: u64 = 20_260_101;

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

/// Runs the script, and panics with a small one that fails as well.
fn hold(script: &Script) -> Tally {
    match run(script) {
        Ok(tally) => tally,
        Err(wrong) => {
            println!("SEED={} fails: {wrong}", script.seed);
            let (small, wrong) = shrink(script, wrong);
            panic!("{wrong}\nreplay: SEED={} SCRIPTS=1\n{small}", script.seed)
        }
    }
}

/// Runs scripts of seeds from `base` on, `count` of them or for as long as `seconds` says.
fn hold_many(base: u64, count: u64, seconds: Option<u64>) -> Tally {
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut all = Tally::default();
    for nth in 0.. {
        let enough = until.map_or(nth >= count, |until| Instant::now() >= until);
        if enough {
            break;
        }
        all += hold(&Script::draw(base.wrapping_add(nth)));
    }
    all
}

/// P0, all of it, under everything at once.
#[test]
fn p0_holds_whatever_happens() {
    let tally = hold_many(base_seed(), variable("SCRIPTS").unwrap_or(300), variable("SECONDS"));
    println!("{tally:?}");
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
