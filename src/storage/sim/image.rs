//! A file's bytes, in pages that copies share until one of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::cached::Medium;
use super::loss::Loss;
use super::rng::Rng;

const PAGE: u64 = 4096;
const PAGE_LEN: usize = PAGE as usize;
static ZEROS: [u8; PAGE_LEN] = [0; PAGE_LEN];

/// A file's bytes and its length.
///
/// The two are separate, as they are on a disk: a page may have arrived where the length that
/// covers it has not, and the other way around.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// A page that is absent is zeros. Pages past `len` exist only while a power loss is being
    /// worked out. Shared twice over: a copy of an image nobody changes costs nothing, and one that
    /// is changed costs the pages changed.
    pages: Arc<BTreeMap<u64, Arc<[u8; PAGE_LEN]>>>,
    len: u64,
}

/// One change of a file. A write past the end is two of these: its bytes, then its length.
#[derive(Clone, Debug)]
pub(super) enum FileOp {
    Bytes { offset: u64, data: Bytes },
    Len(u64),
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` from `offset`, with zeros where nothing was written. The length is the caller's
    /// to check.
    pub(super) fn read(&self, out: &mut [u8], offset: u64) {
        let mut rest = out;
        let mut at = offset;
        while !rest.is_empty() {
            let (page, start, fitting) = place(at, rest.len());
            let (head, tail) = rest.split_at_mut(fitting);
            match self.pages.get(&page).and_then(|page| page.get(start..start + fitting)) {
                Some(bytes) => head.copy_from_slice(bytes),
                None => head.fill(0),
            }
            at += fitting as u64;
            rest = tail;
        }
    }

    /// All the bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read(&mut all, 0);
        all
    }

    /// Turns one bit over; one past the end is left alone.
    pub(super) fn flip(&mut self, bit: u64) {
        if bit / 8 < self.len {
            let mut byte = [0];
            self.read(&mut byte, bit / 8);
            self.put(&byte.map(|byte| byte ^ (1 << (bit % 8))), bit / 8);
        }
    }

    fn put(&mut self, bytes: &[u8], offset: u64) {
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (page, start, fitting) = place(at, rest.len());
            let (head, tail) = rest.split_at(fitting);
            // Zeros upon nothing need no page: what is preallocated costs no memory.
            let zeros = ZEROS.get(..fitting).is_some_and(|zeros| head == zeros);
            if !zeros || self.pages.contains_key(&page) {
                let pages = Arc::make_mut(&mut self.pages);
                let page = pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_LEN]));
                if let Some(target) = Arc::make_mut(page).get_mut(start..start + fitting) {
                    target.copy_from_slice(head);
                }
            }
            at += fitting as u64;
            rest = tail;
        }
    }

    fn set_len(&mut self, len: u64) {
        self.forget_from(len);
        self.len = len;
    }

    /// Makes zeros of everything from `end` on.
    fn forget_from(&mut self, end: u64) {
        let (page, kept) = (end / PAGE, (end % PAGE) as usize);
        if self.pages.range(page..).next().is_none() {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        drop(pages.split_off(&(page + u64::from(kept > 0))));
        if let Some(page) = pages.get_mut(&page)
            && let Some(tail) = Arc::make_mut(page).get_mut(kept..)
        {
            tail.fill(0);
        }
    }
}

/// The page of `offset`, where in it that is, and how many of `len` bytes fit there.
fn place(offset: u64, len: usize) -> (u64, usize, usize) {
    let start = (offset % PAGE) as usize;
    (offset / PAGE, start, len.min(PAGE_LEN - start))
}

impl Medium for Image {
    type Op = FileOp;

    fn apply(&mut self, op: &FileOp) {
        match op {
            FileOp::Bytes { offset, data } => self.put(data, *offset),
            FileOp::Len(len) => self.set_len(*len),
        }
    }

    fn apply_torn(&mut self, op: &FileOp, loss: &Loss, rng: &mut Rng) {
        match op {
            FileOp::Bytes { offset, data } => {
                for piece in loss.pieces(*offset, data.len() as u64, rng) {
                    let from = (piece.start - offset) as usize;
                    let to = (piece.end - offset) as usize;
                    self.put(data.get(from..to).unwrap_or_default(), piece.start);
                }
            }
            // A length is one number in one sector.
            FileOp::Len(len) => {
                if rng.coin() {
                    self.set_len(*len);
                }
            }
        }
    }

    fn settle(&mut self) {
        self.forget_from(self.len);
    }
}
