//! What tools and operators ask of a store: its records in pages, its figures, and whether it takes
//! claims.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use onceward::{
    Claim, Cursor, Durability, ErrorKind, Fingerprint, Key, Options, Resolution, Resolved, State,
    Store, Ticket,
};

fn granted(store: &Store, key: &str) -> Ticket {
    let claim = store.blocking_claim(Key::new("s", key).unwrap(), Fingerprint::of("a")).unwrap();
    let Claim::Granted(ticket) = claim else { panic!("{claim:?}") };
    ticket
}

/// 300 keys: of each three, one complete, one in doubt, one in flight (whose tickets are given).
fn filled(store: &Store) -> Vec<Ticket> {
    let mut held = Vec::new();
    for n in 0..300 {
        let ticket = granted(store, &n.to_string());
        match n % 3 {
            0 => ticket.blocking_complete(vec![7; n]).unwrap(),
            1 => drop(ticket),
            _ => held.push(ticket),
        }
    }
    // A key let go of without waiting is settled once a later frame is.
    granted(store, "last").blocking_release().unwrap();
    held
}

fn page(
    store: &Store,
    only: Option<State>,
    after: Option<Cursor>,
    most: usize,
) -> Vec<(Cursor, String)> {
    let mut walk = store.iter();
    if let Some(state) = only {
        walk = walk.in_state(state);
    }
    if let Some(cursor) = after {
        walk = walk.after(cursor);
    }
    let items = walk.take(most).map(|item| {
        let item = item.unwrap();
        assert!(only.is_none_or(|only| only == item.record.state()), "{item:?}");
        (item.cursor, String::from_utf8(item.key).unwrap())
    });
    items.collect()
}

// An operator lists a large store in pages, and keys are settled and resolved between two of them: no
// key that stood the whole time is missing or there twice.
#[test]
fn pages_of_a_walk_hold_each_key_once_whatever_becomes_of_the_keys_between_them() {
    let parent = tempfile::tempdir().unwrap();
    let store = Store::open(parent.path().join("data")).unwrap();
    let mut held = filled(&store);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let items = page(&store, None, after, 7);
        let Some((last, _)) = items.last() else { break };
        assert!(items.is_sorted(), "places rise");
        assert!(seen.len() < 300, "a walk that does not end");
        after = Some(last.to_string().parse().unwrap());
        seen.extend(items.into_iter().map(|(_, key)| key));
        if let Some(ticket) = held.pop() {
            ticket.blocking_complete("late").unwrap();
        }
    }
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((once.len(), seen.len()), (300, 300));
}

#[test]
fn c34_a_walk_of_keys_in_doubt_gives_those_alone_and_the_figures_count_them() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let store = Store::open(&path).unwrap();
    let held = filled(&store);
    for (state, count) in [(State::InDoubt, 100), (State::InFlight, 100), (State::Complete, 100)] {
        assert_eq!(page(&store, Some(state), None, 1000).len(), count, "{state:?}");
    }
    let stats = store.stats();
    assert_eq!((stats.in_doubt, stats.in_flight, stats.records), (100, 100, 200));
    assert_eq!((stats.claims, stats.completions, stats.left_in_doubt), (301, 100, 100));
    assert_eq!((stats.releases, stats.tombstones, stats.resolutions), (1, 0, 0));
    assert!(stats.syncs > 0 && stats.syncs <= stats.groups, "{stats:?}");

    let resolve = |key: &str, how| {
        assert_eq!(
            store.blocking_resolve(Key::new("s", key).unwrap(), how).unwrap(),
            Resolved::Done
        );
    };
    resolve("1", Resolution::Release);
    resolve("4", Resolution::Complete("by hand".into()));
    let stats = store.stats();
    assert_eq!((stats.in_doubt, stats.records, stats.resolutions), (98, 199, 2));
    assert_eq!((stats.releases, stats.completions), (2, 101));

    drop(held);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.stats().in_doubt, 198, "the claims that nobody finished are in doubt, too");
    assert_eq!(page(&store, Some(State::InDoubt), None, 1000).len(), 198);
    assert_eq!(store.stats().claims, 0, "counted since the store was opened");
}

#[test]
fn a_listed_record_says_how_long_its_payload_is() {
    let parent = tempfile::tempdir().unwrap();
    let store = Store::open(parent.path().join("data")).unwrap();
    granted(&store, "long").blocking_complete(vec![7; 4321]).unwrap();
    granted(&store, "tombstone").blocking_complete_without_payload("note").unwrap();
    let octets = |key| store.get(Key::new("s", key).unwrap()).unwrap().unwrap().payload_octets();
    assert_eq!((octets("long"), octets("tombstone")), (Some(4321), None));
    assert_eq!(store.stats().tombstones, 1);
}

#[test]
fn c36_a_store_says_whether_it_takes_claims_and_why_not() {
    let parent = tempfile::tempdir().unwrap();
    let kind = |store: &Store| store.takes_claims().map_err(|error| error.kind());

    let store = Options::new().max_in_flight(1).open(parent.path().join("caps")).unwrap();
    assert_eq!(kind(&store), Ok(()));
    let ticket = granted(&store, "held");
    assert_eq!(kind(&store), Err(ErrorKind::TooManyInFlight));
    ticket.blocking_complete("done").unwrap();
    assert_eq!(kind(&store), Ok(()));
    store.close().unwrap();
    assert_eq!(kind(&store), Err(ErrorKind::Closed));

    let cap = 2 << 20;
    let store = Options::new().max_disk(Some(cap)).open(parent.path().join("disk")).unwrap();
    let mut tickets = Vec::new();
    let refused = (0..100_000).find_map(|n| {
        let key = n.to_string();
        match store.blocking_claim(Key::new("s", &key).unwrap(), Fingerprint::of("a")) {
            Ok(Claim::Granted(ticket)) => {
                tickets.push(ticket);
                None
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Some(error.kind()),
        }
    });
    assert_eq!(refused, Some(ErrorKind::Full));
    assert_eq!(kind(&store), Err(ErrorKind::Full));
    // What was reserved for the end of each claim is given back with it.
    for ticket in tickets {
        ticket.blocking_release().unwrap();
    }
    assert_eq!(kind(&store), Ok(()));
    drop(granted(&store, "after"));

    // What is in doubt stays in memory. One part of the index speaks for all, which fill alike: another
    // may have been full before.
    let options = Options::new().index_memory(1 << 20).durability(Durability::Buffered);
    let small = options.open(parent.path().join("index")).unwrap();
    let mut keys = 0_u32;
    while small.takes_claims().is_ok() {
        let key = keys.to_string();
        match small.blocking_claim(Key::new("s", &key).unwrap(), Fingerprint::of("a")) {
            Ok(Claim::Granted(ticket)) => drop(ticket),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Full),
        }
        keys += 1;
        assert!(keys < 65_536, "an index of 1 MiB does not hold that many");
    }
    assert_eq!(kind(&small), Err(ErrorKind::Full));
}
