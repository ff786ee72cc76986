//! Which hashes are surely not in a run: a Bloom filter, in lines. Pure.
//!
//! Hashes are keyed and evenly spread, so their own bits say which bits stand for them.

/// Bits for each hash. At 16 about one look in 1,000 for one that is not there says it may be.
const BITS: u64 = 16;

/// A cache line: a hash has one bit in each word of one line, so that a look touches no second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [u64; 8]);

const LINE_BITS: u64 = 512;
const _: () = assert!(size_of::<Line>() as u64 * 8 == LINE_BITS);

/// A set of hashes that may name some too many, and never one too few.
pub(crate) struct Filter {
    /// Hashes that ascend stand in lines that do.
    lines: Box<[Line]>,
}

impl Filter {
    /// An empty set, with room for this many hashes.
    pub(crate) fn with_room(keys: u64) -> Self {
        let lines = Self::bytes_for(keys) / size_of::<Line>() as u64;
        Self { lines: vec![Line([0; 8]); lines as usize].into() }
    }

    /// Bytes of heap a filter for this many hashes takes.
    pub(crate) const fn bytes_for(keys: u64) -> u64 {
        keys.saturating_mul(BITS).div_ceil(LINE_BITS) * size_of::<Line>() as u64
    }

    /// Bytes of heap.
    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.lines) as u64
    }

    /// The set that these lines are.
    pub(super) fn of_lines(lines: Vec<Line>) -> Self {
        Self { lines: lines.into() }
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(crate) fn insert(&mut self, hash: u128) {
        let at = self.line(hash);
        if let Some(Line(words)) = self.lines.get_mut(at) {
            for (word, bit) in words.iter_mut().zip(bits(hash)) {
                *word |= bit;
            }
        }
    }

    /// `false`: it is not in the set.
    ///
    /// All words of the line are looked at, whatever the first one says. A branch on each could go
    /// either way, and a look that passes a thousand filters would wait for the line of this one
    /// before it asks for that of the next; the branch on all of them nearly always goes the same way.
    #[inline]
    pub(crate) fn may_have(&self, hash: u128) -> bool {
        let Some(Line(words)) = self.lines.get(self.line(hash)) else { return false };
        words.iter().zip(bits(hash)).fold(0, |lacking, (word, bit)| lacking | !word & bit) == 0
    }

    fn line(&self, hash: u128) -> usize {
        let upper = hash >> 64;
        ((upper * self.lines.len() as u128) >> 64) as usize
    }
}

/// The bit of each word: six bits of the hash's lower half say which.
fn bits(hash: u128) -> impl Iterator<Item = u64> {
    let low = hash as u64;
    (0..8).map(move |nth| 1 << (low >> (6 * nth) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_little_else() {
        let mut random = crate::seed::rng();
        for keys in [1_u64, 100, 100_000] {
            let mut filter = Filter::with_room(keys);
            let put: Vec<_> = (0..keys).map(|_| random.u128(..)).collect();
            for hash in &put {
                filter.insert(*hash);
            }
            assert!(put.iter().all(|hash| filter.may_have(*hash)));
            let others = 100_000;
            let false_hits = (0..others).filter(|_| filter.may_have(random.u128(..))).count();
            assert!(false_hits < others / 200, "{false_hits} of {others} at {keys} keys");
        }
    }

    #[test]
    fn an_empty_set_has_nothing_and_takes_nothing() {
        let mut filter = Filter::with_room(0);
        filter.insert(7);
        assert!(!filter.may_have(7));
        assert_eq!(filter.bytes(), 0);
    }

    #[test]
    fn it_takes_two_octets_a_key() {
        assert_eq!(Filter::with_room(1_000_000).bytes(), 2_000_000);
        assert_eq!(Filter::bytes_for(1), 64);
    }
}
