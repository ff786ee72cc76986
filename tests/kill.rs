//! The gateway killed with SIGKILL, again and again, and what its clients and its upstream saw.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod kill_support;

use std::collections::HashMap;
use std::sync::mpsc::channel;

use kill_support::gateway::Gateway;
use kill_support::{Answer, Request, Upstream, random};

const ROUNDS: usize = 50;
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

// A shop's gateway dies between two orders, and in the middle of one, fifty times in a row on the
// same store. A customer who has a receipt gets the same receipt each time it is asked for. An order
// that was at the shop when the gateway died is never sent there again, whether the shop finishes
// it before the gateway is back, or after: its customer is told that nobody knows.
#[test]
fn after_each_of_fifty_kills_what_was_answered_is_replayed_and_what_was_cut_off_is_in_doubt() {
    let mut rng = random();
    let upstream = Upstream::start();
    let data = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    let mut fresh = Known::default();
    for round in 0..ROUNDS {
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
}

/// How often the gateway is killed under load.
const STORMS: usize = 25;
const CLIENTS: usize = 16;

// Sixteen clients order without a pause, each on its own and some the same thing; the gateway dies
// at any moment among them, also between the durable claim and the request to the shop, and between
// the shop's answer and the customer's. Whoever has a receipt keeps it. For whoever has none, the
// order is done once at most.
#[test]
fn killed_under_load_at_any_moment_nothing_is_lost_and_nothing_runs_twice() {
    let mut rng = random();
    let upstream = Upstream::start();
    let data = tempfile::tempdir().unwrap();
    // For each key of the storms before, the response that somebody has.
    let mut outcomes: HashMap<Request, Option<Answer>> = HashMap::new();
    let mut in_doubt = Vec::new();
    for storm in 0..=STORMS {
        let gateway = Gateway::start(data.path(), &upstream.url());
        for (request, first) in outcomes.drain() {
            settled(&request, first, &gateway, &upstream, &mut in_doubt);
        }
        for request in &in_doubt {
            Known::check(&[], std::slice::from_ref(request), &gateway, &upstream);
        }
        if storm == STORMS {
            break;
        }

        let (address, (heard, hear)) = (gateway.address, channel());
        for client in 0..CLIENTS {
            let (mut rng, heard) = (rng.fork(), heard.clone());
            std::thread::spawn(move || {
                for i in 0_u32.. {
                    let key = match rng.u8(..3) {
                        0 => format!("same-{storm}-{}", i / 4),
                        _ => format!("own-{storm}-{client}-{i}"),
                    };
                    let request = Request::new(key, 201, 300);
                    let answer = request.send(address);
                    let gone = answer.is_none();
                    if heard.send((request, answer)).is_err() || gone {
                        return;
                    }
                }
            });
        }
        drop(heard);
        let mut gateway = Some(gateway);
        // Early moments, when the clients collide the most, are as frequent as all later ones.
        let moment = if rng.bool() { rng.usize(1..20) } else { rng.usize(20..400) };
        for (seen, (request, answer)) in hear.iter().enumerate() {
            if seen + 1 == moment {
                gateway.take().unwrap().kill();
            }
            note(&mut outcomes, request, answer);
        }
        assert!(gateway.is_none(), "the clients gave up on a gateway that lives");
    }
    upstream.executed_nothing_twice();
}

/// Notes what a client was told about `request`, which agrees with what others were told.
fn note(outcomes: &mut HashMap<Request, Option<Answer>>, request: Request, answer: Option<Answer>) {
    let known = outcomes.entry(request).or_default();
    let Some(mut answer) = answer else { return };
    if answer.refuses(409, "in-progress") {
        return;
    }
    assert_eq!(answer.status, 201, "{answer:?}");
    // Which of two clients heard first does not show from outside.
    answer.replayed = false;
    match known {
        None => *known = Some(answer),
        Some(first) => assert_eq!(*first, answer),
    }
}

/// Asks for `request` after a kill, when `first` is the response that somebody got before it.
fn settled(
    request: &Request,
    first: Option<Answer>,
    gateway: &Gateway,
    upstream: &Upstream,
    in_doubt: &mut Vec<Request>,
) {
    let again = request.answer(gateway.address);
    if let Some(first) = first {
        assert!(again.replays(&first), "{request:?}:\n{first:?}\n{again:?}");
    } else if again.refuses(409, "outcome-unknown") {
        assert!(upstream.runs(request) <= 1, "{request:?}");
        if upstream.runs(request) == 1 {
            in_doubt.push(request.clone());
        }
    } else {
        assert_eq!(again.status, 201, "{request:?}: {again:?}");
        assert_eq!(upstream.runs(request), 1, "{request:?}");
    }
}
