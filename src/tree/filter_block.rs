//! The codec of a filter's blocks: up to [`LINES_MAX`] lines of the filter of one run in one bucket,
//! behind the header that every block has. Pure.
//!
//! `docs/format.md` draws the layout.

use super::filter::Line;
use super::header::{self, BlockId, HEADER};

const MAGIC: [u8; 4] = *b"owtf";

const LINE_BYTES: usize = 64;

/// The most lines a block holds. With its key and redb's own bookkeeping (28 bytes) a full block
/// fills two 4 KiB pages.
pub(super) const LINES_MAX: usize = 126;

const _: () = assert!(size_of::<Line>() == LINE_BYTES);
const _: () = assert!(28 + HEADER + LINES_MAX * LINE_BYTES <= 2 * 4096);
const _: () = assert!(28 + HEADER + (LINES_MAX + 1) * LINE_BYTES > 2 * 4096);

/// How many blocks a filter of so many lines takes.
pub(super) const fn parts_for(lines: u32) -> u32 {
    lines.div_ceil(LINES_MAX as u32)
}

/// Replaces `out` with the block `id` of `lines`, and gives its CRC.
pub(super) fn encode(id: &BlockId, lines: &[Line], out: &mut Vec<u8>) -> u32 {
    debug_assert!(!lines.is_empty() && lines.len() <= LINES_MAX);
    header::begin(MAGIC, id, lines.len(), out);
    for word in lines.iter().flat_map(|Line(words)| words) {
        out.extend_from_slice(&word.to_le_bytes());
    }
    header::seal(out)
}

/// Appends the lines of the block `id` to `out` and gives the block's CRC, once everything the block
/// says of itself holds; what does not, in words, if not.
pub(super) fn decode(id: &BlockId, bytes: &[u8], out: &mut Vec<Line>) -> Result<u32, &'static str> {
    let (crc, count) = header::verify(MAGIC, id, bytes)?;
    let (lines, rest) = bytes.get(HEADER..).unwrap_or_default().as_chunks::<LINE_BYTES>();
    let counted = u32::try_from(lines.len()).is_ok_and(|lines| lines == count);
    if !rest.is_empty() || !counted || lines.is_empty() {
        return Err("counts another number of lines");
    }
    out.extend(lines.iter().map(|line| {
        let (words, _) = line.as_chunks::<8>();
        let mut read = Line([0; 8]);
        for (word, bytes) in read.0.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        read
    }));
    Ok(crc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Filter;
    use crate::tree::header::{AT_BUCKET, AT_COUNT};

    const ID: BlockId = BlockId { store_id: [7; 16], bucket: 1000, run: 3, part: 1, parts: 4 };

    fn lines(count: u64) -> Vec<Line> {
        (1..=count).map(|nth| Line(std::array::from_fn(|word| nth << word))).collect()
    }

    fn block(count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&ID, &lines(count), &mut out);
        out
    }

    #[test]
    fn a_block_reads_back_as_it_was_written() {
        for count in [1, 2, 126] {
            let (mut bytes, mut back) = (vec![9; 3], Vec::new());
            let crc = encode(&ID, &lines(count), &mut bytes);
            assert_eq!(bytes.len(), HEADER + count as usize * LINE_BYTES);
            assert_eq!(decode(&ID, &bytes, &mut back), Ok(crc));
            assert_eq!(back, lines(count));
        }
    }

    #[test]
    fn a_filter_takes_as_many_blocks_as_hold_its_lines() {
        for (lines, parts) in [(0, 0), (1, 1), (126, 1), (127, 2), (252, 2), (253, 3)] {
            assert_eq!(parts_for(lines), parts, "{lines} lines");
        }
    }

    #[test]
    fn every_flipped_bit_cut_and_tail_is_noticed() {
        let good = block(2);
        let refused = |bytes: &[u8]| decode(&ID, bytes, &mut Vec::new()).is_err();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bytes), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(refused(&good[..len]), "{len} bytes");
        }
        for extra in [1, LINE_BYTES] {
            assert!(refused(&[good.clone(), vec![0; extra]].concat()), "{extra} more");
        }
    }

    #[test]
    fn a_whole_block_in_the_wrong_place_is_noticed() {
        let good = block(2);
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
        let entries = crate::tree::block::decode(&ID, &good, &mut Vec::new());
        assert!(entries.is_err(), "lines are no entries");
    }

    #[test]
    fn a_block_that_contradicts_itself_is_refused_whatever_its_crc() {
        let forge = |at: usize, value: &[u8]| {
            let mut bytes = block(2);
            bytes[at..at + value.len()].copy_from_slice(value);
            header::seal(&mut bytes);
            decode(&ID, &bytes, &mut Vec::new())
        };
        assert!(forge(AT_BUCKET, &ID.bucket.to_le_bytes()).is_ok());
        assert!(forge(AT_COUNT, &[1]).is_err());
        let mut empty = block(1)[..HEADER].to_vec();
        empty[AT_COUNT] = 0;
        header::seal(&mut empty);
        assert!(decode(&ID, &empty, &mut Vec::new()).is_err());
    }

    /// Where the bits of a hash stand is as much of the format as the octets are: a filter that is
    /// read differently would not know what is in it.
    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/filter-block.bin");
        let id = BlockId {
            store_id: std::array::from_fn(|nth| nth as u8),
            bucket: 0x4142_4344_4546_4748,
            run: 0x5152_5354_5556_5758,
            part: 0x6162_6364,
            parts: 0x6566_6768,
        };
        let hashes = [
            0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
            0xa1a2_a3a4_a5a6_a7a8_292a_2b2c_2d2e_2f30,
            u128::MAX,
        ];
        let mut filter = Filter::with_room(64);
        for hash in hashes {
            filter.insert(hash);
        }
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        let crc = encode(&id, filter.lines(), &mut bytes);
        assert_eq!(bytes, golden);
        assert_eq!(decode(&id, golden, &mut back), Ok(crc));
        let read = Filter::of_lines(back);
        assert!(hashes.iter().all(|hash| read.may_have(*hash)));
    }
}
