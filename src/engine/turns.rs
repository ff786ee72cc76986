//! Taking turns, first come, first served, at what one does at a time, until the store is closed.
//!
//! No lock: whoever has his turn may commit, and so wake somebody who closes the store on the same
//! thread, which then waits for the store's other threads. None of these may wait for a turn still.

use std::collections::VecDeque;

use crate::sync::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whose turn it is, and behind him those who wait.
    queue: VecDeque<u64>,
    /// The number of the next who comes.
    next: u64,
    over: bool,
}

/// Somebody's turn, or his place in the queue, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    /// Waits for a turn. `None` when there are no more.
    pub(super) fn take(&self) -> Option<Turn<'_>> {
        // Before the lock, so that it is dropped behind it.
        let turn = self.queue_up();
        let mut state = self.state.lock();
        while !state.over && state.queue.front() != Some(&turn.number) {
            self.changed.wait(&mut state);
        }
        let over = state.over;
        drop(state);
        (!over).then_some(turn)
    }

    fn queue_up(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        // Taken out of the lock once: nothing comes between a number and its place.
        let State { queue, next, .. } = &mut *state;
        let number = *next;
        *next += 1;
        queue.push_back(number);
        Turn { turns: self, number }
    }

    /// There are no more turns; whoever waits for one is told. One that was taken goes on.
    pub(super) fn end(&self) {
        self.state.lock().over = true;
        self.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.state.lock().queue.retain(|number| *number != self.number);
        // Of all who wait the next one knows himself.
        self.turns.changed.notify_all();
    }
}

#[cfg(all(test, not(onceward_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::thread;

    use super::*;

    /// Waits until so many are in the queue.
    fn until_queued(turns: &Turns, many: usize) {
        while turns.state.lock().queue.len() < many {
            thread::yield_now();
        }
    }

    /// Who gives his turn back and wants the next one at once is awake, and those who wait are not.
    #[test]
    fn turns_are_taken_in_the_order_in_which_they_were_asked_for() {
        let turns = Turns::default();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let first = turns.take().unwrap();
            for waiting in 0..3 {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let _turn = turns.take().unwrap();
                    order.lock().push(waiting);
                });
                until_queued(turns, 2 + waiting);
            }
            drop(first);
            let _again = turns.take().unwrap();
            order.lock().push(3);
        });
        assert_eq!(*order.lock(), [0, 1, 2, 3]);
    }

    #[test]
    fn when_turns_are_over_whoever_waits_is_told_and_leaves_the_queue() {
        let turns = Turns::default();
        let taken = turns.take().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.take().is_none());
            until_queued(&turns, 2);
            turns.end();
            assert!(waiting.join().unwrap());
        });
        assert_eq!(turns.state.lock().queue.len(), 1);
        drop(taken);
        assert!(turns.take().is_none());
    }
}
