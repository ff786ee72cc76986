//! How many claims may be in flight, in the store and in each scope.
//!
//! Every claim passes by here. Counted one by one in one place, they made the threads that claim wait
//! for its cache line longer than for anything else: so a thread that keeps claiming in one scope
//! takes leave for some claims at a time. The caps hold to the last claim all the same.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind};
use crate::stripe;
use crate::sync::{Mutex, MutexGuard};

const STRIPES: usize = if cfg!(onceward_shuttle) { 2 } else { 16 };
/// The most claims that leave is taken for ahead.
const AHEAD_MAX: u32 = 32;

pub(crate) struct Caps {
    max: u32,
    max_per_scope: u32,
    /// Lock order: before a stripe.
    taken: Mutex<Taken>,
    stripes: [Stripe; STRIPES],
}

/// Claims in flight, and those that leave was taken for.
#[derive(Default)]
struct Taken {
    claims: u32,
    scopes: HashMap<Box<[u8]>, u32>,
}

/// What some threads have leave for. On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(Mutex<Ahead>);

#[derive(Default)]
struct Ahead {
    /// Claims, in this scope, the last one that was asked for.
    claims: u32,
    scope: Vec<u8>,
}

impl Taken {
    fn take(&mut self, scope: &[u8], claims: u32) {
        self.claims += claims;
        if let Some(count) = self.scopes.get_mut(scope) {
            *count += claims;
        } else {
            self.scopes.insert(scope.into(), claims);
        }
    }

    fn give_back(&mut self, scope: &[u8], claims: u32) {
        self.claims -= claims;
        if let Some(count) = self.scopes.get_mut(scope) {
            *count -= claims;
            if *count == 0 {
                self.scopes.remove(scope);
            }
        }
    }
}

impl Caps {
    pub(crate) fn new(max: u32, max_per_scope: u32) -> Self {
        Self { max, max_per_scope, taken: Mutex::default(), stripes: Default::default() }
    }

    /// Counts one more claim in `scope`.
    ///
    /// # Errors
    /// `TooManyInFlight`, and nothing was counted.
    pub(crate) fn enter(&self, scope: &[u8]) -> Result<(), Error> {
        // In range by construction.
        let stripe = self.stripes.get(stripe::of_thread(STRIPES)).unwrap_or_else(|| unreachable!());
        let again = {
            let mut ahead = stripe.0.lock();
            let again = ahead.scope == scope;
            if again && ahead.claims > 0 {
                ahead.claims -= 1;
                return Ok(());
            }
            again
        };
        let (mut taken, room) = self.room(|taken| self.room_in(taken, scope));
        let room = room?;
        // Little where there is little left: what others have leave for has to be called in.
        let more = if again { (room / (4 * STRIPES as u32)).min(AHEAD_MAX) } else { 0 };
        taken.take(scope, 1 + more);
        let mut ahead = stripe.0.lock();
        if ahead.scope != scope {
            taken.give_back(&ahead.scope, ahead.claims);
            ahead.claims = 0;
            ahead.scope.clear();
            ahead.scope.extend_from_slice(scope);
        }
        ahead.claims += more;
        Ok(())
    }

    /// Whether one more claim in `scope` would be counted.
    pub(crate) fn have_room(&self, scope: &[u8]) -> bool {
        self.room(|taken| self.room_in(taken, scope)).1.is_ok()
    }

    /// Whether the store may have one more claim in flight.
    ///
    /// # Errors
    /// `TooManyInFlight`.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.room(|taken| self.room_in_store(taken)).1.map(drop)
    }

    /// Counts one claim in `scope` less.
    pub(crate) fn leave(&self, scope: &[u8]) {
        self.leave_many(scope, 1);
    }

    /// Counts that many claims in `scope` less.
    pub(crate) fn leave_many(&self, scope: &[u8], claims: u32) {
        self.taken.lock().give_back(scope, claims);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        let taken = self.taken.lock();
        let ahead: u32 = self.stripes.iter().map(|stripe| stripe.0.lock().claims).sum();
        taken.claims.saturating_sub(ahead)
    }

    /// What `room` finds; where there is none, once more when nobody has leave for more than is in
    /// flight.
    fn room(
        &self,
        room: impl Fn(&Taken) -> Result<u32, Error>,
    ) -> (MutexGuard<'_, Taken>, Result<u32, Error>) {
        let mut taken = self.taken.lock();
        let mut found = room(&taken);
        if found.is_err() {
            for stripe in &self.stripes {
                let mut ahead = stripe.0.lock();
                if ahead.claims > 0 {
                    taken.give_back(&ahead.scope, ahead.claims);
                    ahead.claims = 0;
                }
            }
            found = room(&taken);
        }
        (taken, found)
    }

    /// How many more claims the store may have in flight, at least one.
    fn room_in_store(&self, taken: &Taken) -> Result<u32, Error> {
        room_below(self.max, taken.claims, "store")
    }

    /// The same of the store and `scope`.
    fn room_in(&self, taken: &Taken, scope: &[u8]) -> Result<u32, Error> {
        let in_store = self.room_in_store(taken)?;
        let in_scope = taken.scopes.get(scope).copied().unwrap_or(0);
        Ok(in_store.min(room_below(self.max_per_scope, in_scope, "scope")?))
    }
}

fn room_below(max: u32, claims: u32, what: &str) -> Result<u32, Error> {
    if claims < max {
        return Ok(max - claims);
    }
    Err(Error::new(
        ErrorKind::TooManyInFlight,
        format!("{max} claims are in flight in the {what}, as many as there may be"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_for_the_store_and_for_each_scope() {
        let caps = Caps::new(3, 2);
        caps.enter(b"a").unwrap();
        assert!(caps.have_room(b"a"));
        caps.enter(b"a").unwrap();
        assert!(!caps.have_room(b"a") && caps.have_room(b"b"), "one scope is full");
        assert_eq!(caps.enter(b"a").unwrap_err().kind(), ErrorKind::TooManyInFlight);
        caps.enter(b"b").unwrap();
        assert_eq!(caps.enter(b"c").unwrap_err().kind(), ErrorKind::TooManyInFlight);
        caps.leave(b"a");
        caps.enter(b"c").unwrap();
        assert_eq!(caps.in_flight(), 3);
        assert!(!caps.have_room(b"d"), "the store is full");
        for scope in [b"a", b"b", b"c"] {
            caps.leave(scope);
        }
        assert_eq!(caps.in_flight(), 0);
        assert!(caps.taken.lock().scopes.is_empty(), "a scope without claims is not remembered");
    }

    /// Claims that `threads` threads are let in for, each of which asks until it is refused.
    fn let_in(caps: &Caps, threads: usize, scope: &[u8]) -> u32 {
        std::thread::scope(|scoped| {
            let each = || (0..=caps.max).take_while(|_| caps.enter(scope).is_ok()).count() as u32;
            let threads: Vec<_> = (0..threads).map(|_| scoped.spawn(each)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    }

    #[test]
    fn leave_that_others_took_ahead_is_called_in_before_a_claim_is_refused() {
        let max = 64 * AHEAD_MAX * STRIPES as u32;
        let caps = Caps::new(max, max - 10);
        // Each of these threads has leave for more than it uses.
        for _ in 0..2 * STRIPES {
            std::thread::scope(|scoped| {
                scoped.spawn(|| (0..3).for_each(|_| caps.enter(b"a").unwrap()));
            });
        }
        let before = 6 * STRIPES as u32;
        assert_eq!(caps.in_flight(), before);
        assert!(caps.taken.lock().claims > before, "nothing was taken ahead");
        assert_eq!(let_in(&caps, 4, b"a"), max - 10 - before);
        assert_eq!(let_in(&caps, 4, b"b"), 10);
        assert_eq!(caps.in_flight(), max);
        assert!(caps.check().is_err() && !caps.have_room(b"c"));
        caps.leave_many(b"a", max - 10);
        caps.leave_many(b"b", 10);
        assert_eq!(caps.in_flight(), 0);
        assert_eq!(let_in(&caps, 1, b"c"), max - 10);
        assert_eq!(caps.taken.lock().scopes.len(), 1, "leave for other scopes was not given back");
    }
}
