//! Taking turns at what one does at a time, until the store is closed.
//!
//! No lock: whoever has his turn may commit, and so wake somebody who closes the store on the same
//! thread, which then waits for the store's other threads. None of these may wait for a turn still.

use crate::sync::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: bool,
    over: bool,
}

/// Somebody's turn, until it is dropped.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for a turn. `None` when there are no more.
    pub(super) fn take(&self) -> Option<Turn<'_>> {
        let mut state = self.state.lock();
        while state.taken && !state.over {
            self.changed.wait(&mut state);
        }
        if state.over {
            return None;
        }
        state.taken = true;
        Some(Turn(self))
    }

    /// There are no more turns; whoever waits for one is told. One that was taken goes on.
    pub(super) fn end(&self) {
        self.state.lock().over = true;
        self.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().taken = false;
        self.0.changed.notify_one();
    }
}
