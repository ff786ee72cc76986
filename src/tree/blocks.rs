//! Changing blocks, within a transaction of redb's.

use redb::{ReadableTable, ReadableTableMetadata};

use super::Entry;
use super::block;
use super::handle::{Fault, Key, name_of};
use super::header::BlockId;

/// The blocks, within a transaction that writes.
pub(super) struct Blocks<'a> {
    table: redb::Table<'a, Key, &'static [u8]>,
}

impl<'a> Blocks<'a> {
    pub(super) fn of(table: redb::Table<'a, Key, &'static [u8]>) -> Self {
        Self { table }
    }

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
        let key = (id.bucket, id.run, id.part);
        let Some(block) = self.table.get(key)? else {
            return Err(Fault::Damaged(format!("{} is absent", name_of(key))));
        };
        block::decode(id, block.value(), out)
            .map_err(|wrong| Fault::Damaged(format!("{} {wrong}", name_of(key))))
    }

    /// How many blocks redb counts.
    pub(super) fn count(&self) -> Result<u64, Fault> {
        Ok(self.table.len()?)
    }
}
