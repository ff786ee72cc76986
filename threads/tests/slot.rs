//! The state machine of one slot, reserve → append → sync → publish, as models in which every order of
//! three threads is gone through, two callers and the committer, whatever interrupts whom. Of the log
//! there is what a slot needs, frames handed over one by one; `group.rs` has groups.
//!
//! `src/engine/claim.rs`, `settle.rs` and `publish.rs` are what it is a model of; `store.rs` tries
//! the real ones out, in as many orders as there is time for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::mpsc::{Receiver, Sender, channel};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// With the number of the frame that made it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    /// The frame, a claim or its end, is in the log and not published yet.
    Pending(usize),
    Held(usize),
    Done(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Claim,
    Complete,
    Release,
}

/// Something that happens once.
struct Event {
    happened: Mutex<bool>,
    told: Condvar,
}

impl Event {
    fn new() -> Self {
        Self { happened: Mutex::new(false), told: Condvar::new() }
    }

    fn wait(&self) {
        let mut happened = self.happened.lock().unwrap();
        while !*happened {
            happened = self.told.wait(happened).unwrap();
        }
    }

    fn fire(&self) {
        *self.happened.lock().unwrap() = true;
        self.told.notify_all();
    }
}

/// Frames of one run, at most.
const FRAMES: usize = 2;

/// A bug planted in the model, which is on trial, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A claim is granted before it is on disk.
    Hasty,
    /// What is appended is seen before it is on disk.
    PublishedBeforeSync,
    /// Whoever finds a frame under way does not wait for it.
    Impatient,
    /// The slot is looked at and taken under two locks.
    CheckedThenActed,
}

struct Store {
    slot: Mutex<Slot>,
    log: Sender<Frame>,
    /// Frames appended, which the slot's lock guards.
    appended: AtomicUsize,
    /// By a frame's number: whether it is published.
    published: [Event; FRAMES + 1],
    /// Frames on disk.
    synced: loom::sync::atomic::AtomicUsize,
    bug: Option<Bug>,
}

#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Granted,
    InFlight,
    Replay,
}

impl Store {
    fn new(slot: Slot, bug: Option<Bug>) -> (Arc<Self>, Receiver<Frame>) {
        let (log, frames) = channel();
        let store = Self {
            slot: Mutex::new(slot),
            log,
            appended: AtomicUsize::new(0),
            published: std::array::from_fn(|_| Event::new()),
            synced: loom::sync::atomic::AtomicUsize::new(0),
            bug,
        };
        (Arc::new(store), frames)
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Under the slot's lock, as the engine's appends are.
    fn append(&self, frame: Frame) -> usize {
        let number = self.appended.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(number <= FRAMES, "P0.1: a frame too many");
        self.log.send(frame).unwrap();
        number
    }

    fn wait_for(&self, number: usize) {
        self.published[number].wait();
    }

    /// What an answer rests on is on disk (P0.2).
    fn assert_on_disk(&self, number: usize) {
        let synced = self.synced.load(Ordering::SeqCst);
        assert!(synced >= number, "P0.2: frame {number} is shown, and {synced} are on disk");
    }

    fn claim(&self) -> Claim {
        loop {
            let mut slot = self.slot.lock().unwrap();
            match *slot {
                Slot::Held(number) => {
                    self.assert_on_disk(number);
                    return Claim::InFlight;
                }
                Slot::Done(number) => {
                    self.assert_on_disk(number);
                    return Claim::Replay;
                }
                Slot::Pending(number) => {
                    drop(slot);
                    if self.has(Bug::Impatient) {
                        self.assert_on_disk(number);
                        return Claim::InFlight;
                    }
                    self.wait_for(number);
                }
                Slot::Free => {
                    if self.has(Bug::CheckedThenActed) {
                        drop(slot);
                        slot = self.slot.lock().unwrap();
                    }
                    let number = self.append(Frame::Claim);
                    *slot = Slot::Pending(number);
                    drop(slot);
                    if !self.has(Bug::Hasty) {
                        self.wait_for(number);
                    }
                    self.assert_on_disk(number);
                    return Claim::Granted;
                }
            }
        }
    }

    /// Claims, and waits behind the claim that holds the key until frame `end` has ended it.
    fn claim_or_wait(&self, end: usize) -> Claim {
        match self.claim() {
            Claim::InFlight => {
                self.wait_for(end);
                self.claim()
            }
            claim => claim,
        }
    }

    fn end(&self, frame: Frame) {
        let mut slot = self.slot.lock().unwrap();
        assert!(matches!(*slot, Slot::Held(_)), "the ticket holds its key");
        let number = self.append(frame);
        *slot = Slot::Pending(number);
        drop(slot);
        self.wait_for(number);
        self.assert_on_disk(number);
    }

    /// The committer: takes so many frames, one after the other, syncs, publishes, and wakes whoever
    /// waits.
    fn commit(&self, log: &Receiver<Frame>, frames: usize) {
        for number in 1..=frames {
            let frame = log.recv().unwrap();
            let sync = || self.synced.fetch_add(1, Ordering::SeqCst);
            if !self.has(Bug::PublishedBeforeSync) {
                sync();
            }
            *self.slot.lock().unwrap() = match frame {
                Frame::Claim => Slot::Held(number),
                Frame::Complete => Slot::Done(number),
                Frame::Release => Slot::Free,
            };
            self.published[number].fire();
            if self.has(Bug::PublishedBeforeSync) {
                sync();
            }
        }
    }
}

/// Tries every order out, and says how many there were.
fn in_every_order(run: impl Fn() + Send + Sync + 'static) {
    let tried = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&tried);
    let mut orders = loom::model::Builder::new();
    orders.preemption_bound = None;
    orders.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{} orders: {name}", tried.load(Ordering::Relaxed));
}

fn spawn<T: 'static>(
    store: &Arc<Store>,
    run: impl FnOnce(&Store) -> T + 'static,
) -> thread::JoinHandle<T> {
    let store = Arc::clone(store);
    thread::spawn(move || run(&store))
}

/// Two claim a free key at once. One frame, so one claim, is all that the committer is to see.
fn two_claim(bug: Option<Bug>) {
    let (store, log) = Store::new(Slot::Free, bug);
    let callers = [(), ()].map(|()| spawn(&store, Store::claim));
    store.commit(&log, 1);
    let told = callers.map(|caller| caller.join().unwrap());
    assert!(told.contains(&Claim::Granted) && told.contains(&Claim::InFlight), "P0.1: {told:?}");
    assert_eq!(*store.slot.lock().unwrap(), Slot::Held(1));
}

/// One completes the claim it holds, and another claims the key.
fn one_completes_and_one_claims(bug: Option<Bug>) {
    let (store, log) = Store::new(Slot::Held(0), bug);
    let ending = spawn(&store, |store| store.end(Frame::Complete));
    let claiming = spawn(&store, Store::claim);
    store.commit(&log, 1);
    ending.join().unwrap();
    assert_ne!(claiming.join().unwrap(), Claim::Granted, "P0.1");
    assert_eq!(*store.slot.lock().unwrap(), Slot::Done(1));
}

/// One releases the claim it holds, and another claims the key, or waits for it.
fn one_releases_and_one_waits(bug: Option<Bug>) {
    let (store, log) = Store::new(Slot::Held(0), bug);
    let ending = spawn(&store, |store| store.end(Frame::Release));
    let waiting = spawn(&store, |store| store.claim_or_wait(1));
    store.commit(&log, 2);
    ending.join().unwrap();
    assert_eq!(waiting.join().unwrap(), Claim::Granted, "the key is free again");
    assert_eq!(*store.slot.lock().unwrap(), Slot::Held(2));
}

#[test]
fn p0_1_in_every_order_one_of_two_that_claim_is_granted() {
    in_every_order(|| two_claim(None));
}

#[test]
fn p0_2_in_every_order_a_completion_is_shown_once_it_is_on_disk() {
    in_every_order(|| one_completes_and_one_claims(None));
}

#[test]
fn p0_1_in_every_order_a_released_key_is_granted_to_the_one_who_waits() {
    in_every_order(|| one_releases_and_one_waits(None));
}

#[test]
#[should_panic(expected = "P0.2: frame 1 is shown, and 0 are on disk")]
fn p0_2_a_grant_before_it_is_on_disk_is_found_out() {
    in_every_order(|| two_claim(Some(Bug::Hasty)));
}

#[test]
#[should_panic(expected = "P0.2: frame 1 is shown, and 0 are on disk")]
fn p0_2_a_result_published_before_it_is_on_disk_is_found_out() {
    in_every_order(|| one_completes_and_one_claims(Some(Bug::PublishedBeforeSync)));
}

#[test]
#[should_panic(expected = "P0.2: frame 1 is shown, and 0 are on disk")]
fn p0_2_an_answer_that_does_not_wait_for_the_frame_under_way_is_found_out() {
    in_every_order(|| two_claim(Some(Bug::Impatient)));
}

/// The second claim is one that nobody commits.
#[test]
#[should_panic(expected = "deadlock")]
fn p0_1_a_slot_checked_and_then_taken_is_found_out() {
    in_every_order(|| two_claim(Some(Bug::CheckedThenActed)));
}
