//! The real store, with its own threads, on a simulated disk, in as many orders of its threads as
//! there is time for: claims, their ends, waiters, drops, sweeps and closing never grant a key twice,
//! lose a result, or leave anybody waiting (a deadlock is a failure of its own).
//!
//! Random schedules and those of the PCT scheduler (Burckhardt and others, "A Randomized Scheduler
//! with Probabilistic Guarantees of Finding Bugs", 2010), in turn. Opening a store and closing it
//! takes longer than what is tried on it, so each scenario is played several times on one, a key
//! each time: what is counted as a schedule is one such playing, in an order of its own.
//!
//! | Variable | |
//! |---|---|
//! | `SEED` | of the schedules; `random` draws one |
//! | `SCHEDULES` | how many, of all scenarios together |
//! | `BUDGET_SECONDS` | ... or for how long, if that is less |
//! | `SHUTTLE_SCHEDULE` | a schedule that a failure printed, replayed for the test that it names |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "store/planted.rs"]
mod planted;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use onceward::storage::SimDisk;
use onceward::{
    Claim, ClaimOptions, ErrorKind, Fingerprint, Key, ManualClock, Options, Resolution, Resolved,
    State, Store, Ticket,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, Runner, thread};

/// In how many tests the schedules are spent.
const TESTS: usize = 8;
/// How often a scenario is played on one store.
const ROUNDS: usize = 12;
const TTL: Duration = Duration::from_secs(10);
/// How often PCT changes its mind in one playing: bugs of that depth it finds with some certainty.
const DEPTH: usize = 3;
/// Schedules of all scenarios, and seconds they took, so far.
static TRIED: AtomicUsize = AtomicUsize::new(0);

/// The key of a round.
fn key(round: usize) -> Key<'static> {
    const NAMES: [&str; ROUNDS] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    Key::new("acct_1", NAMES[round]).unwrap()
}

fn print() -> Fingerprint {
    Fingerprint::from_digest([1; 32])
}

/// A store made before: making one takes longer than what is tried on it.
fn disk() -> SimDisk {
    static MADE: OnceLock<SimDisk> = OnceLock::new();
    MADE.get_or_init(|| {
        let disk = Arc::new(SimDisk::new(1));
        let made = Arc::clone(&disk);
        let make = move || options(&ManualClock::new(0)).stepped().open_storage(made.clone());
        // Locks are the scheduler's, so that even this needs it.
        Runner::new(RandomScheduler::new_from_seed(1, 1), config()).run(move || {
            make().unwrap().close().unwrap();
        });
        disk.fork()
    })
    .fork()
}

fn options(clock: &ManualClock) -> Options {
    Options::new().ttl(TTL).segment_size(64 << 10).clock(clock.clone()).seeded(1)
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    // Orders in which memory is weaker than the scheduler's are `version.rs`'s to try.
    config.silence_warnings = true;
    config
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seed of every test's schedules; fixed unless told otherwise, so that a run cannot fail by the
/// luck of a draw.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let seed = match std::env::var("SEED").as_deref() {
            Ok("random") => getrandom::u64().unwrap(),
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => 20_260_101,
        };
        println!("SEED={seed}");
        seed
    })
}

/// A scheduler that stops when its time is up. Shuttle's own limit drops one in the middle of its
/// schedules, which then says that its last seed failed.
struct Timed<S> {
    /// `None` once its time was up.
    scheduler: Option<S>,
    until: Option<Instant>,
}

impl<S> Timed<S> {
    fn new(scheduler: S, budget: Option<Duration>) -> Self {
        Self { scheduler: Some(scheduler), until: budget.map(|budget| Instant::now() + budget) }
    }
}

impl<S: Scheduler> Scheduler for Timed<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            // Not dropped: it would tell of a failure.
            self.scheduler.take().map(std::mem::forget);
        }
        self.scheduler.as_mut()?.new_execution()
    }

    fn next_task(&mut self, tasks: &[&Task], now: Option<TaskId>, yields: bool) -> Option<TaskId> {
        self.scheduler.as_mut()?.next_task(tasks, now, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.as_mut().map_or(0, Scheduler::next_u64)
    }
}

/// A store that is opened, played on so often, and closed.
fn play(
    rounds: usize,
    scenario: impl Fn(&Store, &ManualClock, usize) + Send + Sync + 'static,
) -> impl Fn() + Send + Sync + 'static {
    play_on_disk(rounds, move |store, clock, _, round| scenario(store, clock, round))
}

/// The same, of a scenario that looks at the disk.
fn play_on_disk(
    rounds: usize,
    scenario: impl Fn(&Store, &ManualClock, &Arc<SimDisk>, usize) + Send + Sync + 'static,
) -> impl Fn() + Send + Sync + 'static {
    let base = disk();
    move || {
        let clock = ManualClock::new(1_750_000_000_000);
        let disk = Arc::new(base.fork());
        let store = options(&clock).open_storage(Arc::clone(&disk) as Arc<_>).unwrap();
        for round in 0..rounds {
            scenario(&store, &clock, &disk, round);
        }
        store.close().unwrap();
    }
}

/// How often each scheduler drives a scenario that is played so often on a store.
fn runs(rounds: usize, schedules: usize) -> usize {
    schedules.div_ceil(2 * TESTS * rounds)
}

/// What the quick tier tries out of all scenarios together.
const SCHEDULES: usize = 100_000;

/// Has each scheduler drive `play` so often: how often they did.
fn drive(
    play: &Arc<impl Fn() + Send + Sync + 'static>,
    rounds: usize,
    runs: usize,
    budget: Option<Duration>,
) -> usize {
    let random = Timed::new(RandomScheduler::new_from_seed(seed(), runs), budget);
    let pct = Timed::new(PctScheduler::new_from_seed(seed(), DEPTH * rounds, runs), budget);
    let (one, other) = (Arc::clone(play), Arc::clone(play));
    Runner::new(random, config()).run(move || one())
        + Runner::new(pct, config()).run(move || other())
}

/// Plays `scenario` in its share of the schedules, `rounds` times on a store.
fn try_out(rounds: usize, scenario: impl Fn(&Store, &ManualClock, usize) + Send + Sync + 'static) {
    let began = Instant::now();
    let play = Arc::new(play(rounds, scenario));
    if let Ok(schedule) = std::env::var("SHUTTLE_SCHEDULE") {
        shuttle::replay(move || play(), &schedule);
        return;
    }
    // Tests run as many at a time as there are processors, and each has two halves.
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
    let budget = variable("BUDGET_SECONDS").map(|seconds| {
        Duration::from_secs(seconds).mul_f64(at_a_time.min(TESTS) as f64 / (2 * TESTS) as f64)
    });
    let runs = runs(rounds, variable("SCHEDULES").unwrap_or(SCHEDULES));
    let tried = rounds * drive(&play, rounds, runs, budget);
    let all = tried + TRIED.fetch_add(tried, Ordering::Relaxed);
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{tried} schedules in {:.1} s: {name}", began.elapsed().as_secs_f64());
    println!("figures: {all} schedules");
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

fn grant(store: &Store, round: usize) -> Ticket {
    match store.blocking_claim(key(round), print()).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// Claims the key, and waits for as long as somebody else has it.
fn claim_or_wait(store: &Store, round: usize) -> Claim {
    match store.blocking_claim(key(round), print()).unwrap() {
        Claim::InFlight(wait) => wait.blocking_until(far()).unwrap(),
        claim => claim,
    }
}

fn together<T: Send + 'static>(threads: Vec<impl FnOnce() -> T + Send + 'static>) -> Vec<T> {
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn p0_1_of_three_that_claim_at_once_one_is_granted_and_the_others_get_its_result() {
    try_out(ROUNDS, three_claim_at_once);
}

fn three_claim_at_once(store: &Store, _: &ManualClock, round: usize) {
    let claim = |nth: u8| {
        let store = store.clone();
        move || match claim_or_wait(&store, round) {
            Claim::Granted(ticket) => {
                ticket.blocking_complete(vec![nth]).unwrap();
                (true, vec![nth])
            }
            Claim::Replay(record) => (false, record.payload().unwrap().unwrap().to_vec()),
            other => panic!("{other:?}"),
        }
    };
    let answers = together(vec![claim(0), claim(1), claim(2)]);
    let granted: Vec<_> = answers.iter().filter(|(granted, _)| *granted).collect();
    assert_eq!(granted.len(), 1, "P0.1: {answers:?}");
    assert!(answers.iter().all(|(_, payload)| *payload == granted[0].1), "P0.3: {answers:?}");
}

#[test]
fn p0_1_on_release_exactly_one_of_those_who_wait_is_granted() {
    try_out(ROUNDS, |store, _, round| {
        let ticket = grant(store, round);
        let wait = || {
            let store = store.clone();
            move || match claim_or_wait(&store, round) {
                Claim::Granted(ticket) => {
                    let number = ticket.number();
                    ticket.blocking_complete("done").unwrap();
                    Some(number)
                }
                Claim::Replay(_) => None,
                other => panic!("{other:?}"),
            }
        };
        let waiting = [wait(), wait()].map(thread::spawn);
        ticket.blocking_release().unwrap();
        let granted: Vec<_> =
            waiting.into_iter().filter_map(|waiting| waiting.join().unwrap()).collect();
        assert_eq!(granted.len(), 1, "P0.1: {granted:?}");
    });
}

#[test]
fn p0_2_nobody_is_shown_a_result_that_is_not_complete_and_nobody_loses_one_that_is() {
    try_out(ROUNDS, |store, _, round| {
        let ticket = grant(store, round);
        let looker = store.clone();
        let looking = thread::spawn(move || {
            let seen = || looker.get(key(round)).unwrap().map(|record| record.state());
            let (first, second) = (seen(), seen());
            assert!(matches!(first, Some(State::InFlight | State::Complete)), "{first:?}");
            if first == Some(State::Complete) {
                assert_eq!(second, first, "a result that was seen stays");
            }
        });
        let resolver = store.clone();
        let resolving = thread::spawn(move || {
            let resolved = resolver.blocking_resolve(key(round), Resolution::Release).unwrap();
            assert!(matches!(resolved, Resolved::InFlight | Resolved::Complete), "{resolved:?}");
        });
        ticket.blocking_complete("done").unwrap();
        let record = store.get(key(round)).unwrap().unwrap();
        assert_eq!(record.payload().unwrap().unwrap(), "done");
        looking.join().unwrap();
        resolving.join().unwrap();
    });
}

#[test]
fn p0_4_a_dropped_ticket_is_told_to_those_who_wait_and_resolved_by_one() {
    try_out(ROUNDS, |store, _, round| {
        let ticket = grant(store, round);
        let waiter = store.clone();
        let waiting = thread::spawn(move || match claim_or_wait(&waiter, round) {
            Claim::InDoubt(_) => {}
            other => panic!("{other:?}"),
        });
        drop(ticket);
        waiting.join().unwrap();
        let resolve = || {
            let store = store.clone();
            move || {
                store.blocking_resolve(key(round), Resolution::Complete("found".into())).unwrap()
            }
        };
        let resolved = together(vec![resolve(), resolve()]);
        assert!(resolved.contains(&Resolved::Done), "{resolved:?}");
        assert!(resolved.contains(&Resolved::Complete), "{resolved:?}");
    });
}

#[test]
fn p0_1_a_claim_given_up_on_its_way_leaves_the_key_to_the_other() {
    try_out(ROUNDS, one_gives_up);
}

fn one_gives_up(store: &Store, _: &ManualClock, round: usize) {
    let leaver = store.clone();
    let leaving = thread::spawn(move || {
        let mut claim = Box::pin(leaver.claim(key(round), print()));
        for _ in 0..2 {
            match claim.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => thread::yield_now(),
                Poll::Ready(Ok(Claim::Granted(ticket))) => {
                    ticket.blocking_release().unwrap();
                    return;
                }
                Poll::Ready(_) => return,
            }
        }
    });
    match claim_or_wait(store, round) {
        Claim::Granted(ticket) => ticket.blocking_complete("done").unwrap(),
        other => panic!("{other:?}"),
    }
    leaving.join().unwrap();
    assert_eq!(store.stats().in_flight, 0);
    assert!(matches!(store.blocking_claim(key(round), print()).unwrap(), Claim::Replay(_)));
}

/// A key that expired is claimed again by two at once, while its old entry is swept and a checkpoint
/// is made: one of them is granted, and the newer record stands.
#[test]
fn p0_1_a_key_claimed_again_while_it_is_swept_and_checkpointed_stands() {
    try_out(ROUNDS, |store, clock, round| {
        grant(store, round).blocking_complete("old").unwrap();
        store.checkpoint().unwrap();
        clock.advance(TTL + Duration::from_secs(2));
        let sweeper = store.clone();
        let sweeping = thread::spawn(move || {
            // The last round's record may have expired, too.
            assert!(sweeper.sweep().unwrap().expired <= 2);
            sweeper.checkpoint().unwrap();
        });
        let claim = || {
            let store = store.clone();
            move || match claim_or_wait(&store, round) {
                Claim::Granted(ticket) => {
                    ticket.blocking_complete("new").unwrap();
                    1
                }
                Claim::Replay(record) => {
                    assert_eq!(record.payload().unwrap().unwrap(), "new", "P0.5");
                    0
                }
                other => panic!("P0.1: {other:?}"),
            }
        };
        let granted: i32 = together(vec![claim(), claim()]).into_iter().sum();
        assert_eq!(granted, 1, "P0.1");
        sweeping.join().unwrap();
        match store.blocking_claim(key(round), print()).unwrap() {
            Claim::Replay(record) => assert_eq!(record.payload().unwrap().unwrap(), "new"),
            other => panic!("P0.1: {other:?}"),
        }
    });
}

/// Others are claimed, completed, expire and are swept, so that slots move back and forth and the
/// index grows: a result that stands is found at every moment, and a key that nobody claimed never is.
#[test]
fn p0_3_a_look_finds_what_stands_while_others_come_and_go() {
    const OTHERS: [&str; 4] = ["one", "two", "three", "four"];
    try_out(ROUNDS, |store, clock, round| {
        let long = ClaimOptions::new().ttl(1000 * TTL);
        match store.blocking_claim_with(key(round), print(), long).unwrap() {
            Claim::Granted(ticket) => ticket.blocking_complete("stands").unwrap(),
            other => panic!("{other:?}"),
        }
        let other = |nth: usize| Key::new("acct_2", OTHERS[nth]).unwrap();
        let come =
            move |store: &Store, nth| match store.blocking_claim(other(nth), print()).unwrap() {
                Claim::Granted(ticket) => ticket.blocking_complete("goes").unwrap(),
                other => panic!("{other:?}"),
            };
        (0..3).for_each(|nth| come(store, nth));
        store.checkpoint().unwrap();
        clock.advance(TTL + Duration::from_secs(2));
        let sweeper = store.clone();
        let sweeping = thread::spawn(move || sweeper.sweep().map(drop).unwrap());
        let claimer = store.clone();
        let claiming = thread::spawn(move || come(&claimer, 3));
        let absent = Key::new("acct_3", "nobody's").unwrap();
        for _ in 0..4 {
            for nth in (0..=round).rev() {
                let record = store.get(key(nth)).unwrap().expect("P0.3: it stands");
                assert_eq!(record.payload().unwrap().unwrap(), "stands", "P0.3");
            }
            assert!(store.get(absent).unwrap().is_none());
        }
        sweeping.join().unwrap();
        claiming.join().unwrap();
        store.sweep().unwrap();
    });
}

#[test]
fn p0_closing_answers_everybody() {
    try_out(1, |store, _, round| {
        let held = grant(store, round);
        let waiter = store.clone();
        let waiting = thread::spawn(move || match waiter.blocking_claim(key(round), print()) {
            Ok(Claim::InFlight(wait)) => wait.blocking_until(far()).map(drop),
            other => other.map(drop),
        });
        let claimer = store.clone();
        let claiming = thread::spawn(move || {
            let other = Key::new("acct_1", "other").unwrap();
            claimer.blocking_claim(other, print()).map(drop)
        });
        store.close().unwrap();
        let told = held.blocking_complete("late").unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Closed);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        let claimed = claiming.join().unwrap().map_err(|error| error.kind());
        assert!(matches!(claimed, Ok(()) | Err(ErrorKind::Closed)), "{claimed:?}");
    });
}
