//! Many keys at once: looks that wait for memory together, and claims that share a group.
//!
//! A look waits for memory two times, for its slot and for its frame, and does little else. Looks at
//! several keys take these steps together: each asks for what it will read and leaves the next to
//! ask, so that what takes them longest, they do at the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::claim::{Behind, Claimed, Given, Request};
use super::cold::Seen;
use super::decide::Known;
use super::handle::Handle;
use super::record::plain_in;
use super::ticket::Wait;
use super::{Inner, Store};
use crate::error::Error;
use crate::event::block_on;
use crate::fingerprint::Fingerprint;
use crate::index::{Flight, Identity};
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
        let request = |(key, fingerprint): &(Key<'_>, Fingerprint)| {
            self.inner().request(*key, *fingerprint, ClaimOptions::new())
        };
        let requests: Vec<Request> = claims.iter().map(request).collect();
        let handle = Arc::clone(self.handle());
        async move {
            let mut answers = handle.answered_together(&requests);
            let claims = answers.iter_mut().zip(requests).filter(|(answer, _)| answer.is_none());
            let mut claims: Vec<_> = claims
                .map(|(answer, request)| {
                    let asked = Box::pin(Arc::clone(&handle).claim_undelivered(request));
                    Claiming { answer, asked: Some(asked), claimed: None }
                })
                .collect();
            std::future::poll_fn(|context| {
                let mut pending = false;
                for claim in &mut claims {
                    pending |= claim.poll(context).is_pending();
                }
                if pending { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            claims.into_iter().for_each(Claiming::deliver);
            answers.into_iter().flatten().collect()
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
enum Look<T> {
    /// Nothing was read yet.
    Begun(Identity),
    /// Nobody holds the key; where its record may stand, if it has one there; what was cold then.
    Slots(Option<Location>, Seen),
    /// The one place where its record may stand, in a segment that is there.
    Frame(Location, Arc<Hold>),
    /// What was made of the flight that holds it.
    Held(T),
    /// Two keys share half a hash, or a segment has just gone: the key is looked at by itself.
    Alone,
}

impl Inner {
    /// Looks as many keys up as there are `identities`, no further than to where their frames stand,
    /// and asks for those. `held` says what a flight comes to, and which of them it is of; when it says
    /// nothing, the key is looked up as if nobody held it. `looks` is room to work in, empty.
    fn look_together<T>(
        &self,
        identities: impl Iterator<Item = Identity>,
        looks: &mut Vec<Look<T>>,
        held: impl Fn(&Flight, usize) -> Option<Look<T>>,
    ) {
        looks.extend(identities.map(|identity| {
            self.index.prefetch(identity);
            Look::Begun(identity)
        }));
        for (nth, look) in looks.iter_mut().enumerate() {
            let Look::Begun(identity) = *look else { continue };
            let glanced = self.index.glance(identity, || self.cold.seen());
            if let Some((found, seen)) = glanced {
                *look = Look::Slots(found, seen);
                continue;
            }
            let shard = self.index.shard(identity);
            if let Some(held) = shard.flights.get(&identity).and_then(|flight| held(flight, nth)) {
                *look = held;
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
    }

    /// Adds what `keys` are found to be to `found`. `looks` is room to work in, empty.
    fn get_together(
        &self,
        keys: &[Key<'_>],
        looks: &mut Vec<Look<Record>>,
        found: &mut Vec<Result<Option<Record>, Error>>,
    ) {
        if let Err(error) = self.refuse_closed() {
            found.extend(keys.iter().map(|_| Err(error.clone())));
            return;
        }
        let identities = keys.iter().map(|key| Identity::of(*key, &self.identity.secret));
        self.look_together(identities, looks, |flight, nth| {
            let seen = keys.get(nth).is_some_and(|key| flight.is_seen(*key));
            seen.then(|| Look::Held(flight.record()))
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
            Look::Held(record) => Ok(Some(record)),
            Look::Begun(_) | Look::Alone | Look::Slots(..) => self.get(*key),
        }));
    }
}

impl Handle {
    /// The answers to those of `requests` that a result or somebody's flight answers, as
    /// [`answered`](Inner::answered) gives them one by one; `None` for each that is to be claimed by
    /// itself.
    fn answered_together(
        self: &Arc<Self>,
        requests: &[Request],
    ) -> Vec<Option<Result<Claim<Store>, Error>>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut looks = Vec::with_capacity(TOGETHER.min(requests.len()));
        for requests in requests.chunks(TOGETHER) {
            if self.refuse_closed().is_err() {
                answers.extend(requests.iter().map(|_| None));
                continue;
            }
            let identities = requests.iter().map(|request| request.identity);
            self.look_together(identities, &mut looks, |flight, nth| {
                let request = requests.get(nth)?;
                let behind = self.behind(flight, request.owner.as_key(), request.fingerprint);
                Some(behind.map_or(Look::Alone, Look::Held))
            });
            // After the slots were read: what has expired by now is no answer.
            let now_ms = self.lately_ms();
            answers.extend(looks.drain(..).zip(requests).map(|(look, request)| {
                let claim = match look {
                    Look::Frame(location, hold) => {
                        let given = |known| Given::of(known, request.fingerprint, now_ms);
                        let key = request.owner.as_key();
                        plain_in(hold, location, key, given)
                            .map(|(given, record)| given.claim(record))
                    }
                    Look::Held(Behind::Mismatch(record)) => Some(Claim::Mismatch(record)),
                    Look::Held(Behind::InFlight(holder)) => {
                        let wait = Wait::new(Arc::clone(self), request.clone(), holder);
                        Some(Claim::InFlight(wait))
                    }
                    Look::Held(Behind::Again(_))
                    | Look::Begun(_)
                    | Look::Alone
                    | Look::Slots(..) => None,
                };
                claim.map(Ok)
            }));
        }
        answers
    }
}

/// One of many claims, that is to be claimed by itself.
struct Claiming<'a, F> {
    /// Where its answer belongs.
    answer: &'a mut Option<Result<Claim<Store>, Error>>,
    /// Until it is answered.
    asked: Option<Pin<Box<F>>>,
    /// Its answer, which waits for those of the others: a ticket is still on its way.
    claimed: Option<Result<Claimed, Error>>,
}

impl<F: Future<Output = Result<Claimed, Error>>> Claiming<'_, F> {
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

    fn deliver(self) {
        *self.answer = self.claimed.map(|claimed| claimed.map(Claimed::deliver));
    }
}
