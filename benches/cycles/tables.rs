//! What is run in turn, and the tables it makes.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use onceward::Options;

use super::device::{bytes_written, processor_ns};
use super::floor::Floor;
use super::ours::Ours;
use super::{PAYLOAD, Scale};

const TASKS: [u64; 4] = [1, 64, 256, 1024];
/// Bytes of key and payload that a cycle brings.
const BROUGHT: u64 = 36 + PAYLOAD as u64;

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The part of a hundred thousand that are smaller.
fn percentile(sorted: &[u32], of_100k: usize) -> u32 {
    sorted.get(sorted.len() * of_100k / 100_000).or(sorted.last()).copied().unwrap_or(0)
}

/// S5: one durable cycle at a time.
pub(crate) fn alone(scale: Scale) {
    let (mut floor, ours) = (Floor::new(), Ours::new(options()));
    let (mut floors, mut all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..2 * scale.rounds {
        let (bare, cycle) =
            in_turn(round, || floor.run(1, scale.slice / 2), || ours.alone(scale.slice / 2));
        floors.push(1e6 / bare);
        all.push(1e6 / cycle);
        ratios.push(bare / cycle);
    }
    println!("\n| one cycle alone | floor, µs | onceward, µs | ratio |\n|---|---|---|---|");
    println!(
        "| claim, complete | {:.1} | {:.1} | {:.2}× |",
        median(floors),
        median(all),
        median(ratios)
    );
}

fn options() -> Options {
    Options::new().index_memory(2 << 30)
}

fn in_turn(round: usize, one: impl FnOnce() -> f64, other: impl FnOnce() -> f64) -> (f64, f64) {
    if round.is_multiple_of(2) {
        let first = one();
        (first, other())
    } else {
        let first = other();
        (one(), first)
    }
}

/// S4 and S10: cycles of many tasks, and what they have written.
pub(crate) fn cycles(scale: Scale) {
    println!(
        "\n| tasks | floor, k/s | onceward, k/s | of the floor | frames a sync | processor, µs a cycle \
         | log ÷ brought | device ÷ brought, all |\n|---|---|---|---|---|---|---|---|"
    );
    let mut floor = Floor::new();
    let only: Option<u64> = std::env::var("TASKS").ok().and_then(|tasks| tasks.parse().ok());
    for tasks in TASKS.into_iter().filter(|tasks| only.is_none_or(|only| only == *tasks)) {
        let ours = Ours::new(options());
        let (mut floors, mut all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cpu, mut device, mut done) = (0, 0, 0);
        for round in 0..scale.rounds {
            let (bare, cycle) = in_turn(
                round,
                || floor.run(tasks, scale.slice),
                || {
                    let before = (processor_ns(), bytes_written(), ours.stats().completions);
                    // What is prepared and checkpointed for these cycles is counted with them.
                    let cycle = ours.run(tasks, scale.slice);
                    cpu += processor_ns() - before.0;
                    device += bytes_written().zip(before.1).map_or(0, |(now, then)| now - then);
                    done += ours.stats().completions - before.2;
                    cycle
                },
            );
            floors.push(bare / 1e3);
            all.push(cycle / 1e3);
            ratios.push(cycle / bare);
        }
        let stats = ours.stats();
        println!(
            "| {tasks} | {:.1} | {:.1} | {:.0}% | {:.0} | {:.2} | {:.2} | {:.2} |",
            median(floors),
            median(all),
            100.0 * median(ratios),
            stats.frames as f64 / stats.syncs as f64,
            cpu as f64 / 1e3 / done as f64,
            stats.bytes_written as f64 / (done * BROUGHT) as f64,
            device as f64 / (done * BROUGHT) as f64,
        );
    }
}

/// How long calls take at worst, while checkpoints and sweeps run.
pub(crate) fn pauses(scale: Scale) {
    println!("\n| 256 tasks, microseconds | p50 | p99 | p99.9 | most |\n|---|---|---|---|---|");
    let line = |name: &str, mut waits: Vec<u32>| {
        waits.sort_unstable();
        println!(
            "| {name} | {} | {} | {} | {} |",
            percentile(&waits, 50_000),
            percentile(&waits, 99_000),
            percentile(&waits, 99_900),
            waits.last().copied().unwrap_or(0)
        );
    };
    let mut floor = Floor::new();
    floor.run(256, scale.pauses / 4);
    line("floor: write and fdatasync of a group", std::mem::take(&mut floor.waits));
    let ours = Ours::new(options().ttl(Duration::from_secs(3)));
    let waits = ours.waits(256, scale.pauses);
    line("claim", waits.claim);
    line("complete", waits.complete);
    line("get", waits.get);
    let stats = ours.stats();
    println!(
        "\n{} cycles, {} swept, {} segments given back",
        stats.completions, stats.expired, stats.segments_removed
    );
    // Its file is not removed before: that would be a pause of its own.
    drop(floor);
}

/// S6: what a sweep of expired records costs, with few and with many that live.
pub(crate) fn sweep(scale: Scale) {
    println!(
        "\n| living | expired | sweep, ms | entries/s | MB given back |\n|---|---|---|---|---|"
    );
    for living in scale.living {
        let ours = Ours::keeping(Duration::from_secs(86_400));
        ours.fill(scale.expiring);
        ours.checkpoint();
        ours.advance(Duration::from_secs(43_200));
        ours.fill(living);
        ours.checkpoint();
        ours.advance(Duration::from_secs(43_200 + 3_600));
        let began = Instant::now();
        let report = ours.sweep();
        let took = began.elapsed();
        println!(
            "| {living} | {} | {:.0} | {:.2} M | {:.0} |",
            report.expired,
            took.as_secs_f64() * 1e3,
            report.expired as f64 / took.as_secs_f64() / 1e6,
            report.bytes_freed as f64 / 1e6
        );
    }
}
