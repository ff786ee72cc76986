//! `onceward demo`: a sample API under all profiles on the embedded store, a tour of it over real
//! connections, and then the API to be tried by hand.

mod api;
mod child;
mod client;
mod place;
mod promise;
pub(crate) mod random;
mod server;
mod table;
mod tour;
mod work;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use onceward::Store;
use onceward::http::Body;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::api::Api;
use self::client::Client;
use self::place::Place;
use self::server::Server;
use self::table::Table;
use self::tour::{Tour, unwritten};
use crate::args::DemoArgs;
use crate::config::LogFormat;
use crate::signals::Signals;
use crate::{Failure, listen, log};

/// Where the sample API listens when it stays.
const LISTEN: &str = "127.0.0.1:8765";
/// Where it listens when it does not: wherever there is room.
const LISTEN_ONCE: &str = "127.0.0.1:0";
/// The store, within a directory of the demo's.
const STORE: &str = "store";
/// The count of executions, within a directory of the demo's.
const EXECUTIONS: &str = "executions.log";
/// The directory of the process that is killed, within the demo's.
const CRASH: &str = "crash";
/// How long a job is queued, and running, while the tour waits for it.
const STAGE_TOUR: Duration = Duration::from_millis(150);
/// The same, for somebody with a shell.
const STAGE_BY_HAND: Duration = Duration::from_secs(5);
/// How long running requests may take when the demo is told to end.
const DRAIN: Duration = Duration::from_millis(500);

/// Runs the demo, or the process in it that is killed.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    log::start("error", LogFormat::Text).map_err(Failure::Failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    let place = Place::new(args.data.clone())?;
    let ended = runtime.block_on(async {
        if args.child {
            return be_killed(args, &place).await;
        }
        let mut signals =
            Signals::new().map_err(|error| Failure::Failed(format!("signals: {error}")))?;
        guide(args, &place, &mut signals).await
    });
    runtime.shutdown_background();
    ended
}

/// Words for a store that failed.
fn store_failed(error: &onceward::Error) -> Failure {
    Failure::Failed(format!("the store: {error}"))
}

/// A sample API that listens.
struct Running {
    api: Arc<Api>,
    store: Store,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Ends when the listener is closed and the connections have had their time.
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Opens what is in `directory`, and listens.
    async fn start(directory: &Path, listen: &str) -> Result<Self, Failure> {
        let (listener, address) = listen::bind(listen).await.map_err(Failure::Failed)?;
        let store = directory.join(STORE);
        let store = tokio::task::spawn_blocking(move || Store::open(store))
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?
            .map_err(|error| store_failed(&error))?;
        let executions = directory.join(EXECUTIONS);
        let api = Api::new(&executions, STAGE_TOUR)
            .map_err(|error| Failure::Failed(format!("{}: {error}", executions.display())))?;
        let (stop, stopped) = oneshot::channel();
        let server = Server::new(Arc::clone(&api), &store);
        let serving = tokio::spawn(serve(listener, server, stopped));
        Ok(Self { api, store, address, stop, serving })
    }

    /// Closes the listener, then the store.
    async fn stop(self) -> Result<(), Failure> {
        // Either way it is stopped.
        let _ = self.stop.send(());
        let _ = self.serving.await;
        let store = self.store;
        tokio::task::spawn_blocking(move || store.close())
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?
            .map_err(|error| store_failed(&error))
    }
}

/// Serves until told to stop, or nobody is left to tell.
async fn serve(listener: TcpListener, server: Server, stopped: oneshot::Receiver<()>) {
    let handle = move |request: Request<Incoming>, _| {
        let server = server.clone();
        async move { server.answer(request.map(Body::new)).await }
    };
    let stopped = async {
        let _ = stopped.await;
    };
    let connections = listen::serve(listener, None, handle, stopped).await;
    // What is still held back is cut off.
    let _ = tokio::time::timeout(DRAIN, connections.shutdown()).await;
}

/// The tour, and what comes after it.
async fn guide(args: &DemoArgs, place: &Place, signals: &mut Signals) -> Result<(), Failure> {
    let default = if args.once { LISTEN_ONCE } else { LISTEN };
    let listen = args.listen.as_deref().unwrap_or(default);
    let running = Running::start(place.root(), listen).await?;
    eprintln!("listening on http://{}", running.address);
    let interrupted = || Failure::Failed("the tour was interrupted".to_owned());
    let toured = tokio::select! {
        toured = tour(&running, place) => toured,
        () = signals.stop() => Err(interrupted()),
    };
    if toured.is_ok() && !args.once {
        running.api.jobs.set_stage(STAGE_BY_HAND);
        invite(&running)?;
        signals.stop().await;
    }
    let stopped = running.stop().await;
    toured.and(stopped)
}

async fn tour(running: &Running, place: &Place) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let table = Table::new(std::io::stdout(), out.is_terminal() && !no_colour);
    let keeps = if place.is_temporary() { ", a temporary directory" } else { "" };
    writeln!(
        out,
        "A sample API with its store in {}{keeps}.\n\n\
         replayed?          by the document's marker; without one, by an answer that was seen \
         before\n\
         executions so far  how often the API did work in this chapter, by its own count; reads \
         do none\n\
         as promised?       as the requirements at the end of the sentence say: M managed.dev, \
         O oec.sh,\n\
         \u{20}                  G Magnolia, D the IETF draft, C and X what those leave open",
        place.root().display()
    )
    .map_err(|error| unwritten(&error))?;
    let mut tour = Tour::new(table, Client::new(running.address));
    tour::take(&mut tour, &place.root().join(CRASH)).await?;
    tour.end()
}

/// Says how to try the API by hand.
fn invite(running: &Running) -> Result<(), Failure> {
    let origin = format!("http://{}", running.address);
    let mut text = format!(
        "\nThe API stays at {origin} until Ctrl-C.\nA job takes {} s now, and what is called \
         `held` waits for: curl -X POST {origin}/demo/release\nPaste one of these, and again:\n",
        2 * STAGE_BY_HAND.as_secs()
    );
    for (what, ask) in tour::to_try()? {
        text.extend(["\n# ", what, "\n", &ask.curl(&origin), "\n"]);
    }
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
}

/// Serves the API until the tour ends it, or the tour itself has ended.
async fn be_killed(args: &DemoArgs, place: &Place) -> Result<(), Failure> {
    let listen = args.listen.as_deref().unwrap_or(LISTEN_ONCE);
    let running = Running::start(place.root(), listen).await?;
    eprintln!("listening on http://{}", running.address);
    child::until_orphaned().await;
    running.stop().await
}
