//! The head: what the tree says of itself in one value. Pure.
//!
//! It carries the engine's own bytes and the *directory*: for each bucket the runs in it, with
//! their sizes and checksums. Blocks are believed only when they are exactly those of the
//! directory, which is what makes an absent block damage and not a miss.
//!
//! `docs/format.md` draws the layout.

use std::collections::BTreeMap;

use super::bytes::{array, u32_at, u64_at};
use super::filter_block;

const MAGIC: [u8; 8] = *b"owtree\0\0";
const VERSION: u32 = 3;
/// The version whose runs have no filter.
const WITHOUT_FILTERS: u32 = 2;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + 8;
const AT_STORE: usize = AT_VERSION + 4;
const AT_GENERATION: usize = AT_STORE + 16;
const AT_NEXT_RUN: usize = AT_GENERATION + 8;
const AT_ENGINE_LEN: usize = AT_NEXT_RUN + 8;
const AT_BUCKETS: usize = AT_ENGINE_LEN + 4;
const AT_ENGINE: usize = AT_BUCKETS + 4;

const BUCKET_NAME: usize = 0;
const BUCKET_RUNS: usize = BUCKET_NAME + 8;
const BUCKET_BYTES: usize = BUCKET_RUNS + 4;

const RUN_NUMBER: usize = 0;
const RUN_ENTRIES: usize = RUN_NUMBER + 8;
const RUN_PARTS: usize = RUN_ENTRIES + 8;
const RUN_CRC: usize = RUN_PARTS + 4;
const RUN_KIND: usize = RUN_CRC + 4;
const RUN_LINES: usize = RUN_KIND + 4;
const RUN_FILTER_CRC: usize = RUN_LINES + 4;
const RUN_BYTES: usize = RUN_FILTER_CRC + 4;

const PLAIN: u32 = 0;
const DOUBTS: u32 = 1;

const CRC_BYTES: usize = 4;

const _: () = assert!(AT_ENGINE == 52);
const _: () = assert!(BUCKET_BYTES == 12);
const _: () = assert!(RUN_LINES == 28);
const _: () = assert!(RUN_BYTES == 36);

/// One run in one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) entries: u64,
    /// Blocks of entries; at least one.
    pub(crate) parts: u32,
    /// CRC-32 over the CRCs of its blocks of entries, in order: a block of an earlier time, whole in
    /// itself, does not fit.
    pub(super) crc: u32,
    /// Whether its entries are about keys in doubt: they are few, and set apart, so that they can
    /// be had without the others.
    pub(crate) doubts: bool,
    /// Lines of its filter, whose blocks stand behind those of its entries; 0 when it has none.
    pub(super) lines: u32,
    /// CRC-32 over the CRCs of its filter's blocks, in order.
    pub(super) filter_crc: u32,
}

impl Run {
    /// Whether the tree has a filter of its hashes.
    pub(crate) const fn has_filter(&self) -> bool {
        self.lines > 0
    }

    /// Blocks of its filter.
    pub(super) const fn filter_parts(&self) -> u32 {
        filter_block::parts_for(self.lines)
    }

    /// Blocks of either kind.
    pub(super) fn blocks(&self) -> u64 {
        u64::from(self.parts) + u64::from(self.filter_parts())
    }
}

/// What the tree says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Grows by one with each commit.
    pub(super) generation: u64,
    /// The number the next run gets. Greater than that of every run in the directory.
    pub(super) next_run: u64,
    /// The engine's bytes, opaque here.
    pub(super) engine: Vec<u8>,
    /// The directory: for each bucket its runs, ascending by number; no bucket without one.
    pub(super) buckets: BTreeMap<u64, Vec<Run>>,
}

impl Head {
    /// Every run of every bucket, in the order of the blocks' keys.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, Run)> {
        self.buckets.iter().flat_map(|(bucket, runs)| runs.iter().map(|run| (*bucket, *run)))
    }

    /// How many blocks the directory lists.
    pub(super) fn blocks(&self) -> u64 {
        self.runs().map(|(_, run)| run.blocks()).sum()
    }

    /// Takes every part of the run `number` out of the directory and gives what was taken.
    pub(super) fn remove_run(&mut self, number: u64) -> Vec<(u64, Run)> {
        let taken = self.runs().filter(|(_, run)| run.number == number).collect();
        for runs in self.buckets.values_mut() {
            runs.retain(|run| run.number != number);
        }
        self.buckets.retain(|_, runs| !runs.is_empty());
        taken
    }
}

/// The head's bytes, for the store `store_id`.
pub(super) fn encode(store_id: [u8; 16], head: &Head) -> Vec<u8> {
    let runs: usize = head.buckets.values().map(Vec::len).sum();
    let len = AT_ENGINE
        + head.engine.len()
        + head.buckets.len() * BUCKET_BYTES
        + runs * RUN_BYTES
        + CRC_BYTES;
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&store_id);
    out.extend_from_slice(&head.generation.to_le_bytes());
    out.extend_from_slice(&head.next_run.to_le_bytes());
    out.extend_from_slice(&(head.engine.len() as u32).to_le_bytes());
    out.extend_from_slice(&(head.buckets.len() as u32).to_le_bytes());
    debug_assert_eq!(out.len(), AT_ENGINE);
    out.extend_from_slice(&head.engine);
    for (bucket, runs) in &head.buckets {
        out.extend_from_slice(&bucket.to_le_bytes());
        out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        for run in runs {
            out.extend_from_slice(&run.number.to_le_bytes());
            out.extend_from_slice(&run.entries.to_le_bytes());
            out.extend_from_slice(&run.parts.to_le_bytes());
            out.extend_from_slice(&run.crc.to_le_bytes());
            let kind = if run.doubts { DOUBTS } else { PLAIN };
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&run.lines.to_le_bytes());
            out.extend_from_slice(&run.filter_crc.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(out.len(), len);
    out
}

/// The head in `bytes`, once all it says holds; what does not, in words, if not.
pub(super) fn decode(store_id: [u8; 16], bytes: &[u8]) -> Result<Head, &'static str> {
    const SHORT: &str = "the head is cut short";
    let Some((body, crc)) = bytes.split_last_chunk::<CRC_BYTES>() else { return Err(SHORT) };
    if array(body, AT_MAGIC) != Some(MAGIC) {
        return Err("the head is not one");
    }
    let run_bytes = match u32_at(body, AT_VERSION) {
        Some(VERSION) => RUN_BYTES,
        Some(WITHOUT_FILTERS) => RUN_LINES,
        _ => return Err("the head is of another format version"),
    };
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err("the head fails its CRC");
    }
    if array(body, AT_STORE) != Some(store_id) {
        return Err("the tree belongs to another store");
    }
    let fixed = (
        u64_at(body, AT_GENERATION),
        u64_at(body, AT_NEXT_RUN),
        u32_at(body, AT_ENGINE_LEN),
        u32_at(body, AT_BUCKETS),
        body.get(AT_ENGINE..),
    );
    let (Some(generation), Some(next_run), Some(engine_len), Some(buckets), Some(rest)) = fixed
    else {
        return Err(SHORT);
    };
    let Some((engine, mut rest)) = rest.split_at_checked(engine_len as usize) else {
        return Err(SHORT);
    };

    let mut head = Head { generation, next_run, engine: engine.to_vec(), ..Head::default() };
    for _ in 0..buckets {
        let (bucket, runs) = take_bucket(&mut rest, run_bytes).ok_or(SHORT)?;
        let ordered = runs.is_sorted_by(|one, next| one.number < next.number);
        let sound = runs.iter().all(|run| {
            run.parts > 0 && u32::try_from(run.blocks()).is_ok() && run.number < next_run
        });
        let ascending = head.buckets.last_key_value().is_none_or(|(last, _)| *last < bucket);
        if runs.is_empty() || !ordered || !sound || !ascending {
            return Err("the head's directory contradicts itself");
        }
        head.buckets.insert(bucket, runs);
    }
    if !rest.is_empty() {
        return Err("the head is too long");
    }
    Ok(head)
}

fn take_bucket(rest: &mut &[u8], run_bytes: usize) -> Option<(u64, Vec<Run>)> {
    let (fixed, after) = rest.split_at_checked(BUCKET_BYTES)?;
    let bucket = u64_at(fixed, BUCKET_NAME)?;
    let bytes = (u32_at(fixed, BUCKET_RUNS)? as usize).checked_mul(run_bytes)?;
    let (runs, after) = after.split_at_checked(bytes)?;
    *rest = after;
    let runs = runs.chunks_exact(run_bytes).map(run).collect::<Option<_>>()?;
    Some((bucket, runs))
}

/// The run in `bytes`, which end before its filter where it has none.
fn run(bytes: &[u8]) -> Option<Run> {
    Some(Run {
        number: u64_at(bytes, RUN_NUMBER)?,
        entries: u64_at(bytes, RUN_ENTRIES)?,
        parts: u32_at(bytes, RUN_PARTS)?,
        crc: u32_at(bytes, RUN_CRC)?,
        doubts: match u32_at(bytes, RUN_KIND)? {
            PLAIN => false,
            DOUBTS => true,
            _ => return None,
        },
        lines: u32_at(bytes, RUN_LINES).unwrap_or(0),
        filter_crc: u32_at(bytes, RUN_FILTER_CRC).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = [7; 16];

    fn run(number: u64, parts: u32) -> Run {
        Run {
            number,
            entries: u64::from(parts) * 200,
            parts,
            crc: 0xabcd_ef01 ^ parts,
            doubts: number == 8,
            lines: if number == 8 { 0 } else { 127 * parts },
            filter_crc: 0x1011_1213,
        }
    }

    fn sample() -> Head {
        Head {
            generation: 41,
            next_run: 9,
            engine: b"engine".to_vec(),
            buckets: [(50, vec![run(1, 2), run(8, 1)]), (60, vec![run(8, 3)])].into(),
        }
    }

    #[test]
    fn a_head_reads_back_as_it_was_written() {
        for head in [sample(), Head::default()] {
            assert_eq!(decode(STORE, &encode(STORE, &head)), Ok(head));
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let head = Head { buckets: [(50, vec![run(1, 2)])].into(), ..sample() };
        let mut wanted = b"owtree\0\0\x03\0\0\0".to_vec();
        wanted.extend(STORE);
        wanted.extend([41, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend([6, 0, 0, 0, 1, 0, 0, 0]);
        wanted.extend(b"engine");
        wanted.extend([50, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        wanted.extend([1, 0, 0, 0, 0, 0, 0, 0, 0x90, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        wanted.extend([0x03, 0xef, 0xcd, 0xab, 0, 0, 0, 0]);
        wanted.extend([254, 0, 0, 0, 0x13, 0x12, 0x11, 0x10]);
        wanted.extend(crc32fast::hash(&wanted).to_le_bytes());
        assert_eq!(encode(STORE, &head), wanted);
    }

    #[test]
    fn every_flipped_bit_cut_and_tail_is_noticed() {
        let good = encode(STORE, &sample());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(STORE, &bytes).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode(STORE, &good[..len]).is_err(), "{len} bytes");
        }
        assert!(decode(STORE, &[good, vec![0]].concat()).is_err());
    }

    #[test]
    fn another_store_is_named_as_such() {
        let refused = decode([8; 16], &encode(STORE, &sample()));
        assert_eq!(refused, Err("the tree belongs to another store"));
    }

    #[test]
    fn a_directory_that_contradicts_itself_is_refused_whatever_its_crc() {
        let refused = |change: &dyn Fn(&mut Head)| {
            let mut head = sample();
            change(&mut head);
            decode(STORE, &encode(STORE, &head)).is_err()
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|head| head.next_run = 8));
        assert!(refused(&|head| head.buckets.insert(60, vec![]).map_or((), |_| ())));
        assert!(refused(&|head| head.buckets.insert(60, vec![run(5, 0)]).map_or((), |_| ())));
        assert!(refused(&|head| {
            head.buckets.insert(60, vec![run(5, 1), run(5, 1)]);
        }));
        // More blocks than there are keys for.
        let last = Run { parts: u32::MAX, lines: 0, ..run(5, 1) };
        assert!(!refused(&|head| head.buckets.insert(60, vec![last]).map_or((), |_| ())));
        let behind = Run { lines: 1, ..last };
        assert!(refused(&|head| head.buckets.insert(60, vec![behind]).map_or((), |_| ())));
        let mut repeated = encode(STORE, &sample());
        let second_bucket = AT_ENGINE + 6 + BUCKET_BYTES + 2 * RUN_BYTES;
        repeated[second_bucket] = 50;
        let body = repeated.len() - CRC_BYTES;
        let crc = crc32fast::hash(&repeated[..body]);
        repeated[body..].copy_from_slice(&crc.to_le_bytes());
        assert!(decode(STORE, &repeated).is_err(), "the same bucket twice");
    }

    #[test]
    fn a_run_is_removed_from_every_bucket_it_is_in() {
        let mut head = sample();
        // Of entries 2, 1 and 3, and of the filter of 254 lines 3.
        assert_eq!(head.blocks(), 9);
        assert_eq!(head.remove_run(8), [(50, run(8, 1)), (60, run(8, 3))]);
        assert_eq!(head.buckets, [(50, vec![run(1, 2)])].into());
        assert_eq!(head.remove_run(8), []);
    }

    /// The head of the golden files; those of version 2 say nothing of filters.
    fn golden_head() -> Head {
        let run = |number, entries, parts, crc| Run {
            number,
            entries,
            parts,
            crc,
            doubts: false,
            lines: 0,
            filter_crc: 0,
        };
        let first = run(1, 0x4142_4344_4546_4748, 0x5152_5354, 0x5556_5758);
        let doubts = Run { doubts: true, ..run(0x2122_2324_2526_2727, 3, 4, 5) };
        Head {
            generation: 0x1112_1314_1516_1718,
            next_run: 0x2122_2324_2526_2728,
            engine: b"engine".to_vec(),
            buckets: [
                (0x3132_3334_3536_3738, vec![first, doubts]),
                (0x6162_6364_6566_6768, vec![run(2, 7, 8, 9)]),
            ]
            .into(),
        }
    }

    fn golden_store() -> [u8; 16] {
        std::array::from_fn(|nth| nth as u8)
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/tree-head.bin");
        let mut head = golden_head();
        for (bucket, lines, filter_crc) in [
            (0x3132_3334_3536_3738, 0x595a_5b5c, 0x5d5e_5f60),
            (0x6162_6364_6566_6768, 1, 0x7172_7374),
        ] {
            let runs = head.buckets.get_mut(&bucket).unwrap();
            runs[0] = Run { lines, filter_crc, ..runs[0] };
        }
        assert_eq!(encode(golden_store(), &head), golden);
        assert_eq!(decode(golden_store(), golden), Ok(head));
    }

    #[test]
    fn a_head_of_the_version_before_filters_is_read() {
        let golden = include_bytes!("../../tests/golden/tree-head-2.bin");
        assert_eq!(decode(golden_store(), golden), Ok(golden_head()));
    }
}
