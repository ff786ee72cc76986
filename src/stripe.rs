//! Which of several copies of a thing a thread uses, where threads that shared one would pass its
//! cache line to and fro.

#[cfg(not(onceward_shuttle))]
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// This thread's among so many: threads take turns as they come.
#[cfg(not(onceward_shuttle))]
pub(crate) fn of_thread(stripes: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Relaxed);
    }
    MINE.with(|mine| *mine) % stripes
}

/// This thread's among so many: the same one in each run of a schedule.
#[cfg(onceward_shuttle)]
pub(crate) fn of_thread(stripes: usize) -> usize {
    usize::from(crate::sync::thread::current().id()) % stripes
}
