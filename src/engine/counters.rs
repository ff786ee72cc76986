//! What a store has done since it was opened, counted: by the thread that publishes, and by sweeps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::publish::{Change, Publish};
use crate::format::frame::Kind;
use crate::stats::{Stats, SweepReport};

/// Counts that only grow. Read one by one: together they are of no single moment.
#[derive(Default)]
pub(super) struct Counters {
    claims: AtomicU64,
    completions: AtomicU64,
    tombstones: AtomicU64,
    releases: AtomicU64,
    left_in_doubt: AtomicU64,
    resolutions: AtomicU64,
    expired: AtomicU64,
    bytes_freed: AtomicU64,
    segments_removed: AtomicU64,
}

impl Counters {
    /// These frames are published: counted are those that begin a flight or end one.
    pub(super) fn published(&self, frames: &[Publish]) {
        for (kind, count) in [
            (Kind::Claim, &self.claims),
            (Kind::Complete, &self.completions),
            (Kind::Tombstone, &self.tombstones),
            (Kind::Release, &self.releases),
            (Kind::InDoubt, &self.left_in_doubt),
        ] {
            let of_kind = |it: &&Publish| it.change == Change::Flight && it.location.is(kind);
            let published = frames.iter().filter(of_kind).count() as u64;
            if published > 0 {
                count.fetch_add(published, Relaxed);
            }
        }
    }

    /// A key in doubt was resolved.
    pub(super) fn resolved(&self) {
        self.resolutions.fetch_add(1, Relaxed);
    }

    /// A sweep, finished or not, did this.
    pub(super) fn swept(&self, report: &SweepReport) {
        self.expired.fetch_add(report.expired, Relaxed);
        self.bytes_freed.fetch_add(report.bytes_freed, Relaxed);
        self.segments_removed.fetch_add(report.segments_removed, Relaxed);
    }

    /// The counts, among figures that are zero.
    pub(super) fn read(&self) -> Stats {
        Stats {
            claims: self.claims.load(Relaxed),
            completions: self.completions.load(Relaxed),
            tombstones: self.tombstones.load(Relaxed),
            releases: self.releases.load(Relaxed),
            left_in_doubt: self.left_in_doubt.load(Relaxed),
            resolutions: self.resolutions.load(Relaxed),
            expired: self.expired.load(Relaxed),
            bytes_freed: self.bytes_freed.load(Relaxed),
            segments_removed: self.segments_removed.load(Relaxed),
            ..Stats::default()
        }
    }
}
