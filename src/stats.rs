//! What a store, a sweep and a verification report.

/// A store's figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records in the index: complete, tombstones and in doubt, expired ones not yet swept among
    /// them.
    pub records: u64,
    /// Records in doubt, expired ones not yet swept among them.
    pub in_doubt: u64,
    /// Claims in flight.
    pub in_flight: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes the log's segments take, with the space prepared ahead.
    pub log_bytes: u64,
    /// Bytes the tree takes.
    pub tree_bytes: u64,
    /// Bytes of the heap the index takes, about.
    pub index_bytes: u64,
    /// Frames published and not yet in a checkpoint.
    pub checkpoint_lag: u64,
    /// Groups committed since the store was opened.
    pub groups: u64,
    /// Frames committed since the store was opened.
    pub frames: u64,
    /// Bytes of groups written since the store was opened.
    pub bytes_written: u64,
    /// Syncs of the log since the store was opened.
    pub syncs: u64,
    /// Claims granted since the store was opened.
    pub claims: u64,
    /// Results kept since the store was opened, those of resolutions among them.
    pub completions: u64,
    /// Tombstones written since the store was opened: work done, its result not kept.
    pub tombstones: u64,
    /// Keys released since the store was opened, those of resolutions among them.
    pub releases: u64,
    /// Keys left in doubt by a ticket that was dropped, since the store was opened.
    pub left_in_doubt: u64,
    /// Keys in doubt that were resolved since the store was opened.
    pub resolutions: u64,
    /// Records forgotten by sweeps since the store was opened.
    pub expired: u64,
    /// Bytes given back to the disk by sweeps since the store was opened.
    pub bytes_freed: u64,
    /// Segments removed by sweeps since the store was opened.
    pub segments_removed: u64,
    /// This opening's number; the first is 1.
    pub epoch: u64,
    /// Whether writes have ended: a write failed, or the store was closed.
    pub poisoned: bool,
    /// Until this store time (milliseconds since the Unix epoch) keys that are not indexed are
    /// refused as corrupt, because damaged bytes may hold them.
    pub suspect_until_ms: Option<u64>,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Records forgotten.
    pub expired: u64,
    /// Bytes given back to the disk.
    pub bytes_freed: u64,
    /// Segments removed.
    pub segments_removed: u64,
}

/// What a verification read, and what it found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Groups whose checksum holds.
    pub groups: u64,
    /// Frames whose checksums hold.
    pub frames: u64,
    /// Records that are complete, tombstones among them, expired ones not yet swept included.
    pub complete: u64,
    /// Claims without an end: in flight when the store stopped, in doubt when it opens.
    pub unfinished: u64,
    /// Records in doubt.
    pub in_doubt: u64,
    /// Entries of the tree that point at a good frame of their key.
    pub tree_entries: u64,
    /// Whether the store was closed, and not cut off.
    pub sealed: bool,
    /// What is wrong, one line a finding, each naming its file and place.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}
