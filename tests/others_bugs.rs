//! Bugs that other idempotency stores and middlewares have had, each with a test of ours. Those that
//! another file tests stand in [`ELSEWHERE`], which is held to those files.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use onceward::{
    Claim, ClaimOptions, Durability, ErrorKind, Fingerprint, Key, ManualClock, Options, Resolution,
    Resolved, State, Store, Ticket,
};

/// The bug, the file that shows we have it not, and the test in it.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "a disconnect cancels the recording",
        "tests/http_requests.rs",
        "m17_c31_a_client_that_hangs_up_loses_nothing",
    ),
    (
        "headers are split at commas on replay",
        "tests/http_responses.rs",
        "g10_headers_are_replayed_raw_with_their_duplicates_in_order",
    ),
    (
        "cookies are replayed",
        "tests/http_responses.rs",
        "c27_c28_c29_a_replay_bears_no_header_of_the_first_transmission",
    ),
    (
        "an oversize response is executed again",
        "tests/http_responses.rs",
        "c24_a_response_over_the_limit_reaches_its_first_client_whole_and_is_never_run_again",
    ),
    (
        "one tenant's response goes to another, by default",
        "tests/http_profiles.rs",
        "c8_another_tenants_key_is_another_key",
    ),
    (
        "check, then act: of 64 callers at once several run",
        "tests/http_requests.rs",
        "g4_d9_c37_of_64_callers_at_once_one_runs_and_the_rest_are_told_to_retry",
    ),
    (
        "the store fails, and the request runs anyway",
        "tests/http_requests.rs",
        "c36_a_store_that_fails_runs_nothing",
    ),
    (
        "the store does not answer in time, and the request runs anyway",
        "tests/http_outcomes.rs",
        "c36_a_store_that_does_not_answer_in_time_runs_nothing",
    ),
    (
        "a key is freed after bytes went upstream",
        "tests/serve_proxy.rs",
        "a_connection_that_breaks_after_the_request_went_out_leaves_the_key_in_doubt",
    ),
];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CENTURY_DAYS: u32 = 36_525;

fn key() -> Key<'static> {
    Key::new("acct_1", "k").unwrap()
}

fn print(what: &str) -> Fingerprint {
    Fingerprint::of(what)
}

struct World {
    directory: tempfile::TempDir,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, clock: ManualClock::new(1_750_000_000_000) }
    }

    fn open(&self) -> Store {
        let data = self.directory.path().join("data");
        Options::new().segment_size(1 << 20).clock(self.clock.clone()).open(data).unwrap()
    }
}

fn grant(store: &Store, ttl: Duration) -> Ticket {
    let options = ClaimOptions::new().ttl(ttl);
    match store.blocking_claim_with(key(), print("one"), options).unwrap() {
        Claim::Granted(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_tested_elsewhere_is() {
    for (bug, file, test) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("fn {test}(")), "{bug}: there is no {test} in {file}");
    }
}

/// A caller that names no deadline is taken for one that died, and both run.
#[test]
fn p0_5_a_caller_without_a_deadline_is_no_orphan_however_long_it_works() {
    let world = World::new();
    let store = world.open();
    let ticket = grant(&store, Duration::from_millis(1));
    for _ in 0..3 {
        world.clock.advance(DAY * CENTURY_DAYS);
        store.sweep().unwrap();
        let second = store.blocking_claim(key(), print("one")).unwrap();
        assert!(matches!(second, Claim::InFlight(_)), "C41: {second:?}");
    }
    ticket.blocking_complete("done").unwrap();
    assert!(matches!(store.blocking_claim(key(), print("one")).unwrap(), Claim::Replay(_)));
}

/// A retention in seconds is taken for one in milliseconds, or the other way round.
#[test]
fn p0_5_c40_a_second_is_a_thousand_milliseconds() {
    let world = World::new();
    let store = world.open();
    grant(&store, Duration::from_secs(2)).blocking_complete("done").unwrap();
    for (by_ms, there) in [(3, true), (1_997, true), (1, false)] {
        world.clock.advance(Duration::from_millis(by_ms));
        assert_eq!(store.get(key()).unwrap().is_some(), there, "C40");
    }
}

/// The path that finds a result ready answers without comparing what was asked.
#[test]
fn c38_every_path_compares_the_fingerprint() {
    let world = World::new();
    let store = world.open();
    let mismatch = |store: &Store, state: State| {
        let claim = store.blocking_claim(key(), print("another")).unwrap();
        assert!(
            matches!(&claim, Claim::Mismatch(record) if record.state() == state),
            "C38, {state:?}: {claim:?}"
        );
    };
    let ticket = grant(&store, DAY);
    mismatch(&store, State::InFlight);
    drop(ticket);
    mismatch(&store, State::InDoubt);
    assert_eq!(store.blocking_resolve(key(), Resolution::Release).unwrap(), Resolved::Done);
    grant(&store, DAY).blocking_complete("done").unwrap();
    mismatch(&store, State::Complete);
    store.close().unwrap();
    mismatch(&world.open(), State::Complete);
}

/// Who loses the race to insert is told that something failed, when the result is there to be had.
#[test]
fn p0_3_whoever_loses_a_race_gets_the_winners_result() {
    const CALLERS: usize = 16;
    let world = World::new();
    let store = world.open();
    let together = Barrier::new(CALLERS);
    let granted: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    let claim = match store.blocking_claim(key(), print("one")).unwrap() {
                        Claim::InFlight(wait) => {
                            wait.blocking_until(Instant::now() + Duration::from_secs(60)).unwrap()
                        }
                        claim => claim,
                    };
                    match claim {
                        Claim::Granted(ticket) => {
                            ticket.blocking_complete("done").unwrap();
                            1
                        }
                        Claim::Replay(record) => {
                            assert_eq!(record.payload().unwrap().unwrap(), "done");
                            0
                        }
                        other => panic!("P0.3: {other:?}"),
                    }
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(granted, 1, "P0.1");
}

/// What a dead process held blocks its key for days, and nobody can let it go.
#[test]
fn p0_4_an_orphan_can_be_let_go_by_hand() {
    let world = World::new();
    let store = world.open();
    let ticket = grant(&store, 31 * DAY);
    assert_eq!(
        store.blocking_resolve(key(), Resolution::Release).unwrap(),
        Resolved::InFlight,
        "a living claim is not for others to end"
    );
    store.close().unwrap();
    drop(ticket);
    let store = world.open();
    assert!(matches!(store.blocking_claim(key(), print("one")).unwrap(), Claim::InDoubt(_)));
    assert_eq!(store.blocking_resolve(key(), Resolution::Release).unwrap(), Resolved::Done);
    grant(&store, DAY).blocking_complete("done").unwrap();
}

/// A lock runs out under its handler, another takes it, and the first, when it is done, deletes the
/// other's.
#[test]
fn p0_1_who_comes_late_ends_nobody_elses_claim() {
    for how in 0..4 {
        let world = World::new();
        let store = world.open();
        let late = grant(&store, DAY);
        // The process loses its store; what it held is in doubt, and somebody lets it go.
        store.close().unwrap();
        let store = world.open();
        assert_eq!(store.blocking_resolve(key(), Resolution::Release).unwrap(), Resolved::Done);
        let next = grant(&store, DAY);
        assert!(next.number() > late.number(), "the later claim has the greater number");
        let told = match how {
            0 => late.blocking_complete("late").unwrap_err().kind(),
            1 => late.blocking_release().unwrap_err().kind(),
            2 => late.blocking_complete_without_payload("late").unwrap_err().kind(),
            _ => {
                drop(late);
                ErrorKind::Closed
            }
        };
        assert_eq!(told, ErrorKind::Closed);
        assert_eq!(store.get(key()).unwrap().unwrap().state(), State::InFlight, "way {how}");
        next.blocking_complete("done").unwrap();
        let record = store.get(key()).unwrap().unwrap();
        assert_eq!(record.payload().unwrap().unwrap(), "done", "way {how}");
    }
}

/// Something, a mutex in its case, is kept for every key there ever was.
#[test]
fn a_key_that_is_gone_leaves_nothing_behind() {
    let world = World::new();
    let data = world.directory.path().join("data");
    let options = Options::new().durability(Durability::Buffered).clock(world.clock.clone());
    let store = options.open(data).unwrap();
    let mut index_bytes = Vec::new();
    for round in 0..12 {
        for number in 0..500 {
            let (scope, name) = (format!("acct_{round}_{number}"), format!("{round}-{number}"));
            let claim = store.blocking_claim(Key::new(&scope, &name).unwrap(), print("one"));
            match claim.unwrap() {
                Claim::Granted(ticket) if number % 3 == 0 => ticket.blocking_release().unwrap(),
                Claim::Granted(ticket) => ticket.blocking_complete("done").unwrap(),
                other => panic!("{other:?}"),
            }
        }
        world.clock.advance(2 * DAY);
        store.sweep().unwrap();
        let stats = store.stats();
        assert_eq!((stats.records, stats.in_flight), (0, 0), "round {round}");
        index_bytes.push(stats.index_bytes);
    }
    // Tables keep the size they once needed, which differs from round to round by chance.
    assert!(index_bytes[11] <= 3 * index_bytes[0], "{index_bytes:?}");
}
