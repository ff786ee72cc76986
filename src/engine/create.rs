//! What a directory is: a store, the beginnings of one, or something else; and making one.

use std::io;
use std::sync::Arc;

use super::survey;
use crate::clock::Reading;
use crate::error::{Error, ErrorKind};
use crate::format::store::{Identity, LENGTH};
use crate::log::{DIRECTORY, TEMPORARY, id_of};
use crate::random::Random;
use crate::storage::{Lock, Storage};

const LOCK: &str = "LOCK";
const STORE: &str = "STORE";
const STORE_TEMPORARY: &str = "STORE.tmp";
/// Stands in the segments' directory until a store's first segment does, so that a new store tells
/// from one whose segments are gone.
pub(super) const NEWBORN: &str = "segments/newborn.tmp";

/// A directory that is ours, locked.
pub(super) struct Directory {
    pub(super) identity: Identity,
    pub(super) lock: Box<dyn Lock>,
}

/// Finds the store in the directory, or makes it.
///
/// # Errors
/// `UnsupportedFormat` for a directory with anything else in it, which is not modified; `Locked`;
/// `Corrupt`; `Io`.
pub(super) fn directory(
    storage: &Arc<dyn Storage>,
    random: &Random,
    now: Reading,
) -> Result<Directory, Error> {
    match storage.list("") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            storage.create_dir("").map_err(|error| Error::io("creating the directory", error))?;
        }
        Err(error) => return Err(Error::io("reading the directory", error)),
        Ok(names) => {
            if let Err(error) = refuse_foreign(&**storage, &names) {
                // Somebody who holds the lock may have made the store since the names were read.
                let names = storage.list("").unwrap_or_default();
                if !names.iter().any(|name| name == STORE) {
                    return Err(error);
                }
            } else if names.iter().any(|name| name == STORE) {
                // Locking makes a file, which in a directory of somebody else's is one too many.
                read(&**storage)?;
            }
        }
    }
    let lock = lock(&**storage)?;
    // Between the look and the lock somebody else may have made the store.
    let names = storage.list("").map_err(|error| Error::io("reading the directory", error))?;
    let identity = if names.iter().any(|name| name == STORE) {
        let identity = read(&**storage)?;
        if is_newborn(&**storage)? {
            // Whoever made it may have been cut off before its name was on disk, and nothing said
            // since would be found without it.
            put(&**storage, &identity)
                .map_err(|error| full_or_io("finishing the store's creation", error))?;
        }
        identity
    } else {
        refuse_foreign(&**storage, &names)?;
        create(&**storage, random, now).map_err(|error| full_or_io("creating the store", error))?
    };
    Ok(Directory { identity, lock })
}

fn lock(storage: &dyn Storage) -> Result<Box<dyn Lock>, Error> {
    storage.lock(LOCK).map_err(not_locked)
}

/// Takes the lock and leaves no file behind. `None` where none stands: a process that has the store
/// open made one.
pub(super) fn lock_read_only(storage: &dyn Storage) -> Result<Option<Box<dyn Lock>>, Error> {
    match storage.lock_read_only(LOCK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        locked => locked.map(Some).map_err(not_locked),
    }
}

fn not_locked(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(
            ErrorKind::Locked,
            "another process, or another Store of this one, has the directory open",
        ),
        _ => Error::io("locking the directory", error),
    }
}

/// Finds the store in the directory, and makes none.
///
/// # Errors
/// `UnsupportedFormat` for a directory that is no store, or not yet one; `Corrupt` when segments
/// stand there and the file `STORE` does not; `Io`.
pub(super) fn existing(storage: &dyn Storage) -> Result<Identity, Error> {
    let names = storage.list("").map_err(|error| Error::io("reading the directory", error))?;
    if names.iter().any(|name| name == STORE) {
        return read(storage);
    }
    let segments = storage.list(DIRECTORY).unwrap_or_default();
    if segments.iter().any(|name| id_of(name).is_some()) {
        return Err(Error::corrupt("the file STORE is missing, and segments are there"));
    }
    Err(Error::new(ErrorKind::UnsupportedFormat, "the directory is not a store"))
}

/// The identity in the file `STORE`.
fn read(storage: &dyn Storage) -> Result<Identity, Error> {
    let doing = "reading the file STORE";
    let file = storage.open_read_only(STORE).map_err(|error| Error::io(doing, error))?;
    let len = file.len().map_err(|error| Error::io(doing, error))?;
    // One octet more than there should be is enough to see that there are too many.
    let mut bytes = vec![0_u8; len.min(LENGTH as u64 + 1) as usize];
    file.read_at(&mut bytes, 0).map_err(|error| Error::io(doing, error))?;
    Identity::decode(&bytes)
}

/// Refuses a directory without a store in which anything stands that creating one does not leave.
fn refuse_foreign(storage: &dyn Storage, names: &[String]) -> Result<(), Error> {
    if names.iter().any(|name| name == STORE) {
        return Ok(());
    }
    // A directory in the place of a file is not ours, whatever its name.
    let is_file = |path: &str| storage.list(path).is_err();
    for name in names {
        let ours = match name.as_str() {
            LOCK | STORE_TEMPORARY => is_file(name),
            DIRECTORY => match storage.list(DIRECTORY) {
                Ok(inner) => inner.iter().all(|name| {
                    name.ends_with(TEMPORARY) && is_file(&format!("{DIRECTORY}/{name}"))
                }),
                Err(_) => false,
            },
            _ => false,
        };
        if !ours {
            return Err(Error::new(
                ErrorKind::UnsupportedFormat,
                format!("the directory is not a store, and not empty: it has {name:?}"),
            ));
        }
    }
    Ok(())
}

/// Makes a store; the file `STORE` comes last, and without it there is none.
fn create(storage: &dyn Storage, random: &Random, now: Reading) -> io::Result<Identity> {
    storage.create_dir(DIRECTORY)?;
    remove(storage, NEWBORN)?;
    storage.create(NEWBORN)?.sync()?;
    storage.sync_dir(DIRECTORY)?;
    // The directory of segments is on disk before the name STORE can be: without it a store is
    // damaged.
    storage.sync_dir("")?;

    let mut octets = [0_u8; 32];
    random.fill(&mut octets)?;
    let mut identity = Identity { id: [0; 16], secret: [0; 16], created_ms: now.wall_ms };
    let (id, secret) = octets.split_at(16);
    identity.id.copy_from_slice(id);
    identity.secret.copy_from_slice(secret);

    put(storage, &identity)?;
    Ok(identity)
}

/// Puts the file `STORE` in its place, on disk.
fn put(storage: &dyn Storage, identity: &Identity) -> io::Result<()> {
    remove(storage, STORE_TEMPORARY)?;
    let file = storage.create(STORE_TEMPORARY)?;
    file.write_at(&identity.encode(), 0)?;
    file.sync()?;
    storage.rename(STORE_TEMPORARY, STORE)?;
    storage.sync_dir("")
}

/// A full disk is told as such, for it heals.
fn full_or_io(doing: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Full, doing).with_source(error)
        }
        _ => Error::io(doing, error),
    }
}

/// Whether the store's first segment may still have to come.
fn is_newborn(storage: &dyn Storage) -> Result<bool, Error> {
    Ok(survey::names(storage)?.iter().any(|name| format!("{DIRECTORY}/{name}") == NEWBORN))
}

/// Removes a file that may not be there.
pub(super) fn remove(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
