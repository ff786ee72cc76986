//! What a request is, in 32 octets: the fingerprint that tells a retry from a reuse.

use sha2::{Digest, Sha256};

/// SHA-256 over what makes a request the same request (draft section 2.4 leaves the choice open).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes.as_ref()).into())
    }

    /// A digest made elsewhere: any 32 octets that are equal exactly when the requests are.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Starts a fingerprint over pieces, such as a body that arrives in parts.
    pub fn hasher() -> FingerprintHasher {
        FingerprintHasher(Sha256::new())
    }

    /// The digest's 32 octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(")?;
        for octet in self.0.iter().take(4) {
            write!(f, "{octet:02x}")?;
        }
        f.write_str("…)")
    }
}

/// A fingerprint in the making.
#[derive(Clone, Debug)]
pub struct FingerprintHasher(Sha256);

impl FingerprintHasher {
    /// Adds `bytes` as they are: two calls are the same as one with both joined.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.update(bytes.as_ref());
        self
    }

    /// Adds `bytes` behind their length (8 octets, little-endian), so that parts cannot run into
    /// one another.
    pub fn part(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The fingerprint of all that was added.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_as_the_whole() {
        let mut pieces = Fingerprint::hasher();
        pieces.update("POST /v1/").update("sites");
        assert_eq!(pieces.finish(), Fingerprint::of("POST /v1/sites"));
        // SHA-256("abc"), FIPS 180-4, appendix B.1.
        assert_eq!(Fingerprint::of("abc").as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        let of = |parts: &[&str]| {
            let mut hasher = Fingerprint::hasher();
            for part in parts {
                hasher.part(part);
            }
            hasher.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }
}
