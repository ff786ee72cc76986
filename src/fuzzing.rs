//! What the fuzz targets in `fuzz/` and the counts in `benches/counts` reach of the crate's inside.
//! Not a part of its interface: it changes without notice.

mod octets;
mod parts;

use bytes::Bytes;
use http::HeaderMap;

pub use octets::{read_frame, read_group, verify, write_frame, write_group};
pub use parts::{Parts, checksum, identity};

use crate::http::{KeyFault, KeySyntax, Profile};

/// The key that one field value of a key header bears, of at most `octets_max` octets, decoded.
pub fn parse_key(value: &[u8], syntax: KeySyntax, octets_max: usize) -> Result<Bytes, KeyFault> {
    crate::http::parse_key(value, syntax, octets_max)
}

/// The key of a request with these headers; `None` when no header bears one.
pub fn read_key(headers: &HeaderMap, profile: &Profile) -> Result<Option<Bytes>, KeyFault> {
    crate::http::read_key(headers, profile)
}
