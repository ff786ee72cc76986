//! The store under the gateway: opened, waited for, looked at, and let go of.

use std::path::Path;
use std::time::{Duration, Instant};

use onceward::{Backend, Error, ErrorKind, Fingerprint, Options, State, Store};

use crate::Failure;
use crate::duration::show;
use crate::gateway::hex;

/// How often a locked store is tried again while waiting for it.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// A store the gateway runs on: what it needs besides claims.
pub(crate) trait Engine: Backend {
    /// Whether the store takes writes, and if not why. Does not wait.
    fn takes_writes(&self) -> Result<(), String>;
    /// Calls `tell` with the scope and the key of every record in doubt. Waits for the disk.
    fn in_doubt(&self, tell: impl FnMut(&[u8], &[u8])) -> Result<(), Error>;
}

impl Engine for Store {
    fn takes_writes(&self) -> Result<(), String> {
        if self.stats().poisoned {
            return Err("the store takes no writes: one has failed, or it was closed".to_owned());
        }
        Ok(())
    }

    fn in_doubt(&self, mut tell: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        for item in self {
            let item = item?;
            if item.record.state() == State::InDoubt {
                tell(&item.scope, &item.key);
            }
        }
        Ok(())
    }
}

/// Opens the store in `data` with `options`, trying again for `wait` while another process has it.
pub(crate) async fn open(
    data: &Path,
    options: Options,
    wait: Option<Duration>,
) -> Result<Store, Failure> {
    let started = Instant::now();
    let mut told = false;
    loop {
        let (dir, options) = (data.to_owned(), options.clone());
        let opened = tokio::task::spawn_blocking(move || options.open(dir))
            .await
            .map_err(|error| Failure::Failed(format!("opening the store: {error}")))?;
        let error = match opened {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let data = data.display();
        if error.kind() != ErrorKind::Locked {
            return Err(Failure::Failed(format!("the store in {data} cannot be opened: {error}")));
        }
        match wait {
            None => {
                return Err(Failure::Failed(format!(
                    "the store in {data} is in use by another process (--wait-lock waits for it)"
                )));
            }
            Some(wait) if started.elapsed() >= wait => {
                return Err(Failure::Failed(format!(
                    "the store in {data} is still in use by another process after {}",
                    show(wait)
                )));
            }
            Some(wait) => {
                if !told {
                    tracing::info!(%data, wait = show(wait), "waiting for the store's lock");
                    told = true;
                }
                let left = wait.saturating_sub(started.elapsed());
                tokio::time::sleep(LOCK_RETRY.min(left)).await;
            }
        }
    }
}

/// Logs every key in doubt, by its scope and its hash, for somebody to resolve (C34). In the
/// background: a large store takes a while to walk, and nothing depends on this.
pub(crate) fn tell_of_doubt(engine: impl Engine) {
    tokio::task::spawn_blocking(move || {
        let told = engine.in_doubt(|scope, key| {
            let key = Fingerprint::of(key);
            let key = key.as_bytes().get(..8).map(hex);
            tracing::warn!(key, scope = hex(scope), "a key is in doubt until resolved or expired");
        });
        if let Err(error) = told {
            tracing::error!(%error, "the keys in doubt could not all be listed");
        }
    });
}
