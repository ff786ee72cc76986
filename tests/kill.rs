//! The gateway killed with SIGKILL, again and again, and what its clients and its upstream saw.
//! `KILLS` says how often, `STORMS` how often under load. `tests/kill_store.rs` kills bare stores.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod kill_support;

use kill_support::gateway::Gateway;
use kill_support::storm::Storm;
use kill_support::{Answer, Request, Upstream, random};

/// How often the gateway is killed between requests.
const KILLS: usize = 50;
/// How often it is killed under load.
const STORMS: usize = 20;
/// How many of the older keys a round looks at.
const SAMPLE: usize = 8;
const STATUSES: [u16; 4] = [201, 202, 422, 500];
const SIZES: [usize; 5] = [0, 1, 500, 4097, 150_000];

/// What is known of keys from before the last kill.
#[derive(Default)]
struct Known {
    /// Requests whose whole response a client has.
    got: Vec<(Request, Answer)>,
    /// Requests that were being executed when the gateway was killed.
    cut: Vec<Request>,
}

impl Known {
    /// Asks again for `got` and for `cut`.
    fn check(got: &[(Request, Answer)], cut: &[Request], gateway: &Gateway, upstream: &Upstream) {
        for (request, first) in got {
            let again = request.answer(gateway.address);
            assert!(again.replays(first), "{request:?}:\n{first:?}\n{again:?}");
        }
        for request in cut {
            let again = request.answer(gateway.address);
            assert!(again.refuses(409, "outcome-unknown"), "{request:?}: {again:?}");
            assert_eq!(upstream.runs(request), 1, "{request:?}");
        }
    }
}

/// The variable `name`, or `default`.
fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

// A shop's gateway dies between two orders, and in the middle of one, time and again on the same
// store. A customer who has a receipt gets the same receipt each time it is asked for. An order
// that was at the shop when the gateway died is never sent there again, whether the shop finishes
// it before the gateway is back, or after: its customer is told that nobody knows.
#[test]
fn after_each_of_many_kills_what_was_answered_is_replayed_and_what_was_cut_off_is_in_doubt() {
    let mut rng = random();
    let upstream = Upstream::start();
    let data = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    let mut fresh = Known::default();
    let kills = variable("KILLS", KILLS);
    for round in 0..kills {
        let gateway = Gateway::start(data.path(), &upstream.url());
        Known::check(&fresh.got, &fresh.cut, &gateway, &upstream);
        for request in &fresh.cut {
            upstream.let_go(request);
        }
        known.got.append(&mut fresh.got);
        known.cut.append(&mut fresh.cut);
        for _ in 0..SAMPLE.min(known.got.len()) {
            let at = rng.usize(..known.got.len());
            Known::check(&known.got[at..=at], &[], &gateway, &upstream);
            let at = rng.usize(..known.cut.len());
            Known::check(&[], &known.cut[at..=at], &gateway, &upstream);
        }

        for i in 0..rng.usize(2..6) {
            let (status, size) = (*rng.choice(&STATUSES).unwrap(), *rng.choice(&SIZES).unwrap());
            let request = Request::new(format!("done-{round}-{i}"), status, size);
            let first = request.answer(gateway.address);
            assert!(first.status == status && !first.replayed, "{request:?}: {first:?}");
            fresh.got.push((request, first));
        }
        let (address, mut clients) = (gateway.address, Vec::new());
        for i in 0..rng.usize(1..=2) {
            let request =
                Request::held(format!("cut-{round}-{i}"), 201, *rng.choice(&SIZES).unwrap());
            clients.push(std::thread::spawn({
                let request = request.clone();
                move || request.send(address)
            }));
            upstream.executes(&request);
            let again = request.answer(address);
            assert!(again.refuses(409, "in-progress"), "{request:?}: {again:?}");
            fresh.cut.push(request);
        }
        gateway.kill();
        for client in clients {
            assert_eq!(client.join().unwrap(), None, "an answer before the upstream's");
        }
        if rng.bool() {
            for request in &fresh.cut {
                upstream.let_go(request);
            }
        }
    }
    let gateway = Gateway::start(data.path(), &upstream.url());
    for known in [&known, &fresh] {
        Known::check(&known.got, &known.cut, &gateway, &upstream);
    }
    upstream.executed_nothing_twice();
    let (got, cut) = (known.got.len() + fresh.got.len(), known.cut.len() + fresh.cut.len());
    println!("figures: {kills} kills; {got} answers replayed, {cut} keys in doubt; 0 run twice");
}

// Sixteen clients order without a pause, each on its own and some the same thing; the gateway dies
// at any moment among them, also between the durable claim and the request to the shop, and between
// the shop's answer and the customer's. Whoever has a receipt keeps it. For whoever has none, the
// order is done once at most.
#[test]
fn killed_under_load_at_any_moment_nothing_is_lost_and_nothing_runs_twice() {
    let mut rng = random();
    let upstream = Upstream::start();
    let data = tempfile::tempdir().unwrap();
    let mut storm = Storm::default();
    let storms = variable("STORMS", STORMS);
    for _ in 0..storms {
        let mut gateway = Gateway::start(data.path(), &upstream.url());
        storm.settled(gateway.address, &upstream);
        if rng.bool() {
            // An orderly end in between, so that some of the records are in the tree.
            let (status, said) = gateway.stop();
            assert_eq!(status.code(), Some(0), "{said}");
            gateway = Gateway::start(data.path(), &upstream.url());
        }
        let (address, mut gateway) = (gateway.address, Some(gateway));
        // Early moments, when the clients collide the most, are as frequent as all later ones.
        let moment = if rng.bool() { rng.usize(1..20) } else { rng.usize(20..400) };
        storm.rage(address, &mut rng, |answers| {
            if answers == moment {
                gateway.take().unwrap().kill();
            }
        });
        assert!(gateway.is_none(), "the clients gave up on a gateway that lives");
    }
    let gateway = Gateway::start(data.path(), &upstream.url());
    storm.settled(gateway.address, &upstream);
    upstream.executed_nothing_twice();
    println!("figures: {storms} kills under load; 0 answers lost, 0 run twice");
}
