//! A disk in memory that can refuse, forget what was not synced, and be damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{File, Lock, Map, Storage};

/// What the disk does instead of obeying.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    /// Calls that change a file, so far.
    pub(super) calls: u64,
    /// The calls refused, by number.
    pub(super) refuse: Range<u64>,
    pub(super) kind: Option<io::ErrorKind>,
    /// Reads are refused, all of them.
    pub(super) reads: bool,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    refusals: Arc<Mutex<Refusals>>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// What reads give.
    now: Vec<u8>,
    /// What is on the platter.
    synced: Vec<u8>,
    /// What is on its way there.
    pending: Vec<Change>,
}

#[derive(Debug)]
pub(super) struct MemoryFile {
    contents: Mutex<Contents>,
    /// Which bytes were ever read.
    read: Mutex<Vec<Range<usize>>>,
    refusals: Arc<Mutex<Refusals>>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            let offset = *offset as usize;
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[offset..offset + data.len()].copy_from_slice(data);
        }
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
    }
}

impl Disk {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A disk whose one file `name` holds `bytes`, all of them synced.
    pub(super) fn with(name: &str, bytes: Vec<u8>) -> Arc<Self> {
        let disk = Self::new();
        let contents = Contents { now: bytes.clone(), synced: bytes, pending: Vec::new() };
        let file = MemoryFile::new(contents, &disk.refusals);
        disk.files.lock().insert(name.to_owned(), file.into());
        disk
    }

    /// What reads of the file give.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.files.lock()[name].contents.lock().now.clone()
    }

    /// What might be left of the file after a power cut: what was synced, and any part of what was
    /// not, torn at 512 bytes.
    pub(super) fn after_power_loss(&self, name: &str, rng: &mut fastrand::Rng) -> Vec<u8> {
        let contents = self.files.lock()[name].contents.lock().clone();
        let mut bytes = contents.synced;
        let bias = rng.f32();
        for change in contents.pending {
            if let Change::Write(offset, data) = &change {
                for (at, sector) in (*offset..).step_by(512).zip(data.chunks(512)) {
                    if rng.f32() < bias {
                        apply(&mut bytes, &Change::Write(at, sector.to_vec()));
                    }
                }
            } else if rng.f32() < bias {
                apply(&mut bytes, &change);
            }
        }
        bytes
    }

    /// Refuses the calls numbered `which` from here on, 0 being the next.
    pub(super) fn refuse(&self, which: Range<u64>, kind: io::ErrorKind) {
        let mut refusals = self.refusals.lock();
        *refusals = Refusals { calls: 0, refuse: which, kind: Some(kind), reads: false };
    }

    /// Refuses all reads from here on, or none.
    pub(super) fn refuse_reads(&self, refuse: bool) {
        self.refusals.lock().reads = refuse;
    }

    /// The bytes of the file that were ever read, in order.
    pub(super) fn bytes_read(&self, name: &str) -> Vec<usize> {
        let ranges = self.files.lock()[name].read.lock().clone();
        ranges.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How many bytes of the file were read, each as often as it was.
    pub(super) fn octets_read(&self, name: &str) -> usize {
        self.files.lock()[name].read.lock().iter().map(ExactSizeIterator::len).sum()
    }

    /// How many calls that change a file there have been since [`refuse`](Self::refuse).
    pub(super) fn calls(&self) -> u64 {
        self.refusals.lock().calls
    }
}

impl MemoryFile {
    fn new(contents: Contents, refusals: &Arc<Mutex<Refusals>>) -> Self {
        Self { contents: contents.into(), read: Mutex::default(), refusals: refusals.clone() }
    }

    fn refused(&self) -> io::Result<()> {
        let mut refusals = self.refusals.lock();
        let call = refusals.calls;
        refusals.calls += 1;
        match refusals.kind {
            Some(kind) if refusals.refuse.contains(&call) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn change(&self, change: &Change) {
        let mut contents = self.contents.lock();
        apply(&mut contents.now, change);
        contents.pending.push(change.clone());
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.lock().now.len() as u64)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        if self.refusals.lock().reads {
            return Err(io::Error::other("unreadable"));
        }
        let contents = self.contents.lock();
        let bytes = usize::try_from(offset).ok().and_then(|at| contents.now.get(at..));
        let bytes = bytes.and_then(|bytes| bytes.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        self.read.lock().push(offset as usize..offset as usize + out.len());
        Ok(())
    }

    /// Refused, half of it is written all the same.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let refused = self.refused();
        let written = if refused.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.change(&Change::Write(offset, written.to_vec()));
        refused
    }

    /// Refused, what was to be synced stays readable and will never be on the platter.
    fn sync(&self) -> io::Result<()> {
        let refused = self.refused();
        let mut contents = self.contents.lock();
        let pending = std::mem::take(&mut contents.pending);
        if refused.is_ok() {
            for change in &pending {
                apply(&mut contents.synced, change);
            }
        }
        refused
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refused()?;
        self.change(&Change::SetLen(len));
        Ok(())
    }

    fn preallocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn map(&self, _len: u64) -> io::Result<Arc<dyn Map>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A file that may only be read.
#[derive(Debug)]
struct ReadOnly(Arc<MemoryFile>);

impl File for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn preallocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        self.0.map(len)
    }
}

impl Storage for Disk {
    fn list(&self, _dir: &str) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut files = self.files.lock();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(MemoryFile::new(Contents::default(), &self.refusals));
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = self.files.lock().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn open_read_only(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = self.files.lock().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(ReadOnly(file)))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.files.lock().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lock(&self, _path: &str) -> io::Result<Box<dyn Lock>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
