//! The keyed hash that names keys: SipHash-1-3 with 128 bits (Aumasson and Bernstein, "SipHash: a fast
//! short-input PRF", 2012), over one octet and two slices as if they stood in one piece.

/// The hash of `first`, then `parts`, under `secret`.
#[inline]
pub(super) fn hash(secret: &[u8; 16], first: u8, parts: [&[u8]; 2]) -> u128 {
    let (secret, _) = secret.as_chunks();
    let [k0, k1] = [0, 1].map(|nth| secret.get(nth).copied().map_or(0, u64::from_le_bytes));
    let mut state = State {
        v0: k0 ^ 0x736f_6d65_7073_6575,
        v1: k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        v2: k0 ^ 0x6c79_6765_6e65_7261,
        v3: k1 ^ 0x7465_6462_7974_6573,
    };
    // What does not fill a word yet.
    let (mut pending, mut octets) = (u64::from(first), 1);
    let mut len = 1_usize;
    for part in parts {
        len += part.len();
        let begin =
            part.first_chunk().map_or_else(|| short(part), |word| u64::from_le_bytes(*word));
        let shifted = begin << (u8::BITS * octets);
        let Some((_, rest)) = part.split_at_checked(WORD - octets as usize) else {
            pending |= shifted;
            octets += part.len() as u32;
            continue;
        };
        state.take(pending | shifted);
        // Straight from where they stand: shifting each to its place costs as much as a round.
        let (words, rest) = rest.as_chunks();
        for word in words {
            state.take(u64::from_le_bytes(*word));
        }
        octets = rest.len() as u32;
        pending = match part.last_chunk() {
            // Two shifts, for none may be by all 64 bits.
            Some(word) => (u64::from_le_bytes(*word) >> 8) >> (56 - u8::BITS * octets),
            None => short(rest),
        };
    }
    state.take(pending | (len as u64) << 56);
    state.finish()
}

/// Octets of a word.
const WORD: usize = 8;

/// Fewer octets than a word has, as one.
#[inline]
fn short(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet))
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32).wrapping_add(self.v3);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    fn take(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline]
    fn finish(mut self) -> u128 {
        self.v2 ^= 0xee;
        let low = self.half();
        self.v1 ^= 0xdd;
        u128::from(self.half()) << 64 | u128::from(low)
    }

    #[inline]
    fn half(&mut self) -> u64 {
        (0..3).for_each(|_| self.round());
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

#[cfg(test)]
mod tests {
    use siphasher::sip128::SipHasher13;

    use super::*;

    #[test]
    fn it_is_the_hash_of_one_stream_wherever_that_is_cut() {
        let mut random = crate::seed::rng();
        for len in 0..=600 {
            let secret: [u8; 16] = std::array::from_fn(|_| random.u8(..));
            let octets: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            let cuts = [0, len.min(7), len.min(8), len, random.usize(..=len)];
            for (scope, key) in cuts.map(|at| octets.split_at(at)) {
                let first = random.u8(..);
                let stream = [&[first][..], &octets].concat();
                let wanted = SipHasher13::new_with_key(&secret).hash(&stream).as_u128();
                assert_eq!(hash(&secret, first, [scope, key]), wanted, "{len} octets");
            }
        }
    }
}
