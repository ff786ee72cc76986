//! What a store, a sweep and a verification report.

use std::fmt;
use std::ops::Range;

/// A store's figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records: complete, tombstones and in doubt, expired ones not yet swept among them. Exact once
    /// all of the tree was read after an open; until then a key may be counted twice.
    pub records: u64,
    /// Of the records, those that the tree alone has: over `index_memory`, or not read yet.
    pub cold_records: u64,
    /// Pieces of the tree that are still to be read after the store was opened. Their filters are
    /// read first, which takes a small part of the time: until then each new key is looked for in
    /// each of them.
    pub unread_pieces: u64,
    /// Records in doubt, expired ones not yet swept among them.
    pub in_doubt: u64,
    /// Claims in flight.
    pub in_flight: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes the log's segments take, with the space prepared ahead, files kept to be used again, and
    /// those on their way back to the disk.
    pub log_bytes: u64,
    /// Bytes the tree takes.
    pub tree_bytes: u64,
    /// Bytes of the heap the index takes, about, its filters among them.
    pub index_bytes: u64,
    /// Frames published and not yet in a checkpoint.
    pub checkpoint_lag: u64,
    /// Groups committed since the store was opened.
    pub groups: u64,
    /// Frames committed since the store was opened.
    pub frames: u64,
    /// Bytes of groups written since the store was opened.
    pub bytes_written: u64,
    /// Bytes of zeros written to the log ahead of groups since the store was opened. Those of a system
    /// that cannot set blocks aside otherwise, asked to, are not among them.
    pub bytes_zeroed: u64,
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
    /// Bytes given back to the disk by sweeps since the store was opened, those on their way included,
    /// which count as `log_bytes` until the disk has them.
    pub bytes_freed: u64,
    /// Segments that sweeps took off the log since the store was opened. The store's own keep some of
    /// their files to be written again, which go on to count as `log_bytes`.
    pub segments_removed: u64,
    /// Segments made of the files of such since the store was opened.
    pub segments_reused: u64,
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
    /// Bytes given back to the disk, which has them within seconds: files that were kept since an
    /// earlier sweep among them, and what went while this one ran because the disk was full.
    pub bytes_freed: u64,
    /// Segments taken off the log.
    pub segments_removed: u64,
}

/// What a verification read, and what it found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Bytes of the log's segments.
    pub bytes: u64,
    /// Segments read.
    pub segments: u64,
    /// Groups whose checksum holds.
    pub groups: u64,
    /// Frames whose checksums hold.
    pub frames: u64,
    /// Records that are complete, tombstones among them, expired ones not yet swept included.
    pub complete: u64,
    /// Of the complete ones, those without a payload.
    pub tombstones: u64,
    /// Claims without an end: in flight when the store stopped, in doubt when it opens.
    pub unfinished: u64,
    /// Records in doubt.
    pub in_doubt: u64,
    /// Entries of the tree that point at a good frame of their key.
    pub tree_entries: u64,
    /// Records the log has and the tree has no entry for: those since the last checkpoint, and those
    /// swept whose segment is still there. No fault.
    pub log_only: u64,
    /// Whether the store was closed, and not cut off.
    pub sealed: bool,
    /// What is wrong, one line a finding, each naming its file and place.
    pub problems: Vec<String>,
    /// The same, in parts.
    pub findings: Vec<Finding>,
    /// How many findings there are besides those listed, which are the first 1,000.
    pub unlisted: u64,
}

impl VerifyReport {
    const FINDINGS_MAX: usize = 1000;

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        if self.findings.len() == Self::FINDINGS_MAX {
            self.unlisted += 1;
            return;
        }
        self.problems.push(finding.to_string());
        self.findings.push(finding);
    }
}

/// Something a verification found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file, relative to the store's directory.
    pub file: String,
    /// Which octets of the file, where it is about some of them.
    pub octets: Option<Range<u64>>,
    /// What is wrong.
    pub what: String,
    /// The keys that can still be read there: the first 100.
    pub keys: Vec<FoundKey>,
    /// How many keys there are besides.
    pub keys_unlisted: u64,
}

impl Finding {
    const KEYS_MAX: usize = 100;

    pub(crate) fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        let (file, what) = (file.into(), what.into());
        Self { file, octets: None, what, keys: Vec::new(), keys_unlisted: 0 }
    }

    pub(crate) fn name(&mut self, key: FoundKey) {
        if self.keys.len() == Self::KEYS_MAX {
            self.keys_unlisted += 1;
            return;
        }
        self.keys.push(key);
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(octets) = &self.octets {
            write!(f, ", octets {} to {}", octets.start, octets.end)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A key that stands among damaged octets. Not the key itself, which may be a secret (D12).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundKey {
    /// Where in the file its frame begins.
    pub offset: u64,
    /// What the frame says: `claim`, `complete`, `tombstone`, `release` or `in-doubt`.
    pub frame: &'static str,
    /// The key's scope.
    pub scope: Vec<u8>,
    /// SHA-256 of the key.
    pub key_sha256: [u8; 32],
    /// Whether the frame's payload passes its checksum.
    pub payload_sound: bool,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Bytes of the log that were read.
    pub bytes: u64,
    /// Bytes of the log there are. Once all are read, the tree is.
    pub bytes_total: u64,
}
