//! What the sample API's work leaves behind: a count of executions that outlives the process, jobs
//! that go on by themselves, and a gate that holds work back.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// How often work was done: one line a time in a file, written before the work, so that a process
/// that is killed has still told of it.
pub(crate) struct Executions {
    file: Mutex<File>,
    count: AtomicU64,
}

impl Executions {
    /// Goes on with the file at `path`, or makes it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let lines = fs::read_to_string(path)?.lines().count();
        Ok(Self { file: Mutex::new(file), count: AtomicU64::new(lines as u64) })
    }

    /// Counts one execution of `what`.
    pub(crate) fn add(&self, what: &str) -> io::Result<()> {
        let mut file = self.file.lock();
        file.write_all(format!("{what}\n").as_bytes())?;
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// How many there were, since the file was made.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

/// Jobs, by their id. They live in memory: a job that a restart forgot is replayed as it was stored.
pub(crate) struct Jobs {
    jobs: Mutex<HashMap<String, Job>>,
    stage_ms: AtomicU64,
}

#[derive(Clone, Copy)]
struct Job {
    begun: Instant,
    stage: Duration,
    fails: bool,
}

impl Jobs {
    /// No jobs yet; those to come spend `stage` queued and as long running.
    pub(crate) fn new(stage: Duration) -> Self {
        let jobs = Self { jobs: Mutex::default(), stage_ms: AtomicU64::new(0) };
        jobs.set_stage(stage);
        jobs
    }

    /// Changes how long the jobs to come spend queued, and running.
    pub(crate) fn set_stage(&self, stage: Duration) {
        let ms = u64::try_from(stage.as_millis()).unwrap_or(u64::MAX);
        self.stage_ms.store(ms, Ordering::Relaxed);
    }

    /// Begins a job, which `fails` in the end or succeeds.
    pub(crate) fn begin(&self, id: String, fails: bool) {
        let stage = Duration::from_millis(self.stage_ms.load(Ordering::Relaxed));
        self.jobs.lock().insert(id, Job { begun: Instant::now(), stage, fails });
    }

    /// The current status of a job.
    pub(crate) fn status(&self, id: &str) -> Option<&'static str> {
        let job = *self.jobs.lock().get(id)?;
        Some(status(job, job.begun.elapsed()))
    }
}

fn status(job: Job, age: Duration) -> &'static str {
    if age < job.stage {
        "queued"
    } else if age < job.stage.saturating_mul(2) {
        "running"
    } else if job.fails {
        "failed"
    } else {
        "succeeded"
    }
}

/// Holds work back until it is opened; it closes again at once.
pub(crate) struct Gate {
    openings: watch::Sender<u64>,
    held: AtomicU64,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self { openings: watch::Sender::new(0), held: AtomicU64::new(0) }
    }

    /// Waits for the next opening.
    pub(crate) async fn pass(&self) {
        // Before it is counted: who sees it held can let it go.
        let mut openings = self.openings.subscribe();
        let _held = Held::new(&self.held);
        // The sender lives as long as the gate.
        let _ = openings.changed().await;
    }

    /// Lets everything go that is held now.
    pub(crate) fn open(&self) {
        self.openings.send_modify(|openings| *openings += 1);
    }

    /// How much is held.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }
}

/// Something held: counted until it goes on, or is given up.
struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_from_queued_to_its_end() {
        let stage = Duration::from_secs(1);
        let job = |fails| Job { begun: Instant::now(), stage, fails };
        let at = |fails, ms| status(job(fails), Duration::from_millis(ms));
        assert_eq!(
            [0, 999, 1_000, 1_999, 2_000].map(|ms| at(false, ms)),
            ["queued", "queued", "running", "running", "succeeded"]
        );
        assert_eq!(at(true, 2_000), "failed");
    }

    #[test]
    fn executions_are_counted_across_openings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executions.log");
        let executions = Executions::open(&path).unwrap();
        executions.add("POST /a").unwrap();
        executions.add("POST /b").unwrap();
        assert_eq!(executions.count(), 2);
        drop(executions);
        assert_eq!(Executions::open(&path).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), "POST /a\nPOST /b\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_lets_go_of_what_it_holds_and_no_more() {
        let gate = std::sync::Arc::new(Gate::new());
        gate.open();
        let pass = {
            let gate = std::sync::Arc::clone(&gate);
            tokio::spawn(async move { gate.pass().await })
        };
        while gate.held() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!pass.is_finished());
        gate.open();
        tokio::time::timeout(Duration::from_secs(10), pass).await.unwrap().unwrap();
        assert_eq!(gate.held(), 0);
    }
}
