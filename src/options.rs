//! How a store is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::crypt::Keys;
use crate::engine::Store;
use crate::error::{Error, ErrorKind};
use crate::random::Random;
use crate::storage::{Disk, Storage};

/// The most claims in flight that may be allowed: if nobody ends them, the next open puts each in
/// doubt, in one segment, whose frames have places below 2 GiB.
pub(crate) const IN_FLIGHT_MAX: u32 = 1 << 20;
/// The most a segment may be told to grow to, bytes.
pub(crate) const SEGMENT_SIZE_MAX: u64 = 1 << 30;

/// What `complete` and `claim` wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Until the group is on disk (`fdatasync`): survives the machine. The default.
    #[default]
    Sync,
    /// Until the group is with the operating system: survives the process, not the machine. A
    /// background thread syncs every 250 ms; what was written since may be lost with the machine,
    /// claims among it, and a claim that is lost so may be granted again.
    Buffered,
}

/// How a store is opened: a consuming builder, every knob with a default.
#[derive(Clone)]
#[must_use = "options open nothing by themselves"]
pub struct Options {
    pub(crate) ttl: Duration,
    pub(crate) durability: Durability,
    pub(crate) max_payload: u64,
    pub(crate) index_memory: u64,
    /// How many records the index keeps, whatever memory they take.
    pub(crate) resident_max: Option<u64>,
    pub(crate) max_disk: Option<u64>,
    pub(crate) max_in_flight: u32,
    pub(crate) max_in_flight_per_scope: u32,
    pub(crate) segment_size: u64,
    pub(crate) trust_wall_clock: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Option<Keys>,
    /// Whether the store runs its own threads; a simulator steps it instead.
    pub(crate) threads: bool,
    pub(crate) random: Random,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(24 * 60 * 60),
            durability: Durability::Sync,
            max_payload: 16 << 20,
            index_memory: 256 << 20,
            resident_max: None,
            max_disk: None,
            max_in_flight: 65_536,
            max_in_flight_per_scope: 4_096,
            segment_size: 64 << 20,
            trust_wall_clock: false,
            clock: Arc::new(SystemClock::new()),
            keys: None,
            threads: true,
            random: Random::default(),
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a result is kept, from its completion, and a key in doubt, from when it became so.
    /// Never less; a look may show it some milliseconds longer (see [`Clock::lately`]). Default 24
    /// hours; at least a millisecond.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// What a write waits for. Default [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The largest payload, in bytes; larger ones are refused and nothing is written. Default
    /// 16 MiB, at most 1 GiB.
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The most heap the index may take, in bytes. Over it the records that expire first are left to
    /// the tree, behind filters that count, too: two octets a key. A key that is new still costs no
    /// I/O, and one that is in the tree alone costs a search. Where not even the filters fit, new
    /// claims are refused as `Full`; live records are never evicted. Default 256 MiB: some
    /// ten million keys without a search, of which some seven million stay when there are more; at
    /// least 1 MiB.
    pub fn index_memory(mut self, bytes: u64) -> Self {
        self.index_memory = bytes;
        self
    }

    /// The most disk the store may take, in bytes: over it new claims are refused as `Full`, and
    /// live records are never evicted. Default `None`: what the disk has.
    ///
    /// Counted are the log's segments, with what is made ahead of need, and the tree's file. No
    /// segment is made or made longer beyond it. What an open writes is written in any case, and so
    /// is a checkpoint, by which the tree may grow beyond it. Not counted: 512 KiB kept for the next
    /// open, a few small files, the 120 octets of each encrypted segment's key among them, and
    /// removed segments for as long as somebody holds payloads of theirs.
    pub fn max_disk(mut self, bytes: Option<u64>) -> Self {
        self.max_disk = bytes;
        self
    }

    /// The most claims in flight at a time. Default 65,536; 1 to 1,048,576.
    pub fn max_in_flight(mut self, claims: u32) -> Self {
        self.max_in_flight = claims;
        self
    }

    /// The most claims in flight at a time in one scope. Default 4,096.
    pub fn max_in_flight_per_scope(mut self, claims: u32) -> Self {
        self.max_in_flight_per_scope = claims;
        self
    }

    /// How large a segment of the log grows before the next begins, in bytes. Default 64 MiB;
    /// 64 KiB to 1 GiB. A larger frame gets a segment of its own.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Lets store time advance by the wall clock, too: time spent switched off then counts, and a
    /// wall clock that jumps ahead expires results early, which is outside the promise (P0.5).
    /// Default off.
    pub fn trust_wall_clock(mut self, trust: bool) -> Self {
        self.trust_wall_clock = trust;
        self
    }

    /// Where time comes from. Default [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Encrypts results and notes that are written from now on; what stands in the store unencrypted
    /// stays readable, and goes as it expires. Each segment has a key of its own, which is destroyed
    /// with it. `docs/design.md` says what is not encrypted: scopes, keys and fingerprints are not.
    /// Default off.
    #[cfg(feature = "encrypt")]
    pub fn encryption(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Opens the store in `directory`, creating it when there is none.
    ///
    /// # Errors
    /// `Locked` when another process or `Store` owns it, `UnsupportedFormat` when it is something
    /// else or of another version, `Corrupt` when a file of it is missing or cut off,
    /// `KeyMissing` when it is encrypted and a key it needs was not given, `InvalidOption`, `Io`. A
    /// directory that is not a store is not modified.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Store, Error> {
        self.open_on(Arc::new(Disk::new(directory.as_ref())))
    }

    /// Opens the store on `storage`.
    #[cfg(feature = "test-util")]
    pub fn open_storage(self, storage: Arc<dyn Storage>) -> Result<Store, Error> {
        self.open_on(storage)
    }

    /// Runs no threads: `Store::step` does their work, one piece at a time.
    #[cfg(feature = "test-util")]
    pub fn stepped(mut self) -> Self {
        self.threads = false;
        self
    }

    /// Leaves all but so many records to the tree, once they are checkpointed, however much memory
    /// there is.
    #[cfg(feature = "test-util")]
    pub fn resident_records(mut self, records: u64) -> Self {
        self.resident_max = Some(records);
        self
    }

    /// Draws the store's secret and its salts from `seed`. Another one at each opening: a salt tells
    /// one opening's bytes from another's.
    #[cfg(feature = "test-util")]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.random = Random::seeded(seed);
        self
    }

    fn open_on(self, storage: Arc<dyn Storage>) -> Result<Store, Error> {
        self.check()?;
        Store::start(self, storage)
    }

    fn check(&self) -> Result<(), Error> {
        let ok = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(Error::new(ErrorKind::InvalidOption, what)) }
        };
        ok(!self.ttl.is_zero(), "ttl must be at least a millisecond")?;
        ok(self.max_payload <= 1 << 30, "max_payload is at most 1 GiB")?;
        ok(self.index_memory >= 1 << 20, "index_memory is at least 1 MiB")?;
        ok(
            (64 << 10..=SEGMENT_SIZE_MAX).contains(&self.segment_size),
            "segment_size is between 64 KiB and 1 GiB",
        )?;
        ok(
            (1..=IN_FLIGHT_MAX).contains(&self.max_in_flight),
            "max_in_flight is between 1 and 1,048,576",
        )?;
        ok(self.max_in_flight_per_scope > 0, "max_in_flight_per_scope is at least 1")
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("ttl", &self.ttl)
            .field("durability", &self.durability)
            .field("max_payload", &self.max_payload)
            .field("index_memory", &self.index_memory)
            .field("max_disk", &self.max_disk)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_in_flight_per_scope", &self.max_in_flight_per_scope)
            .field("segment_size", &self.segment_size)
            .finish_non_exhaustive()
    }
}
