//! Several runs of one bucket, made one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Entry;
use super::block::{self, ENTRIES_MAX};
use super::blocks::Blocks;
use super::filter::Filter;
use super::handle::Fault;
use super::head::Run;
use super::header::BlockId;
use super::run::with_filter;

/// A run being read in the order of its hashes, a block in memory at a time.
struct Cursor {
    run: Run,
    next_part: u32,
    /// The block read last, and how much of it is taken.
    block: Vec<Entry>,
    taken: usize,
    crc: crc32fast::Hasher,
}

impl Cursor {
    fn of(run: Run) -> Self {
        Self { run, next_part: 0, block: Vec::new(), taken: 0, crc: crc32fast::Hasher::new() }
    }

    /// The next entry; `None` behind the last, once all that was read is what the directory lists.
    fn next(
        &mut self,
        blocks: &Blocks<'_>,
        store_id: [u8; 16],
        bucket: u64,
    ) -> Result<Option<Entry>, Fault> {
        loop {
            if let Some(entry) = self.block.get(self.taken) {
                self.taken += 1;
                return Ok(Some(*entry));
            }
            let Run { number: run, parts, .. } = self.run;
            if self.next_part == parts {
                if self.crc.clone().finalize() == self.run.crc {
                    return Ok(None);
                }
                let name = format!("run {run} in bucket {bucket}");
                return Err(Fault::Damaged(format!("{name} is not the one the directory lists")));
            }
            self.block.clear();
            self.taken = 0;
            let id = BlockId { store_id, bucket, run, part: self.next_part, parts };
            self.crc.update(&blocks.read(&id, &mut self.block)?.to_le_bytes());
            self.next_part += 1;
        }
    }
}

/// Writes the entries of `runs` as the run `number` of their bucket, and removes them where they
/// stood. All of them stay, those that share a hash by sequence: which one counts is the caller's
/// affair.
pub(super) fn merge(
    blocks: &mut Blocks<'_>,
    store_id: [u8; 16],
    (bucket, number): (u64, u64),
    runs: &[Run],
) -> Result<Run, Fault> {
    let entries: u64 = runs.iter().map(|run| run.entries).sum();
    let parts = block::parts_for(usize::try_from(entries).unwrap_or(usize::MAX)) as u32;
    let mut cursors: Vec<Cursor> = runs.iter().map(|run| Cursor::of(*run)).collect();
    let mut heap = BinaryHeap::with_capacity(cursors.len());
    for (nth, cursor) in cursors.iter_mut().enumerate() {
        if let Some(entry) = cursor.next(blocks, store_id, bucket)? {
            heap.push(Reverse((entry.hash, entry.sequence, entry.location, nth)));
        }
    }
    let id = BlockId { store_id, bucket, run: number, part: 0, parts };
    let mut out = Out::new(id, Filter::with_room(entries));
    while let Some(Reverse((hash, sequence, location, nth))) = heap.pop() {
        out.push(blocks, Entry { hash, location, sequence })?;
        let Some(cursor) = cursors.get_mut(nth) else { continue };
        if let Some(entry) = cursor.next(blocks, store_id, bucket)? {
            heap.push(Reverse((entry.hash, entry.sequence, entry.location, nth)));
        }
    }
    out.flush(blocks)?;
    if (out.written, out.id.part) != (entries, parts) {
        return Err(Fault::Damaged(format!("the runs of bucket {bucket} have other entries")));
    }
    for run in runs {
        let (first, last) = ((bucket, run.number, 0), (bucket, run.number, u32::MAX));
        blocks.remove(first, last, run.blocks())?;
    }
    let (crc, doubts, lines, filter_crc) = (out.crc.finalize(), false, 0, 0);
    let run = Run { number, entries, parts, crc, doubts, lines, filter_crc };
    with_filter(blocks, store_id, bucket, run, &out.filter)
}

/// The run that is being written.
struct Out {
    /// Of the next block.
    id: BlockId,
    pending: Vec<Entry>,
    bytes: Vec<u8>,
    crc: crc32fast::Hasher,
    filter: Filter,
    written: u64,
}

impl Out {
    fn new(id: BlockId, filter: Filter) -> Self {
        Self {
            id,
            pending: Vec::with_capacity(ENTRIES_MAX),
            bytes: Vec::new(),
            crc: crc32fast::Hasher::new(),
            filter,
            written: 0,
        }
    }

    fn push(&mut self, blocks: &mut Blocks<'_>, entry: Entry) -> Result<(), Fault> {
        self.filter.insert(entry.hash);
        self.pending.push(entry);
        if self.pending.len() == ENTRIES_MAX { self.flush(blocks) } else { Ok(()) }
    }

    fn flush(&mut self, blocks: &mut Blocks<'_>) -> Result<(), Fault> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.crc.update(&block::encode(&self.id, &self.pending, &mut self.bytes).to_le_bytes());
        blocks.insert((self.id.bucket, self.id.run, self.id.part), &self.bytes)?;
        self.written += self.pending.len() as u64;
        self.id.part += 1;
        self.pending.clear();
        Ok(())
    }
}
