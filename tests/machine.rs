//! Any sequence of operations, with crashes and clock steps between them, keeps the promise (P0): the
//! state machine of `tests/machine/` under a property test that shrinks what it finds.
//!
//! The sequences are the same in every run. `SEED=random` draws others and `SEED=<number>` names them;
//! `CASES` and `STEPS` make them more and longer.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "seeds are printed")]

#[path = "machine/mod.rs"]
mod machine;

use machine::{Machine, Op};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

/// A number from the environment.
fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What the sequences are drawn from. The model needs answers, which only the store has: it is with
/// the store, in [`Machine`].
struct Sequences;

#[derive(Clone, Debug)]
struct Begin {
    buffered: bool,
}

impl ReferenceStateMachine for Sequences {
    type State = Begin;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Begin> {
        prop::bool::weighted(0.2).prop_map(|buffered| Begin { buffered }).boxed()
    }

    fn transitions(_: &Begin) -> BoxedStrategy<Op> {
        any::<[u8; Op::LEN]>().prop_map(Op::decode).boxed()
    }

    fn apply(state: Begin, _: &Op) -> Begin {
        state
    }
}

struct Test;

impl StateMachineTest for Test {
    type SystemUnderTest = Machine;
    type Reference = Sequences;

    fn init_test(begin: &Begin) -> Machine {
        Machine::new(begin.buffered)
    }

    fn apply(mut machine: Machine, _: &Begin, op: Op) -> Machine {
        if let Err(wrong) = machine.step(op) {
            panic!("{op:?}: {wrong}");
        }
        machine
    }
}

#[test]
fn p0_any_sequence_of_operations_crashes_and_clock_steps_keeps_the_promise() {
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..),
        _ => variable("SEED", 1),
    };
    println!("SEED={seed}");
    let steps = variable("STEPS", 80) as usize;
    let config = ProptestConfig {
        cases: variable("CASES", 300) as u32,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config.clone());
    let sequences = Sequences::sequential_strategy(1..steps);
    let ran = runner.run(&sequences, |(begin, ops, seen)| {
        Test::test_sequential(config.clone(), begin, ops, seen);
        Ok(())
    });
    if let Err(wrong) = ran {
        panic!("{wrong}\nreplay: SEED={seed}");
    }
}
