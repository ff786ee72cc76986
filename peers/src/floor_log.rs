//! The floor under durable cycles: one thread that gathers the frames of as many cycles as are in
//! flight, writes them with one call into blocks that were written before, and syncs; first all the
//! claims, then all the completions. Octets as many as onceward writes, keys and payloads generated
//! alike, and nothing else: no table, no tasks, no checksums.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::work::{digest, payload_into, sure, text};

/// Octets of onceward's header of a group, and of a frame before its key (`docs/format.md`).
const GROUP: usize = 88;
const FRAME: usize = 80;
/// The file's octets, those of a segment of onceward's; behind its end, writing begins anew at its
/// head. A larger one keeps a slow disk busy with zeros well into what is measured.
const FILE: u64 = 64 << 20;
/// Octets of zeros that are written at a time. The page cache keeps what one call wrote in folios up to
/// that length, and every `fdatasync` looks through all blocks of each folio it finds dirty: 512 in one
/// of 2 MiB, for a frame that touches one of them. Smaller ones than this cost large groups more.
const PIECE: usize = 64 << 10;

pub(crate) struct FloorLog {
    file: File,
    at: u64,
    number: u64,
    group: Vec<u8>,
    length: usize,
    /// Octets written.
    pub(crate) written: u64,
}

impl FloorLog {
    pub(crate) fn new(directory: &Path, length: usize) -> Self {
        let file = zeroed(&directory.join("log"));
        Self { file, at: 0, number: 0, group: Vec::new(), length, written: 0 }
    }

    /// One frame of the key of `number`.
    fn frame(&mut self, number: u64, has_payload: bool) {
        let text = text(number);
        self.group.resize(self.group.len() + FRAME - 32, 0);
        self.group.extend_from_slice(&digest(&text));
        self.group.extend_from_slice(&text);
        if has_payload {
            payload_into(number, self.length, &mut self.group);
        }
        self.group.resize(self.group.len().next_multiple_of(8), 0);
    }

    fn commit(&mut self) {
        let octets = self.group.len() as u64;
        if self.at + octets > FILE {
            self.at = 0;
        }
        sure(self.file.write_all_at(&self.group, self.at));
        sure(self.file.sync_data());
        self.at += octets;
        self.written += octets;
        self.group.clear();
    }

    /// One cycle of each of `tasks` tasks.
    pub(crate) fn cycle(&mut self, tasks: u64) {
        self.cycle_timed(tasks, &mut |_| {});
    }

    fn cycle_timed(&mut self, tasks: u64, commit: &mut impl FnMut(Duration)) {
        for has_payload in [false, true] {
            self.group.resize(GROUP, 0);
            for number in self.number..self.number + tasks {
                self.frame(number, has_payload);
            }
            let begun = Instant::now();
            self.commit();
            commit(begun.elapsed());
        }
        self.number += tasks;
    }

    /// Cycles for `time`; how many, and how long they took. `commit` is told how long each gathering's
    /// write and sync took.
    pub(crate) fn run(
        &mut self,
        tasks: u64,
        time: Duration,
        mut commit: impl FnMut(Duration),
    ) -> (u64, Duration) {
        let (begun, from) = (Instant::now(), self.number);
        while begun.elapsed() < time {
            self.cycle_timed(tasks, &mut commit);
        }
        (self.number - from, begun.elapsed())
    }
}

/// A file of [`FILE`] octets that were written, and are on disk.
fn zeroed(path: &Path) -> File {
    let mut file = sure(File::create(path));
    let zeros = vec![0; PIECE];
    for _ in 0..FILE / PIECE as u64 {
        sure(file.write_all(&zeros));
    }
    sure(file.sync_all());
    file
}

/// Octets by which a removed file is cut at a time, as a segment of onceward's is.
const CUT: u64 = 4 << 20;
/// How long after one file the next one is removed.
const EACH: Duration = Duration::from_secs(1);

/// What the removal of files takes of the device: one of the size of a segment each second, its name
/// first and then its blocks, step by step, each synced.
pub(crate) struct Removal {
    files: Vec<(PathBuf, File)>,
}

impl Removal {
    /// As many files as are removed in `time`.
    pub(crate) fn prepare(directory: &Path, time: Duration) -> Self {
        let count = time.div_duration_f64(EACH).ceil() as usize;
        let paths = (0..count).map(|nth| directory.join(format!("removed-{nth}")));
        let files = paths.map(|path| (path.clone(), zeroed(&path))).collect();
        Self { files }
    }

    /// Removes them. `step` is told how long each cut took, with its sync, and says whether to go on.
    pub(crate) fn run(self, mut step: impl FnMut(Duration) -> bool) {
        let steps = FILE / CUT;
        let pause = EACH / u32::try_from(steps).unwrap_or(1);
        for (path, file) in self.files {
            sure(std::fs::remove_file(&path));
            for left in (0..steps).rev() {
                let begun = Instant::now();
                sure(file.set_len(left * CUT));
                sure(file.sync_all());
                let took = begun.elapsed();
                if !step(took) {
                    return;
                }
                std::thread::sleep(pause.saturating_sub(took));
            }
        }
    }
}
