//! Runs: where they stand, and how one is written.

use super::Entry;
use super::block::{self, BlockId, ENTRIES_MAX};
use super::handle::{Blocks, Fault, Span};
use super::head::{Head, Run};

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

/// Writes the blocks of one run in one bucket: `entries` in the order of their hashes.
pub(super) fn write_run(
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
    let entries = entries.len() as u64;
    Ok(Run { number, entries, parts, crc: crc.finalize(), doubts: false })
}
