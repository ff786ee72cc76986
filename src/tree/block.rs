//! The block codec: up to [`ENTRIES_MAX`] entries of one run in one bucket, sorted by hash, behind
//! the header that every block has. Pure.
//!
//! `docs/format.md` draws the layout.

use super::Entry;
use super::bytes::{u64_at, u128_at};
use super::header::{self, BlockId, HEADER};

const MAGIC: [u8; 4] = *b"owtb";

const AT_FIRST: usize = HEADER;
const AT_LAST: usize = AT_FIRST + 16;
const AT_ENTRIES: usize = AT_LAST + 16;

const ENTRY_HASH: usize = 0;
const ENTRY_LOCATION: usize = ENTRY_HASH + 16;
const ENTRY_SEQUENCE: usize = ENTRY_LOCATION + 8;
const ENTRY_BYTES: usize = ENTRY_SEQUENCE + 8;

/// The most entries a block holds. With its key and redb's own bookkeeping (28 bytes) a full block
/// fills two 4 KiB pages; a few entries more and redb would give it four.
pub(super) const ENTRIES_MAX: usize = 252;

const _: () = assert!(AT_ENTRIES == 88);
const _: () = assert!(ENTRY_BYTES == 32);
const _: () = assert!(28 + AT_ENTRIES + ENTRIES_MAX * ENTRY_BYTES <= 2 * 4096);

/// How many blocks `entries` entries take.
pub(super) fn parts_for(entries: usize) -> usize {
    entries.div_ceil(ENTRIES_MAX)
}

/// Replaces `out` with the block `id` of `entries`, which are sorted by hash, and gives its CRC.
pub(super) fn encode(id: &BlockId, entries: &[Entry], out: &mut Vec<u8>) -> u32 {
    debug_assert!(!entries.is_empty() && entries.len() <= ENTRIES_MAX);
    debug_assert!(entries.is_sorted_by_key(|entry| entry.hash));
    let first = entries.first().map_or(0, |entry| entry.hash);
    let last = entries.last().map_or(0, |entry| entry.hash);

    header::begin(MAGIC, id, entries.len(), out);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&last.to_le_bytes());
    debug_assert_eq!(out.len(), AT_ENTRIES);
    for entry in entries {
        out.extend_from_slice(&entry.hash.to_le_bytes());
        out.extend_from_slice(&entry.location.to_le_bytes());
        out.extend_from_slice(&entry.sequence.to_le_bytes());
    }
    header::seal(out)
}

/// Appends the entries of the block `id` to `out` and gives the block's CRC, once everything the
/// block says of itself holds; what does not, in words, if not.
pub(super) fn decode(
    id: &BlockId,
    bytes: &[u8],
    out: &mut Vec<Entry>,
) -> Result<u32, &'static str> {
    let (crc, entries) = verify(id, bytes)?;
    let start = out.len();
    out.extend(entries.iter().filter_map(entry));
    let decoded = out.get(start..).unwrap_or_default();
    if !decoded.is_sorted_by_key(|entry| entry.hash) {
        return Err(OUTSIDE);
    }
    Ok(crc)
}

/// What a look for a hash in a block came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Every entry here that has it. A neighbour may have more when it is the block's first, or its
    /// last.
    Found { entries: Vec<Entry>, first: bool, last: bool },
    /// Between two entries that are here: nowhere else, either.
    Between,
    /// Before the first, by this much.
    Before(u128),
    /// Behind the last, by this much.
    Behind(u128),
}

/// Looks for `hash` in the block `id`, once everything the block says of itself holds; what does
/// not, in words, if not.
pub(super) fn look(id: &BlockId, bytes: &[u8], hash: u128) -> Result<Looked, &'static str> {
    let (_, all) = verify(id, bytes)?;
    let of = |bytes: &[u8; ENTRY_BYTES]| u128_at(bytes, ENTRY_HASH).unwrap_or_default();
    let (Some(first), Some(last)) = (all.first().map(of), all.last().map(of)) else {
        return Err(OUTSIDE);
    };
    if hash < first {
        return Ok(Looked::Before(first - hash));
    }
    if hash > last {
        return Ok(Looked::Behind(hash - last));
    }
    let from = all.partition_point(|bytes| of(bytes) < hash);
    let same = all.get(from..).unwrap_or_default().iter().take_while(|bytes| of(bytes) == hash);
    let entries: Vec<Entry> = same.filter_map(entry).collect();
    if entries.is_empty() {
        return Ok(Looked::Between);
    }
    Ok(Looked::Found { entries, first: hash == first, last: hash == last })
}

const OUTSIDE: &str = "has entries outside its range";

/// The CRC of the block `id` and the octets of its entries, once all but their order holds.
fn verify<'a>(
    id: &BlockId,
    bytes: &'a [u8],
) -> Result<(u32, &'a [[u8; ENTRY_BYTES]]), &'static str> {
    let (crc, count) = header::verify(MAGIC, id, bytes)?;
    let entries = bytes.get(AT_ENTRIES..).unwrap_or_default();
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || Some(count) != u32::try_from(entries.len()).ok() {
        return Err("counts another number of entries");
    }
    let of = |bytes: &[u8; ENTRY_BYTES]| u128_at(bytes, ENTRY_HASH);
    let range = (entries.first().and_then(of), entries.last().and_then(of));
    if range != (u128_at(bytes, AT_FIRST), u128_at(bytes, AT_LAST)) {
        return Err(OUTSIDE);
    }
    Ok((crc, entries))
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
    Some(Entry {
        hash: u128_at(bytes, ENTRY_HASH)?,
        location: u64_at(bytes, ENTRY_LOCATION)?,
        sequence: u64_at(bytes, ENTRY_SEQUENCE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Kind;
    use crate::location::{Location, OFFSET_END};
    use crate::tree::header::{AT_BUCKET, AT_COUNT, AT_VERSION};

    const ID: BlockId = BlockId { store_id: [7; 16], bucket: 1000, run: 3, part: 1, parts: 4 };

    fn entries(count: u64) -> Vec<Entry> {
        (0..count)
            .map(|n| Entry { hash: u128::from(n) << 90 | 5, location: n * 64, sequence: n + 9 })
            .collect()
    }

    fn block(count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&ID, &entries(count), &mut out);
        out
    }

    #[test]
    fn a_block_reads_back_as_it_was_written() {
        for count in [1, 2, 252] {
            let (mut bytes, mut back) = (vec![9; 3], Vec::new());
            let crc = encode(&ID, &entries(count), &mut bytes);
            assert_eq!(bytes.len(), AT_ENTRIES + count as usize * ENTRY_BYTES);
            assert_eq!(decode(&ID, &bytes, &mut back), Ok(crc));
            assert_eq!(back, entries(count));
        }
    }

    #[test]
    fn a_look_says_where_a_hash_stands() {
        let (all, bytes) = (entries(3), block(3));
        let looked = |hash| look(&ID, &bytes, hash).unwrap();
        let [first, middle, last] = [0, 1, 2].map(|nth: usize| all[nth].hash);
        assert_eq!(looked(first - 3), Looked::Before(3));
        assert_eq!(looked(last + 7), Looked::Behind(7));
        assert_eq!(looked(first + 1), Looked::Between);
        for (nth, hash, is_first, is_last) in
            [(0, first, true, false), (1, middle, false, false), (2, last, false, true)]
        {
            let entries = vec![all[nth]];
            assert_eq!(looked(hash), Looked::Found { entries, first: is_first, last: is_last });
        }
    }

    #[test]
    fn a_run_takes_as_many_blocks_as_hold_its_entries() {
        for (entries, parts) in [(1, 1), (252, 1), (253, 2), (504, 2), (505, 3)] {
            assert_eq!(parts_for(entries), parts, "{entries} entries");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let entry = Entry { hash: 0x0102, location: 0x0304, sequence: 0x0506 };
        let mut out = Vec::new();
        let crc = encode(&ID, &[entry], &mut out);
        let mut wanted = b"owtb\x01\0\0\0".to_vec();
        wanted.extend([7; 16]);
        wanted.extend([0xe8, 3, 0, 0, 0, 0, 0, 0]);
        wanted.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend([1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0]);
        wanted.extend(crc.to_le_bytes());
        for _ in 0..3 {
            wanted.extend([2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        wanted.extend([4, 3, 0, 0, 0, 0, 0, 0, 6, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out, wanted);
        let whole: Vec<u8> = [&wanted[..52], &wanted[56..]].concat();
        assert_eq!(crc, crc32fast::hash(&whole));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = block(3);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&ID, &bytes, &mut Vec::new()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_and_every_tail_is_noticed() {
        let good = block(3);
        for len in 0..good.len() {
            assert!(decode(&ID, &good[..len], &mut Vec::new()).is_err(), "{len} bytes");
        }
        for extra in [1, ENTRY_BYTES] {
            let mut bytes = good.clone();
            bytes.extend(std::iter::repeat_n(0, extra));
            assert!(decode(&ID, &bytes, &mut Vec::new()).is_err(), "{extra} more");
        }
    }

    #[test]
    fn a_whole_block_in_the_wrong_place_is_noticed() {
        let good = block(3);
        let elsewhere = [
            BlockId { store_id: [8; 16], ..ID },
            BlockId { bucket: 1001, ..ID },
            BlockId { run: 4, ..ID },
            BlockId { part: 2, ..ID },
            BlockId { parts: 5, ..ID },
        ];
        for id in elsewhere {
            assert!(decode(&id, &good, &mut Vec::new()).is_err(), "{id:?}");
        }
    }

    /// A CRC proves that the bytes are the ones written, not that the writer was right: counts and
    /// ranges are compared all the same.
    #[test]
    fn a_block_that_contradicts_itself_is_refused_whatever_its_crc() {
        let forge = |at: usize, value: &[u8]| {
            let mut bytes = block(3);
            bytes[at..at + value.len()].copy_from_slice(value);
            header::seal(&mut bytes);
            decode(&ID, &bytes, &mut Vec::new())
        };
        assert!(forge(AT_BUCKET, &ID.bucket.to_le_bytes()).is_ok());
        assert!(forge(AT_COUNT, &[2]).is_err());
        assert!(forge(AT_VERSION, &[2]).is_err());
        assert!(forge(AT_FIRST, &[4]).is_err());
        assert!(forge(AT_LAST, &[4]).is_err());
        assert!(forge(AT_ENTRIES + ENTRY_BYTES, &[0xff; 16]).is_err(), "out of order");
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/block.bin");
        let id = BlockId {
            store_id: std::array::from_fn(|nth| nth as u8),
            bucket: 0x4142_4344_4546_4748,
            run: 0x5152_5354_5556_5758,
            part: 0x6162_6364,
            parts: 0x6566_6768,
        };
        let entries = [
            Entry {
                hash: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
                location: Location::new(7, 152, Kind::Complete).to_bits(),
                sequence: 0x1112_1314_1516_1718,
            },
            Entry {
                hash: 0x2122_2324_2526_2728_292a_2b2c_2d2e_2f30,
                location: Location::new(u32::MAX, OFFSET_END - 8, Kind::InDoubt).to_bits(),
                sequence: 0x3132_3334_3536_3738,
            },
        ];
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        let crc = encode(&id, &entries, &mut bytes);
        assert_eq!(bytes, golden);
        assert_eq!(decode(&id, golden, &mut back), Ok(crc));
        assert_eq!(back, entries);
    }
}
