//! redb: one read transaction held for all lookups, and one writer that gathers.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, Entry, ReadableDatabase, ReadableTable, TableDefinition};

use crate::batch::{Commit, Gather, Wish};
use crate::job::{Look, Peer, Setup};
use crate::work::{FAR_MS, Text, Wanted, digest, is_payload, payload_into, sure};

/// Fingerprint, state, expiry in milliseconds, payload. Fixed widths, so that a leaf spends nothing
/// on their lengths.
type Value = (&'static [u8; 32], u8, u64, &'static [u8]);

const RECORDS: TableDefinition<'_, &Text, Value> = TableDefinition::new("records");
/// The same keys in the order in which they expire.
const EXPIRIES: TableDefinition<'_, (u64, &Text), ()> = TableDefinition::new("expiries");

const IN_FLIGHT: u8 = 0;
const COMPLETE: u8 = 1;

pub(crate) struct Redb {
    database: Arc<Database>,
    writer: Gather,
    length: usize,
    expiries: bool,
}

/// Writes to the database; such that it is quickly opened after a crash, or not.
struct Writer {
    database: Arc<Database>,
    quick_repair: bool,
}

impl Commit for Writer {
    fn commit(&mut self, wishes: &mut [Wish]) {
        let mut writing = sure(self.database.begin_write());
        writing.set_quick_repair(self.quick_repair);
        {
            let mut records = sure(writing.open_table(RECORDS));
            for wish in wishes {
                let digest = digest(&wish.text);
                if let Some(payload) = &wish.payload {
                    let value = (&digest, COMPLETE, FAR_MS, &payload[..]);
                    sure(records.insert(&wish.text, value));
                } else if let Entry::Vacant(place) = sure(records.entry(&wish.text)) {
                    sure(place.insert((&digest, IN_FLIGHT, FAR_MS, &[][..])));
                    wish.granted = true;
                }
            }
        }
        sure(writing.commit());
    }
}

impl Redb {
    fn start(setup: &Setup, quick_repair: bool) -> Self {
        let mut builder = Database::builder();
        builder.set_cache_size(usize::try_from(setup.cache).unwrap_or(usize::MAX));
        let database = Arc::new(sure(builder.create(setup.directory.join("peer.redb"))));
        let mut writing = sure(database.begin_write());
        writing.set_quick_repair(quick_repair);
        sure(writing.open_table(RECORDS));
        sure(writing.open_table(EXPIRIES));
        sure(writing.commit());
        let writer = Writer { database: Arc::clone(&database), quick_repair };
        let (length, expiries) = (setup.length, setup.expiries);
        Self { database, writer: Gather::start(setup.tasks, writer), length, expiries }
    }
}

impl Peer for Redb {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        Self::start(setup, false)
    }

    async fn claim(&self, text: Text) -> Option<()> {
        self.writer.claim(text).await.then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        self.writer.complete(text, payload).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        let mut payload = Vec::new();
        for part in super::parts(numbers) {
            let writing = sure(self.database.begin_write());
            {
                let mut records = sure(writing.open_table(RECORDS));
                let mut expiries = sure(writing.open_table(EXPIRIES));
                for wanted in &part {
                    payload.clear();
                    payload_into(wanted.number, self.length, &mut payload);
                    let digest = digest(&wanted.text);
                    let value = (&digest, COMPLETE, expires_at_ms, &payload[..]);
                    sure(records.insert(&wanted.text, value));
                    if self.expiries {
                        sure(expiries.insert((expires_at_ms, &wanted.text), ()));
                    }
                }
            }
            sure(writing.commit());
        }
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        let records = sure(sure(self.database.begin_read()).open_table(RECORDS));
        let good = |wanted: &&Wanted| match (look, sure(records.get(&wanted.text))) {
            (Look::Miss, None) => true,
            (Look::Miss, Some(_)) | (_, None) => false,
            (_, Some(value)) => {
                let (print, state, expires_at_ms, payload) = value.value();
                state == COMPLETE
                    && expires_at_ms > 0
                    && *print == digest(&wanted.text)
                    && (look == Look::Head || is_payload(payload, wanted.number, self.length))
            }
        };
        wanted.iter().filter(good).count()
    }

    fn warm(&self) {
        let records = sure(sure(self.database.begin_read()).open_table(RECORDS));
        let states = sure(records.iter()).map(|entry| u64::from(sure(entry).1.value().1));
        std::hint::black_box(states.sum::<u64>());
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        let writing = sure(self.database.begin_write());
        let mut texts = Vec::new();
        {
            let mut expiries = sure(writing.open_table(EXPIRIES));
            let expired = ..(now_ms, &[0; 36]);
            for entry in sure(expiries.range(expired)) {
                texts.push(*sure(entry).0.value().1);
            }
            sure(expiries.retain_in(expired, |_, ()| false));
            // In the order of the tree, so that a page is visited once.
            texts.sort_unstable();
            let mut records = sure(writing.open_table(RECORDS));
            for text in &texts {
                sure(records.remove(text));
            }
        }
        sure(writing.commit());
        texts.len() as u64
    }
}

/// [`Redb`] whose commits save what the next opening needs after a crash.
pub(crate) struct RedbQuick(Redb);

impl Peer for RedbQuick {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        Self(Redb::start(setup, true))
    }

    async fn claim(&self, text: Text) -> Option<()> {
        self.0.claim(text).await
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        self.0.complete(text, (), payload).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        self.0.fill(numbers, expires_at_ms);
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        self.0.look_up(wanted, look)
    }

    fn warm(&self) {
        self.0.warm();
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        self.0.sweep(now_ms)
    }
}
