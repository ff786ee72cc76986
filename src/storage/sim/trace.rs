//! What was asked of a disk, in one number.

/// A digest of everything noted, in its order: splitmix64's mixing, over lengths, numbers and a
/// checksum of the bytes. Tells two runs apart; it is no defence against malice.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(u64);

impl Trace {
    /// Notes an operation by its name, its numbers and its bytes.
    pub(super) fn note(&mut self, what: &str, numbers: &[u64], bytes: &[u8]) {
        let name = u64::from(crc32fast::hash(what.as_bytes()));
        let content = u64::from(crc32fast::hash(bytes)) << 32 ^ bytes.len() as u64;
        for number in [name, content].iter().chain(numbers) {
            self.0 = self.0.wrapping_add(*number).wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.0 = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            self.0 = (self.0 ^ (self.0 >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.0 ^= self.0 >> 31;
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_names_numbers_and_bytes_all_count() {
        let digest = |notes: &[(&str, &[u64], &[u8])]| {
            let mut trace = Trace::default();
            for (what, numbers, bytes) in notes {
                trace.note(what, numbers, bytes);
            }
            trace.digest()
        };
        let one = digest(&[("write", &[1, 2], b"ab"), ("sync", &[1], b"")]);
        assert_eq!(one, digest(&[("write", &[1, 2], b"ab"), ("sync", &[1], b"")]));
        for other in [
            digest(&[("sync", &[1], b""), ("write", &[1, 2], b"ab")]),
            digest(&[("write", &[1, 2], b"ab"), ("sync_dir", &[1], b"")]),
            digest(&[("write", &[2, 1], b"ab"), ("sync", &[1], b"")]),
            digest(&[("write", &[1, 2], b"ac"), ("sync", &[1], b"")]),
        ] {
            assert_ne!(one, other);
        }
    }
}
