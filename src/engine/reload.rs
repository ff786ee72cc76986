//! When the tree turns out to be damaged while the store is open: what it alone knew is read again
//! from the log, which has it all, and the tree is made anew. Until then a key that is not indexed
//! is refused as corrupt, for nobody knows whether it is free.

use std::sync::atomic::Ordering::Relaxed;

use super::Inner;
use super::cold::is_kept;
use crate::error::Error;
use crate::expiry::is_expired;
use crate::format::frame::Frame;
use crate::format::segment::HEADER;
use crate::index::Identity;
use crate::key::Key;
use crate::location::Location;
use crate::log::{Position, Segment, replay};
use crate::tree::Entry;

impl Inner {
    /// Reads everything into the index and makes the tree anew. The index may take more than its
    /// budget then, until the next [`spill`](Self::spill).
    ///
    /// # Errors
    /// `Io`: the log could not be read; what was refused stays so. What the new tree could not be
    /// written for, which later checkpoints try again.
    pub(super) fn reload(&self) -> Result<(), Error> {
        let _one = self.sweeping()?;
        self.refuse_closed()?;
        let mut sound = true;
        // What is behind it may not be on disk, and whoever publishes it puts it into the index.
        let published = self.queue.lock().position;
        let segments = self.log.segments.all();
        for segment in segments.iter().filter(|segment| segment.id <= published.segment) {
            sound &= self.reload_segment(segment, published)?;
        }
        if !sound {
            // What stood in the damaged bytes may be what the tree alone knew.
            let until_ms = self.now_ms().saturating_add(self.log.ttl_max_ms());
            self.suspect_until_ms.fetch_max(until_ms, Relaxed);
        }
        let mut checkpointer = self.tree.lock();
        // Once more: whoever had the turn before may have noted a piece of the one that had gone.
        checkpointer.condemn();
        self.cold.clear();
        drop(checkpointer);
        self.checkpoint()
    }

    /// Admits every result and tombstone of a segment that was published and has not expired:
    /// whichever of a key's is the newest stands in the end. Whether all of it could be read.
    fn reload_segment(&self, segment: &Segment, published: Position) -> Result<bool, Error> {
        let of = replay::Of { segment: segment.id, salt: Some(segment.salt) };
        let from = replay::From { offset: HEADER as u64, previous: None, last_sequence: 0 };
        let is_last = segment.id == published.segment;
        let end = Some(if is_last { published.offset } else { segment.counts_upto() });
        let now_ms = self.now_ms();
        let mut sound = true;
        let secret = &self.identity.secret;
        let found =
            replay::scan(&*segment.file, of, from, end, secret, &mut |offset, header, bytes| {
                let read = replay::frames(bytes, offset, header, &mut |at, frame, _| {
                    self.reload_frame(segment.id, at, frame, now_ms);
                });
                sound &= read.is_ok();
            })
            .map_err(|error| Error::io("reading a segment", error))?;
        Ok(sound && found.damage.is_empty())
    }

    fn reload_frame(&self, segment: u32, offset: u64, frame: &Frame<'_>, now_ms: u64) {
        let header = &frame.header;
        if !header.kind.is_keyed() || is_expired(header.term_ms, now_ms) {
            return;
        }
        let location = Location::new(segment, offset, header.kind);
        if is_kept(location) {
            let key = Key::of_checked(frame.scope, frame.key);
            self.admit(&Entry {
                hash: Identity::of(key, &self.identity.secret).ordered(),
                location: location.to_bits(),
                sequence: header.sequence,
            });
        }
    }
}

#[cfg(all(test, feature = "test-util"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::Cell;
    use std::future::Future;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::storage::{Fault, SimDisk};
    use crate::tree::TreeError;
    use crate::{Claim, ErrorKind, Fingerprint, ManualClock, Options, Resolution, Resolved};
    use crate::{State, Store, Ticket, at_locks};

    const TTL: Duration = Duration::from_secs(3600);
    /// More than what an opening writes again as a whole.
    const LARGE: usize = 300 << 10;

    /// Opens the store, which keeps so many records in memory.
    fn open(disk: &Arc<SimDisk>, resident: u64, seed: u64) -> Store {
        let options = Options::new().ttl(TTL).segment_size(1 << 20).seeded(seed).stepped();
        let options = options.clock(ManualClock::new(1_750_000_000_000));
        options.resident_records(resident).open_storage(Arc::clone(disk) as Arc<_>).unwrap()
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn drive<F: Future>(store: &Store, future: F) -> F::Output {
        let mut future = Box::pin(future);
        loop {
            if let Poll::Ready(output) = poll(&mut future) {
                return output;
            }
            while store.step().unwrap() {}
        }
    }

    fn key(name: &str) -> Key<'_> {
        Key::new("scope", name).unwrap()
    }

    fn claim(store: &Store, name: &str) -> Claim<Store> {
        drive(store, store.claim(key(name), Fingerprint::of("a request"))).unwrap()
    }

    fn granted(store: &Store, name: &str) -> Ticket {
        match claim(store, name) {
            Claim::Granted(ticket) => ticket,
            other => panic!("{name}: expected a grant, got {other:?}"),
        }
    }

    fn complete(store: &Store, name: &str, octets: usize) {
        drive(store, granted(store, name).complete(vec![7; octets])).unwrap();
    }

    fn is_replayed(store: &Store, name: &str) {
        let claimed = claim(store, name);
        let Claim::Replay(record) = claimed else { panic!("{name}: {claimed:?}") };
        assert!(record.payload().unwrap().is_some());
    }

    fn are_replayed(store: &Store, names: &[&str]) {
        for name in names {
            is_replayed(store, name);
        }
    }

    /// Damage is found in the tree, unless somebody keeps it.
    fn condemn(inner: &Inner) -> bool {
        let Some(mut checkpointer) = inner.tree.try_lock() else { return false };
        inner.tree_failed(&mut checkpointer, TreeError::Damaged("told to be".to_owned()));
        assert!(inner.cold.is_damaged());
        true
    }

    /// A key is being resolved, another one completed: their group is written, and is being synced, or
    /// that has failed, as the log is read again. Nobody was told of either.
    #[test]
    fn p0_2_what_is_not_on_disk_yet_is_not_read_back_from_the_log() {
        for fails in [true, false] {
            let disk = Arc::new(SimDisk::new(1));
            let store = open(&disk, u64::MAX, 1);
            complete(&store, "cold", LARGE);
            drop(granted(&store, "doubted"));
            while store.step().unwrap() {}
            store.close().unwrap();
            let store = open(&disk, u64::MAX, 2);
            let held = granted(&store, "held");
            let inner = store.inner();
            assert!(condemn(inner));
            let result = Resolution::Complete("the result".into());
            let mut resolved = Box::pin(store.resolve(key("doubted"), result));
            let mut completed = Box::pin(held.complete("the result"));
            assert!(poll(&mut resolved).is_pending() && poll(&mut completed).is_pending());
            if fails {
                // The write goes well, and the sync does not.
                disk.fail_operation(disk.operations() + 1, Fault::Io);
                store.step().unwrap_err();
                assert!(store.stats().poisoned);
            }
            assert_eq!(inner.reload().is_err(), fails, "no checkpoint follows a failed sync");
            let doubted = store.get(key("doubted")).unwrap().unwrap();
            assert_eq!(doubted.state(), State::InDoubt, "failed: {fails}");
            let all = || store.iter().map(Result::unwrap);
            let shown = all().filter(|item| item.record.state() == State::Complete).count();
            assert_eq!(shown, 1, "failed: {fails}");
            if !fails {
                assert_eq!(drive(&store, resolved).unwrap(), Resolved::Done);
                drive(&store, completed).unwrap();
                are_replayed(&store, &["cold", "doubted", "held"]);
                assert_eq!(all().count(), 3);
            }
        }
    }

    /// A store's last group may not be on disk: the next process writes it again, and where it stood it
    /// is void. The result in it leaves memory, and the log is read again.
    #[test]
    fn p0_3_a_result_is_not_read_back_from_where_it_is_void() {
        let disk = Arc::new(SimDisk::new(1));
        let store = open(&disk, u64::MAX, 1);
        complete(&store, "large", LARGE);
        complete(&store, "last", 8);
        let disk = Arc::new(disk.kill());
        drop(store);
        let store = open(&disk, 0, 2);
        store.checkpoint().unwrap();
        store.keep_house(1);
        let inner = store.inner();
        assert_eq!(inner.index.records(), 0, "the tree alone has them");
        assert!(condemn(inner));
        inner.reload().unwrap();
        are_replayed(&store, &["large", "last"]);
        assert_eq!(store.stats().suspect_until_ms, None);
        // The next opening does not write this segment again.
        complete(&store, "another", LARGE);
        store.close().unwrap();
        let store = open(&disk, 0, 3);
        are_replayed(&store, &["large", "last", "another"]);
    }

    /// A piece of the tree is read into memory, and at each lock that its reader comes to damage is
    /// found in the tree. The one that replaces it numbers its runs from the beginning, and its fifth is
    /// a merged one, of records that it alone has.
    #[test]
    fn p0_1_a_piece_of_a_condemned_tree_does_not_stand_for_one_of_the_next() {
        const RUNS: u64 = 5;
        let closed = Arc::new(SimDisk::new(1));
        let store = open(&closed, u64::MAX, 1);
        for nth in 0..RUNS {
            complete(&store, &format!("first {nth}"), if nth == 0 { LARGE } else { 8 });
            store.checkpoint().unwrap();
        }
        store.close().unwrap();
        let mut times = 0;
        for nth in 1.. {
            let disk = Arc::new(closed.fork());
            let store = open(&disk, 8, 2);
            let inner = store.inner();
            let newest = inner.cold.list().pieces.first().map(|cold| cold.piece.run.number);
            assert_eq!(newest, Some(RUNS - 1));
            let (came, condemned) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let hook = {
                let inner = Arc::clone(inner);
                let (came, condemned) = (Rc::clone(&came), Rc::clone(&condemned));
                move |_| {
                    came.set(came.get() + 1);
                    if came.get() == nth {
                        condemned.set(condemn(&inner));
                    }
                }
            };
            at_locks(Some(Box::new(hook)));
            let _ = inner.warm();
            at_locks(None);
            if came.get() < nth {
                break;
            }
            if !condemned.get() {
                continue;
            }
            times += 1;
            inner.reload().unwrap();
            for round in 0..3 {
                for nth in 0..3 {
                    complete(&store, &format!("{round} {nth}"), 8);
                }
                store.checkpoint().unwrap();
                store.keep_house(1);
            }
            let tree = inner.tree.lock().tree().map(|tree| tree.pieces().collect::<Vec<_>>());
            let merged = tree
                .unwrap()
                .iter()
                .any(|piece| piece.run.number == RUNS - 1 && piece.run.entries == RUNS + 3);
            assert!(merged, "lock {nth}");
            let first = (0..RUNS).map(|nth| format!("first {nth}"));
            let later = (0..9).map(|nth| format!("{} {}", nth / 3, nth % 3));
            for name in first.chain(later) {
                is_replayed(&store, &name);
            }
        }
        assert!(times > 0, "it was never condemned");
    }

    /// Somebody looks into the tree, which is made anew meanwhile: what came of his look, or that he
    /// can look no more, says nothing of the tree there is.
    #[test]
    fn a_look_into_a_tree_that_was_replaced_is_made_again() {
        let disk = Arc::new(SimDisk::new(1));
        let store = open(&disk, 0, 1);
        complete(&store, "cold", 8);
        for damaged in [false, true] {
            store.checkpoint().unwrap();
            store.keep_house(1);
            let inner = store.inner();
            let list = inner.cold.list();
            let piece = list.pieces.first().unwrap().piece;
            let mut replaced = false;
            let asked = inner.ask_tree(&list, &piece, |reader| {
                if !std::mem::replace(&mut replaced, true) {
                    assert!(condemn(inner));
                    inner.reload().unwrap();
                }
                if damaged {
                    return Err(TreeError::Damaged("a page of the one before".to_owned()));
                }
                reader.find(&piece, 0).map(Some)
            });
            assert!(asked.unwrap().is_none(), "damaged: {damaged}");
            assert!(inner.tree.lock().tree().is_some(), "the sound one stays");
            is_replayed(&store, "cold");
        }
    }

    /// A panic in a checkpoint takes the tree along.
    #[test]
    fn a_look_into_a_tree_that_is_gone_for_good_comes_to_an_end() {
        let store = open(&Arc::new(SimDisk::new(1)), 0, 1);
        complete(&store, "cold", 8);
        store.checkpoint().unwrap();
        store.keep_house(1);
        is_replayed(&store, "cold");
        store.inner().tree.lock().close().unwrap();
        assert_eq!(store.get(key("cold")).unwrap_err().kind(), ErrorKind::Io);
    }
}
