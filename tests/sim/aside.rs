//! Worlds that end on the side. While a script runs, its disk keeps what a power cut at this or that
//! operation would have left; from each, another run of its own comes back and is judged, and the
//! script goes on as if nothing had been.

use std::sync::Arc;

use fastrand::Rng;
use onceward::storage::SimDisk;

use crate::run::Run;
use crate::script::{End, Op, Script};
use crate::tally::Tally;

/// Operations within which a nested end comes: a store opens in about as many.
const NESTED_WITHIN: u64 = 30;

/// What a run keeps for the worlds on its side.
pub(crate) struct Asides {
    rng: Rng,
    /// The step that is being made, and what the disk had counted before it; `None` while the
    /// machine is not the one that was counted on.
    step: Option<(usize, u64)>,
    /// The script that came to a failure on the side, told as an end of its own.
    pub(crate) failed: Option<Script>,
}

impl Asides {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(!seed), step: None, failed: None }
    }

    /// How a world ends, and how often again as it comes back.
    fn draw(&mut self) -> (End, Vec<(u64, End)>) {
        let rng = &mut self.rng;
        let end = End::draw(rng);
        let nested = [0, 0, 0, 0, 0, 1, 1, 1, 2, 4][rng.usize(..10)];
        (end, (0..nested).map(|_| (rng.u64(..NESTED_WITHIN), End::draw(rng))).collect())
    }
}

impl Run<'_> {
    /// Has the disk keep what there is to look at.
    pub(crate) fn watch(&mut self) {
        self.disk.cut_one_in(self.script.aside_one_in);
        self.asides.step = None;
    }

    /// A step begins.
    pub(crate) fn watch_step(&mut self, nth: usize) {
        let alone = self.armed.is_none();
        self.asides.step = alone.then(|| (nth, self.disk.operations()));
    }

    /// Ends the world at each operation kept since this was last called, on the side. To be called
    /// before the oracle is told of what came of those operations.
    pub(crate) fn look_aside(&mut self) -> Result<(), String> {
        if self.script.aside_one_in == 0 {
            return Ok(());
        }
        for disk in self.disk.take_cuts() {
            let (end, nested) = self.asides.draw();
            self.asides.failed = Some(self.told(&disk, end, &nested));
            let thorough = self.asides.rng.u32(..64) == 0;
            let mut aside = self.fork(disk);
            aside
                .crash(end, &nested)
                .and_then(|()| if thorough { aside.end_well() } else { Ok(()) })
                .map_err(|wrong| format!("on the side, {end:?}, then {nested:?}: {wrong}"))?;
            // A store that is let go of is closed, which shows nothing here and takes long.
            aside.disk.switch_off();
            self.tally += aside.tally;
        }
        self.asides.failed = None;
        Ok(())
    }

    /// Another run over that disk, which knows and has promised as much as this one.
    fn fork(&self, disk: SimDisk) -> Self {
        Run {
            disk: Arc::new(disk),
            time: self.time.fork(),
            known: self.known.clone(),
            payloads: self.payloads,
            opens: self.opens,
            born: self.born,
            bounded: self.bounded,
            aside: true,
            tally: Tally::default(),
            ..Run::new(self.script)
        }
    }

    /// The script in which this end of the world is no longer on the side.
    fn told(&self, disk: &SimDisk, end: End, nested: &[(u64, End)]) -> Script {
        let mut script = self.script.clone();
        if let Some((nth, operations)) = self.asides.step {
            let after = (disk.operations() - 1).saturating_sub(operations);
            script.ops.insert(nth, Op::Crash { after, end, nested: nested.to_vec() });
            script.ops.truncate(nth + 2);
            script.aside_one_in = 0;
        }
        script
    }
}
