//! A store that knows whether anybody is still at work on it.
//!
//! The middleware runs granted requests apart from the connections they came on, so that a client
//! who hangs up loses nothing. A drain therefore cannot go by connections alone: it waits until
//! every claim, ticket and unfinished completion is gone.

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;
use onceward::{
    Backend, BackendTicket, BackendWait, Claim, ClaimOptions, Error, Fingerprint, Key, Record,
    Resolution, Resolved, TicketError,
};
use tokio::sync::watch;

/// A backend with a count of those at work on it.
#[derive(Clone)]
pub(crate) struct Tracked<B> {
    inner: B,
    count: Count,
}

/// How many are at work. Clones share one count.
#[derive(Clone)]
pub(crate) struct Count(watch::Sender<usize>);

/// One at work, until it is dropped.
struct AtWork(watch::Sender<usize>);

impl<B> Tracked<B> {
    /// Counts those at work on `inner`, from now on.
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, count: Count(watch::Sender::new(0)) }
    }

    /// The count.
    pub(crate) fn count(&self) -> Count {
        self.count.clone()
    }
}

impl Count {
    /// How many are at work now.
    pub(crate) fn now(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until nobody is at work.
    pub(crate) async fn idle(&self) {
        // The sender is held by `self`: the channel cannot close while this waits.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }

    fn enter(&self) -> AtWork {
        self.0.send_modify(|count| *count += 1);
        AtWork(self.0.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// A ticket that counts until it is used up.
pub(crate) struct TrackedTicket<T> {
    inner: T,
    at_work: AtWork,
}

/// A wait whose grant will count.
pub(crate) struct TrackedWait<W> {
    inner: W,
    count: Count,
}

fn tracked<B: Backend>(claim: Claim<B>, count: Count, at_work: AtWork) -> Claim<Tracked<B>> {
    match claim {
        Claim::Granted(inner) => Claim::Granted(TrackedTicket { inner, at_work }),
        Claim::Replay(record) => Claim::Replay(record),
        Claim::InFlight(inner) => Claim::InFlight(TrackedWait { inner, count }),
        Claim::Mismatch(record) => Claim::Mismatch(record),
        Claim::InDoubt(record) => Claim::InDoubt(record),
    }
}

impl<B: Backend> Backend for Tracked<B> {
    type Ticket = TrackedTicket<B::Ticket>;
    type Wait = TrackedWait<B::Wait>;

    fn claim(
        &self,
        key: Key<'_>,
        print: Fingerprint,
        options: ClaimOptions,
    ) -> impl Future<Output = Result<Claim<Self>, Error>> + Send + 'static {
        let claim = self.inner.claim(key, print, options);
        let count = self.count.clone();
        async move {
            let at_work = count.enter();
            Ok(tracked(claim.await?, count, at_work))
        }
    }

    fn get(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Option<Record>, Error>> + Send + 'static {
        self.inner.get(key)
    }

    fn resolve(
        &self,
        key: Key<'_>,
        resolution: Resolution,
    ) -> impl Future<Output = Result<Resolved, Error>> + Send + 'static {
        let resolved = self.inner.resolve(key, resolution);
        let count = self.count.clone();
        async move {
            let _at_work = count.enter();
            resolved.await
        }
    }
}

/// Waits for a ticket's last act, counting until it is done; a ticket handed back counts on.
async fn finish<T>(
    act: impl Future<Output = Result<(), TicketError<T>>>,
    at_work: AtWork,
) -> Result<(), TicketError<TrackedTicket<T>>> {
    act.await.map_err(|error| match error.into_parts() {
        (error, Some(inner)) => TicketError::refused(error, TrackedTicket { inner, at_work }),
        (error, None) => TicketError::spent(error),
    })
}

impl<T: BackendTicket> BackendTicket for TrackedTicket<T> {
    fn number(&self) -> u64 {
        self.inner.number()
    }

    fn complete(
        self,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        finish(self.inner.complete(payload), self.at_work)
    }

    fn complete_without_payload(
        self,
        note: Bytes,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        finish(self.inner.complete_without_payload(note), self.at_work)
    }

    fn release(self) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        finish(self.inner.release(), self.at_work)
    }
}

impl<B: Backend> BackendWait<Tracked<B>> for TrackedWait<B::Wait> {
    fn record(&self) -> &Record {
        self.inner.record()
    }

    fn until(
        self,
        deadline: Instant,
    ) -> impl Future<Output = Result<Claim<Tracked<B>>, Error>> + Send + 'static {
        let wait = self.inner.until(deadline);
        let count = self.count;
        async move {
            let at_work = count.enter();
            Ok(tracked::<B>(wait.await?, count, at_work))
        }
    }
}
