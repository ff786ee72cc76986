//! Walking over the live records, for tools and migration.

use std::sync::Arc;

use super::Inner;
use super::record::Settled;
use crate::error::Error;
use crate::index::{Identity, SHARDS};
use crate::location::Location;
use crate::outcome::Record;

/// A key and its record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Item {
    /// The scope's octets.
    pub scope: Vec<u8>,
    /// The key's octets.
    pub key: Vec<u8>,
    /// The record.
    pub record: Record,
}

/// The live records of a store, a shard of the index at a time: each key at most once, and each
/// that stood the whole time.
pub struct Iter {
    inner: Arc<Inner>,
    next_shard: usize,
    settled: Vec<Location>,
    in_flight: Vec<Item>,
}

impl Iter {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, next_shard: 0, settled: Vec::new(), in_flight: Vec::new() }
    }

    fn fill(&mut self) -> bool {
        if self.next_shard >= SHARDS {
            return false;
        }
        // A shard is named by the upper half of an identity.
        let identity = Identity((self.next_shard as u128) << 64);
        self.next_shard += 1;
        let shard = self.inner.index.shard(identity);
        self.settled = shard.locations().collect();
        let claims = shard.flights.values().filter(|flight| flight.counted);
        self.in_flight = claims
            .map(|flight| Item {
                scope: flight.owner.scope().to_vec(),
                key: flight.owner.key().to_vec(),
                record: flight.record(),
            })
            .collect();
        true
    }

    /// The record at `location`, unless it has expired or moved on.
    fn read(&self, location: Location) -> Option<Result<Item, Error>> {
        let segment = self.inner.log.segments.get(location.segment())?;
        let read = segment.head(location.offset(), |frame| {
            (frame.scope.to_vec(), frame.key.to_vec(), frame.header)
        });
        let (scope, key, header) = match read {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        let settled = Settled { segment, location, header };
        settled.known().at(self.inner.now_ms())?;
        Some(settled.record().map(|record| Item { scope, key, record }))
    }
}

impl Iterator for Iter {
    /// A record, or why one cannot be read; the next ones still can.
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.in_flight.pop() {
                return Some(Ok(item));
            }
            if let Some(location) = self.settled.pop() {
                if let Some(item) = self.read(location) {
                    return Some(item);
                }
            } else if !self.fill() {
                return None;
            }
        }
    }
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("next_shard", &self.next_shard).finish_non_exhaustive()
    }
}
