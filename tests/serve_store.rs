//! The gateway when its store cannot go on: failing system calls, a full disk, a second owner.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod kill_support;

use std::time::Instant;

use kill_support::gateway::{Gateway, Starting, command, traced};
use kill_support::small_disk::SmallDisk;
use kill_support::storm::Storm;
use kill_support::{Answer, PATIENCE, Request, Upstream, get, random};

/// What a store has that worked once: two responses.
struct Before {
    data: tempfile::TempDir,
    upstream: Upstream,
    got: Vec<(Request, Answer)>,
}

impl Before {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let upstream = Upstream::start();
        let gateway = Gateway::start(data.path(), &upstream.url());
        let got = ["a", "b"].map(|key| {
            let request = Request::new(key, 201, 2000);
            let first = request.answer(gateway.address);
            (request, first)
        });
        gateway.kill();
        Self { data, upstream, got: got.into() }
    }

    #[track_caller]
    fn replays(&self, gateway: &Gateway) {
        for (request, first) in &self.got {
            let again = request.answer(gateway.address);
            assert!(again.replays(first), "{request:?}:\n{first:?}\n{again:?}");
        }
    }

    /// Sends new requests until one finds the store unable to write; gives it and its answer.
    fn until_it_fails(&mut self, gateway: &Gateway) -> (Request, Answer) {
        for i in 0..40 {
            let request = Request::new(format!("new-{i}"), 201, 3000);
            let answer = request.answer(gateway.address);
            if answer.status != 201 {
                return (request, answer);
            }
            self.got.push((request, answer));
        }
        panic!("forty requests and no failure");
    }
}

// The disk fails a sync, or a write, once, and pretends that all is well from then on. Those pages
// may never reach the disk: whoever waited for them must not be told of a success, nothing may be
// written behind them, and what is on disk is still there to be read.
#[test]
fn after_one_failed_sync_nothing_new_is_taken_until_a_restart_and_replays_go_on() {
    fails_at_each("fdatasync:error=EIO");
}

#[test]
fn after_one_failed_write_nothing_new_is_taken_until_a_restart_and_replays_go_on() {
    fails_at_each("pwrite64:error=EIO");
}

/// Lets the first to the sixteenth call of a thread fail, each in a life of its own.
fn fails_at_each(what: &str) {
    let (mut while_claiming, mut while_completing, mut while_opening) = (0, 0, 0);
    for failing in 1..=16 {
        let mut before = Before::new();
        let inject = format!("{what}:when={failing}");
        let mut command = traced(before.data.path(), &before.upstream.url(), &inject);
        match Starting::spawn(&mut command).started() {
            Err((status, said)) => {
                assert_eq!(status.code(), Some(1), "{what} {failing}: {said}");
                assert!(said.starts_with("onceward: ") && said.contains("os error 5"), "{said}");
                while_opening += 1;
            }
            Ok(gateway) => {
                let (request, answer) = before.until_it_fails(&gateway);
                let executed = before.upstream.runs(&request);
                if executed == 0 {
                    while_claiming += 1;
                    assert!(
                        answer.refuses(503, "store-unavailable"),
                        "{what} {failing}: {answer:?}"
                    );
                } else {
                    while_completing += 1;
                    assert!(answer.refuses(500, "outcome-unknown"), "{what} {failing}: {answer:?}");
                }
                poisoned(&before, &gateway, &request, executed);
                if failing % 2 == 0 {
                    gateway.kill();
                } else {
                    let (status, said) = gateway.stop();
                    assert_eq!(status.code(), Some(1), "{said}");
                }
                recovered(&before, &request, executed);
            }
        }
        let gateway = Gateway::start(before.data.path(), &before.upstream.url());
        before.replays(&gateway);
        before.upstream.executed_nothing_twice();
    }
    for (how_often, when) in
        [(while_opening, "opening"), (while_claiming, "claiming"), (while_completing, "completing")]
    {
        assert!(how_often > 0, "none failed while {when}");
    }
}

// The same with sixteen clients, whose claims and results wait for one sync together.
#[test]
fn whoever_waited_for_a_failed_sync_is_told_of_no_success_and_nothing_runs_twice() {
    let mut rng = random();
    let upstream = Upstream::start();
    let data = tempfile::tempdir().unwrap();
    let mut storm = Storm::default();
    for _ in 0..12 {
        let inject = format!("fdatasync:error=EIO:when={}", rng.u32(8..80));
        let started = Starting::spawn(&mut traced(data.path(), &upstream.url(), &inject)).started();
        let gateway = started.unwrap_or_else(|(status, said)| panic!("{status}: {said}"));
        storm.rage(gateway.address, &mut rng, |_| {});
        assert_eq!(get(gateway.admin, "/readyz").status, 503);
        gateway.kill();
        let gateway = Gateway::start(data.path(), &upstream.url());
        storm.settled(gateway.address, &upstream);
        gateway.kill();
    }
    upstream.executed_nothing_twice();
}

/// The store of `gateway` takes nothing new and replays what it has; `failed` was executed
/// `executed` times, and is never again.
fn poisoned(before: &Before, gateway: &Gateway, failed: &Request, executed: u32) {
    for i in 0..3 {
        let request = Request::new(format!("late-{i}"), 201, 10);
        let refused = request.answer(gateway.address);
        assert!(refused.refuses(503, "store-unavailable"), "{refused:?}");
        assert!(refused.holds("retry-after: "), "{refused:?}");
        assert_eq!(before.upstream.runs(&request), 0);
        let again = failed.answer(gateway.address);
        assert!([409, 500, 503].contains(&again.status), "{again:?}");
        assert_eq!(before.upstream.runs(failed), executed);
    }
    before.replays(gateway);
    assert_eq!(get(gateway.admin, "/readyz").status, 503);
    assert_eq!(get(gateway.admin, "/livez").status, 200);
}

/// After a restart the store takes new requests, and `failed` has been executed once at most.
fn recovered(before: &Before, failed: &Request, executed: u32) {
    let gateway = Gateway::start(before.data.path(), &before.upstream.url());
    before.replays(&gateway);
    let again = failed.answer(gateway.address);
    if executed == 0 {
        let fresh = again.status == 201 && !again.replayed;
        assert!(fresh || again.refuses(409, "outcome-unknown"), "{again:?}");
    } else {
        let recorded = again.status == 201 && again.replayed;
        assert!(recorded || again.refuses(409, "outcome-unknown"), "{again:?}");
    }
    let request = Request::new("late-0", 201, 10);
    assert_eq!(request.answer(gateway.address).status, 201);
    gateway.kill();
}

// A process dies inside a system call as well as between two. Each kind of call that changes the
// disk is the last one of some process: while the store is created, opened and closed, and while it
// works. The next process opens what is left.
#[test]
fn killed_at_every_call_that_changes_the_disk_the_next_start_recovers() {
    let mut ends = 0;
    for call in ["pwrite64", "fdatasync", "fsync", "renameat", "unlinkat", "ftruncate"] {
        for nth in 1..=6 {
            let upstream = Upstream::start();
            let data = tempfile::tempdir().unwrap();
            let inject = format!("{call}:signal=KILL:when={nth}");
            let mut got = Vec::new();
            // Of an absent store, and then of one that an unclean end left behind.
            for generation in 0..2 {
                let mut command = traced(data.path(), &upstream.url(), &inject);
                let Ok(gateway) = Starting::spawn(&mut command).started() else {
                    ends += 1;
                    continue;
                };
                for i in 0..4 {
                    let request = Request::new(format!("{generation}-{i}"), 201, 70_000);
                    let Some(answer) = request.send(gateway.address) else { break };
                    got.push((request, answer));
                }
                // One that lives is killed while it closes the store, or was never to be.
                ends += usize::from(gateway.stop().0.code().is_none());
            }
            let gateway = Gateway::start(data.path(), &upstream.url());
            for (request, first) in got {
                let again = request.answer(gateway.address);
                assert!(again.replays(&first), "{call} {nth}: {request:?}: {again:?}");
            }
            for generation in 0..2 {
                for i in 0..4 {
                    let request = Request::new(format!("{generation}-{i}"), 201, 70_000);
                    let again = request.answer(gateway.address);
                    let said = again.status == 201 || again.refuses(409, "outcome-unknown");
                    assert!(said, "{call} {nth}: {again:?}");
                }
            }
            upstream.executed_nothing_twice();
        }
    }
    assert!(ends > 30, "only {ends} processes were killed");
}

// The disk fills up while three orders are at the shop. New orders are refused, and nothing is sent
// to the shop for them; the three come back, are answered in full, and their receipts, for which
// there is no room, are known to be missing. When somebody tidies the disk up, it all goes on, with
// nobody restarting anything.
#[test]
fn on_a_full_disk_new_keys_are_refused_and_all_else_goes_on_until_there_is_room_again() {
    let disk = SmallDisk::mount();
    let [data, ballast, spare] = ["data", "ballast", "spare"].map(|name| disk.path().join(name));
    std::fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    // What is kept back for after a restart.
    std::fs::write(&spare, vec![1; 1 << 20]).unwrap();
    let upstream = Upstream::start();
    let gateway = Gateway::start(&data, &upstream.url());
    let address = gateway.address;
    let held = ["x", "y", "z"].map(|key| Request::held(key, 201, 200_000));
    let clients = held.clone().map(|request| {
        let client = request.clone();
        let client = std::thread::spawn(move || client.answer(address));
        upstream.executes(&request);
        client
    });

    let mut got = Vec::new();
    let refused = loop {
        let request = Request::new(format!("fill-{}", got.len()), 201, 30_000);
        let answer = request.answer(address);
        if answer.status == 503 {
            assert!(answer.refuses(503, "store-unavailable"), "{answer:?}");
            assert!(answer.holds("retry-after: "), "{answer:?}");
            break request;
        }
        assert_eq!(answer.status, 201, "{answer:?}");
        got.push((request, answer));
        assert!(got.len() < 400, "the disk does not fill up");
    };
    for i in 0..5 {
        let request = Request::new(format!("refused-{i}"), 201, 10);
        let answer = request.answer(address);
        assert!(answer.refuses(503, "store-unavailable"), "{answer:?}");
        assert_eq!(upstream.runs(&request), 0);
    }
    assert_eq!(upstream.runs(&refused), 0);
    assert_eq!(get(gateway.admin, "/livez").status, 200);
    assert_eq!(get(gateway.admin, "/readyz").status, 503, "C36: it takes no new key");

    for (request, client) in held.iter().zip(clients) {
        upstream.let_go(request);
        let first = client.join().unwrap();
        assert_eq!(first.status, 201, "{first:?}");
        let again = request.answer(address);
        assert!(again.refuses(409, "response-not-retained"), "{again:?}");
    }
    let kept = |gateway: &Gateway| {
        let mut tombstones = 0;
        for (request, first) in &got {
            let again = request.answer(gateway.address);
            let tombstone = again.refuses(409, "response-not-retained");
            assert!(tombstone || again.replays(first), "{request:?}: {again:?}");
            tombstones += usize::from(tombstone);
        }
        // The last claims found room that their responses did not.
        assert!(tombstones * 2 < got.len(), "{tombstones} of {} were not kept", got.len());
        for request in &held {
            let again = request.answer(gateway.address);
            assert!(again.refuses(409, "response-not-retained"), "{again:?}");
        }
    };
    kept(&gateway);

    std::fs::remove_file(&ballast).unwrap();
    let started = Instant::now();
    let mut answer = refused.answer(address);
    while answer.status == 503 && started.elapsed() < PATIENCE {
        answer = refused.answer(address);
    }
    assert!(answer.status == 201 && !answer.replayed, "{answer:?}");
    assert_eq!(get(gateway.admin, "/readyz").status, 200, "C36: with room it takes keys again");
    for i in 0..5 {
        let request = Request::new(format!("room-{i}"), 201, 100_000);
        let first = request.answer(address);
        assert_eq!(first.status, 201);
        assert!(request.answer(address).replays(&first), "{i}");
    }
    kept(&gateway);
    gateway.kill();
    std::fs::remove_file(&spare).unwrap();
    let gateway = Gateway::start(&data, &upstream.url());
    kept(&gateway);

    // Without any room a start may fail, which does no harm.
    drop(disk.fill("spare"));
    gateway.kill();
    for _ in 0..3 {
        match Starting::spawn(&mut command(&data, &upstream.url())).started() {
            Ok(gateway) => kept(&gateway),
            Err((status, said)) => {
                assert_eq!(status.code(), Some(1), "{said}");
                assert!(said.contains("there is no room to open the store in"), "{said}");
            }
        }
    }
    std::fs::remove_file(&spare).unwrap();
    let gateway = Gateway::start(&data, &upstream.url());
    kept(&gateway);
    let (status, said) = gateway.stop();
    assert_eq!(status.code(), Some(0), "{said}");
    upstream.executed_nothing_twice();
}

// Two units of one service are started at once, also on a machine that never had a store: one
// listens, the other says who is in its way and ends.
#[test]
fn of_two_that_start_at_once_one_listens_and_the_other_says_why_it_does_not() {
    let upstream = Upstream::start();
    let mut data = tempfile::tempdir().unwrap();
    for race in 0..100 {
        if race % 2 == 0 {
            data = tempfile::tempdir().unwrap();
        }
        let path = data.path().join("new/data");
        let both = [(); 2].map(|()| Starting::spawn(&mut command(&path, &upstream.url())));
        let (mut listening, mut ended) = (Vec::new(), Vec::new());
        for starting in both {
            match starting.started() {
                Ok(gateway) => listening.push(gateway),
                Err(end) => ended.push(end),
            }
        }
        let ([gateway], [(status, said)]) = (&listening[..], &ended[..]) else {
            panic!("race {race}: {} listen; {ended:?}", listening.len());
        };
        assert_eq!(status.code(), Some(1), "race {race}: {said}");
        assert!(said.contains("is in use by another process"), "race {race}: {said}");
        assert_eq!(said.lines().count(), 1, "race {race}: {said}");
        let request = Request::new(format!("race-{race}"), 201, 10);
        assert_eq!(request.answer(gateway.address).status, 201, "race {race}");
    }
}
