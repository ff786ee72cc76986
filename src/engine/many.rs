//! Many keys at once: looks that wait for memory together, and claims that share a group.
//!
//! A look waits for memory two times, for its slot and for its frame, and does little else. Looks at
//! several keys take these steps together: each asks for what it will read and leaves the next to
//! ask, so that what takes them longest, they do at the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::claim::Claimed;
use super::cold::Seen;
use super::decide::Known;
use super::record::plain_in;
use super::{Inner, Store};
use crate::error::Error;
use crate::event::block_on;
use crate::fingerprint::Fingerprint;
use crate::index::Identity;
use crate::key::Key;
use crate::location::Location;
use crate::log::Hold;
use crate::outcome::{Claim, ClaimOptions, Record};

/// Keys that are looked at together: enough for the memory to be busy all the time, and few enough
/// for what they ask for to be near still when it is read.
const TOGETHER: usize = 32;

impl Store {
    /// [`get`](Store::get) of each of `keys`, which may repeat, in their order: faster than one by
    /// one, since the records are brought from memory together. Each is looked at by itself, at some
    /// moment of the call.
    ///
    /// Payloads are brought near as well. To have them near still when they are read, look at some
    /// dozens of keys at a time, not thousands.
    ///
    /// # Errors
    /// Of each key by itself, as [`get`](Store::get).
    ///
    /// ```
    /// # fn main() -> Result<(), onceward::Error> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let store = onceward::Store::open(directory.path().join("data"))?;
    /// # let of = |text| onceward::Key::new("acct_1", text);
    /// for record in store.get_many(&[of("order-1")?, of("order-2")?]) {
    ///     match record? {
    ///         Some(record) => println!("{:?}", record.state()),
    ///         None => println!("free"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many(&self, keys: &[Key<'_>]) -> Vec<Result<Option<Record>, Error>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut looks = Vec::with_capacity(TOGETHER.min(keys.len()));
        for keys in keys.chunks(TOGETHER) {
            self.inner().get_together(keys, &mut looks, &mut found);
        }
        found
    }

    /// [`claim`](Store::claim) of each key with its fingerprint, in their order: all that are granted
    /// are written with one group, as long as there is room for them, and the answers come together.
    ///
    /// Each is a claim by itself, and may be granted, answered or refused whatever becomes of the
    /// others. Of a free key that is named more than once, one is granted, and each other finds it in
    /// flight, or a mismatch if its fingerprint is another: it takes no second place under the caps,
    /// and its [`Wait`](crate::Wait) ends with the ticket that came with it, so finish that first. The
    /// one is the first, unless claims had to wait, for room or for somebody else's write.
    ///
    /// The future copies the keys, starts at its first poll, needs no runtime, and dropped before it
    /// delivered its tickets it gives all their keys back.
    ///
    /// # Errors
    /// Of each claim by itself, as [`claim`](Store::claim).
    pub fn claim_many(
        &self,
        claims: &[(Key<'_>, Fingerprint)],
    ) -> impl Future<Output = Vec<Result<Claim<Store>, Error>>> + Send + 'static + use<> {
        let claims = claims.iter().map(|(key, fingerprint)| {
            let request = self.inner().request(*key, *fingerprint, ClaimOptions::new());
            let inner = Arc::clone(self.inner());
            Claiming::of(async move { inner.claim_undelivered(request).await })
        });
        let mut claims: Vec<_> = claims.collect();
        async move {
            std::future::poll_fn(|context| {
                let mut pending = false;
                for claim in &mut claims {
                    pending |= claim.poll(context).is_pending();
                }
                if pending { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            claims.into_iter().filter_map(Claiming::deliver).collect()
        }
    }

    /// [`claim_many`](Store::claim_many), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_claim_many(
        &self,
        claims: &[(Key<'_>, Fingerprint)],
    ) -> Vec<Result<Claim<Store>, Error>> {
        block_on(self.claim_many(claims))
    }
}

/// How far a look at one of many keys is.
enum Look {
    /// Nothing was read yet.
    Begun(Identity),
    /// Nobody holds the key; where its record may stand, if it has one there; what was cold then.
    Slots(Option<Location>, Seen),
    /// The one place where its record may stand, in a segment that is there.
    Frame(Location, Arc<Hold>),
    /// In flight.
    InFlight(Record),
    /// Two keys share half a hash, or a segment has just gone: the key is looked at by itself.
    Alone,
}

impl Inner {
    /// Adds what `keys` are found to be to `found`. `looks` is room to work in, empty.
    fn get_together(
        &self,
        keys: &[Key<'_>],
        looks: &mut Vec<Look>,
        found: &mut Vec<Result<Option<Record>, Error>>,
    ) {
        if let Err(error) = self.refuse_closed() {
            found.extend(keys.iter().map(|_| Err(error.clone())));
            return;
        }
        looks.extend(keys.iter().map(|key| {
            let identity = Identity::of(*key, &self.identity.secret);
            self.index.prefetch(identity);
            Look::Begun(identity)
        }));
        for (look, key) in looks.iter_mut().zip(keys) {
            let Look::Begun(identity) = *look else { continue };
            let glanced = self.index.glance(identity, || self.cold.seen());
            if let Some((found, seen)) = glanced {
                *look = Look::Slots(found, seen);
                continue;
            }
            let shard = self.index.shard(identity);
            let flight = shard.flights.get(&identity).filter(|flight| flight.is_seen(*key));
            if let Some(flight) = flight {
                *look = Look::InFlight(flight.record());
                continue;
            }
            let candidates = shard.candidates(identity);
            let only = candidates.only();
            let clear = only.is_some() || candidates.is_empty();
            *look = if clear { Look::Slots(only, self.cold.seen()) } else { Look::Alone };
        }
        let slots = looks.iter_mut().filter_map(|look| {
            let Look::Slots(Some(location), _) = *look else { return None };
            Some((location.segment(), (location, look)))
        });
        self.log.segments.hold_each(slots, |(location, look), hold| {
            *look = match hold {
                Some(hold) => {
                    hold.prefetch(location.offset());
                    Look::Frame(location, hold)
                }
                // It has just gone.
                None => Look::Alone,
            };
        });
        // After the slots were read: what has expired by now was there to be seen, or is gone.
        let now_ms = self.lately_ms();
        found.extend(looks.drain(..).zip(keys).map(|(look, key)| match look {
            Look::Frame(location, hold) => {
                let alive = |known: Known| known.at(now_ms).map(drop);
                match plain_in(hold, location, *key, alive) {
                    Some(((), record)) => Ok(Some(record)),
                    // Without a live record there, it may be cold.
                    None => self.get(*key),
                }
            }
            Look::Slots(None, seen) if seen.is_empty() => self.seen(None, now_ms),
            Look::InFlight(record) => Ok(Some(record)),
            Look::Begun(_) | Look::Alone | Look::Slots(..) => self.get(*key),
        }));
    }
}

/// One of many claims.
struct Claiming<F> {
    /// Until it is answered.
    asked: Option<Pin<Box<F>>>,
    /// Its answer, which waits for those of the others: a ticket is still on its way.
    claimed: Option<Result<Claimed, Error>>,
}

impl<F: Future<Output = Result<Claimed, Error>>> Claiming<F> {
    fn of(asked: F) -> Self {
        Self { asked: Some(Box::pin(asked)), claimed: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(asked) = &mut self.asked {
            match asked.as_mut().poll(context) {
                Poll::Ready(claimed) => self.claimed = Some(claimed),
                Poll::Pending => return Poll::Pending,
            }
            self.asked = None;
        }
        Poll::Ready(())
    }

    fn deliver(self) -> Option<Result<Claim<Store>, Error>> {
        self.claimed.map(|claimed| claimed.map(Claimed::deliver))
    }
}
