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
//! This folder is the only one that names redb. Its files, from the ground up: `bytes`, `block`
//! and `head` (pure), `overlay` and `backend` (files), `handle` (redb), `verify`.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::storage::{File, Storage};

use block::{BlockId, ENTRIES_MAX};
use handle::{Blocks, Fault, Handle, Span};
use head::{Head, Run};

mod backend;
mod block;
mod bytes;
mod handle;
mod head;
mod overlay;
#[cfg(test)]
mod tests;
mod verify;

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
        match error {
            TreeError::Damaged(_) => Self::corrupt(error.to_string()),
            TreeError::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::new(ErrorKind::Full, FILE).with_source(error)
                }
                _ => Self::io(FILE, error),
            },
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
    /// What the file says of itself, as far as a commit or an opening has shown.
    head: Head,
    /// The head of a commit that failed and may be in the file all the same. Compared with the
    /// file's at the next opening: a third head there is damage.
    attempt: Option<Head>,
    /// The run of a checkpoint that failed and is in the file all the same. Whoever asked for it
    /// believes it is not, so that the next commit takes it out again, unless they read the head.
    unconfirmed: Option<u64>,
}

/// How far redb has been let at the file.
enum Access {
    /// To look. Nothing it writes reaches the file.
    View(Handle),
    /// To change the file, all of whose pages redb has verified.
    Write(Handle),
}

impl Access {
    fn handle(&self) -> &Handle {
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
        Ok(Some((Self::holding(storage, store_id, Access::View(handle), head), engine)))
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
        Ok(Self::holding(storage, store_id, Access::Write(handle), head))
    }

    fn holding(storage: Arc<dyn Storage>, store_id: [u8; 16], access: Access, head: Head) -> Self {
        let access = Some(access);
        Self { storage, store_id, access, head, attempt: None, unconfirmed: None }
    }

    /// The engine's bytes of the head as it is in the file. After a failed checkpoint or drop this
    /// tells whether it happened; from then on it stands, on the disk.
    #[cfg(test)]
    pub(crate) fn head(&mut self) -> Result<&[u8], TreeError> {
        let access = self.ready()?;
        self.access = Some(access);
        self.unconfirmed = None;
        Ok(&self.head.engine)
    }

    /// Adds a run of `entries`, each with its bucket, in any order, and replaces the engine's bytes
    /// of the head, in one durable transaction.
    ///
    /// A checkpoint that failed may be repeated, as it was or with more entries: what the failed
    /// one left in the file, if anything, is replaced in the same transaction.
    ///
    /// # Errors
    /// `Io` or `Damaged`; the file then holds the old state or the new, whole.
    pub(crate) fn checkpoint(
        &mut self,
        head: &[u8],
        mut entries: Vec<(u64, Entry)>,
    ) -> Result<(), TreeError> {
        entries.sort_unstable_by_key(|(bucket, entry)| (*bucket, entry.hash, entry.sequence));
        let store_id = self.store_id;
        self.commit(head, |next, blocks| {
            let run = next.next_run;
            next.next_run += 1;
            for group in entries.chunk_by(|one, other| one.0 == other.0) {
                let Some(&(bucket, _)) = group.first() else { continue };
                let added = write_run(blocks, store_id, (bucket, run), group)?;
                next.buckets.entry(bucket).or_default().push(added);
            }
            Ok(())
        })
    }

    /// Removes `buckets`, whole, and replaces the engine's bytes of the head, in one durable
    /// transaction. A bucket that is not there is no error.
    ///
    /// # Errors
    /// `Io` or `Damaged`; the file then holds the old state or the new, whole.
    pub(crate) fn drop_buckets(&mut self, head: &[u8], buckets: &[u64]) -> Result<(), TreeError> {
        self.commit(head, |next, blocks| {
            for &bucket in buckets {
                if let Some(runs) = next.buckets.remove(&bucket) {
                    let parts = runs.iter().map(|run| u64::from(run.parts)).sum();
                    blocks.remove((bucket, 0, 0), (bucket, u64::MAX, u32::MAX), parts)?;
                }
            }
            Ok(())
        })
    }

    /// The buckets present, ascending, with how many entries each has.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        let count = |runs: &Vec<Run>| runs.iter().map(|run| run.entries).sum();
        self.head.buckets.iter().map(|(bucket, runs)| (*bucket, count(runs))).collect()
    }

    /// Visits every entry of every bucket, verified, one run of one bucket at a time, ascending by
    /// run number and then by bucket, with the bucket and the run's number.
    ///
    /// # Errors
    /// `Io` or `Damaged`, which stops it: what was visited by then is not all there is.
    pub(crate) fn for_each_in_run_order(
        &mut self,
        visit: &mut dyn FnMut(u64, u64, &[Entry]),
    ) -> Result<(), TreeError> {
        let access = self.ready()?;
        let handle = access.handle();
        let mut spans = spans(&self.head);
        if spans.is_empty() {
            handle.expect_none((0, 0, 0), (u64::MAX, u64::MAX, u32::MAX))?;
        }
        spans.sort_unstable_by_key(|span| (span.run.number, span.bucket));
        let mut entries = Vec::new();
        for span in &spans {
            entries.clear();
            handle.read_run(self.store_id, span, &mut entries)?;
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
            handle.read_run(self.store_id, span, &mut entries)?;
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
        match self.access.take() {
            Some(Access::Write(handle)) => handle.close(),
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

    /// Changes blocks and directory together and replaces the head.
    fn commit(
        &mut self,
        engine: &[u8],
        change: impl FnOnce(&mut Head, &mut Blocks<'_>) -> Result<(), Fault>,
    ) -> Result<(), TreeError> {
        let handle = self.ready_to_write()?;
        let mut next = Head {
            generation: self.head.generation + 1,
            engine: engine.to_vec(),
            ..self.head.clone()
        };
        let unconfirmed = self.unconfirmed;
        let mut attempted = false;
        let outcome = handle.commit(|blocks| {
            for (bucket, run) in unconfirmed.map_or_else(Vec::new, |run| next.remove_run(run)) {
                let last = (bucket, run.number, u32::MAX);
                blocks.remove((bucket, run.number, 0), last, run.parts.into())?;
            }
            change(&mut next, blocks)?;
            if blocks.count()? != next.blocks() {
                return Err(Fault::Damaged(MISCOUNTED.to_owned()));
            }
            attempted = true;
            Ok(head::encode(self.store_id, &next))
        });
        match outcome {
            Ok(()) => {
                self.access = Some(Access::Write(handle));
                self.head = next;
                self.unconfirmed = None;
            }
            Err(_) => self.attempt = attempted.then_some(next),
        }
        outcome
    }

    /// Takes the access, which is opened anew when a fault has cost it. Whoever takes it puts it
    /// back when all went well.
    ///
    /// After a commit that failed it is opened to write: the commit may be readable and not on the
    /// disk, and what redb finds as it opens to write it also syncs. Its two-phase commits see to it
    /// that a commit it finds lacks no page but the header, which is written again.
    fn ready(&mut self) -> Result<Access, TreeError> {
        match self.access.take() {
            Some(access) => Ok(access),
            None if self.attempt.is_some() => self.reopen(Handle::open).map(Access::Write),
            None => self.reopen(Handle::view).map(Access::View),
        }
    }

    /// Takes the access to write, which costs a walk through the whole file the first time.
    fn ready_to_write(&mut self) -> Result<Handle, TreeError> {
        match self.access.take() {
            Some(Access::Write(handle)) => Ok(handle),
            Some(Access::View(_)) | None => self.reopen(Handle::open),
        }
    }

    /// Opens the file again, and settles what became of a commit that failed.
    fn reopen(
        &mut self,
        open: impl FnOnce(Arc<dyn File>) -> Result<Handle, TreeError>,
    ) -> Result<Handle, TreeError> {
        let file = self.storage.open(FILE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TreeError::Damaged("the file is gone".to_owned()),
            _ => TreeError::Io(error),
        })?;
        let (handle, found) = load(open(file)?, self.store_id)?;
        match self.attempt.take() {
            _ if found == self.head => {}
            Some(attempt) if found == attempt => {
                // Only a checkpoint takes a run's number, and each commit takes out what an
                // earlier one left unconfirmed.
                let added = attempt.next_run != self.head.next_run;
                self.unconfirmed = added.then_some(self.head.next_run);
                self.head = attempt;
            }
            attempt => {
                self.attempt = attempt;
                handle.cut_off();
                return Err(TreeError::Damaged("the file is of another time".to_owned()));
            }
        }
        Ok(handle)
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

const MISCOUNTED: &str = "the directory lists another number of blocks";

/// Reads the head of an open file.
fn load(handle: Handle, store_id: [u8; 16]) -> Result<(Handle, Head), TreeError> {
    let (bytes, blocks) = handle.read_head()?;
    let head = head::decode(store_id, &bytes)
        .and_then(|head| if head.blocks() == blocks { Ok(head) } else { Err(MISCOUNTED) });
    match head {
        Ok(head) => Ok((handle, head)),
        Err(wrong) => {
            // What is there belongs to somebody else, or to a post-mortem: leave it as it is.
            handle.cut_off();
            Err(TreeError::Damaged(wrong.to_owned()))
        }
    }
}

/// Where each run stands, in the order of the keys.
fn spans(head: &Head) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (bucket, run) in head.runs() {
        let first = (bucket, run.number, 0);
        let from = match spans.last_mut() {
            None => (0, 0, 0),
            Some(before) => {
                before.next = Some(first);
                if before.bucket == bucket { first } else { (bucket, 0, 0) }
            }
        };
        spans.push(Span { from, bucket, run, next: None });
    }
    spans
}

/// Writes the blocks of one run in one bucket: `entries` in the order of their hashes.
fn write_run(
    blocks: &mut Blocks<'_>,
    store_id: [u8; 16],
    (bucket, number): (u64, u64),
    entries: &[(u64, Entry)],
) -> Result<Run, Fault> {
    let parts = block::parts_for(entries.len()) as u32;
    let mut crc = crc32fast::Hasher::new();
    let (mut sorted, mut bytes) = (Vec::with_capacity(ENTRIES_MAX), Vec::new());
    for (part, chunk) in (0..parts).zip(entries.chunks(ENTRIES_MAX)) {
        sorted.clear();
        sorted.extend(chunk.iter().map(|(_, entry)| *entry));
        let id = BlockId { store_id, bucket, run: number, part, parts };
        crc.update(&block::encode(&id, &sorted, &mut bytes).to_le_bytes());
        blocks.insert((bucket, number, part), &bytes)?;
    }
    Ok(Run { number, entries: entries.len() as u64, parts, crc: crc.finalize() })
}
