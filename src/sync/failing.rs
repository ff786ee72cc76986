//! Locks under which a thread panics when it is told to, to put on trial what a panic leaves behind;
//! and at which it may be held up, as `at_locks` says. `parking_lot`'s, but for that; in builds with
//! the feature `test-util` alone.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::WaitTimeoutResult;

use super::at_locks::{come, has_hook};

thread_local! {
    /// How many more uses of what a lock guards go well; `None` for all.
    static USES_LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Has this thread panic, once, after it has used what locks of the library guard for `uses` times
/// more; `None` takes that back. Gives what was left of those uses: `None` when it has panicked.
pub fn panic_under_lock(uses: Option<u64>) -> Option<u64> {
    USES_LEFT.replace(uses)
}

/// One use.
fn used() {
    if let Some(left) = USES_LEFT.get() {
        USES_LEFT.set(left.checked_sub(1));
        assert!(left > 0, "told to, under a lock");
    }
}

#[derive(Default)]
pub(crate) struct Mutex<T> {
    mutex: parking_lot::Mutex<T>,
    /// Whether a thread that is held up at locks has it.
    kept: AtomicBool,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { mutex: parking_lot::Mutex::new(value), kept: AtomicBool::new(false) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        if has_hook() {
            come(false);
            while self.kept.load(Relaxed) {
                come(true);
            }
        }
        self.guard(self.mutex.lock())
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.mutex.try_lock().map(|guard| self.guard(guard))
    }

    fn guard<'a>(&'a self, guard: parking_lot::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.kept.store(has_hook(), Relaxed);
        MutexGuard { guard, kept: &self.kept }
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mutex.fmt(f)
    }
}

pub(crate) struct MutexGuard<'a, T> {
    guard: parking_lot::MutexGuard<'a, T>,
    kept: &'a AtomicBool,
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlocked<R>(this: &mut Self, run: impl FnOnce() -> R) -> R {
        this.kept.store(false, Relaxed);
        let output = parking_lot::MutexGuard::unlocked(&mut this.guard, run);
        this.kept.store(has_hook(), Relaxed);
        output
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.kept.store(false, Relaxed);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        used();
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        used();
        &mut self.guard
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if has_hook() {
            // Who waits looks again: a wait may end for no reason.
            MutexGuard::unlocked(guard, || come(true));
        } else {
            self.0.wait(&mut guard.guard);
        }
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.0.wait_for(&mut guard.guard, timeout)
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.0.wait_until(&mut guard.guard, deadline)
    }

    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.0.wait_while_for(&mut guard.guard, condition, timeout)
    }

    pub(crate) fn notify_one(&self) -> bool {
        self.0.notify_one()
    }

    pub(crate) fn notify_all(&self) -> usize {
        self.0.notify_all()
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(parking_lot::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> parking_lot::RwLockReadGuard<'_, T> {
        let guard = taken(|| self.0.try_read()).unwrap_or_else(|| self.0.read());
        used();
        guard
    }

    pub(crate) fn write(&self) -> parking_lot::RwLockWriteGuard<'_, T> {
        let guard = taken(|| self.0.try_write()).unwrap_or_else(|| self.0.write());
        used();
        guard
    }
}

/// Tries until it has what it tries for, if this thread is one that is held up at locks.
fn taken<G>(mut attempt: impl FnMut() -> Option<G>) -> Option<G> {
    if !has_hook() {
        return None;
    }
    come(false);
    loop {
        match attempt() {
            None => come(true),
            taken => return taken,
        }
    }
}
