//! The table of the segments there are, and holds on them.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

use super::sealed::Sealed;
use super::segment::Segment;
use crate::crypt::OVERHEAD;
use crate::error::Error;
use crate::format::frame::{Header, SEALED};
use crate::location::Location;
use crate::outcome::{Place, Source, Unverified};
use crate::sync::RwLock;

/// A hold on a segment, for readers. Each stripe of the table has its own, so that threads who read
/// in one segment do not count their holds in one cache line.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Segment>);

impl Deref for Hold {
    type Target = Segment;
    fn deref(&self) -> &Segment {
        &self.0
    }
}

impl Hold {
    /// The payload of the frame at `offset`, to be verified when it is read.
    pub(crate) fn payload(self: Arc<Self>, offset: u64, header: &Header) -> Unverified {
        let place = Place {
            start: offset + header.head_len(),
            len: header.payload_len,
            crc: header.payload_crc,
        };
        if header.flags & SEALED == 0 && self.key().is_none() {
            return Unverified { source: self, place };
        }
        let len = header.payload_len.saturating_sub(OVERHEAD as u32);
        Unverified {
            source: Arc::new(Sealed { segment: self, offset, stored: place }),
            place: Place { len, ..place },
        }
    }
}

impl Source for Hold {
    fn view(&self, place: Place) -> Result<Cow<'_, [u8]>, Error> {
        self.0.view(place)
    }

    fn bytes(&self, place: Place) -> Result<Bytes, Error> {
        self.0.bytes(place)
    }
}

/// The segments there are, by id: an id grows with time and is never used again.
///
/// Kept in several copies, each under a lock of its own: a reader takes its thread's, so that those
/// who look at once do not pass one cache line to and fro. A change goes through all of them.
#[derive(Debug, Default)]
pub(crate) struct Segments([Stripe; STRIPES]);

const STRIPES: usize = 16;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(RwLock<Row>);

/// Segments in the order of their ids.
#[derive(Debug, Default)]
struct Row(Vec<Arc<Hold>>);

impl Row {
    fn place(&self, id: u32) -> Result<usize, usize> {
        // Ids follow one another but for what went before its time, so the guess is right.
        let first = self.0.first().map_or(0, |hold| hold.id);
        let guess = id.wrapping_sub(first) as usize;
        if self.0.get(guess).is_some_and(|hold| hold.id == id) {
            return Ok(guess);
        }
        self.0.binary_search_by_key(&id, |hold| hold.id)
    }

    fn get(&self, id: u32) -> Option<&Arc<Hold>> {
        self.0.get(self.place(id).ok()?)
    }
}

/// The stripe of this thread: threads take turns as they come.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Relaxed) % STRIPES;
    }
    MINE.with(|mine| *mine)
}

impl Segments {
    fn read<R>(&self, look: impl FnOnce(&Row) -> R) -> R {
        // In range by construction.
        let stripe = self.0.get(stripe()).unwrap_or_else(|| unreachable!());
        look(&stripe.0.read())
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Segment>> {
        self.read(|row| row.get(id).map(|hold| Arc::clone(&hold.0)))
    }

    /// A hold on the segment, to read in it.
    #[inline]
    pub(crate) fn hold(&self, id: u32) -> Option<Arc<Hold>> {
        self.read(|row| row.get(id).cloned())
    }

    /// [`hold`](Self::hold) of many, each given to `held`, with what it was asked with.
    pub(crate) fn hold_each<T>(
        &self,
        wanted: impl Iterator<Item = (u32, T)>,
        mut held: impl FnMut(T, Option<Arc<Hold>>),
    ) {
        self.read(|row| wanted.for_each(|(id, with)| held(with, row.get(id).cloned())));
    }

    pub(crate) fn insert(&self, segment: &Arc<Segment>) {
        for stripe in &self.0 {
            let hold = Arc::new(Hold(Arc::clone(segment)));
            let mut row = stripe.0.write();
            match row.place(segment.id) {
                Ok(place) => {
                    if let Some(there) = row.0.get_mut(place) {
                        *there = hold;
                    }
                }
                Err(place) => row.0.insert(place, hold),
            }
        }
    }

    pub(crate) fn remove(&self, id: u32) {
        for stripe in &self.0 {
            let mut row = stripe.0.write();
            if let Ok(place) = row.place(id) {
                row.0.remove(place);
            }
        }
    }

    /// Every segment, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.read(|row| row.0.iter().map(|hold| Arc::clone(&hold.0)).collect())
    }

    pub(crate) fn oldest(&self) -> Option<Arc<Segment>> {
        self.read(|row| row.0.first().map(|oldest| Arc::clone(&oldest.0)))
    }

    /// A record that expires at `expires_at_ms` now stands at `location`.
    pub(crate) fn count(&self, location: Location, expires_at_ms: u64) {
        self.count_many(location.segment(), 1, expires_at_ms);
    }

    /// So many records, which all expire by `expires_at_ms`, stand in segment `id` from now on.
    pub(crate) fn count_many(&self, id: u32, records: u64, expires_at_ms: u64) {
        self.read(|row| {
            if let Some(segment) = row.get(id) {
                segment.live.fetch_add(records, Relaxed);
                segment.records.fetch_add(records, Relaxed);
                segment.last_expiry_ms.fetch_max(expires_at_ms, Relaxed);
            }
        });
    }

    /// The record at `location`, counted when it was published, is in the index again.
    pub(crate) fn admit(&self, location: Location) {
        if let Some(segment) = self.get(location.segment()) {
            segment.live.fetch_add(1, Relaxed);
        }
    }

    /// The record at `location` is gone from the index.
    pub(crate) fn discount(&self, location: Location) {
        self.read(|row| {
            if let Some(segment) = row.get(location.segment()) {
                segment.live.fetch_sub(1, Relaxed);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{SimDisk, Storage};

    #[test]
    fn segments_are_found_by_their_ids_whichever_are_gone() {
        let disk = SimDisk::new(1);
        disk.create_dir("").unwrap();
        let file = disk.create("file").unwrap();
        let segments = Segments::default();
        let segment = |id| Arc::new(Segment::new(id, 1, Arc::clone(&file), 0, 0).unwrap());
        let found = || (0..20).filter(|id| segments.get(*id).is_some()).collect::<Vec<_>>();
        for id in [9, 3, 4, 5, 12, 6] {
            segments.insert(&segment(id));
        }
        assert_eq!(found(), [3, 4, 5, 6, 9, 12]);
        assert!(found().iter().all(|id| segments.hold(*id).unwrap().id == *id));
        segments.remove(5);
        segments.remove(3);
        segments.remove(7);
        segments.insert(&segment(13));
        assert_eq!(found(), [4, 6, 9, 12, 13]);
        assert_eq!(segments.oldest().unwrap().id, 4);
        assert!(segments.all().iter().map(|segment| segment.id).eq(found()));
        let mut each = Vec::new();
        segments.hold_each([(9, 'a'), (5, 'b')].into_iter(), |with, hold| {
            each.push((with, hold.map(|hold| hold.id)));
        });
        assert_eq!(each, [('a', Some(9)), ('b', None)]);
    }
}
