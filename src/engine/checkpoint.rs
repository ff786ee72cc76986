//! Checkpoints: what was published goes into the tree, so that an open replays nothing before it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use super::Inner;
use super::decide::Effect;
use super::publish::Publish;
use crate::error::{Error, ErrorKind};
use crate::format::frame::{Kind, RESOLVED};
use crate::format::head::{Head, SegmentRow};
use crate::index::{ByIdentity, Identity};
use crate::key::Key;
use crate::location::Location;
use crate::log::Position;
use crate::planted::{Bug, is_planted};
use crate::tree::{Entry, Piece, Tree, TreeError};

/// The tree, and what is on its way into it.
pub(super) struct Checkpointer {
    tree: Option<Tree>,
    /// Whether the tree must be made anew, of all that the index has.
    anew: bool,
    /// Pieces of the tree whose entries are in the index, by bucket and run: those that its
    /// checkpoints added, and those read into it.
    resident: BTreeSet<(u64, u64)>,
    /// What a checkpoint that failed left to do: by key, its latest change.
    pending: ByIdentity<Pending>,
    /// Claims in flight at `position`: their numbers, and where they stand.
    flights: ByIdentity<(u64, Location)>,
    /// Everything before it is in the tree, or pending.
    position: Position,
    /// Everything before it is in the tree.
    done: Option<Position>,
}

/// An entry for the tree.
#[derive(Clone, Copy)]
struct Pending {
    bucket: u64,
    entry: Entry,
    /// Whether it is about a key in doubt, or ends that: entries an open needs at once.
    doubt: bool,
}

impl Checkpointer {
    /// A checkpointer that goes on from `position`, with the claims in flight there.
    pub(super) fn new(tree: Option<Tree>, position: Position) -> Self {
        Self {
            anew: false,
            tree,
            resident: BTreeSet::new(),
            pending: ByIdentity::default(),
            flights: ByIdentity::default(),
            position,
            done: None,
        }
    }

    /// A claim that was in flight at the position it went on from.
    pub(super) fn begin(&mut self, identity: Identity, number: u64, location: Location) {
        self.flights.insert(identity, (number, location));
    }

    /// Takes one published frame in. Frames come in the log's order.
    fn absorb(&mut self, frame: &Publish, bucket: u64) {
        let entry = Entry {
            hash: frame.identity.ordered(),
            location: frame.location.to_bits(),
            sequence: frame.sequence,
        };
        match frame.effect {
            Effect::Begin => self.begin(frame.identity, frame.sequence, frame.location),
            Effect::End => {
                self.flights.remove(&frame.identity);
            }
            Effect::Settle | Effect::Forget => {
                self.flights.remove(&frame.identity);
                let change = Pending { bucket, entry, doubt: frame.doubt };
                let pending = self.pending.entry(frame.identity).or_insert(change);
                *pending = match *pending {
                    // What was in doubt when the tree was told last ends that doubt there, too: it has
                    // to stay for as long, however early it expires itself.
                    Pending { bucket, doubt: true, .. } => {
                        Pending { bucket: bucket.max(change.bucket), doubt: true, ..change }
                    }
                    _ => change,
                };
            }
        }
    }

    /// Whether the tree has everything before the position.
    pub(super) fn is_caught_up(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn tree(&mut self) -> Option<&mut Tree> {
        self.tree.as_mut()
    }

    /// The tree and its resident pieces, if there is one.
    pub(super) fn resident(&self) -> Option<(&Tree, &BTreeSet<(u64, u64)>)> {
        self.tree.as_ref().map(|tree| (tree, &self.resident))
    }

    /// The resident piece whose bucket is the oldest.
    pub(super) fn oldest_resident(&self) -> Option<Piece> {
        let (tree, resident) = self.resident()?;
        tree.pieces().find(|piece| !piece.run.doubts && resident.contains(&piece.name()))
    }

    /// A piece was read into the index.
    pub(super) fn took_in(&mut self, piece: Piece) {
        self.resident.insert(piece.name());
    }

    /// The entries of a piece are about to leave the index.
    pub(super) fn let_go(&mut self, piece: Piece) {
        self.resident.remove(&piece.name());
    }

    /// The tree has dropped pieces: a name that nothing in it bears any more is not remembered.
    pub(super) fn forget_dropped(&mut self) {
        let Some(tree) = &self.tree else { return };
        let there: BTreeSet<_> = tree.pieces().map(|piece| piece.name()).collect();
        self.resident.retain(|name| there.contains(name));
    }

    /// The tree cannot be believed: the next checkpoint makes it anew.
    pub(super) fn condemn(&mut self) {
        self.tree = None;
        self.anew = true;
        self.resident.clear();
    }

    pub(super) fn close(&mut self) -> Result<(), Error> {
        // A tree that does not close well is checked, or made anew, by the next open.
        self.tree.take().map_or(Ok(()), |tree| tree.close().map_err(Error::from))
    }
}

impl Inner {
    pub(super) fn checkpoint(&self) -> Result<(), Error> {
        let mut checkpointer = self.tree.lock();
        self.log.poison().check()?;
        let (frames, position) = {
            let mut queue = self.queue.lock();
            (std::mem::take(&mut queue.frames), queue.position)
        };
        // Not under the queue's lock, which the committer waits for.
        for frame in &frames {
            checkpointer.absorb(frame, self.buckets.bucket(frame.expires_at_ms));
        }
        checkpointer.position = position;
        drop(frames);
        // The tree may not know of what the log could still lose.
        if !is_planted(Bug::CheckpointedBeforeSync)
            && let Err(error) = self.log.sync_untold()
        {
            // Nobody is told under the tree's lock: who is may close the store, which takes it.
            drop(checkpointer);
            return Err(self.log.fail(&error));
        }
        match self.put(&mut checkpointer) {
            // The disk has no room but that of files that are kept.
            Err(error) if error.kind() == ErrorKind::Full && self.log.release_kept() => {
                self.put(&mut checkpointer)
            }
            put => put,
        }
    }

    /// Has the tree ready for its next commit, which walks through all of it first when it is the first
    /// since the store was opened.
    pub(super) fn prepare_tree(&self) {
        if let Some(tree) = &mut self.tree.lock().tree {
            // What fails, fails again when there is something to commit, and is told then.
            let _ = tree.prepare();
        }
    }

    /// Has the tree changed; once more, when the disk has no room but that of files that are kept.
    pub(super) fn in_kept_room(
        &self,
        mut change: impl FnMut() -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        match change() {
            Err(error) if error.is_full() && self.log.release_kept() => change(),
            changed => changed,
        }
    }

    /// Puts what is pending into the tree.
    fn put(&self, checkpointer: &mut Checkpointer) -> Result<(), Error> {
        if checkpointer.tree.is_some() && checkpointer.done == Some(checkpointer.position) {
            return Ok(());
        }
        if checkpointer.tree.is_none() {
            // The index does not know what the damaged tree alone did.
            self.cold.refuse_damaged()?;
        }
        let head = self.head(checkpointer);
        let mut entries: Vec<_> = checkpointer.pending.values().copied().collect();
        let mut tree = if let Some(tree) = checkpointer.tree.take() {
            tree
        } else {
            if checkpointer.anew {
                entries = self.everything(&checkpointer.pending)?;
            }
            // Until its first checkpoint the new tree says that nothing is in it.
            let bare = Head { segment: 0, ..head.clone() };
            Tree::create(self.storage.clone(), self.identity.id, &bare.encode())?
        };
        let (doubts, records): (Vec<_>, Vec<_>) = entries.iter().partition(|it| it.doubt);
        let bare = |of: Vec<&Pending>| of.into_iter().map(|it| (it.bucket, it.entry)).collect();
        match tree.checkpoint(&head.encode(), bare(records), bare(doubts)) {
            Ok(numbers) => {
                self.log.other_bytes.store(tree.file_len().unwrap_or(0), Relaxed);
                let added = tree.pieces().filter(|piece| numbers.contains(&piece.run.number));
                checkpointer.resident.extend(added.map(|piece| piece.name()));
                checkpointer.tree = Some(tree);
                checkpointer.anew = false;
                checkpointer.pending.clear();
                checkpointer.done = Some(checkpointer.position);
                self.relist(checkpointer, None);
                Ok(())
            }
            Err(error) => {
                if matches!(error, TreeError::Io(_)) && !checkpointer.anew {
                    checkpointer.tree = Some(tree);
                } else {
                    // Made anew next time: the file that stands is replaced.
                    checkpointer.condemn();
                }
                Err(self.tree_failed(checkpointer, error))
            }
        }
    }

    /// The head of a checkpoint at the checkpointer's position.
    pub(super) fn head(&self, checkpointer: &Checkpointer) -> Head {
        let position = checkpointer.position;
        let mut flights: Vec<_> = checkpointer.flights.values().copied().collect();
        // In the order of their numbers.
        flights.sort_unstable();
        let row = |segment: &crate::log::Segment| SegmentRow {
            id: segment.id,
            began_ms: segment.began_ms.load(Relaxed),
            records: segment.records.load(Relaxed),
            last_expiry_ms: segment.last_expiry_ms.load(Relaxed),
        };
        // One that is begun beyond the position may have nothing on disk yet: it is not there, then, and
        // was not lost. The replay of what comes behind the position finds it.
        let living = self.log.living().into_iter().filter(|it| it.id <= position.segment);
        Head {
            epoch: self.epoch,
            segment: position.segment,
            offset: position.offset,
            previous: position.previous,
            last_sequence: position.last_sequence,
            next_segment: self.log.next_segment(),
            ttl_max_ms: self.log.ttl_max_ms(),
            suspect_until_ms: self.suspect_until_ms.load(Relaxed),
            time: self.mark(),
            segments: living.map(|segment| row(&segment)).collect(),
            flights: flights.iter().map(|(_, at)| at.to_bits()).collect(),
        }
    }

    /// Every record of the index, with what is pending over it: all that a new tree must have.
    ///
    /// # Errors
    /// `Corrupt` when a record cannot be read: a tree without it would have its key forgotten.
    fn everything(&self, pending: &ByIdentity<Pending>) -> Result<Vec<Pending>, Error> {
        let mut all = ByIdentity::default();
        let locations: Vec<Location> = self
            .index
            .shards()
            .flat_map(|shard| shard.slots().map(|(_, at)| at).collect::<Vec<_>>())
            .collect();
        for location in locations {
            let Some(segment) = self.log.segments.get(location.segment()) else { continue };
            let (identity, header) = segment.head(location.offset(), |frame| {
                let key = Key::of_checked(frame.scope, frame.key);
                (Identity::of(key, &self.identity.secret), frame.header)
            })?;
            let entry = Entry {
                hash: identity.ordered(),
                location: location.to_bits(),
                sequence: header.sequence,
            };
            let bucket = self.buckets.bucket(header.term_ms);
            let doubt = header.kind == Kind::InDoubt || header.flags & RESOLVED != 0;
            all.insert(identity, Pending { bucket, entry, doubt });
        }
        for (identity, pending) in pending {
            let forgotten = Location::from_bits(pending.entry.location).is(Kind::Release);
            let newer =
                all.get(identity).is_none_or(|known| known.entry.sequence < pending.entry.sequence);
            if newer && !forgotten {
                all.insert(*identity, *pending);
            }
        }
        Ok(all.into_values().collect())
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Claim, Fingerprint, ManualClock, Options, storage::SimDisk};

    const TTL: Duration = Duration::from_secs(60);

    /// Many retentions go by. What is remembered of the tree's pieces is bounded by those there are.
    #[test]
    fn pieces_that_were_dropped_are_not_remembered() {
        let clock = ManualClock::new(1_750_000_000_000);
        let disk = SimDisk::new(1);
        let options = Options::new().ttl(TTL).segment_size(64 << 10).clock(clock.clone());
        let store = options.open_storage(std::sync::Arc::new(disk)).unwrap();
        let complete = |text: &str| {
            let key = Key::new("scope", text).unwrap();
            let claimed = store.blocking_claim(key, Fingerprint::of("a request")).unwrap();
            let Claim::Granted(ticket) = claimed else { panic!("{claimed:?}") };
            ticket.blocking_complete("done").unwrap();
        };
        let mut most = 0;
        for window in 0..100 {
            for nth in 0..4 {
                complete(&format!("{window} {nth}"));
                store.checkpoint().unwrap();
            }
            clock.advance(TTL / 2);
            store.sweep().unwrap();
            let checkpointer = store.inner().tree.lock();
            let (tree, resident) = checkpointer.resident().unwrap();
            let there = tree.pieces().map(|piece| piece.name()).collect();
            assert!(resident.is_subset(&there), "window {window}: {resident:?}");
            assert!(resident.len() >= 4, "what was read or written just now is remembered");
            most = most.max(resident.len());
        }
        assert!(most <= 3 * 4, "{most} pieces in two retentions");
    }
}
