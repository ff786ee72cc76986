//! The floor: the bytes of a cycle gathered by one thread, bare write and fdatasync into blocks that
//! were written before. Nothing is checked, kept, shared or woken.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{directory, keys, sure};

/// Octets of a claim's frame and of a completion's, before key and payload; of a group's header.
const FRAME: usize = 80;
const GROUP: usize = 88;
/// The file is written round and round.
const FILE: u64 = 256 << 20;

/// A file whose blocks are written.
pub(crate) struct Floor {
    file: File,
    at: u64,
    next: u64,
    group: Vec<u8>,
    payload: Vec<u8>,
    /// How long each fdatasync with its write took, microseconds.
    pub(crate) waits: Vec<u32>,
    _directory: TempDir,
}

impl Floor {
    pub(crate) fn new() -> Self {
        let directory = directory();
        let path = directory.path().join("floor");
        let file = sure(OpenOptions::new().read(true).write(true).create_new(true).open(path));
        let zeros = vec![0; 2 << 20];
        for at in (0..FILE).step_by(zeros.len()) {
            sure(file.write_all_at(&zeros, at));
        }
        sure(file.sync_data());
        let payload = keys::payload();
        Self {
            file,
            at: 0,
            next: 0,
            group: Vec::new(),
            payload,
            waits: Vec::new(),
            _directory: directory,
        }
    }

    /// Cycles a second, when `tasks` of them go to the disk at a time.
    pub(crate) fn run(&mut self, tasks: u64, slice: Duration) -> f64 {
        self.waits.clear();
        let (began, mut cycles) = (Instant::now(), 0);
        while began.elapsed() < slice {
            self.group(tasks, false);
            self.group(tasks, true);
            self.next += tasks;
            cycles += tasks;
        }
        cycles as f64 / began.elapsed().as_secs_f64()
    }

    fn group(&mut self, tasks: u64, with_payload: bool) {
        self.group.clear();
        self.group.resize(GROUP, 0);
        for number in self.next..self.next + tasks {
            self.group.extend_from_slice(&[1; FRAME]);
            self.group.extend_from_slice(&keys::text(number));
            if with_payload {
                self.group.extend_from_slice(&self.payload);
            }
            self.group.resize(self.group.len().next_multiple_of(8), 0);
        }
        let len = self.group.len() as u64;
        if self.at + len > FILE {
            self.at = 0;
        }
        let began = Instant::now();
        sure(self.file.write_all_at(&self.group, self.at));
        sure(self.file.sync_data());
        self.waits.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        self.at += len;
    }
}
