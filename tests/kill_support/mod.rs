//! An oracle outside the process: an upstream that counts what it executes, and clients for whom a
//! connection that breaks is an answer like another.

// Each test binary uses its own part of this module, and none is a library.
#![allow(dead_code, unreachable_pub)]

pub mod gateway;
pub mod small_disk;
pub mod storm;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longer than anything takes on a busy machine. Only a test that fails waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Random numbers whose seed is printed, and taken back from the environment variable `SEED`.
pub fn random() -> fastrand::Rng {
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_260_101,
    };
    eprintln!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A keyed request, which is the same one each time it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub key: String,
    path: String,
}

impl Request {
    /// Is answered with `status` and a body of `size` octets.
    pub fn new(key: impl Into<String>, status: u16, size: usize) -> Self {
        Self { key: key.into(), path: format!("/{status}/{size}") }
    }

    /// The same, executed at once and answered only when its key is let go.
    pub fn held(key: impl Into<String>, status: u16, size: usize) -> Self {
        Self { key: key.into(), path: format!("/{status}/{size}/held") }
    }

    /// Sends it on a connection of its own. `None` when there is no whole response: the gateway is
    /// gone.
    pub fn send(&self, gateway: SocketAddr) -> Option<Answer> {
        let octets = format!(
            "POST {} HTTP/1.1\r\nHost: api.example\r\nIdempotency-Key: {}\r\n\
             Connection: close\r\nContent-Length: 2\r\n\r\n{{}}",
            self.path, self.key
        );
        exchange(gateway, octets.as_bytes())
    }

    /// Sends it to a gateway that lives.
    pub fn answer(&self, gateway: SocketAddr) -> Answer {
        self.send(gateway).unwrap_or_else(|| panic!("{self:?}: no answer"))
    }
}

/// The response to a GET of `path`.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).unwrap()
}

fn exchange(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).ok()?;
    let mut octets = Vec::new();
    if let Err(error) = stream.read_to_end(&mut octets) {
        let slow = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!slow, "no answer within {PATIENCE:?}");
    }
    Answer::whole(&octets)
}

/// A whole response.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Whether it says that it is a replay.
    pub replayed: bool,
    /// Every octet of it, but for the lines that a replay is meant to differ by.
    octets: Vec<u8>,
}

impl Answer {
    fn whole(octets: &[u8]) -> Option<Self> {
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let (head, body) = octets.split_at(end);
        let head = std::str::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let (mut length, mut replayed, mut kept) = (None, false, String::new());
        for line in head.split_inclusive("\r\n") {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>().unwrap());
            }
            match lower.split(':').next().unwrap() {
                "date" => {}
                "idempotency-replayed" => replayed = true,
                _ => kept.push_str(line),
            }
        }
        let length = length.unwrap_or_else(|| panic!("no length: {head}"));
        assert!(body.len() <= length, "more than was announced: {head}");
        let octets = [kept.as_bytes(), body].concat();
        (body.len() == length).then_some(Self { status, replayed, octets })
    }

    /// Whether it is the gateway's own refusal with this code.
    pub fn refuses(&self, status: u16, code: &str) -> bool {
        let code = format!("\"code\":\"{code}\"");
        let named = self.octets.windows(code.len()).any(|found| found == code.as_bytes());
        self.status == status && named
    }

    /// Whether it is what `first` was, octet for octet.
    pub fn replays(&self, first: &Self) -> bool {
        self.replayed && self.octets == first.octets
    }

    /// What it is when it does not matter whether it was a replay.
    pub fn unmarked(self) -> Self {
        Self { replayed: false, ..self }
    }

    /// Whether the octets `part` stand in it.
    pub fn holds(&self, part: &str) -> bool {
        self.octets.windows(part.len()).any(|found| found == part.as_bytes())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.octets[..self.octets.len().min(800)];
        let text = shown.escape_ascii().to_string().replace("\\r\\n", "\n");
        write!(f, "(replayed: {}) {} octets: {text}", self.replayed, self.octets.len())
    }
}

/// An upstream that counts how often it executed each key. No two of its responses are alike.
pub struct Upstream {
    pub address: SocketAddr,
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Ledger {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Default)]
struct Entries {
    runs: HashMap<String, u32>,
    all_runs: u64,
    let_go: HashSet<String>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = Arc::<Ledger>::default();
        let shared = Arc::clone(&ledger);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let ledger = Arc::clone(&shared);
                std::thread::spawn(move || ledger.serve(BufReader::new(stream.unwrap())));
            }
        });
        Self { address, ledger }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often `request` was executed.
    pub fn runs(&self, request: &Request) -> u32 {
        let entries = self.ledger.entries.lock().unwrap();
        entries.runs.get(&request.key).copied().unwrap_or(0)
    }

    /// Waits until `request` is being executed.
    pub fn executes(&self, request: &Request) {
        let entries = self.ledger.entries.lock().unwrap();
        let waiting = |entries: &mut Entries| !entries.runs.contains_key(&request.key);
        let (_entries, waited) =
            self.ledger.changed.wait_timeout_while(entries, PATIENCE, waiting).unwrap();
        assert!(!waited.timed_out(), "{request:?} does not arrive");
    }

    /// Lets the held `request` be answered.
    pub fn let_go(&self, request: &Request) {
        self.ledger.entries.lock().unwrap().let_go.insert(request.key.clone());
        self.ledger.changed.notify_all();
    }

    /// No key was executed twice.
    #[track_caller]
    pub fn executed_nothing_twice(&self) {
        let entries = self.ledger.entries.lock().unwrap();
        let twice: Vec<_> = entries.runs.iter().filter(|(_, runs)| **runs > 1).collect();
        assert!(twice.is_empty(), "executed more than once: {twice:?}");
    }
}

impl Ledger {
    /// Answers request after request, until the gateway goes.
    fn serve(&self, mut stream: BufReader<TcpStream>) {
        while let Some((path, key)) = read(&mut stream) {
            let number = self.enter(&key, path.ends_with("/held"));
            if stream.get_mut().write_all(&response(&path, &key, number)).is_err() {
                return;
            }
        }
    }

    /// Counts an execution, and waits for leave to answer it. Gives its number among all.
    fn enter(&self, key: &str, held: bool) -> u64 {
        let mut entries = self.entries.lock().unwrap();
        entries.all_runs += 1;
        let number = entries.all_runs;
        *entries.runs.entry(key.to_owned()).or_default() += 1;
        self.changed.notify_all();
        while held && !entries.let_go.contains(key) {
            entries = self.changed.wait(entries).unwrap();
        }
        number
    }
}

/// The path and the key of a whole request; one that is cut off was never asked for.
fn read(stream: &mut impl BufRead) -> Option<(String, String)> {
    let (mut path, mut key, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.strip_suffix("\r\n")?;
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            None => line.split(' ').nth(1)?.clone_into(&mut path),
            Some(("idempotency-key", value)) => value.clone_into(&mut key),
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((path, key))
}

fn response(path: &str, key: &str, number: u64) -> Vec<u8> {
    let mut parts = path.split('/').skip(1);
    let mut part = || parts.next().unwrap().parse::<usize>().unwrap();
    let (status, size) = (part(), part());
    let mut body = vec![0; size];
    fastrand::Rng::with_seed(number).fill(&mut body);
    let head = format!(
        "HTTP/1.1 {status} Made\r\nX-Part: one\r\nX-Number: {number}\r\nX-Part: two\r\n\
         Location: /made/{key}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {size}\r\n\r\n"
    );
    [head.into_bytes(), body].concat()
}
