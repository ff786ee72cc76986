//! The file `STORE`: what a directory is, written once, last.

use super::{VERSION, crc, field, put, u32_at, u64_at};
use crate::error::{Error, ErrorKind};

const MAGIC: usize = 0;
const VERSION_AT: usize = MAGIC + 8;
const CRC: usize = VERSION_AT + 4;
const ID: usize = CRC + 4;
const SECRET: usize = ID + 16;
const CREATED: usize = SECRET + 16;
/// Octets of the file.
pub(crate) const LENGTH: usize = CREATED + 8;

const _: () = assert!(LENGTH == 56);

const MAGIC_OCTETS: [u8; 8] = *b"ONCEWARD";

/// A store's identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Random: tells this store's files from another's.
    pub(crate) id: [u8; 16],
    /// Random: keys the hash of keys, so that nobody outside can choose colliding ones.
    pub(crate) secret: [u8; 16],
    /// The wall clock at creation, milliseconds since the Unix epoch.
    pub(crate) created_ms: u64,
}

impl Identity {
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut out = [0_u8; LENGTH];
        put(&mut out, MAGIC, &MAGIC_OCTETS);
        put(&mut out, VERSION_AT, &VERSION.to_le_bytes());
        put(&mut out, ID, &self.id);
        put(&mut out, SECRET, &self.secret);
        put(&mut out, CREATED, &self.created_ms.to_le_bytes());
        let sum = crc(0, out.get(ID..).unwrap_or_default());
        put(&mut out, CRC, &sum.to_le_bytes());
        out
    }

    /// # Errors
    /// `UnsupportedFormat` for what is not a store or of another version, `Corrupt` for damage.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() >= MAGIC_OCTETS.len() && !bytes.starts_with(&MAGIC_OCTETS) {
            return Err(Error::new(
                ErrorKind::UnsupportedFormat,
                "the file STORE is not one of onceward's",
            ));
        }
        if bytes.len() >= CRC && u32_at(bytes, VERSION_AT) != VERSION {
            let version = u32_at(bytes, VERSION_AT);
            return Err(Error::new(
                ErrorKind::UnsupportedFormat,
                format!("the store has format version {version}; this program knows {VERSION}"),
            ));
        }
        if bytes.len() != LENGTH {
            return Err(Error::corrupt(format!(
                "the file STORE has {} octets instead of {LENGTH}",
                bytes.len()
            )));
        }
        if crc(0, bytes.get(ID..).unwrap_or_default()) != u32_at(bytes, CRC) {
            return Err(Error::corrupt("the checksum of the file STORE does not hold"));
        }
        Ok(Self {
            id: field(bytes, ID),
            secret: field(bytes, SECRET),
            created_ms: u64_at(bytes, CREATED),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Identity {
        Identity { id: [1; 16], secret: [2; 16], created_ms: 1_700_000_000_000 }
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_a_typed_error() {
        let bytes = example().encode();
        assert!(Identity::decode(&bytes).is_ok_and(|identity| identity == example()));
        for len in 0..LENGTH {
            assert!(Identity::decode(&bytes[..len]).is_err(), "{len} octets");
        }
        for bit in 0..LENGTH * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = example().encode();
        bytes[VERSION_AT] = 2;
        let error = Identity::decode(&bytes).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/store.bin");
        let identity = Identity {
            id: crate::format::distinct(0),
            secret: crate::format::distinct(0x10),
            created_ms: 0x2122_2324_2526_2728,
        };
        assert_eq!(identity.encode(), *golden);
        assert!(Identity::decode(golden).is_ok_and(|decoded| decoded == identity));
    }
}
