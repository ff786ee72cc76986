//! LMDB, by heed: a mapped B-tree with one writer, synced at every commit.

use std::ops::{Bound, Range};

use bytes::Bytes;
use heed::types::Bytes as Octets;
use heed::{Database, Env, EnvOpenOptions, PutFlags, RwTxn, WithoutTls};

use super::{expiry_key, expiry_text};
use crate::batch::{Commit, Gather, Wish};
use crate::job::{Look, Peer, Setup};
use crate::work::{FAR_MS, Text, Wanted, sure, value};

type Table = Database<Octets, Octets>;

/// Address space, which costs nothing until it is used.
const MAP: usize = 256 << 30;

pub(crate) struct Lmdb {
    env: Env<WithoutTls>,
    records: Table,
    expiries: Table,
    writer: Gather,
    length: usize,
    keeps_expiries: bool,
}

struct Writer(Env<WithoutTls>, Table);

/// Inserts what a key is given unless it has something; whether it had nothing.
fn insert(records: Table, writing: &mut RwTxn<'_>, text: &Text) -> bool {
    let claim = value::claim(text);
    match records.put_with_flags(writing, PutFlags::NO_OVERWRITE, text, &claim) {
        Ok(()) => true,
        Err(heed::Error::Mdb(heed::MdbError::KeyExist)) => false,
        Err(error) => panic!("{error}"),
    }
}

impl Commit for Writer {
    fn commit(&mut self, wishes: &mut [Wish]) {
        let mut writing = sure(self.0.write_txn());
        for wish in wishes {
            if let Some(payload) = &wish.payload {
                let complete = value::complete(&wish.text, payload, FAR_MS);
                sure(self.1.put(&mut writing, &wish.text, &complete));
            } else {
                wish.granted = insert(self.1, &mut writing, &wish.text);
            }
        }
        sure(writing.commit());
    }
}

/// Opens the environment with its safe defaults: every commit is synced.
#[expect(unsafe_code, reason = "whoever maps a file promises that nobody else changes it")]
fn environment(setup: &Setup) -> Env<WithoutTls> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP).max_dbs(2).max_readers(64);
    // Safety: the directory belongs to this run; no other process has its files open meanwhile, and
    // this one opens it once.
    sure(unsafe { options.open(&setup.directory) })
}

impl Peer for Lmdb {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        let env = environment(setup);
        let mut writing = sure(env.write_txn());
        let records = sure(env.create_database(&mut writing, Some("records")));
        let expiries = sure(env.create_database(&mut writing, Some("expiries")));
        sure(writing.commit());
        let writer = Writer(env.clone(), records);
        Self {
            env,
            records,
            expiries,
            writer: Gather::start(setup.tasks, writer),
            length: setup.length,
            keeps_expiries: setup.expiries,
        }
    }

    async fn claim(&self, text: Text) -> Option<()> {
        self.writer.claim(text).await.then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        self.writer.complete(text, payload).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        // Into an empty tree all goes to its end, which LMDB is told, as it advises: pages get full.
        let reading = sure(self.env.read_txn());
        let is_empty = sure(self.records.is_empty(&reading));
        drop(reading);
        let flags = if is_empty { PutFlags::APPEND } else { PutFlags::empty() };
        for part in super::parts(numbers) {
            let mut writing = sure(self.env.write_txn());
            for Wanted { text, number } in &part {
                let record = value::record(text, *number, self.length, expires_at_ms);
                sure(self.records.put_with_flags(&mut writing, flags, text, &record));
                if self.keeps_expiries {
                    let key = expiry_key(expires_at_ms, text);
                    sure(self.expiries.put(&mut writing, &key, &[]));
                }
            }
            sure(writing.commit());
        }
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        let reading = sure(self.env.read_txn());
        let good = |wanted: &&Wanted| match (look, sure(self.records.get(&reading, &wanted.text))) {
            (Look::Miss, found) => found.is_none(),
            (Look::Head, Some(found)) => value::has_head(found, &wanted.text),
            (Look::Payload, Some(found)) => {
                value::is_record(found, &wanted.text, wanted.number, self.length)
            }
            (_, None) => false,
        };
        wanted.iter().filter(good).count()
    }

    fn warm(&self) {
        let reading = sure(self.env.read_txn());
        let states = sure(self.records.iter(&reading)).map(|entry| {
            let record = sure(entry).1;
            // One octet of each page that the record stands on.
            record.first().zip(record.last()).map_or(0, |(one, two)| u64::from(*one ^ *two))
        });
        std::hint::black_box(states.sum::<u64>());
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        let mut writing = sure(self.env.write_txn());
        let end = expiry_key(now_ms, &[0; 36]);
        let expired = (Bound::Unbounded, Bound::Excluded(&end[..]));
        let mut texts: Vec<Text> = Vec::new();
        for entry in sure(self.expiries.range(&writing, &expired)) {
            texts.extend(expiry_text(sure(entry).0));
        }
        sure(self.expiries.delete_range(&mut writing, &expired));
        // In the order of the tree, so that a page is visited once.
        texts.sort_unstable();
        for text in &texts {
            sure(self.records.delete(&mut writing, text));
        }
        sure(writing.commit());
        texts.len() as u64
    }
}
