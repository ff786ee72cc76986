//! When things expire, and in which bucket.

use std::time::Duration;

/// The widest bucket, milliseconds: a quarter of an hour.
const WIDTH_MAX_MS: u64 = 15 * 60 * 1000;
/// Buckets a retention is cut into, at least: the coarsest a sweep may be late is this part of it.
const BUCKETS_MIN: u64 = 96;

/// Whether something that expires at `expires_at_ms` is gone: valid while its age is at most its
/// retention (X9, C40), so at that very millisecond it is still there.
pub(crate) const fn is_expired(expires_at_ms: u64, now_ms: u64) -> bool {
    now_ms > expires_at_ms
}

/// A retention in whole milliseconds, rounded up, for expiry is a floor.
pub(crate) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The expiry bucket of a moment, named by its last millisecond.
///
/// Widths follow the store's retention and may differ from one opening to the next: a bucket's name
/// alone says when all in it is expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    width_ms: u64,
}

impl Buckets {
    pub(crate) fn of_retention(ttl_ms: u64) -> Self {
        Self { width_ms: (ttl_ms / BUCKETS_MIN).clamp(1, WIDTH_MAX_MS) }
    }

    /// The bucket of what expires at `expires_at_ms`: never earlier.
    pub(crate) const fn bucket(self, expires_at_ms: u64) -> u64 {
        match expires_at_ms.checked_next_multiple_of(self.width_ms) {
            Some(end) => end,
            None => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_valid_at_its_last_millisecond() {
        assert!(!is_expired(1000, 1000));
        assert!(is_expired(1000, 1001));
    }

    #[test]
    fn fractions_of_a_millisecond_are_kept_long_enough() {
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }

    /// A sweep is late by a bucket at most: a 96th of the retention, and a quarter of an hour.
    #[test]
    fn buckets_are_as_wide_as_the_retention_allows() {
        for (ttl_ms, width_ms) in [
            (0, 1),
            (95, 1),
            (96, 1),
            (9_600, 100),
            (86_399_999, 899_999),
            (86_400_000, 900_000),
            (u64::MAX, 900_000),
        ] {
            let buckets = Buckets::of_retention(ttl_ms);
            assert_eq!(buckets.bucket(1), width_ms, "a retention of {ttl_ms} ms");
            assert_eq!(buckets.bucket(width_ms + 1), 2 * width_ms);
        }
    }

    #[test]
    fn a_bucket_never_ends_before_what_is_in_it() {
        for ttl_ms in [1, 200, 5_000, 86_400_000, u64::MAX] {
            let buckets = Buckets::of_retention(ttl_ms);
            for expires_at in [0, 1, 999, 86_400_000, 1_700_000_000_001, u64::MAX] {
                let bucket = buckets.bucket(expires_at);
                assert!(bucket >= expires_at);
                assert!(bucket == u64::MAX || bucket - expires_at < WIDTH_MAX_MS);
            }
        }
    }
}
