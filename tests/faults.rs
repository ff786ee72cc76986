//! Faults of the program and of its callers: futures dropped at every await point, panics under a
//! lock, clocks that jump. Nothing is stuck, nothing is granted twice, what was started is finished.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "seeds are printed")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use onceward::storage::{Fault, SimDisk};
use onceward::{
    Claim, Clock, ErrorKind, Fingerprint, Key, ManualClock, Options, Reading, Record, Resolution,
    Resolved, State, Store, Ticket,
};

const TTL: Duration = Duration::from_secs(10);

fn key() -> Key<'static> {
    Key::new("acct_1", "k").unwrap()
}

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

fn open_with(disk: &Arc<SimDisk>, clock: impl Clock) -> Store {
    let disk: Arc<SimDisk> = Arc::clone(disk);
    Options::new()
        .ttl(TTL)
        .segment_size(64 << 10)
        .max_payload(1 << 20)
        .clock(clock)
        .stepped()
        .open_storage(disk)
        .unwrap()
}

fn new_store() -> (Arc<SimDisk>, Store) {
    let disk = Arc::new(SimDisk::new(1));
    let store = open_with(&disk, ManualClock::new(1_750_000_000_000));
    (disk, store)
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls `future` to its end, a step of the store between two polls.
fn drive<T>(store: &Store, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..100 {
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return output;
        }
        store.step().unwrap();
    }
    panic!("nothing moves, and somebody waits");
}

fn settle(store: &Store) {
    while store.step().unwrap() {}
}

fn grant(store: &Store) -> Ticket {
    match drive(store, store.claim(key(), print())).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn payload_of(record: &Record) -> Vec<u8> {
    record.payload().unwrap().unwrap().to_vec()
}

/// Polls what `begin` gives `polls` times, a step of the store before each but the first, and drops
/// it. `false` when it came back before.
fn drop_after<T>(
    store: &Store,
    polls: usize,
    begin: impl FnOnce() -> Pin<Box<dyn Future<Output = T> + Send>>,
) -> bool {
    let mut future = begin();
    for nth in 0..polls {
        if nth > 0 {
            store.step().unwrap();
        }
        if poll(future.as_mut()).is_ready() {
            return false;
        }
    }
    true
}

/// How often anything here is polled before it comes back, at most.
const POLLS_MAX: usize = 12;

/// A claim dropped before it delivered its ticket gives the key back, wherever it was.
#[test]
fn p0_1_a_claim_dropped_at_any_await_point_gives_the_key_back() {
    let mut pending = 0;
    for polls in 0..POLLS_MAX {
        let (_disk, store) = new_store();
        let dropped = drop_after(&store, polls, || Box::pin(store.claim(key(), print())));
        pending += usize::from(dropped);
        settle(&store);
        if dropped {
            assert!(store.get(key()).unwrap().is_none(), "after {polls} polls");
            assert_eq!(store.stats().in_flight, 0, "after {polls} polls");
            drive(&store, grant(&store).complete("done")).unwrap();
        } else {
            // It came back with the ticket, which was dropped: P0.4.
            assert_eq!(store.get(key()).unwrap().unwrap().state(), State::InDoubt);
        }
    }
    assert!((2..POLLS_MAX).contains(&pending), "{pending} await points were met");
}

/// A claim that is given up on its way to the disk may never have been: nobody is shown it.
#[test]
fn p0_a_claim_given_up_before_it_was_on_disk_is_not_shown() {
    let (disk, store) = new_store();
    assert!(drop_after(&store, 1, || Box::pin(store.claim(key(), print()))));
    assert!(store.get(key()).unwrap().is_none(), "its claim is not on disk yet");
    let disk = Arc::new(disk.power_loss_total());
    drop(store);
    let store = open_with(&disk, ManualClock::new(1_750_000_000_000));
    assert!(store.get(key()).unwrap().is_none());
}

/// A walk lists a key in flight when a look at the key shows it, and at no other time.
#[test]
fn p0_a_walk_shows_what_a_look_at_the_key_shows() {
    let (disk, store) = new_store();
    let both = |store: &Store| {
        let looked = store.get(key()).unwrap().map(|record| record.state());
        let walked: Vec<_> = store.iter().map(|item| item.unwrap().record.state()).collect();
        assert_eq!(Vec::from_iter(looked), walked);
        looked
    };
    let given_up = Box::pin(store.claim(key(), print()));
    assert!(drop_after(&store, 1, || given_up));
    assert_eq!(both(&store), None, "given up before it was on disk");
    settle(&store);
    let mut claim = Box::pin(store.claim(key(), print()));
    assert!(poll(claim.as_mut()).is_pending());
    assert_eq!(both(&store), None, "not on disk yet");
    settle(&store);
    assert_eq!(both(&store), Some(State::InFlight), "on disk, and its ticket on its way");
    let Claim::Granted(ticket) = drive(&store, claim).unwrap() else { panic!("not granted") };
    let released = ticket.release();
    assert_eq!(both(&store), Some(State::InFlight), "released, and not on disk yet");
    drive(&store, released).unwrap();
    assert_eq!(both(&store), None);
    drop(grant(&store));
    settle(&store);
    let mut resolved = Box::pin(store.resolve(key(), Resolution::Release));
    assert!(poll(resolved.as_mut()).is_pending());
    assert_eq!(both(&store), Some(State::InDoubt), "resolved, and not on disk yet");
    assert_eq!(drive(&store, resolved).unwrap(), Resolved::Done);
    let mut claim = Box::pin(store.claim(key(), print()));
    assert!(poll(claim.as_mut()).is_pending());
    disk.fail_operation(disk.operations(), Fault::Io);
    assert!(store.step().is_err());
    assert!(matches!(poll(claim.as_mut()), Poll::Ready(Err(_))));
    assert_eq!(both(&store), None, "nobody knows whether it is on disk");
}

/// Once it is closed, a store whose writes had failed knows nothing any more: somebody else may own
/// the directory, and have decided otherwise.
#[test]
fn p0_a_store_that_is_poisoned_and_then_closed_is_closed_to_all() {
    let (disk, store) = new_store();
    drive(&store, grant(&store).complete(b"done".to_vec())).unwrap();
    let other = Key::new("acct_1", "other").unwrap();
    let mut claim = Box::pin(store.claim(other, print()));
    assert!(poll(claim.as_mut()).is_pending());
    disk.fail_operation(disk.operations(), Fault::Io);
    assert!(store.step().is_err());
    drop(claim);
    let left = store.clone();
    assert!(matches!(left.get(key()), Ok(Some(_))), "looks go on");
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
    let closed = |error: onceward::Error| assert_eq!(error.kind(), ErrorKind::Closed);
    closed(left.get(key()).unwrap_err());
    closed(left.get(other).unwrap_err());
    closed(left.blocking_claim(key(), print()).unwrap_err());
    closed(left.get_many(&[key()]).remove(0).unwrap_err());
    closed(left.checkpoint().unwrap_err());
}

/// A finish that was begun is finished, with its payload or, where it waited for room, as a
/// tombstone.
#[test]
fn p0_2_a_completion_dropped_at_any_await_point_is_finished_all_the_same() {
    for octets in [5, 200_000] {
        let mut pending = 0;
        for polls in 0..POLLS_MAX {
            let (_disk, store) = new_store();
            let ticket = grant(&store);
            let payload = vec![7_u8; octets];
            let dropped = drop_after(&store, polls, || Box::pin(ticket.complete(payload.clone())));
            pending += usize::from(dropped);
            settle(&store);
            assert_eq!(store.stats().in_flight, 0, "{octets} octets, {polls} polls");
            match drive(&store, store.claim(key(), print())).unwrap() {
                Claim::Replay(record) if record.is_tombstone() => {
                    assert!(dropped && octets > 5, "there was room for {octets} octets");
                }
                Claim::Replay(record) => assert_eq!(payload_of(&record), payload),
                other => panic!("{octets} octets, {polls} polls: {other:?}"),
            }
        }
        assert!((2..POLLS_MAX).contains(&pending), "{pending} await points were met");
    }
}

#[test]
fn p0_a_tombstone_and_a_release_dropped_at_any_await_point_are_finished() {
    for polls in 0..POLLS_MAX {
        let (_disk, store) = new_store();
        let ticket = grant(&store);
        drop_after(&store, polls, || Box::pin(ticket.complete_without_payload("note")));
        settle(&store);
        let record = store.get(key()).unwrap().unwrap();
        assert_eq!(record.note().unwrap(), "note", "after {polls} polls");

        let (_disk, store) = new_store();
        let ticket = grant(&store);
        drop_after(&store, polls, || Box::pin(ticket.release()));
        settle(&store);
        assert!(store.get(key()).unwrap().is_none(), "after {polls} polls");
        drop(grant(&store));
    }
}

/// A resolution writes at its first poll; dropped before, it never was.
#[test]
fn p0_4_a_resolution_dropped_at_any_await_point_is_whole_or_never_was() {
    for polls in 0..POLLS_MAX {
        let (_disk, store) = new_store();
        drop(grant(&store));
        settle(&store);
        let resolution = Resolution::Complete("found".into());
        drop_after(&store, polls, || Box::pin(store.resolve(key(), resolution)));
        settle(&store);
        match drive(&store, store.claim(key(), print())).unwrap() {
            Claim::InDoubt(_) if polls == 0 => {}
            Claim::Replay(record) if polls > 0 => assert_eq!(payload_of(&record), b"found"),
            other => panic!("after {polls} polls: {other:?}"),
        }
        let again = drive(&store, store.resolve(key(), Resolution::Release)).unwrap();
        assert_eq!(again, if polls == 0 { Resolved::Done } else { Resolved::Complete });
    }
}

/// One of two who wait goes away, at any moment: the other is granted, once, and nobody is stuck.
#[test]
fn p0_1_a_wait_dropped_at_any_await_point_takes_the_key_from_nobody() {
    let far = Instant::now() + Duration::from_secs(3_600);
    for before in 0..3 {
        for after in 0..POLLS_MAX {
            let (_disk, store) = new_store();
            let ticket = grant(&store);
            let wait = || match drive(&store, store.claim(key(), print())).unwrap() {
                Claim::InFlight(wait) => Box::pin(wait.until(far)),
                other => panic!("{other:?}"),
            };
            let (mut leaves, mut stays) = (wait(), wait());
            for _ in 0..before {
                assert!(poll(leaves.as_mut()).is_pending());
            }
            assert!(poll(stays.as_mut()).is_pending());
            drive(&store, ticket.release()).unwrap();
            let mut left = None;
            for _ in 0..after {
                if let Poll::Ready(claim) = poll(leaves.as_mut()) {
                    left = Some(claim.unwrap());
                    break;
                }
                store.step().unwrap();
            }
            drop(leaves);
            if let Some(Claim::Granted(ticket)) = left {
                assert!(poll(stays.as_mut()).is_pending(), "the key was granted twice");
                drive(&store, ticket.release()).unwrap();
            }
            match drive(&store, stays).unwrap() {
                Claim::Granted(ticket) => drive(&store, ticket.complete("done")).unwrap(),
                other => panic!("{before} polls before, {after} after: {other:?}"),
            }
            assert_eq!(store.stats().in_flight, 0);
        }
    }
}

/// A clock that panics once when it is told to. Clocks are the caller's code, which the store runs.
#[derive(Clone)]
struct Panics(ManualClock, Arc<AtomicBool>);

impl Clock for Panics {
    fn read(&self) -> Reading {
        assert!(!self.1.swap(false, Ordering::SeqCst), "told to");
        self.0.read()
    }
}

/// A clock that commits what waits at one of its readings, as the committer's thread may at any time.
#[derive(Clone)]
struct Commits(ManualClock, Arc<Mutex<Option<(u32, Store)>>>);

impl Clock for Commits {
    fn read(&self) -> Reading {
        self.0.read()
    }

    fn since_boot(&self) -> Duration {
        let mut told = self.1.lock().unwrap();
        if let Some((readings @ 1.., _)) = told.as_mut() {
            *readings -= 1;
        } else if let Some((_, store)) = told.take() {
            drop(told);
            let _ = store.step();
        }
        self.0.since_boot()
    }
}

/// A tree that takes no checkpoint, and all that is published in a segment has expired. The last
/// result there is published at any moment of a sweep, which keeps it.
#[test]
fn p0_3_a_sweep_without_the_tree_keeps_what_is_published_meanwhile() {
    let [old, new, next] = ["old", "new", "next"].map(|name| Key::new("acct_1", name).unwrap());
    for readings in 0_u32.. {
        let clock = Commits(ManualClock::new(1_750_000_000_000), Arc::default());
        let disk = Arc::new(SimDisk::new(1));
        let store = open_with(&disk, clock.clone());
        let granted = |key| match drive(&store, store.claim(key, print())).unwrap() {
            Claim::Granted(ticket) => ticket,
            other => panic!("{other:?}"),
        };
        drive(&store, granted(old).complete(vec![7; 50_000])).unwrap();
        let tickets = [granted(new), granted(next)];
        settle(&store);
        clock.0.advance(2 * TTL);
        let [new_ticket, next_ticket] = tickets;
        // The second is too large for what is left of the segment.
        let pending = (new_ticket.complete("new"), next_ticket.complete(vec![7; 20_000]));
        disk.fail_operation(disk.operations(), Fault::Full);
        *clock.1.lock().unwrap() = Some((readings, store.clone()));
        let _ = store.sweep();
        let over = clock.1.lock().unwrap().take().is_some();
        drop(pending);
        if store.stats().poisoned {
            // The fault met the log.
            continue;
        }
        settle(&store);
        let record = store.get(new).unwrap();
        let record = record.unwrap_or_else(|| panic!("lost at reading {readings}"));
        assert_eq!(payload_of(&record), b"new");
        if over {
            assert!(readings > 3, "a sweep asks what time it is");
            break;
        }
    }
}

/// Wakers are the caller's code too: one that panics when it is woken.
struct PanickingWaker;

impl std::task::Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("told to");
    }
}

/// The caller's clock panics in the middle of any call: nobody hangs, and the store goes on or says
/// that it is poisoned; the key is never granted twice.
#[test]
fn p0_a_clock_that_panics_in_any_call_hangs_nobody() {
    for call in 0..6 {
        let disk = Arc::new(SimDisk::new(1));
        let switch = Arc::new(AtomicBool::new(false));
        let clock = ManualClock::new(1_750_000_000_000);
        let store = open_with(&disk, Panics(clock.clone(), Arc::clone(&switch)));
        let [known, other] = ["known", "other"].map(|name| Key::new("acct_1", name).unwrap());
        match drive(&store, store.claim(known, print())).unwrap() {
            Claim::Granted(ticket) => drive(&store, ticket.complete("known")).unwrap(),
            other => panic!("{other:?}"),
        }
        let mut ticket = Some(grant(&store));
        switch.store(true, Ordering::SeqCst);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match call {
            0 => drop(poll(pin!(store.claim(other, print())))),
            1 => drop(poll(pin!(ticket.take().unwrap().complete("done")))),
            2 => drop(store.step()),
            3 => drop(store.sweep()),
            4 => drop(store.checkpoint()),
            _ => drop(store.get(known)),
        }));
        switch.store(false, Ordering::SeqCst);
        // A step without work reads no clock.
        assert!(panicked.is_err() || matches!(call, 2 | 4), "call {call} reads the clock");
        let went_on = drive_or_error(&store, other);
        assert!(
            matches!(went_on, Ok(()) | Err(ErrorKind::Poisoned)),
            "after call {call}: {went_on:?}"
        );
        // Closing waits for nobody, and the next store knows the claim.
        drop(ticket);
        let _ = store.close();
        let store = open_with(&disk, clock);
        let again = drive(&store, store.claim(key(), print())).unwrap();
        assert!(matches!(again, Claim::InDoubt(_)), "after call {call}: {again:?}");
    }
}

fn drive_or_error(store: &Store, key: Key<'_>) -> Result<(), ErrorKind> {
    let mut claim = pin!(store.claim(key, print()));
    for _ in 0..100 {
        if let Poll::Ready(claim) = poll(claim.as_mut()) {
            return claim.map(drop).map_err(|error| error.kind());
        }
        store.step().map_err(|error| error.kind())?;
    }
    panic!("nothing moves, and somebody waits");
}

/// One of nine who wait for a group has a waker that panics: the others are told, and so is he, and
/// the store goes on.
#[test]
fn p0_a_waker_that_panics_costs_nobody_his_answer_and_the_store_nothing() {
    for threads in [false, true] {
        for bad in 0..9 {
            let disk = Arc::new(SimDisk::new(1));
            let store = if threads {
                Options::new().open_storage(disk).unwrap()
            } else {
                open_with(&disk, ManualClock::new(1_750_000_000_000))
            };
            let texts: Vec<String> = (0..9).map(|nth| format!("key-{nth}")).collect();
            let of = |nth: usize| Key::new("acct_1", &texts[nth]).unwrap();
            let waker = Waker::from(Arc::new(PanickingWaker));
            let mut claims: Vec<_> =
                (0..9).map(|nth| Box::pin(store.claim(of(nth), print()))).collect();
            let polled: Vec<_> = (claims.iter_mut().enumerate())
                .map(|(nth, claim)| {
                    let waker = if nth == bad { &waker } else { Waker::noop() };
                    claim.as_mut().poll(&mut Context::from_waker(waker))
                })
                .collect();
            for (claim, polled) in claims.into_iter().zip(polled) {
                let claimed = match polled {
                    Poll::Ready(claimed) => claimed,
                    Poll::Pending if threads => answer(claim),
                    Poll::Pending => drive(&store, claim),
                };
                let Claim::Granted(ticket) = claimed.unwrap() else { panic!("not granted") };
                let completed = ticket.complete("done");
                if threads { answer(completed) } else { drive(&store, completed) }.unwrap();
            }
            assert!(!store.stats().poisoned, "{bad}");
            store.close().unwrap();
        }
    }
}

/// What `future` comes to, on a thread of its own. Whoever hangs fails the test, which does not.
fn answer<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                let _ = tell.send(output);
                return;
            }
            std::thread::park();
        }
    });
    let told = told.recv_timeout(Duration::from_secs(60));
    told.unwrap_or_else(|_| panic!("somebody waits, and nobody tells him"))
}

/// Has the thread that wakes it panic, at that use of what a lock guards.
struct Arms(u64, std::sync::mpsc::Sender<()>);

impl std::task::Wake for Arms {
    fn wake(self: Arc<Self>) {
        onceward::panic_under_lock(Some(self.0));
        let _ = self.1.send(());
    }
}

/// The committer's own thread panics under a lock, at each of its steps in turn: everybody who waits
/// for a group, for a flight, for room, and everybody who comes later is told that the store is
/// poisoned, and what was acknowledged stands.
#[test]
fn p0_a_committer_that_dies_at_any_step_leaves_nobody_waiting() {
    for uses in 0..120 {
        let disk = Arc::new(SimDisk::new(1));
        let store = Options::new().segment_size(64 << 10).open_storage(disk.clone()).unwrap();
        let Claim::Granted(held) = store.blocking_claim(key(), print()).unwrap() else {
            panic!("not granted");
        };
        let Claim::InFlight(wait) = store.blocking_claim(key(), print()).unwrap() else {
            panic!("it is held");
        };
        // A group of its own, so that nobody but the committer wakes it.
        let (arm, armed) = std::sync::mpsc::channel();
        let waker = Waker::from(Arc::new(Arms(uses, arm)));
        for nth in 0.. {
            let text = format!("arms-{nth}");
            let mut claim = Box::pin(store.claim(Key::new("", &text).unwrap(), print()));
            if claim.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                armed.recv_timeout(Duration::from_secs(60)).unwrap();
                break;
            }
        }
        let far = Instant::now() + Duration::from_secs(3_600);
        let waiting = std::thread::spawn(move || answer(wait.until(far)));
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let store = store.clone();
                std::thread::spawn(move || {
                    for nth in 0.. {
                        let text = format!("{worker}-{nth}");
                        let of = Key::new("acct_1", &text).unwrap();
                        let claimed = match answer(store.claim(of, print())) {
                            Ok(Claim::Granted(ticket)) => answer(ticket.complete(text.clone()))
                                .map_err(|error| error.error().kind()),
                            Ok(other) => panic!("{other:?}"),
                            Err(error) => Err(error.kind()),
                        };
                        if let Err(kind) = claimed {
                            return (kind, (0..nth).map(|nth| format!("{worker}-{nth}")).collect());
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        let mut done: Vec<String> = Vec::new();
        for worker in workers {
            let (kind, acknowledged): (_, Vec<String>) = worker.join().unwrap();
            assert_eq!(kind, ErrorKind::Poisoned, "use {uses}");
            done.extend(acknowledged);
        }
        let told = waiting.join().unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Poisoned, "use {uses}");
        let later = answer(store.claim(Key::new("", "later").unwrap(), print())).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Poisoned, "use {uses}");
        drop(held);
        let _ = store.close();
        let store = open_with(&disk, ManualClock::new(1_750_000_000_000));
        for text in done {
            let record = store.get(Key::new("acct_1", &text).unwrap()).unwrap();
            assert_eq!(payload_of(&record.unwrap()), text.as_bytes(), "use {uses}");
        }
        assert_eq!(store.get(key()).unwrap().unwrap().state(), State::InDoubt);
    }
}

/// A thread panics at any use of what any lock of the store guards, in any call: nobody hangs, the
/// store goes on or says that it is poisoned, what was acknowledged stands, and no key is granted
/// twice, neither by this store nor by the next.
#[test]
fn p0_a_panic_under_any_lock_poisons_and_loses_nothing() {
    let (done, other) = (Key::new("acct_1", "done").unwrap(), Key::new("acct_1", "o").unwrap());
    // Each call with how many of its panics left the store poisoned, and how many did not.
    let mut came_of = [[0_u32; 2]; 9];
    for (call, came_of) in came_of.iter_mut().enumerate() {
        for uses in 0_u64.. {
            let clock = ManualClock::new(1_750_000_000_000);
            let disk = Arc::new(SimDisk::new(1));
            let store = open_with(&disk, clock.clone());
            // From here on the tree is told of changes alone.
            store.checkpoint().unwrap();
            let ended = drive(&store, store.claim(done, print())).unwrap();
            let Claim::Granted(ended) = ended else { panic!("{ended:?}") };
            drive(&store, ended.complete("done")).unwrap();
            let mut ticket = Some(grant(&store));
            let Claim::InFlight(wait) = drive(&store, store.claim(key(), print())).unwrap() else {
                panic!("it is held");
            };
            let mut wait = Box::pin(wait.until(Instant::now() + Duration::from_secs(3_600)));
            assert!(poll(wait.as_mut()).is_pending());
            let mut held = None;
            if call == 1 || call == 2 {
                // Something for the committer.
                held = Some(Box::pin(store.claim(other, print())));
                assert!(poll(held.as_mut().unwrap().as_mut()).is_pending());
            }
            onceward::panic_under_lock(Some(uses));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match call {
                0 => drop(poll(pin!(store.claim(other, print())))),
                1 => drop(store.step()),
                // A round in which both a checkpoint and a sweep are due.
                2 => store.keep_house(40),
                3 => drop(poll(pin!(ticket.take().unwrap().complete("held")))),
                4 => drop(ticket.take()),
                5 => drop(store.sweep()),
                6 => drop(store.checkpoint()),
                7 => drop(store.close()),
                _ => drop((store.get(key()), store.stats())),
            }));
            let left = onceward::panic_under_lock(None);
            assert_eq!(panicked.is_err(), left.is_none(), "call {call}, use {uses}");
            if panicked.is_ok() {
                assert!(uses > 0, "call {call} takes a lock");
                break;
            }
            // Whoever was at it is answered. A panic while something is only looked at, or before
            // anything was changed, need not end the store.
            let said = drive_or_error(&store, Key::new("acct_1", "new").unwrap());
            let poisoned = match said {
                Ok(()) => false,
                Err(ErrorKind::Poisoned | ErrorKind::Closed) => true,
                Err(kind) => panic!("call {call}, use {uses}: {kind:?}"),
            };
            came_of[usize::from(poisoned)] += 1;
            if poisoned && matches!(call, 0 | 3 | 4 | 8) {
                // The housekeeper finds out for the callers, in its next round; here it is a step.
                assert!(store.step().is_err());
            }
            if let Some(mut claim) = held {
                for _ in 0..10 {
                    if poll(claim.as_mut()).is_ready() {
                        break;
                    }
                    assert!(!poisoned, "call {call}, use {uses}: a claim is not answered");
                    store.step().unwrap();
                }
            }
            if poisoned {
                let told = poll(wait.as_mut()).is_ready();
                assert!(told, "call {call}, use {uses}: one who waits is not told");
            }
            drop(wait);
            let seen = store.get(done);
            assert!(
                matches!(&seen, Ok(Some(record)) if payload_of(record) == b"done")
                    || seen.as_ref().is_err_and(|error| error.kind() == ErrorKind::Closed),
                "call {call}, use {uses}: {seen:?}"
            );
            if !poisoned {
                // It goes on: also into the tree.
                store.checkpoint().unwrap();
                store.sweep().unwrap();
            }
            drop(ticket);
            let _ = store.close();
            // Neither the process's end nor an orderly one loses anything.
            let store = open_with(&Arc::new(disk.kill()), clock);
            let again = drive(&store, store.claim(key(), print())).unwrap();
            match again {
                Claim::InDoubt(_) => {}
                Claim::Replay(record) if call == 3 => assert_eq!(payload_of(&record), b"held"),
                other => panic!("call {call}, use {uses}: {other:?}"),
            }
            let Claim::Replay(record) = drive(&store, store.claim(done, print())).unwrap() else {
                panic!("call {call}, use {uses}: a result is lost");
            };
            assert_eq!(payload_of(&record), b"done");
        }
    }
    println!("{came_of:?} left the store as it was, or poisoned");
    for (call, [_, poisoned]) in came_of.iter().enumerate() {
        assert!(*poisoned > 0, "call {call}: {came_of:?}");
    }
    for call in [1, 2, 5, 6, 7] {
        assert_eq!(came_of[call][0], 0, "call {call} is all of one piece: {came_of:?}");
    }
}

/// A caller who panics with a ticket in hand leaves one key in doubt, and the store as it was.
#[test]
fn a_caller_who_panics_with_a_ticket_leaves_its_key_in_doubt_and_poisons_nothing() {
    let (_disk, store) = new_store();
    let ticket = grant(&store);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ticket = ticket;
        panic!("the caller's own");
    }));
    assert!(panicked.is_err());
    settle(&store);
    assert_eq!(store.get(key()).unwrap().unwrap().state(), State::InDoubt);
    assert!(!store.stats().poisoned);
    assert_eq!(drive_or_error(&store, Key::new("acct_1", "other").unwrap()), Ok(()));
}

/// A million steps of clocks that go forward, back, jump decades and are suspended, with restarts
/// and reboots: a record is there at its last moment of elapsed time, and none is granted before.
#[test]
fn p0_5_in_a_million_steps_of_the_clock_nothing_expires_early() {
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_260_101,
    };
    println!("SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = ManualClock::new(1_750_000_000_000);
    let mut disk = Arc::new(SimDisk::new(seed));
    let mut store = open_with(&disk, clock.clone());
    let mut elapsed = Duration::ZERO;
    // When the record was completed, in elapsed time; `exact` while no reboot has hidden time.
    let (mut completed, mut exact) = (None, true);
    let (mut expired, mut reopened) = (0, 0);
    for step in 0..1_000_000_u32 {
        match rng.u32(..100_000) {
            0..25 => {
                drop(store.close());
                store = open_with(&disk, clock.clone());
                reopened += 1;
            }
            25..50 => {
                let next = Arc::new(disk.kill());
                drop(store);
                if rng.bool() {
                    clock.reboot();
                    exact = false;
                }
                disk = next;
                store = open_with(&disk, clock.clone());
                reopened += 1;
            }
            50..20_000 => {
                let decade_ms = 315_576_000_000_i64;
                let by = rng.i64(-decade_ms..decade_ms);
                clock.set_wall_ms(1_750_000_000_000_u64.saturating_add_signed(by));
            }
            20_000..20_100 => {
                // Suspended: time since boot goes on.
                let by = Duration::from_millis(rng.u64(..12_000));
                clock.advance(by);
                elapsed += by;
            }
            _ => {
                let by = Duration::from_millis(rng.u64(..3));
                clock.advance(by);
                elapsed += by;
            }
        }
        let seen = store.get(key()).unwrap().is_some();
        let due = completed.is_none_or(|at| elapsed > at + TTL);
        assert!(seen || due, "expired early, at step {step}; replay: SEED={seed}");
        if exact {
            assert!(!seen || !due, "expired late, at step {step}; replay: SEED={seed}");
        }
        if !seen {
            let ticket = grant(&store);
            drive(&store, ticket.complete("done")).unwrap();
            (completed, exact) = (Some(elapsed), true);
            expired += 1;
        }
    }
    println!("{expired} records, {reopened} openings");
    assert!(expired > 10 && reopened > 10, "{expired} records, {reopened} openings");
}

/// Many open one directory at the same moment: one has it, and the others are told so.
#[test]
fn of_all_that_open_a_store_at_once_exactly_one_has_it() {
    // In memory, where there is such a place: an open store costs a few syncs.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let data = directory.path().join("data");
    let together = std::sync::Barrier::new(2);
    for race in 0..500 {
        let opened = std::thread::scope(|scope| {
            let racer = || {
                together.wait();
                let opened = Options::new().segment_size(64 << 10).open(&data);
                // Nobody gives it back before the other has tried.
                together.wait();
                opened.map(drop).map_err(|error| error.kind())
            };
            [scope.spawn(racer), scope.spawn(racer)].map(|racer| racer.join().unwrap())
        });
        let won = opened.iter().filter(|opened| opened.is_ok()).count();
        assert_eq!(won, 1, "race {race}: {opened:?}");
        assert!(opened.contains(&Err(ErrorKind::Locked)), "race {race}: {opened:?}");
    }
}
