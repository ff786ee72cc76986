//! The master keys a store is given, and their names.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Master;
use crate::error::{Error, ErrorKind};
use crate::random::Random;
use crate::storage::read_private;

/// A key file has fewer octets than this.
const FILE_OCTETS_MAX: u64 = 64 * 1024;

/// The name of a master key: 16 octets, written as 32 hexadecimal digits. It is kept beside what
/// the key wraps, in the open.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The name of these octets, such as that of a key in a key management service.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The name that a key from a file has: the first half of a SHA-256 of it, from which the key
    /// cannot be had.
    pub fn of(master: &[u8; 32]) -> Self {
        let hash =
            Sha256::new_with_prefix(b"onceward master key\0").chain_update(master).finalize();
        Self(hash.first_chunk().copied().unwrap_or_default())
    }

    /// The name's octets.
    pub const fn to_octets(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

type Find = dyn Fn(KeyId) -> Option<[u8; 32]> + Send + Sync;

/// Master keys, for [`Options::encryption`](crate::Options::encryption): the current one, which
/// wraps the keys of new segments, and those that older segments were made under.
#[derive(Clone)]
pub struct Keys {
    current: KeyId,
    find: Arc<Find>,
}

impl Keys {
    /// Keys that `find` gives by their names. It is asked when a store is opened, for `current` and
    /// for each name that a segment bears, and may block.
    pub fn from_fn(
        current: KeyId,
        find: impl Fn(KeyId) -> Option<[u8; 32]> + Send + Sync + 'static,
    ) -> Self {
        Self { current, find: Arc::new(find) }
    }

    /// The keys in a file: 32 octets, which are the key; or lines of 64 hexadecimal digits, of
    /// which the first is the current key and the others are older ones. Empty lines, and those
    /// that begin with `#`, are skipped.
    ///
    /// To rotate, put a new line before the others and open the store again; an old one may go once
    /// every segment made under it has, which is when what it has has expired.
    ///
    /// # Errors
    /// `InvalidOption` when the file may be read by others than its owner (any bit of 077 in its
    /// mode), is not a regular file, or has something else in it; `Io`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let about = |what: &str| format!("the key file {}: {what}", path.display());
        let octets = read_private(path, FILE_OCTETS_MAX).map_err(|error| {
            if error.kind() == std::io::ErrorKind::PermissionDenied
                && error.raw_os_error().is_none()
            {
                Error::new(ErrorKind::InvalidOption, about(&error.to_string()))
            } else {
                Error::io(about("it cannot be read"), error)
            }
        })?;
        let octets = Zeroizing::new(octets);
        let masters =
            parse(&octets).map_err(|what| Error::new(ErrorKind::InvalidOption, about(&what)))?;
        let named: Vec<(KeyId, Zeroizing<[u8; 32]>)> =
            masters.into_iter().map(|master| (KeyId::of(&master), master)).collect();
        let current = named
            .first()
            .map(|(id, _)| *id)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOption, about("there is no key in it")))?;
        Ok(Self::from_fn(current, move |id| {
            named.iter().find(|(name, _)| *name == id).map(|(_, master)| **master)
        }))
    }

    /// The name of the key that wraps the keys of new segments.
    pub fn current(&self) -> KeyId {
        self.current
    }

    pub(super) fn find(&self, id: KeyId, random: &Random) -> Option<Master> {
        (self.find)(id).map(|secret| Master::new(id, secret, random.clone()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("current", &self.current).finish_non_exhaustive()
    }
}

/// The keys in a file, the current one first; or what is wrong, without saying what is there.
fn parse(octets: &[u8]) -> Result<Vec<Zeroizing<[u8; 32]>>, String> {
    if let Ok(raw) = <[u8; 32]>::try_from(octets) {
        if raw.iter().all(u8::is_ascii_hexdigit) {
            // Half a key, and no key of 32 octets has ever looked like it.
            return Err("32 hexadecimal digits are 128 bits, and a key has 256".to_owned());
        }
        return Ok(vec![Zeroizing::new(raw)]);
    }
    let text = std::str::from_utf8(octets)
        .map_err(|_| "it is neither 32 octets nor lines of hexadecimal digits".to_owned())?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            hex(line).ok_or_else(|| format!("line {} is not 64 hexadecimal digits", at + 1))
        })
        .collect()
}

fn hex(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = line.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut out = Zeroizing::new([0; 32]);
    for (octet, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_octets_or_as_lines() {
        let raw: [u8; 32] = std::array::from_fn(|nth| nth as u8);
        assert_eq!(*parse(&raw).unwrap()[0], raw);
        let text = "# current\n000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n\n\
                    1111111111111111111111111111111111111111111111111111111111111111\r\n";
        let keys = parse(text.as_bytes()).unwrap();
        assert_eq!((*keys[0], *keys[1], keys.len()), (raw, [0x11; 32], 2));
        for bad in ["0102", "# nothing\nxyz", &"0".repeat(32), &"+1".repeat(32), "\u{e9}"] {
            let wrong = parse(bad.as_bytes()).unwrap_err();
            assert!(!wrong.contains("0102") && !wrong.contains("xyz"), "{wrong}");
        }
        assert!(parse(b"# none\n").unwrap().is_empty());
        assert!(parse(&[0xff; 31]).is_err());
    }

    #[test]
    fn a_key_has_a_name_that_is_not_the_key() {
        let (one, other) = (KeyId::of(&[1; 32]), KeyId::of(&[2; 32]));
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 32);
        assert_ne!(one.to_octets(), [1; 16]);
    }
}
