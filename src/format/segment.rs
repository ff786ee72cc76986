//! The first octets of a segment file.

use super::{Damage, VERSION, crc, field, put, u32_at, u64_at};

const MAGIC: usize = 0;
const VERSION_AT: usize = MAGIC + 8;
const CRC: usize = VERSION_AT + 4;
const STORE_ID: usize = CRC + 4;
const SALT: usize = STORE_ID + 16;
const ID: usize = SALT + 8;
const SEALED: usize = ID + 4;
const PREPARED: usize = SEALED + 4;
const EPOCH: usize = PREPARED + 8;
/// Octets of a segment before its first group.
pub(crate) const HEADER: usize = EPOCH + 8;

const _: () = assert!(HEADER == 64);

const MAGIC_OCTETS: [u8; 8] = *b"ONCESEGM";

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store_id: [u8; 16],
    pub(crate) salt: u64,
    pub(crate) id: u32,
    /// The file's length when it was made.
    pub(crate) prepared: u64,
    /// The epoch that made it.
    pub(crate) epoch: u64,
    /// Whether it has a key, under which its payloads are sealed.
    pub(crate) sealed: bool,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0_u8; HEADER];
        put(&mut out, MAGIC, &MAGIC_OCTETS);
        put(&mut out, VERSION_AT, &VERSION.to_le_bytes());
        put(&mut out, STORE_ID, &self.store_id);
        put(&mut out, SALT, &self.salt.to_le_bytes());
        put(&mut out, ID, &self.id.to_le_bytes());
        put(&mut out, SEALED, &u32::from(self.sealed).to_le_bytes());
        put(&mut out, PREPARED, &self.prepared.to_le_bytes());
        put(&mut out, EPOCH, &self.epoch.to_le_bytes());
        let sum = crc(0, out.get(STORE_ID..).unwrap_or_default());
        put(&mut out, CRC, &sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes = bytes.get(..HEADER).ok_or(Damage("a segment header is cut off"))?;
        if !bytes.starts_with(&MAGIC_OCTETS) {
            return Err(Damage("not a segment"));
        }
        if u32_at(bytes, VERSION_AT) != VERSION {
            return Err(Damage("a segment of another format version"));
        }
        if crc(0, bytes.get(STORE_ID..).unwrap_or_default()) != u32_at(bytes, CRC) {
            return Err(Damage("a segment header's checksum does not hold"));
        }
        Ok(Self {
            store_id: field(bytes, STORE_ID),
            salt: u64_at(bytes, SALT),
            id: u32_at(bytes, ID),
            prepared: u64_at(bytes, PREPARED),
            epoch: u64_at(bytes, EPOCH),
            sealed: u32_at(bytes, SEALED) != 0,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Header {
        Header { store_id: [5; 16], salt: 6, id: 7, prepared: 1 << 20, epoch: 8, sealed: true }
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_seen() {
        let bytes = example().encode();
        assert_eq!(Header::decode(&bytes), Ok(example()));
        for bit in 0..HEADER * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/segment.bin");
        let header = Header {
            store_id: crate::format::distinct(0),
            salt: 0x1112_1314_1516_1718,
            id: 0x2122_2324,
            prepared: 0x3132_3334_3536_3738,
            epoch: 0x4142_4344_4546_4748,
            sealed: false,
        };
        assert_eq!(header.encode(), *golden);
        assert_eq!(Header::decode(golden), Ok(header));
    }
}
