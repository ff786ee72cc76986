//! Where random octets come from: the operating system; a seed, in a simulation.

use std::io;

/// A source of random octets. Clones share one source.
#[derive(Clone, Debug, Default)]
pub(crate) enum Random {
    /// The operating system's.
    #[default]
    System,
    /// What follows from a seed, so that a simulation can be run again to the bit.
    #[cfg(feature = "test-util")]
    Seeded(std::sync::Arc<Seeded>),
}

/// A seed, and how much was drawn from it.
#[cfg(feature = "test-util")]
#[derive(Debug)]
pub(crate) struct Seeded {
    seed: u64,
    drawn: std::sync::atomic::AtomicU64,
}

impl Random {
    /// The source that `seed` begins.
    #[cfg(feature = "test-util")]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(std::sync::Arc::new(Seeded { seed, drawn: 0.into() }))
    }

    /// Fills `octets`.
    ///
    /// # Errors
    /// The operating system has none.
    pub(crate) fn fill(&self, octets: &mut [u8]) -> io::Result<()> {
        match self {
            Self::System => {
                getrandom::fill(octets).map_err(|error| io::Error::other(error.to_string()))
            }
            #[cfg(feature = "test-util")]
            Self::Seeded(seeded) => {
                seeded.fill(octets);
                Ok(())
            }
        }
    }

    /// A random number.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub(crate) fn number(&self) -> io::Result<u64> {
        let mut octets = [0_u8; 8];
        self.fill(&mut octets)?;
        Ok(u64::from_le_bytes(octets))
    }
}

#[cfg(feature = "test-util")]
impl Seeded {
    fn fill(&self, octets: &mut [u8]) {
        use sha2::{Digest, Sha256};
        for piece in octets.chunks_mut(32) {
            let drawn = self.drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let digest = Sha256::new()
                .chain_update(self.seed.to_le_bytes())
                .chain_update(drawn.to_le_bytes())
                .finalize();
            for (octet, random) in piece.iter_mut().zip(digest) {
                *octet = random;
            }
        }
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_octets_again_and_another_seed_others() {
        let draw = |seed| {
            let random = Random::seeded(seed);
            let mut octets = [0_u8; 40];
            random.fill(&mut octets).unwrap();
            (octets, random.number().unwrap())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let (octets, next) = draw(1);
        assert_ne!(octets[..8], next.to_le_bytes(), "what was drawn is not drawn again");
    }
}
