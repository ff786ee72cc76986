//! Running somebody else's future without being taken down by it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The future panicked, or the function that makes it did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs the future `make` makes. After a panic it is dropped and never polled again, so what it left
/// half done is not looked at: that is what makes the unwinding safe to assert.
pub(crate) async fn catching_panics<F: Future>(
    make: impl FnOnce() -> F,
) -> Result<F::Output, Panicked> {
    let future = catch_unwind(AssertUnwindSafe(make)).map_err(|_| Panicked)?;
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_value_wherever_it_happens() {
        assert_eq!(catching_panics(|| async { 7 }).await, Ok(7));
        let later = || async {
            tokio::task::yield_now().await;
            panic!("while running")
        };
        assert_eq!(catching_panics::<_>(later).await.map(|(): ()| ()), Err(Panicked));
        let at_once = || -> std::future::Ready<()> { panic!("while being made") };
        assert_eq!(catching_panics(at_once).await, Err(Panicked));
    }
}
