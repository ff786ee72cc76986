//! The stores, one file each.

#[macro_use]
mod choose;
mod fjall;
mod lmdb;
mod ours;
mod postgres;
mod postgres_batched;
mod redb;
mod redis;
#[cfg(feature = "rocksdb")]
mod rocks;
mod server;
mod sqlite;

pub(crate) use self::fjall::Fjall;
pub(crate) use self::lmdb::Lmdb;
pub(crate) use self::ours::Ours;
pub(crate) use self::postgres::Postgres;
pub(crate) use self::postgres_batched::PostgresBatched;
pub(crate) use self::redb::{Redb, RedbQuick};
pub(crate) use self::redis::Redis;
#[cfg(feature = "rocksdb")]
pub(crate) use self::rocks::{Rocks, RocksBatched};
pub(crate) use self::sqlite::Sqlite;

/// Records that are filled in with one transaction.
const FILL: usize = 2_000_000;

/// The keys of `numbers` in the order of keys, in parts of [`FILL`]: one pass over a tree, whose pages
/// are as full as it makes them.
fn parts(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Vec<crate::work::Wanted>> {
    let mut all: Vec<_> = numbers.map(crate::work::Wanted::of).collect();
    // Backwards, so that parts are taken off the end.
    all.sort_unstable_by_key(|wanted| std::cmp::Reverse(wanted.text));
    std::iter::from_fn(move || {
        let mut part = all.split_off(all.len().saturating_sub(FILL));
        part.reverse();
        (!part.is_empty()).then_some(part)
    })
}

/// The version of the server that `peer` starts; nothing for one in process.
pub(crate) fn version(peer: &str) -> String {
    match peer {
        "redis" => self::redis::version(),
        "postgres" | "postgres-batched" => self::postgres::version(),
        _ => String::new(),
    }
}

/// The key under which an order of expiry has a record.
fn expiry_key(expires_at_ms: u64, text: &crate::work::Text) -> [u8; 44] {
    let mut key = [0; 44];
    let (expiry, rest) = key.split_at_mut(8);
    expiry.copy_from_slice(&expires_at_ms.to_be_bytes());
    rest.copy_from_slice(text);
    key
}

/// The record that a key of an order of expiry is of.
fn expiry_text(key: &[u8]) -> Option<&crate::work::Text> {
    key.get(8..).and_then(|text| text.try_into().ok())
}
