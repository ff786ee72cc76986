//! The store under the gateway: opened, waited for, looked at, and let go of.

use std::path::Path;
use std::time::{Duration, Instant};

use onceward::{
    Backend, Cursor, Error, ErrorKind, Fingerprint, Item, Keys, Options, State, Stats, Store,
    SweepReport,
};

use crate::Failure;
use crate::duration::show;
use crate::gateway::hex;

/// How often a locked store is tried again while waiting for it.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// A store the gateway runs on: what it needs besides claims.
pub(crate) trait Engine: Backend {
    /// Whether the store takes new keys, and if not why. Does not wait.
    fn takes_claims(&self) -> Result<(), String>;
    /// The records in `state`, or all of them, from behind `after` on. Waits for the disk.
    fn walk(
        &self,
        state: Option<State>,
        after: Option<Cursor>,
    ) -> impl Iterator<Item = Result<Item, Error>>;
    /// The store's figures.
    fn stats(&self) -> Stats;
    /// Forgets what has expired. Waits for the disk.
    fn sweep(&self) -> Result<SweepReport, Error>;
}

impl Engine for Store {
    fn takes_claims(&self) -> Result<(), String> {
        Store::takes_claims(self).map_err(|error| format!("the store takes no new keys: {error}"))
    }

    fn walk(
        &self,
        state: Option<State>,
        after: Option<Cursor>,
    ) -> impl Iterator<Item = Result<Item, Error>> {
        let mut walk = self.iter();
        if let Some(state) = state {
            walk = walk.in_state(state);
        }
        if let Some(cursor) = after {
            walk = walk.after(cursor);
        }
        walk
    }

    fn stats(&self) -> Stats {
        Store::stats(self)
    }

    fn sweep(&self) -> Result<SweepReport, Error> {
        Store::sweep(self)
    }
}

/// `options` with the master keys in `file`, if there is one. Errors are in words for the operator.
pub(crate) fn encrypted(options: Options, file: Option<&Path>) -> Result<Options, String> {
    let Some(file) = file else { return Ok(options) };
    Keys::from_file(file).map(|keys| options.encryption(keys)).map_err(|error| error.to_string())
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

/// Logs each key in doubt, by scope and hash, for somebody to resolve (C34), and how many there are. In the background: a large store takes a while to walk, and nothing depends
/// on this.
pub(crate) fn tell_of_doubt(engine: impl Engine) {
    tokio::task::spawn_blocking(move || {
        let mut count = 0_u64;
        for item in engine.walk(Some(State::InDoubt), None) {
            match item {
                Ok(item) => {
                    count += 1;
                    let key = Fingerprint::of(&item.key);
                    let key = key.as_bytes().get(..8).map(hex);
                    let scope = hex(&item.scope);
                    tracing::warn!(key, scope, "a key is in doubt until resolved or expired");
                }
                Err(error) => tracing::error!(%error, "a key in doubt cannot be read"),
            }
        }
        if count > 0 {
            tracing::warn!(count, "keys are in doubt: `onceward list --state in-doubt` has them");
        }
    });
}
