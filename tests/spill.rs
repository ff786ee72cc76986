//! Stores that have more records than memory for them, and stores that were opened just now: what
//! the index does not have is found in the tree, and what is in neither place is free.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use onceward::storage::{SimDisk, Storage};
use onceward::{
    Claim, ErrorKind, Fingerprint, Key, ManualClock, Options, State, Store, verify_storage,
};

const TTL: Duration = Duration::from_secs(3600);
const KEYS: u32 = 600;

struct World {
    disk: Arc<SimDisk>,
    clock: ManualClock,
    opened: u64,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new(1_750_000_000_000);
        Self { disk: Arc::new(SimDisk::new(7)), clock, opened: 0 }
    }

    /// Opens the store, which keeps so many records in memory.
    fn open(&mut self, resident: u64) -> Store {
        self.opened += 1;
        let disk = Arc::clone(&self.disk);
        Options::new()
            .ttl(TTL)
            .segment_size(64 << 10)
            .clock(self.clock.clone())
            .seeded(self.opened)
            .resident_records(resident)
            .stepped()
            .open_storage(disk)
            .unwrap()
    }
}

fn settle(store: &Store) {
    while store.step().unwrap() {}
}

/// Drives a future of a stepped store to its end.
fn drive<F: Future>(store: &Store, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        settle(store);
    }
}

fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

fn claim(store: &Store, number: u32) -> Result<Claim<Store>, onceward::Error> {
    let text = format!("key {number}");
    drive(store, store.claim(Key::new("scope", &text).unwrap(), print()))
}

fn complete(store: &Store, number: u32) {
    let claimed = claim(store, number).unwrap();
    let Claim::Granted(ticket) = claimed else { panic!("key {number}: {claimed:?}") };
    drive(store, ticket.complete(format!("result {number}"))).unwrap();
}

fn is_replayed(store: &Store, number: u32) {
    let claimed = claim(store, number).unwrap();
    let Claim::Replay(record) = claimed else { panic!("key {number}: {claimed:?}") };
    assert_eq!(record.payload().unwrap().unwrap(), format!("result {number}"));
}

/// A store of `KEYS` results in several runs of its tree.
fn filled(world: &mut World, resident: u64) -> Store {
    let store = world.open(resident);
    for number in 0..KEYS {
        complete(&store, number);
        if number % 100 == 99 {
            store.checkpoint().unwrap();
        }
    }
    store
}

/// Rounds of the housekeeper in which nothing is swept, until nothing is left to do.
fn keep(store: &Store) {
    for _ in 0..40 {
        store.keep_house(1);
    }
}

#[test]
fn a_store_beyond_its_memory_replays_every_key_and_grants_new_ones() {
    let mut world = World::new();
    let store = filled(&mut world, 50);
    keep(&store);
    let stats = store.stats();
    assert_eq!((stats.records, stats.unread_pieces), (u64::from(KEYS), 0));
    assert!(stats.cold_records >= u64::from(KEYS) - 50, "{stats:?}");
    for number in 0..KEYS {
        is_replayed(&store, number);
        let text = format!("key {number}");
        let mismatch = store.claim(Key::new("scope", &text).unwrap(), Fingerprint::of("other"));
        assert!(matches!(drive(&store, mismatch).unwrap(), Claim::Mismatch(_)));
    }
    (KEYS..KEYS + 100).for_each(|number| complete(&store, number));
    keep(&store);
    (0..KEYS + 100).for_each(|number| is_replayed(&store, number));
}

#[test]
fn an_opened_store_answers_before_it_has_read_its_tree_and_while_it_does() {
    let mut world = World::new();
    filled(&mut world, u64::MAX).close().unwrap();
    for rounds in 0..8 {
        // Closed again wherever the reading is.
        let store = world.open(u64::MAX);
        let unread = store.stats().unread_pieces;
        assert!(unread > 0, "it was read at once");
        (0..rounds).for_each(|_| store.keep_house(1));
        assert!(store.stats().unread_pieces == unread.saturating_sub(rounds));
        (0..KEYS).for_each(|number| is_replayed(&store, number));
        let text = format!("another {rounds}");
        assert!(store.get(Key::new("scope", &text).unwrap()).unwrap().is_none());
        if rounds % 2 == 0 {
            store.close().unwrap();
        } else {
            drop(store);
            world.disk = Arc::new(world.disk.kill());
        }
    }
    let store = world.open(u64::MAX);
    keep(&store);
    assert_eq!(store.stats().cold_records, 0);
    (0..KEYS).for_each(|number| is_replayed(&store, number));
}

#[test]
fn what_is_in_doubt_is_known_at_once_and_stays_what_it_became() {
    let mut world = World::new();
    let store = filled(&mut world, 0);
    for number in 1000..1003 {
        let Claim::Granted(ticket) = claim(&store, number).unwrap() else { panic!("not granted") };
        drop(ticket);
    }
    settle(&store);
    store.close().unwrap();
    let store = world.open(0);
    assert_eq!(store.stats().in_doubt, 3);
    let key = |number: u32| format!("key {number}");
    for (number, how) in [
        (1000, onceward::Resolution::Release),
        (1001, onceward::Resolution::Complete("result 1001".into())),
    ] {
        let text = key(number);
        let resolved = store.resolve(Key::new("scope", &text).unwrap(), how);
        assert_eq!(drive(&store, resolved).unwrap(), onceward::Resolved::Done);
    }
    for _ in 0..2 {
        store.checkpoint().unwrap();
        keep(&store);
        let text = key(1002);
        let doubt = store.get(Key::new("scope", &text).unwrap()).unwrap().unwrap();
        assert_eq!(doubt.state(), State::InDoubt);
        is_replayed(&store, 1001);
        let text = key(1000);
        assert!(store.get(Key::new("scope", &text).unwrap()).unwrap().is_none());
    }
    store.close().unwrap();
    let store = world.open(0);
    assert_eq!(store.stats().in_doubt, 1);
    is_replayed(&store, 1001);
    complete(&store, 1000);
}

/// A key is claimed again after it expired, and both of its entries are in the tree alone.
#[test]
fn a_key_claimed_again_is_found_and_not_its_expired_record() {
    let mut world = World::new();
    let store = filled(&mut world, 0);
    keep(&store);
    world.clock.advance(TTL + Duration::from_millis(1));
    (0..50).for_each(|number| complete(&store, number));
    store.checkpoint().unwrap();
    keep(&store);
    assert!(store.stats().cold_records > 0);
    (0..50).for_each(|number| is_replayed(&store, number));
    store.sweep().unwrap();
    (0..50).for_each(|number| is_replayed(&store, number));
    (50..KEYS).for_each(|number| complete(&store, number));
}

#[test]
fn a_walk_finds_each_record_once_wherever_it_is() {
    let mut world = World::new();
    filled(&mut world, 200).close().unwrap();
    let store = world.open(200);
    for _ in 0..12 {
        let mut keys: Vec<_> =
            store.iter().map(|item| String::from_utf8(item.unwrap().key).unwrap()).collect();
        keys.sort();
        let mut all: Vec<_> = (0..KEYS).map(|number| format!("key {number}")).collect();
        all.sort();
        assert_eq!(keys, all);
        store.keep_house(1);
    }
    let items: Vec<_> = store.iter().map(Result::unwrap).collect();
    let rest: Vec<_> = store.iter().after(items[299].cursor).map(Result::unwrap).collect();
    assert_eq!(rest.len(), items.len() - 300);
    assert_eq!(rest[0].key, items[300].key);
}

/// What the tree alone had is refused while it cannot be believed, and back once it is made anew.
#[test]
fn a_damaged_piece_is_refused_and_never_granted_and_made_anew() {
    let mut world = World::new();
    let store = filled(&mut world, 0);
    keep(&store);
    store.close().unwrap();
    // Every block, wherever redb has it, and not the head.
    let bytes = world.disk.read_file("tree.redb").unwrap();
    for (at, _) in bytes.windows(4).enumerate().filter(|(_, four)| four == b"owtb") {
        world.disk.flip_bit("tree.redb", (at as u64 + 100) * 8 + 3).unwrap();
    }
    let store = world.open(0);
    let (mut refused, mut answered) = (0, 0);
    for number in 0..KEYS {
        match claim(&store, number) {
            Ok(Claim::Replay(_)) => answered += 1,
            Err(error) if error.kind() == ErrorKind::Corrupt => refused += 1,
            other => panic!("key {number}: {other:?}"),
        }
    }
    assert!(refused > 0, "{answered} were answered by a damaged tree");
    keep(&store);
    (0..KEYS).for_each(|number| is_replayed(&store, number));
    complete(&store, KEYS);
    store.close().unwrap();
}

/// A filter that rots, or is not there, does not say that a key is free: the tree is made anew, as
/// when anything else in it is damaged.
#[test]
fn a_damaged_filter_grants_nothing_and_is_made_anew() {
    let mut world = World::new();
    let store = filled(&mut world, 0);
    keep(&store);
    store.close().unwrap();
    let bytes = world.disk.read_file("tree.redb").unwrap();
    let filters: Vec<_> =
        bytes.windows(4).enumerate().filter(|(_, four)| four == b"owtf").map(|it| it.0).collect();
    assert!(!filters.is_empty());
    for at in filters {
        // Every bit of the first two lines goes: what they had is in no line any more.
        for bit in (0..2 * 512).filter(|bit| bytes[at + 56 + bit / 8] & 1 << (bit % 8) != 0) {
            world.disk.flip_bit("tree.redb", (at as u64 + 56) * 8 + bit as u64).unwrap();
        }
    }
    let store = world.open(0);
    // Nobody has asked for a filter yet, and the pieces are sound.
    (0..KEYS).for_each(|number| is_replayed(&store, number));
    store.keep_house(1);
    for number in 0..KEYS {
        match claim(&store, number) {
            Ok(Claim::Replay(_)) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            other => panic!("key {number}: {other:?}"),
        }
    }
    keep(&store);
    (0..KEYS).for_each(|number| is_replayed(&store, number));
    complete(&store, KEYS);
    store.close().unwrap();
    let report = verify_storage(&(Arc::clone(&world.disk) as Arc<dyn Storage>)).unwrap();
    assert!(report.is_sound(), "the tree is not another: {:?}", report.problems);
}

/// A doubt that the tree knows of is resolved, and the key claimed again and completed, before the
/// next checkpoint: the result must not hide behind the doubt.
#[test]
fn a_result_between_two_checkpoints_ends_the_doubt_in_the_tree() {
    let mut world = World::new();
    let store = world.open(0);
    let Claim::Granted(ticket) = claim(&store, 1).unwrap() else { panic!("not granted") };
    drop(ticket);
    settle(&store);
    store.close().unwrap();
    let store = world.open(0);
    assert_eq!(store.stats().in_doubt, 1);
    store.checkpoint().unwrap();
    let key = Key::new("scope", "key 1").unwrap();
    let released = store.resolve(key, onceward::Resolution::Release);
    assert_eq!(drive(&store, released).unwrap(), onceward::Resolved::Done);
    complete(&store, 1);
    // What follows keeps the last segment from being written again as a whole.
    for number in 1000..1600 {
        complete(&store, number);
    }
    store.checkpoint().unwrap();
    store.close().unwrap();
    let store = world.open(0);
    is_replayed(&store, 1);
    keep(&store);
    is_replayed(&store, 1);
}

/// A key's expired record is in memory and its new one in the tree alone, when the segment of the old
/// one goes: written again it would count as the newer.
#[test]
fn an_expired_record_is_not_written_again_over_what_came_after_it() {
    let mut world = World::new();
    let store = world.open(u64::MAX);
    let complete_for = |number: u32, ttl: Duration| {
        let text = format!("key {number}");
        let options = onceward::ClaimOptions::new().ttl(ttl);
        let claimed = store.claim_with(Key::new("scope", &text).unwrap(), print(), options);
        let Claim::Granted(ticket) = drive(&store, claimed).unwrap() else { panic!("not granted") };
        drive(&store, ticket.complete(format!("result {number}"))).unwrap();
    };
    // One segment's: most of it short-lived, one record that keeps it, and the key's first.
    complete_for(2000, 10 * TTL);
    // Expires just after a bucket has begun, which keeps its entry for a while.
    let width = 1_000 * 3600 / 96;
    let now = 1_750_000_000_000_u64;
    let expiry = now.next_multiple_of(width) + 2 * width + 1;
    complete_for(1, Duration::from_millis(expiry - now));
    (1000..1300).for_each(|number| complete_for(number, Duration::from_secs(1)));
    store.checkpoint().unwrap();
    world.clock.advance(Duration::from_millis(expiry - now + 1));
    for number in 1..400 {
        complete(&store, number);
    }
    store.checkpoint().unwrap();
    store.close().unwrap();
    // Room for the pieces of a record each, and not for the large one.
    let store = world.open(250);
    keep(&store);
    assert!(store.stats().cold_records > 0);
    is_replayed(&store, 1);
    let swept = store.sweep().unwrap();
    assert!(swept.segments_removed > 0, "{swept:?}");
    is_replayed(&store, 1);
    store.checkpoint().unwrap();
    store.close().unwrap();
    let store = world.open(u64::MAX);
    keep(&store);
    (1..400).for_each(|number| is_replayed(&store, number));
}

/// Damage that only a sweep meets, in a bucket that has expired: the tree is made anew, and the
/// sweeps and checkpoints that follow go well.
#[test]
fn damage_met_by_a_sweep_has_the_tree_made_anew() {
    let mut world = World::new();
    filled(&mut world, u64::MAX).close().unwrap();
    let store = world.open(u64::MAX);
    keep(&store);
    complete(&store, KEYS);
    // From here on redb writes to the file, all of whose pages it has verified.
    store.checkpoint().unwrap();
    let bytes = world.disk.read_file("tree.redb").unwrap();
    for (at, _) in bytes.windows(4).enumerate().filter(|(_, four)| four == b"owtb") {
        world.disk.flip_bit("tree.redb", (at as u64 + 100) * 8 + 3).unwrap();
    }
    world.clock.advance(3 * TTL);
    let refused = store.sweep().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "no sweep met it: {refused}");
    store.checkpoint().unwrap();
    store.sweep().unwrap();
    complete(&store, 1);
    keep(&store);
    is_replayed(&store, 1);
    assert_eq!(store.stats().records, 1);
}

/// A sync of the log fails as a sweep begins, under `Buffered`, where the tree lacks nothing: its head
/// may not be written again, for it would name a position that may not be on the disk.
#[test]
fn p0_a_sweep_whose_sync_failed_leaves_the_tree_as_it_is() {
    let mut world = World::new();
    let disk = Arc::clone(&world.disk);
    let store = Options::new()
        .ttl(TTL)
        .durability(onceward::Durability::Buffered)
        .clock(world.clock.clone())
        .stepped()
        .open_storage(disk.clone())
        .unwrap();
    complete(&store, 1);
    store.checkpoint().unwrap();
    world.clock.advance(3 * TTL);
    // A claim changes no entry of the tree, only where its head says that the log ends.
    let Claim::Granted(ticket) = claim(&store, 2).unwrap() else { panic!("not granted") };
    let before = disk.read_file("tree.redb").unwrap();
    disk.fail_operation(disk.operations(), onceward::storage::Fault::Io);
    assert_eq!(store.sweep().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(store.stats().poisoned, "it was another operation that failed");
    assert_eq!(disk.read_file("tree.redb").unwrap(), before);
    drop(ticket);
    drop(store);
    world.disk = Arc::new(disk.power_loss_total());
    let store = world.open(u64::MAX);
    assert!(store.get(Key::new("scope", "key 1").unwrap()).unwrap().is_none());
    complete(&store, 3);
}

/// Keys that a store with so much memory for its index takes, of `keys` that are claimed and completed,
/// with everything the housekeeper does after each batch.
fn taken(index_memory: u64, keys: u32) -> u32 {
    const BATCH: u32 = 256;
    let store = Options::new()
        .ttl(TTL)
        .clock(ManualClock::new(1_750_000_000_000))
        .seeded(1)
        .index_memory(index_memory)
        .stepped()
        .open_storage(Arc::new(SimDisk::new(7)))
        .unwrap();
    for (round, begin) in (0..).zip((0..keys).step_by(BATCH as usize)) {
        let names: Vec<_> = (begin..begin + BATCH).map(|number| number.to_string()).collect();
        let claims: Vec<_> =
            names.iter().map(|name| (Key::new("acct_1", name).unwrap(), print())).collect();
        let claimed = drive(&store, store.claim_many(&claims));
        let mut ends = Vec::new();
        for (number, claim) in (begin..).zip(claimed) {
            match claim {
                Ok(Claim::Granted(ticket)) => ends.push(Box::pin(ticket.complete("created"))),
                Err(error) if error.kind() == ErrorKind::Full => return number,
                other => panic!("{other:?}"),
            }
        }
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for end in &mut ends {
            assert!(end.as_mut().poll(&mut context).is_pending());
        }
        settle(&store);
        for end in ends {
            drive(&store, end).unwrap();
        }
        store.checkpoint().unwrap();
        store.keep_house(round);
        settle(&store);
    }
    keys
}

/// Where not even the filters fit, new claims are refused: at some two octets a key, and not when the
/// tables are full for the first time.
#[test]
fn the_least_memory_takes_more_keys_than_its_tables_hold() {
    for (index_memory, keys) in [(1 << 20, 60_000), (4_000_000, 110_000)] {
        assert_eq!(taken(index_memory, keys), keys, "of {index_memory} bytes");
    }
}
