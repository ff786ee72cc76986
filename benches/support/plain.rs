//! The same work over plain redb, used as its documentation advises: keys of a fixed width, one
//! read transaction held for all lookups, and one writer that gathers what everybody wants into one
//! durable transaction, for redb has one writer at a time and pays for each commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::{Database, Entry, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::keys::{self, Text};
use super::{FILLERS, directory, read_all, sure};

/// Fingerprint, state, expiry in milliseconds, payload.
type Value = (&'static [u8; 32], u8, u64, &'static [u8]);

const RECORDS: TableDefinition<'_, &Text, Value> = TableDefinition::new("records");
/// The same keys in the order in which they expire.
const EXPIRIES: TableDefinition<'_, (u64, &Text), ()> = TableDefinition::new("expiries");

const IN_FLIGHT: u8 = 0;
const COMPLETE: u8 = 1;
/// Records that are filled in with one transaction.
const FILL: u64 = 50_000;

/// A database of its own.
pub(crate) struct Plain {
    database: Arc<Database>,
    /// The number of the next key that nobody has claimed.
    next: u64,
    payload: Bytes,
    _directory: TempDir,
}

/// What a task wants of the writer.
enum Wish {
    /// Insert if absent; answers whether it was.
    Claim(Text, oneshot::Sender<bool>),
    Complete(Text, Bytes, oneshot::Sender<()>),
}

impl Wish {
    fn text(&self) -> &Text {
        match self {
            Self::Claim(text, _) | Self::Complete(text, _, _) => text,
        }
    }
}

impl Plain {
    /// A database with redb's own settings: a cache of 1 GiB, which holds all of any run here.
    pub(crate) fn new() -> Self {
        let directory = directory();
        let database = sure(Database::create(directory.path().join("plain.redb")));
        let writing = sure(database.begin_write());
        sure(writing.open_table(RECORDS));
        sure(writing.open_table(EXPIRIES));
        sure(writing.commit());
        let payload = keys::payload().into();
        Self { database: Arc::new(database), next: 0, payload, _directory: directory }
    }

    /// Adds complete records that expire at `expires_at_ms`, in large durable transactions.
    pub(crate) fn fill(&mut self, count: u64, expires_at_ms: u64) {
        let end = self.next + count;
        while self.next < end {
            let part = self.take(FILL.min(end - self.next));
            let writing = sure(self.database.begin_write());
            {
                let mut records = sure(writing.open_table(RECORDS));
                let mut expiries = sure(writing.open_table(EXPIRIES));
                let mut texts: Vec<Text> = part.map(keys::text).collect();
                texts.sort_unstable();
                for text in &texts {
                    let digest = keys::digest(text);
                    let value = (&digest, COMPLETE, expires_at_ms, &self.payload[..]);
                    sure(records.insert(text, value));
                    sure(expiries.insert((expires_at_ms, text), ()));
                }
            }
            sure(writing.commit());
        }
    }

    /// A read transaction to look up in.
    pub(crate) fn reader(&self) -> Reader {
        let reading = sure(self.database.begin_read());
        Reader(sure(reading.open_table(RECORDS)))
    }

    /// Cycles, one after another, on this thread.
    pub(crate) fn cycles_alone(&mut self, count: u64) -> Duration {
        let begun = Instant::now();
        for number in self.take(count) {
            let text = keys::text(number);
            let writing = sure(self.database.begin_write());
            assert!(claim(&mut sure(writing.open_table(RECORDS)), &text));
            sure(writing.commit());
            let writing = sure(self.database.begin_write());
            complete(&mut sure(writing.open_table(RECORDS)), &text, &self.payload);
            sure(writing.commit());
        }
        begun.elapsed()
    }

    /// Cycles of `tasks` tasks, each at one key after another, behind one writer's thread.
    pub(crate) fn cycles(&mut self, runtime: &Runtime, tasks: usize, count: u64) -> Duration {
        let begun = Instant::now();
        let (wishes, wanted) = mpsc::channel();
        let database = Arc::clone(&self.database);
        let writer = std::thread::spawn(move || write(&database, &wanted));
        let numbers = Arc::new(AtomicU64::new(self.next));
        let end = self.take(count).end;
        runtime.block_on(async {
            let mut running = JoinSet::new();
            for _ in 0..tasks {
                let (wishes, payload) = (wishes.clone(), self.payload.clone());
                let numbers = Arc::clone(&numbers);
                running.spawn(async move {
                    loop {
                        let number = numbers.fetch_add(1, Relaxed);
                        if number >= end {
                            return;
                        }
                        let text = keys::text(number);
                        let (claimed, answer) = oneshot::channel();
                        sure(wishes.send(Wish::Claim(text, claimed)));
                        assert!(sure(answer.await), "a key nobody has claimed was not granted");
                        let (done, answer) = oneshot::channel();
                        sure(wishes.send(Wish::Complete(text, payload.clone(), done)));
                        sure(answer.await);
                    }
                });
            }
            while let Some(ended) = running.join_next().await {
                sure(ended);
            }
        });
        drop(wishes);
        assert!(writer.join().is_ok());
        begun.elapsed()
    }

    /// Forgets what expires before `now_ms`, in one durable transaction; gives how much it was.
    pub(crate) fn sweep(&self, now_ms: u64) -> (u64, Duration) {
        let begun = Instant::now();
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
        (texts.len() as u64, begun.elapsed())
    }

    fn take(&mut self, count: u64) -> std::ops::Range<u64> {
        let begin = self.next;
        self.next += count;
        begin..self.next
    }
}

/// The table of records as a held read transaction sees it.
pub(crate) struct Reader(ReadOnlyTable<&'static Text, Value>);

impl Reader {
    /// Looks each of `texts` up and reads what is found; gives how many there were.
    pub(crate) fn look_up(&self, texts: &[Text]) -> usize {
        let mut found = 0;
        let mut sum = 0_u64;
        for text in texts {
            if let Some(value) = sure(self.0.get(text)) {
                let (_, state, expires_at_ms, payload) = value.value();
                if state == COMPLETE && expires_at_ms > 0 {
                    sum = sum.wrapping_add(read_all(payload));
                    found += 1;
                }
            }
        }
        std::hint::black_box(sum);
        found
    }
}

type Records<'t> = redb::Table<'t, &'static Text, Value>;

fn claim(records: &mut Records<'_>, text: &Text) -> bool {
    let digest = keys::digest(text);
    match sure(records.entry(text)) {
        Entry::Vacant(place) => {
            sure(place.insert((&digest, IN_FLIGHT, u64::MAX, &[][..])));
            true
        }
        Entry::Occupied(_) => false,
    }
}

fn complete(records: &mut Records<'_>, text: &Text, payload: &[u8]) {
    let digest = keys::digest(text);
    sure(records.insert(text, (&digest, COMPLETE, u64::MAX, payload)));
}

/// Does what is wished, as much of it with one durable commit as has gathered, until nobody is left
/// to wish.
fn write(database: &Database, wanted: &mpsc::Receiver<Wish>) {
    let mut wishes = Vec::with_capacity(FILLERS);
    while let Ok(first) = wanted.recv() {
        wishes.push(first);
        wishes.extend(wanted.try_iter());
        wishes.sort_unstable_by(|one, other| one.text().cmp(other.text()));
        let writing = sure(database.begin_write());
        let mut claims = Vec::with_capacity(wishes.len());
        let mut completions = Vec::with_capacity(wishes.len());
        {
            let mut records = sure(writing.open_table(RECORDS));
            for wish in wishes.drain(..) {
                match wish {
                    Wish::Claim(text, answer) => {
                        claims.push((answer, claim(&mut records, &text)));
                    }
                    Wish::Complete(text, payload, answer) => {
                        complete(&mut records, &text, &payload);
                        completions.push(answer);
                    }
                }
            }
        }
        sure(writing.commit());
        // Whoever asked and went away wants no answer.
        for (answer, granted) in claims {
            let _ = answer.send(granted);
        }
        for answer in completions {
            let _ = answer.send(());
        }
    }
}
