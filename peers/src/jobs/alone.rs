//! One durable cycle after another on one thread: how long each takes.

use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::tell;
use crate::args::Args;
use crate::floor_log::FloorLog;
use crate::job::Peer;
use crate::work::{payload, text};

/// Cycles before those that are timed.
const WARMING: u64 = 50;

fn times(args: &Args, mut cycle: impl FnMut(u64)) {
    let (count, mut times) = (args.number("count", 2000), Histogram::default());
    let mut all = Duration::ZERO;
    for number in 0..WARMING + count {
        let begun = Instant::now();
        cycle(number);
        if number >= WARMING {
            times.add(begun.elapsed());
            all += begun.elapsed();
        }
    }
    tell("s5/median", times.quantile(0.5) / 1e3);
    tell("s5/p99", times.quantile(0.99) / 1e3);
    tell("s5/mean", all.as_secs_f64() * 1e6 / count as f64);
}

pub(crate) fn measure<P: Peer>(args: &Args) {
    let setup = args.setup();
    let peer = P::open(&setup);
    times(args, |number| peer.cycle(text(number), payload(number, setup.length)));
    peer.close();
}

pub(crate) fn floor(args: &Args) {
    let setup = args.setup();
    let mut floor = FloorLog::new(&setup.directory, setup.length);
    times(args, |_| floor.cycle(1));
}
