//! The store's threads, and its end: one commits, one makes room, one keeps house, one gives files
//! back to the disk.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::error::{Error, ErrorKind};
use crate::log::NoRoom;
use crate::options::Durability;
use crate::planted::{Bug, is_planted};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Condvar, Mutex};

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
    /// Those that closing waits for: the store's own, and the one that closes it.
    waited_for: Mutex<Vec<ThreadId>>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

impl Threads {
    /// Starts the threads. When one cannot be, closing ends those that were.
    pub(super) fn start(&self, inner: &Arc<Inner>) -> Result<(), Error> {
        let committer = Arc::clone(inner);
        self.spawn("onceward-commit", move || {
            committer
                .guarded(|inner| while inner.log.wait_for_work() && inner.commit_once().is_ok() {});
        })?;
        let preparer = Arc::clone(inner);
        self.spawn("onceward-room", move || preparer.guarded(Inner::prepare_room))?;
        // Before its thread, which may come to run once the store is closed.
        inner.log.serve_slices();
        let giver = Arc::clone(inner);
        self.spawn("onceward-slices", move || giver.guarded(|inner| inner.log.give_back_slices()))?;
        let keeper = Arc::clone(inner);
        self.spawn("onceward-keeper", move || keeper.guarded(Inner::keep_house))?;
        if inner.cold.unread(inner.now_ms()) == 0 {
            return Ok(());
        }
        let warmer = Arc::clone(inner);
        self.spawn("onceward-warm", move || warmer.guarded(Inner::warm_up))
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        // Until its name is there, the thread waits with asking for it.
        let mut waited_for = self.waited_for.lock();
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| Error::io("starting a thread", error))?;
        waited_for.push(handle.thread().id());
        drop(waited_for);
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Closing waits for this thread, too.
    fn wait_for_this(&self) {
        self.waited_for.lock().push(thread::current().id());
    }

    /// Closing is over.
    fn wait_for_none(&self) {
        self.waited_for.lock().clear();
    }

    /// Whether a thread that closes the store waits for this one.
    fn wait_for_me(&self) -> bool {
        self.waited_for.lock().contains(&thread::current().id())
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.lock()
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
            if handle.thread().id() != thread::current().id() {
                // A thread that panicked has poisoned the store already.
                let _ = handle.join();
            }
        }
    }
}

/// Ends writes when the thread panics while this is there, and not when it did before.
struct Unwinding<'a> {
    inner: &'a Inner,
    panicking: bool,
}

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            let panicked = Error::new(ErrorKind::Poisoned, "a thread panicked under a lock");
            let error = self.inner.log.fail(&panicked);
            self.inner.tell_waiters(&error);
        }
    }
}

impl Inner {
    /// Does a caller's `work`, which changes what locks guard. Half of it may be done when it panics,
    /// and then whoever waits is told that the store is poisoned; the panic goes on.
    pub(super) fn whole<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let _unwinding = Unwinding { inner: self, panicking: std::thread::panicking() };
        work(self)
    }

    /// Runs a thread's loop. However it ends, whoever waits for the log is told if that has ended: a
    /// panic under a lock only sets the poison.
    fn guarded(&self, run: impl FnOnce(&Self)) {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(self)));
        let ended = match ran {
            Ok(()) => self.log.poison().check(),
            Err(_) => Err(Error::new(ErrorKind::Poisoned, "a thread of the store panicked")),
        };
        if let Err(error) = ended {
            let error = self.log.fail(&error);
            self.tell_waiters(&error);
        }
    }

    fn prepare_room(&self) {
        let mut patience = None;
        while self.log.wait_for_shortage(patience) {
            // Whoever waited is told. The disk is asked again when somebody asks again, or after a
            // round, in which space may have come back.
            patience = self.log.make_room().is_err().then_some(ROUND);
        }
    }

    /// Reads what the tree has, its filters first, has it ready for commits, and then ends. What the
    /// disk refuses is tried again later.
    fn warm_up(&self) {
        while !self.threads.is_stopping() {
            let warmed = match self.warm_filter() {
                Ok(false) => self.warm(),
                filtered => filtered,
            };
            match warmed {
                Ok(true) => {}
                Ok(false) => return self.prepare_tree(),
                Err(_) => {
                    let _ = self.threads.pause();
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
    pub(super) fn keep(&self, round: u32) {
        if self.options.durability == Durability::Buffered {
            let _ = self.log.sync();
        }
        let lag = self.queue.lock().frames.len();
        let due = round.is_multiple_of(CHECKPOINT_ROUNDS)
            && (lag > 0 || !self.tree.lock().is_caught_up());
        if lag >= CHECKPOINT_FRAMES || due {
            let _ = self.checkpoint();
        }
        self.keep_cold();
        if round.is_multiple_of(SWEEP_ROUNDS) {
            self.roll_by_time();
            self.sweep_by_time();
        }
    }

    /// One round of housekeeping of a store that has no threads, and so none that reads filters.
    #[cfg(feature = "test-util")]
    pub(super) fn keep_alone(&self, round: u32) {
        while let Ok(true) = self.warm_filter() {}
        self.keep(round);
    }

    /// What the tree alone has to do with: pieces to be read, records to be left to it, a tree to be
    /// made anew.
    fn keep_cold(&self) {
        if self.cold.is_damaged() {
            let _ = self.reload();
        }
        // One of either: while many are to be read, which the warming thread does, all else has its
        // round, too.
        if !matches!(self.warm_filter(), Ok(true)) {
            let _ = self.warm();
        }
        let _ = self.spill();
        let _ = self.merge_pieces();
    }

    /// Closes the store; a close that is under way already is waited for, unless it waits for this
    /// thread, on which a waker may call this.
    pub(super) fn close(&self) -> Result<(), Error> {
        let mut closed = match self.closed.try_lock() {
            Some(closed) => closed,
            None if self.threads.wait_for_me() => return Err(Error::closed()),
            None => self.closed.lock(),
        };
        if *closed {
            return Ok(());
        }
        *closed = true;
        self.close_once()
    }

    /// Closes the store as its last handle goes: not while that is done already, which may be what
    /// lets the handle go.
    pub(super) fn close_if_open(&self) {
        if let Some(mut closed) = self.closed.try_lock()
            && !*closed
        {
            *closed = true;
            // Nobody is left to tell; what failed is found by the next open.
            let _ = self.close_once();
        }
    }

    fn close_once(&self) -> Result<(), Error> {
        self.threads.wait_for_this();
        self.threads.stop();
        let sealed = self.seal();
        let closed = Error::closed();
        self.log.fail(&closed);
        // Whoever commits still is waited for: nothing may be granted once the lock is given back.
        drop(self.publishing.lock());
        self.tell_waiters(&closed);
        self.timer.stop();
        self.sweeping.end();
        self.log.end_slices();
        self.threads.join();
        if sealed.is_ok() {
            self.log.active().trim(0);
        }
        let tree = self.tree.lock().close();
        // Last, for it may take a while and nothing depends on it.
        self.log.remove_unused();
        *self.lock.lock() = None;
        // Nobody is waited for any more, while `closed` still says that this is going on.
        self.threads.wait_for_none();
        sealed.and(tree)
    }

    /// Commits what waits, with a seal behind it that says that nothing follows, and puts it all
    /// into the tree.
    fn seal(&self) -> Result<(), Error> {
        self.log.poison().check()?;
        // Before all that, for others go on until they are told: what came behind the seal, or into
        // its group, would be in a file that is trimmed and has no seal at its end.
        if !is_planted(Bug::AppendedBehindSeal) {
            self.log.end();
        }
        self.flush()?;
        // Of all that: a segment that was begun just now is then named by the tree, and missed if it
        // goes. A checkpoint that fails is made up for by the next open, from the log.
        let _ = self.checkpoint();
        // In a group of its own: only that one may be taken for torn. Without room for it the next
        // open takes the log for cut off, and loses nothing.
        let sealed = self.log.append_seal();
        self.flush()?;
        sealed.map_err(|no_room| match no_room {
            NoRoom::Ended(error) => error,
            NoRoom::Short(_) => Error::new(ErrorKind::Full, "there was no room for the seal"),
        })
    }
}

#[cfg(all(test, feature = "test-util"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::future::Future;
    use std::sync::mpsc;
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    use super::*;
    use crate::storage::{Fault, SimDisk};
    use crate::{Claim, Fingerprint, Key, Options, Store, at_locks};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Does something once it is woken.
    struct Once(Mutex<Option<Box<dyn FnOnce() + Send>>>);

    impl Wake for Once {
        fn wake(self: Arc<Self>) {
            let what = self.0.lock().take();
            if let Some(what) = what {
                what();
            }
        }
    }

    fn waker(what: impl FnOnce() + Send + 'static) -> Waker {
        Waker::from(Arc::new(Once(Mutex::new(Some(Box::new(what))))))
    }

    fn claim(
        store: &Store,
        key: &str,
    ) -> impl Future<Output = Result<Claim<Store>, Error>> + use<> {
        store.claim(Key::new("scope", key).unwrap(), Fingerprint::of("a request"))
    }

    /// Whether `work` ends.
    fn ends(work: impl FnOnce() + Send + 'static) -> bool {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            work();
            done.send(()).unwrap();
        });
        is_done.recv_timeout(PATIENCE).is_ok()
    }

    /// The sync of a checkpoint fails; whoever is told drops the last handle.
    #[test]
    fn the_last_handle_goes_as_a_checkpoint_fails_to_sync() {
        assert!(ends(|| {
            let disk = Arc::new(SimDisk::new(1));
            let options = Options::new().stepped().durability(Durability::Buffered);
            let store = options.open_storage(Arc::clone(&disk) as Arc<_>).unwrap();
            let inner = Arc::clone(store.inner());
            let mut noop = Context::from_waker(Waker::noop());
            let mut first = Box::pin(claim(&store, "first"));
            assert!(first.as_mut().poll(&mut noop).is_pending());
            assert!(store.step().unwrap());
            let mut second = Box::pin(claim(&store, "second"));
            let waker = waker(move || drop(store));
            assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            disk.fail_operation(disk.operations(), Fault::Io);
            assert!(inner.checkpoint().is_err());
        }));
    }

    /// The sweeper commits somebody's claim; whoever is told drops the last handle, while another
    /// thread of the store wants to read a piece of the tree.
    #[test]
    fn the_last_handle_goes_as_the_sweeper_commits() {
        assert!(ends(|| {
            let disk = Arc::new(SimDisk::new(1));
            let store = Options::new().stepped().open_storage(disk).unwrap();
            let inner = Arc::clone(store.inner());
            let mut noop = Context::from_waker(Waker::noop());
            let mut first = Box::pin(claim(&store, "first"));
            assert!(first.as_mut().poll(&mut noop).is_pending());
            while store.step().unwrap() {}
            let warmer = Arc::clone(&inner);
            let mut second = Box::pin(claim(&store, "second"));
            let waker = waker(move || {
                let inner = Arc::clone(&warmer);
                inner.threads.spawn("warm", move || drop(warmer.warm())).unwrap();
                drop(store);
            });
            assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let _one = inner.sweeping().unwrap();
            let _ = inner.flush();
        }));
    }
    /// Whoever is told that the store is being closed closes it, too: on the thread that does, or on one
    /// of the store's own, which that one waits for.
    #[test]
    fn a_waker_that_closes_a_store_that_is_being_closed_is_told_so() {
        for of_the_store in [false, true] {
            assert!(ends(move || {
                let disk = Arc::new(SimDisk::new(1));
                let store = Options::new().stepped().open_storage(disk).unwrap();
                let (told, is_told) = mpsc::channel();
                let also = store.clone();
                let close = move || told.send(also.close()).unwrap();
                let inner = Arc::clone(store.inner());
                let waker = waker(move || {
                    if of_the_store {
                        inner.threads.spawn("another", close).unwrap();
                    } else {
                        close();
                    }
                });
                // Closing commits it, and wakes.
                let mut claimed = Box::pin(claim(&store, "key"));
                assert!(claimed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                store.close().unwrap();
                let told = is_told.recv_timeout(PATIENCE).unwrap();
                assert_eq!(told.unwrap_err().kind(), ErrorKind::Closed);
                assert!(store.close().is_ok(), "when it is over there is nothing to do");
            }));
        }
    }

    /// Somebody else is about to say that the store is closed as the thread that closed it asks once
    /// more.
    #[test]
    fn whoever_closed_the_store_is_waited_for_no_more() {
        let options = Options::new().stepped();
        let store = options.open_storage(Arc::new(SimDisk::new(1))).unwrap();
        store.close().unwrap();
        let (let_go, go) = mpsc::channel::<()>();
        let (held, is_held) = mpsc::channel();
        let inner = Arc::clone(store.inner());
        let other = std::thread::spawn(move || {
            let closed = inner.closed.lock();
            held.send(()).unwrap();
            // Until the first one has come to a lock, after it did not get this one.
            let _ = go.recv();
            drop(closed);
        });
        is_held.recv().unwrap();
        let mut let_go = Some(let_go);
        at_locks(Some(Box::new(move |_| drop(let_go.take()))));
        let again = store.close();
        at_locks(None);
        other.join().unwrap();
        again.unwrap();
    }
}
