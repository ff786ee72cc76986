//! Deadlines, without a runtime: one thread that sleeps until the next, begun with the first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::clock;
use crate::error::Error;
use crate::event::Event;
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// Events that happen at a time.
#[derive(Default)]
pub(super) struct Timer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: BinaryHeap<Reverse<Due>>,
    /// How many there are when those that nobody waits for are looked for next.
    purge_at: usize,
    running: bool,
    stopped: bool,
}

/// An event that is due; forgotten, sooner or later, when nobody waits for it any more.
struct Due {
    at: Instant,
    event: Weak<Event>,
}

/// The fewest that are worth looking through.
const PURGED_LEAST: usize = 64;

impl State {
    /// Takes out what nobody waits for any more, whenever there are twice as many as were left the last
    /// time: so each that is set pays for a look at two.
    fn forget_ended(&mut self) {
        if self.due.len() >= self.purge_at {
            self.due.retain(|Reverse(due)| due.event.strong_count() > 0);
            self.purge_at = (2 * self.due.len()).max(PURGED_LEAST);
        }
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Timer {
    /// An event that happens at `deadline`; at once when that has passed, or the timer stopped.
    pub(super) fn at(&self, deadline: Instant) -> Arc<Event> {
        let event = Event::new();
        if deadline <= clock::monotonic() {
            event.fire(Ok(()));
            return event;
        }
        let mut state = self.0.state.lock();
        if state.stopped {
            event.fire(Err(Error::closed()));
            return event;
        }
        state.forget_ended();
        state.due.push(Reverse(Due { at: deadline, event: Arc::downgrade(&event) }));
        if !state.running {
            state.running = self.start();
            if !state.running {
                // No thread can be had: late at once beats never.
                event.fire(Ok(()));
            }
        }
        self.0.changed.notify_one();
        event
    }

    fn start(&self) -> bool {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("onceward-timer".to_owned()).spawn(move || shared.run()).is_ok()
    }

    /// Ends the timer: what is due never comes, and those who wait are told so.
    pub(super) fn stop(&self) {
        let due = {
            let mut state = self.0.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.due)
        };
        self.0.changed.notify_one();
        for event in due.into_iter().filter_map(|Reverse(due)| due.event.upgrade()) {
            event.fire(Err(Error::closed()));
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stopped {
            let now = clock::monotonic();
            let next = state.due.peek().map(|Reverse(due)| due.at);
            match next {
                None => self.changed.wait(&mut state),
                Some(at) if at > now => {
                    let _ = self.changed.wait_until(&mut state, at);
                }
                Some(_) => {
                    let event = state.due.pop().and_then(|Reverse(due)| due.event.upgrade());
                    MutexGuard::unlocked(&mut state, || {
                        if let Some(event) = event {
                            event.fire(Ok(()));
                        }
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::block_on;

    #[test]
    fn deadlines_come_in_order_whatever_order_they_were_set_in() {
        let timer = Timer::default();
        let now = clock::monotonic();
        let later = timer.at(now + Duration::from_millis(40));
        let sooner = timer.at(now + Duration::from_millis(10));
        assert!(block_on(sooner.wait()).is_ok());
        assert!(clock::monotonic() >= now + Duration::from_millis(10));
        assert!(block_on(later.wait()).is_ok());
        assert!(clock::monotonic() >= now + Duration::from_millis(40));
    }

    #[test]
    fn a_stopped_timer_tells_those_who_wait() {
        let timer = Timer::default();
        let never = timer.at(clock::monotonic() + Duration::from_secs(3600));
        timer.stop();
        assert!(block_on(never.wait()).is_err());
        assert!(block_on(timer.at(clock::monotonic() + Duration::from_secs(1)).wait()).is_err());
    }

    /// A wait looks again whenever something happens, each time with an event of its own.
    #[test]
    fn events_that_nobody_waits_for_are_not_kept_until_they_are_due() {
        let timer = Timer::default();
        let deadline = clock::monotonic() + Duration::from_secs(3600);
        let mut waiting = Vec::new();
        let mut most = 0;
        for nth in 0..100_000 {
            let event = timer.at(deadline);
            if nth % 100 == 0 {
                waiting.push(event);
            }
            most = most.max(timer.0.state.lock().due.len());
        }
        assert!(most <= 2 * waiting.len() + 1, "{most} for {} who wait", waiting.len());
        timer.stop();
        assert!(waiting.iter().all(|event| event.outcome().is_some_and(|it| it.is_err())));
    }
}
