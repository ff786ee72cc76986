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
pub(crate) struct Count(watch::Sender<Load>);

/// Those at work now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    /// Claims, waits, and keys that are granted or being settled.
    all: usize,
    /// Of these, the keys that are granted and not settled: in doubt when the process ends.
    granted: usize,
}

/// One at work, until it is dropped.
struct AtWork {
    count: watch::Sender<Load>,
    granted: bool,
}

impl<B> Tracked<B> {
    /// Counts those at work on `inner`, from now on.
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, count: Count(watch::Sender::new(Load::default())) }
    }

    /// The count.
    pub(crate) fn count(&self) -> Count {
        self.count.clone()
    }
}

impl Count {
    /// How many are at work now.
    pub(crate) fn now(&self) -> usize {
        self.0.borrow().all
    }

    /// How many keys are granted and not settled now.
    pub(crate) fn granted(&self) -> usize {
        self.0.borrow().granted
    }

    /// Waits until nobody is at work.
    pub(crate) async fn idle(&self) {
        // The sender is held by `self`: the channel cannot close while this waits.
        let _ = self.0.subscribe().wait_for(|load| load.all == 0).await;
    }

    fn enter(&self) -> AtWork {
        self.0.send_modify(|load| load.all += 1);
        AtWork { count: self.0.clone(), granted: false }
    }
}

impl AtWork {
    /// The same, with a key granted to it.
    fn granted(mut self) -> Self {
        self.granted = true;
        self.count.send_modify(|load| load.granted += 1);
        self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.count.send_modify(|load| {
            load.all = load.all.saturating_sub(1);
            load.granted = load.granted.saturating_sub(usize::from(self.granted));
        });
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
        Claim::Granted(inner) => {
            Claim::Granted(TrackedTicket { inner, at_work: at_work.granted() })
        }
        Claim::Replay(record) => Claim::Replay(record),
        Claim::InFlight(inner) => Claim::InFlight(TrackedWait { inner, count }),
        Claim::Mismatch(record) => Claim::Mismatch(record),
        Claim::InDoubt(record) => Claim::InDoubt(record),
    }
}

// What a backend may leave out would be left out of what it tracks.
#[deny(clippy::missing_trait_methods)]
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

    fn has_room(&self, scope: &[u8]) -> bool {
        self.inner.has_room(scope)
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

#[cfg(test)]
mod tests {
    use super::*;
    use onceward::{Options, Store};

    #[tokio::test]
    async fn c14_where_the_store_has_no_room_the_gateway_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().max_in_flight(2).max_in_flight_per_scope(1);
        let store: Store = options.open(dir.path().join("data")).unwrap();
        let tracked = Tracked::new(store);
        let claim = |scope: &'static str| {
            let key = Key::new(scope, "k").unwrap();
            tracked.claim(key, Fingerprint::of("request"), ClaimOptions::new())
        };
        assert!(tracked.has_room(b"a"));
        let first = claim("a").await.unwrap();
        assert!(!tracked.has_room(b"a") && tracked.has_room(b"b"), "the scope is full");
        let second = claim("b").await.unwrap();
        assert!(!tracked.has_room(b"c"), "the store is full");
        drop((first, second));
    }
}
