//! A simulated machine with a store on it: its disk, its clock, and the ways back after a crash.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use onceward::storage::SimDisk;
use onceward::{Error, Key, ManualClock, Options, Store};

/// How long a result is kept unless its claim says otherwise.
pub(crate) const TTL_MS: u64 = 10_000;
const SEGMENT: u64 = 64 << 10;
const BORN_MS: u64 = 1_750_000_000_000;

pub(crate) const KEYS: usize = 8;
const NAMES: [(&str, &str); KEYS] = [
    ("a", "one"),
    ("a", "two"),
    ("a", "three"),
    ("a", "four"),
    ("b", "one"),
    ("b", "two"),
    ("b", "three"),
    ("", "one"),
];

/// The key of that number.
pub(crate) fn key(number: usize) -> Key<'static> {
    let (scope, key) = NAMES[number];
    Key::new(scope, key).unwrap()
}

/// A clock that can be copied as it stands.
#[derive(Debug)]
pub(crate) struct Time {
    clock: ManualClock,
    boots: u32,
    since_boot: Duration,
}

impl Time {
    pub(crate) fn new() -> Self {
        Self { clock: ManualClock::new(BORN_MS), boots: 0, since_boot: Duration::ZERO }
    }

    pub(crate) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    pub(crate) fn fork(&self) -> Self {
        let clock = ManualClock::new(BORN_MS);
        for _ in 0..self.boots {
            clock.reboot();
        }
        clock.advance(self.since_boot);
        Self { clock, boots: self.boots, since_boot: self.since_boot }
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        let by = Duration::from_millis(ms);
        self.clock.advance(by);
        self.since_boot += by;
    }

    pub(crate) fn reboot(&mut self) {
        self.clock.reboot();
        self.boots += 1;
        self.since_boot = Duration::ZERO;
    }
}

#[cfg(not(feature = "encrypt"))]
fn encryption(options: Options) -> Options {
    options
}

#[cfg(feature = "encrypt")]
fn encryption(options: Options) -> Options {
    let master = [7; 32];
    if ENCRYPTED.get() {
        options.encryption(onceward::Keys::from_fn(onceward::KeyId::of(&master), move |_| {
            Some(master)
        }))
    } else {
        options
    }
}

#[cfg(feature = "encrypt")]
thread_local! {
    static ENCRYPTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Encrypts the stores that this test opens from now on. A test has a thread of its own.
#[cfg(feature = "encrypt")]
pub(crate) fn encrypt() {
    ENCRYPTED.set(true);
}

/// Opens the store as every test here does.
pub(crate) fn open(disk: &Arc<SimDisk>, time: &Time) -> Result<Store, Error> {
    let disk: Arc<SimDisk> = Arc::clone(disk);
    encryption(Options::new())
        .ttl(Duration::from_millis(TTL_MS))
        .segment_size(SEGMENT)
        .max_payload(1 << 20)
        .clock(time.clock())
        .stepped()
        .open_storage(disk)
}

/// How a machine comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Kill,
    Total,
    Loss(u64),
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

    /// A way that loses what was not synced, if chance will have it.
    pub(crate) fn draw_loss(rng: &mut Rng) -> Self {
        loop {
            let way = Self::draw(rng);
            if way != Self::Kill {
                return way;
            }
        }
    }

    /// The machine that comes back. After a power loss it has booted anew, as a rule.
    pub(crate) fn back(self, disk: &SimDisk, time: &mut Time, rng: &mut Rng) -> Arc<SimDisk> {
        if self != Self::Kill && rng.u32(..4) > 0 {
            time.reboot();
        }
        Arc::new(match self {
            Self::Kill => disk.kill(),
            Self::Total => disk.power_loss_total(),
            Self::Loss(seed) => disk.power_loss(seed),
            Self::Torn(seed, grain) => disk.power_loss_torn(seed, grain),
        })
    }
}
