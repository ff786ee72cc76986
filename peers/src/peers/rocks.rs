//! RocksDB: a log-structured tree with Bloom filters, whose own group commit gathers the synced
//! writes of blocked threads; and the same behind one writer's thread that gathers batches.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rocksdb::compaction_filter::Decision;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME,
    DataBlockIndexType, IteratorMode, Options, WriteBatch, WriteOptions,
};

use crate::batch::{Commit, Gather, Wish, repeats};
use crate::job::{Look, Peer, Setup};
use crate::work::{FAR_MS, Text, Wanted, sure, value};

/// Locks that claims of different keys rarely share.
const STRIPES: usize = 256;

pub(crate) struct Rocks {
    database: Arc<DB>,
    /// Keys whose claims are on their way: who finds one here comes second.
    claiming: Vec<Mutex<HashSet<Text>>>,
    /// What expires before this millisecond goes with the next compaction.
    now_ms: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    length: usize,
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

impl Rocks {
    #[inline]
    fn is_good(&self, wanted: &Wanted, found: Option<&[u8]>, look: Look) -> bool {
        match (look, found) {
            (Look::Miss, found) => found.is_none(),
            (Look::Head, Some(found)) => value::has_head(found, &wanted.text),
            (Look::Payload, Some(found)) => {
                value::is_record(found, &wanted.text, wanted.number, self.length)
            }
            (_, None) => false,
        }
    }

    fn stripe(&self, text: &Text) -> MutexGuard<'_, HashSet<Text>> {
        let [one, two, ..] = *text;
        let at = (usize::from(one) * 31 + usize::from(two)) % STRIPES;
        match self.claiming.get(at) {
            Some(stripe) => stripe.lock().unwrap_or_else(PoisonError::into_inner),
            None => panic!("there are as many stripes as there are"),
        }
    }
}

impl Peer for Rocks {
    type Ticket = ();

    const TASKS_ARE_THREADS: bool = true;

    fn open(setup: &Setup) -> Self {
        let mut blocks = BlockBasedOptions::default();
        // Ten bits a key, whole keys, as its tuning guide has it; filters and indexes stay in memory
        // for as long as a table is open.
        blocks.set_bloom_filter(10.0, false);
        // What its documentation recommends over the one of least recent use, its charge left open.
        blocks.set_block_cache(&Cache::new_hyper_clock_cache(
            usize::try_from(setup.cache).unwrap_or(usize::MAX),
            0,
        ));
        // What its `OptimizeForPointLookup` sets besides.
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_data_block_hash_ratio(0.75);
        let mut options = Options::default();
        options.set_memtable_prefix_bloom_ratio(0.02);
        options.set_memtable_whole_key_filtering(true);
        options.create_if_missing(true);
        options.increase_parallelism(2);
        options.set_bytes_per_sync(1 << 20);
        // A log whose blocks were written before has less to sync.
        options.set_recycle_log_file_num(4);
        options.set_block_based_table_factory(&blocks);
        let (now_ms, dropped) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        if setup.expiries {
            let (now_ms, dropped) = (Arc::clone(&now_ms), Arc::clone(&dropped));
            options.set_compaction_filter("expired", move |_, _, record: &[u8]| {
                let expires = value::expires_at_ms(record);
                if expires.is_some_and(|at| at < now_ms.load(Relaxed)) {
                    dropped.fetch_add(1, Relaxed);
                    Decision::Remove
                } else {
                    Decision::Keep
                }
            });
        }
        // Named, for only so is there a handle with which keys are looked up together.
        let all = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        let path = setup.directory.join("rocks");
        let database = Arc::new(sure(DB::open_cf_descriptors(&options, path, [all])));
        let claiming = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { database, claiming, now_ms, dropped, length: setup.length }
    }

    /// Blocks the thread while its write waits for the group it is in.
    #[expect(
        clippy::unused_async_trait_impl,
        reason = "a task is a thread here, and waits in its own way"
    )]
    async fn claim(&self, text: Text) -> Option<()> {
        if !self.stripe(&text).insert(text) {
            return None;
        }
        let absent = sure(self.database.get_pinned(text)).is_none();
        if absent {
            sure(self.database.put_opt(text, value::claim(&text), &synced()));
        }
        self.stripe(&text).remove(&text);
        absent.then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        let record = value::complete(&text, &payload, FAR_MS);
        sure(self.database.put_opt(text, record, &synced()));
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        for part in super::parts(numbers) {
            for some in part.chunks(1000) {
                let mut batch = WriteBatch::default();
                for Wanted { text, number } in some {
                    batch.put(text, value::record(text, *number, self.length, expires_at_ms));
                }
                sure(self.database.write(batch));
            }
        }
        // Lookups are of tables at rest, not of what waits to become one.
        sure(self.database.flush());
        self.database.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        let good = |wanted: &&Wanted| {
            let found = sure(self.database.get_pinned(wanted.text));
            self.is_good(wanted, found.as_deref(), look)
        };
        wanted.iter().filter(good).count()
    }

    fn look_up_together(&self, wanted: &[Wanted], look: Look) -> Option<usize> {
        let all = self.database.cf_handle(DEFAULT_COLUMN_FAMILY_NAME)?;
        let texts = wanted.iter().map(|wanted| &wanted.text);
        let found = self.database.batched_multi_get_cf(all, texts, false);
        let good = wanted.iter().zip(found).filter(|(wanted, found)| match found {
            Ok(found) => self.is_good(wanted, found.as_deref(), look),
            Err(_) => false,
        });
        Some(good.count())
    }

    fn warm(&self) {
        let records = self.database.iterator(IteratorMode::Start);
        std::hint::black_box(records.map(|entry| sure(entry).1.len()).sum::<usize>());
    }

    /// A compaction says nothing of what its filter dropped; the filter counts.
    fn sweep(&self, now_ms: u64) -> u64 {
        self.now_ms.store(now_ms, Relaxed);
        self.database.compact_range(None::<&[u8]>, None::<&[u8]>);
        self.dropped.swap(0, Relaxed)
    }
}

/// [`Rocks`] behind a writer's thread.
pub(crate) struct RocksBatched {
    writer: Gather,
    rocks: Rocks,
}

struct Writer(Arc<DB>);

impl Commit for Writer {
    fn commit(&mut self, wishes: &mut [Wish]) {
        let mut batch = WriteBatch::default();
        for at in 0..wishes.len() {
            let repeats = repeats(wishes, at);
            let Some(wish) = wishes.get_mut(at) else { continue };
            if let Some(payload) = &wish.payload {
                batch.put(wish.text, value::complete(&wish.text, payload, FAR_MS));
            } else if !repeats && sure(self.0.get_pinned(wish.text)).is_none() {
                batch.put(wish.text, value::claim(&wish.text));
                wish.granted = true;
            }
        }
        sure(self.0.write_opt(batch, &synced()));
    }
}

impl Peer for RocksBatched {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        let rocks = Rocks::open(setup);
        let writer = Writer(Arc::clone(&rocks.database));
        Self { writer: Gather::start(setup.tasks, writer), rocks }
    }

    async fn claim(&self, text: Text) -> Option<()> {
        self.writer.claim(text).await.then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        self.writer.complete(text, payload).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        self.rocks.fill(numbers, expires_at_ms);
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        self.rocks.look_up(wanted, look)
    }

    fn warm(&self) {
        self.rocks.warm();
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        self.rocks.sweep(now_ms)
    }
}
