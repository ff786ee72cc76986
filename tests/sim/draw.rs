//! Scripts drawn from seeds.

use fastrand::Rng;
use onceward::NOTE_OCTETS_MAX;
use onceward::storage::Fault;

use crate::script::{End, How, Op, Patience, Script, Way};
use crate::world::{KEYS, LONG_SEGMENT, SEGMENT, TTL_MS};

/// Ten years, in milliseconds.
const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// What a script has much of, for what takes that to show: one script in ten leans to one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lean {
    /// Keys claimed again whose records the tree alone has.
    Spilled,
    /// Many claims in flight on a disk that fills up.
    Full,
    /// Bits that turn over.
    Rot,
    /// Checkpoints of what is not synced.
    Buffered,
    /// Segments given back to the disk, while claims made in them are in flight.
    GivenBack,
    /// A device that fails.
    Failing,
    /// As much expiring as is written, so that files of segments are written again.
    Steady,
}

impl Lean {
    fn draw(seed: u64) -> Option<Self> {
        let mut rng = Rng::with_seed(seed ^ 0x6c65_616e);
        let leans = [
            Self::Spilled,
            Self::Full,
            Self::Rot,
            Self::Buffered,
            Self::GivenBack,
            Self::Failing,
            Self::Steady,
        ];
        (rng.u32(..10) == 0).then(|| leans[rng.usize(..leans.len())])
    }

    /// How often this kind comes at the least.
    fn least(self, kind: Kind) -> u32 {
        match (self, kind) {
            (Self::Spilled | Self::Buffered, Kind::Checkpoint)
            | (Self::Buffered, Kind::Crash)
            | (Self::GivenBack, Kind::Sweep) => 12,
            (Self::Full, Kind::Capacity) => 4,
            (Self::Spilled, Kind::Keep) | (Self::Rot, Kind::Rot) | (Self::Failing, Kind::Fail) => 8,
            _ => 0,
        }
    }
}

/// What a script is drawn from: some kinds of steps not at all, others more often.
struct Drawing {
    rng: Rng,
    /// Size of payloads: small, mixed, large; and what fills long segments.
    large: u32,
    /// Whether all claims bear one fingerprint.
    one_print: bool,
    nested_max: usize,
    keys: usize,
    segment: u64,
    /// Of what happens while the store closes.
    beside: Rng,
    lean: Option<Lean>,
}

/// Which kinds of steps there are, and how often each comes as a rule.
const KINDS: [(Kind, u32); 19] = [
    (Kind::Claim, 34),
    (Kind::Finish, 26),
    (Kind::Settle, 14),
    (Kind::Step, 5),
    (Kind::DropCall, 3),
    (Kind::Resolve, 6),
    (Kind::Get, 4),
    (Kind::Look, 4),
    (Kind::Checkpoint, 4),
    (Kind::Sweep, 4),
    (Kind::Keep, 3),
    (Kind::Advance, 4),
    (Kind::LastMoment, 3),
    (Kind::Wall, 1),
    (Kind::Reopen, 2),
    (Kind::Crash, 12),
    (Kind::Fail, 1),
    (Kind::Capacity, 1),
    (Kind::Rot, 0),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Claim,
    Finish,
    Settle,
    Step,
    DropCall,
    Resolve,
    Get,
    Look,
    Checkpoint,
    Sweep,
    Keep,
    Advance,
    LastMoment,
    Wall,
    Reopen,
    Crash,
    Fail,
    Capacity,
    Rot,
}

impl Script {
    /// The script of this seed. Kinds of steps come and go between scripts, for what takes many of
    /// one kind in a row to show does not show where all kinds are mixed evenly.
    pub(crate) fn draw(seed: u64) -> Self {
        match Lean::draw(seed) {
            Some(Lean::Steady) => Self::draw_steady_and_cut_off(seed),
            lean => Self::draw_leaning(seed, lean),
        }
    }

    /// The same, leaning to something or to nothing.
    pub(crate) fn draw_leaning(seed: u64, lean: Option<Lean>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let buffered = rng.u32(..5) == 0 || lean == Some(Lean::Buffered);
        // One store in twelve has segments that are long, of which the last is read where it stands
        // when it is opened, and not written again as a whole.
        let segment = if rng.u32(..12) == 0 { LONG_SEGMENT } else { SEGMENT };
        let max_disk =
            (rng.u32(..10) == 0).then(|| rng.u64(1_700_000..2_400_000) + 4 * (segment - SEGMENT));
        let keys = if rng.u32(..8) == 0 || lean == Some(Lean::Full) { 40 } else { KEYS };
        // Half of the stores keep next to nothing in memory: what is checkpointed leaves it in the
        // next round of the housekeeper.
        let mut memory = Rng::with_seed(seed ^ 0x6d65_6d6f_7279);
        let resident = memory.bool().then(|| [0, 0, 1, 4][memory.usize(..4)]);
        let resident = if lean == Some(Lean::Spilled) { Some(0) } else { resident };
        let mut weights = KINDS.map(|(kind, weight)| match kind {
            Kind::Checkpoint | Kind::Keep if resident.is_some() => (kind, 8),
            Kind::Claim | Kind::Finish | Kind::Settle => (kind, weight),
            // Not every script has them: whatever fails hides what comes after it.
            Kind::Fail | Kind::Capacity => (kind, if rng.u32(..3) == 0 { 3 } else { 0 }),
            Kind::Rot => (kind, if rng.u32(..5) == 0 { 2 } else { 0 }),
            _ => (kind, weight * [0, 1, 1, 3][rng.usize(..4)]),
        });
        if let Some((_, weight)) = weights.iter_mut().find(|(kind, _)| *kind == Kind::Crash) {
            *weight = (*weight).max(2);
        }
        if let Some(lean) = lean {
            weights = weights.map(|(kind, weight)| (kind, weight.max(lean.least(kind))));
        }
        let mut drawing = Drawing {
            large: if segment > SEGMENT { 3 } else { [0, 1, 1, 2][rng.usize(..4)] },
            one_print: rng.bool(),
            nested_max: rng.usize(..5),
            keys,
            segment,
            beside: Rng::with_seed(seed ^ 0x6265_7369_6465),
            rng,
            lean,
        };
        let length = drawing.rng.usize(20..100);
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut ops = Vec::with_capacity(length);
        while ops.len() < length {
            let mut at = drawing.rng.u32(..total);
            let mut kind = Kind::Claim;
            for (other, weight) in &weights {
                if at < *weight {
                    kind = *other;
                    break;
                }
                at -= weight;
            }
            drawing.step(kind, &mut ops);
        }
        Self { seed, keys, buffered, max_disk, resident, segment, aside_one_in: 0, ops }
    }
}

impl Drawing {
    fn step(&mut self, kind: Kind, ops: &mut Vec<Op>) {
        let rng = &mut self.rng;
        let gives_back_one_in = if self.lean == Some(Lean::GivenBack) { 2 } else { 4 };
        let op = match kind {
            Kind::Claim => {
                let print = if self.one_print { 0 } else { usize::from(rng.u32(..6) == 0) };
                let ttl_ms = if rng.u32(..5) == 0 { 2_500 } else { TTL_MS };
                let patience = match rng.u32(..6) {
                    0 => Patience::Past,
                    1..=3 => Patience::Long,
                    _ => Patience::No,
                };
                Op::Claim { key: rng.usize(..self.keys), print, ttl_ms, patience }
            }
            Kind::Finish => {
                let nth = rng.usize(..16);
                let how = match rng.u32(..12) {
                    0 => How::Note([0, 1, 16, NOTE_OCTETS_MAX][rng.usize(..4)]),
                    1 => How::Release,
                    2 => How::Drop,
                    _ => How::Complete(self.length()),
                };
                Op::Finish { nth, how }
            }
            Kind::Settle => Op::Settle,
            Kind::Step => Op::Step,
            Kind::DropCall => Op::DropCall { nth: rng.usize(..16) },
            Kind::Resolve => {
                let key = rng.usize(..self.keys);
                let how = if rng.bool() { How::Release } else { How::Complete(self.length()) };
                Op::Resolve { key, how }
            }
            Kind::Get => Op::Get { key: rng.usize(..self.keys) },
            Kind::Look => Op::Look,
            Kind::Checkpoint if self.lean == Some(Lean::Spilled) && rng.u32(..3) == 0 => {
                return self.claimed_again(ops);
            }
            Kind::Checkpoint => Op::Checkpoint,
            Kind::Sweep if rng.u32(..gives_back_one_in) == 0 => return self.giving_back(ops),
            Kind::Sweep => Op::Sweep,
            Kind::Keep => Op::Keep { round: [1, 4, 40][rng.usize(..3)] },
            Kind::Advance => {
                Op::Advance { ms: [1, 40, 700, 3_000, TTL_MS + 1, 3 * TTL_MS][rng.usize(..6)] }
            }
            Kind::LastMoment => {
                Op::LastMoment { early_ms: [0, 0, 1, 50, 150][rng.usize(..5)], passes: rng.bool() }
            }
            Kind::Wall => {
                let by_ms = [-TEN_YEARS_MS, TEN_YEARS_MS, 1_000, -1_000, 60_000][rng.usize(..5)];
                Op::Wall { by_ms }
            }
            Kind::Reopen => {
                let (reboot, asleep_ms) = (rng.u32(..4) == 0, [0, 0, 700][rng.usize(..3)]);
                Op::Reopen { reboot, asleep_ms, beside: self.beside() }
            }
            Kind::Crash => {
                let after = if rng.u32(..3) == 0 { 0 } else { rng.u64(..25) };
                let nested = (0..rng.usize(..=self.nested_max))
                    .map(|_| (rng.u64(..45), End::draw(rng)))
                    .collect();
                Op::Crash { after, end: End::draw(rng), nested }
            }
            Kind::Fail => {
                let fault = if rng.u32(..4) == 0 { Fault::Full } else { Fault::Io };
                if rng.bool() {
                    return self.failing_commit(ops);
                }
                if rng.u32(..3) == 0 {
                    Op::FailRead { after: rng.u64(..30), fault: Fault::Io }
                } else {
                    Op::Fail { after: rng.u64(..20), fault }
                }
            }
            Kind::Capacity if self.keys > KEYS && rng.bool() => return self.filling_up(ops),
            Kind::Capacity => {
                let slack = (rng.u32(..4) > 0).then(|| rng.u64(..60_000));
                Op::Capacity { slack }
            }
            Kind::Rot => Op::Rot { seed: rng.u64(..), bits: rng.u32(1..4), live: rng.bool() },
        };
        ops.push(op);
    }

    /// A commit meets a device that fails, somebody looks, and the power goes: what a failed sync
    /// left readable is gone then.
    fn failing_commit(&mut self, ops: &mut Vec<Op>) {
        self.step(Kind::Claim, ops);
        self.step(Kind::Claim, ops);
        ops.push(Op::Settle);
        ops.push(Op::Fail { after: self.rng.u64(..3), fault: Fault::Io });
        self.step(Kind::Finish, ops);
        self.step(Kind::Finish, ops);
        ops.push(Op::Settle);
        ops.push(Op::Look);
        let mut end = End::draw(&mut self.rng);
        if end.way == Way::Kill {
            end.way = Way::Total;
        }
        ops.push(Op::Crash { after: 0, end, nested: Vec::new() });
    }

    /// A segment is given back, for all that was in it has expired; and the power goes before
    /// anything else is written, or as it is.
    fn giving_back(&mut self, ops: &mut Vec<Op>) {
        let leaning = self.lean == Some(Lean::GivenBack);
        if leaning {
            self.step(Kind::Claim, ops);
            ops.push(Op::Settle);
        }
        for nth in 0..4 {
            // The oldest claim stays in flight.
            let nth = if leaning { 1 } else { nth };
            let (key, patience) = (self.rng.usize(..self.keys), Patience::No);
            ops.push(Op::Claim { key, print: 0, ttl_ms: TTL_MS, patience });
            ops.push(Op::Settle);
            // What there is of a segment, in four: the last begins another.
            let len = self.rng.usize(10_000..30_000) * (self.segment / SEGMENT) as usize;
            ops.push(Op::Finish { nth, how: How::Complete(len) });
            ops.push(Op::Settle);
        }
        ops.push(Op::Advance { ms: TTL_MS + 1 });
        ops.push(Op::Sweep);
        let after = self.rng.u64(..3);
        ops.push(Op::Crash { after, end: End::draw(&mut self.rng), nested: Vec::new() });
    }

    /// A key is claimed again after its record, which the tree alone has, expired and was not swept;
    /// and the tree alone has the newer one, too.
    fn claimed_again(&mut self, ops: &mut Vec<Op>) {
        let (key, patience) = (self.rng.usize(..self.keys), Patience::No);
        for _ in 0..2 {
            ops.push(Op::Advance { ms: TTL_MS + 1 });
            ops.push(Op::Claim { key, print: 0, ttl_ms: TTL_MS, patience });
            ops.push(Op::Settle);
            // The ticket is the last of those there are, whose number is not known here.
            for nth in 0..3 {
                ops.push(Op::Finish { nth, how: How::Complete(self.length()) });
            }
            ops.extend([Op::Settle, Op::Checkpoint, Op::Keep { round: 1 }]);
        }
        ops.push(Op::Get { key });
    }

    /// A disk fills up while many claims are in flight, all of which end in as many octets as an
    /// end may have.
    fn filling_up(&mut self, ops: &mut Vec<Op>) {
        ops.push(Op::Capacity { slack: Some(self.rng.u64(..60_000)) });
        for nth in 0..self.keys {
            let (key, patience) = ((nth * 7) % self.keys, Patience::No);
            ops.push(Op::Claim { key, print: 0, ttl_ms: TTL_MS, patience });
            if nth < 14 {
                ops.push(Op::Settle);
                ops.push(Op::Finish { nth, how: How::Complete(self.rng.usize(10_000..50_000)) });
                ops.push(Op::Settle);
            }
        }
        ops.push(Op::Settle);
        for nth in 0..self.keys {
            let how = if nth % 8 == 7 { How::Release } else { How::Note(NOTE_OCTETS_MAX) };
            ops.push(Op::Finish { nth, how });
        }
        ops.push(Op::Settle);
    }

    /// What others do while the store closes: nothing, in one close of four.
    fn beside(&mut self) -> Vec<(u64, Op)> {
        std::mem::swap(&mut self.rng, &mut self.beside);
        let mut ops = Vec::new();
        if self.rng.u32(..4) > 0 {
            let apart = [4, 12, 40][self.rng.usize(..3)];
            for _ in 0..self.rng.usize(1..16) {
                let kind = match self.rng.u32(..24) {
                    0..=8 => Kind::Claim,
                    9..=14 => Kind::Finish,
                    15..=16 => Kind::Get,
                    17 => Kind::DropCall,
                    18..=19 => Kind::Resolve,
                    20..=21 => Kind::Step,
                    22 => Kind::Checkpoint,
                    _ => Kind::Sweep,
                };
                let after = self.rng.u64(..apart);
                match kind {
                    // Alone: what else these draw has steps that are none of a client's.
                    Kind::Sweep => ops.push((after, Op::Sweep)),
                    Kind::Checkpoint => ops.push((after, Op::Checkpoint)),
                    _ => {
                        let mut one = Vec::new();
                        self.step(kind, &mut one);
                        ops.extend(one.into_iter().map(|op| (after, op)));
                    }
                }
            }
        }
        std::mem::swap(&mut self.rng, &mut self.beside);
        ops
    }

    fn length(&mut self) -> usize {
        let rng = &mut self.rng;
        match (self.large, rng.u32(..20)) {
            (1, 0) | (2, 0..=1) | (3, 0..=8) => rng.usize(66_000..150_000),
            (1, 1..=3) | (2, 2..=12) => rng.usize(8_000..30_000),
            (1, 4..=7) => rng.usize(500..4_000),
            (_, 19) => 0,
            _ => rng.usize(1..200),
        }
    }
}
