//! The table of the segments there are, and holds on them.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::near::{self, Remembered};
use super::sealed::Sealed;
use super::segment::Segment;
use crate::crypt::OVERHEAD;
use crate::error::Error;
use crate::format::frame::{Header, SEALED};
use crate::location::Location;
use crate::outcome::{Place, Source, Unverified};
use crate::stripe;
use crate::sync::RwLock;
use crate::sync::atomic;

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
    #[inline]
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
/// who look at once do not pass one cache line to and fro. A change goes through all of them. A thread
/// remembers its copy (see `near`), and takes the lock when there is another state to remember.
#[derive(Debug)]
pub(crate) struct Segments {
    stripes: [Stripe; STRIPES],
    /// Which table of the process it is.
    number: usize,
    /// The number of its state, which no other state of any table has. It is replaced when all copies
    /// are changed, and read before one is: so nothing is remembered as newer than it is.
    state: atomic::AtomicU64,
}

const STRIPES: usize = 16;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(RwLock<Row>);

/// Segments in the order of their ids.
#[derive(Debug, Default)]
struct Row {
    holds: Vec<Arc<Hold>>,
    /// For the first who asks since the row was changed.
    remembered: OnceLock<Arc<Remembered>>,
}

impl Default for Segments {
    fn default() -> Self {
        static TABLES: AtomicUsize = AtomicUsize::new(0);
        Self {
            stripes: Default::default(),
            number: TABLES.fetch_add(1, Relaxed),
            state: atomic::AtomicU64::new(next_state()),
        }
    }
}

fn next_state() -> u64 {
    static STATES: AtomicU64 = AtomicU64::new(0);
    STATES.fetch_add(1, Relaxed)
}

impl Row {
    fn place(&self, id: u32) -> Result<usize, usize> {
        // Ids follow one another but for what went before its time, so the guess is right.
        let first = self.holds.first().map_or(0, |hold| hold.id);
        let guess = id.wrapping_sub(first) as usize;
        if self.holds.get(guess).is_some_and(|hold| hold.id == id) {
            return Ok(guess);
        }
        self.holds.binary_search_by_key(&id, |hold| hold.id)
    }

    fn get(&self, id: u32) -> Option<&Arc<Hold>> {
        self.holds.get(self.place(id).ok()?)
    }

    fn remembered(&self) -> Arc<Remembered> {
        Arc::clone(self.remembered.get_or_init(|| Arc::new(Remembered::of(&self.holds))))
    }
}

impl Segments {
    fn read<R>(&self, look: impl FnOnce(&Row) -> R) -> R {
        // In range by construction.
        let stripe = self.stripes.get(stripe::of_thread(STRIPES)).unwrap_or_else(|| unreachable!());
        look(&stripe.0.read())
    }

    /// Changes all copies alike.
    fn change(&self, change: impl Fn(&mut Row)) {
        for stripe in &self.stripes {
            let mut row = stripe.0.write();
            change(&mut row);
            row.remembered = OnceLock::new();
        }
        self.state.store(next_state(), atomic::Ordering::Release);
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Segment>> {
        self.read(|row| row.get(id).map(|hold| Arc::clone(&hold.0)))
    }

    /// A hold on the segment, to read in it.
    #[inline]
    pub(crate) fn hold(&self, id: u32) -> Option<Arc<Hold>> {
        let state = self.state.load(atomic::Ordering::Acquire);
        near::hold(self.number, state, id).or_else(|| self.hold_afresh(state, id))
    }

    /// A hold from the table itself, which was read after its state; the thread remembers it.
    #[cold]
    fn hold_afresh(&self, state: u64, id: u32) -> Option<Arc<Hold>> {
        let (hold, remembered) = self.read(|row| (row.get(id).cloned(), row.remembered()));
        near::remember(self.number, state, &remembered);
        hold
    }

    /// [`hold`](Self::hold) of many, each given to `held`, with what it was asked with.
    pub(crate) fn hold_each<T>(
        &self,
        wanted: impl Iterator<Item = (u32, T)>,
        mut held: impl FnMut(T, Option<Arc<Hold>>),
    ) {
        wanted.for_each(|(id, with)| held(with, self.hold(id)));
    }

    pub(crate) fn insert(&self, segment: &Arc<Segment>) {
        self.change(|row| {
            let hold = Arc::new(Hold(Arc::clone(segment)));
            match row.place(segment.id) {
                Ok(place) => {
                    if let Some(there) = row.holds.get_mut(place) {
                        *there = hold;
                    }
                }
                Err(place) => row.holds.insert(place, hold),
            }
        });
    }

    pub(crate) fn remove(&self, id: u32) {
        self.change(|row| {
            if let Ok(place) = row.place(id) {
                row.holds.remove(place);
            }
        });
    }

    /// Every segment, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.read(|row| row.holds.iter().map(|hold| Arc::clone(&hold.0)).collect())
    }

    pub(crate) fn oldest(&self) -> Option<Arc<Segment>> {
        self.read(|row| row.holds.first().map(|oldest| Arc::clone(&oldest.0)))
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
        self.discount_many(location.segment(), 1);
    }

    /// So many records of segment `id` are gone from the index.
    pub(crate) fn discount_many(&self, id: u32, records: u64) {
        self.read(|row| {
            if let Some(segment) = row.get(id) {
                segment.live.fetch_sub(records, Relaxed);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{SimDisk, Storage};

    fn segment(id: u32) -> Arc<Segment> {
        let disk = SimDisk::new(1);
        disk.create_dir("").unwrap();
        let file = disk.create("file").unwrap();
        Arc::new(Segment::new(id, 1, file, 0, 0).unwrap())
    }

    #[test]
    fn segments_are_found_by_their_ids_whichever_are_gone() {
        let segments = Segments::default();
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

    /// A thread that looks once and never again must not keep a file on the disk.
    #[test]
    fn a_thread_that_remembers_a_segment_does_not_keep_it() {
        let segments = Segments::default();
        let one = segment(1);
        segments.insert(&one);
        drop(segments.hold(1).unwrap());
        let hold = segments.hold(1).unwrap();
        segments.remove(1);
        assert!(Arc::strong_count(&one) == 2 && hold.id == 1, "a hold keeps it");
        drop(hold);
        assert_eq!(Arc::strong_count(&one), 1, "nothing else does");
        assert!(segments.hold(1).is_none());
    }

    #[test]
    fn what_is_remembered_is_of_the_latest_state_of_the_table_that_is_asked() {
        let tables: Vec<Segments> = (0..9).map(|_| Segments::default()).collect();
        for round in 0..3_u64 {
            for (nth, table) in (0..).zip(&tables) {
                let other = segment(7);
                other.live.store(10 * round + nth, Relaxed);
                assert_eq!(table.hold(7).is_some(), round > 0);
                table.insert(&other);
            }
            for (nth, table) in (0..).zip(&tables) {
                for _ in 0..2 {
                    assert_eq!(table.hold(7).unwrap().live.load(Relaxed), 10 * round + nth);
                }
                assert!(table.hold(8).is_none());
            }
        }
    }
}
