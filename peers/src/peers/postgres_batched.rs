//! PostgreSQL behind one writer's thread: all that has gathered is one statement of many rows, and so
//! one transaction and one sync.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::postgres::Postgres;
use crate::batch::{Commit, Gather, Wish};
use crate::job::{Look, Peer, Setup};
use crate::work::{FAR_MS, Text, Wanted, digest, sure};

/// The keys that were absent and are now in flight, a row each; then how many were completed. No key
/// is claimed and completed at a time, for its task waits for its claim.
const WRITE: &str = "
    WITH taken AS (
        INSERT INTO records (key, print, state, expires)
        SELECT key, print, 0, $3 FROM unnest($1::bytea[], $2::bytea[]) AS wanted (key, print)
        ON CONFLICT DO NOTHING RETURNING key
    ), done AS (
        UPDATE records SET state = 1, payload = result.payload
        FROM unnest($4::bytea[], $5::bytea[]) AS result (key, payload)
        WHERE records.key = result.key RETURNING 1
    )
    SELECT key, NULL::bigint FROM taken UNION ALL SELECT NULL, count(*) FROM done";

/// A statement that is planned while the table is empty would read all of it for good: each key is
/// looked for by the index.
const BY_INDEX: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

pub(crate) struct PostgresBatched {
    /// None for a task that is alone, which has nothing to gather with.
    writer: Option<Gather>,
    plain: Postgres,
}

struct Writer {
    runtime: Handle,
    client: Client,
    write: Statement,
}

impl Writer {
    async fn new(config: &Config) -> Self {
        let (client, connection) = sure(config.connect(NoTls).await);
        tokio::spawn(async move { sure(connection.await) });
        sure(client.batch_execute(BY_INDEX).await);
        let write = sure(client.prepare(WRITE).await);
        Self { runtime: Handle::current(), client, write }
    }
}

impl Commit for Writer {
    fn commit(&mut self, wishes: &mut [Wish]) {
        let (mut keys, mut prints) = (Vec::new(), Vec::new());
        let (mut done, mut payloads): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
        for Wish { text, payload, .. } in wishes.iter() {
            if let Some(payload) = payload {
                done.push(text);
                payloads.push(payload);
            } else {
                keys.push(&text[..]);
                prints.push(digest(text).to_vec());
            }
        }
        let expires = FAR_MS.cast_signed();
        let rows: Result<Vec<Row>, _> = self.runtime.block_on(async {
            let what: [&(dyn ToSql + Sync); 5] = [&keys, &prints, &expires, &done, &payloads];
            self.client.query(&self.write, &what).await
        });
        let rows = sure(rows);
        let counted: i64 = rows.iter().filter_map(|row| row.get::<_, Option<i64>>(1)).sum();
        assert_eq!(usize::try_from(counted), Ok(done.len()), "not every key was there");
        let mut taken: HashSet<&[u8]> =
            rows.iter().filter_map(|row| row.get::<_, Option<&[u8]>>(0)).collect();
        for wish in wishes.iter_mut().filter(|wish| wish.payload.is_none()) {
            // Of a key that was wished for twice, one.
            wish.granted = taken.remove(&wish.text[..]);
        }
    }
}

impl Peer for PostgresBatched {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        let (plain, config) = Postgres::start(setup);
        let writer = (setup.tasks > 1).then(|| {
            let writer = Handle::current().block_on(Writer::new(&config));
            Gather::start(setup.tasks, writer)
        });
        Self { writer, plain }
    }

    async fn claim(&self, text: Text) -> Option<()> {
        match &self.writer {
            Some(writer) => writer.claim(text).await.then_some(()),
            None => self.plain.claim(text).await,
        }
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        match &self.writer {
            Some(writer) => writer.complete(text, payload).await,
            None => self.plain.complete(text, (), payload).await,
        }
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        self.plain.fill(numbers, expires_at_ms);
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        self.plain.look_up(wanted, look)
    }

    async fn get(&self, wanted: Wanted) -> bool {
        self.plain.get(wanted).await
    }

    fn sweep(&self, now_ms: u64) -> u64 {
        self.plain.sweep(now_ms)
    }
}
