//! Many keys at once: `get_many` and `claim_many` are what `get` and `claim` are, one by one.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onceward::{
    Claim, ErrorKind, Fingerprint, Key, ManualClock, Options, Record, State, Store, Ticket,
};

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

fn key(text: &str) -> Key<'_> {
    Key::new("acct_1", text).unwrap()
}

fn granted(claim: Claim) -> Ticket {
    match claim {
        Claim::Granted(ticket) => ticket,
        other => panic!("expected a grant, got {other:?}"),
    }
}

fn claimed(store: &Store, text: &str) -> Ticket {
    granted(store.blocking_claim(key(text), print()).unwrap())
}

fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    (parent, path)
}

/// All that can be seen of a record.
fn seen(record: Option<Record>) -> Option<impl PartialEq + std::fmt::Debug> {
    record.map(|record| {
        let payload = record.payload().unwrap().map(|payload| payload.to_vec());
        let times = (record.claimed_at(), record.expires_at());
        (record.state(), record.fingerprint(), times, payload, record.note().cloned())
    })
}

#[test]
fn get_many_finds_what_get_finds_one_by_one() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (_parent, path) = directory();
    let clock = ManualClock::new(1_700_000_000_000);
    let options = Options::new().segment_size(64 << 10).clock(clock.clone());
    let store = options.ttl(Duration::from_secs(3600)).open(&path).unwrap();
    let texts: Vec<String> = (0..500).map(|nth| format!("key-{nth}")).collect();
    let mut tickets = Vec::new();
    for (nth, text) in texts.iter().enumerate() {
        if nth == 250 {
            // The older half will have expired.
            clock.advance(Duration::from_secs(3000));
        }
        match random.u8(0..6) {
            0 => {}
            1 => tickets.push(claimed(&store, text)),
            2 => drop(claimed(&store, text)),
            3 => claimed(&store, text).blocking_complete_without_payload("too long").unwrap(),
            _ => claimed(&store, text).blocking_complete(vec![1; random.usize(..3000)]).unwrap(),
        }
    }
    store.checkpoint().unwrap();
    clock.advance(Duration::from_secs(1000));
    for calls in 0..50 {
        let asked: Vec<&String> =
            (0..random.usize(..200)).map(|_| random.choice(&texts).unwrap()).collect();
        let keys: Vec<Key<'_>> = asked.iter().map(|text| key(text)).collect();
        let found = store.get_many(&keys);
        assert_eq!(found.len(), keys.len());
        for (found, key) in found.into_iter().zip(keys) {
            let alone = seen(store.get(key).unwrap());
            assert_eq!(seen(found.unwrap()), alone, "call {calls}, {key:?}");
        }
    }
    let all: Vec<Key<'_>> = texts.iter().map(|text| key(text)).collect();
    let states: Vec<Option<State>> = (store.get_many(&all).into_iter())
        .map(|record| record.unwrap().map(|record| record.state()))
        .collect();
    for state in [None, Some(State::Complete), Some(State::InDoubt), Some(State::InFlight)] {
        assert!(states.contains(&state), "no key is {state:?}");
    }
    assert!(store.get_many(&[]).is_empty());
}

/// All that can be seen of an answer; a key that is granted is given back.
fn told(claim: Claim) -> (&'static str, Option<impl PartialEq + std::fmt::Debug>) {
    match claim {
        Claim::Granted(ticket) => {
            ticket.blocking_release().unwrap();
            ("granted", None)
        }
        Claim::Replay(record) => ("replay", seen(Some(record))),
        Claim::InFlight(wait) => ("in flight", seen(Some(wait.record().clone()))),
        Claim::Mismatch(record) => ("mismatch", seen(Some(record))),
        Claim::InDoubt(record) => ("in doubt", seen(Some(record))),
    }
}

#[test]
fn claim_many_answers_what_claim_answers_one_by_one() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (_parent, path) = directory();
    let clock = ManualClock::new(1_700_000_000_000);
    let options = Options::new().segment_size(64 << 10).clock(clock.clone());
    let store = options.ttl(Duration::from_secs(3600)).open(&path).unwrap();
    let texts: Vec<String> = (0..300).map(|nth| format!("key-{nth}")).collect();
    let mut tickets = Vec::new();
    for (nth, text) in texts.iter().enumerate() {
        if nth == 150 {
            clock.advance(Duration::from_secs(3000));
        }
        match random.u8(0..6) {
            0 => {}
            1 => tickets.push(claimed(&store, text)),
            2 => drop(claimed(&store, text)),
            3 => claimed(&store, text).blocking_complete_without_payload("too long").unwrap(),
            _ => claimed(&store, text).blocking_complete(vec![1; random.usize(..3000)]).unwrap(),
        }
    }
    // What the older half was told has expired.
    clock.advance(Duration::from_secs(1000));
    let prints = [print(), Fingerprint::of("another request")];
    let mut answers = std::collections::BTreeSet::new();
    for call in 0..20 {
        let mut asked = texts.clone();
        random.shuffle(&mut asked);
        asked.truncate(random.usize(..100));
        let claims: Vec<_> =
            asked.iter().map(|text| (key(text), *random.choice(&prints).unwrap())).collect();
        let together = store.blocking_claim_many(&claims);
        assert_eq!(together.len(), claims.len());
        let together: Vec<_> = together.into_iter().map(|claim| told(claim.unwrap())).collect();
        for ((key, print), together) in claims.into_iter().zip(together) {
            answers.insert(together.0);
            let alone = told(store.blocking_claim(key, print).unwrap());
            assert_eq!(together, alone, "call {call}, {key:?}");
        }
    }
    assert_eq!(answers.len(), 5, "{answers:?}");
    store.close().unwrap();
    for claim in store.blocking_claim_many(&[(key("key-0"), print()), (key("other"), print())]) {
        assert_eq!(claim.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn of_many_the_one_that_is_corrupt_is_refused_and_the_others_are_found() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    let texts: Vec<String> = (0..100).map(|nth| format!("key-{nth}")).collect();
    for text in &texts {
        claimed(&store, text).blocking_complete(text.clone()).unwrap();
    }
    store.close().unwrap();
    // The head of the result of one, told from its claim by the payload behind the key.
    let segment = path.join("segments/0000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let wanted = b"acct_1key-42key-42";
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let store = Store::open(&path).unwrap();
    let keys: Vec<Key<'_>> = texts.iter().map(|text| key(text)).collect();
    for (text, found) in texts.iter().zip(store.get_many(&keys)) {
        if text == "key-42" {
            assert_eq!(found.unwrap_err().kind(), ErrorKind::Corrupt);
        } else {
            assert_eq!(found.unwrap().unwrap().payload().unwrap().unwrap(), text.as_bytes());
        }
    }
}

#[test]
fn claim_many_answers_each_as_claim_does_and_writes_one_group() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    claimed(&store, "done").blocking_complete("created").unwrap();
    drop(claimed(&store, "doubtful"));
    let held = claimed(&store, "held");
    let groups = store.stats().groups;
    let other = Fingerprint::of("another request");
    let claims = store.blocking_claim_many(&[
        (key("a"), print()),
        (key("done"), print()),
        (key("done"), other),
        (key("held"), print()),
        (key("doubtful"), print()),
        (key("b"), print()),
        (key("a"), print()),
        (key("b"), other),
    ]);
    let mut claims = claims.into_iter().map(Result::unwrap);
    let mut next = || claims.next().unwrap();
    let a = granted(next());
    let replayed = next();
    assert!(matches!(replayed, Claim::Replay(_)), "{replayed:?}");
    let mismatched = next();
    assert!(matches!(mismatched, Claim::Mismatch(_)), "{mismatched:?}");
    let waiting = next();
    assert!(matches!(waiting, Claim::InFlight(_)), "{waiting:?}");
    let doubtful = next();
    assert!(matches!(doubtful, Claim::InDoubt(_)), "{doubtful:?}");
    let b = granted(next());
    let again = next();
    assert!(matches!(again, Claim::InFlight(_)), "the first of two is granted: {again:?}");
    let again = next();
    assert!(matches!(again, Claim::Mismatch(_)), "{again:?}");
    // The one that left a key in doubt may have had a group of its own.
    assert!(store.stats().groups <= groups + 2, "{} groups", store.stats().groups - groups);
    for ticket in [a, b, held] {
        ticket.blocking_complete("x").unwrap();
    }
    for text in ["a", "b", "held"] {
        assert_eq!(store.get(key(text)).unwrap().unwrap().state(), State::Complete);
    }
    assert!(store.blocking_claim_many(&[]).is_empty());
}

/// One key, named many times, with two fingerprints: one ticket, and no second place under the cap;
/// those who wait get what its owner makes of it.
#[test]
fn of_a_key_named_more_than_once_one_is_granted_and_the_others_wait_for_it() {
    let (_parent, path) = directory();
    let store = Options::new().max_in_flight(1).open(&path).unwrap();
    let other = Fingerprint::of("another request");
    let named = [(key("a"), print()), (key("a"), print()), (key("a"), other), (key("a"), print())];
    let far = std::time::Instant::now() + Duration::from_secs(3600);
    let claim = || {
        let mut claims = store.blocking_claim_many(&named).into_iter().map(Result::unwrap);
        let mut next = || claims.next().unwrap();
        let ticket = granted(next());
        let Claim::InFlight(second) = next() else { panic!("it is in flight") };
        assert!(matches!(next(), Claim::Mismatch(_)));
        let Claim::InFlight(last) = next() else { panic!("it is in flight") };
        assert_eq!(store.stats().in_flight, 1);
        (ticket, second, last)
    };
    let (ticket, second, last) = claim();
    ticket.blocking_release().unwrap();
    let again = granted(second.blocking_until(far).unwrap());
    again.blocking_release().unwrap();
    let again = granted(last.blocking_until(far).unwrap());
    again.blocking_release().unwrap();
    let (ticket, second, last) = claim();
    ticket.blocking_complete("created").unwrap();
    for wait in [second, last] {
        let Claim::Replay(record) = wait.blocking_until(far).unwrap() else { panic!("it is done") };
        assert_eq!(record.payload().unwrap().unwrap(), "created");
    }
    for claim in store.blocking_claim_many(&named[..2]) {
        assert!(matches!(claim, Ok(Claim::Replay(_))), "{claim:?}");
    }
}

/// Keys named twice while room runs short again and again, so that claims wait between their two:
/// each key has one ticket, whichever of the two it came with.
#[test]
fn keys_named_twice_have_one_ticket_each_though_room_runs_short() {
    let (_parent, path) = directory();
    let store = Options::new().segment_size(64 << 10).open(&path).unwrap();
    let texts: Vec<String> = (0..2000).map(|nth| format!("{nth:0>200}")).collect();
    let twice: Vec<_> = texts.iter().chain(&texts).map(|text| (key(text), print())).collect();
    let claims = store.blocking_claim_many(&twice);
    let (first, second) = claims.split_at(texts.len());
    for (nth, pair) in first.iter().zip(second).enumerate() {
        let one = matches!(
            pair,
            (Ok(Claim::Granted(_)), Ok(Claim::InFlight(_)))
                | (Ok(Claim::InFlight(_)), Ok(Claim::Granted(_)))
        );
        assert!(one, "key {nth}: {pair:?}");
    }
    assert_eq!(store.stats().in_flight, texts.len() as u64);
}

#[test]
fn claims_over_the_cap_are_refused_and_those_under_it_granted() {
    let (_parent, path) = directory();
    let store = Options::new().max_in_flight(10).open(&path).unwrap();
    let texts: Vec<String> = (0..15).map(|nth| format!("key-{nth}")).collect();
    let wanted: Vec<_> = texts.iter().map(|text| (key(text), print())).collect();
    let claims = store.blocking_claim_many(&wanted);
    let refused = |claim: &Result<Claim, onceward::Error>| {
        claim.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooManyInFlight)
    };
    let (granted, rest) = claims.split_at(10);
    assert!(granted.iter().all(|claim| matches!(claim, Ok(Claim::Granted(_)))), "{granted:?}");
    assert!(rest.len() == 5 && rest.iter().all(refused), "{rest:?}");
}

/// A claim's future gives its key back when it is dropped on the way; so do many, those among them
/// whose claims are on disk already.
#[test]
fn many_claims_given_up_on_their_way_give_all_their_keys_back() {
    let (_parent, path) = directory();
    let store = Options::new().stepped().open(&path).unwrap();
    let settle = || while store.step().unwrap() {};
    let texts: Vec<String> = (0..40).map(|nth| format!("key-{nth}")).collect();
    let wanted: Vec<_> = texts.iter().map(|text| (key(text), print())).collect();
    let mut context = Context::from_waker(Waker::noop());
    drop(store.claim_many(&wanted));
    assert_eq!(store.stats().in_flight, 0, "it starts at its first poll");
    for on_disk in [false, true] {
        {
            let mut many = pin!(store.claim_many(&wanted));
            assert!(many.as_mut().poll(&mut context).is_pending());
            assert_eq!(store.stats().in_flight, 40);
            if on_disk {
                settle();
            }
        }
        settle();
        assert_eq!((store.stats().in_flight, store.stats().in_doubt), (0, 0));
        let found = store.get_many(&wanted.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        assert!(found.iter().all(|found| matches!(found, Ok(None))), "{found:?}");
    }

    // One is told to wait for room, or for another, while the rest are on disk: none is granted to
    // somebody who went away.
    let mut holder = pin!(store.claim(key("key-7"), print()));
    assert!(holder.as_mut().poll(&mut context).is_pending());
    let mut many = pin!(store.claim_many(&wanted));
    assert!(many.as_mut().poll(&mut context).is_pending());
    settle();
    let Poll::Ready(claims) = many.as_mut().poll(&mut context) else { panic!("all are on disk") };
    let waiting = claims.iter().filter(|claim| matches!(claim, Ok(Claim::InFlight(_)))).count();
    let granted = claims.iter().filter(|claim| matches!(claim, Ok(Claim::Granted(_)))).count();
    assert_eq!((waiting, granted), (1, 39));
}

#[test]
fn a_closed_store_refuses_each() {
    let (_parent, path) = directory();
    let store = Store::open(&path).unwrap();
    claimed(&store, "a").blocking_complete("x").unwrap();
    store.close().unwrap();
    for found in store.get_many(&[key("a"), key("b")]) {
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Closed);
    }
    for claim in store.blocking_claim_many(&[(key("a"), print()), (key("b"), print())]) {
        assert_eq!(claim.unwrap_err().kind(), ErrorKind::Closed);
    }
}

/// P0.2, from many threads: what is found is never less than what was acknowledged before.
#[test]
fn get_many_sees_what_was_completed_before_it_while_others_write_and_sweep() {
    let (_parent, path) = directory();
    let store = Options::new().segment_size(64 << 10).open(&path).unwrap();
    let texts: Vec<String> = (0..600).map(|nth| format!("key-{nth}")).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (nth, text) in texts.iter().enumerate() {
                claimed(&store, text).blocking_complete(text.clone()).unwrap();
                done.store(nth + 1, std::sync::atomic::Ordering::Release);
                if nth % 100 == 0 {
                    store.checkpoint().unwrap();
                    store.sweep().unwrap();
                }
            }
        });
        let all: Vec<Key<'_>> = texts.iter().map(|text| key(text)).collect();
        loop {
            let before = done.load(std::sync::atomic::Ordering::Acquire);
            let found = store.get_many(&all);
            for (nth, found) in found.into_iter().enumerate() {
                let found = found.unwrap();
                let complete = found.filter(|found| found.state() == State::Complete);
                assert!(complete.is_some() || nth >= before, "key {nth} of {before}");
                if let Some(record) = complete {
                    assert_eq!(record.payload().unwrap().unwrap(), texts[nth].as_bytes());
                }
            }
            if before == texts.len() {
                break;
            }
        }
    });
}
