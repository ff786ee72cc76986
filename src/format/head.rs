//! The head of the tree: what the engine must know to go on from a checkpoint. The tree keeps it
//! under a checksum of its own.

use super::{Damage, field, u32_at, u64_at};
use crate::clock::TimeMark;

const EPOCH: usize = 0;
const POSITION_SEGMENT: usize = EPOCH + 8;
const NEXT_SEGMENT: usize = POSITION_SEGMENT + 4;
const POSITION_OFFSET: usize = NEXT_SEGMENT + 4;
const POSITION_PREVIOUS: usize = POSITION_OFFSET + 8;
const LAST_SEQUENCE: usize = POSITION_PREVIOUS + 8;
const TTL_MAX: usize = LAST_SEQUENCE + 8;
const SUSPECT_UNTIL: usize = TTL_MAX + 8;
const STORE_TIME: usize = SUSPECT_UNTIL + 8;
const SINCE_BOOT: usize = STORE_TIME + 8;
const WALL: usize = SINCE_BOOT + 8;
const BOOT_ID: usize = WALL + 8;
const SEGMENTS: usize = BOOT_ID + 16;
const FLIGHTS: usize = SEGMENTS + 4;
const TABLES: usize = FLIGHTS + 4;

const _: () = assert!(TABLES == 104);

/// Octets of a segment in the table.
const SEGMENT_ROW: usize = 32;

/// What is known of a segment at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    pub(crate) id: u32,
    pub(crate) began_ms: u64,
    pub(crate) records: u64,
    pub(crate) last_expiry_ms: u64,
}

/// The head: everything before its position is in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    /// Hash of the header of the group that ends at the position.
    pub(crate) previous: u64,
    pub(crate) last_sequence: u64,
    /// Greater than every id given to a segment.
    pub(crate) next_segment: u32,
    pub(crate) ttl_max_ms: u64,
    pub(crate) suspect_until_ms: u64,
    pub(crate) time: TimeMark,
    /// Every segment there is.
    pub(crate) segments: Vec<SegmentRow>,
    /// Where the claims in flight stand, as locations in bits.
    pub(crate) flights: Vec<u64>,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(TABLES + SEGMENT_ROW * self.segments.len() + 8 * self.flights.len());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.next_segment.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.last_sequence.to_le_bytes());
        out.extend_from_slice(&self.ttl_max_ms.to_le_bytes());
        out.extend_from_slice(&self.suspect_until_ms.to_le_bytes());
        out.extend_from_slice(&self.time.store_ms.to_le_bytes());
        out.extend_from_slice(&self.time.since_boot_ms.to_le_bytes());
        out.extend_from_slice(&self.time.wall_ms.to_le_bytes());
        out.extend_from_slice(&self.time.boot_id);
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.flights.len() as u32).to_le_bytes());
        for row in &self.segments {
            out.extend_from_slice(&u64::from(row.id).to_le_bytes());
            out.extend_from_slice(&row.began_ms.to_le_bytes());
            out.extend_from_slice(&row.records.to_le_bytes());
            out.extend_from_slice(&row.last_expiry_ms.to_le_bytes());
        }
        for location in &self.flights {
            out.extend_from_slice(&location.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let segments = u32_at(bytes, SEGMENTS) as usize;
        let flights = u32_at(bytes, FLIGHTS) as usize;
        let length = segments
            .checked_mul(SEGMENT_ROW)
            .and_then(|rows| flights.checked_mul(8)?.checked_add(rows)?.checked_add(TABLES));
        if bytes.len() < TABLES || length != Some(bytes.len()) {
            return Err(Damage("the head of the tree has the wrong length"));
        }
        let flights_at = TABLES + SEGMENT_ROW * segments;
        Ok(Self {
            epoch: u64_at(bytes, EPOCH),
            segment: u32_at(bytes, POSITION_SEGMENT),
            next_segment: u32_at(bytes, NEXT_SEGMENT),
            offset: u64_at(bytes, POSITION_OFFSET),
            previous: u64_at(bytes, POSITION_PREVIOUS),
            last_sequence: u64_at(bytes, LAST_SEQUENCE),
            ttl_max_ms: u64_at(bytes, TTL_MAX),
            suspect_until_ms: u64_at(bytes, SUSPECT_UNTIL),
            time: TimeMark {
                store_ms: u64_at(bytes, STORE_TIME),
                since_boot_ms: u64_at(bytes, SINCE_BOOT),
                wall_ms: u64_at(bytes, WALL),
                boot_id: field(bytes, BOOT_ID),
            },
            segments: (0..segments)
                .map(|nth| TABLES + SEGMENT_ROW * nth)
                .map(|row| SegmentRow {
                    id: u64_at(bytes, row) as u32,
                    began_ms: u64_at(bytes, row + 8),
                    records: u64_at(bytes, row + 16),
                    last_expiry_ms: u64_at(bytes, row + 24),
                })
                .collect(),
            flights: (0..flights).map(|nth| u64_at(bytes, flights_at + 8 * nth)).collect(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Head {
        Head {
            epoch: 1,
            segment: 2,
            offset: 3,
            previous: 4,
            last_sequence: 5,
            next_segment: 6,
            ttl_max_ms: 7,
            suspect_until_ms: 8,
            time: TimeMark { store_ms: 9, since_boot_ms: 10, wall_ms: 11, boot_id: [12; 16] },
            segments: vec![SegmentRow { id: 13, began_ms: 14, records: 15, last_expiry_ms: 16 }],
            flights: vec![17, 18],
        }
    }

    #[test]
    fn a_head_without_segments_and_flights_reads_back() {
        let head = Head { segments: Vec::new(), flights: Vec::new(), ..example() };
        assert_eq!(Head::decode(&head.encode()), Ok(head));
    }

    #[test]
    fn a_head_reads_back_and_no_other_length_does() {
        let bytes = example().encode();
        assert_eq!(Head::decode(&bytes), Ok(example()));
        for len in 0..bytes.len() {
            assert!(Head::decode(&bytes[..len]).is_err(), "{len} octets");
        }
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/engine-head.bin");
        let row = |id, first| SegmentRow {
            id,
            began_ms: first,
            records: first + 1,
            last_expiry_ms: first + 2,
        };
        let head = Head {
            epoch: 0x0102_0304_0506_0708,
            segment: 0x1112_1314,
            next_segment: 0x1516_1718,
            offset: 0x2122_2324_2526_2728,
            previous: 0x3132_3334_3536_3738,
            last_sequence: 0x4142_4344_4546_4748,
            ttl_max_ms: 0x5152_5354_5556_5758,
            suspect_until_ms: 0x6162_6364_6566_6768,
            time: TimeMark {
                store_ms: 0x7172_7374_7576_7778,
                since_boot_ms: 0x8182_8384_8586_8788,
                wall_ms: 0x9192_9394_9596_9798,
                boot_id: crate::format::distinct(0xa0),
            },
            segments: vec![row(0xb1b2_b3b4, 0xc1), row(0xb5b6_b7b8, 0xd1)],
            flights: vec![0xe1, 0xe2, 0xe3],
        };
        assert_eq!(head.encode(), golden);
        assert_eq!(Head::decode(golden), Ok(head));
    }
}
