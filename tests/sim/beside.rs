//! Clients that call while the store closes. The close has a thread of its own, which is held up at
//! the locks it comes to, and goes on when it is told to: one of the two runs at a time, in an order
//! that is the script's. Where one wants a lock that the other keeps, the other goes on first.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use onceward::{Error, Store, at_locks, plant, planted};

use crate::run::Run;
use crate::script::Op;

/// How often in a row both may want what the other keeps, and find it kept again.
const BLOCKED_MAX: u32 = 10_000;

/// What makes the closing thread go on, and waits until it is held up again.
struct Turn {
    /// How many locks it may come to before that.
    go: SyncSender<u64>,
    /// Whether it is held up by a lock that is kept.
    held_up: Receiver<bool>,
    over: Cell<bool>,
    blocked: Cell<u32>,
}

impl Turn {
    /// Lets it go on; whether it has not ended.
    fn go(&self, locks: u64) -> bool {
        let held_up = self.go.send(locks).ok().and_then(|()| self.held_up.recv().ok());
        self.over.set(self.over.get() || held_up.is_none());
        match held_up {
            Some(true) => self.blocked.set(self.blocked.get() + 1),
            _ => self.blocked.set(0),
        }
        assert!(self.blocked.get() < BLOCKED_MAX, "each waits for the other, and the store closes");
        held_up.is_some()
    }
}

/// The closing thread, which is let go and waited for in any case.
struct Closing {
    turn: Option<Rc<Turn>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Closing {
    fn begin(store: Store) -> Self {
        let (go, may_go) = sync_channel(1);
        let (hold, held_up) = sync_channel(1);
        let bug = planted();
        let thread = std::thread::spawn(move || {
            plant(bug);
            let mut locks = may_go.recv().ok();
            at_locks(Some(Box::new(move |kept| match &mut locks {
                None if kept => std::thread::yield_now(),
                None => {}
                Some(locks) if !kept && *locks > 0 => *locks -= 1,
                Some(_) => locks = hold.send(kept).ok().and_then(|()| may_go.recv().ok()),
            })));
            let closed = store.close();
            at_locks(None);
            closed
        });
        let (over, blocked) = (Cell::new(false), Cell::new(0));
        let turn = Rc::new(Turn { go, held_up, over, blocked });
        let other = Rc::clone(&turn);
        at_locks(Some(Box::new(move |kept| {
            if kept {
                assert!(!other.over.get(), "the store is closed, and keeps a lock");
                other.go(0);
            }
        })));
        Self { turn: Some(turn), thread: Some(thread) }
    }

    /// Lets the close go on for so many locks; whether it is still under way.
    fn go(&self, locks: u64) -> bool {
        self.turn.as_ref().is_some_and(|turn| !turn.over.get() && turn.go(locks))
    }

    fn end(mut self) -> Result<(), Error> {
        while self.go(u64::MAX) {}
        let closed = self.thread.take().map(JoinHandle::join);
        closed.expect("it is joined once").unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        at_locks(None);
        self.turn = None;
        // A panic of its own is told by `end`.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Run<'_> {
    /// Closes the store, and makes these steps meanwhile; those that come after the close when it
    /// takes less than that.
    pub(crate) fn close_beside(
        &mut self,
        store: &Store,
        beside: &[(u64, Op)],
    ) -> Result<Result<(), Error>, String> {
        if beside.is_empty() {
            return Ok(store.close());
        }
        let closing = Closing::begin(store.clone());
        for (nth, (after, op)) in beside.iter().enumerate() {
            self.tally.beside += u64::from(closing.go(*after));
            // What the close did by then is judged by what is known by then.
            self.look_aside()?;
            self.notice_faults();
            self.step(op).map_err(|wrong| format!("beside the close, {nth}, {op:?}: {wrong}"))?;
        }
        Ok(closing.end())
    }
}
