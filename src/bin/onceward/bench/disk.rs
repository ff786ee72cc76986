//! The floor under what is written: the same bytes, gathered by one thread, in one write and one
//! `fdatasync` a group, into blocks that were written before. No store that keeps its word is
//! faster.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::keys::{self, Text};
use crate::Failure;

/// Octets of a group's header, and of a frame's head before its key, as `docs/format.md` has them.
const GROUP: usize = 88;
const FRAME: usize = 80;
/// Octets that are zeroed at a time.
const PIECE: usize = 1 << 20;

/// A file of written blocks, and what the next group of it is gathered in.
pub(super) struct Disk {
    file: File,
    path: PathBuf,
    /// Where the next group goes, and where the written blocks end.
    at: u64,
    end: u64,
    group: Vec<u8>,
    payload: Vec<u8>,
    next: u64,
}

impl Disk {
    /// A new file of `octets`, written and synced.
    pub(super) fn new(path: &Path, octets: usize) -> Result<Self, Failure> {
        let fault = |error| failed(path, &error);
        let mut file = create(path)?;
        let zeros = vec![0; PIECE];
        let pieces = octets.div_ceil(PIECE).max(2);
        for _ in 0..pieces {
            file.write_all(&zeros).map_err(fault)?;
        }
        file.sync_all().map_err(fault)?;
        let (group, payload) = (Vec::new(), keys::payload());
        let end = (pieces * PIECE) as u64;
        Ok(Self { file, path: path.to_owned(), at: 0, end, group, payload, next: 0 })
    }

    /// A cycle of each of `tasks`: a group of their claims, and a group of their results.
    pub(super) fn cycle(&mut self, tasks: u64) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let numbers = self.next..self.next + tasks;
        self.next = numbers.end;
        for with_payload in [false, true] {
            self.group.clear();
            self.group.resize(GROUP, 1);
            for number in numbers.clone() {
                let text: Text = keys::text(number);
                self.group.resize(self.group.len() + FRAME, 1);
                self.group.extend_from_slice(&text);
                if with_payload {
                    self.group.extend_from_slice(&self.payload);
                }
                self.group.resize(self.group.len().next_multiple_of(8), 0);
            }
            self.write()?;
        }
        Ok(begun.elapsed())
    }

    fn write(&mut self) -> Result<(), Failure> {
        if self.at + self.group.len() as u64 > self.end {
            self.at = 0;
        }
        let written = self
            .file
            .seek(SeekFrom::Start(self.at))
            .and_then(|_| self.file.write_all(&self.group))
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| failed(&self.path, &error))?;
        self.at += self.group.len() as u64;
        Ok(())
    }
}

/// What it takes to remove a file of so many octets and to sync its directory.
pub(super) fn remove(path: &Path, octets: usize) -> Result<Duration, Failure> {
    drop(Disk::new(path, octets)?);
    let begun = Instant::now();
    fs::remove_file(path).map_err(|error| failed(path, &error))?;
    sync_directory(path)?;
    Ok(begun.elapsed())
}

/// What it takes to begin a file, name and all: created, a claim written, both synced.
pub(super) fn begin(path: &Path) -> Result<Duration, Failure> {
    let claim = vec![1; GROUP + FRAME + size_of::<Text>()];
    let begun = Instant::now();
    let mut file = create(path)?;
    file.write_all(&claim).and_then(|()| file.sync_all()).map_err(|error| failed(path, &error))?;
    sync_directory(path)?;
    let took = begun.elapsed();
    fs::remove_file(path).map_err(|error| failed(path, &error))?;
    Ok(took)
}

fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.map_err(|error| failed(path, &error))
}

/// Elsewhere a directory is no file that can be synced.
fn sync_directory(path: &Path) -> Result<(), Failure> {
    if cfg!(unix)
        && let Some(directory) = path.parent()
    {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed(directory, &error))?;
    }
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_stays_within_its_written_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor");
        let mut disk = Disk::new(&path, 1).unwrap();
        let written = fs::metadata(&path).unwrap().len();
        for _ in 0..5 {
            disk.cycle(1_024).unwrap();
        }
        assert_eq!((fs::metadata(&path).unwrap().len(), disk.next), (written, 5 * 1_024));
        drop(disk);
        fs::remove_file(&path).unwrap();
        remove(&path, 1).unwrap();
        begin(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
