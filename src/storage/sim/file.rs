//! Open files, maps and locks of the simulated disk.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::machine::Machine;
use crate::storage::map::{past_end, within_map};
use crate::storage::{File, Lock, Map, preallocate};

/// A handle of a file, by its number on its machine.
#[derive(Clone, Debug)]
pub(super) struct SimFile {
    machine: Arc<Mutex<Machine>>,
    id: u64,
    writable: bool,
    _pin: Arc<()>,
}

impl SimFile {
    /// A handle of the file `id`, which the machine behind `machine` has; `pin` is the file's.
    pub(super) fn new(
        machine: &Arc<Mutex<Machine>>,
        id: u64,
        pin: &Arc<()>,
        writable: bool,
    ) -> Self {
        Self { machine: Arc::clone(machine), id, writable, _pin: Arc::clone(pin) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Fills `out` with what stands at `offset`.
    fn copy(&self, machine: &Machine, out: &mut [u8], offset: u64) -> io::Result<()> {
        let image = machine.file(self.id)?.content.now();
        let range = offset..offset.saturating_add(out.len() as u64);
        if range.end > image.len() && !out.is_empty() {
            return Err(past_end(&range, image.len()));
        }
        image.read(out, offset);
        Ok(())
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file was opened to read alone"))
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut machine = self.machine.lock();
        machine.read("len", &[self.id])?;
        Ok(machine.file(self.id)?.content.now().len())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let mut machine = self.machine.lock();
        machine.read("read", &[self.id, offset, out.len() as u64])?;
        self.copy(&machine, out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut machine = self.machine.lock();
        machine.check_power()?;
        self.check_writable()?;
        machine.attempt(|machine| machine.write(self.id, bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.machine.lock().attempt(|machine| machine.sync(self.id))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut machine = self.machine.lock();
        machine.check_power()?;
        self.check_writable()?;
        machine.attempt(|machine| machine.set_len(self.id, len))
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        preallocate::extend(self, len, preallocate::write_zeros)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        preallocate::extend(self, len, |file, _, to| file.set_len(to))
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        self.machine.lock().check_power()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Arc::new(SimMap { file: self.clone(), len }))
    }
}

/// A map of a file: every look is a copy of what programs then see.
#[derive(Debug)]
struct SimMap {
    file: SimFile,
    len: usize,
}

impl SimMap {
    fn copy(&self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let wanted = within_map(range, self.len)?;
        let machine = self.file.machine.lock();
        machine.check_power()?;
        let mut bytes = vec![0; wanted.len()];
        self.file.copy(&machine, &mut bytes, range.start)?;
        Ok(bytes)
    }
}

impl Map for SimMap {
    fn view(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        Ok(Cow::Owned(self.copy(&range)?))
    }

    fn bytes(self: Arc<Self>, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.copy(&range)?.into())
    }
}

/// A lock, until it is dropped or the machine's processes are killed.
#[derive(Debug)]
pub(super) struct SimLock(pub(super) SimFile);

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.machine.lock().free_lock(self.0.id);
    }
}
