//! What is counted: a store without threads whose every step is the same from run to run, and the
//! layer over it.

mod filled;
mod layered;

pub use filled::{Closed, Filled, PAYLOAD, Text, fingerprint, key, payload, text};
pub use layered::Layered;

use std::fmt::Display;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Calls of one benchmark: enough for what happens now and then to weigh as much as it does.
pub const CALLS: u64 = 64;

/// The value, or the end of the run: a benchmark that met a fault has counted nothing.
///
/// # Panics
/// On a fault.
#[track_caller]
pub fn sure<T, E: Display>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// What a future that waits for nobody resolves to.
///
/// # Panics
/// When it waits.
#[track_caller]
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future waits where it should not"),
    }
}
