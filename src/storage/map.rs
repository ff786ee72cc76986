//! Files under a read-only map: the one place that reads memory the kernel fills.
//!
//! The map covers more than the file may have, and more than was published, so no slice over the
//! whole of it is ever made: only over ranges asked for, which are within the file and written for
//! good. An I/O error under the map is a `SIGBUS`, a crash like another.

// A slice over mapped memory cannot be had otherwise; nothing else in the crate needs it.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs;
use std::io;
use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

use super::Map;

/// A read-only, shared map of the head of a file.
#[derive(Debug)]
pub(super) struct FileMap {
    map: MmapRaw,
    file: Arc<fs::File>,
    /// The file is at least this long: a range below needs no question to the kernel. It only
    /// rises, for whoever maps a file does not cut it below what he reads.
    known_len: AtomicU64,
}

impl FileMap {
    /// Maps the first `len` bytes of `file`, which may be shorter.
    pub(super) fn new(file: Arc<fs::File>, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a map over address space"))?;
        let map = MmapOptions::new().len(len).map_raw_read_only(&*file)?;
        // Lookups are random: reading ahead would only push other pages out. A kernel that does not
        // care loses nothing but speed.
        let _ = map.advise(Advice::Random);
        let known_len = AtomicU64::new(file.metadata()?.len());
        Ok(Self { map, file, known_len })
    }

    /// Refuses what is past the map, and what is past the end of the file: touching that would be a
    /// `SIGBUS`.
    fn check(&self, range: &Range<u64>) -> io::Result<Range<usize>> {
        let within = within_map(range, self.map.len())?;
        if range.end > self.known_len.load(Ordering::Relaxed) {
            let len = self.file.metadata()?.len();
            self.known_len.fetch_max(len, Ordering::Relaxed);
            if range.end > len {
                return Err(past_end(range, len));
            }
        }
        Ok(within)
    }

    /// The bytes of a range that [`check`](Self::check) let through.
    fn slice(&self, range: &Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.map.len(), "a range was not checked");
        // Safety: the range is within the map (asserted above), which lives as long as `self` and
        // never moves; it is within the file (checked before), so its pages exist. Nobody writes
        // the range any more: that is what a caller of `Map` promises, and only this process
        // writes the file, by the directory's lock.
        unsafe { slice::from_raw_parts(self.map.as_ptr().add(range.start), range.len()) }
    }
}

impl Map for FileMap {
    fn view(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let range = self.check(&range)?;
        Ok(Cow::Borrowed(self.slice(&range)))
    }

    fn bytes(self: Arc<Self>, range: Range<u64>) -> io::Result<Bytes> {
        let range = self.check(&range)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(Bytes::from_owner(Held { map: self, range }))
    }
}

/// A checked range together with the map it is in, which lives as long as the `Bytes` made of it.
struct Held {
    map: Arc<FileMap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.map.slice(&self.range)
    }
}

/// `range` as offsets into a map of `map_len` bytes; `InvalidInput` when it is not within.
pub(super) fn within_map(range: &Range<u64>, map_len: usize) -> io::Result<Range<usize>> {
    match (usize::try_from(range.start), usize::try_from(range.end)) {
        (Ok(start), Ok(end)) if start <= end && end <= map_len => Ok(start..end),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("bytes {}..{} of a map of {map_len}", range.start, range.end),
        )),
    }
}

/// The error for a `range` that is within the map and past the end of its file.
pub(super) fn past_end(range: &Range<u64>, file_len: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("bytes {}..{} of a file of {file_len}", range.start, range.end),
    )
}
