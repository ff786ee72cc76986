//! `onceward conformance`: whether a server keeps a profile's promises, as far as HTTP shows it;
//! and `onceward conformance-upstream`, the API that shows most.

mod args;
mod checks;
mod numbers;
mod report;
mod suite;
mod upstream;
mod wire;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::{HeaderName, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use onceward::http::{Body, Profile};

pub(crate) use self::args::{ConformanceArgs, UpstreamArgs};
use self::report::{Ran, Report};
use self::suite::Suite;
use self::upstream::Upstream;
use self::wire::{Ask, Target};
use crate::signals::Signals;
use crate::{Failure, duration, listen};

/// Octets of randomness in a run's name.
const RUN_OCTETS: usize = 6;

/// Runs the suite, and says what came of it.
pub(crate) fn conformance(args: &ConformanceArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let only = only(&args.only)?;
        let suite = suite(args).await?;
        let mut ran = Vec::new();
        for check in checks::all() {
            let asked = |number: &&str| only.is_empty() || only.iter().any(|one| one == number);
            let concerns = |number: &&str| numbers::concerns(&suite.profile, number);
            if check.numbers.iter().filter(|number| asked(number)).any(concerns) {
                ran.push(Ran { check, came: (check.run)(&suite).await });
            }
        }
        let report = Report::new(&suite, &ran, &only);
        let mut out = std::io::stdout();
        let written = if args.json {
            writeln!(out, "{:#}", report.json(&suite))
        } else {
            report.table(&mut out)
        };
        written.map_err(|error| Failure::Failed(format!("standard output: {error}")))?;
        if report.is_clean() { Ok(()) } else { Err(Failure::Failed(report.failures())) }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))
}

/// The numbers asked for, each of which there must be.
fn only(asked: &[String]) -> Result<Vec<String>, Failure> {
    let asked: Vec<String> = asked.iter().map(|number| number.trim().to_uppercase()).collect();
    match asked.iter().find(|number| !numbers::all().any(|known| known == **number)) {
        Some(unknown) => Err(Failure::Usage(format!("`{unknown}` is no requirement's number"))),
        None => Ok(asked),
    }
}

/// Looks at the server, and for the test contract.
async fn suite(args: &ConformanceArgs) -> Result<Suite, Failure> {
    let profile = Profile::named(&args.profile)
        .ok_or_else(|| Failure::Usage(format!("there is no profile `{}`", args.profile)))?;
    let principal_header = match args.principal_header.as_str() {
        "none" => None,
        name if HeaderName::from_bytes(name.as_bytes()).is_ok() => Some(name.to_owned()),
        name => return Err(Failure::Usage(format!("`{name}` is no header's name"))),
    };
    let ttl = args.ttl.as_deref().map(duration::parse).transpose().map_err(Failure::Usage)?;
    let target = |http2| Target::new(&args.url, http2).map_err(Failure::Usage);
    let mut random = [0; RUN_OCTETS];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::Failed(format!("the system gives no randomness: {error}")))?;
    let mut suite = Suite {
        profile,
        target: target(args.http2)?,
        target2: target(true)?,
        http2: args.http2,
        principal_header,
        create_path: args.create_path.clone(),
        create_body: args.create_body.clone(),
        contract: false,
        in_process: false,
        ttl,
        run: crate::gateway::hex(&random),
        cases: AtomicU64::new(1),
    };
    if suite.create_path.is_none() {
        let about = Ask {
            method: "GET".to_owned(),
            target: "/conformance".to_owned(),
            fields: Vec::new(),
            body: Bytes::new(),
        };
        let unreachable = |stop| match stop {
            suite::Stop::Failed(why) | suite::Stop::NotApplicable(why) => Failure::Failed(why),
        };
        let about = suite.send(&about).await.map_err(unreachable)?.json();
        if about.get("contract").and_then(serde_json::Value::as_u64) != Some(upstream::CONTRACT) {
            return Err(Failure::Failed(
                "the API does not have the test contract; name a path that creates something with \
                 --create-path"
                    .to_owned(),
            ));
        }
        suite.contract = true;
        suite.in_process = about.get("in_process") == Some(&serde_json::Value::Bool(true));
    }
    Ok(suite)
}

/// Serves the test upstream until told to stop.
pub(crate) fn conformance_upstream(args: &UpstreamArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals =
            Signals::new().map_err(|error| Failure::Failed(format!("signals: {error}")))?;
        let (listener, address) = listen::bind(&args.listen).await.map_err(Failure::Failed)?;
        eprintln!("listening on http://{address}");
        let upstream = Upstream::new(false);
        loop {
            let (stream, _) = tokio::select! {
                () = signals.stop() => return Ok(()),
                accepted = listen::accept(&listener) => accepted,
            };
            tokio::spawn(serve(stream, Arc::clone(&upstream)));
        }
    });
    runtime.shutdown_background();
    ended
}

/// Serves a connection, which ends where the plan breaks it.
async fn serve(stream: tokio::net::TcpStream, upstream: Arc<Upstream>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let upstream = Arc::clone(&upstream);
        async move { upstream.answer(request.map(Body::new)).await }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // A connection that breaks is what its client asked for.
    let _: Result<(), _> = server.serve_connection(TokioIo::new(stream), service).await;
}
