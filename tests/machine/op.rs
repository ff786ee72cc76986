//! Operations, and the octets they are read from.

/// How far the caller of an operation goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Until it comes back.
    Drive,
    /// Polls it once and leaves it.
    Begin,
    /// Polls it once and drops it.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete { octets: usize },
    Tombstone,
    Release,
}

/// One operation on the store or its machine. `key` and `print` are numbers of a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Claim {
        key: usize,
        print: u8,
        ttl_ms: u64,
        how: How,
    },
    Finish {
        key: usize,
        end: End,
        how: How,
    },
    DropTicket {
        key: usize,
    },
    DropCall {
        key: usize,
    },
    Resolve {
        key: usize,
        complete: bool,
        how: How,
    },
    /// Claims, and waits behind whoever holds the key; `now`: at most until now.
    Wait {
        key: usize,
        print: u8,
        now: bool,
    },
    Get {
        key: usize,
    },
    Step,
    Settle,
    Sweep,
    Checkpoint,
    Advance {
        ms: u64,
    },
    /// Sets the wall clock this many milliseconds ahead, or back.
    Wall {
        by_ms: i64,
    },
    Reopen,
    Kill,
    PowerLoss {
        seed: u64,
        grain: Option<u64>,
        reboot: bool,
    },
    /// The power goes this many disk operations from now.
    CutIn {
        operations: u64,
        seed: u64,
    },
}

pub(crate) const KEYS: usize = 4;
pub(crate) const PRINTS: u8 = 2;
/// How long a result is kept unless its claim says otherwise.
pub(crate) const TTL_MS: u64 = 10_000;

const TTLS_MS: [u64; 4] = [TTL_MS, TTL_MS, 2_500, 1];
const OCTETS: [usize; 8] = [1, 40, 300, 4_000, 0, 20_000, 70_000, 12];
const STEPS_MS: [u64; 8] = [1, 40, 700, 2_500, TTL_MS - 1, TTL_MS, TTL_MS + 1, 2 * TTL_MS];
const DECADE_MS: i64 = 315_576_000_000;

impl Op {
    /// Octets an operation is read from.
    pub(crate) const LEN: usize = 4;

    /// Every four octets are an operation.
    pub(crate) fn decode([code, a, b, c]: [u8; Self::LEN]) -> Self {
        let key = usize::from(a) % KEYS;
        let print = (a >> 2) % PRINTS;
        let pick = |of: u8| usize::from(of) % 8;
        let how = match c % 8 {
            0..=3 => How::Drive,
            4..=6 => How::Begin,
            _ => How::Drop,
        };
        let seed = u64::from(u16::from_le_bytes([b, c]));
        match code % 32 {
            0..=6 => Self::Claim { key, print, ttl_ms: TTLS_MS[pick(b) % 4], how },
            7..=11 => {
                let end = match b % 8 {
                    0..=5 => End::Complete { octets: OCTETS[pick(b >> 3)] },
                    6 => End::Tombstone,
                    _ => End::Release,
                };
                Self::Finish { key, end, how }
            }
            12 => Self::DropTicket { key },
            13 => Self::DropCall { key },
            14 | 15 => Self::Resolve { key, complete: b % 2 == 0, how },
            16 => Self::Wait { key, print, now: false },
            17 => Self::Wait { key, print, now: true },
            18 => Self::Get { key },
            19 | 20 => Self::Step,
            21 => Self::Settle,
            22 | 23 => Self::Sweep,
            24 => Self::Checkpoint,
            25 | 26 => Self::Advance { ms: STEPS_MS[pick(b)] },
            27 => Self::Wall { by_ms: [-DECADE_MS, -3_600_000, 3_600_000, DECADE_MS][pick(b) % 4] },
            28 => Self::Reopen,
            29 => Self::Kill,
            30 => {
                let grain = [None, Some(1), Some(8), Some(512)][usize::from(a) % 4];
                Self::PowerLoss { seed, grain, reboot: a & 4 == 0 }
            }
            _ => Self::CutIn { operations: u64::from(a % 48), seed },
        }
    }
}
