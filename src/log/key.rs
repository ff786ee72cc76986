//! The file beside an encrypted segment that keeps its data key, wrapped.
//!
//! It is on disk before the segment can have a group, and overwritten before the segment goes: what
//! the segment held cannot be read then, whatever is left of it.

use std::io;

use super::{DIRECTORY, TEMPORARY, digits};
use crate::storage::Storage;

const SUFFIX: &str = ".key";

/// The file of the key of segment `id`.
pub(crate) fn path(id: u32) -> String {
    format!("{DIRECTORY}/{id:010}{SUFFIX}")
}

/// The segment whose key a file of that name keeps.
pub(crate) fn id_of(file_name: &str) -> Option<u32> {
    file_name.strip_suffix(SUFFIX).and_then(digits)
}

/// Puts the key of segment `id` in its place. Its name is on disk once the directory was synced.
pub(super) fn write(storage: &dyn Storage, id: u32, octets: &[u8]) -> io::Result<()> {
    let temporary = format!("{}{TEMPORARY}", path(id));
    match storage.unlink(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(&temporary)?;
    file.write_at(octets, 0)?;
    file.sync()?;
    storage.rename(&temporary, &path(id))
}

/// The octets kept of the key of segment `id`; `None` when there is no such file.
pub(crate) fn read(storage: &dyn Storage, id: u32) -> io::Result<Option<Vec<u8>>> {
    /// More than any file of a key has.
    const OCTETS_MAX: u64 = 4096;
    let file = match storage.open_read_only(&path(id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut octets = vec![0; file.len()?.min(OCTETS_MAX) as usize];
    file.read_at(&mut octets, 0)?;
    Ok(Some(octets))
}

/// Overwrites the key of segment `id`, on disk, and then removes its file.
pub(crate) fn erase(storage: &dyn Storage, id: u32) -> io::Result<()> {
    let file = match storage.open(&path(id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    file.write_at(&vec![0; file.len()? as usize], 0)?;
    file.sync()?;
    storage.unlink(&path(id))
}
