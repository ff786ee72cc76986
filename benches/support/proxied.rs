//! The gateway as the process it is, and beside it a bare proxy, which is another process of this
//! program: the same client and the same upstream, in this one.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::overhead::{Row, Scale, Took, sure, timed};

/// The argument that makes this program the bare proxy; the upstream's URL follows.
pub(crate) const BARE_PROXY: &str = "--be-the-bare-proxy";
/// What the process says in front of its address.
const LISTENING: &str = "listening on http://";

const BODY: &str = include_str!("body.json");

/// A proxy that does nothing but pass on: the same server and client as the gateway's, no layer.
pub(crate) fn be_the_bare_proxy(upstream: &str) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let upstream = upstream.to_owned();
    runtime.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("{LISTENING}{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (client, upstream) = (client.clone(), upstream.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                let client = client.clone();
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let uri: Result<Uri, _> = format!("{upstream}{path}").parse();
                async move {
                    *request.uri_mut() = sure(uri);
                    client.request(request).await
                }
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // The client closes it.
                let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// A process between client and upstream.
struct Between {
    child: Child,
    address: SocketAddr,
    _data: Option<TempDir>,
}

impl Between {
    fn start(mut command: Command, data: Option<TempDir>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = sure(command.spawn());
        let Some(stderr) = child.stderr.take() else { panic!("it has no standard error") };
        let mut lines = BufReader::new(stderr).lines();
        let address = loop {
            let Some(line) = lines.next() else { panic!("it ended") };
            if let Some(address) = sure(line).strip_prefix(LISTENING) {
                break sure(address.parse());
            }
        };
        // What it says from here on is read, so that it can go on saying it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _data: data }
    }

    fn bare(upstream: &str) -> Self {
        let mut command = Command::new(sure(std::env::current_exe()));
        command.args([BARE_PROXY, upstream]);
        Self::start(command, None)
    }

    fn gateway(upstream: &str) -> Self {
        let data =
            tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let data = sure(data);
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--upstream", upstream]);
        command.args(["--principal", "single-tenant", "--log", "warn", "--data"]).arg(data.path());
        Self::start(command, Some(data))
    }

    /// Processor time of the process so far, in the kernel's ticks of 10 ms.
    fn processor(&self) -> Duration {
        let stat = sure(std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())));
        // Behind the name, which stands in parentheses: user time is the 12th field, system time
        // the 13th.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| sure(ticks.parse::<u64>())).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        // It may have ended already, which is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An upstream that answers with 512 octets.
async fn upstream() -> String {
    let listener = sure(TcpListener::bind("127.0.0.1:0").await);
    let url = format!("http://{}", sure(listener.local_addr()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = sure(listener.accept().await);
            sure(stream.set_nodelay(true));
            let service = service_fn(|request: Request<Incoming>| async move {
                sure(request.into_body().collect().await);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(BODY)))
            });
            tokio::spawn(async move {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

/// Whose key a request bears.
#[derive(Clone, Copy)]
enum Keys {
    None,
    Same,
    New,
}

fn request(keys: Keys) -> Request<Full<Bytes>> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let request = Request::post("/v1/sites")
        .header("host", "api.example")
        .header("content-type", "application/json");
    let request = match keys {
        Keys::None => request,
        Keys::Same => request.header("idempotency-key", "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04"),
        Keys::New => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            request.header("idempotency-key", format!("bench-{number:030}"))
        }
    };
    sure(request.body(Full::from(BODY)))
}

/// One connection's share of the requests.
async fn share(address: SocketAddr, keys: Keys, left: Arc<AtomicU64>) {
    let stream = sure(TcpStream::connect(address).await);
    sure(stream.set_nodelay(true));
    let (mut sender, connection) =
        sure(hyper::client::conn::http1::handshake(TokioIo::new(stream)).await);
    let connection = tokio::spawn(connection);
    let take = |left: u64| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        sure(sender.ready().await);
        let response = sure(sender.send_request(request(keys)).await);
        assert!(response.status().is_success(), "{}", response.status());
        sure(response.into_body().collect().await);
    }
    drop(sender);
    sure(sure(connection.await));
}

async fn requests(between: &Between, keys: Keys, scale: Scale) -> Took {
    let left = Arc::new(AtomicU64::new(scale.requests));
    timed(scale.requests, || between.processor(), async {
        let mut tasks = Vec::new();
        for _ in 0..scale.tasks {
            tasks.push(tokio::spawn(share(between.address, keys, Arc::clone(&left))));
        }
        for task in tasks {
            sure(task.await);
        }
    })
    .await
}

/// The rows of the gateway.
pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let upstream = upstream().await;
    let (bare, gateway) = (Between::bare(&upstream), Between::gateway(&upstream));
    let mut rows = [
        (Row::new("bare proxy"), &bare, Keys::None),
        (Row::new("the gateway, no key"), &gateway, Keys::None),
        (Row::new("a replay"), &gateway, Keys::Same),
        (Row::new("fresh, on disk"), &gateway, Keys::New),
    ];
    // The first of the same key is fresh, and alone.
    let one = Scale { requests: 1, tasks: 1, ..scale };
    requests(&gateway, Keys::Same, one).await;
    for _ in 0..scale.rounds {
        for (row, between, keys) in &mut rows {
            row.push(requests(between, *keys, scale).await);
        }
    }
    rows.into_iter().map(|(row, ..)| row).collect()
}
