//! Payloads of the frames that are about segments and not about keys.

use super::{Damage, field, u32_at, u64_at};
use crate::clock::TimeMark;

const EPOCH: usize = 0;
const STORE_TIME: usize = EPOCH + 8;
const SINCE_BOOT: usize = STORE_TIME + 8;
const WALL: usize = SINCE_BOOT + 8;
const BOOT_ID: usize = WALL + 8;
const SUSPECT_UNTIL: usize = BOOT_ID + 16;
const PREVIOUS_END: usize = SUSPECT_UNTIL + 8;
const PREVIOUS_SEGMENT: usize = PREVIOUS_END + 8;
const LIVE_COUNT: usize = PREVIOUS_SEGMENT + 4;
const LIVE: usize = LIVE_COUNT + 4;

const _: () = assert!(LIVE == 72);

/// The first frame of a segment: when and after what it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) epoch: u64,
    pub(crate) time: TimeMark,
    /// Until this store time a key that is not indexed may stand in damaged bytes; zero for never.
    pub(crate) suspect_until_ms: u64,
    /// The segment written before this one, zero for a store's first.
    pub(crate) previous_segment: u32,
    /// Where the groups of that segment that count end. What follows there is void: it was never
    /// acknowledged, or it was copied into this segment.
    pub(crate) previous_end: u64,
    /// Every segment there is, oldest first, but this one.
    pub(crate) live: Vec<u32>,
}

impl Link {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LIVE + 4 * self.live.len());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.time.store_ms.to_le_bytes());
        out.extend_from_slice(&self.time.since_boot_ms.to_le_bytes());
        out.extend_from_slice(&self.time.wall_ms.to_le_bytes());
        out.extend_from_slice(&self.time.boot_id);
        out.extend_from_slice(&self.suspect_until_ms.to_le_bytes());
        out.extend_from_slice(&self.previous_end.to_le_bytes());
        out.extend_from_slice(&self.previous_segment.to_le_bytes());
        out.extend_from_slice(&(self.live.len() as u32).to_le_bytes());
        for id in &self.live {
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let count = u32_at(bytes, LIVE_COUNT) as usize;
        if bytes.len() < LIVE || bytes.len() - LIVE != count.saturating_mul(4) {
            return Err(Damage("a link frame of the wrong length"));
        }
        Ok(Self {
            epoch: u64_at(bytes, EPOCH),
            time: TimeMark {
                store_ms: u64_at(bytes, STORE_TIME),
                since_boot_ms: u64_at(bytes, SINCE_BOOT),
                wall_ms: u64_at(bytes, WALL),
                boot_id: field(bytes, BOOT_ID),
            },
            suspect_until_ms: u64_at(bytes, SUSPECT_UNTIL),
            previous_segment: u32_at(bytes, PREVIOUS_SEGMENT),
            previous_end: u64_at(bytes, PREVIOUS_END),
            live: (0..count).map(|nth| u32_at(bytes, LIVE + 4 * nth)).collect(),
        })
    }
}

/// A segment may be removed: nothing in it lives, or what did was written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retire {
    pub(crate) segment: u32,
}

impl Retire {
    pub(crate) fn encode(self) -> Vec<u8> {
        self.segment.to_le_bytes().to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        if bytes.len() != 4 {
            return Err(Damage("a retire frame of the wrong length"));
        }
        Ok(Self { segment: u32_at(bytes, 0) })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn link() -> Link {
        Link {
            epoch: 9,
            time: TimeMark { store_ms: 1, since_boot_ms: 2, wall_ms: 3, boot_id: [4; 16] },
            suspect_until_ms: 5,
            previous_segment: 6,
            previous_end: 7,
            live: vec![2, 3, 6],
        }
    }

    #[test]
    fn a_link_reads_back_and_no_other_length_does() {
        let bytes = link().encode();
        assert_eq!(Link::decode(&bytes), Ok(link()));
        for len in 0..bytes.len() {
            assert!(Link::decode(&bytes[..len]).is_err(), "{len} octets");
        }
    }

    /// A store's first segment begins after no other.
    #[test]
    fn a_link_that_names_no_segment_reads_back() {
        let link = Link { live: Vec::new(), ..link() };
        assert_eq!(Link::decode(&link.encode()), Ok(link));
    }

    #[test]
    fn a_retire_reads_back() {
        let retire = Retire { segment: 77 };
        assert_eq!(Retire::decode(&retire.encode()), Ok(retire));
        assert!(Retire::decode(&[0; 5]).is_err());
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/link.bin");
        let link = Link {
            epoch: 0x0102_0304_0506_0708,
            time: TimeMark {
                store_ms: 0x1112_1314_1516_1718,
                since_boot_ms: 0x2122_2324_2526_2728,
                wall_ms: 0x3132_3334_3536_3738,
                boot_id: crate::format::distinct(0x40),
            },
            suspect_until_ms: 0x5152_5354_5556_5758,
            previous_end: 0x6162_6364_6566_6768,
            previous_segment: 0x7172_7374,
            live: vec![0x8182_8384, 0x8586_8788, 0x898a_8b8c],
        };
        assert_eq!(link.encode(), golden);
        assert_eq!(Link::decode(golden), Ok(link));

        let golden = include_bytes!("../../tests/golden/retire.bin");
        let retire = Retire { segment: 0x0102_0304 };
        assert_eq!(retire.encode(), golden);
        assert_eq!(Retire::decode(golden), Ok(retire));
    }
}
