//! PostgreSQL: a server that syncs its log at every commit, over a socket; one statement for each
//! claim and each completion, pipelined on as many connections as have something to commit.

use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::server::{Server, answering, give};
use crate::job::{Look, Peer, Setup};
use crate::machine;
use crate::work::{FAR_MS, Text, Wanted, digest, is_payload, sure};

/// The most connections: each is a process, and a commit gathers what they have.
const CONNECTIONS_MAX: usize = 64;
const PROGRAMS: &str = "/usr/lib/postgresql";
const USER: &str = "postgres";

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS records (key bytea PRIMARY KEY, print bytea NOT NULL,
    state smallint NOT NULL, expires bigint NOT NULL, payload bytea)";
const CLAIM: &str = "INSERT INTO records (key, print, state, expires) VALUES ($1, $2, 0, $3)
    ON CONFLICT DO NOTHING RETURNING state";
const FINISH: &str = "UPDATE records SET state = 1, payload = $2 WHERE key = $1";
const LOOK: &str = "SELECT state, print, payload FROM records WHERE key = $1";

pub(crate) struct Postgres {
    connections: Vec<Connection>,
    next: AtomicUsize,
    length: usize,
    _server: Server,
}

struct Connection {
    client: Client,
    claim: Statement,
    finish: Statement,
    look: Statement,
}

impl Connection {
    async fn new(config: &Config) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move { sure(connection.await) });
        client.batch_execute(TABLE).await?;
        let claim = client.prepare(CLAIM).await?;
        let finish = client.prepare(FINISH).await?;
        let look = client.prepare(LOOK).await?;
        Ok(Self { client, claim, finish, look })
    }
}

/// Where the newest installed version keeps `program`.
fn program(program: &str) -> String {
    let versions = std::fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path()).max_by_key(|path| {
        let version = path.file_name().map(|name| name.to_string_lossy().into_owned());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    match newest {
        Some(newest) => newest.join("bin").join(program).to_string_lossy().into_owned(),
        None => program.to_owned(),
    }
}

/// Its name and version, which is the word behind its name in what it says of itself.
pub(super) fn version() -> String {
    let said = machine::version(&program("postgres"), "--version").unwrap_or_default();
    let number = said.split_once("(PostgreSQL) ").and_then(|(_, rest)| rest.split(' ').next());
    number.map_or_else(String::new, |number| format!("PostgreSQL {number}"))
}

impl Postgres {
    fn connection(&self) -> &Connection {
        let at = self.next.fetch_add(1, Relaxed) % self.connections.len().max(1);
        match self.connections.get(at) {
            Some(connection) => connection,
            None => panic!("there is a connection"),
        }
    }
}

impl Postgres {
    /// Starts a server of its own, and says how it is reached.
    pub(super) fn start(setup: &Setup) -> (Self, Config) {
        // It refuses to run as root, whose processes become its own user's.
        let user = rustix::process::geteuid().is_root().then_some(USER);
        let data = setup.directory.join("data");
        sure(std::fs::create_dir_all(&data));
        if let Some(user) = user {
            give(&setup.directory, user);
            give(&data, user);
        }
        let (data, directory) = (data.to_string_lossy(), setup.directory.to_string_lossy());
        let mut make = Command::new("setpriv");
        if let Some(user) = user {
            make.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        make.arg(program("initdb")).args(["-D", &data, "-U", USER, "--auth=trust"]);
        let made = sure(make.args(["--no-locale", "-E", "UTF8"]).output());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let sockets = format!("unix_socket_directories={directory}");
        #[rustfmt::skip]
        let arguments = [
            "-D", &data, "-c", "listen_addresses=", "-c", &sockets,
            // Its defaults for durability, said aloud.
            "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
            // A quarter of a small machine's memory, and room for the log between checkpoints.
            "-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB", "-c", "max_connections=200",
            "-c", "log_min_messages=panic",
        ];
        let server = Server::start(&program("postgres"), &arguments, user);
        let mut config = Config::new();
        config.host_path(&setup.directory).user(USER).dbname("postgres");
        let connections = Handle::current().block_on(async {
            let mut connections = Vec::new();
            for _ in 0..setup.tasks.clamp(1, CONNECTIONS_MAX) {
                connections.push(answering(async || Connection::new(&config).await).await);
            }
            connections
        });
        let (next, length) = (AtomicUsize::new(0), setup.length);
        (Self { connections, next, length, _server: server }, config)
    }
}

impl Peer for Postgres {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        Self::start(setup).0
    }

    async fn claim(&self, text: Text) -> Option<()> {
        let Connection { client, claim, .. } = self.connection();
        let (print, expires) = (digest(&text), FAR_MS.cast_signed());
        let rows = client.query(claim, &[&&text[..], &&print[..], &expires]).await;
        (sure(rows).len() == 1).then_some(())
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        let Connection { client, finish, .. } = self.connection();
        let rows = client.execute(finish, &[&&text[..], &&payload[..]]).await;
        assert_eq!(sure(rows), 1);
    }

    fn fill(&self, _numbers: Range<u64>, _expires_at_ms: u64) {
        panic!("PostgreSQL is measured from empty")
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        assert!(look == Look::Payload, "a server answers with the whole row");
        let get = |wanted: &&Wanted| Handle::current().block_on(self.get(**wanted));
        wanted.iter().filter(get).count()
    }

    async fn get(&self, wanted: Wanted) -> bool {
        let Connection { client, look, .. } = self.connection();
        let row = sure(client.query_opt(look, &[&&wanted.text[..]]).await);
        row.is_some_and(|row| {
            let (state, print, payload): (i16, &[u8], Option<&[u8]>) =
                (row.get(0), row.get(1), row.get(2));
            let whole = |found| is_payload(found, wanted.number, self.length);
            state == 1 && print == digest(&wanted.text) && payload.is_some_and(whole)
        })
    }

    fn sweep(&self, _now_ms: u64) -> u64 {
        panic!("PostgreSQL is not part of the sweep")
    }
}
