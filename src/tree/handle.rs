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

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::backend::{Backend, Shared};
use super::block::{self, BlockId, ENTRIES_MAX, Looked};
use super::head::Run;
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

    /// Appends the entries of one run in one bucket to `out`, once all of its blocks are verified:
    /// each by itself, and together by number and checksum against the directory.
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
                let name = || format!("block {part} of run {} in bucket {bucket}", run.number);
                let Some(block) = blocks.next().transpose()? else {
                    return Err(Fault::Damaged(format!("{} is absent", name())));
                };
                let found = block.0.value();
                if found != (bucket, run.number, part) {
                    return Err(Fault::Damaged(format!("{found:?} in the place of {}", name())));
                }
                let id = BlockId { store_id, bucket, run: run.number, part, parts: run.parts };
                let block_crc = block::decode(&id, block.1.value(), out)
                    .map_err(|wrong| Fault::Damaged(format!("{} {wrong}", name())))?;
                crc.update(&block_crc.to_le_bytes());
            }
            let entries = out.len().saturating_sub(start) as u64;
            if crc.finalize() != run.crc || entries != run.entries {
                let name = format!("run {} in bucket {bucket}", run.number);
                return Err(Fault::Damaged(format!("{name} is not the one the directory lists")));
            }
            let next = blocks.next().transpose()?.map(|block| block.0.value());
            if next != span.next {
                let name = format!("run {} in bucket {bucket}", run.number);
                return Err(Fault::Damaged(format!(
                    "{next:?} follows {name} instead of {:?}",
                    span.next
                )));
            }
            Ok(())
        })
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
                    let name = format!("block {part} of run {} in bucket {bucket}", run.number);
                    Fault::Damaged(format!("{name} {wrong}"))
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
                    let name = format!("block {part} of run {} in bucket {bucket}", run.number);
                    Fault::Damaged(format!("{name} {wrong}"))
                })?;
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
                let head = change(&mut Blocks { table: transaction.open_table(BLOCKS)? })?;
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

/// The blocks, within a transaction that writes.
pub(super) struct Blocks<'a> {
    table: redb::Table<'a, Key, &'static [u8]>,
}

impl Blocks<'_> {
    /// Adds a block. One that is there already is damage: runs are written once.
    pub(super) fn insert(&mut self, key: Key, block: &[u8]) -> Result<(), Fault> {
        match self.table.insert(key, block)? {
            None => Ok(()),
            Some(_) => Err(Fault::Damaged(format!("{key:?} is there before it was written"))),
        }
    }

    /// Removes the blocks from `from` to `to`, both included, of which there are `expected`.
    pub(super) fn remove(&mut self, from: Key, to: Key, expected: u64) -> Result<(), Fault> {
        let mut removed = 0;
        self.table.retain_in(from..=to, |_, _| {
            removed += 1;
            false
        })?;
        if removed == expected {
            return Ok(());
        }
        Err(Fault::Damaged(format!("{removed} blocks from {from:?} to {to:?}, not {expected}")))
    }

    /// Appends the entries of the block `id` to `out`, verified, and gives its CRC.
    pub(super) fn read(&self, id: &BlockId, out: &mut Vec<Entry>) -> Result<u32, Fault> {
        let name = || format!("block {} of run {} in bucket {}", id.part, id.run, id.bucket);
        let Some(block) = self.table.get((id.bucket, id.run, id.part))? else {
            return Err(Fault::Damaged(format!("{} is absent", name())));
        };
        block::decode(id, block.value(), out)
            .map_err(|wrong| Fault::Damaged(format!("{} {wrong}", name())))
    }

    /// How many blocks redb counts.
    pub(super) fn count(&self) -> Result<u64, Fault> {
        Ok(self.table.len()?)
    }
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
