//! Runs measurements, each a process of its own, one after another, and keeps what they tell.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::jobs::Figure;
use crate::machine;
use crate::results::{Results, Row, Source};
use crate::scale::Scale;
use crate::work::{sure, there};

/// A run of many measurements.
pub(crate) struct Run {
    pub(crate) scale: Scale,
    pub(crate) results: Results,
    begun: Instant,
    commit: String,
    machine: String,
    /// By peer: the version of the server it starts, if it starts one.
    servers: BTreeMap<String, String>,
    /// The row whose time it is.
    current: String,
    /// What failed, to be said at the end.
    failed: Vec<String>,
    /// Whether the time was over before all was measured.
    broken_off: bool,
}

impl Run {
    pub(crate) fn new(scale: Scale, results: &Path) -> Self {
        sure(std::fs::create_dir_all(&scale.directory));
        if let Some(directory) = results.parent() {
            sure(std::fs::create_dir_all(directory));
        }
        Self {
            scale,
            results: Results::load(results),
            begun: Instant::now(),
            commit: machine::commit(),
            machine: machine::named(),
            servers: BTreeMap::new(),
            current: String::new(),
            failed: Vec::new(),
            broken_off: false,
        }
    }

    /// Says on standard error what is being done.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("{:5} s  {what}", self.begun.elapsed().as_secs());
    }

    /// Whether there is time to begin something.
    pub(crate) fn has_time(&mut self) -> bool {
        let has = self.begun.elapsed() < self.scale.budget;
        self.broken_off |= !has;
        has
    }

    /// Begins a row: forgets what it has, unless a run goes on that measures it alike. Where only some
    /// peers are wanted, what others have of another commit stays, and is told apart.
    pub(crate) fn row(&mut self, name: &str, scale: &str) {
        let row = Row {
            commit: self.commit.clone(),
            machine: self.machine.clone(),
            quick: self.scale.quick,
            scale: scale.to_owned(),
            seconds: 0.0,
        };
        let old = self.results.rows.get(name).cloned();
        let goes_on = old.as_ref().is_some_and(|old| old.is_like(&row));
        if !self.scale.resume || !goes_on {
            match old.filter(|old| row.is_comparable(old)) {
                Some(old) if self.scale.peers.is_some() => {
                    self.results.date(name, &old.commit);
                    let scale = &self.scale;
                    self.results.forget_of(name, |peer| scale.wants_peer(peer));
                }
                _ => self.results.forget(name),
            }
            self.results.rows.insert(name.to_owned(), row);
        }
        name.clone_into(&mut self.current);
    }

    /// A directory of a peer's own. What is in it, stays.
    pub(crate) fn directory(&self, name: &str, peer: &str) -> PathBuf {
        let directory = self.scale.directory.join(format!("{name}-{peer}"));
        sure(std::fs::create_dir_all(&directory));
        directory
    }

    /// Removes a directory and what is in it.
    pub(crate) fn remove(&self, name: &str, peer: &str) {
        let directory = self.scale.directory.join(format!("{name}-{peer}"));
        // What was never made need not go.
        let _ = std::fs::remove_dir_all(directory);
    }

    /// Has `peer` fill a directory of its own as `args` say, unless it has been done. Whether it is
    /// filled.
    pub(crate) fn filled(&mut self, name: &str, peer: &str, args: &Args) -> bool {
        let marker = self.scale.directory.join(format!("{name}-{peer}.filled"));
        let how = format!("{} {}", self.commit, args.words().collect::<Vec<_>>().join(" "));
        if std::fs::read_to_string(&marker).is_ok_and(|was| was == how) {
            return true;
        }
        if !self.has_time() {
            return false;
        }
        // A marker of what is about to be gone says nothing true.
        let _ = std::fs::remove_file(&marker);
        self.remove(name, peer);
        self.say(&format!("{name}: {peer} is filled"));
        let args = args.clone().with("dir", self.directory(name, peer).display());
        let filled = self.child("fill", peer, &args).is_some();
        if filled {
            sure(std::fs::write(marker, how));
            machine::at_rest(&self.scale.directory);
        }
        filled
    }

    /// Removes what [`filled`](Self::filled) made.
    pub(crate) fn emptied(&self, name: &str, peer: &str) {
        let marker = self.scale.directory.join(format!("{name}-{peer}.filled"));
        // It may never have been filled.
        let _ = std::fs::remove_file(marker);
        self.remove(name, peer);
    }

    /// Lets each of `peers` measure in turn, the first of a round the last of the next and every other
    /// round backwards, so that nobody always comes after the same one, until each has `rounds` samples of what begins with `prefix`. Whether all have: one that failed is left
    /// out of the rounds that follow.
    pub(crate) fn turns(
        &mut self,
        prefix: &str,
        peers: &[&'static str],
        rounds: usize,
        mut measure: impl FnMut(&mut Self, &'static str, usize) -> Option<Vec<Figure>>,
    ) -> bool {
        let mut out: Vec<&str> = Vec::new();
        for round in 0..rounds {
            let mut order = peers.to_vec();
            let first = round % order.len().max(1);
            order.rotate_left(first);
            if round % 2 == 1 {
                order.reverse();
            }
            for peer in order {
                if self.results.samples(prefix, peer) > round || out.contains(&peer) {
                    continue;
                }
                if !self.has_time() {
                    return false;
                }
                self.say(&format!("{prefix}: {peer}, {} of {rounds}", round + 1));
                if let Some(figures) = measure(self, peer, round) {
                    for figure in figures {
                        self.add(&figure.metric, peer, figure.value);
                    }
                } else {
                    out.push(peer);
                }
                self.results.save();
            }
        }
        out.is_empty()
    }

    /// Keeps a sample, with what it is of.
    pub(crate) fn add(&mut self, metric: &str, peer: &str, value: f64) {
        let server =
            self.servers.entry(peer.to_owned()).or_insert_with(|| crate::peers::version(peer));
        let source = Source { commit: self.commit.clone(), server: server.clone() };
        self.results.add(metric, peer, value, &source);
    }

    /// Adds to the time that the row has taken.
    fn count(&mut self, begun: Instant) {
        if let Some(row) = self.results.rows.get_mut(&self.current) {
            row.seconds += begun.elapsed().as_secs_f64();
        }
    }

    fn start(job: &str, peer: &str, args: &Args) -> (Child, BufReader<ChildStdout>) {
        let args = args.clone().with("peer", peer);
        let mut command = Command::new(sure(std::env::current_exe()));
        command.arg("child").arg(job).args(args.words());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = sure(command.spawn());
        let output = there(child.stdout.take(), "it has no standard output");
        (child, BufReader::new(output))
    }

    /// What a process tells, or nothing when it failed.
    pub(crate) fn child(&mut self, job: &str, peer: &str, args: &Args) -> Option<Vec<Figure>> {
        let begun = Instant::now();
        let (mut child, output) = Self::start(job, peer, args);
        let figures = output.lines().map_while(Result::ok);
        let figures = figures.map(|line| sure(serde_json::from_str(&line))).collect();
        let ended = sure(child.wait());
        self.count(begun);
        if ended.success() {
            return Some(figures);
        }
        let words: Vec<String> = args.words().collect();
        self.failed.push(format!("{job} peer={peer} {}", words.join(" ")));
        None
    }

    /// Starts a process, lets it work for `time` once it says that it is ready, and kills it.
    pub(crate) fn killed(&mut self, job: &str, peer: &str, args: &Args, time: Duration) -> bool {
        let begun = Instant::now();
        let (mut child, output) = Self::start(job, peer, args);
        let is_ready = |line: String| {
            serde_json::from_str::<Figure>(&line).is_ok_and(|figure| figure.metric == "ready")
        };
        let ready = output.lines().map_while(Result::ok).any(is_ready);
        if ready {
            std::thread::sleep(time);
        } else {
            self.failed.push(format!("{job} peer={peer}: it was never ready"));
        }
        sure(child.kill());
        sure(child.wait());
        self.count(begun);
        ready
    }

    /// Ends the run; whether everything was measured.
    pub(crate) fn end(self) -> bool {
        self.results.save();
        for what in &self.failed {
            eprintln!("failed: {what}");
        }
        if self.broken_off {
            eprintln!("the time was over before all was measured; --resume goes on");
        }
        self.say("done");
        self.failed.is_empty() && !self.broken_off
    }
}
