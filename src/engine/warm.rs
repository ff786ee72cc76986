//! Reading what the tree has into memory, after the store was opened: into the index as far as its
//! budget goes, newest bucket first, and for the rest into filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Inner;
use super::cold::{ColdPiece, Contents, List, is_kept};
use crate::error::Error;
use crate::index::{Filter, Identity};
use crate::key::Key;
use crate::location::Location;
use crate::planted::{Bug, is_planted};
use crate::sync::Mutex;
use crate::tree::Entry;

impl Inner {
    /// Reads one piece of the tree that was not read yet. `false` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the tree cannot be believed: it is being made anew from then on. `Io`.
    pub(super) fn warm(&self) -> Result<bool, Error> {
        // No piece, and no segment, goes meanwhile.
        let _one = self.sweeping()?;
        self.refuse_closed()?;
        self.cold.refuse_damaged()?;
        let list = self.cold.list();
        let mut unread = list.unread(self.now_ms());
        let Some(cold) = unread.next() else { return Ok(false) };
        let unread = cold.piece.run.entries + unread.map(|it| it.piece.run.entries).sum::<u64>();
        if self.has_memory_for(cold.piece.run.entries, unread) {
            self.load(&list, cold)?;
        } else if let Some(contents) = self.read_contents(&list, cold)? {
            self.cold.was_read(cold, contents);
        }
        Ok(true)
    }

    /// Puts the entries of a piece into the index, and takes it off the list.
    fn load(&self, list: &List, cold: &Arc<ColdPiece>) -> Result<(), Error> {
        let loaded = self.ask_tree(list, &cold.piece, |reader| {
            let whole = reader.stream(&cold.piece, &mut |entries| {
                for entry in entries {
                    self.admit(entry);
                }
            })?;
            Ok(whole.then_some(()))
        })?;
        if loaded.is_some() {
            let mut checkpointer = self.tree.lock();
            checkpointer.took_in(cold.piece);
            self.relist(&mut checkpointer, None);
        }
        Ok(())
    }

    /// Puts the record of one entry into the index, unless the key has a newer one there.
    pub(super) fn admit(&self, entry: &Entry) {
        let (identity, location) =
            (Identity::from_ordered(entry.hash), Location::from_bits(entry.location));
        if !is_kept(location) || self.log.segments.get(location.segment()).is_none() {
            return;
        }
        loop {
            let mut shard = self.index.shard(identity);
            let candidates = shard.candidates(identity);
            let mut old = None;
            if !candidates.is_empty() {
                if candidates.iter().any(|candidate| candidate == location) {
                    return;
                }
                drop(shard);
                for candidate in candidates.iter() {
                    match self.sequence_of(identity, candidate) {
                        Some(sequence) if sequence >= entry.sequence => return,
                        Some(_) => old = Some(candidate),
                        None => {}
                    }
                }
                shard = self.index.shard(identity);
                if shard.candidates(identity) != candidates {
                    continue;
                }
            }
            self.log.segments.admit(location);
            if let Some(replaced) = shard.put(identity, old, location) {
                self.log.segments.discount(replaced);
            }
            // What the flight's end replaces, as if it had been here when it began.
            if let Some(flight) = shard.flights.get_mut(&identity) {
                flight.replaces = Some(location);
            }
            return;
        }
    }

    /// The number of the frame at `location`, if that is of this key and can be read. One that
    /// cannot be is not taken for it: both then stand, and the key is refused as corrupt.
    fn sequence_of(&self, identity: Identity, location: Location) -> Option<u64> {
        let segment = self.log.segments.get(location.segment())?;
        let read = segment.head(location.offset(), |frame| {
            let key = Key::of_checked(frame.scope, frame.key);
            (Identity::of(key, &self.identity.secret) == identity).then_some(frame.header.sequence)
        });
        read.ok().flatten()
    }

    /// Reads the entries of a piece into a filter, and counts them by segment. `None` when the piece
    /// went meanwhile.
    pub(super) fn read_contents(
        &self,
        list: &List,
        cold: &ColdPiece,
    ) -> Result<Option<Contents>, Error> {
        self.ask_tree(list, &cold.piece, |reader| {
            let mut filter = Filter::with_room(cold.piece.run.entries);
            let mut segments = BTreeMap::<u32, u64>::new();
            let whole = reader.stream(&cold.piece, &mut |entries| {
                for entry in entries {
                    let location = Location::from_bits(entry.location);
                    if !is_kept(location) || self.log.segments.get(location.segment()).is_none() {
                        continue;
                    }
                    if !is_planted(Bug::FilterBitsMissing) {
                        filter.insert(Identity::from_ordered(entry.hash));
                    }
                    *segments.entry(location.segment()).or_default() += 1;
                }
            })?;
            Ok(whole.then(|| Contents { filter, segments: Mutex::new(segments) }))
        })
    }
}
