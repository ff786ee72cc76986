//! Warnings about keys without effect: never silent, and never more than one a minute of each.

use std::sync::atomic::{AtomicU64, Ordering};

use super::outcome::Ignored;
use crate::clock::{Clock, SystemClock};

const INTERVAL_MS: u64 = 60_000;

/// When each warning was last given, in milliseconds since boot, plus one; 0 for never.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    no_principal: AtomicU64,
    route: AtomicU64,
}

impl Notices {
    /// Warns, unless it did within the last minute.
    pub(crate) fn key_ignored(&self, why: Ignored, clock: &SystemClock) {
        let (last, advice) = match why {
            Ignored::NoPrincipal => (
                &self.no_principal,
                "the request has no principal: give the layer a principal for it, or single_tenant \
                 (in the gateway, `principal`)",
            ),
            Ignored::Route => (
                &self.route,
                "the route is not listed in the profile: list it in `routes`, or set \
                 `enforce_unlisted` (in the gateway, `routes` under [profiles.NAME], or `protect` \
                 under [[route]])",
            ),
            Ignored::Method | Ignored::NoKey | Ignored::Granted => return,
        };
        if due(last, clock.read().since_boot.as_millis() as u64) {
            tracing::warn!(reason = why.as_str(), "an idempotency key was ignored: {advice}");
        }
    }
}

/// Whether a minute has passed since `last`, which then becomes `now_ms`. Of callers at one time,
/// one is told so.
fn due(last: &AtomicU64, now_ms: u64) -> bool {
    let before = last.load(Ordering::Relaxed);
    let waited = before == 0 || now_ms + 1 >= before.saturating_add(INTERVAL_MS);
    waited
        && last.compare_exchange(before, now_ms + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_once_a_minute() {
        let last = AtomicU64::new(0);
        let given: Vec<_> = [0, 1, 59_999, 60_000, 60_001, 119_999, 120_000]
            .map(|now_ms| due(&last, now_ms))
            .into();
        assert_eq!(given, [true, false, false, true, false, false, true]);
    }
}
