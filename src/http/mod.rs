//! The HTTP layer: a tower middleware over any [`Backend`](crate::Backend).

mod body;
mod outcome;

pub use body::{Body, BoxError};
pub use outcome::{Decision, Idempotency, Ignored, Outcome};
