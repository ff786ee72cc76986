//! Files under a read-only map: the one place that reads memory the kernel fills. And what else has
//! to do with memory as the machine has it: large pages, and asking for a line before it is read.
//!
//! The map covers more than the file may have, and more than was published, so no slice over the
//! whole of it is ever made: only over ranges asked for, which are within the file and written for
//! good. An I/O error under the map is a `SIGBUS`, a crash like another.

// A slice over mapped memory cannot be had otherwise, nor a line asked for; nothing else in the crate
// needs it.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs;
use std::io;
use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};

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

    fn near(&self, range: Range<u64>) -> Option<&[u8]> {
        if range.end > self.known_len.load(Ordering::Relaxed) {
            return None;
        }
        let range = within_map(&range, self.map.len()).ok()?;
        Some(self.slice(&range))
    }

    fn bytes(self: Arc<Self>, range: Range<u64>) -> io::Result<Bytes> {
        let range = self.check(&range)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(Bytes::from_owner(Held { map: self, range }))
    }

    #[inline]
    fn prefetch(&self, start: u64, len: usize) {
        let start = usize::try_from(start).map_or(self.map.len(), |start| start & !(LINE - 1));
        let end = start.saturating_add(len).min(self.map.len());
        let mut line = start;
        while line < end {
            prefetch_at(self.map.as_ptr().wrapping_add(line));
            line += LINE;
        }
    }
}

/// Has the system hold the large pages that are whole within `range` of `file` as such, if it will. For
/// a range that has blocks and was never written: nothing is read from the disk, so that it costs no
/// more than the memory, which a write takes anyway, in pages as small as itself.
#[cfg(target_os = "linux")]
pub(super) fn hold_in_large_pages(file: &fs::File, range: Range<u64>) {
    let start = range.start.next_multiple_of(LARGE_PAGE as u64);
    let end = range.end - range.end % LARGE_PAGE as u64;
    let Some(len) = end.checked_sub(start).and_then(|len| usize::try_from(len).ok()) else {
        return;
    };
    if len == 0 {
        return;
    }
    let Ok(map) = MmapOptions::new().offset(start).len(len).map_raw_read_only(file) else {
        return;
    };
    // Where large pages are asked for, a page that is missing comes as one; where reading ahead is
    // not, alone. A kernel that does neither gives small ones.
    let _ = map
        .advise(Advice::HugePage)
        .and_then(|()| map.advise(Advice::Random))
        .and_then(|()| map.advise(Advice::PopulateRead));
}

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Asks for the line in which `place` begins, and does not wait for it.
#[inline]
pub(crate) fn prefetch<T>(place: &T) {
    prefetch_at(std::ptr::from_ref(place).cast());
}

/// Asks for a line. Of an address that is not mapped nothing comes.
#[inline]
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(unused_variables, reason = "no way to ask is known there")
)]
fn prefetch_at(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // Safety: a hint, which reads nothing that the program sees and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // Safety: as above; the instruction changes neither memory, stack nor flags.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{place}]",
            place = in(reg) place,
            options(nostack, readonly, preserves_flags)
        );
    }
}

/// Bytes of a large page, on the machines that matter; elsewhere it is a size like another.
#[cfg_attr(onceward_shuttle, allow(dead_code, reason = "a scheduler has memory of its own"))]
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Zeroed memory of the size and at the alignment of a large page, and one where the kernel has some.
#[derive(Debug)]
#[cfg_attr(onceward_shuttle, allow(dead_code, reason = "a scheduler has memory of its own"))]
pub(crate) struct LargePage {
    map: MmapRaw,
    /// Where in `map` it begins.
    start: usize,
}

#[cfg_attr(onceward_shuttle, allow(dead_code, reason = "a scheduler has memory of its own"))]
impl LargePage {
    /// # Errors
    /// What the kernel says when it has no memory to give.
    pub(crate) fn new() -> io::Result<Self> {
        let misaligned = |map: &MmapRaw| map.as_ptr().addr().wrapping_neg() % LARGE_PAGE;
        let mut map = MmapRaw::from(MmapMut::map_anon(LARGE_PAGE)?);
        if misaligned(&map) != 0 {
            // Twice as much has an aligned one in it; what is never touched costs no memory.
            map = MmapMut::map_anon(2 * LARGE_PAGE)?.into();
        }
        let start = misaligned(&map);
        // A kernel that has no large pages gives small ones.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(Advice::HugePage, start, LARGE_PAGE);
        Ok(Self { map, start })
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let start = self.map.as_mut_ptr().wrapping_add(self.start);
        // Safety: `new` made the map that much longer than `start`, which it aligned; it is anonymous
        // memory, zeroed, private, and lives as long as `self`; every access to it is through these
        // atomics.
        #[allow(clippy::cast_ptr_alignment, reason = "aligned to a page")]
        unsafe {
            slice::from_raw_parts(start.cast::<AtomicU64>(), LARGE_PAGE / size_of::<AtomicU64>())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_page_is_zeroed_aligned_and_writable_to_its_end() {
        let pages: Vec<LargePage> = (0..5).map(|_| LargePage::new().unwrap()).collect();
        for page in &pages {
            let words = page.words();
            assert_eq!(size_of_val(words), LARGE_PAGE);
            assert_eq!(words.as_ptr().addr() % LARGE_PAGE, 0);
            for word in words {
                assert_eq!(word.swap(7, Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    fn asking_for_what_is_past_the_end_does_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        let map = FileMap::new(Arc::new(file), 8192).unwrap();
        for (start, len) in [(0, 8192), (50, 64), (8000, 1 << 20), (u64::MAX, 64), (1 << 40, 64)] {
            map.prefetch(start, len);
        }
        assert_eq!(map.view(0..100).unwrap().len(), 100);
    }

    #[test]
    fn what_is_near_is_what_is_viewed_and_never_past_what_the_file_is_known_to_have() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        std::os::unix::fs::FileExt::write_all_at(&*file, &[7; 100], 0).unwrap();
        let map = FileMap::new(Arc::clone(&file), 8192).unwrap();
        for range in [0..100, 1..2, 99..100, 50..50, 100..100] {
            assert_eq!(map.near(range.clone()), Some(&*map.view(range).unwrap()));
        }
        let [reversed, beyond] = [Range { start: 2, end: 1 }, 0..8193];
        for range in [0..101, 101..102, reversed, beyond] {
            assert_eq!(map.near(range), None);
        }
        file.set_len(200).unwrap();
        assert_eq!(map.near(0..200), None, "nobody has asked the system yet");
        assert_eq!(map.view(0..200).unwrap().len(), 200);
        assert_eq!(map.near(0..200).map(<[u8]>::len), Some(200));
    }
}
