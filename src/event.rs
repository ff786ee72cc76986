//! A thing that happens once and that many wait for: tasks of any runtime, and threads of none.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::error::Error;
use crate::sync::{Mutex, thread};

/// Happens once, well or badly. Waiters are woken, never polled.
#[derive(Default)]
pub(crate) struct Event {
    /// One of those below, so that whoever looks after it has happened takes no lock. Set under it.
    happened: AtomicU8,
    /// Wakers that nobody has taken to be woken, once it has happened. Set under the lock.
    unwoken: AtomicUsize,
    state: Mutex<State>,
}

const NOT_YET: u8 = 0;
const WELL: u8 = 1;
const BADLY: u8 = 2;

/// Waiters that are woken together.
const TOGETHER: usize = 16;

#[derive(Default)]
struct State {
    outcome: Option<Result<(), Error>>,
    /// One place a waiter; a place whose waiter was dropped is empty and used again.
    wakers: Vec<Option<Waker>>,
    /// The empty places.
    free: Vec<usize>,
}

impl Event {
    /// An event that is still to happen.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets it happen, and wakes whoever waits. The first outcome stands.
    ///
    /// Those who are awake help to wake the others: from within their runtime that is cheaper than
    /// from outside, and whoever fires goes on sooner. Nothing depends on their help.
    pub(crate) fn fire(&self, outcome: Result<(), Error>) {
        self.happen(outcome);
        while self.wake_some() {}
    }

    /// Lets it happen, and wakes nobody yet.
    fn happen(&self, outcome: Result<(), Error>) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        let happened = if outcome.is_ok() { WELL } else { BADLY };
        state.outcome = Some(outcome);
        self.unwoken.store(state.wakers.len(), Ordering::Relaxed);
        self.happened.store(happened, Ordering::Release);
    }

    /// Wakes some of those who are not; `false` when there are none.
    fn wake_some(&self) -> bool {
        let some = {
            let mut state = self.state.lock();
            let rest = state.wakers.len().saturating_sub(TOGETHER);
            self.unwoken.store(rest, Ordering::Relaxed);
            state.wakers.split_off(rest)
        };
        let any = !some.is_empty();
        // Not under the lock: a waker may be anybody's code.
        some.into_iter().flatten().for_each(wake);
        any
    }

    /// How it went, if it has happened.
    pub(crate) fn outcome(&self) -> Option<Result<(), Error>> {
        match self.happened.load(Ordering::Acquire) {
            NOT_YET => None,
            WELL => Some(Ok(())),
            _ => self.state.lock().outcome.clone(),
        }
    }

    /// Resolves to how it went.
    pub(crate) fn wait(self: &Arc<Self>) -> Happening {
        Arc::clone(self).into_wait()
    }

    /// [`wait`](Self::wait), by whoever needs the event for nothing else: many count its handles, and
    /// one count less is one wait less for the others.
    pub(crate) fn into_wait(self: Arc<Self>) -> Happening {
        Happening { event: self, place: None }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Event").field(&self.outcome()).finish()
    }
}

/// Wakes one who waits. A waker that panics is its owner's fault, which the panic hook has told of by
/// now: it must not cost the others their wakers, nor the store the thread that wakes them.
fn wake(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // What it panicked with is its own, too, and might panic as it is dropped.
        std::mem::forget(panic);
    }
}

/// Lets `events` happen alike: each of them, should this thread panic at one.
pub(crate) fn fire_all(events: Vec<Arc<Event>>, outcome: Result<(), Error>) {
    struct Rest {
        events: Vec<Arc<Event>>,
        next: usize,
        outcome: Result<(), Error>,
    }
    impl Rest {
        fn fire(&mut self) {
            while let Some(event) = self.events.get(self.next) {
                event.fire(self.outcome.clone());
                self.next += 1;
            }
        }
    }
    impl Drop for Rest {
        fn drop(&mut self) {
            self.fire();
        }
    }
    Rest { events, next: 0, outcome }.fire();
}

/// The future of an [`Event`].
#[derive(Debug)]
pub(crate) struct Happening {
    event: Arc<Event>,
    place: Option<usize>,
}

impl Future for Happening {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(outcome) = this.event.outcome() {
            if this.event.unwoken.load(Ordering::Relaxed) > 0 {
                this.event.wake_some();
            }
            return Poll::Ready(outcome);
        }
        // Cloned and dropped outside the lock: a waker may be anybody's code.
        let mut waker = this.place.is_none().then(|| cx.waker().clone());
        loop {
            let mut state = this.event.state.lock();
            if let Some(outcome) = &state.outcome {
                return Poll::Ready(outcome.clone());
            }
            let mine = this.place.and_then(|place| state.wakers.get(place));
            if mine.is_some_and(|mine| mine.as_ref().is_some_and(|it| it.will_wake(cx.waker()))) {
                return Poll::Pending;
            }
            let Some(waker) = waker.take() else {
                drop(state);
                waker = Some(cx.waker().clone());
                continue;
            };
            let place = this.place.or_else(|| state.free.pop());
            let before = if let Some(mine) = place.and_then(|place| state.wakers.get_mut(place)) {
                this.place = place;
                mine.replace(waker)
            } else {
                state.wakers.push(Some(waker));
                this.place = Some(state.wakers.len() - 1);
                None
            };
            drop(state);
            drop(before);
            return Poll::Pending;
        }
    }
}

impl Drop for Happening {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        if self.event.happened.load(Ordering::Acquire) != NOT_YET {
            // Its waker was taken to be woken.
            return;
        }
        let mut state = self.event.state.lock();
        let mine = state.wakers.get_mut(place).map(Option::take);
        if mine.is_some() {
            state.free.push(place);
        }
        drop(state);
        // Not under the lock: it may be the last that keeps a task, which may wait for this, too.
        drop(mine);
    }
}

/// Resolves when either does; the first is asked first.
pub(crate) async fn either(
    first: impl Future<Output = Result<(), Error>>,
    second: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    std::future::poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => second.as_mut().poll(cx),
    })
    .await
}

/// Resolves to what `future` does, or to `None` when `late` comes first.
pub(crate) async fn before<T>(
    future: impl Future<Output = T>,
    late: impl Future<Output = Result<(), Error>>,
) -> Option<T> {
    let (mut future, mut late) = (pin!(future), pin!(late));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => late.as_mut().poll(cx).map(|_| None),
    })
    .await
}

/// Runs `future` on this thread, which sleeps while there is nothing to do. Needs no runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_wait_for_one_event() {
        let event = Event::new();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| block_on(event.wait()))).collect();
            event.fire(Ok(()));
            for thread in waiting {
                assert!(thread.join().unwrap().is_ok());
            }
        });
    }

    #[test]
    fn one_that_is_awake_wakes_others() {
        use std::sync::atomic::AtomicUsize;
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (event, woken) = (Event::new(), Arc::new(Count(0.into())));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut waiting: Vec<_> = (0..=TOGETHER).map(|_| Box::pin(event.wait())).collect();
        for each in &mut waiting {
            assert!(each.as_mut().poll(&mut cx).is_pending());
        }
        event.happen(Ok(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        for (awake, so_many) in [TOGETHER, TOGETHER + 1, TOGETHER + 1].into_iter().enumerate() {
            assert!(waiting[awake].as_mut().poll(&mut cx).is_ready());
            assert_eq!(woken.0.load(Ordering::Relaxed), so_many);
        }
    }

    /// Panics when it is woken, with what panics when it is dropped.
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            struct Worse;
            impl Drop for Worse {
                fn drop(&mut self) {
                    panic!("told to, again");
                }
            }
            std::panic::panic_any(Worse);
        }
    }

    #[test]
    fn a_waker_that_panics_costs_nobody_else_his() {
        let event = Event::new();
        let mut waiting = Vec::new();
        std::thread::scope(|scope| {
            for nth in 0..3 * TOGETHER {
                if nth % 3 == 0 {
                    let waker = Waker::from(Arc::new(Panics));
                    let mut wait = Box::pin(event.wait());
                    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                    waiting.push(wait);
                } else if nth % 3 == 1 {
                    scope.spawn(|| assert!(block_on(event.wait()).is_ok()));
                }
            }
            event.fire(Ok(()));
        });
        for wait in &mut waiting {
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
    }

    /// Drops what waits for the same event as it is dropped or cloned: a task's last handle.
    #[test]
    fn a_waker_is_cloned_and_dropped_outside_the_lock() {
        struct Looks(Arc<Event>);
        impl Wake for Looks {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Looks {
            fn drop(&mut self) {
                assert!(self.0.state.try_lock().is_some(), "dropped under the lock");
            }
        }
        let event = Event::new();
        let waker = || Waker::from(Arc::new(Looks(Arc::clone(&event))));
        let mut wait = Box::pin(event.wait());
        for _ in 0..3 {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
        }
        assert_eq!(event.state.lock().wakers.len(), 1, "it has one place");
        drop(wait);
        let mut next = Box::pin(event.wait());
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
        assert_eq!(event.state.lock().wakers.len(), 1, "a place is used again");
    }

    #[test]
    fn the_first_outcome_stands() {
        let event = Event::new();
        assert!(event.outcome().is_none());
        event.fire(Err(Error::closed()));
        event.fire(Ok(()));
        assert!(block_on(event.wait()).is_err());
    }

    #[test]
    fn a_dropped_waiter_leaves_no_waker_behind() {
        let event = Event::new();
        let mut waiting = Box::pin(event.wait());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(waiting);
        assert!(event.state.lock().wakers.iter().all(Option::is_none));
    }

    #[test]
    fn either_takes_whichever_happens() {
        let (first, second) = (Event::new(), Event::new());
        second.fire(Err(Error::closed()));
        assert!(block_on(either(first.wait(), second.wait())).is_err());
        first.fire(Ok(()));
        assert!(block_on(either(first.wait(), second.wait())).is_ok());
    }
}
