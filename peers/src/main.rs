//! onceward beside other stores that do the same work: on the same machine, in turn, with the same
//! keys, payloads and durability.
//!
//! ```text
//! peers run [ROW...] [--quick] [--resume] [--peers A,B] [--records N] [--rounds N] [--seconds N]
//!           [--long N] [--budget N] [--dir D]
//! peers render
//! ```
//!
//! Every measurement is a process of its own (`peers child JOB name=value...`), which this one starts,
//! one after another. `docs/benchmarks.md` says how each peer is set up, and has the last run.

mod args;
mod bars;
mod batch;
mod chart;
mod floor;
mod floor_log;
mod job;
mod machine;
#[macro_use]
mod peers;
mod jobs;
mod plan;
mod render;
mod results;
mod run;
mod scale;
mod work;

use args::Args;
use render::Place;
use results::Results;
use scale::Scale;

const USAGE: &str = "peers run [ROW...] [--quick] [--resume] [--peers A,B] [--records N] \
                     [--rounds N] [--seconds N] [--long N] [--budget N] [--dir D]\npeers render";

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("child") => {
            let job = work::there(arguments.next(), USAGE);
            jobs::run(&job, &Args::parse(arguments));
        }
        Some("run") => {
            let scale = Scale::parse(arguments);
            let place = Place::of(&scale);
            let whole = plan::run(scale, &place.results);
            render::render(&Results::load(&place.results), &place);
            std::process::exit(i32::from(!whole));
        }
        Some("render") => {
            let place = Place::kept();
            render::render(&Results::load(&place.results), &place);
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}
