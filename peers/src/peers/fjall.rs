//! fjall: a log-structured tree in Rust, its journal synced once for all that has gathered.

use std::ops::Range;

use bytes::Bytes;
use fjall::config::{CompressionPolicy, HashRatioPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::batch::{Commit, Gather, Wish, repeats};
use crate::job::{Look, Peer, Setup};
use crate::work::{FAR_MS, Text, Wanted, sure, value};

pub(crate) struct Fjall {
    database: Database,
    records: Keyspace,
    writer: Gather,
    length: usize,
}

struct Writer(Database, Keyspace);

impl Commit for Writer {
    fn commit(&mut self, wishes: &mut [Wish]) {
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for at in 0..wishes.len() {
            let repeats = repeats(wishes, at);
            let Some(wish) = wishes.get_mut(at) else { continue };
            if let Some(payload) = &wish.payload {
                batch.insert(&self.1, wish.text, value::complete(&wish.text, payload, FAR_MS));
            } else if !repeats && !sure(self.1.contains_key(wish.text)) {
                batch.insert(&self.1, wish.text, value::claim(&wish.text));
                wish.granted = true;
            }
        }
        sure(batch.commit());
    }
}

impl Peer for Fjall {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        let builder = Database::builder(setup.directory.join("fjall")).cache_size(setup.cache);
        let database: Database = sure(builder.open());
        // Nothing here compresses.
        let options = || {
            let none = CompressionPolicy::all(CompressionType::None);
            // What its documentation advises for points looked up in memory.
            let hashed = HashRatioPolicy::all(1.0);
            let options = KeyspaceCreateOptions::default().data_block_compression_policy(none);
            options.data_block_hash_ratio_policy(hashed)
        };
        let records = sure(database.keyspace("records", options));
        let writer = Writer(database.clone(), records.clone());
        Self { database, records, writer: Gather::start(setup.tasks, writer), length: setup.length }
    }

    async fn claim(&self, text: Text) -> Option<()> {
        self.writer.claim(text).await.then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        self.writer.complete(text, payload).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        for part in super::parts(numbers) {
            for Wanted { text, number } in &part {
                let record = value::record(text, *number, self.length, expires_at_ms);
                sure(self.records.insert(text, record));
            }
        }
        sure(self.database.persist(PersistMode::SyncAll));
        // Lookups are of tables at rest, not of what waits to become one.
        sure(self.records.rotate_memtable_and_wait());
        sure(self.records.major_compact());
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        let good = |wanted: &&Wanted| match (look, sure(self.records.get(wanted.text))) {
            (Look::Miss, found) => found.is_none(),
            (Look::Head, Some(found)) => value::has_head(&found, &wanted.text),
            (Look::Payload, Some(found)) => {
                value::is_record(&found, &wanted.text, wanted.number, self.length)
            }
            (_, None) => false,
        };
        wanted.iter().filter(good).count()
    }

    fn warm(&self) {
        let octets = self.records.iter().map(|entry| sure(entry.value()).len());
        std::hint::black_box(octets.sum::<usize>());
    }

    fn sweep(&self, _now_ms: u64) -> u64 {
        panic!("fjall is not part of the sweep")
    }
}
