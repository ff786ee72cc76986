//! Whether the process is alive, and whether it can take work.

use std::sync::atomic::{AtomicBool, Ordering};

/// What `/readyz` goes by.
pub(crate) struct Health {
    draining: AtomicBool,
    store: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Health {
    /// Healthy as long as `store` is: it says whether the store takes claims, without waiting, and
    /// if not why.
    pub(crate) fn new(store: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { draining: AtomicBool::new(false), store: Box::new(store) }
    }

    /// From now on no work should be sent here.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`drain`](Self::drain) was called.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether work may be sent here, and if not why.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err("draining".to_owned());
        }
        (self.store)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_drains_is_not_ready_whatever_its_store_says() {
        let health = Health::new(|| Ok(()));
        assert_eq!(health.ready(), Ok(()));
        health.drain();
        assert_eq!(health.ready(), Err("draining".to_owned()));
        let health = Health::new(|| Err("poisoned".to_owned()));
        assert_eq!(health.ready(), Err("poisoned".to_owned()));
    }
}
