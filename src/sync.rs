//! Locks and threads: the real ones; or, in `threads/`, those of a scheduler that runs the store in
//! every order it can think of.

#[cfg(onceward_shuttle)]
mod shuttled;

#[cfg(not(onceward_shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(onceward_shuttle))]
pub(crate) use std::thread;

#[cfg(onceward_shuttle)]
pub(crate) use shuttle::thread;
#[cfg(onceward_shuttle)]
pub(crate) use shuttled::{Condvar, Mutex, MutexGuard, RwLock};
