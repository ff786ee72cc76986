//! Floods of keys (PROOF "hostile keys, floods of keys"): what expires is forgotten, in memory as on
//! disk.

use std::time::Duration;

use onceward::{Claim, Durability, Fingerprint, Key, ManualClock, Options, Store};
use tokio::task::JoinSet;

use crate::anonymous::{anonymous, is_alone};

const ROUNDS: u64 = 10;
const KEYS: u64 = 100_000;
/// How many are claimed at a time, and so share a group.
const AT_ONCE: u64 = 2_000;
/// Octets that whatever is kept for one key takes, if it is one allocation.
const ALLOCATION_MIN: u64 = 32;
const TTL: Duration = Duration::from_secs(60);

/// Claims and completes `KEYS` keys of `round`.
async fn flood(store: &Store, round: u64) {
    let mut tasks = JoinSet::new();
    for first in (0..KEYS).step_by(AT_ONCE as usize) {
        for n in first..first + AT_ONCE {
            // A scope each: what is kept for one goes, too.
            let (scope, key) = (format!("acct_{round}_{n}"), format!("{round}-{n}"));
            let key = Key::new(&scope, &key).unwrap();
            let claim = store.claim(key, Fingerprint::of("a"));
            tasks.spawn(async move {
                let claim = claim.await.unwrap();
                let Claim::Granted(ticket) = claim else { panic!("{claim:?}") };
                ticket.complete("done").await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

/// In a process of its own, whose memory nobody else takes.
#[test]
fn ten_floods_of_keys_with_a_short_ttl_leave_memory_and_disk_as_the_first_did() {
    let test = "floods::ten_floods_of_keys_with_a_short_ttl_leave_memory_and_disk_as_the_first_did";
    if is_alone(test) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ten_floods());
    }
}

async fn ten_floods() {
    let parent = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(1_700_000_000_000);
    let options = Options::new().durability(Durability::Buffered).segment_size(4 << 20).ttl(TTL);
    let store = options.clock(clock.clone()).open(parent.path().join("data")).unwrap();
    let mut index = Vec::new();
    let mut disk = Vec::new();
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        flood(&store, round).await;
        let stats = store.stats();
        assert!(stats.records >= KEYS, "round {round}: {stats:?}");
        index.push(stats.index_bytes);
        clock.advance(2 * TTL);
        let swept = store.clone();
        tokio::task::spawn_blocking(move || swept.sweep()).await.unwrap().unwrap();
        let stats = store.stats();
        assert_eq!((stats.records, stats.in_flight), (0, 0), "round {round}: {stats:?}");
        disk.push(stats.log_bytes + stats.tree_bytes);
        memory.push(anonymous());
    }
    // A table doubles when it is full and keeps its room, and 100,000 keys fill most of the tables
    // just so far that they double: what the second round has is what there will be.
    let settled = index[1];
    let flat = index[1..].iter().all(|now| now.abs_diff(settled) * 10 <= settled);
    assert!(flat && index[0] <= settled, "index bytes: {index:?}");
    // The allocator gives back what it can, and the tree's cache fills: by how much differs from round
    // to round. But what a key left anywhere would take this much at the least, each time.
    let (settled, rounds) = (memory[2], ROUNDS - 3);
    let left = rounds * KEYS * ALLOCATION_MIN;
    assert!(memory[9] < settled + left as usize / 2, "memory: {memory:?}");
    // A file grows by steps, and the log keeps a segment or two ahead.
    let most = disk.iter().max().unwrap();
    assert!(*most <= disk[0] + (16 << 20), "bytes of log and tree: {disk:?}");
}
