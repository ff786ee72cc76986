//! Locks under which a thread panics when it is told to, to put on trial what a panic leaves behind.
//! `parking_lot`'s, but for that; in builds with the feature `test-util` alone.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::WaitTimeoutResult;

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
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock())
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().map(MutexGuard)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) struct MutexGuard<'a, T>(parking_lot::MutexGuard<'a, T>);

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlocked<R>(this: &mut Self, run: impl FnOnce() -> R) -> R {
        parking_lot::MutexGuard::unlocked(&mut this.0, run)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        used();
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        used();
        &mut self.0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.0);
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.0.wait_for(&mut guard.0, timeout)
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.0.wait_until(&mut guard.0, deadline)
    }

    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.0.wait_while_for(&mut guard.0, condition, timeout)
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
        let guard = self.0.read();
        used();
        guard
    }

    pub(crate) fn write(&self) -> parking_lot::RwLockWriteGuard<'_, T> {
        let guard = self.0.write();
        used();
        guard
    }
}
