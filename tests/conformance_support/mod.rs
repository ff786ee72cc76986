//! Servers to run the conformance suite against, and what it says of them.

// The program's own test upstream, for the server in which it is the handler.
#[path = "../../src/bin/onceward/conformance/upstream.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod upstream;

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use onceward::Store;
use onceward::http::{Body, IdempotencyLayer, Profile};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A process of the program that listens.
struct Process(Child);

impl Process {
    /// Starts `onceward` with `arguments`; gives the URL it says it listens at.
    fn start(arguments: &[&str]) -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ONCEWARD_") {
                command.env_remove(name);
            }
        }
        let mut child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        // What it says from here on is read, so that it can go on saying it.
        std::thread::spawn(move || lines.for_each(drop));
        (Self(child), url)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is no fault.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `onceward conformance-upstream`.
pub(crate) struct Upstream {
    pub(crate) url: String,
    _process: Process,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let (process, url) = Process::start(&["conformance-upstream", "--listen", "127.0.0.1:0"]);
        Self { url, _process: process }
    }
}

/// `onceward serve`.
pub(crate) struct Gateway {
    pub(crate) url: String,
    _process: Process,
    _data: TempDir,
}

impl Gateway {
    /// In front of `upstream`, under `profile`, keeping results for `ttl`.
    pub(crate) fn start(upstream: &str, profile: &str, ttl: Duration) -> Self {
        let data = tempfile::tempdir().unwrap();
        let ttl = format!("{}ms", ttl.as_millis());
        let (process, url) = Process::start(&[
            "serve",
            "--upstream",
            upstream,
            "--listen",
            "127.0.0.1:0",
            "--data",
            data.path().to_str().unwrap(),
            "--profile",
            profile,
            "--ttl",
            &ttl,
            "--log",
            "error",
        ]);
        Self { url, _process: process, _data: data }
    }
}

/// An axum app with the layer around the test upstream, in this process.
pub(crate) struct Library {
    pub(crate) url: String,
    _runtime: Runtime,
    _data: TempDir,
}

impl Library {
    /// Under `profile`, whoever calls being told by `Authorization`.
    pub(crate) fn start(profile: Profile) -> Self {
        Self::serve(|router, store| {
            router.layer(IdempotencyLayer::new(store).profile(profile).principal(
                |parts: &http::request::Parts| {
                    parts.headers.get("authorization").map(|value| value.as_bytes().to_vec())
                },
            ))
        })
    }

    /// Under `profile`, every caller being the same one.
    pub(crate) fn single_tenant(profile: Profile) -> Self {
        Self::serve(|router, store| {
            router.layer(IdempotencyLayer::new(store).profile(profile).single_tenant())
        })
    }

    fn serve(layered: impl FnOnce(Router, Store) -> Router) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path().join("store")).unwrap();
        let upstream = upstream::Upstream::new(true);
        let handler = move |request: axum::extract::Request| {
            let upstream = Arc::clone(&upstream);
            async move {
                let request = request.map(Body::new);
                upstream.answer(request).await.unwrap().map(axum::body::Body::new)
            }
        };
        let app = layered(Router::new().fallback(handler), store);
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(app.clone());
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A connection that breaks is what its client made of it.
                    let _ =
                        server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                    Ok::<(), Infallible>(())
                });
            }
        });
        Self { url, _runtime: runtime, _data: data }
    }
}

/// What the suite said.
pub(crate) struct Report {
    /// Whether its exit code was 0.
    pub(crate) succeeded: bool,
    rows: Vec<(String, String, String)>,
}

impl Report {
    /// The numbers that failed, in order.
    pub(crate) fn failed(&self) -> Vec<&str> {
        let failed = self.rows.iter().filter(|(_, result, _)| result == "fail");
        failed.map(|(number, ..)| number.as_str()).collect()
    }

    /// What is said of a number.
    pub(crate) fn result(&self, number: &str) -> &str {
        let row = self.rows.iter().find(|(of, ..)| of == number);
        row.map(|(_, result, _)| result.as_str()).unwrap()
    }

    /// Those of `numbers` that are about the profile.
    pub(crate) fn concerned(&self, numbers: &[&'static str]) -> Vec<&'static str> {
        let other = |number: &str| {
            let row = self.rows.iter().find(|(of, ..)| of == number).unwrap();
            row.2 == "of another document"
        };
        numbers.iter().copied().filter(|number| !other(number)).collect()
    }
}

/// The rows that did not pass: of these a failing test has to tell.
impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |(_, result, why): &&(String, String, String)| {
            result != "pass" && why != "of another document"
        };
        f.debug_list().entries(self.rows.iter().filter(told)).finish()
    }
}

/// Runs `onceward conformance`.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_onceward"));
    Command::new(program).arg("conformance").args(arguments).output().unwrap()
}

/// Runs the suite against `url`.
pub(crate) fn suite(url: &str, profile: &str, more: &[&str]) -> Report {
    let mut arguments = vec!["--json", "--url", url, "--profile", profile];
    arguments.extend(more);
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}; the suite said: {said}"));
    let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
    let rows = report["rows"].as_array().unwrap().iter();
    let rows = rows.map(|row| (text(row, "number"), text(row, "result"), text(row, "why")));
    Report { succeeded: output.status.success(), rows: rows.collect() }
}
