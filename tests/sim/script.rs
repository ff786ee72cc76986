//! What a simulation does, as data: a script can be drawn from a seed, run again, and cut down to
//! what still shows a failure.

use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use onceward::storage::{Fault, SimDisk};

use crate::world::TTL_MS;

/// A whole simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Of everything that is drawn while it runs: what the disk keeps, secrets, payloads.
    pub(crate) seed: u64,
    /// How many keys there are.
    pub(crate) keys: usize,
    pub(crate) buffered: bool,
    pub(crate) max_disk: Option<u64>,
    /// How many records the index keeps, when that is not left to its budget.
    pub(crate) resident: Option<u64>,
    /// Bytes of a segment.
    pub(crate) segment: u64,
    /// The world ends on the side, too, at one in so many operations of the disk; for zero at none.
    pub(crate) aside_one_in: u64,
    pub(crate) ops: Vec<Op>,
}

/// As code, to be kept as a test.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, keys, buffered, max_disk, resident, segment, aside_one_in, ops } = self;
        writeln!(
            f,
            "Script {{ seed: {seed}, keys: {keys}, buffered: {buffered}, max_disk: {max_disk:?}, \
             resident: {resident:?}, segment: {segment}, aside_one_in: {aside_one_in}, ops: vec!["
        )?;
        for op in ops {
            writeln!(f, "    {op:?},")?;
        }
        write!(f, "] }}")
    }
}

/// One step of a simulation. An `nth` counts among what there is when its turn comes, and wraps
/// around, so that a script still means something when a part of it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A claim is begun, and polled once. One that finds the key in flight may wait.
    Claim {
        key: usize,
        print: usize,
        ttl_ms: u64,
        patience: Patience,
    },
    /// A ticket is used up; or dropped.
    Finish {
        nth: usize,
        how: How,
    },
    /// A future is dropped, wherever it is.
    DropCall {
        nth: usize,
    },
    /// A resolution is begun.
    Resolve {
        key: usize,
        how: How,
    },
    Get {
        key: usize,
    },
    /// Everything moves until nothing moves, and every key is looked at.
    Look,
    /// One piece of the threads' work.
    Step,
    /// Everything moves until nothing moves.
    Settle,
    Checkpoint,
    Sweep,
    /// A round of the housekeeper.
    Keep {
        round: u32,
    },
    /// Time passes on every clock, the machine asleep or not.
    Advance {
        ms: u64,
    },
    /// The last moment of a record comes, or all but; it is there; and perhaps passes.
    LastMoment {
        early_ms: u64,
        passes: bool,
    },
    /// The wall clock is set.
    Wall {
        by_ms: i64,
    },
    /// The store is closed, verified and opened again. While it is being closed others make these
    /// steps, each after it has come to so many locks more.
    Reopen {
        reboot: bool,
        asleep_ms: u64,
        beside: Vec<(u64, Op)>,
    },
    /// The world ends at the `after`th operation of the disk from here, or at the next crash; and
    /// ends again while it is coming back, as often as `nested` says.
    Crash {
        after: u64,
        end: End,
        nested: Vec<(u64, End)>,
    },
    /// The `after`th operation of the disk from here fails.
    Fail {
        after: u64,
        fault: Fault,
    },
    /// The `after`th read of the disk from here fails.
    FailRead {
        after: u64,
        fault: Fault,
    },
    /// The disk has that much more room; or as much as one likes.
    Capacity {
        slack: Option<u64>,
    },
    /// Bits of the store's files turn over while it is closed, or before; and it is opened again.
    Rot {
        seed: u64,
        bits: u32,
        live: bool,
    },
}

/// How long a claim waits that finds its key in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    No,
    /// Until a deadline that has passed already.
    Past,
    Long,
}

/// How a claim is ended, or a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Complete(usize),
    Note(usize),
    Release,
    Drop,
}

/// How the world ends, and what passes before somebody comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) way: Way,
    pub(crate) reboot: bool,
    pub(crate) asleep_ms: u64,
}

/// What a crash leaves of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The process was killed: the page cache is whole.
    Kill,
    /// The power went, and nothing is left that was not synced.
    Total,
    /// The power went, and what is left follows from the seed.
    Loss(u64),
    /// The same, torn at this many bytes.
    Torn(u64, u64),
}

impl Way {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.u32(..8) {
            0 | 1 => Self::Kill,
            2 => Self::Total,
            3..=5 => Self::Loss(rng.u64(..)),
            _ => Self::Torn(rng.u64(..), [1, 8, 512][rng.usize(..3)]),
        }
    }

    /// The machine that comes back.
    pub(crate) fn back(self, disk: &SimDisk) -> Arc<SimDisk> {
        Arc::new(match self {
            Self::Kill => disk.kill(),
            Self::Total => disk.power_loss_total(),
            Self::Loss(seed) => disk.power_loss(seed),
            Self::Torn(seed, grain) => disk.power_loss_torn(seed, grain),
        })
    }
}

impl End {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let way = Way::draw(rng);
        let reboot = way != Way::Kill && rng.u32(..4) > 0;
        let asleep_ms = [0, 0, 0, 0, 1, 500, 3_000, TTL_MS + 1][rng.usize(..8)];
        Self { way, reboot, asleep_ms }
    }
}

impl Script {
    /// The script of this seed without what fails by itself: a ground for one fault at a time.
    pub(crate) fn draw_calm(seed: u64) -> Self {
        Self::draw(seed).calm()
    }

    /// Without what fails and ends.
    pub(crate) fn calm(mut self) -> Self {
        self.max_disk = None;
        self.ops.retain(|op| {
            !matches!(
                op,
                Op::Crash { .. }
                    | Op::Fail { .. }
                    | Op::FailRead { .. }
                    | Op::Capacity { .. }
                    | Op::Rot { .. }
            )
        });
        self
    }

    /// The same, with ends of the world on the side.
    pub(crate) fn with_asides(self, one_in: u64) -> Self {
        Self { aside_one_in: one_in, ..self }
    }

    /// The same, with this before everything else: counted from when the store is made.
    pub(crate) fn after(&self, op: Op) -> Self {
        let mut script = self.clone();
        script.ops.insert(0, op);
        script
    }
}
