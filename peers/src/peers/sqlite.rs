//! SQLite: a write-ahead log synced at every commit, and one writer that gathers.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::batch::{Commit, Gather, Wish};
use crate::job::{Look, Peer, Setup};
use crate::work::{FAR_MS, Text, Wanted, digest, is_payload, payload_into, sure};

const IN_FLIGHT: i64 = 0;
const COMPLETE: i64 = 1;

const CLAIM: &str =
    "INSERT OR IGNORE INTO records (key, print, state, expires) VALUES (?1, ?2, ?3, ?4)";
const FINISH: &str = "UPDATE records SET state = ?2, payload = ?3, expires = ?4 WHERE key = ?1";
const FILL: &str =
    "INSERT INTO records (key, print, state, expires, payload) VALUES (?1, ?2, ?3, ?4, ?5)";
const PAYLOAD: &str = "SELECT state, print, expires, payload FROM records WHERE key = ?1";
const HEAD: &str = "SELECT state, print, expires FROM records WHERE key = ?1";

pub(crate) struct Sqlite {
    file: PathBuf,
    cache: u64,
    writer: Gather,
    /// Connections nobody reads with at the moment.
    readers: Mutex<Vec<Connection>>,
    length: usize,
}

struct Writer(Connection);

impl Commit for Writer {
    fn commit(&mut self, wishes: &mut [Wish]) {
        let writing = sure(self.0.transaction());
        {
            let mut claim = sure(writing.prepare_cached(CLAIM));
            let mut finish = sure(writing.prepare_cached(FINISH));
            for wish in wishes {
                if let Some(payload) = &wish.payload {
                    let row = params![wish.text, COMPLETE, &payload[..], signed(FAR_MS)];
                    assert_eq!(sure(finish.execute(row)), 1);
                } else {
                    let far = signed(FAR_MS);
                    let row = params![wish.text, digest(&wish.text), IN_FLIGHT, far];
                    wish.granted = sure(claim.execute(row)) == 1;
                }
            }
        }
        sure(writing.commit());
    }
}

/// A number as SQLite has them.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A connection as SQLite's documentation advises for one that is to be durable and fast: a
/// write-ahead log, synced at every commit; pages mapped as far as SQLite maps, and `cache` octets of
/// others in memory.
fn connect(file: &Path, cache: u64) -> Connection {
    let connection = sure(Connection::open(file));
    sure(connection.pragma_update(None, "journal_mode", "WAL"));
    sure(connection.pragma_update(None, "synchronous", "FULL"));
    sure(connection.pragma_update(None, "mmap_size", i64::from(i32::MAX)));
    sure(connection.pragma_update(None, "cache_size", -signed(cache >> 10)));
    sure(connection.busy_timeout(std::time::Duration::from_secs(60)));
    connection
}

impl Sqlite {
    fn reading<R>(&self, read: impl FnOnce(&Connection) -> R) -> R {
        let idle = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let one = idle().pop();
        let connection = one.unwrap_or_else(|| connect(&self.file, self.cache));
        let outcome = read(&connection);
        idle().push(connection);
        outcome
    }
}

impl Peer for Sqlite {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        let file = setup.directory.join("peer.sqlite");
        let connection = connect(&file, setup.cache);
        // Rows are longer than a twentieth of a page, for which the documentation advises against
        // `WITHOUT ROWID`.
        sure(connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY NOT NULL, print BLOB NOT NULL,
             state INTEGER NOT NULL, expires INTEGER NOT NULL, payload BLOB)",
        ));
        if setup.expiries {
            let index = "CREATE INDEX IF NOT EXISTS expiries ON records (expires)";
            sure(connection.execute_batch(index));
        }
        let writer = Gather::start(setup.tasks, Writer(connection));
        let (cache, length) = (setup.cache, setup.length);
        Self { file, cache, writer, readers: Mutex::default(), length }
    }

    async fn claim(&self, text: Text) -> Option<()> {
        self.writer.claim(text).await.then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        self.writer.complete(text, payload).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        let mut connection = connect(&self.file, self.cache);
        let mut payload = Vec::new();
        for part in super::parts(numbers) {
            let writing = sure(connection.transaction());
            {
                let mut fill = sure(writing.prepare_cached(FILL));
                for Wanted { text, number } in &part {
                    payload.clear();
                    payload_into(*number, self.length, &mut payload);
                    let expires = signed(expires_at_ms);
                    sure(fill.execute(params![text, digest(text), COMPLETE, expires, payload]));
                }
            }
            sure(writing.commit());
        }
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        self.reading(|connection| {
            let reading = sure(connection.unchecked_transaction());
            let select = if look == Look::Payload { PAYLOAD } else { HEAD };
            let mut select = sure(reading.prepare_cached(select));
            let mut good = 0;
            for Wanted { text, number } in wanted {
                let whole = select.query_row(params![text], |row| {
                    let head = row.get_ref(0)?.as_i64()? == COMPLETE
                        && row.get_ref(1)?.as_blob()? == digest(text)
                        && row.get_ref(2)?.as_i64()? > 0;
                    Ok(head
                        && (look != Look::Payload
                            || is_payload(row.get_ref(3)?.as_blob()?, *number, self.length)))
                });
                good += match sure(whole.optional()) {
                    Some(whole) => usize::from(whole && look != Look::Miss),
                    None => usize::from(look == Look::Miss),
                };
            }
            good
        })
    }

    /// Reads the table and its index with the connections that will look up, each of which has a cache
    /// of its own.
    fn warm(&self) {
        let scan = |connection: &Connection| {
            for all in [
                "SELECT total(state), max(payload) FROM records",
                "SELECT count(key) FROM records INDEXED BY sqlite_autoindex_records_1",
            ] {
                sure(connection.query_row(all, [], |_| Ok(())));
            }
        };
        self.reading(|one| self.reading(|two| [one, two].into_iter().for_each(scan)));
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        let connection = connect(&self.file, self.cache);
        let delete = "DELETE FROM records WHERE expires < ?1";
        sure(connection.execute(delete, params![signed(now_ms)])) as u64
    }
}
