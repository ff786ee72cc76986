//! redb's `StorageBackend` over one of our files.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::storage::File;

/// A file as redb sees it, shared with whoever holds redb: what the disk refused is remembered,
/// because redb reports it once and then only that it was; and the file can be cut off, so that
/// redb writes nothing more while it is dropped after a fault.
pub(super) struct Backend {
    file: Arc<dyn File>,
    refused: Mutex<Option<io::Error>>,
    cut_off: AtomicBool,
}

impl Backend {
    pub(super) fn new(file: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self { file, refused: Mutex::new(None), cut_off: AtomicBool::new(false) })
    }

    /// The first refusal since this was last asked. Reading past the end is no refusal: the disk
    /// did what it was asked, and whoever asked was led astray by damaged bytes.
    pub(super) fn take_refusal(&self) -> Option<io::Error> {
        self.refused.lock().take()
    }

    /// From here on redb reaches the file no more. Whether it still did.
    pub(super) fn cut_off(&self) -> bool {
        !self.cut_off.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    fn run<T>(&self, work: impl FnOnce(&dyn File) -> io::Result<T>) -> io::Result<T> {
        if self.is_cut_off() {
            return Err(io::Error::other("cut off after a fault"));
        }
        work(&*self.file).inspect_err(|error| {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                self.refused.lock().get_or_insert_with(|| twin(error));
            }
        })
    }
}

/// The same error once more: redb consumes the one it is given.
fn twin(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The half that redb owns.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Backend>);

/// redb's byte-range locks stay unsupported, as by default: the store's directory has one owner
/// already, by the lock taken when it was opened.
impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.run(File::len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.run(|file| file.read_at(out, offset))
    }

    /// Growth is synced before redb writes into it. Were it lost and a torn piece of such a write
    /// kept, the file would end where no layout of redb's ends, and redb would refuse all of it.
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.run(|file| {
            let grows = len > file.len()?;
            file.set_len(len)?;
            if grows { file.sync() } else { Ok(()) }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.run(File::sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.run(|file| file.write_at(data, offset))
    }
}
