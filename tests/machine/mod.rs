//! The state machine: operations as octets, a model that knows the promise alone, and a store on a
//! simulated machine that is held to it after every step. Used by `tests/machine.rs` and by the fuzz
//! target `machine`.

mod model;
mod op;
mod run;

pub(crate) use op::Op;
pub(crate) use run::Machine;
