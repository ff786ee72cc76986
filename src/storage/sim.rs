//! A simulated disk: in memory, deterministic, and as treacherous as a disk may be.
//!
//! Files and directories stand behind a page cache. What is written, created, renamed or removed is
//! seen at once; it is on the disk once a sync said so. In between, a power loss keeps any part of
//! it: writes are lost, arrive in any order and are torn, lengths and bytes part company, names
//! come and go. A failed sync leaves what it did not write readable, and no later sync writes it.
//!
//! Every operation that changes or syncs something has a number, from zero: writes, lengths,
//! creations, renames, removals, syncs; a preallocation is its writes and its sync. A test can end
//! the world at any of them ([`SimDisk::crash_at`]), or have it fail ([`SimDisk::fail_operation`]),
//! and come back by [`SimDisk::kill`] or [`SimDisk::power_loss`] to a new machine with the same
//! disk. Whatever is left to chance is decided by seeds.

mod cached;
mod file;
mod image;
mod loss;
mod machine;
mod names;
mod operations;
mod rng;
#[cfg(test)]
mod tests;
mod trace;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{File, Lock, Storage};
use file::{SimFile, SimLock};
use loss::Outage;
use machine::Machine;
use names::{NameOp, Node};
use rng::Rng;

/// How an operation fails when it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `EIO`: the device could not do it.
    Io,
    /// `ENOSPC`: there is no room.
    Full,
    /// Any other error, by its kind.
    Kind(io::ErrorKind),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io => rustix::io::Errno::IO.into(),
            Fault::Full => rustix::io::Errno::NOSPC.into(),
            Fault::Kind(kind) => kind.into(),
        }
    }
}

/// A simulated disk and the machine it is in.
///
/// Handed out as `Arc<dyn Storage>`. After [`kill`](Self::kill) or a power loss it stays off, with
/// every handle, map and lock taken from it; the machine that came back is the one returned. Both
/// may be called again, for another way to come back from the same moment.
#[derive(Debug)]
pub struct SimDisk(Arc<Mutex<Machine>>);

impl SimDisk {
    /// A new disk, without even the store's directory. The seed decides how far an operation gets
    /// that is cut short.
    pub fn new(seed: u64) -> Self {
        Self::of(Machine::new(seed))
    }

    fn of(machine: Machine) -> Self {
        Self(Arc::new(Mutex::new(machine)))
    }

    /// How many operations there were since the machine started: the number of the next one.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations()
    }

    /// Turns the power off at this operation: it may happen in part, and whatever is asked for
    /// after it fails, reads too.
    pub fn crash_at(&self, operation: u64) {
        self.0.lock().crash_at(operation);
    }

    /// From here on keeps the world as it were had it ended at an operation: at one in so many, as
    /// the machine's seed has it; at none for zero. The machine itself goes on, and
    /// [`take_cuts`](Self::take_cuts) gives the others.
    pub fn cut_one_in(&self, operations: u64) {
        self.0.lock().cut_one_in(operations);
    }

    /// The machines whose power went at operations since this was last asked, in order, each with
    /// that operation as its last.
    pub fn take_cuts(&self) -> Vec<Self> {
        self.0.lock().take_cuts().into_iter().map(Self::of).collect()
    }

    /// Whether the power is off: by [`crash_at`](Self::crash_at), [`kill`](Self::kill), a power loss
    /// or [`switch_off`](Self::switch_off).
    pub fn is_off(&self) -> bool {
        self.0.lock().is_off()
    }

    /// Has this one operation fail, having happened in part or not at all. A sync that fails leaves
    /// what was unsynced readable, and out of reach of any later sync.
    pub fn fail_operation(&self, operation: u64, fault: Fault) {
        self.0.lock().fail_operation(operation, fault);
    }

    /// How many reads there were since the machine started: the number of the next one. What counts
    /// is what may fail on a real disk: listing a directory, opening a file, its length, its bytes;
    /// but not a look through a map, which is no call.
    pub fn reads(&self) -> u64 {
        self.0.lock().reads()
    }

    /// Has this one read fail, having read nothing.
    pub fn fail_read(&self, read: u64, fault: Fault) {
        self.0.lock().fail_read(read, fault);
    }

    /// A digest of everything asked of the disk so far, by this machine and those it came back
    /// from: every operation and read in its order, with the bytes written. The same for two runs
    /// that did the same.
    pub fn trace(&self) -> u64 {
        self.0.lock().trace()
    }

    /// Limits the sum of the lengths of all files, open ones without a name included, to that many
    /// bytes; `None` lifts the limit. What would exceed it fails with `StorageFull`: a write having
    /// got as far as it might. Files that exceed it already stay.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().set_capacity(bytes);
    }

    /// Turns the power off, now and for good.
    pub fn switch_off(&self) {
        self.0.lock().switch_off();
    }

    /// Kills the processes and starts again: the page cache is whole, what was not synced is still
    /// not on the disk, locks are free. Operations count from zero, without faults set.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut machine = self.0.lock();
        machine.switch_off();
        Self::of(machine.killed())
    }

    /// Cuts the power and starts again with what the disk then has. The seed decides what of each
    /// file and directory was kept, and whether writes were torn at 512, 8 or 1 bytes or not.
    #[must_use]
    pub fn power_loss(&self, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let outage = Outage::draw(&mut rng);
        self.lose(&outage, rng)
    }

    /// Cuts the power as [`power_loss`](Self::power_loss) does, with writes torn at multiples of
    /// `grain` bytes.
    #[must_use]
    pub fn power_loss_torn(&self, seed: u64, grain: u64) -> Self {
        let mut rng = Rng::new(seed);
        let outage = Outage::tearing(Some(grain), &mut rng);
        self.lose(&outage, rng)
    }

    /// Cuts the power, and nothing that was not synced is kept.
    #[must_use]
    pub fn power_loss_total(&self) -> Self {
        self.lose(&Outage::total(), Rng::new(0))
    }

    fn lose(&self, outage: &Outage, rng: Rng) -> Self {
        let mut machine = self.0.lock();
        machine.switch_off();
        Self::of(machine.after(outage, rng))
    }

    /// A machine in the same state with the same disk, its count, crash and faults included, and
    /// without the handles and locks of this one, which goes on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(self.0.lock().without_handles())
    }

    /// The files' paths, sorted, as programs see them. Like all that follows it is neither counted
    /// nor stopped by the power.
    pub fn files(&self) -> Vec<String> {
        self.0.lock().paths(false).into_iter().map(|(path, _)| path).collect()
    }

    /// The bytes of the file `path`, as programs see them.
    pub fn read_file(&self, path: &str) -> io::Result<Vec<u8>> {
        let machine = self.0.lock();
        Ok(machine.file(machine.file_id(path)?)?.content.now().to_vec())
    }

    /// Makes `bytes` the content of the file `path`, on the disk at once, creating it and its
    /// directories when they are missing.
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().plant(path, bytes)
    }

    /// Removes the name `path`, on the disk at once.
    pub fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut machine = self.0.lock();
        let node = Node::File(machine.file_id(path)?);
        let (dir, name, _) = machine.find(path)?;
        let name = name.to_owned();
        machine.names_mut(dir)?.change_durably(NameOp::Unlink { name, node });
        machine.forget_unreachable();
        Ok(())
    }

    /// Turns over one bit of the file `path`: bit `index % 8` of byte `index / 8`. `UnexpectedEof`
    /// past its end.
    pub fn flip_bit(&self, path: &str, index: u64) -> io::Result<()> {
        let mut machine = self.0.lock();
        let id = machine.file_id(path)?;
        let inode = machine.file_mut(id)?;
        if index / 8 >= inode.content.now().len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inode.flip(index);
        Ok(())
    }

    /// SHA-256 over every path and every byte, as programs see them: the same when nothing was
    /// modified.
    pub fn digest(&self) -> [u8; 32] {
        let machine = self.0.lock();
        let mut hash = Sha256::new();
        for (path, node) in machine.paths(true) {
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path.as_bytes());
            let bytes = match node {
                Node::Dir(_) => None,
                Node::File(id) => machine.file(id).ok().map(|file| file.content.now().to_vec()),
            };
            hash.update([u8::from(bytes.is_some())]);
            let bytes = bytes.unwrap_or_default();
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    fn opened(&self, machine: &Machine, id: u64, writable: bool) -> io::Result<SimFile> {
        Ok(SimFile::new(&self.0, id, &machine.file(id)?.pin, writable))
    }
}

impl Storage for SimDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut machine = self.0.lock();
        machine.read(dir, &[])?;
        let names = machine.names(machine.dir_id(dir)?)?;
        Ok(names.now().iter().map(|(name, _)| name.to_owned()).collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.lock().attempt(|machine| machine.create_dir(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.lock().attempt(|machine| machine.sync_dir(dir))
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut machine = self.0.lock();
        let id = machine.attempt(|machine| machine.create_file(path))?;
        Ok(Arc::new(self.opened(&machine, id, true)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut machine = self.0.lock();
        machine.read(path, &[])?;
        Ok(Arc::new(self.opened(&machine, machine.file_id(path)?, true)?))
    }

    fn open_read_only(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut machine = self.0.lock();
        machine.read(path, &[])?;
        Ok(Arc::new(self.opened(&machine, machine.file_id(path)?, false)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.lock().attempt(|machine| machine.rename(from, to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.0.lock().attempt(|machine| machine.unlink(path))
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let mut machine = self.0.lock();
        machine.check_power()?;
        let id = match machine.find(path)?.2 {
            None => machine.attempt(|machine| machine.create_file(path))?,
            Some(_) => machine.file_id(path)?,
        };
        let file = self.opened(&machine, id, true)?;
        if !machine.take_lock(file.id()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{path}: locked")));
        }
        Ok(Box::new(SimLock(file)))
    }
}
