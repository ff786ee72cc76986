//! A simulated machine: its clock, its keys, and how a store is opened on it.

use std::sync::Arc;
use std::time::Duration;

use onceward::storage::SimDisk;
use onceward::{Durability, Error, Key, ManualClock, Options, Store};

use crate::script::Script;

/// How long a result is kept unless its claim says otherwise.
pub(crate) const TTL_MS: u64 = 10_000;
/// How far behind its clock a store may look, milliseconds: as the kernel's
/// ticks have it, when some are missed.
pub(crate) const BEHIND_MS: u64 = 10;
/// Bytes of a segment, and of one that is long.
pub(crate) const SEGMENT: u64 = 64 << 10;
pub(crate) const LONG_SEGMENT: u64 = 1 << 20;
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

/// A scope and a key.
pub(crate) struct Name(String, String);

impl Name {
    pub(crate) fn as_key(&self) -> Key<'_> {
        Key::new(&self.0, &self.1).unwrap()
    }
}

/// The key of that number: the first few are short, and the others as long as may be.
pub(crate) fn key(number: usize) -> Name {
    match NAMES.get(number) {
        Some((scope, key)) => Name((*scope).to_owned(), (*key).to_owned()),
        None => Name("s".repeat(255), format!("{number:0>255}")),
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct Time {
    clock: ManualClock,
    seed: u64,
    since_boot: Duration,
    wall_ms: u64,
    boots: u32,
}

impl Time {
    /// Of that seed is how far behind each look is.
    pub(crate) fn new(seed: u64) -> Self {
        let clock = ManualClock::new(BORN_MS).behind(BEHIND_MS, seed);
        Self { clock, seed, since_boot: Duration::ZERO, wall_ms: BORN_MS, boots: 0 }
    }

    pub(crate) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    /// A clock of its own that says the same.
    pub(crate) fn fork(&self) -> Self {
        let clock = ManualClock::new(BORN_MS).behind(BEHIND_MS, self.seed);
        (0..self.boots).for_each(|_| clock.reboot());
        clock.advance(self.since_boot);
        clock.set_wall_ms(self.wall_ms);
        Self { clock, ..*self }
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        let by = Duration::from_millis(ms);
        self.clock.advance(by);
        self.since_boot += by;
        self.wall_ms += ms;
    }

    /// Sets the wall clock alone.
    pub(crate) fn set_wall(&mut self, by_ms: i64) {
        self.wall_ms = self.wall_ms.saturating_add_signed(by_ms);
        self.clock.set_wall_ms(self.wall_ms);
    }

    pub(crate) fn reboot(&mut self) {
        self.clock.reboot();
        self.since_boot = Duration::ZERO;
        self.boots += 1;
    }
}

thread_local! {
    static ENCRYPTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether the stores of this thread are encrypted, for the threads that work for it.
pub(crate) fn is_encrypted() -> bool {
    ENCRYPTED.get()
}

/// Encrypts the stores that this thread opens from now on, or does not. A test has a thread of its
/// own.
pub(crate) fn encrypt(encrypted: bool) {
    ENCRYPTED.set(encrypted);
}

#[cfg(not(feature = "encrypt"))]
fn encryption(options: Options) -> Options {
    options
}

#[cfg(feature = "encrypt")]
fn encryption(options: Options) -> Options {
    if !is_encrypted() {
        return options;
    }
    let (master, find) = ([7; 32], |_| Some([7; 32]));
    options.encryption(onceward::Keys::from_fn(onceward::KeyId::of(&master), find))
}

/// The options of every store here.
pub(crate) fn options(time: &Time, seed: u64) -> Options {
    encryption(Options::new())
        .ttl(Duration::from_millis(TTL_MS))
        .segment_size(SEGMENT)
        .max_payload(1 << 20)
        .clock(time.clock())
        .seeded(seed)
        .stepped()
}

/// Opens the store as most tests do.
pub(crate) fn open(disk: &Arc<SimDisk>, time: &Time, seed: u64) -> Result<Store, Error> {
    let disk: Arc<SimDisk> = Arc::clone(disk);
    options(time, seed).open_storage(disk)
}

/// Opens the store of a script: it may be buffered or bounded, keep few records in memory, or have
/// segments of another size.
pub(crate) fn open_with(
    disk: &Arc<SimDisk>,
    time: &Time,
    seed: u64,
    script: &Script,
) -> Result<Store, Error> {
    let disk: Arc<SimDisk> = Arc::clone(disk);
    let durability = if script.buffered { Durability::Buffered } else { Durability::Sync };
    let options = options(time, seed)
        .durability(durability)
        .max_disk(script.max_disk)
        .segment_size(script.segment);
    match script.resident {
        Some(records) => options.resident_records(records).open_storage(disk),
        None => options.open_storage(disk),
    }
}

/// Whether the last segment is long enough to be read where it stands when the store is opened:
/// shorter ones are written again as a whole.
pub(crate) fn ends_long(disk: &SimDisk) -> bool {
    const PAGE: usize = 4096;
    const HEADER: usize = 64;
    let is_log = |path: &&String| path.strip_suffix(".log").is_some();
    let files = disk.files();
    let mut ends = files.iter().rev().filter(is_log).filter_map(|path| {
        let bytes = disk.read_file(path).ok()?;
        // One that was made ahead has a header, and nothing behind it.
        bytes.get(HEADER..)?.chunks(PAGE).rposition(|page| page != &[0; PAGE][..page.len()])
    });
    ends.next().is_some_and(|last| (last * PAGE) as u64 > LONG_SEGMENT / 4)
}
