//! `onceward bench`: what this machine does in a directory of the user's, with the floor beside each
//! figure: what nobody can do faster there.
//!
//! Store and floor are measured in turn, in slices of one run, and the medians are divided: what
//! else the machine does meets both.

#![allow(clippy::cast_precision_loss, reason = "figures are printed with three digits")]

mod args;
mod disk;
mod keys;
mod memory;
mod ours;
mod place;
mod row;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::json;

use crate::Failure;
use crate::bar::Bar;
use crate::signals::Signals;
use crate::tools::line;
use place::Place;
use run::Plan;

pub(crate) use args::BenchArgs;

/// Runs the benchmark and prints its table.
///
/// # Errors
/// Usage: there is no such directory. Failed: it may not be written or has no room, the store
/// failed, or somebody interrupted. Nothing is left behind in any case.
pub(crate) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let plan = Plan::new(args.records, args.seconds);
    let place = Arc::new(Place::new(&args.data, plan.octets())?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    let measured = runtime.block_on(async {
        let mut signals =
            Signals::new().map_err(|error| Failure::Failed(format!("signals: {error}")))?;
        let stop = Stop::default();
        let (asked, handle) = (stop.clone(), runtime.handle().clone());
        let (place, plan) = (Arc::clone(&place), plan.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            let mut progress = Progress::new();
            let rows = run::run(&plan, &place, &handle, &asked, &mut progress);
            progress.bar.clear();
            rows
        });
        let ended = tokio::select! {
            ended = &mut work => ended,
            () = signals.stop() => {
                stop.set();
                work.await
            }
        };
        ended.map_err(|error| Failure::Failed(error.to_string()))?
    });
    // Its files go before anybody is told anything.
    drop(place);
    let rows = measured?;
    if args.json {
        let object = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "directory": args.data.display().to_string(),
            "records": args.records,
            "payload_octets": keys::PAYLOAD,
            "seconds": args.seconds,
            "rows": row::json(&rows),
        });
        return line(&object.to_string()).map(|_| ());
    }
    let about = format!(
        "{} results of {} octets in {}; medians of {} rounds, store and floor in turn",
        args.records,
        keys::PAYLOAD,
        args.data.display(),
        run::ROUNDS,
    );
    for text in std::iter::once(about).chain(row::table(&rows)) {
        if !line(&text)? {
            break;
        }
    }
    Ok(())
}

/// Words for a store that failed.
fn store_failed(error: &onceward::Error) -> Failure {
    Failure::Failed(format!("the store: {error}"))
}

/// Whether somebody wants the benchmark to end.
#[derive(Clone, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn set(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.is_set() {
            return Err(Failure::Failed("the benchmark was interrupted".to_owned()));
        }
        Ok(())
    }
}

/// How far it is: a bar on a terminal, a line for each new thing elsewhere.
struct Progress {
    bar: Bar,
    step: u64,
    what: String,
}

impl Progress {
    fn new() -> Self {
        Self { bar: Bar::new(), step: 0, what: String::new() }
    }

    /// One more step begins.
    fn next(&mut self, what: &str) {
        let share = self.step * 100 / run::STEPS;
        self.step += 1;
        self.bar.show(share, what);
        if self.what != what {
            what.clone_into(&mut self.what);
            if !self.bar.is_on() {
                eprintln!("bench: {what}");
            }
        }
    }
}
