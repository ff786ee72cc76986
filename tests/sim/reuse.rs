//! Files of retired segments that are written again: stores in a steady state, which keep house by
//! time, while somebody reads what he was handed before.

use fastrand::Rng;
use onceward::{Record, State};

use crate::run::Run;
use crate::script::{End, How, Op, Patience, Script};
use crate::world::{KEYS, LONG_SEGMENT, SEGMENT, TTL_MS};

/// Records somebody holds at a time.
const HELD: usize = 2;

impl Script {
    /// Results come and expire for some rounds, and the store keeps house after each.
    pub(crate) fn draw_steady(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x7265_7573_6564);
        let calm = Self::draw_leaning(seed, None).calm();
        let segment = if rng.u32(..6) == 0 { LONG_SEGMENT } else { SEGMENT };
        let scale = (segment / SEGMENT) as usize;
        let mut ops = Vec::new();
        for _ in 0..rng.usize(6..12) {
            for _ in 0..rng.usize(3..6) {
                let (key, patience) = (rng.usize(..KEYS), Patience::No);
                ops.push(Op::Claim { key, print: 0, ttl_ms: TTL_MS, patience });
                ops.push(Op::Settle);
                let how = How::Complete(rng.usize(8_000..30_000) * scale);
                ops.push(Op::Finish { nth: 0, how });
                ops.push(Op::Settle);
                if rng.u32(..3) == 0 {
                    ops.push(Op::Get { key });
                }
            }
            ops.push(Op::Advance { ms: [700, TTL_MS / 2, TTL_MS + 1, TTL_MS + 1][rng.usize(..4)] });
            ops.push(Op::Keep { round: [4, 40, 40][rng.usize(..3)] });
            if rng.u32(..4) == 0 {
                ops.push(Op::Look);
            }
        }
        Self { segment, keys: KEYS, ops, ..calm }
    }

    /// The same, and the world ends, seldom enough for files to be written again before: what is kept
    /// for that is forgotten with each end.
    pub(crate) fn draw_steady_and_cut_off(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x6375_746f_6666);
        let mut script = Self::draw_steady(seed);
        // A few rounds take as long as many of the other scripts.
        script.ops.truncate(64);
        for _ in 0..rng.usize(1..4) {
            let mut place = rng.usize(script.ops.len() / 4..script.ops.len());
            // Where the store keeps house, files get other names.
            if rng.u32(..4) > 0 {
                let is_keep = |op: &Op| matches!(op, Op::Keep { .. });
                place += script.ops[place..].iter().position(is_keep).unwrap_or(0);
            }
            let nested = (0..rng.usize(..3)).map(|_| (rng.u64(..45), End::draw(&mut rng)));
            let nested = nested.collect();
            let crash = Op::Crash { after: rng.u64(..20), end: End::draw(&mut rng), nested };
            script.ops.insert(place, crash);
        }
        script
    }
}

impl Run<'_> {
    /// Somebody keeps a record that he was handed, and lets go of an older one.
    pub(crate) fn hold(&mut self, record: &Record) {
        let payload = (record.state() == State::Complete).then(|| record.payload());
        if let Some(Ok(payload)) = payload {
            self.readers.push_back((record.clone(), payload.map_or(Vec::new(), |it| it.to_vec())));
            if self.readers.len() > HELD {
                self.readers.pop_front();
            }
        }
    }

    /// Whoever holds a record still reads what stood there when he was handed it.
    pub(crate) fn readers_read(&mut self) -> Result<(), String> {
        if self.disk.is_off() || self.known.damaged {
            self.readers.clear();
        }
        for (record, payload) in &self.readers {
            let read = record.payload().map(|read| read.map_or(Vec::new(), |it| it.to_vec()));
            if read.as_ref().ok() != Some(payload) {
                return Err(format!("a payload changed under its reader: {:?}", read.err()));
            }
        }
        Ok(())
    }

    /// Counts the segments that were made of the files of others.
    pub(crate) fn count_reused(&mut self) {
        let now = self.store.as_ref().map_or(0, |store| store.stats().segments_reused);
        self.tally.reused += now.saturating_sub(self.reused);
        self.reused = now;
    }
}
