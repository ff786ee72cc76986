//! The store's threads, and its end: one commits, one makes room, one keeps house.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Inner;
use crate::error::{Error, ErrorKind};
use crate::format::frame::Kind;
use crate::options::Durability;

/// How often the housekeeper looks around.
const ROUND: Duration = Duration::from_millis(250);
/// Frames that make a checkpoint worth its price.
const CHECKPOINT_FRAMES: usize = 50_000;
/// Rounds after which a checkpoint is made of whatever there is.
const CHECKPOINT_ROUNDS: u32 = 40;
/// Rounds between sweeps.
const SWEEP_ROUNDS: u32 = 4;

/// The threads of an open store.
#[derive(Default)]
pub(super) struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

impl Threads {
    pub(super) fn start(&self, inner: &Arc<Inner>) -> Result<(), Error> {
        let committer = Arc::clone(inner);
        self.spawn("onceward-commit", move || committer.commit_until_the_end())?;
        let preparer = Arc::clone(inner);
        self.spawn("onceward-room", move || {
            let mut patience = None;
            while preparer.log.wait_for_shortage(patience) {
                // Whoever waited is told. The disk is asked again when somebody asks again, or
                // after a round, in which space may have come back.
                patience = preparer.log.make_room().is_err().then_some(ROUND);
            }
        })?;
        let keeper = Arc::clone(inner);
        self.spawn("onceward-keeper", move || keeper.keep_house())
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| Error::io("starting a thread", error))?;
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Waits a round; `true` when the store is being closed.
    fn pause(&self) -> bool {
        let mut stopping = self.stopping.lock();
        if !*stopping {
            let _ = self.stop.wait_for(&mut stopping, ROUND);
        }
        *stopping
    }

    /// Tells the threads to end.
    fn stop(&self) {
        *self.stopping.lock() = true;
        self.stop.notify_all();
    }

    /// Waits for the threads to have ended, but for the one that asks.
    fn join(&self) {
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            if handle.thread().id() != std::thread::current().id() {
                // A thread that panicked has poisoned the store already.
                let _ = handle.join();
            }
        }
    }
}

impl Inner {
    fn commit_until_the_end(&self) {
        while self.log.wait_for_work() {
            let committed =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.commit_once()));
            match committed {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    let error =
                        self.log.fail(&Error::new(ErrorKind::Poisoned, "the committer panicked"));
                    self.tell_waiters(&error);
                    return;
                }
            }
        }
    }

    fn keep_house(&self) {
        let mut round = 0_u32;
        while !self.threads.pause() && !self.log.poison().is_set() {
            round = round.wrapping_add(1);
            self.keep(round);
        }
    }

    /// One round of housekeeping. What fails is tried again in a later round, or has poisoned the
    /// store, which every writer sees.
    fn keep(&self, round: u32) {
        if self.options.durability == Durability::Buffered {
            let _ = self.log.sync();
        }
        let lag = self.queue.lock().frames.len();
        if lag >= CHECKPOINT_FRAMES || (lag > 0 && round.is_multiple_of(CHECKPOINT_ROUNDS)) {
            let _ = self.checkpoint();
        }
        if round.is_multiple_of(SWEEP_ROUNDS) {
            self.roll_by_time();
            if self.is_anything_expired() {
                let _ = self.sweep();
            }
        }
    }

    pub(super) fn close(&self) -> Result<(), Error> {
        {
            let mut stopping = self.threads.stopping.lock();
            if *stopping {
                return Ok(());
            }
            *stopping = true;
        }
        self.threads.stop();
        let sealed = self.seal();
        let closed = Error::closed();
        self.log.fail(&closed);
        self.tell_waiters(&closed);
        self.timer.stop();
        self.threads.join();
        self.log.remove_unused();
        let tree = self.tree.lock().close();
        *self.lock.lock() = None;
        sealed.and(tree)
    }

    /// Commits what waits, with a seal behind it that says that nothing follows, and puts it all
    /// into the tree.
    fn seal(&self) -> Result<(), Error> {
        self.log.poison().check()?;
        // A checkpoint that fails is made up for by the next open, from the log.
        let _ = self.checkpoint();
        if self.log.append_housekeeping(Kind::Seal, &[]).is_err() {
            // No room for a seal: the next open takes the log for cut off, and loses nothing.
            while self.commit_once()? {}
            return self.log.sync();
        }
        while self.commit_once()? {}
        self.log.sync()
    }
}
