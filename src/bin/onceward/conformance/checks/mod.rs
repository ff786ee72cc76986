//! The checks, by theme: each a small function with the numbers it shows.

mod callers;
mod expiry;
mod keys;
mod progress;
mod replay;
mod requests;
mod responses;
mod statuses;

use std::pin::Pin;

use super::suite::{Checked, Suite};

/// A check under way.
pub(crate) type Running<'s> = Pin<Box<dyn Future<Output = Checked> + Send + 's>>;

/// A check.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    /// The requirements it shows.
    pub(crate) numbers: &'static [&'static str],
    /// What it shows, for a reader.
    pub(crate) what: &'static str,
    /// Does it.
    pub(crate) run: for<'s> fn(&'s Suite) -> Running<'s>,
}

/// A list of checks: the numbers, what they say, the function.
macro_rules! checks {
    ($([$($number:literal)*] $what:literal $run:ident;)*) => {
        pub(super) const CHECKS: &[super::Check] = &[$(super::Check {
            numbers: &[$($number),*],
            what: $what,
            run: |suite| Box::pin($run(suite)),
        }),*];
    };
}
use checks;

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Check> {
    let themes = [
        replay::CHECKS,
        keys::CHECKS,
        callers::CHECKS,
        requests::CHECKS,
        statuses::CHECKS,
        responses::CHECKS,
        progress::CHECKS,
        expiry::CHECKS,
    ];
    themes.concat()
}
