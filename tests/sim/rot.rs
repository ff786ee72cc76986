//! Bits of a store's files turn over, while it is closed or while it is open.
//!
//! What is refused of a damaged store, and what is answered, is judged, with one exception: the last
//! groups of a store that was not closed well may pass for a write that was cut off, and be gone
//! (docs/reliability.md, "What is not promised"). That is kept clear of here, and nowhere else: a
//! store whose bits have turned comes back only when the seal of a good close stands behind them.
//! - In a store that is closed, bits turn only if it was closed well.
//! - One in which they turn while it is open is looked at as it is, and closed. Until that is done
//!   no world ends on its side; and when it is not closed well, for the power goes, or a device
//!   fails, or the disk is full, the run is over and nothing comes back.
//!
//! Whatever ends later, while the store comes back or ever after, ends behind that seal.

use crate::run::Run;

impl Run<'_> {
    /// Turns bits of a store over, and opens it again.
    pub(crate) fn rot(&mut self, seed: u64, bits: u32, live: bool) -> Result<(), String> {
        let sealed = if live { self.rot_open(seed, bits)? } else { self.rot_closed(seed, bits)? };
        if self.disk.is_off() || !sealed {
            return Ok(());
        }
        self.open()
    }

    /// Whether the store is to be opened: not when the power is off.
    fn rot_closed(&mut self, seed: u64, bits: u32) -> Result<bool, String> {
        let sealed = self.close(&[])?;
        self.stale.clear();
        if sealed {
            self.turn(seed, bits);
        }
        Ok(true)
    }

    /// Whether the store was closed well behind its damage, and may come back.
    fn rot_open(&mut self, seed: u64, bits: u32) -> Result<bool, String> {
        self.settle()?;
        let Some(store) = self.store.clone().filter(|_| !self.disk.is_off()) else {
            return Ok(false);
        };
        self.disk.cut_one_in(0);
        self.turn(seed, bits);
        self.look_at_all(&store)?;
        drop(store);
        let sealed = self.close(&[])?;
        self.over = !sealed;
        self.disk.cut_one_in(self.script.aside_one_in);
        Ok(sealed)
    }

    /// Turns bits over, most of them where something is written.
    fn turn(&mut self, seed: u64, bits: u32) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let files: Vec<(String, Vec<u8>)> = self
            .disk
            .files()
            .into_iter()
            .map(|path| (path.clone(), self.disk.read_file(&path).unwrap_or_default()))
            .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
            .collect();
        for _ in 0..bits {
            let (path, bytes) = &files[rng.usize(..files.len())];
            let (path, bytes) = if rng.u32(..3) > 0 {
                // Most of what there is to lose stands in segments.
                let logs = files.iter().filter(|(path, _)| path.starts_with("segments"));
                let logs: Vec<_> = logs.collect();
                logs.get(rng.usize(..files.len()) % logs.len().max(1))
                    .map_or((path, bytes), |it| (&it.0, &it.1))
            } else {
                (path, bytes)
            };
            // Any byte that is written as likely as any other: most of a segment is zeros.
            let written = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
            let written: Vec<usize> = written.map(|(at, _)| at).collect();
            let at = written[rng.usize(..written.len())];
            let _ = self.disk.flip_bit(path, at as u64 * 8 + rng.u64(..8));
            self.tally.flips += 1;
        }
        self.known.damaged = true;
    }
}
