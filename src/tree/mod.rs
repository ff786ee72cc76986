//! The tree: the index that survives, over redb, in the file `tree.redb`.
//!
//! It keeps entries, opaque to it, by expiry bucket. A *checkpoint* adds one *run*: the entries
//! given, by bucket and sorted by hash, cut into checksummed blocks. Runs are numbered, written
//! once and never changed; a bucket's runs are dropped together. Inserts therefore go to the edge
//! of the newest buckets, where a B-tree is fast, and a sweep takes whole buckets off its left.
//!
//! redb verifies nothing as it reads, so neither a hit nor a miss is believed from it: the head
//! lists every run with its size and checksum, and what is read must be exactly that. An absent
//! block, an extra one, a stale one is [`TreeError::Damaged`], never a miss. The log is the truth,
//! so a damaged tree costs time: it is made anew from the log.
//!
//! Single keys are looked up through a [`Reader`], which goes on beside whoever changes the tree.
//!
//! With each run stands its *filter*, so that who opens a store need not read the run to know most
//! of what is not in it.
//!
//! This folder is the only one that names redb. Its files, from the ground up: `bytes`, `header`,
//! `block`, `filter`, `filter_block` and `head` (pure), `overlay` and `backend` (files), `handle`
//! and `blocks` (redb), `run`, `merge`, `reader`, `commit`, `verify`.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::storage::Storage;

use commit::load;
use handle::Handle;
use head::Head;
use run::{spans, write_run};

mod backend;
mod block;
mod blocks;
mod bytes;
mod commit;
mod filter;
mod filter_block;
mod handle;
mod head;
mod header;
mod merge;
mod overlay;
mod reader;
mod run;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use filter::Filter;
pub(crate) use head::Run;
pub(crate) use reader::{Piece, Reader, Sought};

/// The tree's file, in the store's directory.
pub(crate) const FILE: &str = "tree.redb";

/// Where a key's frame stands in the log. Opaque to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key's 128-bit keyed hash.
    pub(crate) hash: u128,
    /// Where in the log the frame is.
    pub(crate) location: u64,
    /// The frame's log sequence.
    pub(crate) sequence: u64,
}

/// Why the tree did not do what it was asked.
#[derive(Debug)]
pub(crate) enum TreeError {
    /// The file is missing, damaged, of another store or another format: rebuild it from the log.
    Damaged(String),
    /// The disk refused (`ENOSPC`, `EIO`): try again later, with a handle that opens itself anew.
    Io(io::Error),
}

impl TreeError {
    /// Whether the disk had no room.
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io(error) if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "{FILE} cannot be believed: {what}"),
            Self::Io(error) => write!(f, "{FILE}: {error}"),
        }
    }
}

impl std::error::Error for TreeError {}

impl From<TreeError> for Error {
    fn from(error: TreeError) -> Self {
        let full = error.is_full();
        match error {
            TreeError::Damaged(_) => Self::corrupt(error.to_string()),
            TreeError::Io(cause) if full => Self::new(ErrorKind::Full, FILE).with_source(cause),
            TreeError::Io(cause) => Self::io(FILE, cause),
        }
    }
}

/// The tree, open.
///
/// After an error the file is opened again at the next call. An error of [`checkpoint`] or
/// [`drop_buckets`] leaves open whether the change is in the file: it is there whole or not at
/// all, and the next call finds out which.
///
/// [`checkpoint`]: Tree::checkpoint
/// [`drop_buckets`]: Tree::drop_buckets
pub(crate) struct Tree {
    storage: Arc<dyn Storage>,
    store_id: [u8; 16],
    /// `None` after a fault, until the next call.
    access: Option<Access>,
    /// Has the same handle as `access`, or one that a fault has cut off.
    reader: Arc<Reader>,
    /// What the file says of itself, as far as a commit or an opening has shown.
    head: Head,
    /// The head of a commit that failed and may be in the file all the same. Compared with the
    /// file's at the next opening: a third head there is damage.
    attempt: Option<Attempt>,
    /// The runs of a checkpoint that failed and is in the file all the same. Whoever asked for it
    /// believes it is not, so that the next commit takes them out again, unless they read the head.
    unconfirmed: Range<u64>,
}

/// A commit of which nobody knows whether it happened.
struct Attempt {
    head: Head,
    /// The runs it added of which nobody but it knows.
    added: Range<u64>,
}

/// How far redb has been let at the file.
enum Access {
    /// To look. Nothing it writes reaches the file.
    View(Arc<Handle>),
    /// To change the file, all of whose pages redb has verified.
    Write(Arc<Handle>),
}

impl Access {
    fn handle(&self) -> &Arc<Handle> {
        match self {
            Self::View(handle) | Self::Write(handle) => handle,
        }
    }
}

impl Tree {
    /// Opens the tree of the store `store_id`, and gives it with the engine's bytes of its head.
    /// `None` when there is no file. Reads the head, not the blocks: those are verified when they
    /// are read. The file is not changed before the first commit, which reads all of it first.
    ///
    /// # Errors
    /// `Damaged` when the file cannot be believed; `Io` when the disk refused.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        store_id: [u8; 16],
    ) -> Result<Option<(Self, Vec<u8>)>, TreeError> {
        let file = match storage.open(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(TreeError::Io)?,
        };
        let (handle, head) = load(Handle::view(file)?, store_id)?;
        let engine = head.engine.clone();
        let access = Access::View(Arc::new(handle));
        Ok(Some((Self::holding(storage, store_id, access, head), engine)))
    }

    /// A new, empty tree with `head` as the engine's bytes, in place of whatever stands there.
    ///
    /// # Errors
    /// `Io` when the disk refused. What is there then opens as damaged or not at all, and making
    /// it again is allowed.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        store_id: [u8; 16],
        head: &[u8],
    ) -> Result<Self, TreeError> {
        match storage.unlink(FILE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(TreeError::Io(error));
            }
            _ => {}
        }
        let file = storage.create(FILE).map_err(TreeError::Io)?;
        storage.sync_dir("").map_err(TreeError::Io)?;
        let handle = Handle::create(file)?;
        let head = Head { engine: head.to_vec(), ..Head::default() };
        handle.commit(|_| Ok(head::encode(store_id, &head)))?;
        Ok(Self::holding(storage, store_id, Access::Write(Arc::new(handle)), head))
    }

    fn holding(storage: Arc<dyn Storage>, store_id: [u8; 16], access: Access, head: Head) -> Self {
        let reader = Arc::new(Reader::new(store_id));
        reader.put(Some(Arc::clone(access.handle())));
        let access = Some(access);
        Self { storage, store_id, access, reader, head, attempt: None, unconfirmed: 0..0 }
    }

    /// The engine's bytes of the head as it is in the file. After a failed checkpoint or drop this
    /// tells whether it happened; from then on it stands, on the disk.
    #[cfg(test)]
    pub(crate) fn head(&mut self) -> Result<&[u8], TreeError> {
        let access = self.ready()?;
        self.access = Some(access);
        self.unconfirmed = 0..0;
        Ok(&self.head.engine)
    }

    /// Adds a run of `entries`, each with its bucket, in any order, and one of `doubts`, and replaces
    /// the engine's bytes of the head, in one durable transaction. Gives the numbers of the runs.
    ///
    /// A checkpoint that failed may be repeated, as it was or with more entries: what the failed
    /// one left in the file, if anything, is replaced in the same transaction.
    ///
    /// # Errors
    /// `Io` or `Damaged`; the file then holds the old state or the new, whole.
    pub(crate) fn checkpoint(
        &mut self,
        head: &[u8],
        entries: Vec<(u64, Entry)>,
        doubts: Vec<(u64, Entry)>,
    ) -> Result<Range<u64>, TreeError> {
        let store_id = self.store_id;
        let runs = [(entries, false), (doubts, true)].map(|(mut entries, doubts)| {
            entries.sort_unstable_by_key(|(bucket, entry)| (*bucket, entry.hash, entry.sequence));
            (entries, doubts)
        });
        self.commit(head, |next, blocks| {
            let first = next.next_run;
            // Number and all, for a checkpoint without entries takes one, too.
            let numbers = first..first + if runs[1].0.is_empty() { 1 } else { 2 };
            next.next_run = numbers.end;
            for (run, (entries, doubts)) in numbers.clone().zip(&runs) {
                for group in entries.chunk_by(|one, other| one.0 == other.0) {
                    let Some(&(bucket, _)) = group.first() else { continue };
                    let added = write_run(blocks, store_id, (bucket, run), group, *doubts)?;
                    next.buckets.entry(bucket).or_default().push(added);
                }
            }
            Ok(numbers)
        })
    }

    /// Makes one run of those of `bucket` with these numbers, none of them of doubts, and replaces
    /// the engine's bytes of the head, in one durable transaction.
    ///
    /// # Errors
    /// `Io` or `Damaged`; the file then holds the old state or the new, whole, and
    /// [`pieces`](Self::pieces) tells which once the tree was asked anything else.
    pub(crate) fn merge(
        &mut self,
        head: &[u8],
        bucket: u64,
        numbers: &[u64],
    ) -> Result<(), TreeError> {
        let store_id = self.store_id;
        let merged = self.commit(head, |next, blocks| {
            let number = next.next_run;
            next.next_run += 1;
            let Some(runs) = next.buckets.get_mut(&bucket) else { return Ok(0..0) };
            let merged: Vec<Run> = runs
                .iter()
                .filter(|run| !run.doubts && numbers.contains(&run.number))
                .copied()
                .collect();
            if merged.is_empty() {
                return Ok(0..0);
            }
            runs.retain(|run| !merged.contains(run));
            runs.push(merge::merge(blocks, store_id, (bucket, number), &merged)?);
            Ok(0..0)
        });
        merged.map(drop)
    }

    /// Removes `buckets`, whole, and replaces the engine's bytes of the head, in one durable
    /// transaction. A bucket that is not there is no error.
    ///
    /// # Errors
    /// `Io` or `Damaged`; the file then holds the old state or the new, whole.
    pub(crate) fn drop_buckets(&mut self, head: &[u8], buckets: &[u64]) -> Result<(), TreeError> {
        let dropped = self.commit(head, |next, blocks| {
            for &bucket in buckets {
                if let Some(runs) = next.buckets.remove(&bucket) {
                    let parts = runs.iter().map(Run::blocks).sum();
                    blocks.remove((bucket, 0, 0), (bucket, u64::MAX, u32::MAX), parts)?;
                }
            }
            Ok(0..0)
        });
        dropped.map(drop)
    }

    /// The buckets present, ascending, with how many entries each has.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        let count = |runs: &Vec<Run>| runs.iter().map(|run| run.entries).sum();
        self.head.buckets.iter().map(|(bucket, runs)| (*bucket, count(runs))).collect()
    }

    /// Every run of every bucket, ascending by bucket and then by number; but not what a checkpoint
    /// that failed has left in the file, for the next commit takes it out.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> {
        let runs = self.head.runs().filter(|(_, run)| !self.unconfirmed.contains(&run.number));
        runs.map(|(bucket, run)| Piece { bucket, run })
    }

    /// What looks single keys up, for as long as this tree lives.
    pub(crate) fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Opens the file anew if a fault has cost the tree its handle.
    ///
    /// # Errors
    /// `Io` or `Damaged`.
    pub(crate) fn revive(&mut self) -> Result<(), TreeError> {
        if !self.reader.is_open() {
            self.access = None;
        }
        let access = self.ready()?;
        self.access = Some(access);
        Ok(())
    }

    /// Visits every entry of the runs of doubts, verified, one run of one bucket at a time, ascending
    /// by run number and then by bucket, with the bucket and the run's number.
    ///
    /// # Errors
    /// `Io` or `Damaged`, which stops it: what was visited by then is not all there is.
    pub(crate) fn for_each_doubt(
        &mut self,
        visit: &mut dyn FnMut(u64, u64, &[Entry]),
    ) -> Result<(), TreeError> {
        self.for_each_in_run_order(|run| run.doubts, visit)
    }

    /// The same of the runs that `wanted` says.
    pub(crate) fn for_each_in_run_order(
        &mut self,
        wanted: impl Fn(&Run) -> bool,
        visit: &mut dyn FnMut(u64, u64, &[Entry]),
    ) -> Result<(), TreeError> {
        let access = self.ready()?;
        let handle = access.handle();
        let mut spans = spans(&self.head);
        if spans.is_empty() {
            handle.expect_none((0, 0, 0), (u64::MAX, u64::MAX, u32::MAX))?;
        }
        spans.retain(|span| wanted(&span.run));
        spans.sort_unstable_by_key(|span| (span.run.number, span.bucket));
        let mut entries = Vec::new();
        for span in &spans {
            entries.clear();
            handle.read_whole(self.store_id, span, &mut entries)?;
            visit(span.bucket, span.run.number, &entries);
        }
        self.access = Some(access);
        Ok(())
    }

    /// Visits every entry of `bucket`, verified, one run at a time, ascending by run number.
    ///
    /// # Errors
    /// `Io` or `Damaged`, which stops it: what was visited by then is not all there is.
    pub(crate) fn for_each_in_bucket(
        &mut self,
        bucket: u64,
        visit: &mut dyn FnMut(&[Entry]),
    ) -> Result<(), TreeError> {
        let access = self.ready()?;
        let handle = access.handle();
        if !self.head.buckets.contains_key(&bucket) {
            handle.expect_none((bucket, 0, 0), (bucket, u64::MAX, u32::MAX))?;
        }
        let mut entries = Vec::new();
        for span in spans(&self.head).iter().filter(|span| span.bucket == bucket) {
            entries.clear();
            handle.read_whole(self.store_id, span, &mut entries)?;
            visit(&entries);
        }
        self.access = Some(access);
        Ok(())
    }

    /// The file's length in bytes.
    pub(crate) fn file_len(&self) -> Result<u64, TreeError> {
        self.storage.open_read_only(FILE).and_then(|file| file.len()).map_err(TreeError::Io)
    }

    /// Closes the file with redb's own clean shutdown. A file that was not changed needs none, and
    /// after a fault there is nothing to close: the next opening recovers.
    pub(crate) fn close(mut self) -> Result<(), TreeError> {
        // Whoever is looking something up is waited for.
        self.reader.put(None);
        match self.access.take() {
            Some(Access::Write(handle)) => Arc::into_inner(handle).map_or(Ok(()), Handle::close),
            Some(Access::View(_)) | None => Ok(()),
        }
    }

    /// Verifies the whole file and changes none of it. Gives the engine's bytes of the head and,
    /// in words, everything that is wrong; `visit` gets each bucket's entries, a run at a time, as
    /// far as they are verified.
    ///
    /// # Errors
    /// `Damaged` when there is no file, or not even a head in it can be believed.
    pub(crate) fn verify(
        storage: &Arc<dyn Storage>,
        store_id: [u8; 16],
        visit: &mut dyn FnMut(u64, &[Entry]),
    ) -> Result<(Vec<u8>, Vec<String>), TreeError> {
        verify::verify(&**storage, store_id, visit)
    }
}

/// Whoever still has the reader finds it closed.
impl Drop for Tree {
    fn drop(&mut self) {
        self.reader.put(None);
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("generation", &self.head.generation)
            .field("buckets", &self.head.buckets.len())
            .field("open", &self.access.is_some())
            .finish_non_exhaustive()
    }
}
