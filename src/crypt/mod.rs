//! Encryption at rest: master keys, the data key of each segment, and payloads sealed under it.
//! No file but a key file is read here, and none is written; `docs/design.md` says what is sealed,
//! bound to what, and what stays readable.

mod data;
mod keys;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::random::Random;

pub(crate) use data::{DataKey, Master, OVERHEAD};
pub use keys::{KeyId, Keys};

/// 256 bits of a key, overwritten when they are let go.
type Secret = Zeroizing<[u8; 32]>;

/// The master key that new segments' keys are wrapped by, when there are keys.
///
/// # Errors
/// `KeyMissing`: the current key is not among them.
pub(crate) fn master(keys: Option<&Keys>, random: &Random) -> Result<Option<Master>, Error> {
    keys.map(|keys| {
        keys.find(keys.current(), random).ok_or_else(|| {
            let message = format!("the current master key, {}, was not given", keys.current());
            Error::new(ErrorKind::KeyMissing, message)
        })
    })
    .transpose()
}

/// The data key of segment `segment`, from `file`, the octets of its key's file.
///
/// # Errors
/// `Corrupt` when they are not what was written, `KeyMissing` when the master key is not among
/// `keys` or does not open it, `UnsupportedFormat` for those of a later version.
pub(crate) fn unlock(
    keys: Option<&Keys>,
    file: &[u8],
    store_id: [u8; 16],
    segment: u32,
) -> Result<DataKey, Error> {
    let wrapped = crate::format::key::Wrapped::decode(file)?;
    if (wrapped.store_id, wrapped.segment) != (store_id, segment) {
        return Err(Error::corrupt("it is of another store, or another segment"));
    }
    let id = KeyId::from_octets(wrapped.master);
    let missing = |what: &str| Error::new(ErrorKind::KeyMissing, format!("master key {id} {what}"));
    let keys = keys.ok_or_else(|| missing("is needed, and no keys were given"))?;
    let master = keys.find(id, &Random::default()).ok_or_else(|| missing("was not given"))?;
    master.unwrap(&wrapped).ok_or_else(|| missing("does not open it: other octets have its name"))
}
