//! Locks, threads, and the atomics that readers without a lock go by: the real ones; or, in
//! `threads/`, those of a scheduler that runs the store in every order it can think of; or, under
//! `test-util`, real ones under which a thread may panic, and at which it may be held up.

#[cfg(all(feature = "test-util", not(onceward_shuttle)))]
mod at_locks;
#[cfg(all(feature = "test-util", not(onceward_shuttle)))]
mod failing;
#[cfg(onceward_shuttle)]
mod shuttled;

#[cfg(all(feature = "test-util", not(onceward_shuttle)))]
pub use at_locks::at_locks;
#[cfg(all(feature = "test-util", not(onceward_shuttle)))]
pub use failing::panic_under_lock;
#[cfg(all(feature = "test-util", not(onceward_shuttle)))]
pub(crate) use failing::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(any(feature = "test-util", onceward_shuttle)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(onceward_shuttle))]
pub(crate) use std::{sync::atomic, thread};

#[cfg(onceward_shuttle)]
pub(crate) use shuttle::{sync::atomic, thread};
#[cfg(onceward_shuttle)]
pub(crate) use shuttled::{Condvar, Mutex, MutexGuard, RwLock};
