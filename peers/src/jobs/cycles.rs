//! Durable cycles of many tasks: a claim and a completion, each on disk before the next step.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::histogram::{Histogram, PARTS_TOLD};
use super::tell;
use crate::args::Args;
use crate::floor_log::{FloorLog, Removal};
use crate::job::{Peer, Setup};
use crate::machine;
use crate::work::{Wanted, payload, sure, text};

/// How far behind the newest key the lookups under load stay, so that what they ask for is complete.
const BEHIND: u64 = 4096;
/// How many keys back they go.
const BACK: u64 = 100_000;
/// Tasks that look up under load, each about a thousand times a second.
const LOOKERS: usize = 4;

/// What all tasks of a run share.
struct Run<P> {
    peer: Arc<P>,
    length: usize,
    from: u64,
    next: AtomicU64,
    /// Keys below this are handed out and no others.
    end: u64,
    stop: AtomicBool,
    timed: bool,
}

#[derive(Default)]
struct Times {
    claim: Histogram,
    complete: Histogram,
}

impl<P: Peer> Run<P> {
    /// One key after another, until there is none or the time is over.
    async fn task(self: Arc<Self>) -> Times {
        let mut times = Times::default();
        while !self.stop.load(Relaxed) {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= self.end {
                break;
            }
            let text = text(number);
            if self.timed {
                let begun = Instant::now();
                let ticket = granted(self.peer.claim(text).await);
                let between = Instant::now();
                times.claim.add(between - begun);
                let payload = payload(number, self.length);
                let begun = Instant::now();
                self.peer.complete(text, ticket, payload).await;
                times.complete.add(begun.elapsed());
            } else {
                let ticket = granted(self.peer.claim(text).await);
                self.peer.complete(text, ticket, payload(number, self.length)).await;
            }
        }
        times
    }

    /// Lookups of what was completed a while ago.
    async fn look(self: Arc<Self>, seed: u64) -> Histogram {
        let (mut times, mut rng) = (Histogram::default(), fastrand::Rng::with_seed(seed));
        while !self.stop.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let newest = self.next.load(Relaxed).saturating_sub(BEHIND);
            if newest > self.from {
                let number = rng.u64(self.from.max(newest.saturating_sub(BACK))..newest);
                let wanted = Wanted::of(number);
                let begun = Instant::now();
                let good = self.peer.get(wanted).await;
                times.add(begun.elapsed());
                assert!(good, "a completed record is not there");
            }
        }
        times
    }
}

fn granted<T>(ticket: Option<T>) -> T {
    match ticket {
        Some(ticket) => ticket,
        None => panic!("a key nobody has claimed was not granted"),
    }
}

/// Runs a future that blocks and never waits to be woken.
fn blocking<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it was to block"),
    }
}

/// Lets `tasks` tasks run until the keys have been used or `time` is over.
fn run<P: Peer>(run: &Arc<Run<P>>, tasks: usize, time: Duration) -> (Times, Histogram) {
    let mut times = Times::default();
    let mut looked = Histogram::default();
    let mut add = |more: &Times| {
        times.claim.merge(&more.claim);
        times.complete.merge(&more.complete);
    };
    Handle::current().block_on(async {
        let mut lookers = JoinSet::new();
        for seed in 0..if run.timed { LOOKERS as u64 } else { 0 } {
            lookers.spawn(Arc::clone(run).look(seed));
        }
        let stop = Arc::clone(run);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            stop.stop.store(true, Relaxed);
        });
        if P::TASKS_ARE_THREADS {
            let begin = || {
                let run = Arc::clone(run);
                // A task's own stack is small, and so is that of a thread that does the same.
                let builder = std::thread::Builder::new().stack_size(256 << 10);
                sure(builder.spawn(|| blocking(run.task())))
            };
            let threads: Vec<_> = (0..tasks).map(|_| begin()).collect();
            let join = move || {
                let ended = threads.into_iter().map(std::thread::JoinHandle::join);
                let ended: Vec<Times> = ended.flatten().collect();
                assert_eq!(ended.len(), tasks, "a task has failed");
                ended
            };
            sure(tokio::task::spawn_blocking(join).await).iter().for_each(&mut add);
        } else {
            let mut running = JoinSet::new();
            for _ in 0..tasks {
                running.spawn(Arc::clone(run).task());
            }
            while let Some(ended) = running.join_next().await {
                add(&sure(ended));
            }
        }
        run.stop.store(true, Relaxed);
        timer.abort();
        // It holds the run until it has ended; that it was aborted is no fault.
        let _ = timer.await;
        while let Some(ended) = lookers.join_next().await {
            looked.merge(&sure(ended));
        }
    });
    (times, looked)
}

/// The name under which a run is told.
fn name(args: &Args) -> String {
    args.text("name", "s4/cycles")
}

/// Cycles of a store that begins with nothing to do and is given the time to end so: for onceward
/// the checkpoint lag is zero at the start, and at the end of the time that is measured. With
/// `before`, the store has been at work for so many seconds that are not counted.
pub(crate) fn measure<P: Peer>(args: &Args) {
    let setup = args.setup();
    let from = args.number("from", 0);
    let count: u64 = args.number("cycles", u64::MAX / 2);
    let before = Duration::from_secs_f64(args.number("before", 0.0));
    // What others have not yet written is none of this run's.
    rustix::fs::sync();
    let mut device = machine::device_written(&setup.directory);
    let peer = Arc::new(P::open(&setup));
    if args.number("warm", 0) == 1 {
        peer.warm();
    }
    let cycles = |from: u64, count: u64| {
        Arc::new(Run {
            peer: Arc::clone(&peer),
            length: setup.length,
            from,
            next: AtomicU64::new(from),
            end: from + count,
            stop: AtomicBool::new(false),
            timed: args.number("timed", 0) == 1,
        })
    };
    let mut from = from;
    let mut figures = Figures::default();
    if !before.is_zero() {
        let of = cycles(from, u64::MAX / 2);
        run(&of, setup.tasks, before);
        from = of.next.load(Relaxed);
        peer.settle();
        rustix::fs::sync();
        device = machine::device_written(&setup.directory);
        figures = Figures::of(&*peer);
    }
    let of = cycles(from, count);
    drop(peer);
    let time = Duration::from_secs_f64(args.number("seconds", 1e6));
    let begun = Instant::now();
    let (times, looked) = run(&of, setup.tasks, time);
    let lag = of.peer.figures().into_iter().find(|(name, _)| *name == "checkpoint_lag");
    of.peer.settle();
    let took = begun.elapsed().as_secs_f64();
    // A number that was taken behind the last was not used.
    let done = of.next.load(Relaxed).min(of.end) - from;
    let name = name(args);
    tell(&name, done as f64 / took);
    if let Some((_, lag)) = lag {
        tell(format!("{name}/lag put off"), lag);
    }
    if of.timed {
        for (what, times) in
            [("claim", &times.claim), ("complete", &times.complete), ("get", &looked)]
        {
            // A run may be too short for a lookup.
            if times.is_empty() {
                continue;
            }
            tell_times(&format!("{name}/{what}"), times);
        }
    }
    if args.number("device", 0) == 1 {
        written(of, &setup.directory, &Before { device, figures }, done, args);
    }
}

/// Tells how long what is called `name` took, in microseconds.
fn tell_times(name: &str, times: &Histogram) {
    for (part, quantile) in PARTS_TOLD {
        tell(format!("{name} {part}"), times.quantile(quantile) / 1e3);
    }
}

/// What onceward has written so far, by its own count: nothing for a peer.
#[derive(Clone, Copy, Default)]
struct Figures {
    log: f64,
    zeros: f64,
}

impl Figures {
    fn of<P: Peer>(peer: &P) -> Self {
        let figures = peer.figures();
        let of = |name: &str| figures.iter().find(|(other, _)| *other == name).map(|it| it.1);
        Self {
            log: of("log_written").unwrap_or_default(),
            zeros: of("zeros").unwrap_or_default(),
        }
    }
}

/// What was written before a run.
struct Before {
    /// By the device's counter, if there is a device.
    device: Option<u64>,
    figures: Figures,
}

/// Tells what a run wrote, for each octet of key and payload.
fn written<P: Peer>(
    run: Arc<Run<P>>,
    directory: &std::path::Path,
    before: &Before,
    done: u64,
    args: &Args,
) {
    let figures = Figures::of(&*run.peer);
    let Some(run) = Arc::into_inner(run) else { panic!("a task has not ended") };
    let length = run.length;
    let Some(peer) = Arc::into_inner(run.peer) else { panic!("a task has not ended") };
    peer.close();
    rustix::fs::sync();
    let now = machine::device_written(directory);
    let device = now.zip(before.device).map(|(now, before)| (now - before) as f64);
    let octets = done as f64 * (36 + length) as f64;
    let name = name(args);
    if let Some(device) = device {
        tell(format!("{name}/device"), device / octets);
    }
    if figures.log > 0.0 {
        let log = figures.log - before.figures.log;
        let zeros = figures.zeros - before.figures.zeros;
        tell(format!("{name}/log"), log / octets);
        tell(format!("{name}/zeroing"), zeros / octets);
        if let Some(device) = device {
            tell(format!("{name}/tree and the rest"), (device - log - zeros) / octets);
        }
    }
}

pub(crate) fn floor(args: &Args) {
    let setup = args.setup();
    let time = Duration::from_secs_f64(args.number("seconds", 5.0));
    if args.number("timed", 0) == 1 {
        floor_times(&setup, &name(args), time);
        return;
    }
    rustix::fs::sync();
    let before = machine::device_written(&setup.directory);
    let mut floor = FloorLog::new(&setup.directory, setup.length);
    let (done, took) = floor.run(setup.tasks as u64, time, |_| {});
    tell(name(args), done as f64 / took.as_secs_f64());
    if args.number("device", 0) == 1 {
        let octets = done as f64 * (36 + setup.length) as f64;
        rustix::fs::sync();
        if let Some((now, before)) = machine::device_written(&setup.directory).zip(before) {
            tell(format!("{}/device", name(args)), (now - before) as f64 / octets);
        }
        tell(format!("{}/log", name(args)), floor.written as f64 / octets);
    }
}

/// How long a gathering's write and sync take, alone and then beside the removal of files.
fn floor_times(setup: &Setup, name: &str, time: Duration) {
    let mut floor = FloorLog::new(&setup.directory, setup.length);
    let mut alone = Histogram::default();
    floor.run(setup.tasks as u64, time, |took| alone.add(took));
    tell_times(&format!("{name}/write"), &alone);
    let removal = Removal::prepare(&setup.directory, time);
    let (mut beside, stop) = (Histogram::default(), AtomicBool::new(false));
    let steps = std::thread::scope(|scope| {
        let removing = scope.spawn(|| {
            let mut steps = Histogram::default();
            removal.run(|took| {
                steps.add(took);
                !stop.load(Relaxed)
            });
            steps
        });
        floor.run(setup.tasks as u64, time, |took| beside.add(took));
        stop.store(true, Relaxed);
        removing.join()
    });
    let Ok(steps) = steps else { panic!("what removes files has failed") };
    tell_times(&format!("{name}/write beside removal"), &beside);
    tell_times(&format!("{name}/removal"), &steps);
}
