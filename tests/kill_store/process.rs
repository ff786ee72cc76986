//! The process that is killed: it opens a store, looks at what it is told to look at, and has
//! several threads claim, complete, sweep and checkpoint for as long as it may, saying all it does.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use fastrand::Rng;
use onceward::{
    Bug, Claim, ClaimOptions, Clock, Durability, Error, ErrorKind, Fingerprint, Key, ManualClock,
    Options, Reading, Record, Resolution, Resolved, State, Store, Ticket, TicketError,
};

use crate::facts::{self, Content, End, TTL, WORKERS, end, ttl};
use crate::weather::Weather;
use crate::word::{Seen, Word};

/// The variable that makes a test process this one; it says what is planted.
pub(crate) const VARIABLE: &str = "ONCEWARD_TEST_KILLED";

/// What can be wrong with a process, so that what looks for it can be put on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    Nothing,
    /// A completion is acknowledged before it is begun.
    AcknowledgedFirst,
    /// A result that there was no room for is acknowledged as if it were there.
    NoRoomUntold,
    /// A bug of the engine's.
    Bug(Bug),
}

impl Planted {
    /// All that is looked for, and the weather in which it does harm.
    const ALL: [(Self, Weather); 8] = [
        (Self::AcknowledgedFirst, Weather::Fair),
        (Self::Bug(Bug::ClaimNotLogged), Weather::Fair),
        (Self::Bug(Bug::InDoubtGranted), Weather::Fair),
        (Self::Bug(Bug::SecondsForMilliseconds), Weather::Fair),
        (Self::Bug(Bug::RenewalLost), Weather::Fair),
        (Self::Bug(Bug::WentOnAfterEio), Weather::Calls),
        (Self::Bug(Bug::PublishedBeforeSync), Weather::Calls),
        (Self::NoRoomUntold, Weather::Full),
    ];

    /// What is looked for in such weather.
    pub(crate) fn all(weather: Weather) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |planted| planted.1 == weather).map(|planted| planted.0)
    }

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    fn named(name: &str) -> Self {
        let all = Self::ALL.into_iter().map(|planted| planted.0);
        all.into_iter().find(|planted| planted.name() == name).unwrap_or(Self::Nothing)
    }

    fn plant(self) {
        if let Self::Bug(bug) = self {
            onceward::plant(Some(bug));
        }
    }
}

/// A clock that plants a bug in every thread that looks at it, those of the store's own among them.
struct Planting(ManualClock, Planted);

impl Clock for Planting {
    fn read(&self) -> Reading {
        self.1.plant();
        self.0.read()
    }
}

/// What one process is told, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) seed: u64,
    pub(crate) directory: String,
    pub(crate) buffered: bool,
    /// Where the clock stands.
    pub(crate) now_ms: u64,
    /// Grants and resolutions are numbered from here.
    pub(crate) number: u64,
    /// Keys are new from here.
    pub(crate) key: u64,
    /// How much each worker does before it stops; with 0 the store is only held, until the next
    /// line.
    pub(crate) acts: u64,
    /// What may befall it.
    pub(crate) weather: Weather,
    pub(crate) look_at: Vec<u64>,
}

impl Task {
    pub(crate) fn line(&self) -> String {
        let Self { seed, directory, buffered, now_ms, number, key, acts, weather, look_at } = self;
        let numbers = [*seed, u64::from(*buffered), *now_ms, *number, *key, *acts, *weather as u64];
        let numbers: Vec<String> = numbers.iter().chain(look_at).map(u64::to_string).collect();
        // Last, for it may have spaces.
        format!("{} in {directory}\n", numbers.join(" "))
    }

    pub(crate) fn read(line: &str) -> Option<Self> {
        let (numbers, directory) = line.trim_end_matches('\n').split_once(" in ")?;
        let numbers: Vec<u64> = numbers.split(' ').map_while(|word| word.parse().ok()).collect();
        let [seed, buffered, now_ms, number, key, acts, weather, look_at @ ..] = &numbers[..]
        else {
            return None;
        };
        Some(Self {
            seed: *seed,
            directory: directory.to_owned(),
            buffered: *buffered == 1,
            now_ms: *now_ms,
            number: *number,
            key: *key,
            acts: *acts,
            weather: *Weather::ALL.get(*weather as usize)?,
            look_at: look_at.to_vec(),
        })
    }
}

/// The octets of key number `key`, in one of a few scopes.
fn named<R>(key: u64, with: impl FnOnce(Key<'_>) -> R) -> R {
    with(Key::new(&format!("acct_{}", key % 5), &format!("key-{key}")).unwrap())
}

fn print(key: u64) -> Fingerprint {
    Fingerprint::of(format!("POST /{key}"))
}

/// Longer than it takes to find that there is room again.
const PATIENCE: Duration = Duration::from_secs(30);

/// One life of a store, as long as it lasts.
struct Life {
    store: Store,
    clock: ManualClock,
    /// How far the clock has been set, at the least.
    ms: AtomicU64,
    setting: Mutex<()>,
    number: AtomicU64,
    key: AtomicU64,
    planted: Planted,
    weather: Weather,
    /// Somebody was told that writes have ended.
    ended: AtomicBool,
}

static MOUTH: OnceLock<UnixStream> = OnceLock::new();

/// Says it in one write: whoever is killed has said it, or not.
fn say(word: &Word) {
    if let Some(mut mouth) = MOUTH.get() {
        // Nobody listens any more, and the end is near.
        let _ = mouth.write_all(format!("{word}\n").as_bytes());
    }
}

/// Whether this process is one to be killed; if so, it has done all it was told when this returns.
pub(crate) fn lived() -> bool {
    let Ok(planted) = std::env::var(VARIABLE) else { return false };
    let pipe = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut ear = BufReader::new(pipe.try_clone().unwrap());
    MOUTH.set(pipe).unwrap();
    std::panic::set_hook(Box::new(|panic| say(&Word::Fault(panic.to_string()))));
    say(&Word::Ready);
    while let Some(task) = Task::read(&line(&mut ear)) {
        if let Err(error) = live(&task, Planted::named(&planted), &mut ear) {
            say(&Word::Fault(format!("{error:?}")));
        }
    }
    true
}

/// The next line; empty when there is none.
fn line(ear: &mut impl BufRead) -> String {
    let mut line = String::new();
    ear.read_line(&mut line).unwrap();
    line
}

fn live(task: &Task, planted: Planted, ear: &mut impl BufRead) -> Result<(), Error> {
    let clock = ManualClock::new(1_750_000_000_000);
    clock.advance(Duration::from_millis(task.now_ms));
    let durability = if task.buffered { Durability::Buffered } else { Durability::Sync };
    let options = Options::new().ttl(TTL).durability(durability).segment_size(64 << 10);
    say(&Word::Opening);
    let options = options.max_payload(1 << 20).clock(Planting(clock.clone(), planted));
    let store = match options.open(&task.directory) {
        Err(error) if is_excused(task.weather, &error) => {
            say(&Word::Unopened(format!("{error:?}")));
            return Ok(());
        }
        opened => opened?,
    };
    say(&Word::Opened);
    if task.acts == 0 {
        line(ear);
        store.close()?;
        say(&Word::Closed);
        return Ok(());
    }
    for key in &task.look_at {
        match look(&store, *key) {
            // A record that is in the tree alone is read from there.
            Err(error) if is_excused(task.weather, &error) => {}
            seen => say(&Word::Saw { key: *key, seen: seen? }),
        }
    }
    let life = Life {
        store,
        clock,
        ms: task.now_ms.into(),
        setting: Mutex::new(()),
        number: task.number.into(),
        key: task.key.into(),
        planted,
        weather: task.weather,
        ended: AtomicBool::new(false),
    };
    say(&Word::Working);
    let mut rng = Rng::with_seed(task.seed);
    let worked: Vec<Result<Vec<Ticket>, Error>> = std::thread::scope(|scope| {
        let worker = |nth: u64| {
            let (life, mut rng) = (&life, rng.fork());
            scope.spawn(move || {
                life.planted.plant();
                life.work(nth, task.acts, &mut rng)
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let held: Vec<Vec<Ticket>> = worked.into_iter().collect::<Result<_, _>>()?;
    if task.weather == Weather::Full {
        say(&Word::Crowded);
        line(ear);
        life.go_on()?;
    }
    say(&Word::Closing);
    match life.store.close() {
        Err(error) if is_excused(task.weather, &error) => {
            say(&Word::Unclosed(format!("{error:?}")));
        }
        closed => {
            closed?;
            say(&Word::Closed);
        }
    }
    drop(held);
    Ok(())
}

/// Whether the disk may have been the cause.
fn is_excused(weather: Weather, error: &Error) -> bool {
    match weather {
        Weather::Fair => false,
        Weather::Calls => {
            matches!(error.kind(), ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned)
        }
        // Nothing that lasts.
        Weather::Full => matches!(error.kind(), ErrorKind::Io | ErrorKind::Full),
    }
}

fn look(store: &Store, key: u64) -> Result<Seen, Error> {
    let record = named(key, |key| store.get(key))?;
    record.map_or(Ok(Seen::Nothing), |record| seen(&record))
}

fn seen(record: &Record) -> Result<Seen, Error> {
    Ok(match record.state() {
        State::InFlight => Seen::InFlight,
        State::InDoubt => Seen::InDoubt,
        State::Complete => Seen::Result(match record.note() {
            Some(note) if record.is_tombstone() => Content::of(true, note),
            _ => Content::of(false, &record.payload()?.unwrap_or_default()),
        }),
    })
}

impl Life {
    /// Does `acts` things, and gives back the tickets it still holds.
    fn work(&self, nth: u64, acts: u64, rng: &mut Rng) -> Result<Vec<Ticket>, Error> {
        let mut held = Vec::new();
        for _ in 0..acts {
            match rng.u8(..100) {
                0..3 => drop(self.kept(self.store.sweep())?),
                3..5 => drop(self.kept(self.store.checkpoint())?),
                5..8 => self.set_clock(rng),
                8..16 => {
                    let key = self.any_key(rng);
                    if let Some(seen) = self.kept(look(&self.store, key))? {
                        say(&Word::Saw { key, seen });
                    }
                }
                _ => {
                    let key = self.any_key(rng);
                    self.claim(nth, key, rng, &mut held)?;
                }
            }
        }
        Ok(held)
    }

    /// A new key, one that others are at, or any that ever was.
    fn any_key(&self, rng: &mut Rng) -> u64 {
        match rng.u8(..10) {
            0..5 => self.key.fetch_add(1, Ordering::SeqCst),
            5..8 => self.key.load(Ordering::SeqCst).saturating_sub(rng.u64(..6)),
            _ => rng.u64(..=self.key.load(Ordering::SeqCst)),
        }
    }

    fn set_clock(&self, rng: &mut Rng) {
        let _one = self.setting.lock().unwrap();
        let by = Duration::from_millis(rng.u64(..4_000));
        let ms = self.ms.load(Ordering::SeqCst) + by.as_millis() as u64;
        say(&Word::Time { ms });
        self.clock.advance(by);
        self.ms.store(ms, Ordering::SeqCst);
    }

    fn now_ms(&self) -> u64 {
        self.ms.load(Ordering::SeqCst)
    }

    fn claim(
        &self,
        nth: u64,
        key: u64,
        rng: &mut Rng,
        held: &mut Vec<Ticket>,
    ) -> Result<(), Error> {
        let (ms, ended) = (self.now_ms(), self.ended.load(Ordering::SeqCst));
        let options = ClaimOptions::new().ttl(ttl(key));
        let claimed = named(key, |name| self.store.blocking_claim_with(name, print(key), options));
        let Some(mut claim) = self.kept(claimed)? else {
            // Nothing was written for a claim that was begun later.
            let unknown = self.ended.load(Ordering::SeqCst) && !ended;
            say(&if unknown { Word::Unclaimed { key } } else { Word::Refused });
            return Ok(());
        };
        if rng.u8(..4) == 0
            && let Claim::InFlight(wait) = claim
        {
            let waited = wait.blocking_until(Instant::now() + Duration::from_millis(2));
            let Some(waited) = self.kept(waited)? else {
                say(&Word::Unclaimed { key });
                return Ok(());
            };
            claim = waited;
        }
        match claim {
            Claim::Granted(_) if ended => {
                say(&Word::Fault(format!("key {key} is granted after writes have ended")));
                Ok(())
            }
            Claim::Granted(ticket) => self.granted(key, ms, ticket, held),
            Claim::Replay(record) => {
                say(&Word::Saw { key, seen: seen(&record)? });
                Ok(())
            }
            Claim::InFlight(_) => {
                say(&Word::Saw { key, seen: Seen::InFlight });
                Ok(())
            }
            Claim::InDoubt(_) => {
                say(&Word::Saw { key, seen: Seen::InDoubt });
                // By one worker alone, so that no two resolutions of a key are told apart.
                if key % WORKERS == nth && rng.bool() { self.resolve(key, rng) } else { Ok(()) }
            }
            Claim::Mismatch(_) => {
                say(&Word::Fault(format!("key {key}: a mismatch")));
                Ok(())
            }
        }
    }

    fn granted(
        &self,
        key: u64,
        ms: u64,
        ticket: Ticket,
        held: &mut Vec<Ticket>,
    ) -> Result<(), Error> {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        say(&Word::Granted { key, number, ms });
        let (ms, ended) = (self.now_ms(), self.ended.load(Ordering::SeqCst));
        if self.planted == Planted::AcknowledgedFirst && Content::left_by(key, number).is_some() {
            say(&Word::Ended { key, number, ms });
        }
        let done = match end(key, number) {
            End::Payload => match ticket.blocking_complete(facts::payload(key, number)) {
                Err(error) if is_excused(self.weather, error.error()) => match error.into_parts() {
                    (_, Some(ticket)) => {
                        if self.planted != Planted::NoRoomUntold {
                            say(&Word::NoRoom { key, number, ms });
                        }
                        ticket.blocking_complete_without_payload(facts::note(number))
                    }
                    (error, None) => Err(TicketError::spent(error)),
                },
                done => done,
            },
            End::Tombstone => ticket.blocking_complete_without_payload(facts::note(number)),
            End::Release => ticket.blocking_release(),
            End::Drop => {
                drop(ticket);
                return Ok(());
            }
            End::Hold => {
                held.push(ticket);
                return Ok(());
            }
        };
        let done = match done.map_err(Error::from) {
            // There is always room for an end without a result.
            Err(error) if error.kind() != ErrorKind::Poisoned => Err(error),
            done => self.kept(done),
        };
        match done? {
            Some(()) if ended => {
                say(&Word::Fault(format!("key {key} has ended after writes have")));
            }
            Some(()) => say(&Word::Ended { key, number, ms }),
            None => say(&Word::Failed { key, number }),
        }
        Ok(())
    }

    /// What was done; `None` when it was not, for which there may be a cause.
    fn kept<T>(&self, done: Result<T, Error>) -> Result<Option<T>, Error> {
        match done {
            Err(error) if is_excused(self.weather, &error) => {
                if error.kind() == ErrorKind::Poisoned {
                    self.ended.store(true, Ordering::SeqCst);
                }
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// There is room again, and with no more ado the store takes new keys and their results, and
    /// puts them into its tree.
    fn go_on(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let patient = || begun.elapsed() < PATIENCE;
        loop {
            let (ms, key) = (self.now_ms(), self.key.fetch_add(1, Ordering::SeqCst));
            let options = ClaimOptions::new().ttl(ttl(key));
            let claim =
                named(key, |name| self.store.blocking_claim_with(name, print(key), options));
            match claim {
                Ok(Claim::Granted(ticket)) => {
                    self.granted(key, ms, ticket, &mut Vec::new())?;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Full && patient() => {}
                // Somebody had been there already.
                claim => drop(claim?),
            }
        }
        loop {
            match self.store.checkpoint() {
                Err(_) if patient() => {}
                done => return done,
            }
        }
    }

    fn resolve(&self, key: u64, rng: &mut Rng) -> Result<(), Error> {
        let (ms, result) = (self.now_ms(), rng.bool());
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        say(&Word::Resolving { key, number, ms, result });
        let resolution = if result {
            Resolution::Complete(facts::payload(key, number).into())
        } else {
            Resolution::Release
        };
        let resolved = named(key, |key| self.store.blocking_resolve(key, resolution));
        if self.kept(resolved)? == Some(Resolved::Done) {
            say(&Word::Resolved { key, number });
        }
        Ok(())
    }
}
