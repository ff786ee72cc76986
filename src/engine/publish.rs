//! Publishing: what is on disk becomes seen, in the log's order, and by nobody earlier.

use std::sync::Arc;

use super::Inner;
use super::decide::{self, Effect};
use crate::error::Error;
use crate::event::Event;
use crate::format::frame::{Kind, RENEWED, RESOLVED};
use crate::index::Identity;
use crate::location::Location;
use crate::log::Position;
use crate::planted::{Bug, is_planted};

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

/// What publishing a frame did.
struct Published {
    /// Whether the index changed, or will when the flight ends: the tree is to know.
    changed: bool,
    /// The event of the flight that ended, if anybody waits for it.
    ended: Option<Arc<Event>>,
}

impl Inner {
    /// Commits what waits, publishes it, and wakes those who waited for it. `false` when there was
    /// nothing.
    ///
    /// # Errors
    /// The log failed, and the store is poisoned; whoever waited was told.
    pub(super) fn commit_once(&self) -> Result<bool, Error> {
        let one = self.publishing.lock();
        let batch = match self.log.commit(self.mark()) {
            Ok(batch) => batch,
            Err(failed) => {
                for frame in &failed.published {
                    self.publish(frame);
                }
                drop(one);
                let error = self.log.fail(&failed.tell());
                self.tell_waiters(&error);
                return Err(error);
            }
        };
        let Some(position) = batch.last().map(|group| group.position) else { return Ok(false) };
        let mut ended = Vec::new();
        let mut changes = Vec::with_capacity(batch.iter().map(|group| group.frames.len()).sum());
        for frame in batch.iter().flat_map(|group| &group.frames) {
            let published = self.publish(frame);
            if frame.change == Change::Flight {
                self.counters.published(frame.location);
            }
            if published.changed {
                changes.push(*frame);
            }
            ended.extend(published.ended);
        }
        {
            let mut queue = self.queue.lock();
            queue.frames.extend_from_slice(&changes);
            queue.position = position;
        }
        // Nobody is woken under a lock: a waker may drop the last handle, which closes the store.
        drop(one);
        for group in batch {
            group.settle();
        }
        for event in ended {
            event.fire(Ok(()));
        }
        Ok(true)
    }

    /// Makes one durable frame seen.
    fn publish(&self, frame: &Publish) -> Published {
        match (frame.change, frame.effect) {
            (Change::Flight, Effect::Begin) | (Change::Done, _) => {
                Published { changed: true, ended: None }
            }
            (Change::Flight, effect) => {
                Published { changed: true, ended: self.end_flight(frame, effect) }
            }
            (Change::Moved(old), effect) => {
                Published { changed: self.relocate(frame, effect, old), ended: None }
            }
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

    fn end_flight(&self, frame: &Publish, effect: Effect) -> Option<Arc<Event>> {
        let mut shard = self.index.shard(frame.identity);
        let flight = shard.flights.remove(&frame.identity)?;
        match effect {
            Effect::Settle => {
                self.log.segments.count(frame.location, frame.expires_at_ms);
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
            self.caps.leave(flight.owner.scope());
        }
        flight.ended.filter(|_| !is_planted(Bug::WaitersNotTold))
    }

    /// Writes have ended: tells those who wait for a flight that it will not.
    pub(super) fn tell_waiters(&self, error: &Error) {
        let mut waiting = Vec::new();
        for mut shard in self.index.shards() {
            waiting.extend(shard.flights.values_mut().filter_map(|flight| flight.ended.take()));
        }
        for event in waiting {
            event.fire(Err(error.clone()));
        }
    }
}
