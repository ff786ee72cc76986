//! Which keys are surely not in a set that stands elsewhere: a Bloom filter, in blocks.

use super::Identity;

/// Bits for each key. At 16 about one look in 1,000 for a key that is not there says it may be.
const BITS: u64 = 16;

/// A cache line: a key has one bit in each word of one line, so that a look touches no second one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

const LINE_BITS: u64 = 512;
const _: () = assert!(size_of::<Line>() as u64 * 8 == LINE_BITS);

/// A set of keys that may name some too many, and never one too few.
pub(crate) struct Filter {
    lines: Box<[Line]>,
}

impl Filter {
    /// An empty set, with room for this many keys.
    pub(crate) fn with_room(keys: u64) -> Self {
        let lines = Self::bytes_for(keys) / size_of::<Line>() as u64;
        Self { lines: vec![Line([0; 8]); lines as usize].into() }
    }

    /// Bytes of heap a filter for this many keys takes.
    pub(crate) const fn bytes_for(keys: u64) -> u64 {
        keys.saturating_mul(BITS).div_ceil(LINE_BITS) * size_of::<Line>() as u64
    }

    /// Bytes of heap.
    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.lines) as u64
    }

    pub(crate) fn insert(&mut self, identity: Identity) {
        let at = self.line(identity);
        if let Some(Line(words)) = self.lines.get_mut(at) {
            for (word, bit) in words.iter_mut().zip(bits(identity)) {
                *word |= bit;
            }
        }
    }

    /// `false`: it is not in the set.
    pub(crate) fn may_have(&self, identity: Identity) -> bool {
        let line = self.lines.get(self.line(identity));
        line.is_some_and(|Line(words)| {
            words.iter().zip(bits(identity)).all(|(w, bit)| w & bit != 0)
        })
    }

    fn line(&self, identity: Identity) -> usize {
        let upper = identity.0 >> 64;
        ((upper * self.lines.len() as u128) >> 64) as usize
    }
}

/// The bit of each word: six bits of the identity say which.
fn bits(identity: Identity) -> impl Iterator<Item = u64> {
    let low = identity.low();
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
            let put: Vec<_> = (0..keys).map(|_| Identity(random.u128(..))).collect();
            for identity in &put {
                filter.insert(*identity);
            }
            assert!(put.iter().all(|identity| filter.may_have(*identity)));
            let others = 100_000;
            let false_hits =
                (0..others).filter(|_| filter.may_have(Identity(random.u128(..)))).count();
            assert!(false_hits < others / 200, "{false_hits} of {others} at {keys} keys");
        }
    }

    #[test]
    fn an_empty_set_has_nothing_and_takes_nothing() {
        let mut filter = Filter::with_room(0);
        filter.insert(Identity(7));
        assert!(!filter.may_have(Identity(7)));
        assert_eq!(filter.bytes(), 0);
    }

    #[test]
    fn it_takes_two_octets_a_key() {
        assert_eq!(Filter::with_room(1_000_000).bytes(), 2_000_000);
        assert_eq!(Filter::bytes_for(1), 64);
    }
}
