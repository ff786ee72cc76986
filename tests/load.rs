//! Load on the real gateway: many clients that repeat themselves, change their minds and hang up,
//! and at the end every key was executed once, every answer was the right one, and the gateway
//! holds no more memory than it did early on.
//!
//! 100,000 requests, or as many as `LOAD` says. `SEED` takes back a seed that was printed.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says its seed"
)]

#[path = "support/anonymous.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod anonymous;
mod serve_support;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anonymous::memory_of;
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serve_support::{Gateway, PATIENCE};
use tokio::net::{TcpListener, TcpStream};

/// Requests, unless `LOAD` says how many.
const REQUESTS: usize = 100_000;
/// Connections at the same time.
const CONNECTIONS: usize = 32;
/// Of a hundred requests: those that repeat an earlier one, those that change an earlier one's
/// body, and those whose client does not wait for the answer.
const DUPLICATES: usize = 20;
const CHANGED: usize = 5;
const HUNG_UP: usize = 3;
/// Octets of a body.
const BODY: usize = 512;
/// What the gateway may hold at the end beyond what it held after a fifth, in octets. Its own memory
/// alone counts: the pages of the log and the tree that are mapped are files', and the kernel's to
/// take back. Each key remembered costs the index 16 octets, in tables that double; what is in the
/// log and not yet in the tree costs more for a while, and a checkpoint sets it free.
const GROWTH_PER_REQUEST: usize = 64;
/// And whatever buffers, tables about to double, and the allocator keep by then.
const GROWTH_SLACK: usize = 16 << 20;

/// Who counts executions: one for each key that arrives.
#[derive(Default)]
struct Executed {
    keys: Mutex<HashSet<String>>,
    twice: AtomicUsize,
}

/// A body made from a key: what the upstream answers, and what a client expects.
fn answer(key: &str) -> String {
    format!("{{\"done\":\"{key}\",\"filler\":\"{}\"}}", "x".repeat(BODY))
}

async fn upstream(executed: Arc<Executed>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let executed = Arc::clone(&executed);
            let service = service_fn(move |request: Request<Incoming>| {
                let executed = Arc::clone(&executed);
                async move {
                    let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body.len(), BODY);
                    if !executed.keys.lock().unwrap().insert(key.clone()) {
                        executed.twice.fetch_add(1, Ordering::SeqCst);
                    }
                    let mut response = Response::new(Full::<Bytes>::from(answer(&key)));
                    *response.status_mut() = StatusCode::CREATED;
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(async move {
                // The gateway closes what it has not used for a while.
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

/// A connection to the gateway, opened when there is none.
struct Client {
    address: std::net::SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    async fn sender(&mut self) -> &mut SendRequest<Full<Bytes>> {
        let is_open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            let stream = TcpStream::connect(self.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut().unwrap()
    }

    /// Sends a request, and gives status and body.
    async fn send(&mut self, key: &str, body: Bytes) -> (u16, Bytes) {
        let response = self.sender().await.send_request(request(key, body)).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    /// Sends a request, and hangs up before its answer.
    async fn send_and_hang_up(&mut self, key: &str, body: Bytes) {
        let mut sent = Box::pin(self.sender().await.send_request(request(key, body)));
        for _ in 0..4 {
            // It is on its way, or is not: either is a disconnect.
            tokio::select! {
                biased;
                _ = &mut sent => break,
                () = tokio::task::yield_now() => {}
            }
        }
        drop(sent);
        self.sender = None;
    }
}

fn request(key: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::post("/v1/jobs")
        .header("host", "api.example")
        .header("authorization", "Bearer load")
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Full::from(body))
        .unwrap()
}

/// The body sent with the key of this number.
fn body(number: u64, changed: bool) -> Bytes {
    let letter = b'a' + u8::try_from(number % 25).unwrap() + u8::from(changed);
    Bytes::from(vec![letter; BODY])
}

/// Octets the process has in memory: its own, and in all.
fn resident(pid: u32) -> (usize, usize) {
    (memory_of(pid, "RssAnon"), memory_of(pid, "VmRSS"))
}

/// What all connections share.
struct Load {
    seed: u64,
    requests: usize,
    sent: AtomicUsize,
    /// Keys handed out, and the numbers of those whose answer somebody has.
    keys: AtomicU64,
    answered: Mutex<Vec<u64>>,
    /// Keys whose client hung up.
    unknown: Mutex<Vec<u64>>,
}

impl Load {
    fn key(&self, number: u64) -> String {
        format!("load-{:016x}-{number}", self.seed)
    }

    /// A key whose answer somebody has.
    fn earlier(&self, rng: &mut Rng) -> Option<u64> {
        let answered = self.answered.lock().unwrap();
        (!answered.is_empty()).then(|| answered[rng.usize(..answered.len())])
    }

    /// One connection's share of the requests, until `limit` were sent by all.
    async fn run(&self, client: &mut Client, rng: &mut Rng, limit: usize) {
        while self.sent.fetch_add(1, Ordering::SeqCst) < limit {
            let lot = rng.usize(..100);
            let earlier = if lot < DUPLICATES + CHANGED { self.earlier(rng) } else { None };
            if let Some(number) = earlier {
                let key = self.key(number);
                let changed = lot >= DUPLICATES;
                let (status, came) = client.send(&key, body(number, changed)).await;
                if changed {
                    assert_eq!(status, 422, "D8, seed {}: {came:?}", self.seed);
                } else {
                    assert_eq!(status, 201, "D6, seed {}: {came:?}", self.seed);
                    assert_eq!(came, answer(&key), "M6: a wrong payload, seed {}", self.seed);
                }
                continue;
            }
            let number = self.keys.fetch_add(1, Ordering::SeqCst);
            let key = self.key(number);
            if lot >= 100 - HUNG_UP {
                client.send_and_hang_up(&key, body(number, false)).await;
                self.unknown.lock().unwrap().push(number);
                continue;
            }
            let (status, came) = client.send(&key, body(number, false)).await;
            assert_eq!((status, came), (201, answer(&key).into()), "seed {}", self.seed);
            self.answered.lock().unwrap().push(number);
        }
        // The one that was not sent.
        self.sent.fetch_sub(1, Ordering::SeqCst);
    }

    /// Sends until `limit` requests are sent, over all connections.
    async fn until(self: &Arc<Self>, address: std::net::SocketAddr, limit: usize, round: u64) {
        let mut tasks = Vec::new();
        for connection in 0..CONNECTIONS as u64 {
            let load = Arc::clone(self);
            tasks.push(tokio::spawn(async move {
                let mut rng = Rng::with_seed(load.seed ^ (round << 32 | connection));
                let mut client = Client { address, sender: None };
                load.run(&mut client, &mut rng, limit).await;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// M1, M6, M8, M17, D8, C31, C37 under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m8_under_load_every_key_is_executed_once_and_memory_stays_flat() {
    let requests =
        std::env::var("LOAD").map_or(REQUESTS, |load| load.parse().expect("LOAD is a number"));
    let seed = match std::env::var("SEED").as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(seed) => seed.parse().expect("SEED is a number, or `random`"),
        Err(_) => 20_260_101,
    };
    println!("SEED={seed} LOAD={requests}");
    let executed = Arc::<Executed>::default();
    let upstream = upstream(Arc::clone(&executed)).await;
    let gateway = tokio::task::spawn_blocking(move || {
        Gateway::start(&upstream, &["--log", "warn", "--upstream-idle", "10s"])
    })
    .await
    .unwrap();
    let load = Arc::new(Load {
        seed,
        requests,
        sent: AtomicUsize::new(0),
        keys: AtomicU64::new(0),
        answered: Mutex::default(),
        unknown: Mutex::default(),
    });

    let address = gateway.address;
    load.until(address, requests / 5, 0).await;
    let early = resident(gateway.pid());
    load.until(address, requests, 1).await;
    let late = resident(gateway.pid());
    let told = |(own, all): (usize, usize)| format!("{} KiB of {} KiB", own >> 10, all >> 10);
    println!("its own memory: {} after a fifth, {} at the end", told(early), told(late));
    let growth = GROWTH_SLACK + GROWTH_PER_REQUEST * (load.requests - load.requests / 5);
    assert!(late.0 <= early.0 + growth, "{early:?} grew to {late:?}, by {growth} is allowed");

    // Those whose client hung up were executed once or not at all; a retry finds out which, and
    // then each was executed once.
    let mut client = Client { address, sender: None };
    let unknown = load.unknown.lock().unwrap().clone();
    for number in unknown {
        let key = load.key(number);
        let began = std::time::Instant::now();
        loop {
            let (status, came) = client.send(&key, body(number, false)).await;
            if status == 201 {
                assert_eq!(came, answer(&key), "M17, seed {seed}");
                break;
            }
            assert_eq!(status, 409, "C37, seed {seed}: {came:?}");
            assert!(began.elapsed() < PATIENCE, "M17: {key} is not done, seed {seed}");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(executed.twice.load(Ordering::SeqCst), 0, "M8: done twice, seed {seed}");
    let keys = usize::try_from(load.keys.load(Ordering::SeqCst)).unwrap();
    assert_eq!(executed.keys.lock().unwrap().len(), keys, "M1: a key was lost, seed {seed}");
    let said = tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    assert!(!said.iter().any(|line| line.contains("ERROR")), "{said:#?}");
}
