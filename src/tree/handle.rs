//! redb, held at arm's length.
//!
//! Four rules make redb usable on a file that may be damaged:
//! 1. Every call into it is guarded: it may panic on bytes it did not write.
//! 2. After a fault the handle is cut off from the file and dropped, never used again: redb
//!    latches I/O errors, and after a panic its memory is anybody's guess.
//! 3. Nothing it reads is believed: blocks and head carry their own checksums, and the blocks of a
//!    range must be exactly those the directory lists. redb verifies no page as it reads.
//! 4. It writes only to a file whose every page it has verified. Writing over damaged pages it can
//!    panic while it unwinds from a panic, which ends the process, guarded or not, and again at
//!    every restart. So a file is first opened as a *view*, at once, and redb's writes go to
//!    memory; before the first commit it is opened again, to write, with all pages checked.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::backend::{Backend, Shared};
use super::block::{self, ENTRIES_MAX, Looked};
use super::blocks::Blocks;
use super::filter::{Filter, Line};
use super::filter_block;
use super::head::Run;
use super::header::BlockId;
use super::overlay::Overlay;
use super::{Entry, Piece, Sought, TreeError};
use crate::storage::File;

/// A block's key: bucket, run, part. redb orders by it, so a bucket's blocks stand together and
/// the newest run of the newest bucket stands last.
pub(super) type Key = (u64, u64, u32);

const BLOCKS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("blocks");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const HEAD: &str = "head";

/// redb's cache, bytes. The index above is what answers lookups; the cache only has to carry the
/// branch pages and the pages of one transaction.
const CACHE_BYTES: usize = 8 << 20;

/// An open redb database over one file.
pub(super) struct Handle {
    database: Option<Database>,
    backend: Arc<Backend>,
    /// Opened to look at, and not to be shut down in the end.
    view: bool,
}

/// Why a guarded piece of work stopped.
pub(super) enum Fault {
    Redb(redb::Error),
    Damaged(String),
}

macro_rules! redb_faults {
    ($($error:ident),+) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        }
    )+};
}
redb_faults!(CommitError, DatabaseError, StorageError, TableError, TransactionError);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

/// Where one run stands in one bucket, and what stands around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Nothing may stand between this key and the run's first block.
    pub(super) from: Key,
    pub(super) bucket: u64,
    pub(super) run: Run,
    /// The first key after the run's last block; `None` when it is the table's last.
    pub(super) next: Option<Key>,
}

impl Handle {
    /// Opens the database in `file` to look at: nothing is verified, and nothing reaches the file.
    pub(super) fn view(file: Arc<dyn File>) -> Result<Self, TreeError> {
        let view = Overlay::new(nonempty(file)?).map_err(TreeError::Io)?;
        let mut handle = Self::start(Arc::new(view), false)?;
        handle.view = true;
        Ok(handle)
    }

    /// Opens the database in `file` to change it, once redb has verified the checksums of all its
    /// pages and found out anew which are free.
    pub(super) fn open(file: Arc<dyn File>) -> Result<Self, TreeError> {
        let file = nonempty(file)?;
        // A sync that failed may have cost the disk a change of length that is still seen here.
        // redb would not make it again, and would write past the end of what is there.
        file.len().and_then(|len| file.set_len(len)).map_err(TreeError::Io)?;
        file.sync().map_err(TreeError::Io)?;
        Self::start(file, true)
    }

    /// Makes a database in `file`, which is empty.
    pub(super) fn create(file: Arc<dyn File>) -> Result<Self, TreeError> {
        Self::start(file, false)
    }

    fn start(file: Arc<dyn File>, check: bool) -> Result<Self, TreeError> {
        let backend = Backend::new(file);
        let database = guard(&backend, || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
            Ok(builder.create_with_backend(Shared(backend.clone()))?)
        })?;
        Ok(Self { database: Some(database), backend, view: false })
    }

    /// Writes nothing from here on, not even as it is dropped.
    pub(super) fn cut_off(&self) {
        let _ = self.backend.cut_off();
    }

    /// Whether a fault has cost this handle its file.
    pub(super) fn is_cut_off(&self) -> bool {
        self.backend.is_cut_off()
    }

    /// The head's bytes, and how many blocks redb counts. Neither is verified.
    pub(super) fn read_head(&self) -> Result<(Vec<u8>, u64), TreeError> {
        self.guarded(|database| {
            let transaction = database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let Some(head) = meta.get(HEAD)? else {
                return Err(Fault::Damaged("there is no head".to_owned()));
            };
            let blocks = transaction.open_table(BLOCKS)?.len()?;
            Ok((head.value().to_vec(), blocks))
        })
    }

    /// Appends the entries of one run in one bucket to `out`, once all of the run's blocks, those of
    /// its filter among them, are verified: each by itself, and together by number and checksum
    /// against the directory.
    pub(super) fn read_whole(
        &self,
        store_id: [u8; 16],
        span: &Span,
        out: &mut Vec<Entry>,
    ) -> Result<(), TreeError> {
        self.read_run(store_id, span, out)?;
        self.read_filter(store_id, span).map(drop)
    }

    /// The same of the blocks of the entries alone.
    pub(super) fn read_run(
        &self,
        store_id: [u8; 16],
        span: &Span,
        out: &mut Vec<Entry>,
    ) -> Result<(), TreeError> {
        let Span { bucket, run, .. } = *span;
        self.guarded(|database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let mut blocks = table.range(span.from..)?;
            let mut crc = crc32fast::Hasher::new();
            let start = out.len();
            for part in 0..run.parts {
                let id = BlockId { store_id, bucket, run: run.number, part, parts: run.parts };
                let read = |block: &[u8]| block::decode(&id, block, out);
                let block_crc = read_next(&mut blocks, (bucket, run.number, part), read)?;
                crc.update(&block_crc.to_le_bytes());
            }
            let entries = out.len().saturating_sub(start) as u64;
            if crc.finalize() != run.crc || entries != run.entries {
                let name = format!("run {} in bucket {bucket}", run.number);
                return Err(Fault::Damaged(format!("{name} is not the one the directory lists")));
            }
            let filter = run.has_filter().then_some((bucket, run.number, run.parts));
            expect_next(&mut blocks, filter.or(span.next), span)
        })
    }

    /// The filter of one run in one bucket, verified as its entries are; an empty one when it has
    /// none.
    pub(super) fn read_filter(&self, store_id: [u8; 16], span: &Span) -> Result<Filter, TreeError> {
        let Span { bucket, run, .. } = *span;
        let mut lines = Vec::new();
        if !run.has_filter() {
            return Ok(Filter::of_lines(lines));
        }
        self.guarded(|database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let mut blocks = table.range((bucket, run.number, run.parts)..)?;
            let (mut crc, parts) = (crc32fast::Hasher::new(), run.filter_parts());
            for part in 0..parts {
                let id = BlockId { store_id, bucket, run: run.number, part, parts };
                let read = |block: &[u8]| filter_block::decode(&id, block, &mut lines);
                let key = (bucket, run.number, run.parts + part);
                crc.update(&read_next(&mut blocks, key, read)?.to_le_bytes());
            }
            if crc.finalize() != run.filter_crc || lines.len() != run.lines as usize {
                let name = format!("the filter of run {} in bucket {bucket}", run.number);
                return Err(Fault::Damaged(format!("{name} is not the one the directory lists")));
            }
            expect_next(&mut blocks, span.next, span)
        })?;
        Ok(Filter::of_lines(lines))
    }

    /// Looks for `hash` in one run of one bucket. Whatever is looked at is verified by itself; a
    /// block that is not there is for the caller to judge, for its run may have gone.
    pub(super) fn find(
        &self,
        store_id: [u8; 16],
        piece: &Piece,
        hash: u128,
    ) -> Result<Sought, TreeError> {
        self.guarded(|database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let Piece { bucket, run } = *piece;
            let look = |part: u32| {
                let Some(block) = table.get((bucket, run.number, part))? else { return Ok(None) };
                let id = BlockId { store_id, bucket, run: run.number, part, parts: run.parts };
                block::look(&id, block.value(), hash).map(Some).map_err(|wrong| {
                    Fault::Damaged(format!("{} {wrong}", name_of((bucket, run.number, part))))
                })
            };
            // Hashes are spread evenly, so their distance says how many blocks lie between.
            let parts = |distance: u128| {
                let entries = ((distance >> 64) * u128::from(run.entries)) >> 64;
                u32::try_from(entries / ENTRIES_MAX as u128).unwrap_or(u32::MAX)
            };
            let (mut low, mut high) = (0, run.parts.saturating_sub(1));
            let mut at = parts(hash).min(high);
            loop {
                let Some(looked) = look(at)? else { return Ok(Sought::Gone) };
                match looked {
                    Looked::Between => return Ok(Sought::Not),
                    Looked::Before(_) if at == low => return Ok(Sought::Not),
                    Looked::Behind(_) if at == high => return Ok(Sought::Not),
                    Looked::Before(by) => {
                        high = at - 1;
                        at = high.saturating_sub(parts(by)).max(low);
                    }
                    Looked::Behind(by) => {
                        low = at + 1;
                        at = low.saturating_add(parts(by)).min(high);
                    }
                    Looked::Found { mut entries, first, last } => {
                        let before = (first && at > 0).then(|| at - 1);
                        let behind = (last && at + 1 < run.parts).then(|| at + 1);
                        for neighbour in before.into_iter().chain(behind) {
                            let Some(looked) = look(neighbour)? else { return Ok(Sought::Gone) };
                            if let Looked::Found { entries: more, .. } = looked {
                                entries.extend(more);
                            }
                        }
                        return Ok(Sought::Found(entries));
                    }
                }
            }
        })
    }

    /// Appends the entries of some blocks of one run in one bucket to `out`, from block `from` on,
    /// `count` of them or up to the last, each verified by itself; and adds their CRCs to `crc`.
    /// `false` when one is not there, which is for the caller to judge.
    pub(super) fn read_blocks(
        &self,
        store_id: [u8; 16],
        piece: &Piece,
        (from, count): (u32, u32),
        out: &mut Vec<Entry>,
        crc: &mut crc32fast::Hasher,
    ) -> Result<bool, TreeError> {
        self.guarded(|database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let Piece { bucket, run } = *piece;
            for part in from..from.saturating_add(count).min(run.parts) {
                let Some(block) = table.get((bucket, run.number, part))? else { return Ok(false) };
                let id = BlockId { store_id, bucket, run: run.number, part, parts: run.parts };
                let read = block::decode(&id, block.value(), out).map_err(|wrong| {
                    Fault::Damaged(format!("{} {wrong}", name_of((bucket, run.number, part))))
                })?;
                crc.update(&read.to_le_bytes());
            }
            Ok(true)
        })
    }

    /// The same of the blocks of the run's filter, and their lines.
    pub(super) fn read_lines(
        &self,
        store_id: [u8; 16],
        piece: &Piece,
        (from, count): (u32, u32),
        out: &mut Vec<Line>,
        crc: &mut crc32fast::Hasher,
    ) -> Result<bool, TreeError> {
        self.guarded(|database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let Piece { bucket, run } = *piece;
            let parts = run.filter_parts();
            for part in from..from.saturating_add(count).min(parts) {
                let key = (bucket, run.number, run.parts + part);
                let Some(block) = table.get(key)? else { return Ok(false) };
                let id = BlockId { store_id, bucket, run: run.number, part, parts };
                let read = filter_block::decode(&id, block.value(), out)
                    .map_err(|wrong| Fault::Damaged(format!("{} {wrong}", name_of(key))))?;
                crc.update(&read.to_le_bytes());
            }
            Ok(true)
        })
    }

    /// Makes sure that there is no block from `from` to `to`, both included.
    pub(super) fn expect_none(&self, from: Key, to: Key) -> Result<(), TreeError> {
        self.guarded(|database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            match table.range(from..=to)?.next().transpose()? {
                None => Ok(()),
                Some(block) => {
                    Err(Fault::Damaged(format!("{:?} is not in the directory", block.0.value())))
                }
            }
        })
    }

    /// Changes blocks and replaces the head, in one durable transaction. `change` gives the head's
    /// bytes. After an error the file holds either what it held before or all of the change.
    pub(super) fn commit(
        &self,
        change: impl FnOnce(&mut Blocks<'_>) -> Result<Vec<u8>, Fault>,
    ) -> Result<(), TreeError> {
        self.guarded(|database| {
            let mut transaction = database.begin_write()?;
            // Saves the free-page map with the commit, so that a view after a kill opens without
            // a walk through all of the tree. It costs a second sync, in the background, and asks
            // for no trust: blocks carry their own checksums, and nothing is written by that map.
            transaction.set_quick_repair(true);
            {
                let head = change(&mut Blocks::of(transaction.open_table(BLOCKS)?))?;
                transaction.open_table(META)?.insert(HEAD, head.as_slice())?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// Has redb walk its own pages and compare their checksums. `Ok(false)`: something was wrong
    /// and could be repaired.
    pub(super) fn check_pages(&mut self) -> Result<bool, TreeError> {
        let Some(database) = self.database.as_mut() else { return Err(closed()) };
        guard(&self.backend, || Ok(database.check_integrity()?))
    }

    /// redb's clean shutdown.
    pub(super) fn close(mut self) -> Result<(), TreeError> {
        let Some(database) = self.database.take() else { return Err(closed()) };
        guard(&self.backend, || Ok(database.close()?))
    }

    fn guarded<T>(&self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, TreeError> {
        let Some(database) = self.database.as_ref() else { return Err(closed()) };
        guard(&self.backend, || work(database))
    }
}

/// Dropping redb is a call into redb like any other, and one that commits: after a fault, and over
/// a view, redb must not get that far. It does not when it knows of an I/O error, so it is made to
/// meet one.
impl Drop for Handle {
    fn drop(&mut self) {
        let Some(mut database) = self.database.take() else { return };
        if self.view {
            self.cut_off();
        }
        if self.backend.is_cut_off() {
            let _ = guard(&self.backend, || Ok(database.check_integrity()?));
        }
        let _ = guard(&self.backend, || {
            drop(database);
            Ok(())
        });
    }
}

/// A block, in words. Those of a run's filter are counted on behind those of its entries.
pub(super) fn name_of((bucket, run, part): Key) -> String {
    format!("block {part} of run {run} in bucket {bucket}")
}

type Range<'a> = redb::Range<'a, Key, &'static [u8]>;

/// What `read` makes of the next of `blocks`, which must be the one under `key`.
fn read_next<T>(
    blocks: &mut Range<'_>,
    key: Key,
    read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<T, Fault> {
    let damaged = |what: String| Err(Fault::Damaged(what));
    let Some((found, block)) = blocks.next().transpose()? else {
        return damaged(format!("{} is absent", name_of(key)));
    };
    let found = found.value();
    if found != key {
        return damaged(format!("{found:?} in the place of {}", name_of(key)));
    }
    read(block.value()).or_else(|wrong| damaged(format!("{} {wrong}", name_of(key))))
}

/// Makes sure that `wanted` comes next, behind what stands in `span`.
fn expect_next(blocks: &mut Range<'_>, wanted: Option<Key>, span: &Span) -> Result<(), Fault> {
    let next = blocks.next().transpose()?.map(|block| block.0.value());
    if next == wanted {
        return Ok(());
    }
    let name = format!("run {} in bucket {}", span.run.number, span.bucket);
    Err(Fault::Damaged(format!("{next:?} follows {name} instead of {wanted:?}")))
}

/// Runs `work`, which calls redb. A panic in it is damage; what the disk refused until then is the
/// disk's fault, whatever came of it; either way redb is cut off from the file. Several may run at
/// once, and a refusal one of them got over is told by the next that fails: which asks again, of a
/// new handle, where one that told of damage would not.
fn guard<T>(backend: &Backend, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, TreeError> {
    let said = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(fault)) => fault.to_string(),
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().copied();
            let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            format!("redb panicked: {}", said.unwrap_or("without a word"))
        }
    };
    if !backend.cut_off() {
        // Another call met the fault, and this one only that the file was gone.
        return Err(closed());
    }
    match backend.take_refusal() {
        Some(error) => Err(TreeError::Io(error)),
        None => Err(TreeError::Damaged(said)),
    }
}

/// redb would make a new database of an empty file; for us it is one whose making was cut off.
fn nonempty(file: Arc<dyn File>) -> Result<Arc<dyn File>, TreeError> {
    match file.len() {
        Ok(0) => Err(TreeError::Damaged("the file is empty".to_owned())),
        Ok(_) => Ok(file),
        Err(refused) => Err(TreeError::Io(refused)),
    }
}

pub(super) fn closed() -> TreeError {
    TreeError::Io(std::io::Error::other("the tree's handle is closed"))
}
