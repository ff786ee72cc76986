//! All file I/O: one small trait, the real disk behind it and a simulated one.
//!
//! Paths are relative to the store's directory and separated by `/`. Nothing outside this folder
//! touches a file, and nothing in it knows what the bytes mean.

// The room is public only under `test-util`; without it, its items are as visible as they can be.
#![cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]

#[cfg(test)]
mod conformance;
mod disk;
mod map;
mod path;
mod preallocate;
#[cfg(feature = "encrypt")]
mod private;
#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(not(feature = "test-util"), allow(dead_code, reason = "unit tests use a part of it"))]
mod sim;

use std::borrow::Cow;
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

pub use disk::Disk;
pub(crate) use map::prefetch;
#[cfg(not(onceward_shuttle))]
pub(crate) use map::{LARGE_PAGE, LargePage};
#[cfg(feature = "encrypt")]
pub(crate) use private::read_private;
#[cfg(any(test, feature = "test-util"))]
pub use sim::{Fault, SimDisk};

/// A directory of files.
///
/// Directory changes (`create`, `rename`, `unlink`, `create_dir`) are durable only after
/// [`sync_dir`](Storage::sync_dir) of the directory they happened in. An operation that fails has
/// either not happened or is not yet durable; the caller may not assume which.
pub trait Storage: Debug + Send + Sync + 'static {
    /// The names in `dir` (`""` is the store's directory), sorted. `NotFound` when there is none.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates the directory `dir`, mode 0700; its parent exists. No error when it exists already.
    /// `""` creates the store's directory itself, with its parents.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes the changes within `dir` durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Creates the file `path`, empty, mode 0600. `AlreadyExists` when the name is taken.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens the file `path` to read and write, following no symbolic link, and refusing what is
    /// not a regular file or has a second hard link.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens the file `path` to read alone, with the same refusals.
    fn open_read_only(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file within one directory, in place of the file of that name, atomically.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name. Open handles and maps go on working.
    fn unlink(&self, path: &str) -> io::Result<()>;

    /// Takes the exclusive lock at `path`, creating its file when there is none, until the guard is
    /// dropped or the process ends. `WouldBlock` when somebody else has it.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>>;

    /// Takes the same lock for somebody who may change nothing: `NotFound` when there is no file.
    fn lock_read_only(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.open_read_only(path)?;
        self.lock(path)
    }
}

/// A lock that is held.
pub trait Lock: Debug + Send + Sync {}

/// An open file. Closed when the last handle and the last map of it are dropped.
// Nobody asks whether a file is empty; how long it is can fail, too.
#[allow(clippy::len_without_is_empty)]
pub trait File: Debug + Send + Sync + 'static {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`. `UnexpectedEof` when the file ends first.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, extending the file when it must. On an error any part may
    /// have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable, with the length it needs (`fdatasync`). After an error the
    /// file's unsynced bytes may read back and still be lost: the caller must not try again, and a
    /// sync that succeeds after it says nothing of them. A kernel tells of them once for each open
    /// file, to whoever syncs it first.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes zeros from the end of the file up to `len`, so that later writes within need no space
    /// and, once the file is synced, no metadata. On an error the file has its old length again, and
    /// trying again later is allowed.
    fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Sets room aside from the end of the file up to `len`, which reads as zeros, and writes them
    /// only where the file system knows no other way. Later writes within need no space, but a sync of
    /// them has metadata to write. On an error as with [`preallocate`](File::preallocate).
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.preallocate(len)
    }

    /// Maps the first `len` bytes to read; `len` may be past the end of the file, for bytes that
    /// come later.
    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>>;
}

/// A file's bytes under a read-only map.
///
/// The caller asks only for ranges that are within the file and that nobody writes any more; a
/// range outside the map is an error.
pub trait Map: Debug + Send + Sync + 'static {
    /// The bytes of `range`.
    fn view(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>>;

    /// The bytes of `range` where they stand, if that can be told at once; what else there is to say of
    /// them, [`view`](Map::view) says. A map that has none in place has none here.
    fn near(&self, range: Range<u64>) -> Option<&[u8]> {
        let _ = range;
        None
    }

    /// The bytes of `range`, holding the map for as long as they live.
    fn bytes(self: Arc<Self>, range: Range<u64>) -> io::Result<Bytes>;

    /// Asks for `len` bytes from `start` to be brought near, and waits for nothing: a hint, which any
    /// map may ignore, and which may go past its end.
    fn prefetch(&self, start: u64, len: usize) {
        let _ = (start, len);
    }
}
