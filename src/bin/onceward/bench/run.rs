//! The measurements, one after another, each in slices that store and floor take in turn.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use onceward::Durability;
use tokio::runtime::Handle;

use super::disk::{self, Disk};
use super::keys::{self, Text};
use super::memory::{Depth, Memory};
use super::ours::Ours;
use super::place::Place;
use super::row::{Row, Side, Unit};
use super::{Progress, Stop};
use crate::Failure;

/// Slices of each figure, of which the median counts.
pub(super) const ROUNDS: u32 = 3;
/// Tasks that run cycles at the same time.
const TASKS: [u64; 4] = [1, 64, 256, 1_024];
/// Rows of looks: four, each with its floor.
const LOOKS: usize = 4;
/// Keys of one call that looks up many, and looks between two looks at the clock.
const MANY: usize = 64;
/// Keys that are looked up, over and over: more than the processor's caches hold records of.
const KEYS: u64 = 1 << 16;
/// Tasks that fill a store, and parts in which they do, so that the bar moves.
const FILLERS: u64 = 1_024;
const PARTS: u64 = 10;
/// Cycles a second that no figure needs more of: what bounds the disk that a run takes.
const CYCLES_PER_SECOND: u64 = 200_000;
/// Octets a cycle takes on disk: both frames, and its share of groups and of the tree.
const CYCLE_OCTETS: u64 = 1_024;
/// The most octets of written blocks under the floor's groups, which begin again at their end.
const WRITTEN: u64 = 256 << 20;
/// What a store takes whatever is in it, octets: segments made ahead, and the tree.
const STORE_OCTETS: u64 = 512 << 20;

/// Steps that the progress is told of.
pub(super) const STEPS: u64 = PARTS + ROUNDS as u64 * (LOOKS + TASKS.len() + 2) as u64;

/// How much is measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    records: u64,
    /// Of one slice.
    slice: Duration,
    /// Most cycles of one slice.
    cycles: u64,
}

impl Plan {
    /// Results there are, and seconds of all slices together.
    pub(super) fn new(records: u64, seconds: f64) -> Self {
        let slices = 2 * (TASKS.len() + LOOKS) as u32 * ROUNDS;
        let slice = Duration::from_secs_f64(seconds) / slices;
        let cycles = slice.as_micros() as u64 * CYCLES_PER_SECOND / 1_000_000;
        Self { records, slice, cycles: cycles.max(64) }
    }

    /// Octets that may come to stand on the disk.
    pub(super) fn octets(&self) -> u64 {
        let expiring = u64::from(ROUNDS) * self.expiring();
        (self.most() + expiring) * CYCLE_OCTETS + STORE_OCTETS + self.written()
    }

    /// Octets of written blocks: enough for a row's cycles, so that the disk is not asked for the
    /// same few blocks over and over, as no store asks it.
    fn written(&self) -> u64 {
        (self.cycles * u64::from(ROUNDS) * CYCLE_OCTETS).min(WRITTEN)
    }

    /// Keys there will be at most.
    fn most(&self) -> u64 {
        self.records + self.cycles * u64::from(ROUNDS) * TASKS.len() as u64
    }

    /// Results that expire at a time.
    fn expiring(&self) -> u64 {
        (self.records / 4).max(1)
    }
}

/// Measures everything.
pub(super) fn run(
    plan: &Plan,
    place: &Place,
    runtime: &Handle,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Vec<Row>, Failure> {
    let run = Run { plan, place, runtime, stop };
    run.fill(progress)?;
    let (open, ours) = run.opens(progress)?;
    let mut rows = run.looks(&ours, progress)?;
    rows.extend(run.cycles(ours, progress)?);
    rows.push(run.sweeps(progress)?);
    rows.push(open);
    Ok(rows)
}

/// Looks a key up.
type Look<'a> = dyn Fn(&Text) -> Result<bool, Failure> + 'a;
/// Looks keys up; whether all came out as they should.
type LookAll<'a> = dyn Fn(&[Text]) -> Result<bool, Failure> + 'a;

struct Run<'a> {
    plan: &'a Plan,
    place: &'a Place,
    runtime: &'a Handle,
    stop: &'a Stop,
}

impl Run<'_> {
    fn store(&self) -> PathBuf {
        self.place.join("store")
    }

    fn floor(&self) -> PathBuf {
        self.place.join("floor")
    }

    /// Makes the results that are looked up.
    fn fill(&self, progress: &mut Progress) -> Result<(), Failure> {
        let plan = self.plan;
        let mut ours = Ours::open(&self.store(), Durability::Buffered, 0, plan.most())?;
        for part in 1..=PARTS {
            progress.next("making results");
            let count = plan.records * part / PARTS - ours.next();
            ours.cycles(self.runtime, FILLERS, count, Duration::MAX, self.stop)?;
        }
        ours.checkpoint()?;
        ours.close()
    }

    /// Opens the store that was closed, until it grants its first key.
    fn opens(&self, progress: &mut Progress) -> Result<(Row, Ours), Failure> {
        let plan = self.plan;
        let mut row = Row::new("open, to the first grant", Unit::Time);
        let mut opened: Option<Ours> = None;
        for _ in 0..ROUNDS {
            progress.next(&row.name);
            self.stop.check()?;
            opened.take().map_or(Ok(()), Ours::close)?;
            row.floor.push(disk::begin(&self.floor())?.as_secs_f64());
            let begun = Instant::now();
            let ours = Ours::open(&self.store(), Durability::Sync, plan.records, plan.most())?;
            let ticket = ours.grant()?;
            row.ours.push(begun.elapsed().as_secs_f64());
            let released = ticket.blocking_release();
            released.map_err(|error| Failure::Failed(format!("the store: {error}")))?;
            opened = Some(ours);
        }
        let opened = opened.ok_or_else(|| Failure::Failed("nothing was opened".to_owned()))?;
        Ok((row, opened))
    }

    /// Looks at keys that are there, and at some that are not.
    fn looks(&self, ours: &Ours, progress: &mut Progress) -> Result<Vec<Row>, Failure> {
        let plan = self.plan;
        let memory = Memory::new(plan.records);
        let known: Vec<Text> =
            (0..KEYS).map(|nth| keys::text(keys::mix(nth) % plan.records)).collect();
        let unknown: Vec<Text> = (0..KEYS).map(|nth| keys::text(keys::UNKNOWN + nth)).collect();

        let whole = |texts: &[Text]| texts.iter().all(|text| memory.look_up(text, Depth::Whole));
        let head = |texts: &[Text]| texts.iter().all(|text| memory.look_up(text, Depth::Head));
        let none = |texts: &[Text]| !texts.iter().any(|text| memory.look_up(text, Depth::Whole));
        let each = |texts: &[Text], look: &Look<'_>, outcome: bool| {
            texts.iter().try_fold(true, |all, text| Ok(all && look(text)? == outcome))
        };
        let get = |text: &Text| ours.get(text);
        let replays = |text: &Text| ours.replays(text);
        let name = format!("get_many, {MANY} hits");
        Ok(vec![
            self.look("get, hit", progress, &known, &|it| each(it, &get, true), &whole)?,
            self.look(&name, progress, &known, &|it| ours.get_many(it), &whole)?,
            self.look("get, miss", progress, &unknown, &|it| each(it, &get, false), &none)?,
            self.look("claim, replay", progress, &known, &|it| each(it, &replays, true), &head)?,
        ])
    }

    /// One row of looks at `texts`, of which each comes out as it should when all is well.
    fn look(
        &self,
        name: &str,
        progress: &mut Progress,
        texts: &[Text],
        ours: &LookAll<'_>,
        floor: &dyn Fn(&[Text]) -> bool,
    ) -> Result<Row, Failure> {
        let mut row = Row::new(name, Unit::Rate);
        for _ in 0..ROUNDS {
            progress.next(name);
            row.ours.push(self.slice(texts, ours)?);
            row.floor.push(self.slice(texts, &|texts| Ok(floor(texts)))?);
        }
        Ok(row)
    }

    /// Looks for a slice; gives how many there were a second.
    fn slice(&self, texts: &[Text], look: &LookAll<'_>) -> Result<f64, Failure> {
        self.stop.check()?;
        let mut batches = texts.chunks(MANY).cycle();
        let (begun, mut looks) = (Instant::now(), 0_u64);
        while let Some(batch) =
            batches.next().filter(|_| looks == 0 || begun.elapsed() < self.plan.slice)
        {
            if !look(batch)? {
                return Err(Failure::Failed("a key came out other than it is".to_owned()));
            }
            looks += batch.len() as u64;
        }
        Ok(looks as f64 / begun.elapsed().as_secs_f64())
    }

    /// Durable cycles: a claim on disk, then its result on disk.
    fn cycles(&self, mut ours: Ours, progress: &mut Progress) -> Result<Vec<Row>, Failure> {
        let (plan, path) = (self.plan, self.floor());
        let mut floor = Disk::new(&path, plan.written() as usize)?;
        let mut rows = Vec::new();
        for tasks in TASKS {
            let named = if tasks == 1 { "task" } else { "tasks" };
            let mut row = Row::new(format!("durable cycle, {tasks} {named}"), Unit::Rate);
            for _ in 0..ROUNDS {
                progress.next(&row.name);
                let ran = ours.cycles(self.runtime, tasks, plan.cycles, plan.slice, self.stop)?;
                row.ours.push(ran.cycles as f64 / ran.time.as_secs_f64());
                row.ours.extend_latencies(ran.latencies_ns);
                // What the store still has to put into the tree is not the floor's to wait for.
                ours.checkpoint()?;
                self.bare(&mut floor, tasks, &mut row.floor)?;
            }
            rows.push(row);
        }
        drop(floor);
        let removed = std::fs::remove_file(&path);
        removed.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        ours.close()?;
        Ok(rows)
    }

    /// A slice of the floor under durable cycles.
    fn bare(&self, floor: &mut Disk, tasks: u64, side: &mut Side) -> Result<(), Failure> {
        let (begun, mut cycles) = (Instant::now(), 0);
        while cycles == 0 || (begun.elapsed() < self.plan.slice && cycles < self.plan.cycles) {
            let took = floor.cycle(tasks)?;
            // Each task waits for both groups.
            side.extend_latencies([took.as_nanos() as u64]);
            cycles += tasks;
        }
        side.push(cycles as f64 / begun.elapsed().as_secs_f64());
        self.stop.check()
    }

    /// Sweeps of results that have expired.
    fn sweeps(&self, progress: &mut Progress) -> Result<Row, Failure> {
        let mut row = Row::new("sweep, expired results", Unit::Rate);
        let count = self.plan.expiring();
        let mut ours = Ours::expiring(&self.place.join("expiring"), 2 * count)?;
        for _ in 0..ROUNDS {
            progress.next(&row.name);
            let (expired, took) = loop {
                ours.cycles(self.runtime, FILLERS, count, Duration::MAX, self.stop)?;
                let (expired, took) = ours.sweep()?;
                // The store's own housekeeper may have been first.
                if expired > 0 {
                    break (expired, took);
                }
            };
            row.ours.push(expired as f64 / took.as_secs_f64());
            let octets = count * CYCLE_OCTETS;
            let bare = disk::remove(&self.floor(), octets as usize)?;
            row.floor.push(count as f64 / bare.as_secs_f64());
        }
        ours.close()?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_keeps_to_its_seconds() {
        let plan = Plan::new(200_000, 15.0);
        let slices = (2 * (TASKS.len() + LOOKS)) as u32 * ROUNDS;
        let measured = plan.slice * slices;
        assert!((14.9..15.1).contains(&measured.as_secs_f64()), "{measured:?}");
        assert!(plan.octets() < 4 << 30, "{}", plan.octets());
        assert_eq!(Plan::new(1_000, 0.001).cycles, 64);
    }
}
