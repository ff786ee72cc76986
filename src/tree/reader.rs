//! The tree as lookups have it: beside whoever changes it, and without its lock.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::filter::Filter;
use super::handle::Handle;
use super::head::Run;
use super::{Entry, TreeError};
use crate::sync::RwLock;

/// One run in one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bucket: u64,
    pub(crate) run: Run,
}

impl Piece {
    /// What tells it from every other.
    pub(crate) fn name(&self) -> (u64, u64) {
        (self.bucket, self.run.number)
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// Every entry of the piece with this hash.
    Found(Vec<Entry>),
    /// The piece has none.
    Not,
    /// A block is not there: the piece was dropped since; or, if it was not, is damaged.
    Gone,
}

/// Blocks read in one transaction: what a piece, or its filter, is streamed by.
const BATCH: u32 = 64;

/// Reads single blocks. Shared with the tree, which puts another handle here whenever it opens the
/// file anew, and none while there is none.
pub(crate) struct Reader {
    store_id: [u8; 16],
    /// Held to read while redb is asked, so that no handle is closed, or outlived by the file's
    /// state it knows, under a search. Lock order: a leaf.
    handle: RwLock<Option<Arc<Handle>>>,
}

impl Reader {
    pub(super) fn new(store_id: [u8; 16]) -> Self {
        Self { store_id, handle: RwLock::new(None) }
    }

    pub(super) fn put(&self, handle: Option<Arc<Handle>>) {
        let before = std::mem::replace(&mut *self.handle.write(), handle);
        drop(before);
    }

    /// Whether the handle here is of use.
    pub(super) fn is_open(&self) -> bool {
        self.handle.read().as_ref().is_some_and(|handle| !handle.is_cut_off())
    }

    /// Looks for `hash` in `piece`. What it reads is verified block by block.
    ///
    /// # Errors
    /// `Damaged`; `Io` when the disk refused, or a fault has cost the tree its handle:
    /// [`Tree::revive`](super::Tree::revive) gives it another.
    pub(crate) fn find(&self, piece: &Piece, hash: u128) -> Result<Sought, TreeError> {
        self.with(|handle| handle.find(self.store_id, piece, hash))
    }

    /// Streams the entries of `piece` through `visit`, ascending by hash, each block verified by
    /// itself as it comes, and all of them together in the end. `false` when a block is not there,
    /// as with [`Sought::Gone`].
    ///
    /// # Errors
    /// As [`find`](Self::find). What was visited by then is sound by itself, and may not be all.
    pub(crate) fn stream(
        &self,
        piece: &Piece,
        visit: &mut dyn FnMut(&[Entry]),
    ) -> Result<bool, TreeError> {
        let mut crc = crc32fast::Hasher::new();
        let (mut entries, mut count, mut part) = (Vec::new(), 0_u64, 0);
        while part < piece.run.parts {
            entries.clear();
            if !self.with(|handle| {
                handle.read_blocks(self.store_id, piece, (part, BATCH), &mut entries, &mut crc)
            })? {
                return Ok(false);
            }
            count += entries.len() as u64;
            visit(&entries);
            part = part.saturating_add(BATCH);
        }
        if crc.finalize() != piece.run.crc || count != piece.run.entries {
            let (bucket, run) = piece.name();
            return Err(TreeError::Damaged(format!(
                "run {run} in bucket {bucket} is not the one the directory lists"
            )));
        }
        Ok(true)
    }

    /// The filter of `piece`, which has one, verified as its entries are. `None` as with
    /// [`Sought::Gone`].
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn filter(&self, piece: &Piece) -> Result<Option<Filter>, TreeError> {
        let (mut crc, mut lines, mut part) = (crc32fast::Hasher::new(), Vec::new(), 0);
        while part < piece.run.filter_parts() {
            if !self.with(|handle| {
                handle.read_lines(self.store_id, piece, (part, BATCH), &mut lines, &mut crc)
            })? {
                return Ok(None);
            }
            part = part.saturating_add(BATCH);
        }
        if crc.finalize() != piece.run.filter_crc || lines.len() != piece.run.lines as usize {
            let (bucket, run) = piece.name();
            return Err(TreeError::Damaged(format!(
                "the filter of run {run} in bucket {bucket} is not the one the directory lists"
            )));
        }
        Ok(Some(Filter::of_lines(lines)))
    }

    /// Gives the entries of `piece` with a hash in `range`, ascending, as far as they can be had:
    /// each block is verified by itself. `false` as with [`Sought::Gone`].
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn range(
        &self,
        piece: &Piece,
        range: &RangeInclusive<u128>,
        out: &mut Vec<Entry>,
    ) -> Result<bool, TreeError> {
        let Run { parts, .. } = piece.run;
        // The first block that does not end before the range, by halving: `low` may be it.
        let (mut low, mut high) = (0, parts);
        let mut block = Vec::new();
        while low < high {
            let middle = low + (high - low) / 2;
            if !self.one(piece, middle, &mut block)? {
                return Ok(false);
            }
            if block.last().is_some_and(|last| last.hash < *range.start()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        while low < parts {
            if !self.one(piece, low, &mut block)? {
                return Ok(false);
            }
            out.extend(block.iter().filter(|entry| range.contains(&entry.hash)));
            if block.last().is_some_and(|last| last.hash >= *range.end()) {
                break;
            }
            low += 1;
        }
        Ok(true)
    }

    fn one(&self, piece: &Piece, part: u32, out: &mut Vec<Entry>) -> Result<bool, TreeError> {
        out.clear();
        let mut crc = crc32fast::Hasher::new();
        self.with(|handle| handle.read_blocks(self.store_id, piece, (part, 1), out, &mut crc))
    }

    fn with<T>(&self, ask: impl FnOnce(&Handle) -> Result<T, TreeError>) -> Result<T, TreeError> {
        match &*self.handle.read() {
            Some(handle) => ask(handle),
            None => Err(super::handle::closed()),
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
