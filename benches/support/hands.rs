//! A clock whose hands the benchmark moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use onceward::{Clock, Reading};

#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    /// Lets `by` pass.
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Relaxed);
    }
}

impl Clock for Hands {
    fn read(&self) -> Reading {
        let ms = self.0.load(Relaxed);
        Reading {
            since_boot: Duration::from_millis(ms),
            boot_id: Some([1; 16]),
            wall_ms: 1_700_000_000_000 + ms,
        }
    }
}
