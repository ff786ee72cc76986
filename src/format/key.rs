//! The file of a segment's data key, wrapped by a master key.

use super::{VERSION, crc, field, put, u32_at};
use crate::error::{Error, ErrorKind};

const MAGIC: usize = 0;
const VERSION_AT: usize = MAGIC + 8;
const CRC: usize = VERSION_AT + 4;
const STORE_ID: usize = CRC + 4;
const SEGMENT: usize = STORE_ID + 16;
const CIPHER: usize = SEGMENT + 4;
const MASTER: usize = CIPHER + 4;
const NONCE: usize = MASTER + 16;
const RESERVED: usize = NONCE + 12;
const WRAPPED: usize = RESERVED + 4;
/// Octets of the file.
pub(crate) const LENGTH: usize = WRAPPED + WRAPPED_OCTETS;
/// Octets of a wrapped data key: the key and its tag.
pub(crate) const WRAPPED_OCTETS: usize = 32 + 16;

const _: () = assert!(LENGTH == 120);

const MAGIC_OCTETS: [u8; 8] = *b"ONCEWKEY";
/// AES-256-GCM-SIV, for the wrapped key and for what it seals.
const AES_256_GCM_SIV: u32 = 1;

/// A segment's data key, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    pub(crate) store_id: [u8; 16],
    pub(crate) segment: u32,
    /// Which master key wraps it.
    pub(crate) master: [u8; 16],
    pub(crate) nonce: [u8; 12],
    pub(crate) key: [u8; WRAPPED_OCTETS],
}

impl Wrapped {
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut out = [0_u8; LENGTH];
        put(&mut out, MAGIC, &MAGIC_OCTETS);
        put(&mut out, VERSION_AT, &VERSION.to_le_bytes());
        put(&mut out, STORE_ID, &self.store_id);
        put(&mut out, SEGMENT, &self.segment.to_le_bytes());
        put(&mut out, CIPHER, &AES_256_GCM_SIV.to_le_bytes());
        put(&mut out, MASTER, &self.master);
        put(&mut out, NONCE, &self.nonce);
        put(&mut out, WRAPPED, &self.key);
        let sum = crc(0, out.get(STORE_ID..).unwrap_or_default());
        put(&mut out, CRC, &sum.to_le_bytes());
        out
    }

    /// # Errors
    /// `UnsupportedFormat` for another version or cipher, `Corrupt` for what is no such file, or is
    /// damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != LENGTH || !bytes.starts_with(&MAGIC_OCTETS) {
            return Err(Error::corrupt("it is not the file of a key, or was overwritten"));
        }
        let (version, cipher) = (u32_at(bytes, VERSION_AT), u32_at(bytes, CIPHER));
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::UnsupportedFormat,
                format!("it has format version {version}; this program knows {VERSION}"),
            ));
        }
        if crc(0, bytes.get(STORE_ID..).unwrap_or_default()) != u32_at(bytes, CRC) {
            return Err(Error::corrupt("its checksum does not hold"));
        }
        if cipher != AES_256_GCM_SIV {
            let message = format!("it is for cipher {cipher}, which this program does not know");
            return Err(Error::new(ErrorKind::UnsupportedFormat, message));
        }
        Ok(Self {
            store_id: field(bytes, STORE_ID),
            segment: u32_at(bytes, SEGMENT),
            master: field(bytes, MASTER),
            nonce: field(bytes, NONCE),
            key: field(bytes, WRAPPED),
        })
    }

    /// What the wrapped key is bound to: everything between the checksum and itself.
    pub(crate) fn binding(&self) -> [u8; WRAPPED - STORE_ID] {
        field(&self.encode(), STORE_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_reads_back_and_every_flipped_bit_is_seen() {
        let wrapped = Wrapped {
            store_id: [5; 16],
            segment: 7,
            master: [6; 16],
            nonce: [8; 12],
            key: [9; 48],
        };
        let bytes = wrapped.encode();
        assert_eq!(Wrapped::decode(&bytes).unwrap(), wrapped);
        for bit in 0..LENGTH * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Wrapped::decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..LENGTH {
            let error = Wrapped::decode(&bytes[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len} octets");
        }
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/key.bin");
        let wrapped = Wrapped {
            store_id: crate::format::distinct(0),
            segment: 0x1112_1314,
            master: crate::format::distinct(0x20),
            nonce: crate::format::distinct(0x30),
            key: crate::format::distinct(0x40),
        };
        assert_eq!(wrapped.encode(), *golden);
        assert_eq!(Wrapped::decode(golden).unwrap(), wrapped);
        let binding = wrapped.binding();
        assert_eq!(binding, golden[16..72]);
    }
}
