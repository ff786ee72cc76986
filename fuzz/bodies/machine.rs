//! The state machine: any sequence of operations, crashes and clock steps keeps the promise (P0).
//! The model and the store's driver are those of `tests/machine.rs`.
#![allow(clippy::unwrap_used, reason = "a fuzz target fails by panicking")]

#[path = "../../tests/machine/mod.rs"]
mod machine;

use machine::{Machine, Op};

/// Operations of one sequence, at most: what goes wrong does so in fewer.
const OPERATIONS_MAX: usize = 120;

pub(crate) fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut machine = Machine::new(first % 4 == 3);
    for octets in rest.as_chunks::<{ Op::LEN }>().0.iter().take(OPERATIONS_MAX) {
        let op = Op::decode(*octets);
        if let Err(wrong) = machine.step(op) {
            panic!("{op:?}: {wrong}");
        }
    }
}
