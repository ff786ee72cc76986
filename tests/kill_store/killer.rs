//! Kills processes, one after the other on one store, and has the oracle hear what each said.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fastrand::Rng;

use crate::facts::WORKERS;
use crate::oracle::{Oracle, Tally};
use crate::process::{Planted, Task, VARIABLE};
use crate::weather::{Place, Trace, Weather};
use crate::word::Word;

/// Longer than anything takes on a busy machine. Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many words are shown of those before the one that was wrong.
const SHOWN: usize = 30;

/// When a process is killed: so many words after this one, and then so much later.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Opening,
    /// While it looks at what is there.
    Opened,
    Working,
    Closing,
}

/// How often processes were killed, and what was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kills {
    pub(crate) stores: u64,
    pub(crate) opening: u64,
    pub(crate) looking: u64,
    pub(crate) working: u64,
    pub(crate) closing: u64,
    /// Within a system call.
    pub(crate) calling: u64,
    /// Those that ended by themselves, and had met a fault.
    pub(crate) failing: u64,
    /// Those that went on once there was room again.
    pub(crate) relieved: u64,
    pub(crate) heard: Tally,
}

impl Kills {
    pub(crate) fn all(&self) -> u64 {
        self.opening + self.looking + self.working + self.closing + self.calling
    }

    /// The ends of processes that count: not those that nothing befell.
    pub(crate) fn ends(&self) -> u64 {
        self.all() + self.failing + self.relieved
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.stores += other.stores;
        self.opening += other.opening;
        self.looking += other.looking;
        self.working += other.working;
        self.closing += other.closing;
        self.calling += other.calling;
        self.failing += other.failing;
        self.relieved += other.relieved;
        self.heard.grants += other.heard.grants;
        self.heard.results += other.heard.results;
        self.heard.replays += other.heard.replays;
        self.heard.unheard += other.heard.unheard;
        self.heard.expired += other.heard.expired;
        self.heard.failed += other.heard.failed;
        self.heard.refused += other.heard.refused;
        self.heard.small += other.heard.small;
    }
}

/// A process.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<UnixStream>,
}

impl Running {
    /// The test named `test` of this program, in a process of its own, which waits for its task.
    pub(crate) fn start(test: &str, planted: Planted) -> Result<Self, String> {
        Self::traced(test, planted, None)
    }

    /// The same, with something that befalls its system calls.
    fn traced(test: &str, planted: Planted, trace: Option<&Trace>) -> Result<Self, String> {
        let program = std::env::current_exe().unwrap();
        let mut command =
            trace.map_or_else(|| Command::new(&program), |trace| trace.command(&program));
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = command
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(VARIABLE, planted.name())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Self { child, lines: BufReader::new(ours) };
        match running.word()? {
            Some(Word::Ready) => Ok(running),
            other => Err(format!("it is not ready, but {other:?}")),
        }
    }

    /// Tells it `line`, if it is still there.
    pub(crate) fn tell(&mut self, line: &str) {
        let _ = self.lines.get_mut().write_all(line.as_bytes());
    }

    /// Nothing more will come.
    fn hush(&self) {
        // It may be gone, which is no fault.
        let _ = self.lines.get_ref().shutdown(Shutdown::Write);
    }

    /// The next word; `None` when the process is gone.
    pub(crate) fn word(&mut self) -> Result<Option<Word>, String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => line.trim_end().parse().map(Some).map_err(|line| format!("it said {line:?}")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(format!("it says nothing any more: {error}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store, and what was heard of it.
struct Trial<'a> {
    test: &'a str,
    planted: Planted,
    weather: Weather,
    place: Place,
    buffered: bool,
    rng: Rng,
    oracle: Oracle,
    /// The last that was said.
    said: VecDeque<Word>,
    number: u64,
    key: u64,
    kills: Kills,
}

/// Ends processes on one store, `ends` times, as `seed` and the weather have it; `test` is the test
/// that a process is made of. Says what was wrong.
pub(crate) fn kill(
    test: &str,
    planted: Planted,
    weather: Weather,
    seed: u64,
    ends: u64,
) -> Result<Kills, String> {
    let mut rng = Rng::with_seed(seed);
    let mut trial = Trial {
        test,
        planted,
        weather,
        place: Place::of(weather),
        buffered: rng.bool(),
        rng,
        oracle: Oracle::default(),
        said: VecDeque::new(),
        number: 1,
        key: 0,
        kills: Kills { stores: 1, ..Kills::default() },
    };
    let tried = trial.go(ends).map(|()| trial.kills);
    tried.map_err(|wrong| {
        let said: Vec<String> = trial.said.iter().map(Word::to_string).collect();
        let kind = if trial.buffered { "buffered" } else { "synced" };
        format!(
            "{wrong}\n  store of seed {seed}, {kind}, {} ends; heard last:\n    {}",
            trial.kills.ends(),
            said.join("\n    ")
        )
    })
}

impl Trial<'_> {
    fn go(&mut self, ends: u64) -> Result<(), String> {
        while self.kills.ends() < ends {
            let moment = match self.rng.u8(..20) {
                0..5 => Moment::Opening,
                5..7 => Moment::Opened,
                7..18 => Moment::Working,
                _ => Moment::Closing,
            };
            let foul = self.weather != Weather::Fair;
            let weather = if foul && self.rng.u8(..4) > 0 { self.weather } else { Weather::Fair };
            // Some are left to come to their own end.
            let own = foul && self.rng.bool();
            self.life((!own).then_some(moment), weather)?;
        }
        // Twice, so that the last looks at what an orderly end leaves.
        for _ in 0..2 {
            let all: Vec<u64> = self.oracle.keys().collect();
            self.oracle.touched(all.into_iter());
            self.life(None, Weather::Fair)?;
        }
        let verified = onceward::verify(self.data()).map_err(|error| error.to_string())?;
        if verified.is_sound() { Ok(()) } else { Err(format!("{verified:?}")) }
    }

    fn data(&self) -> std::path::PathBuf {
        self.place.path().join("data")
    }

    /// One process, killed at `moment` or never, in such weather.
    fn life(&mut self, moment: Option<Moment>, weather: Weather) -> Result<(), String> {
        let said = self.place.path().join("trace");
        let trace = (weather == Weather::Calls).then(|| Trace::draw(&mut self.rng, said));
        let filling = self.room(weather);
        let rng = &mut self.rng;
        let acts = match moment {
            Some(Moment::Working) => 2_000,
            _ if weather != Weather::Fair => rng.u64(1..300),
            _ => rng.u64(1..20),
        };
        // Early moments are as frequent as all later ones.
        let words = if rng.bool() { rng.u64(..12) } else { rng.u64(..300) };
        let soon = rng.bool();
        let (words, later) = match moment {
            Some(Moment::Opening) => (0, rng.u64(..if soon { 2_000 } else { 12_000 })),
            Some(Moment::Opened) => (rng.u64(..40), rng.u64(..100)),
            Some(Moment::Working) => (words, rng.u64(..400)),
            Some(Moment::Closing) => (0, rng.u64(..4_000)),
            None => (0, 0),
        };
        // Some of the others, too: what was right once is to stay so.
        let known: Vec<u64> = self.oracle.keys().collect();
        let mut look_at: Vec<u64> = self.oracle.unseen().collect();
        look_at.extend((0..known.len().min(20)).map(|_| known[rng.usize(..known.len())]));
        rng.shuffle(&mut look_at);
        let task = Task {
            seed: rng.u64(..),
            directory: self.data().to_str().unwrap().to_owned(),
            buffered: self.buffered,
            now_ms: self.oracle.now_ms(),
            number: self.number,
            key: self.key,
            acts,
            weather,
            look_at,
        };
        let traced = || trace.as_ref().map_or_else(String::new, |trace| format!(" under {trace}"));
        let mut running = Running::traced(self.test, self.planted, trace.as_ref())
            .map_err(|wrong| wrong + &traced())?;
        running.tell(&task.line());
        // Of a full disk it asks for room.
        let asks = weather == Weather::Full;
        if !asks {
            running.hush();
        }
        let (mut after, mut working, mut closed) = (None, false, false);
        let (mut killed, mut fault, mut relieved) = (false, false, false);
        let mut acted = 0;
        while let Some(word) = running.word().map_err(|wrong| wrong + &traced())? {
            working |= word == Word::Working;
            closed |= word == Word::Closed;
            fault |= matches!(word, Word::Unopened(_) | Word::Unclosed(_));
            relieved |= word == Word::Crowded;
            acted += u64::from(working);
            if filling == Some(acted) {
                self.place.leave(0);
            }
            if asks && matches!(word, Word::Crowded | Word::Unopened(_)) {
                self.place.leave(u64::MAX);
                running.tell("\n");
                running.hush();
            }
            let due = matches!(
                (moment, &word),
                (Some(Moment::Opening), Word::Opening)
                    | (Some(Moment::Opened), Word::Opened)
                    | (Some(Moment::Working), Word::Working)
                    | (Some(Moment::Closing), Word::Closing)
            );
            if due {
                after = Some(words);
            }
            self.hear(word).map_err(|wrong| wrong + &traced())?;
            match after {
                Some(0) if !killed => {
                    std::thread::sleep(Duration::from_micros(later));
                    running.child.kill().unwrap();
                    killed = true;
                }
                Some(more) => after = Some(more.saturating_sub(1)),
                None => {}
            }
        }
        self.oracle.ended();
        if working {
            // Of keys that were new, some may have been claimed by who could not say so.
            let first = task.key.saturating_sub(6);
            self.key += WORKERS + 1;
            self.oracle.touched(first..self.key);
        }
        let status = running.child.wait().unwrap();
        match status.signal() {
            None if closed && status.success() => {
                if let Some(call) = trace.as_ref().and_then(Trace::failed_commit) {
                    return Err(format!("nobody was told of a call that failed: {call}"));
                }
                self.kills.relieved += u64::from(relieved);
            }
            None if fault && status.success() => self.kills.failing += 1,
            Some(9) if killed => match moment {
                Some(Moment::Opening) => self.kills.opening += 1,
                Some(Moment::Opened) => self.kills.looking += 1,
                Some(Moment::Working) => self.kills.working += 1,
                Some(Moment::Closing) | None => self.kills.closing += 1,
            },
            Some(9) if trace.as_ref().is_some_and(|trace| trace.kills) => self.kills.calling += 1,
            _ => return Err(format!("the process ended by itself: {status}{}", traced())),
        }
        self.kills.heard = self.oracle.tally();
        Ok(())
    }

    /// Makes a small disk smaller, before a process starts; and after so many words it is full.
    fn room(&mut self, weather: Weather) -> Option<u64> {
        if weather != Weather::Full {
            self.place.leave(u64::MAX);
            return None;
        }
        let (room, filling) = match self.rng.u8(..4) {
            0 => (self.rng.u64(..64 << 10), None),
            1 => (self.rng.u64(..1 << 20), None),
            _ => (2 << 20, Some(self.rng.u64(1..300))),
        };
        self.place.leave(room);
        filling
    }

    fn hear(&mut self, word: Word) -> Result<(), String> {
        match word {
            Word::Granted { key, number, .. } | Word::Resolving { key, number, .. } => {
                self.number = self.number.max(number + 1);
                self.key = self.key.max(key + 1);
            }
            Word::Saw { key, .. } => self.key = self.key.max(key + 1),
            _ => {}
        }
        let heard = self.oracle.hear(&word);
        if self.said.len() == SHOWN {
            self.said.pop_front();
        }
        self.said.push_back(word);
        heard
    }
}
