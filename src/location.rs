//! Where a frame stands, in 64 bits.

use crate::format::frame::Kind;

const OFFSET_BITS: u32 = 28;
const KIND_BITS: u32 = 4;

/// One past the greatest offset a frame may begin at: 2 GiB, in steps of 8.
pub(crate) const OFFSET_END: u64 = 1 << (OFFSET_BITS + 3);

/// Segment (32 bits), offset in steps of 8 octets (28 bits), and the frame's kind (4 bits).
///
/// Two locations are equal exactly when they are the same frame: segment ids are never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Location(u64);

impl Location {
    /// `offset` is a multiple of 8 below [`OFFSET_END`]; `kind` is one of the keyed ones.
    pub(crate) const fn new(segment: u32, offset: u64, kind: Kind) -> Self {
        debug_assert!(offset.is_multiple_of(8) && offset < OFFSET_END && kind.is_keyed());
        Self(
            (segment as u64) << (OFFSET_BITS + KIND_BITS)
                | (offset >> 3) << KIND_BITS
                | kind as u64 & ((1 << KIND_BITS) - 1),
        )
    }

    pub(crate) const fn segment(self) -> u32 {
        (self.0 >> (OFFSET_BITS + KIND_BITS)) as u32
    }

    pub(crate) const fn offset(self) -> u64 {
        (self.0 >> KIND_BITS & ((1 << OFFSET_BITS) - 1)) << 3
    }

    /// Whether the frame is one of this kind.
    pub(crate) const fn is(self, kind: Kind) -> bool {
        self.0 & ((1 << KIND_BITS) - 1) == kind as u64
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {} at {}", self.segment(), self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_come_back() {
        for (segment, offset, kind) in [
            (0, 0, Kind::Claim),
            (u32::MAX, OFFSET_END - 8, Kind::InDoubt),
            (7, 152, Kind::Complete),
        ] {
            let location = Location::new(segment, offset, kind);
            assert_eq!((location.segment(), location.offset()), (segment, offset));
            assert!(location.is(kind) && !location.is(Kind::Release));
            assert_eq!(Location::from_bits(location.to_bits()), location);
        }
    }
}
