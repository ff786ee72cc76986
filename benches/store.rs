//! `cargo bench`: onceward and plain redb at the same work, in the same run, over the same data.
//!
//! Criterion times each by itself; behind it, a summary runs both in turn and prints the ratios,
//! which are what a machine shared with others can still tell.

#![allow(clippy::print_stdout, reason = "a benchmark is there to print")]
#![allow(clippy::cast_precision_loss, reason = "rates are printed with three figures")]

mod support;

use std::cell::{LazyCell, RefCell};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use fastrand::Rng;
use tokio::runtime::Runtime;

use support::keys::{self, Text};
use support::ours::Ours;
use support::plain::{Plain, Reader};
use support::summary::{Row, compare};
use support::{FILLERS, Scale, sure};

/// Tasks that run cycles at the same time.
const TASKS: usize = 256;
/// How long a result is kept where results expire, and how far apart they come to be.
const TTL: Duration = Duration::from_secs(5 * 60 * 60);
const STEP: Duration = Duration::from_secs(60 * 60);
/// Steps within which results live.
const STEPS: u64 = 5;
/// How many times redb's rate a hit is to have (S1), the only bar that names redb.
const HIT_BAR: f64 = 2.5;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says `--bench`; without it, as with `--test`, all is tried once, small. A filter or a
    // list is about criterion's part alone.
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let test = !bench || arguments.iter().any(|argument| argument == "--test");
    let whole = arguments.iter().all(|argument| argument == "--bench" || argument == "--test");
    let scale = if test { Scale::TRIAL } else { Scale::FULL };
    let runtime =
        sure(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build());

    let mut rows = Vec::new();
    lookups(&mut criterion, &runtime, scale, whole, &mut rows);
    cycles(&mut criterion, &runtime, scale, whole, &mut rows);
    sweeps(&mut criterion, &runtime, scale, whole, &mut rows);
    if whole {
        support::summary::print(&rows, scale.rounds, test);
    }
    criterion.final_summary();
}

/// Lookups of what is there, every byte of it read, and of what is not.
fn lookups(
    criterion: &mut Criterion,
    runtime: &Runtime,
    scale: Scale,
    whole: bool,
    rows: &mut Vec<Row>,
) {
    // Filled when somebody looks: a filter may leave all of this out.
    let filled = LazyCell::new(|| Filled::new(runtime, scale));
    for (name, texts) in [("get-hit", Filled::hits as Texts), ("get-miss", Filled::misses)] {
        let mut group = criterion.benchmark_group(name);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Elements(1));
        group.bench_function("onceward", |bencher| {
            let mut turn = texts(&filled).chunks(1).cycle();
            bencher.iter(|| filled.ours.look_up(turn.next().unwrap_or_default()));
        });
        group.bench_function("redb", |bencher| {
            let mut turn = texts(&filled).chunks(1).cycle();
            bencher.iter(|| filled.reader.look_up(turn.next().unwrap_or_default()));
        });
        group.finish();
    }
    if !whole {
        return;
    }
    let Filled { ours, reader, hits, misses, .. } = &*filled;
    for (name, texts, bar) in [("get, hit", hits, Some(HIT_BAR)), ("get, miss", misses, None)] {
        for (threads, of_threads) in [(1, "1 thread"), (2, "2 threads")] {
            rows.push(compare(
                &format!("{name}, {of_threads}"),
                bar,
                scale.rounds,
                texts.len() as u64,
                || look_up(threads, texts, |part| ours.look_up(part)),
                || look_up(threads, texts, |part| reader.look_up(part)),
            ));
        }
    }
}

/// Keys to look up.
type Texts = fn(&Filled) -> &[Text];

/// Both stores with the same records, and what is looked up in them.
struct Filled {
    ours: Ours,
    reader: Reader,
    hits: Vec<Text>,
    misses: Vec<Text>,
    _plain: Plain,
}

impl Filled {
    fn new(runtime: &Runtime, scale: Scale) -> Self {
        let (mut ours, mut plain) = (Ours::new(), Plain::new());
        ours.cycles(runtime, FILLERS, scale.records);
        plain.fill(scale.records, u64::MAX);
        let reader = plain.reader();
        let mut rng = Rng::with_seed(1);
        let hits = keys::known(&mut rng, scale.records, scale.lookups);
        let misses = keys::unknown(&mut rng, scale.lookups);
        assert_eq!((ours.look_up(&hits), reader.look_up(&hits)), (hits.len(), hits.len()));
        assert_eq!((ours.look_up(&misses), reader.look_up(&misses)), (0, 0));
        Self { ours, reader, hits, misses, _plain: plain }
    }

    fn hits(&self) -> &[Text] {
        &self.hits
    }

    fn misses(&self) -> &[Text] {
        &self.misses
    }
}

/// Looks `texts` up, divided among threads.
fn look_up(threads: usize, texts: &[Text], look_up: impl Fn(&[Text]) -> usize + Sync) -> Duration {
    let begun = Instant::now();
    if threads == 1 {
        look_up(texts);
    } else {
        std::thread::scope(|scope| {
            for part in texts.chunks(texts.len().div_ceil(threads)) {
                let look_up = &look_up;
                scope.spawn(move || look_up(part));
            }
        });
    }
    begun.elapsed()
}

/// Durable cycles: a claim on disk, then its completion on disk.
fn cycles(
    criterion: &mut Criterion,
    runtime: &Runtime,
    scale: Scale,
    whole: bool,
    rows: &mut Vec<Row>,
) {
    // What the last benchmark wrote and removed is the disk's business no longer: a commit that has
    // to wait for it would be slow through no fault of its own. The pair stands to the end, for the
    // same reason.
    rustix::fs::sync();
    let pair = LazyCell::new(|| RefCell::new((Ours::new(), Plain::new())));
    let mut group = criterion.benchmark_group("cycle-1");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(1));
    group.bench_function("onceward", |bencher| {
        bencher.iter_custom(|count| pair.borrow_mut().0.cycles_alone(count));
    });
    group.bench_function("redb", |bencher| {
        bencher.iter_custom(|count| pair.borrow_mut().1.cycles_alone(count));
    });
    group.finish();

    // An iteration is enough cycles for the tasks to fall into step.
    let each = scale.cycles / 16;
    let mut group = criterion.benchmark_group("cycle-256");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(each));
    group.bench_function("onceward", |bencher| {
        bencher.iter_custom(|count| pair.borrow_mut().0.cycles(runtime, TASKS, count * each));
    });
    group.bench_function("redb", |bencher| {
        bencher.iter_custom(|count| pair.borrow_mut().1.cycles(runtime, TASKS, count * each));
    });
    group.finish();
    if !whole {
        return;
    }

    let (mut ours, mut plain) = (Ours::new(), Plain::new());
    rustix::fs::sync();
    rows.push(compare(
        "durable cycle, 1 task",
        None,
        scale.rounds,
        scale.single_cycles,
        || ours.cycles_alone(scale.single_cycles),
        || plain.cycles_alone(scale.single_cycles),
    ));
    rows.push(compare(
        "durable cycle, 256 tasks",
        None,
        scale.rounds,
        scale.cycles,
        || ours.cycles(runtime, TASKS, scale.cycles),
        || plain.cycles(runtime, TASKS, scale.cycles),
    ));
}

/// Sweeps: results come at even steps and live for as many; at each step one lot has expired.
fn sweeps(
    criterion: &mut Criterion,
    runtime: &Runtime,
    scale: Scale,
    whole: bool,
    rows: &mut Vec<Row>,
) {
    rustix::fs::sync();
    let rolling = LazyCell::new(|| RefCell::new(Rolling::new(runtime, scale.expiring)));
    let ours = || rolling.borrow_mut().sweep_ours();
    let plain = || rolling.borrow_mut().sweep_plain();
    let mut group = criterion.benchmark_group("sweep");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    // Next to what filling takes, which is not measured, a sweep is short: one a sample will do.
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(10));
    group.throughput(Throughput::Elements(scale.expiring));
    group.bench_function("onceward", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| ours()).sum());
    });
    group.bench_function("redb", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| plain()).sum());
    });
    group.finish();
    if !whole {
        return;
    }
    rows.push(compare("sweep, expired entries", None, scale.rounds, scale.expiring, ours, plain));
}

/// Two stores through which results pass.
struct Rolling<'a> {
    ours: Ours,
    plain: Plain,
    /// Steps that have passed in the plain one.
    steps: u64,
    lot: u64,
    runtime: &'a Runtime,
}

impl<'a> Rolling<'a> {
    fn new(runtime: &'a Runtime, lot: u64) -> Self {
        let mut rolling =
            Self { ours: Ours::keeping(TTL), plain: Plain::new(), steps: 0, lot, runtime };
        for _ in 0..STEPS {
            rolling.ours.cycles(runtime, FILLERS, lot);
            rolling.ours.advance(STEP);
            rolling.step_plain();
        }
        rolling
    }

    fn step_plain(&mut self) {
        self.plain.fill(self.lot, self.steps + STEPS);
        self.steps += 1;
    }

    /// One more lot, and the sweep of the one that has expired, which alone is timed.
    fn sweep_ours(&mut self) -> Duration {
        loop {
            self.ours.cycles(self.runtime, FILLERS, self.lot);
            // Past the expiry of the oldest lot by half a step; then on to where the next begins.
            self.ours.advance(STEP / 2);
            let (report, time) = self.ours.sweep();
            self.ours.advance(STEP / 2);
            assert_eq!(self.ours.records(), STEPS * self.lot);
            // The store's own housekeeper may have been first.
            if report.expired == self.lot {
                return time;
            }
        }
    }

    fn sweep_plain(&mut self) -> Duration {
        self.step_plain();
        let (expired, time) = self.plain.sweep(self.steps);
        assert_eq!(expired, self.lot);
        time
    }
}
