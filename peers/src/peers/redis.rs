//! Redis or Valkey: a server that syncs its append-only file before it answers, over a socket.
//! Commands of all tasks share a few connections, on which they are pipelined.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, Pipeline, cmd};
use tokio::runtime::Handle;

use super::server::{Server, answering};
use crate::job::{Look, Peer, Setup};
use crate::machine;
use crate::work::{FAR_MS, Text, Wanted, sure, value};

/// Connections; more were slower on two processors.
const CONNECTIONS: usize = 2;
/// Commands of a filling pipeline.
const PIPELINE: usize = 1000;

pub(crate) struct Redis {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    length: usize,
    expiring: AtomicU64,
    _server: Server,
}

/// The server's program: Valkey, when it is installed.
fn program() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = |directory: PathBuf| directory.join("valkey-server").is_file();
    if std::env::split_paths(&path).any(installed) { "valkey-server" } else { "redis-server" }
}

/// Its name and version: the first word of what it says of itself, and the one behind `v=`.
pub(super) fn version() -> String {
    let said = machine::version(program(), "--version").unwrap_or_default();
    let mut words = said.split_whitespace();
    let name = words.next();
    let number = words.find_map(|word| word.strip_prefix("v="));
    name.zip(number).map_or_else(String::new, |(name, number)| format!("{name} {number}"))
}

impl Redis {
    fn connection(&self) -> MultiplexedConnection {
        let at = self.next.fetch_add(1, Relaxed) % CONNECTIONS;
        match self.connections.get(at) {
            Some(connection) => connection.clone(),
            None => panic!("there are as many connections as there are"),
        }
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> T {
        sure(command.query_async(&mut self.connection()).await)
    }

    /// Whether what has expired goes by itself, or waits for the sweep.
    fn expire(&self, does: bool) {
        let mut set = cmd("DEBUG");
        set.arg("SET-ACTIVE-EXPIRE").arg(u8::from(does));
        Handle::current().block_on(self.ask::<()>(&set));
    }

    fn records(&self) -> u64 {
        Handle::current().block_on(self.ask(&cmd("DBSIZE")))
    }
}

impl Peer for Redis {
    type Ticket = ();

    fn open(setup: &Setup) -> Self {
        let socket = setup.directory.join("socket");
        let (socket, directory) = (socket.to_string_lossy(), setup.directory.to_string_lossy());
        #[rustfmt::skip]
        let arguments = [
            "--port", "0", "--unixsocket", &socket, "--dir", &directory, "--daemonize", "no",
            "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            "--auto-aof-rewrite-percentage", "0", "--loglevel", "warning",
            "--active-expire-effort", "10", "--enable-debug-command", "local",
        ];
        let server = Server::start(program(), &arguments, None);
        let client = sure(Client::open(format!("redis+unix://{socket}")));
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connections = Handle::current().block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                let connect =
                    async || client.get_multiplexed_async_connection_with_config(&config).await;
                connections.push(answering(connect).await);
            }
            connections
        });
        let redis = Self {
            connections,
            next: AtomicUsize::new(0),
            length: setup.length,
            expiring: AtomicU64::new(0),
            _server: server,
        };
        if setup.expiries {
            redis.expire(false);
        }
        redis
    }

    async fn claim(&self, text: Text) -> Option<()> {
        let mut set = cmd("SET");
        set.arg(&text[..]).arg(value::claim(&text)).arg("NX");
        self.ask::<Option<String>>(&set).await.map(drop)
    }

    async fn complete(&self, text: Text, (): (), payload: Bytes) {
        let mut set = cmd("SET");
        set.arg(&text[..]).arg(value::complete(&text, &payload, FAR_MS));
        self.ask::<()>(&set).await;
    }

    fn fill(&self, numbers: Range<u64>, expires_at_ms: u64) {
        if expires_at_ms != FAR_MS {
            self.expiring.fetch_add(numbers.end - numbers.start, Relaxed);
        }
        let mut connection = self.connection();
        for part in super::parts(numbers) {
            for some in part.chunks(PIPELINE) {
                let mut pipeline = Pipeline::new();
                for Wanted { text, number } in some {
                    let record = value::record(text, *number, self.length, expires_at_ms);
                    let set = pipeline.cmd("SET").arg(&text[..]).arg(record);
                    // It has expired by the time of the sweep, and is to last a day otherwise.
                    set.arg("PX").arg(if expires_at_ms == FAR_MS { 86_400_000 } else { 1 });
                    set.ignore();
                }
                let filled = pipeline.query_async::<()>(&mut connection);
                sure(Handle::current().block_on(filled));
            }
        }
    }

    fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        assert!(look == Look::Payload, "a server answers with the whole value");
        let get = |wanted: &&Wanted| Handle::current().block_on(self.get(**wanted));
        wanted.iter().filter(get).count()
    }

    async fn get(&self, wanted: Wanted) -> bool {
        let mut get = cmd("GET");
        get.arg(&wanted.text[..]);
        let found: Option<Vec<u8>> = self.ask(&get).await;
        found
            .is_some_and(|found| value::is_record(&found, &wanted.text, wanted.number, self.length))
    }

    fn sweep(&self, _now_ms: u64) -> u64 {
        let expiring = self.expiring.swap(0, Relaxed);
        let end = self.records() - expiring;
        self.expire(true);
        while self.records() > end {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.expire(false);
        expiring
    }
}
