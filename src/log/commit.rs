//! Committing: groups written and synced in order; what they hold is handed back to be published.

use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use super::done::Done;
use super::fill::Lately;
use super::segment::Segment;
use super::writer::Group;
use super::{Log, Position};
use crate::clock::TimeMark;
use crate::error::Error;
use crate::event::{Event, fire_all};
use crate::format::group;
use crate::options::Durability;
use crate::planted::{Bug, is_planted};

/// What only the committer knows.
#[derive(Debug)]
pub(crate) struct Committer {
    /// Hash of the header of the last group written.
    previous: u64,
    /// Frames up to this number are on disk.
    durable_upto: u64,
    /// The last frame written, on disk or not.
    written_upto: u64,
    /// Where the last group was written, when it is not synced yet.
    unsynced: Option<Arc<Segment>>,
    /// The end of the last group written.
    position: Position,
    groups: u64,
    frames: u64,
    bytes: u64,
    /// How many of them are synced.
    bytes_synced: u64,
    syncs: u64,
    lately: Arc<Lately>,
}

impl Committer {
    pub(super) fn new(previous: u64, lately: Arc<Lately>) -> Self {
        Self {
            previous,
            durable_upto: 0,
            written_upto: 0,
            unsynced: None,
            position: Position::default(),
            groups: 0,
            frames: 0,
            bytes: 0,
            bytes_synced: 0,
            syncs: 0,
            lately,
        }
    }

    fn sync(&mut self) -> std::io::Result<()> {
        if let Some(segment) = self.unsynced.take() {
            let synced = segment.sync();
            if synced.is_err() && is_planted(Bug::WentOnAfterEio) {
                segment.file.sync()?;
            } else {
                synced?;
            }
            self.syncs += 1;
            self.lately.synced(self.bytes - self.bytes_synced);
            self.bytes_synced = self.bytes;
        }
        self.durable_upto = self.written_upto;
        Ok(())
    }
}

/// One group that is as durable as the store promises: publish, then [`settle`](Published::settle).
#[derive(Debug)]
pub(crate) struct Published<P> {
    pub(crate) frames: Vec<P>,
    /// The log's end after this group.
    pub(crate) position: Position,
    done: Done,
}

impl<P> Published<P> {
    /// Wakes everybody who waited for the group. After its frames are published.
    pub(crate) fn settle(self) {
        self.done.fire(Ok(()));
    }
}

/// A commit that failed, and who waits for it. Told apart from failing, so that nobody is woken
/// under a lock.
#[must_use]
pub(crate) struct Failed<P> {
    pub(crate) error: Error,
    groups: Vec<Arc<Event>>,
    /// What a planted bug publishes all the same: nothing, without one.
    pub(crate) published: Vec<P>,
}

impl<P> Failed<P> {
    /// Tells those who waited for its groups.
    pub(crate) fn tell(self) -> Error {
        fire_all(self.groups, Err(self.error.clone()));
        self.error
    }
}

/// Groups that became durable with one sync.
pub(crate) type Batch<P> = Vec<Published<P>>;

/// What has been committed since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) groups: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
}

impl<P> Log<P> {
    /// Writes every group with frames, and syncs once for those of a segment (not at all in
    /// `Buffered`). What comes back is durable, and nobody knows it yet: publish it, in order.
    /// `in_hand` gets the events of all it takes to be written, of which nobody else knows then.
    ///
    /// # Errors
    /// A write or a sync failed: the log is poisoned, and nothing is tried again. Whoever waited is
    /// told by [`Failed::tell`].
    pub(crate) fn commit(
        &self,
        now: TimeMark,
        in_hand: &mut Vec<Arc<Event>>,
    ) -> Result<Batch<P>, Failed<P>> {
        let mut committer = self.committer.lock();
        self.poison.check().map_err(|error| Failed {
            error,
            groups: Vec::new(),
            published: Vec::new(),
        })?;
        let groups = {
            let mut writer = self.writer.lock();
            writer.set_time(now);
            let groups = writer.take_groups();
            in_hand.extend(groups.iter().flat_map(|group| group.done.events()));
            groups
        };
        let mut batch = Vec::with_capacity(groups.len());
        let mut groups = groups.into_iter();
        while let Some(mut group) = groups.next() {
            if let Err(error) = self.write(&mut committer, &mut group, now.store_ms) {
                let error = self.poison.set(&Error::io("writing to the log", error));
                let written = batch.into_iter().map(|group: Published<P>| group.done);
                let unwritten = std::iter::once(group).chain(groups).map(|group| group.done);
                return Err(Failed {
                    error,
                    groups: written.chain(unwritten).flat_map(Done::into_events).collect(),
                    published: Vec::new(),
                });
            }
            let position = Position {
                segment: group.segment.id,
                offset: group.base + group.bytes.len() as u64,
                previous: committer.previous,
                last_sequence: group.last_sequence,
            };
            committer.position = position;
            batch.push(Published { frames: group.publish, position, done: group.done });
            if self.segments.get(group.segment.id).is_none() {
                self.segments.insert(&group.segment);
            }
            group.segment.end.fetch_max(position.offset, Release);
            let mut writer = self.writer.lock();
            writer.is_listed(group.segment.id);
            writer.give_back_buffer(group.bytes);
        }
        if self.config.durability == Durability::Sync
            && !is_planted(Bug::AcknowledgedBeforeSync)
            && let Err(error) = committer.sync()
        {
            let error = self.poison.set(&Error::io("syncing the log", error));
            let mut failed = Failed { error, groups: Vec::new(), published: Vec::new() };
            for group in batch {
                failed.groups.extend(group.done.into_events());
                if is_planted(Bug::PublishedBeforeSync) {
                    failed.published.extend(group.frames);
                }
            }
            return Err(failed);
        }
        Ok(batch)
    }

    fn write(
        &self,
        committer: &mut Committer,
        group: &mut Group<P>,
        now_ms: u64,
    ) -> std::io::Result<()> {
        let moved = committer.unsynced.as_ref().is_some_and(|last| last.id != group.segment.id);
        if moved {
            // The next segment's link says where this one ends, which is only so once it is there.
            committer.sync()?;
        }
        let header = group::Header {
            salt: group.segment.salt,
            segment: group.segment.id,
            count: group.count,
            epoch: self.config.epoch,
            last_sequence: group.last_sequence,
            durable_upto: committer.durable_upto,
            previous: committer.previous,
            length: group.bytes.len() as u64,
            store_ms: now_ms,
            prepared: group.prepared,
            ttl_max_ms: group.ttl_max_ms,
        };
        committer.previous = header.seal(&mut group.bytes, group.base, &self.config.secret);
        group.segment.file.write_at(&group.bytes, group.base)?;
        committer.unsynced = Some(Arc::clone(&group.segment));
        committer.written_upto = group.last_sequence;
        committer.groups += 1;
        committer.frames += u64::from(group.count);
        committer.bytes += group.bytes.len() as u64;
        Ok(())
    }

    /// Makes everything written durable, in `Buffered` too.
    ///
    /// # Errors
    /// The sync failed: the log is poisoned.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.sync_untold().map_err(|error| self.fail(&error))
    }

    /// [`sync`](Self::sync), which leaves it to the caller to tell of a failure, with
    /// [`fail`](Self::fail), once he holds no lock.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn sync_untold(&self) -> Result<(), Error> {
        let mut committer = self.committer.lock();
        self.poison.check()?;
        committer.sync().map_err(|error| self.poison.set(&Error::io("syncing the log", error)))
    }

    /// The end of the last group written.
    pub(crate) fn position(&self) -> Position {
        self.committer.lock().position
    }

    pub(crate) fn committed(&self) -> Committed {
        let committer = self.committer.lock();
        let Committer { groups, frames, bytes, syncs, .. } = *committer;
        Committed { groups, frames, bytes, syncs }
    }
}
