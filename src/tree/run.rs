//! Runs: where they stand, and how one is written, with its filter.

use super::Entry;
use super::block::{self, ENTRIES_MAX};
use super::blocks::Blocks;
use super::filter::Filter;
use super::filter_block::{self, LINES_MAX};
use super::handle::{Fault, Span};
use super::head::{Head, Run};
use super::header::BlockId;

/// Where each run stands, in the order of the keys.
pub(super) fn spans(head: &Head) -> Vec<Span> {
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

/// Writes the blocks of one run in one bucket: `entries` in the order of their hashes. A run of
/// doubts is read whole when the store opens, and has no filter.
pub(super) fn write_run(
    blocks: &mut Blocks<'_>,
    store_id: [u8; 16],
    (bucket, number): (u64, u64),
    entries: &[(u64, Entry)],
    doubts: bool,
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
    let mut filter = Filter::with_room(if doubts { 0 } else { entries.len() as u64 });
    for (_, entry) in entries {
        filter.insert(entry.hash);
    }
    let entries = entries.len() as u64;
    let (lines, filter_crc) = (0, 0);
    let run = Run { number, entries, parts, crc: crc.finalize(), doubts, lines, filter_crc };
    with_filter(blocks, store_id, bucket, run, &filter)
}

/// Writes the filter of a run behind the blocks of its entries, and gives the run with it.
pub(super) fn with_filter(
    blocks: &mut Blocks<'_>,
    store_id: [u8; 16],
    bucket: u64,
    run: Run,
    filter: &Filter,
) -> Result<Run, Fault> {
    let lines = filter.lines().len() as u32;
    let parts = filter_block::parts_for(lines);
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), Vec::new());
    for (part, chunk) in (0..parts).zip(filter.lines().chunks(LINES_MAX)) {
        let id = BlockId { store_id, bucket, run: run.number, part, parts };
        crc.update(&filter_block::encode(&id, chunk, &mut bytes).to_le_bytes());
        blocks.insert((bucket, run.number, run.parts + part), &bytes)?;
    }
    Ok(Run { lines, filter_crc: crc.finalize(), ..run })
}
