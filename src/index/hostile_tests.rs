//! Keys chosen by an adversary: to collide, or to be taken for one another (PROOF "hostile keys",
//! "cross-tenant").

use std::collections::HashMap;

use super::*;
use crate::format::frame::Kind;
use crate::location::Location;

/// Keys in a flood.
const KEYS: usize = 1 << 20;
/// The low bits of an unkeyed hash in which all crafted keys agree: more than a table of them uses.
const BITS: u32 = 20;
const SECRET: [u8; 16] = *b"a store's secret";

/// FNV-1a: a hash without a key, as tables of many programs have had.
fn unkeyed(state: u64, octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(state, |state, octet| (state ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

/// Two words after which the low bits of the unkeyed hash are what they were before. So every string
/// of the two collides with every other, and there are as many as one likes.
fn words() -> [[u8; 5]; 2] {
    let start = unkeyed(0xcbf2_9ce4_8422_2325, b"");
    let low = |hash: u64| hash & ((1 << BITS) - 1);
    let mut found = (0_u64..).map(|n| {
        let [a, b, c, d, ..] = n.to_le_bytes();
        [b'k', a, b, c, d]
    });
    let mut next = || found.find(|word| low(unkeyed(start, word)) == low(start)).unwrap();
    [next(), next()]
}

/// The key number `n` of those that collide: its bits written in the two words.
fn crafted(n: usize, words: &[[u8; 5]; 2]) -> Vec<u8> {
    (0..20).flat_map(|bit| words[n >> bit & 1]).collect()
}

fn location(nth: usize) -> Location {
    Location::new(1, 8 * nth as u64, Kind::Complete)
}

/// How many slots are looked at to find each key once, in all and at most, in an index of `KEYS`.
fn cost(key: impl Fn(usize) -> Vec<u8>) -> (usize, usize) {
    let index = Index::new(Arc::new(Poison::default()));
    for nth in 0..KEYS {
        let key = key(nth);
        let identity = Identity::of(Key::new("acct_1", &key).unwrap(), &SECRET);
        index.shard(identity).put(identity, None, location(nth));
    }
    assert_eq!(index.records(), KEYS as u64);
    index
        .shards()
        .map(|shard| shard.probes())
        .fold((0, 0), |(sum, most), (probes, longest)| (sum + probes, most.max(longest)))
}

#[test]
fn a_million_keys_that_collide_in_an_unkeyed_hash_cost_what_random_ones_do() {
    let words = words();
    let start = 0xcbf2_9ce4_8422_2325;
    let low = |n| unkeyed(start, &crafted(n, &words)) & ((1 << BITS) - 1);
    assert!((0..1000).all(|n| low(n * 1009) == low(0)), "they do collide");
    // So they are a flood to a table that goes by such a hash: each is as far as there are before it.
    let mut table = table::Table::default();
    for nth in 0..2000 {
        table.insert(table::Slot { hash: low(nth), location: location(nth) });
    }
    assert_eq!(table.probes(), (2000 * 2001 / 2, 2000));

    let mut random = fastrand::Rng::with_seed(2026);
    let tail: Vec<u64> = (0..KEYS).map(|_| random.u64(..)).collect();
    let (sum, most) = cost(|nth| crafted(nth, &words));
    let (random_sum, random_most) = cost(|nth| format!("{nth}-{}", tail[nth]).into_bytes());
    assert!(sum < 2 * random_sum, "{sum} slots looked at, {random_sum} with random keys");
    assert!(most < 2 * random_most, "{most} at most, {random_most} with random keys");
}

/// C8: the same octets cut into scope and key at two places are two identities, whatever stands
/// there that somebody might take for an end.
#[test]
fn c8_a_hundred_thousand_pairs_of_scope_and_key_that_run_together_never_share_an_identity() {
    let mut random = crate::seed::rng();
    let alphabet = [b'a', b'b', b':', b'/', b'|', b',', b' ', b'\n', 0, 1, 2, 3, 4, 5, 8, 0xff];
    let mut owners: HashMap<Identity, (Vec<u8>, Vec<u8>)> = HashMap::new();
    for _ in 0..100_000 {
        let octets: Vec<u8> =
            (0..random.usize(3..24)).map(|_| *random.choice(&alphabet).unwrap()).collect();
        let places: Vec<usize> = random.choose_multiple(0..octets.len(), 2);
        for at in places {
            let (scope, key) = octets.split_at(at);
            let identity = Identity::of(Key::new(scope, key).unwrap(), &SECRET);
            let own = (scope.to_vec(), key.to_vec());
            let owner = owners.entry(identity).or_insert_with(|| own.clone());
            assert_eq!(*owner, own, "two keys, one identity");
        }
    }
}
