//! What a simulation did, in figures.

use std::fmt;
use std::ops::AddAssign;

/// Figures of one simulation, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Scripts run.
    pub(crate) scripts: u64,
    /// Operations and reads of the disk since the machine last started.
    pub(crate) operations: u64,
    pub(crate) reads: u64,
    /// Steps of scripts.
    pub(crate) steps: u64,
    /// States of the disk after an end of the world from which a store was opened, and judged.
    pub(crate) points: u64,
    /// Those of them that the last end before had left without the power.
    pub(crate) lossy_points: u64,
    /// Ends of the world, nested ones among them.
    pub(crate) crashes: u64,
    /// Those that came while the store was coming back from another.
    pub(crate) nested: u64,
    /// Those of them that cut off what the store was doing to come back: the others came when it had.
    pub(crate) cut_off: u64,
    /// Those with the power, after which what was not synced may be lost.
    pub(crate) losses: u64,
    /// Operations and reads of the disk that failed.
    pub(crate) faults: u64,
    /// Calls refused for want of space.
    pub(crate) refused: u64,
    /// Futures dropped before they resolved.
    pub(crate) dropped: u64,
    /// Moves of a clock.
    pub(crate) clock: u64,
    pub(crate) granted: u64,
    pub(crate) replayed: u64,
    pub(crate) mismatched: u64,
    /// Waits that resolved.
    pub(crate) waited: u64,
    /// Stores opened whose last segment was long.
    pub(crate) long: u64,
    /// Segments made of the files of retired ones.
    pub(crate) reused: u64,
    /// Steps made while a store was being closed.
    pub(crate) beside: u64,
    /// Verifications that agreed.
    pub(crate) verified: u64,
    /// Bits turned over.
    pub(crate) flips: u64,
    /// All that was asked of the disk, in one number.
    pub(crate) trace: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.scripts += more.scripts;
        self.operations += more.operations;
        self.reads += more.reads;
        self.steps += more.steps;
        self.points += more.points;
        self.lossy_points += more.lossy_points;
        self.crashes += more.crashes;
        self.nested += more.nested;
        self.cut_off += more.cut_off;
        self.losses += more.losses;
        self.faults += more.faults;
        self.refused += more.refused;
        self.dropped += more.dropped;
        self.clock += more.clock;
        self.granted += more.granted;
        self.replayed += more.replayed;
        self.mismatched += more.mismatched;
        self.waited += more.waited;
        self.long += more.long;
        self.reused += more.reused;
        self.beside += more.beside;
        self.verified += more.verified;
        self.flips += more.flips;
        self.trace = self.trace.rotate_left(1) ^ more.trace;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} crash points ({} of a power loss), {} crashes ({} nested, of which {} cut \
             something off; {} with the power), {} faults, {} flipped bits, \
             {} clock moves, {} dropped futures, {} waits, {} refusals, {} long segments, {} reused, {} steps beside a close, {} verified",
            self.scripts,
            self.points,
            self.lossy_points,
            self.crashes,
            self.nested,
            self.cut_off,
            self.losses,
            self.faults,
            self.flips,
            self.clock,
            self.dropped,
            self.waited,
            self.refused,
            self.long,
            self.reused,
            self.beside,
            self.verified
        )
    }
}
