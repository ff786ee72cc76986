//! Runs a script: a store in use on a simulated machine, every step told to the oracle.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use onceward::storage::SimDisk;
use onceward::{ErrorKind, Fingerprint, NOTE_OCTETS_MAX, Record, State, Store, Ticket};

use crate::aside::Asides;
use crate::call::Call;
use crate::known::{Begun, Known};
use crate::script::{End, How, Op, Patience, Script};
use crate::tally::Tally;
use crate::world::{SEGMENT, TTL_MS, Time, ends_long, key, open_with};

/// A ticket in hand.
pub(crate) struct Held {
    pub(crate) key: usize,
    pub(crate) begun: Begun,
    pub(crate) ticket: Ticket,
}

/// The machine, the store on it, and who uses it.
#[allow(clippy::struct_excessive_bools, reason = "each is a thing that has happened or not")]
pub(crate) struct Run<'a> {
    pub(crate) script: &'a Script,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) time: Time,
    pub(crate) known: Known,
    pub(crate) prints: [Fingerprint; 2],
    pub(crate) store: Option<Store>,
    pub(crate) calls: Vec<(usize, Call)>,
    pub(crate) tickets: Vec<Held>,
    /// Tickets of the store that was closed last.
    pub(crate) stale: Vec<Held>,
    pub(crate) tally: Tally,
    pub(crate) payloads: u64,
    pub(crate) opens: u64,
    /// Whether a store was ever open here.
    pub(crate) born: bool,
    /// What is to happen when the power goes.
    pub(crate) armed: Option<(End, Vec<(u64, End)>)>,
    /// Faults set on this machine: operations and reads at which they come.
    pub(crate) faults: (Vec<u64>, Vec<u64>),
    /// Whether a fault came since the store was opened.
    pub(crate) faulty: bool,
    /// Whether the disk, or `max_disk`, may be full.
    pub(crate) bounded: bool,
    pub(crate) closing: bool,
    /// The disk is as a crash left it, and was not judged since; and whether the power went.
    pub(crate) crashed: Option<bool>,
    pub(crate) asides: Asides,
    /// Records somebody holds, with the payloads he was handed.
    pub(crate) readers: VecDeque<(Record, Vec<u8>)>,
    /// Segments of this store that were made of the files of others.
    pub(crate) reused: u64,
    /// This world is on the side of another, and has none on its own.
    pub(crate) aside: bool,
    /// The store is damaged for good, and refused, or may not be judged any more: nothing follows.
    pub(crate) over: bool,
}

/// Runs a script to its end.
///
/// # Errors
/// What broke the promise, in words.
pub(crate) fn run(script: &Script) -> Result<Tally, String> {
    run_and_tell(script).map_err(|(wrong, _)| wrong)
}

/// The same; with what broke the promise comes a script that is likely to show it in fewer steps,
/// when it showed on the side.
pub(crate) fn run_and_tell(script: &Script) -> Result<Tally, (String, Option<Script>)> {
    let mut run = Run::new(script);
    let wrong = match catch_unwind(AssertUnwindSafe(|| run.play())) {
        Ok(Ok(())) => return Ok(run.tally),
        Ok(Err(wrong)) => wrong,
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            format!("panicked: {}", said.unwrap_or_default())
        }
    };
    Err((wrong, run.asides.failed.take()))
}

impl<'a> Run<'a> {
    pub(crate) fn new(script: &'a Script) -> Self {
        let prints = [Fingerprint::of("POST /v1/sites"), Fingerprint::of("POST /v1/others")];
        Self {
            script,
            disk: Arc::new(SimDisk::new(script.seed)),
            time: Time::new(script.seed),
            known: Known::new(script.keys, prints, script.buffered),
            prints,
            store: None,
            calls: Vec::new(),
            tickets: Vec::new(),
            stale: Vec::new(),
            tally: Tally { scripts: 1, ..Tally::default() },
            payloads: 0,
            opens: 0,
            born: false,
            armed: None,
            faults: (Vec::new(), Vec::new()),
            faulty: false,
            bounded: script.max_disk.is_some(),
            closing: false,
            crashed: None,
            asides: Asides::new(script.seed),
            readers: VecDeque::new(),
            reused: 0,
            aside: false,
            over: false,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        // What comes before the first step of another kind happens while the store is made.
        let made = self.script.ops.iter().take_while(|op| {
            matches!(op, Op::Crash { .. } | Op::Fail { .. } | Op::FailRead { .. })
        });
        let made = made.count();
        let (first, rest) = self.script.ops.split_at(made);
        for op in first {
            self.arm(op);
        }
        self.watch();
        self.open()?;
        self.come_back()?;
        for (nth, op) in rest.iter().enumerate() {
            if self.over {
                break;
            }
            self.tally.steps += 1;
            self.watch_step(made + nth);
            self.step(op)
                .and_then(|()| self.readers_read())
                .and_then(|()| self.come_back())
                .map_err(|wrong| format!("at step {}, {op:?}: {wrong}", made + nth))?;
        }
        if !self.over {
            self.end_well().map_err(|wrong| format!("at the end: {wrong}"))?;
        }
        self.tally.operations = self.disk.operations();
        self.tally.reads = self.disk.reads();
        self.tally.trace = self.disk.trace();
        Ok(())
    }

    /// Sets what is to come.
    fn arm(&mut self, op: &Op) {
        let (operations, reads) = (self.disk.operations(), self.disk.reads());
        match op {
            Op::Crash { after, end, nested } => {
                self.disk.crash_at(operations + after);
                self.armed = Some((*end, nested.clone()));
            }
            Op::Fail { after, fault } => {
                self.disk.fail_operation(operations + after, *fault);
                self.faults.0.push(operations + after);
            }
            Op::FailRead { after, fault } => {
                self.disk.fail_read(reads + after, *fault);
                self.faults.1.push(reads + after);
            }
            _ => {}
        }
    }

    /// Whether a fault has come that was set.
    pub(crate) fn notice_faults(&mut self) {
        let (operations, reads) = (self.disk.operations(), self.disk.reads());
        let before = self.faults.0.len() + self.faults.1.len();
        self.faults.0.retain(|at| *at >= operations);
        self.faults.1.retain(|at| *at >= reads);
        let came = before - self.faults.0.len() - self.faults.1.len();
        self.tally.faults += came as u64;
        self.faulty |= came > 0;
    }

    pub(crate) fn step(&mut self, op: &Op) -> Result<(), String> {
        if let Op::Crash { .. } = op
            && let Some((end, nested)) = self.armed.take()
        {
            // The one that did not come by itself comes now.
            self.crash(end, &nested)?;
        }
        let Some(store) = self.store.clone() else { return Ok(()) };
        match op {
            Op::Claim { key, print, ttl_ms, patience } => {
                self.claim(&store, *key, (*ttl_ms, *print), *patience);
            }
            Op::Finish { nth, how } => self.finish(*nth, *how),
            Op::DropCall { nth } => self.drop_call(*nth),
            Op::Resolve { key, how } => self.resolve(&store, *key, *how),
            Op::Get { key: number } => self.look_at(&store, *number)?,
            Op::Look => {
                self.settle()?;
                self.look_at_all(&store)?;
            }
            Op::Step => {
                let stepped = store.step().map(drop);
                self.look_aside()?;
                self.tolerate("step", stepped)?;
            }
            Op::Settle => self.settle()?,
            Op::Checkpoint => {
                let done = store.checkpoint();
                self.look_aside()?;
                if done.is_ok() && !self.disk.is_off() {
                    self.known.synced();
                }
                self.tolerate("checkpoint", done)?;
            }
            Op::Sweep => {
                let swept = store.sweep().map(drop);
                self.look_aside()?;
                self.tolerate("sweep", swept)?;
            }
            Op::Keep { round } => {
                store.keep_house(*round);
                self.look_aside()?;
            }
            Op::Advance { ms } => self.advance(*ms),
            Op::LastMoment { early_ms, passes } => self.last_moment(&store, *early_ms, *passes)?,
            Op::Wall { by_ms } => {
                self.tally.clock += 1;
                self.time.set_wall(*by_ms);
            }
            Op::Reopen { reboot, asleep_ms, beside } => {
                drop(store);
                self.reopen(*reboot, *asleep_ms, beside)?;
            }
            Op::Crash { .. } | Op::Fail { .. } | Op::FailRead { .. } => self.arm(op),
            Op::Capacity { slack } => {
                let taken: u64 = self.disk.files().iter().map(|path| self.length(path)).sum();
                self.disk.set_capacity(slack.map(|slack| taken + slack));
                self.bounded |= slack.is_some();
            }
            Op::Rot { seed, bits, live } => {
                drop(store);
                self.rot(*seed, *bits, *live)?;
            }
        }
        self.count_reused();
        self.poll()
    }

    fn length(&self, path: &str) -> u64 {
        self.disk.read_file(path).map_or(0, |bytes| bytes.len() as u64)
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.tally.clock += 1;
        self.time.advance(ms);
        self.known.now_ms += ms;
    }

    /// Opens the store, unless the power goes meanwhile, and looks at every key.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        for _ in 0..6 {
            self.opens += 1;
            let seed = self.script.seed.wrapping_add(self.opens << 32);
            let long = self.script.segment > SEGMENT && ends_long(&self.disk);
            let opened = open_with(&self.disk, &self.time, seed, self.script);
            self.notice_faults();
            self.look_aside()?;
            let error = match opened {
                Ok(store) => {
                    (self.store, self.born, self.faulty) = (Some(store), true, false);
                    self.tally.long += u64::from(long);
                    self.known.opened();
                    return self.look_anew();
                }
                Err(error) => error,
            };
            let refused = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedFormat);
            if self.disk.is_off() {
                return Ok(());
            } else if self.faulty && error.kind() != ErrorKind::Corrupt {
                // The one fault was in the way: a second attempt is what an operator makes.
                self.faulty = false;
                if !self.born {
                    // A device that fails while the store is made may never write the directory's
                    // name: a known limit.
                    self.disk = Arc::new(self.disk.power_loss_total());
                    self.faults = (Vec::new(), Vec::new());
                }
            } else if self.known.damaged && refused {
                self.judged();
                self.over = true;
                return Ok(());
            } else if self.bounded && error.kind() == ErrorKind::Full {
                self.disk.set_capacity(None);
            } else {
                return Err(format!("the store does not open: {error:?}"));
            }
        }
        Err("the store does not open, tried again and again".to_owned())
    }

    /// What a crash left is judged, once for each.
    fn judged(&mut self) {
        if let Some(lossy) = self.crashed.take() {
            self.tally.points += 1;
            self.tally.lossy_points += u64::from(lossy);
        }
    }

    /// Looks at every key of a store that was opened just now.
    pub(crate) fn look_anew(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for number in 0..self.script.keys {
            let seen = store.get(key(number).as_key());
            if self.disk.is_off() {
                return Ok(());
            }
            self.known.seen_anew(number, &seen)?;
        }
        self.judged();
        if store.stats().suspect_until_ms.is_some() && !self.known.damaged {
            return Err("the store takes itself for damaged".to_owned());
        }
        Ok(())
    }

    /// Looks at every key, when nothing moves: what is in flight has somebody who can end it.
    pub(crate) fn look_at_all(&mut self, store: &Store) -> Result<(), String> {
        for number in 0..self.script.keys {
            self.look_at(store, number)?;
            let stats = store.stats();
            if self.disk.is_off() {
                return Ok(());
            }
            if stats.poisoned {
                if !self.faulty && !self.known.damaged {
                    return Err("writes ended, and nothing had failed".to_owned());
                }
                continue;
            }
            let in_flight = matches!(
                store.get(key(number).as_key()),
                Ok(Some(record)) if record.state() == State::InFlight
            );
            if in_flight && !self.tickets.iter().any(|held| held.key == number) {
                return Err(format!("key {number} is in flight, and nobody has its ticket"));
            }
        }
        Ok(())
    }

    /// Ends the world if the power has gone, and comes back.
    fn come_back(&mut self) -> Result<(), String> {
        self.notice_faults();
        if self.disk.is_off()
            && !self.over
            && let Some((end, nested)) = self.armed.take()
        {
            self.crash(end, &nested)?;
        }
        Ok(())
    }

    /// Sweeps at the last moment of a record, which is there, or just before; and lets it pass.
    fn last_moment(&mut self, store: &Store, early_ms: u64, passes: bool) -> Result<(), String> {
        let Some(until_ms) = self.known.next_last_moment() else { return Ok(()) };
        self.advance((until_ms - self.known.now_ms).saturating_sub(early_ms));
        let swept = store.sweep().map(drop);
        self.look_aside()?;
        self.tolerate("sweep", swept)?;
        self.poll()?;
        if !self.disk.is_off() {
            for number in 0..self.script.keys {
                self.look_at(store, number)?;
            }
        }
        self.advance(u64::from(passes));
        Ok(())
    }

    /// Whatever a script left behind, the store goes on: all that was granted can end, all that is
    /// known is found after a clean close, and once every retention has passed every key is free.
    pub(crate) fn end_well(&mut self) -> Result<(), String> {
        if let Some((end, nested)) = self.armed.take() {
            self.crash(end, &nested)?;
        }
        self.settle_and_look()?;
        while !self.tickets.is_empty() && !self.disk.is_off() {
            self.finish(0, How::Note(NOTE_OCTETS_MAX));
        }
        self.settle_and_look()?;
        self.heal()?;
        self.reopen(false, 0, &[])?;
        if self.over {
            return Ok(());
        }
        self.settle_and_look()?;
        let end_ms = self.known.end_of_all();
        self.advance(end_ms - self.known.now_ms + 1);
        let Some(store) = self.store.clone() else { return Ok(()) };
        let swept = store.sweep().map(drop);
        self.look_aside()?;
        self.tolerate("sweep", swept)?;
        // A fault that was set for later may come only now: a disk that was full once is not again.
        for _ in 0..2 {
            for number in 0..self.script.keys {
                self.claim(&store, number, (TTL_MS, 0), Patience::No);
            }
            self.settle()?;
            if self.tickets.len() == self.script.keys || !self.faulty {
                break;
            }
        }
        let poisoned = store.stats().poisoned;
        let keys = self.script.keys;
        if self.tickets.len() < keys && !self.known.damaged && !self.bounded && !poisoned {
            return Err(format!("{} keys of {keys} are free in the end", self.tickets.len()));
        }
        Ok(())
    }

    /// With room on the disk again, claims go on, in the same open store (C36).
    fn heal(&mut self) -> Result<(), String> {
        self.disk.set_capacity(None);
        self.bounded = self.script.max_disk.is_some();
        let Some(store) = self.store.clone() else { return Ok(()) };
        for number in 0..self.script.keys {
            self.claim(&store, number, (TTL_MS, 0), Patience::No);
        }
        self.settle_and_look()
    }

    fn settle_and_look(&mut self) -> Result<(), String> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        self.settle()?;
        self.look_at_all(&store)
    }
}
