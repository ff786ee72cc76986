//! The rows, one after another: who takes part in each, and with what.

use std::path::Path;
use std::time::Duration;

use crate::args::Args;
use crate::jobs::Figure;
use crate::machine;
use crate::run::Run;
use crate::scale::Scale;

/// How long a process works on before it is killed, once all it keeps in memory is there.
const BEFORE_KILL: Duration = Duration::from_secs(3);
const BEFORE_KILL_QUICK: Duration = Duration::from_millis(500);
const MILLION: u64 = 1_000_000;

/// Measures what is wanted; whether all of it was.
pub(crate) fn run(scale: Scale, results: &Path) -> bool {
    let mut run = Run::new(scale, results);
    lookups(&mut run);
    cycles(&mut run);
    long(&mut run);
    latency(&mut run);
    latency_in_memory(&mut run);
    alone(&mut run);
    sweep(&mut run);
    open(&mut run);
    heap(&mut run);
    tight(&mut run);
    growth(&mut run);
    written(&mut run);
    layer(&mut run);
    run.end()
}

/// A directory that is empty before a measurement and gone after it.
fn fresh(run: &mut Run, job: &str, peer: &'static str, args: Args) -> Option<Vec<Figure>> {
    run.remove("fresh", peer);
    let directory = run.directory("fresh", peer);
    // What those before it left to be written, or discarded, is none of its work.
    machine::at_rest(&directory);
    let figures = run.child(job, peer, &args.with("dir", directory.display()));
    run.remove("fresh", peer);
    figures
}

fn lookups(run: &mut Run) {
    let mut rows = vec!["s1", "s2", "s3"];
    rows.retain(|row| run.scale.wants(row));
    let Scale { records, lookups, rounds, .. } = run.scale;
    // The time of all is that of the first.
    for row in rows.iter().rev() {
        run.row(row, &format!("{records} records of 512 octets, {lookups} lookups a thread"));
    }
    let all = ["onceward", "floor", "lmdb", "redb", "rocksdb", "fjall", "sqlite"];
    let mut peers = run.scale.among(&all);
    // Those that are whole stay as they are; the others are measured together, and so have to have
    // come equally far.
    rows.retain(|row| peers.iter().any(|peer| run.results.samples(row, peer) < rounds));
    let Some(first) = rows.first().copied() else { return };
    let samples = |row: &str, peer: &str| run.results.samples(row, peer);
    let uneven = |peer: &&str| rows.iter().any(|row| samples(row, peer) != samples(first, peer));
    if peers.iter().any(uneven) {
        for row in &rows {
            run.results.forget_of(row, |peer| peers.contains(&peer));
        }
    }
    let args = Args::default().with("records", records);
    peers.retain(|peer| {
        run.results.samples(first, peer) >= rounds || run.filled("lookups", peer, &args)
    });
    let mut wanted = rows.join(",");
    if rows.contains(&"s3") {
        wanted.push_str(",answers");
    }
    let whole = run.turns(first, &peers, rounds, |run, peer, round| {
        let args = args.clone().with("count", lookups).with("rows", &wanted);
        let directory = run.directory("lookups", peer);
        let args = args.with("seed", round + 1).with("dir", directory.display());
        run.child("lookups", peer, &args)
    });
    if whole {
        for peer in &peers {
            run.emptied("lookups", peer);
        }
    }
}

/// Octets that onceward keeps during long cycles are bounded by a short retention, as every store
/// that lasts has one; sweeps run all the while.
const TTL: u64 = 15;
/// How many tasks are in flight.
const TASKS: [u64; 4] = [1, 64, 256, 1024];

fn cycles(run: &mut Run) {
    if !run.scale.wants("s4") {
        return;
    }
    let Scale { rounds, seconds, .. } = run.scale;
    run.row("s4", &format!("{seconds} s a sample, 512 octets"));
    for tasks in TASKS {
        cycles_of(run, &format!("s4/cycles/{tasks}"), tasks, seconds, rounds);
    }
}

fn long(run: &mut Run) {
    if !run.scale.wants("long") {
        return;
    }
    let seconds = run.scale.long;
    run.row("long", &format!("one sample of {seconds} s, 512 octets"));
    for tasks in TASKS {
        cycles_of(run, &format!("long/{tasks}"), tasks, seconds, 1);
    }
}

fn cycles_of(run: &mut Run, name: &str, tasks: u64, seconds: f64, rounds: usize) {
    #[rustfmt::skip]
    let all = [
        "onceward", "floor", "lmdb", "redb", "rocksdb", "rocksdb-batched", "fjall", "sqlite", "redis",
        "postgres", "postgres-batched",
    ];
    let peers = run.scale.among(&all);
    let args = Args::default().with("tasks", tasks).with("ttl", TTL).with("cache", 1_u64 << 30);
    let args = args.with("name", name).with("seconds", seconds);
    run.turns(name, &peers, rounds, |run, peer, _| fresh(run, "cycles", peer, args.clone()));
}

fn latency(run: &mut Run) {
    if !run.scale.wants("latency") {
        return;
    }
    run.row("latency", &latency_scale(&run.scale));
    #[rustfmt::skip]
    let all = [
        "onceward", "floor", "lmdb", "redb", "rocksdb-batched", "fjall", "sqlite", "redis", "postgres",
        "postgres-batched",
    ];
    let peers = run.scale.among(&all);
    latency_of(run, "latency/256", &peers);
}

/// Where there is a file system in memory, on most systems.
const MEMORY: &str = "/dev/shm";
/// What must be free there: what is written while the first results last, and as much again.
const MEMORY_MIN: u64 = 6 << 30;

/// The same where a sync costs nothing and no removed file is discarded: what is left, onceward does.
fn latency_in_memory(run: &mut Run) {
    const ROW: &str = "latency-memory";
    if !run.scale.wants(ROW) {
        return;
    }
    let scale = latency_scale(&run.scale);
    let free = machine::free_in_memory(Path::new(MEMORY)).unwrap_or_default();
    if free < MEMORY_MIN {
        let (free, wanted) = (free >> 20, MEMORY_MIN >> 20);
        let why =
            format!("not measured: {MEMORY} has {free} MiB of memory, and {wanted} are needed");
        run.say(&why);
        run.row(ROW, &why);
        return;
    }
    run.row(ROW, &scale);
    let own = Path::new(MEMORY).join(format!("onceward-peers-{}", std::process::id()));
    let directory = std::mem::replace(&mut run.scale.directory, own);
    latency_of(run, "latency-memory/256", &["onceward", "floor"]);
    let own = std::mem::replace(&mut run.scale.directory, directory);
    // It may never have been made.
    let _ = std::fs::remove_dir(own);
}

/// Seconds of a sample: long enough for sweeps and checkpoints to be met.
fn latency_seconds(scale: &Scale) -> f64 {
    scale.seconds * 2.0
}

fn latency_scale(scale: &Scale) -> String {
    format!("{} s a sample, 256 tasks, 512 octets", latency_seconds(scale))
}

fn latency_of(run: &mut Run, name: &str, peers: &[&'static str]) {
    let args = Args::default().with("tasks", 256).with("timed", 1).with("cache", 1_u64 << 30);
    let args = args.with("ttl", 5).with("seconds", latency_seconds(&run.scale)).with("name", name);
    let rounds = run.scale.rounds;
    run.turns(name, peers, rounds, |run, peer, _| fresh(run, "cycles", peer, args.clone()));
}

fn alone(run: &mut Run) {
    if !run.scale.wants("s5") {
        return;
    }
    let Scale { rounds, alone, .. } = run.scale;
    run.row("s5", &format!("{alone} cycles a sample, 512 octets"));
    let all =
        ["onceward", "floor", "lmdb", "redb", "rocksdb", "fjall", "sqlite", "redis", "postgres"];
    let peers = run.scale.among(&all);
    run.turns("s5", &peers, rounds, |run, peer, _| {
        fresh(run, "alone", peer, Args::default().with("count", alone))
    });
}

fn sweep(run: &mut Run) {
    if !run.scale.wants("s6") {
        return;
    }
    let Scale { rounds, records, records_max, .. } = run.scale;
    let expiring = records / 4;
    run.row("s6disk", "what the file system has in use, before a sweep and after");
    // The time of both is that of the first.
    run.row("s6", &format!("{expiring} expire at a time among {records}, 512 octets"));
    let peers = run.scale.among(&["onceward", "lmdb", "redb", "rocksdb", "sqlite", "redis"]);
    // One process fills once and sweeps several times: each sweep is a sample.
    let args = Args::default().with("expiries", 1).with("still", 1).with("parts", rounds);
    run.turns("s6/sweep", &peers, 1, |run, peer, _| {
        let args = args.clone().with("expiring", expiring).with("live", records);
        fresh(run, "sweep", peer, args.with("name", "s6/sweep"))
    });
    let some = (records_max / 10).min(MILLION);
    // In turn, and each sweep in a process of its own, so that nothing but what lives differs.
    for round in 0..rounds {
        for times in if round % 2 == 0 { [1, 10] } else { [10, 1] } {
            let name = format!("s6/alive/{times}");
            run.turns(&name, &["onceward"], round + 1, |run, peer, _| {
                let args = args.clone().with("length", 64).with("parts", 1).with("name", &name);
                fresh(run, "sweep", peer, args.with("expiring", some).with("live", some * times))
            });
        }
    }
}

fn open(run: &mut Run) {
    if !run.scale.wants("s7") {
        return;
    }
    let Scale { rounds, records_max, .. } = run.scale;
    let before_kill = if run.scale.quick { BEFORE_KILL_QUICK } else { BEFORE_KILL };
    run.row("s7frames", "those behind the last checkpoint");
    run.row(
        "s7",
        &format!(
            "at most {records_max} records, and what 256 tasks added until {:.1} s after all was read",
            before_kill.as_secs_f64()
        ),
    );
    let peers = run.scale.among(&["onceward", "lmdb", "redb", "redb-quick"]);
    for (records, label, length) in [(MILLION, "1M", 512), (10 * MILLION, "10M", 64)] {
        if records > records_max.max(MILLION) && !run.scale.quick {
            continue;
        }
        // Small counts are for seeing that it works.
        let records = if run.scale.quick { records / 20 } else { records };
        let set = format!("open-{label}");
        let args = Args::default().with("records", records).with("length", length);
        let mut peers = peers.clone();
        let (clean, killed) = (format!("s7/clean/{label}"), format!("s7/killed/{label}"));
        peers.retain(|peer| {
            run.results.samples(&clean, peer) >= rounds || run.filled(&set, peer, &args)
        });
        let whole = run.turns(&clean, &peers, rounds, |run, peer, _| {
            let args = args.clone().with("dir", run.directory(&set, peer).display());
            let mut figures = run.child("open", peer, &args.clone().with("name", &clean))?;
            let hold = args.clone().with("hold", 1).with("tasks", 256);
            if !run.killed("open", peer, &hold, before_kill) {
                return None;
            }
            let args = args.with("replayed", 1).with("name", &killed);
            figures.extend(run.child("open", peer, &args)?);
            Some(figures)
        });
        if whole {
            for peer in &peers {
                run.emptied(&set, peer);
            }
        }
    }
}

/// Numbers of records up to the most that is wanted.
fn sizes(run: &Run) -> Vec<(u64, &'static str)> {
    let all = [(MILLION, "1M"), (4 * MILLION, "4M"), (10 * MILLION, "10M"), (50 * MILLION, "50M")];
    let most = run.scale.records_max.max(MILLION);
    let shrink = if run.scale.quick { 10 } else { 1 };
    all.into_iter()
        .filter(|(records, _)| *records <= most)
        .map(|(records, label)| (records / shrink, label))
        .collect()
}

fn heap(run: &mut Run) {
    if !run.scale.wants("s8") {
        return;
    }
    run.row(
        "s8",
        "64 octets; opened: a process that has opened what another stored, and has read its index; \
         filled: one that has just stored all by 1,024 tasks, whose stacks, runtime and freed memory \
         count",
    );
    for (records, label) in sizes(run) {
        let opened = format!("s8/opened/{label}");
        if run.results.samples(&opened, "onceward") > 0 {
            continue;
        }
        run.turns(&opened, &["onceward"], 1, |run, peer, _| {
            run.remove("heap", peer);
            let directory = run.directory("heap", peer);
            let args = Args::default().with("records", records).with("length", 64);
            let args = args.with("dir", directory.display());
            let filled = args.clone().with("fill", 1).with("name", format!("s8/filled/{label}"));
            let mut figures = run.child("heap", peer, &filled)?;
            figures.extend(run.child("heap", peer, &args.with("name", &opened))?);
            run.remove("heap", peer);
            Some(figures)
        });
    }
}

/// What the index takes of a key, in octets, where it may take all of them: what S8 finds, so that a
/// tenth is not more than that.
const INDEX: u64 = 21;
/// What a process may have beyond its index.
const BEYOND: u64 = 64 << 20;

/// An index that may take a tenth of what its keys need.
fn tight(run: &mut Run) {
    if !run.scale.wants("tight") {
        return;
    }
    let Scale { rounds, lookups, records_max, .. } = run.scale;
    let budget = (records_max * INDEX / 10).max(1 << 20);
    run.row("tight", &format!("{records_max} records of 64 octets, {budget} octets of index"));
    let args = Args::default().with("records", records_max).with("length", 64);
    let args = args.with("index_memory", budget);
    if !run.filled("tight", "onceward", &args) {
        return;
    }
    let whole = run.turns("tight/misses", &["onceward"], rounds, |run, peer, round| {
        let args = args.clone().with("dir", run.directory("tight", peer).display());
        // Nine in ten hits are read from the tree, and fewer of them take as long.
        let look = args.with("rows", "s1,s3,heap").with("count", lookups / 5).with("threads", 1);
        let mut figures = Vec::new();
        for Figure { metric, value } in run.child("lookups", peer, &look.with("seed", round + 1))? {
            let (named, value) = match metric.as_str() {
                "s1/hit/1" => ("tight/hits", value),
                "s3/miss/1" => ("tight/misses", value),
                "heap" => ("tight/heap", value / (budget + BEYOND) as f64),
                _ => continue,
            };
            figures.push(Figure { metric: named.to_owned(), value });
        }
        Some(figures)
    });
    if whole {
        run.emptied("tight", "onceward");
    }
}

fn growth(run: &mut Run) {
    if !run.scale.wants("s9") {
        return;
    }
    let Scale { lookups, grown, .. } = run.scale;
    run.row("s9room", "after the lookups, for each record");
    run.row("s9open", "after a clean close");
    // The time of all is that of the first.
    run.row("s9", &format!("64 octets, {lookups} lookups of one thread, {grown} cycles"));
    for (records, label) in sizes(run) {
        if label == "4M" {
            continue;
        }
        // One after another and not in turn: several of the largest stores do not fit into memory.
        for peer in run.scale.among(&["onceward", "floor", "lmdb", "rocksdb"]) {
            grown_to(run, peer, records, label);
        }
    }
}

fn grown_to(run: &mut Run, peer: &'static str, records: u64, label: &str) {
    let Scale { rounds, lookups, .. } = run.scale;
    let (set, hit) = (format!("growth-{label}"), format!("s9/hit/{label}"));
    let samples = |run: &Run, name: &str| run.results.samples(name, peer);
    // The floor looks up and does nothing else.
    let cycles = peer != "floor";
    let whole = !cycles || samples(run, &cycles_name(true, label)) >= rounds;
    if samples(run, &hit) >= rounds && whole {
        return;
    }
    let args = Args::default().with("records", records).with("length", 64);
    let args = args.with("cache", 12_u64 << 30);
    if !run.filled(&set, peer, &args) {
        return;
    }
    let whole = run.turns(&hit, &[peer], rounds, |run, peer, round| {
        let args = args.clone().with("dir", run.directory(&set, peer).display());
        let look = args.with("count", lookups).with("seed", round + 1).with("threads", 1);
        let mut figures = vec![Figure {
            metric: format!("s9/disk/{label}"),
            value: machine::disk(&run.directory(&set, peer)) as f64 / records as f64,
        }];
        for figure in run.child("lookups", peer, &look.with("rows", "s1,s2,s3,heap"))? {
            let (named, of) = match figure.metric.as_str() {
                "s1/hit/1" => ("hit", 1),
                "s2/head/1" => ("head", 1),
                "s3/miss/1" => ("miss", 1),
                "heap" => ("heap", records),
                "resident" => ("resident", records),
                _ => continue,
            };
            let metric = format!("s9/{named}/{label}");
            figures.push(Figure { metric, value: figure.value / of as f64 });
        }
        Some(figures)
    });
    if !cycles {
        if whole {
            run.emptied(&set, peer);
        }
        return;
    }
    let name = format!("s9/open/{label}");
    let whole = whole
        && run.turns(&name, &[peer], rounds, |run, peer, _| {
            let args = args.clone().with("dir", run.directory(&set, peer).display());
            run.child("open", peer, &args.with("whole", 1).with("name", &name))
        });
    // Cycles last, for the store grows by them.
    if whole && [false, true].into_iter().all(|warm| grown_cycles(run, peer, records, label, warm))
    {
        run.emptied(&set, peer);
    }
}

/// The name of cycles of a store that has grown: of one that has read its tree, or has just been
/// opened.
fn cycles_name(warm: bool, label: &str) -> String {
    format!("s9/{}/{label}", if warm { "cycles" } else { "at once" })
}

/// Cycles of a store that has grown; whether all samples are there.
fn grown_cycles(run: &mut Run, peer: &'static str, records: u64, label: &str, warm: bool) -> bool {
    let Scale { rounds, seconds, grown, .. } = run.scale;
    let (set, name) = (format!("growth-{label}"), cycles_name(warm, label));
    let args = Args::default().with("records", records).with("length", 64);
    let args = args.with("cache", 12_u64 << 30);
    run.turns(&name, &[peer], rounds, |run, peer, round| {
        // A small one is filled anew for each sample.
        if records <= MILLION && round > 0 {
            run.emptied(&set, peer);
        }
        if !run.filled(&set, peer, &args) {
            return None;
        }
        // New keys in each round, behind those of the rounds before.
        let from = records + (2 * round as u64 + u64::from(warm) + 1) * 100 * MILLION;
        let cycles = args.clone().with("dir", run.directory(&set, peer).display());
        let cycles = cycles.with("tasks", 256).with("cycles", grown).with("seconds", seconds);
        let cycles = cycles.with("warm", u64::from(warm));
        run.child("cycles", peer, &cycles.with("from", from).with("name", &name))
    })
}

fn written(run: &mut Run) {
    if !run.scale.wants("s10") {
        return;
    }
    let Scale { rounds, counted, .. } = run.scale;
    run.row("s10", &format!("{counted} cycles a sample, 256 tasks, 512 octets"));
    let peers = run.scale.among(&["onceward", "lmdb", "redb", "rocksdb", "rocksdb-batched"]);
    let args = Args::default().with("tasks", 256).with("device", 1).with("cache", 1_u64 << 30);
    let args = args.with("cycles", counted).with("name", "s10/cycles");
    run.turns("s10/cycles", &peers, rounds, |run, peer, _| {
        fresh(run, "cycles", peer, args.clone())
    });
    // Once the first results expire, segments are used again. Peers have no such state: they keep all.
    let args = args.with("name", "s10/steady").with("ttl", 3).with("before", run.scale.steady);
    let args = args.with("cycles", 8 * counted);
    run.turns("s10/steady", &["onceward"], rounds, |run, peer, _| {
        fresh(run, "cycles", peer, args.clone())
    });
}

fn layer(run: &mut Run) {
    if !run.scale.wants("s11") {
        return;
    }
    let Scale { rounds, requests, .. } = run.scale;
    run.row("s11", &format!("{requests} requests a sample from 64 tasks, 512 octets each way"));
    if ["onceward", "idempotent"].iter().all(|peer| run.results.samples("s11", peer) >= rounds) {
        return;
    }
    run.results.forget("s11");
    run.say("s11: onceward and idempotent");
    let args = Args::default().with("rounds", rounds).with("count", requests);
    let Some(figures) = fresh(run, "layer", "onceward", args) else { return };
    let of = |name: &str| -> Vec<f64> {
        figures.iter().filter(|figure| figure.metric == name).map(|figure| figure.value).collect()
    };
    let bare = of("bare");
    for peer in ["onceward", "idempotent"] {
        for what in ["no key", "replay", "fresh"] {
            for (all, bare) in of(&format!("{peer}/{what}")).iter().zip(&bare) {
                run.add(&format!("s11/{what}"), peer, all - bare);
            }
        }
    }
}
