//! Publishing: what is on disk becomes seen, in the log's order, and by nobody earlier.

use std::sync::Arc;

use super::Inner;
use super::decide::{self, Effect};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, fire_all};
use crate::format::frame::{Kind, RENEWED, RESOLVED};
use crate::index::{Caps, Identity, Owner};
use crate::location::Location;
use crate::log::Position;
use crate::planted::{Bug, is_planted};
use crate::sync::MutexGuard;

/// A frame to publish once it is durable; and, after that, to put into the next checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publish {
    pub(super) identity: Identity,
    pub(super) sequence: u64,
    pub(super) location: Location,
    pub(super) effect: Effect,
    /// Of a record: when it expires. Of a resolution that forgets: when what it forgets would have.
    pub(super) expires_at_ms: u64,
    /// Whether it leaves the key in doubt, or ended a doubt.
    pub(super) doubt: bool,
    pub(super) change: Change,
}

/// What the frame changes in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A flight begins or ends.
    Flight,
    /// A record, or the claim of a flight, moved here from where it stood.
    Moved(Location),
    /// Nothing: recovery put it there itself.
    Done,
}

impl Publish {
    pub(super) fn claim(identity: Identity, sequence: u64, location: Location) -> Self {
        Self::of_flight(identity, sequence, location, Kind::Claim, 0, 0)
    }

    /// The frame that begins a flight, or ends it.
    pub(super) fn of_flight(
        identity: Identity,
        sequence: u64,
        location: Location,
        kind: Kind,
        flags: u8,
        expires_at_ms: u64,
    ) -> Self {
        // Only keyed kinds are appended for keys; housekeeping publishes nothing.
        let effect = decide::after(kind, flags & !RENEWED).unwrap_or(Effect::End);
        let doubt = kind == Kind::InDoubt || flags & RESOLVED != 0;
        Self { identity, sequence, location, effect, expires_at_ms, doubt, change: Change::Flight }
    }

    pub(super) fn moved_from(self, old: Location) -> Self {
        Self { change: Change::Moved(old), ..self }
    }

    pub(super) fn done(self) -> Self {
        Self { change: Change::Done, ..self }
    }
}

/// What is published and in no checkpoint yet, in the log's order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(super) frames: Vec<Publish>,
    /// The log's end after the last of them.
    pub(super) position: Position,
}

/// What publishing frames leaves to do once all of them are seen.
#[derive(Default)]
struct After {
    /// The events of flights that ended and that somebody waits for.
    ended: Vec<Arc<Event>>,
    /// Claims that left, by scope, those of one scope that followed one another together.
    left: Vec<(Owner, u32)>,
}

impl After {
    fn leave(&mut self, owner: Owner) {
        match self.left.last_mut() {
            Some((last, claims)) if last.scope() == owner.scope() => *claims += 1,
            _ => self.left.push((owner, 1)),
        }
    }

    fn leave_caps(&mut self, caps: &Caps) {
        for (owner, claims) in self.left.drain(..) {
            caps.leave_many(owner.scope(), claims);
        }
    }
}

/// A commit under way. However it ends, and in a panic too, whoever waits for one of its groups, or
/// for a flight that ended in one, is told: nobody else knows of these any more.
struct Committing<'a> {
    inner: &'a Inner,
    one: Option<MutexGuard<'a, ()>>,
    groups: Vec<Arc<Event>>,
    after: After,
    /// Whether the thread was panicking before: what is dropped as it unwinds may close the store.
    panicking: bool,
}

impl<'a> Committing<'a> {
    fn begin(inner: &'a Inner) -> Self {
        let panicking = std::thread::panicking();
        let one = Some(inner.publishing.lock());
        Self { inner, one, groups: Vec::new(), after: After::default(), panicking }
    }

    /// Lets others commit. Nobody is woken before, under a lock: a waker may drop the last handle,
    /// which closes the store.
    fn let_go(&mut self) {
        self.one = None;
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            // Before others commit what follows on what was not published.
            let panicked = Error::new(ErrorKind::Poisoned, "a thread panicked as it committed");
            self.inner.log.poison().set(&panicked);
        }
        self.let_go();
        if let Err(error) = self.inner.log.poison().check() {
            // What was told already stays.
            fire_all(std::mem::take(&mut self.groups), Err(error));
        }
        fire_all(std::mem::take(&mut self.after.ended), Ok(()));
    }
}

impl Inner {
    /// Commits what waits, publishes it, and wakes those who waited for it. `false` when there was
    /// nothing.
    ///
    /// # Errors
    /// The log failed, and the store is poisoned; whoever waited was told.
    pub(super) fn commit_once(&self) -> Result<bool, Error> {
        let mut committing = Committing::begin(self);
        let Committing { groups: in_hand, after, .. } = &mut committing;
        let mut batch = match self.log.commit(self.mark(), in_hand) {
            Ok(batch) => batch,
            Err(failed) => {
                self.count(&failed.published);
                for frame in &failed.published {
                    self.publish(frame, after);
                }
                after.leave_caps(&self.caps);
                committing.let_go();
                let error = self.log.fail(&failed.tell());
                self.tell_waiters(&error);
                return Err(error);
            }
        };
        let Some(position) = batch.last().map(|group| group.position) else { return Ok(false) };
        for group in &mut batch {
            self.count(&group.frames);
            self.counters.published(&group.frames);
            // Their slots come from memory together, not one after another.
            for frame in &group.frames {
                self.index.prefetch(frame.identity);
            }
            // The tree is to know of those that stay.
            group.frames.retain(|frame| self.publish(frame, after));
        }
        // Before anybody is told that his claim has ended, and claims again.
        after.leave_caps(&self.caps);
        {
            let mut queue = self.queue.lock();
            for group in &batch {
                queue.frames.extend_from_slice(&group.frames);
            }
            queue.position = position;
        }
        committing.let_go();
        for group in batch {
            group.settle();
        }
        committing.groups.clear();
        Ok(true)
    }

    /// Counts the records that these frames of one segment are about to become there. Before any of
    /// them is seen: a segment may be given back when it counts none.
    fn count(&self, frames: &[Publish]) {
        let settling =
            |frame: &&Publish| frame.change == Change::Flight && frame.effect == Effect::Settle;
        let (mut records, mut last_expiry_ms, mut segment) = (0, 0, 0);
        for frame in frames.iter().filter(settling) {
            records += 1;
            last_expiry_ms = frame.expires_at_ms.max(last_expiry_ms);
            segment = frame.location.segment();
        }
        if records > 0 {
            self.log.segments.count_many(segment, records, last_expiry_ms);
        }
    }

    /// Makes one durable frame seen. Gives whether the index changed, or will when the flight ends:
    /// the tree is to know.
    fn publish(&self, frame: &Publish, after: &mut After) -> bool {
        match (frame.change, frame.effect) {
            (Change::Flight, Effect::Begin) | (Change::Done, _) => true,
            (Change::Flight, effect) => {
                self.end_flight(frame, effect, after);
                true
            }
            (Change::Moved(old), effect) => self.relocate(frame, effect, old),
        }
    }

    /// Moves a claim or a record from `old` to where it was written again; `false` when it does not
    /// stand at `old` any more.
    fn relocate(&self, frame: &Publish, effect: Effect, old: Location) -> bool {
        let mut shard = self.index.shard(frame.identity);
        if effect == Effect::Begin {
            let flight =
                shard.flights.get_mut(&frame.identity).filter(|flight| flight.location == old);
            return flight.map(|flight| flight.location = frame.location).is_some();
        }
        if !shard.relocate(frame.identity, old, frame.location) {
            return false;
        }
        self.log.segments.count(frame.location, frame.expires_at_ms);
        self.log.segments.discount(old);
        // A claim granted since, over this record as it expired, replaces it here.
        if let Some(flight) = shard.flights.get_mut(&frame.identity)
            && flight.replaces == Some(old)
        {
            flight.replaces = Some(frame.location);
        }
        true
    }

    fn end_flight(&self, frame: &Publish, effect: Effect, after: &mut After) {
        let mut shard = self.index.shard(frame.identity);
        let Some(flight) = shard.flights.remove(&frame.identity) else {
            if effect == Effect::Settle {
                self.log.segments.discount(frame.location);
            }
            return;
        };
        match effect {
            Effect::Settle => {
                let replaced = shard.put(frame.identity, flight.replaces, frame.location);
                if let Some(replaced) = replaced {
                    self.log.segments.discount(replaced);
                }
            }
            Effect::Forget => {
                if let Some(old) = flight.replaces
                    && !is_planted(Bug::ReleaseForgotten)
                    && shard.remove(frame.identity, old)
                {
                    self.log.segments.discount(old);
                }
            }
            Effect::Begin | Effect::End => {}
        }
        drop(shard);
        if flight.counted {
            after.leave(flight.owner);
        }
        after.ended.extend(flight.ended.filter(|_| !is_planted(Bug::WaitersNotTold)));
    }

    /// Writes have ended: tells those who wait for a flight that it will not.
    pub(super) fn tell_waiters(&self, error: &Error) {
        let mut waiting = Vec::new();
        for shard in self.index.shards() {
            // They stay where they are, too: a panic here has them told by whoever finds out.
            waiting.extend(shard.flights.values().filter_map(|flight| flight.ended.clone()));
        }
        fire_all(waiting, Err(error.clone()));
    }
}
