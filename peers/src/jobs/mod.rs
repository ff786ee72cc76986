//! What a process of its own measures, and how it says what it found: a line of JSON for each
//! figure.

mod alone;
mod cycles;
mod heap;
mod histogram;
mod layer;
mod lookups;
mod open;
mod sweep;

use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::work::sure;

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) metric: String,
    pub(crate) value: f64,
}

/// Tells the process that started this one.
#[expect(clippy::print_stdout, reason = "standard output is how a measurement is told")]
fn tell(metric: impl Into<String>, value: f64) {
    println!("{}", sure(serde_json::to_string(&Figure { metric: metric.into(), value })));
}

/// Does the job called `job`.
pub(crate) fn run(job: &str, args: &Args) {
    let workers = args.number("workers", 2);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = sure(builder.worker_threads(workers).enable_all().build());
    let _entered = runtime.enter();
    let peer = args.text("peer", "onceward");
    match (job, peer.as_str()) {
        ("fill", "floor") => lookups::fill_floor(args),
        ("lookups", "floor") => lookups::floor(args),
        ("cycles", "floor") => cycles::floor(args),
        ("alone", "floor") => alone::floor(args),
        ("layer", _) => layer::measure(args, &runtime),
        ("fill", peer) => with_peer!(peer, P => lookups::fill::<P>(args)),
        ("lookups", peer) => with_peer!(peer, P => lookups::measure::<P>(args)),
        ("cycles", peer) => with_peer!(peer, P => cycles::measure::<P>(args)),
        ("alone", peer) => with_peer!(peer, P => alone::measure::<P>(args)),
        ("sweep", peer) => with_peer!(peer, P => sweep::measure::<P>(args)),
        ("open", peer) => with_peer!(peer, P => open::measure::<P>(args)),
        ("heap", peer) => with_peer!(peer, P => heap::measure::<P>(args)),
        (job, _) => panic!("there is no job called {job}"),
    }
}
