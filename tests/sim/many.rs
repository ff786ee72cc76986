//! Many simulations: how many, for how long, on how many threads; and what is shown of one that
//! fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::run::run_and_tell;
use crate::script::Script;
use crate::shrink::shrink;
use crate::tally::Tally;
use crate::world::{encrypt, is_encrypted};
use crate::{base_seed, variable};

/// How often a long search says how far it is.
const PROGRESS: Duration = Duration::from_secs(30);

/// How long a search may take, where that and not a count says when it is over.
pub(crate) fn budget() -> Option<Duration> {
    variable("BUDGET_SECONDS").map(Duration::from_secs)
}

/// Runs the script, and panics with a small one that fails as well.
pub(crate) fn hold(script: &Script) -> Tally {
    match run_and_tell(script) {
        Ok(tally) => tally,
        Err((wrong, told)) => {
            let seed = script.seed;
            println!("SEED={seed} fails: {wrong}");
            // What showed on the side is looked for where it is the script's own end, if it is there.
            let told =
                told.and_then(|told| run_and_tell(&told).err().map(|(wrong, _)| (told, wrong)));
            let (script, wrong) = told.unwrap_or_else(|| (script.clone(), wrong));
            let (small, wrong) = shrink(&script, wrong);
            panic!("{wrong}\nreplay: SEED={seed} SCRIPTS=1{}\n{small}", which())
        }
    }
}

/// What else a replay must be told: how many operations are tried, where that was said, and the test.
fn which() -> String {
    let every = variable("EVERY").map_or_else(String::new, |every| format!(" EVERY={every}"));
    let test = std::thread::current()
        .name()
        .filter(|name| *name != "main")
        .map_or_else(String::new, |test| {
            format!(" cargo test --all-features --test sim -- --nocapture --exact {test}")
        });
    every + &test
}

/// Does `work` with one seed after the other: as many as `SCRIPTS` says, or `count`; with
/// `BUDGET_SECONDS`, for so long, or until as many crash points and nested ones as `CRASHES` and `NESTED`
/// say were met. On `THREADS` threads.
pub(crate) fn each_seed(count: u64, work: impl Fn(u64) -> Tally + Sync) -> Tally {
    let base = base_seed();
    let count = variable("SCRIPTS").unwrap_or(count);
    let seconds = budget();
    let goals = (variable("CRASHES"), variable("NESTED"));
    let started = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let all = Mutex::new((Tally::default(), started));
    let enough = |nth: u64| {
        let Some(seconds) = seconds else { return nth >= count };
        let done = all.lock().0;
        let met = |goal: Option<u64>, figure: u64| goal.is_some_and(|goal| figure >= goal);
        let goals_met = met(goals.0, done.points) && goals.1.is_none_or(|it| done.nested >= it);
        started.elapsed() >= seconds || goals_met
    };
    let encrypted = is_encrypted();
    let run = || {
        encrypt(encrypted);
        loop {
            let nth = next.fetch_add(1, Relaxed);
            if enough(nth) || failed.load(Relaxed) {
                return;
            }
            let done = Failing(&failed);
            let tally = work(base.wrapping_add(nth));
            std::mem::forget(done);
            let mut all = all.lock();
            all.0 += tally;
            if seconds.is_some() && all.1.elapsed() >= PROGRESS {
                all.1 = Instant::now();
                println!("so far: {}", all.0);
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        for _ in 1..variable("THREADS").unwrap_or(cores) {
            // With the test's name, which a replay needs.
            let thread = std::thread::Builder::new();
            let name = std::thread::current().name().unwrap_or("main").to_owned();
            thread.name(name).spawn_scoped(scope, run).expect("a thread");
        }
        run();
    });
    let all = all.into_inner().0;
    println!("figures: {all}");
    all
}

/// Tells the other threads when one fails.
struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
