//! Real threads on a real store: every key's history, recorded as it happened, is one that a
//! sequential store could have had (P0.1 to P0.3), by the method of Wing and Gong.
//!
//! `SEED` replays the callers' choices (not the scheduler's); `ROUNDS` makes more of them, and
//! `BUDGET_SECONDS` ends them.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "seeds are printed")]

#[path = "linearizable/checker.rs"]
mod checker;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use checker::{Answer, Call, Event, is_linearizable};
use onceward::{
    Claim, Durability, Fingerprint, Key, Options, Record, Resolution, Resolved, State, Store,
};

const KEYS: usize = 3;
/// Calls of one key in one history, at most: the checker's sets are 128 bits wide.
const CALLS_MAX: usize = 120;
/// Calls of all histories, at least: fewer would show little.
const CHECKED_MIN: usize = 1_000;
/// Longer than anybody holds a key: a wait that is given up may have held it for a moment itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A history in the making, and the clock that orders it.
#[derive(Default)]
struct Recorder {
    now: AtomicU64,
    events: [Mutex<Vec<Event>>; KEYS],
    payloads: AtomicU64,
}

impl Recorder {
    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    /// Runs `act`, which gives its answer, and notes when it began and came back.
    fn record<T>(&self, key: usize, call: Call, act: impl FnOnce() -> (Answer, T)) -> T {
        let begun = self.tick();
        let (answer, more) = act();
        // Nobody waits in a drop: it takes effect when it does.
        let drops = matches!(call, Call::Drop { .. });
        let ended = if drops { u64::MAX } else { self.tick() };
        self.events[key].lock().unwrap().push(Event { call, answer, begun, ended });
        more
    }
}

fn content(record: &Record) -> u64 {
    let octets = record.payload().unwrap().or_else(|| record.note().cloned());
    u64::from_le_bytes(octets.unwrap()[..8].try_into().unwrap())
}

fn answer(claim: &Claim) -> Answer {
    match claim {
        Claim::Granted(ticket) => Answer::Granted(ticket.number()),
        Claim::Replay(record) => Answer::Done(content(record)),
        Claim::InFlight(_) => Answer::InFlight,
        Claim::Mismatch(_) => Answer::Mismatch,
        Claim::InDoubt(_) => Answer::InDoubt,
    }
}

/// One caller: claims keys, and does with what it is granted whatever can be done.
fn caller(store: &Store, recorder: &Recorder, calls: usize, mut rng: fastrand::Rng) {
    for _ in 0..calls {
        let number = rng.usize(..KEYS);
        let name = [b"k", &[number as u8][..]].concat();
        let key = Key::new("acct_1", &name).unwrap();
        let print = rng.u8(..8) / 7;
        let fingerprint = Fingerprint::from_digest([print; 32]);
        let content = || recorder.payloads.fetch_add(1, Ordering::SeqCst);
        match rng.u32(..10) {
            0..=5 => {
                let waits = rng.bool();
                let claim = recorder.record(number, Call::Claim { print }, || {
                    let claim = store.blocking_claim(key, fingerprint).unwrap();
                    let claim = match claim {
                        Claim::InFlight(wait) if waits => {
                            wait.blocking_until(Instant::now() + PATIENCE).unwrap()
                        }
                        claim => claim,
                    };
                    (answer(&claim), claim)
                });
                let Claim::Granted(ticket) = claim else { continue };
                let token = ticket.number();
                if rng.bool() {
                    std::thread::yield_now();
                }
                match rng.u32(..8) {
                    0..=1 => {
                        let content = content();
                        let call = Call::Complete { token, content };
                        recorder.record(number, call, || {
                            ticket.blocking_complete(content.to_le_bytes().to_vec()).unwrap();
                            (Answer::Ok, ())
                        });
                    }
                    2 => {
                        let content = content();
                        let call = Call::Complete { token, content };
                        recorder.record(number, call, || {
                            let note = content.to_le_bytes().to_vec();
                            ticket.blocking_complete_without_payload(note).unwrap();
                            (Answer::Ok, ())
                        });
                    }
                    3..=6 => recorder.record(number, Call::Release { token }, || {
                        ticket.blocking_release().unwrap();
                        (Answer::Ok, ())
                    }),
                    _ => recorder.record(number, Call::Drop { token }, || {
                        drop(ticket);
                        (Answer::Ok, ())
                    }),
                }
            }
            6 | 7 => recorder.record(number, Call::Get, || {
                let answer = match store.get(key).unwrap() {
                    None => Answer::Absent,
                    Some(record) => match record.state() {
                        State::InFlight => Answer::InFlight,
                        State::InDoubt => Answer::InDoubt,
                        State::Complete => Answer::Done(self::content(&record)),
                    },
                };
                (answer, ())
            }),
            _ => {
                let content = (rng.u8(..4) == 0).then(content);
                let resolution = match content {
                    Some(content) => Resolution::Complete(content.to_le_bytes().to_vec().into()),
                    None => Resolution::Release,
                };
                recorder.record(number, Call::Resolve { content }, || {
                    let answer = match store.blocking_resolve(key, resolution).unwrap() {
                        Resolved::Done => Answer::Ok,
                        Resolved::InFlight => Answer::InFlight,
                        Resolved::Complete => Answer::Complete,
                        Resolved::Absent => Answer::Absent,
                    };
                    (answer, ())
                });
            }
        }
    }
}

fn histories(durability: Durability, threads: usize, seed: u64) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().durability(durability).open(directory.path().join("data")).unwrap();
    let recorder = Recorder::default();
    let calls = KEYS * CALLS_MAX / 3 / threads;
    std::thread::scope(|scope| {
        for nth in 0..threads {
            let rng = fastrand::Rng::with_seed(seed ^ (nth as u64) << 56);
            let (store, recorder) = (&store, &recorder);
            scope.spawn(move || caller(store, recorder, calls, rng));
        }
        // Housekeeping must not be seen.
        for _ in 0..4 {
            store.checkpoint().unwrap();
            store.sweep().unwrap();
        }
    });
    store.close().unwrap();
    let mut checked = 0;
    for (number, events) in recorder.events.into_iter().enumerate() {
        let events = events.into_inner().unwrap();
        checked += events.len();
        assert!(
            is_linearizable(&events),
            "key {number}, {durability:?}, {threads} threads, SEED={seed}: no order explains \
             {events:#?}"
        );
    }
    checked
}

#[test]
fn p0_1_p0_2_p0_3_every_history_of_a_key_is_linearizable() {
    let variable = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_260_101,
    };
    println!("SEED={seed}");
    let rounds = variable("ROUNDS").unwrap_or(30);
    let until = variable("BUDGET_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let (mut made, mut checked) = (0, 0);
    for round in 0..rounds {
        // A budget that is small makes as many as are asked for below all the same.
        if checked > CHECKED_MIN && until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        made += 1;
        let seed = seed.wrapping_add(round);
        let threads = 4 + 2 * (round as usize % 3);
        let durability = if round % 2 == 0 { Durability::Sync } else { Durability::Buffered };
        checked += histories(durability, threads, seed);
    }
    println!("figures: {made} histories of {checked} calls, each linearizable");
    assert!(checked > CHECKED_MIN, "only {checked} calls were recorded");
}

/// The checker is on trial, too: each of these histories breaks the promise in its own way.
#[test]
fn p0_the_checker_refuses_histories_that_break_the_promise() {
    let event = |call, answer, begun, ended| Event { call, answer, begun, ended };
    let claim = Call::Claim { print: 0 };
    let complete = |token, content| Call::Complete { token, content };
    let right = vec![
        event(claim, Answer::Granted(1), 0, 3),
        event(claim, Answer::InFlight, 1, 4),
        event(complete(1, 7), Answer::Ok, 5, 8),
        event(claim, Answer::Done(7), 6, 7),
        event(Call::Claim { print: 1 }, Answer::Mismatch, 9, 10),
    ];
    assert!(is_linearizable(&right));
    let wrong: [(&str, Vec<Event>); 9] = [
        (
            "two grants",
            vec![event(claim, Answer::Granted(1), 0, 1), event(claim, Answer::Granted(2), 2, 3)],
        ),
        (
            "two grants at once",
            vec![event(claim, Answer::Granted(1), 0, 2), event(claim, Answer::Granted(2), 1, 3)],
        ),
        (
            "a lost completion",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(complete(1, 7), Answer::Ok, 2, 3),
                event(claim, Answer::InFlight, 4, 5),
            ],
        ),
        (
            "a replay before the completion",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(claim, Answer::Done(7), 2, 3),
                event(complete(1, 7), Answer::Ok, 4, 5),
            ],
        ),
        (
            "another payload",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(complete(1, 7), Answer::Ok, 2, 3),
                event(Call::Get, Answer::Done(8), 4, 5),
            ],
        ),
        (
            "a mismatch that is told to wait",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(Call::Claim { print: 1 }, Answer::InFlight, 2, 3),
            ],
        ),
        (
            "a doubt that is granted",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(Call::Drop { token: 1 }, Answer::Ok, 2, 3),
                event(claim, Answer::InDoubt, 4, 5),
                event(claim, Answer::Granted(2), 6, 7),
            ],
        ),
        (
            "a living claim that was resolved",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(Call::Resolve { content: None }, Answer::Ok, 2, 3),
            ],
        ),
        (
            "a result seen and gone again",
            vec![
                event(claim, Answer::Granted(1), 0, 1),
                event(complete(1, 7), Answer::Ok, 2, 9),
                event(claim, Answer::Done(7), 3, 4),
                event(Call::Get, Answer::InFlight, 5, 6),
            ],
        ),
    ];
    for (what, history) in wrong {
        assert!(!is_linearizable(&history), "{what}");
    }
}
