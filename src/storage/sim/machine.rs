//! The simulated machine: its nodes, its power switch and its count of operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Fault;
use super::cached::Cached;
use super::image::{FileOp, Image};
use super::loss::Outage;
use super::names::{NameOp, Names, Node};
use super::rng::Rng;
use super::trace::Trace;
use crate::storage::path;

/// All that handles of one machine share, under one lock.
pub(super) struct Machine {
    rng: Rng,
    off: bool,
    operations: u64,
    crash_at: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    reads: u64,
    read_faults: BTreeMap<u64, Fault>,
    trace: Trace,
    capacity: Option<u64>,
    /// The store's directory, once it was created.
    root: Option<u64>,
    dirs: BTreeMap<u64, Cached<Names>>,
    files: BTreeMap<u64, Inode>,
    next_node: u64,
    /// Files whose lock is held.
    locked: BTreeSet<u64>,
    /// One operation in so many is also where the power goes, on a machine of its own.
    cut_one_in: u64,
    cut_rng: Rng,
    cuts: Vec<Machine>,
}

/// A file, whatever its name and whether it has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) content: Cached<Image>,
    /// Cloned into every handle and map: while one lives, the file does.
    pub(super) pin: Arc<()>,
}

/// What becomes of an operation that was about to be made.
#[derive(Debug)]
pub(super) enum Fate {
    Whole,
    Failed(io::Error),
    PowerOff,
}

impl Fate {
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// What the caller is told.
    pub(super) fn into_result(self) -> io::Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Failed(error) => Err(error),
            Self::PowerOff => Err(power_is_off()),
        }
    }
}

/// Says what a handle's reader wants to know; the content of the disk is long.
impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("operations", &self.operations)
            .field("off", &self.off)
            .finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            off: false,
            operations: 0,
            crash_at: None,
            faults: BTreeMap::new(),
            reads: 0,
            read_faults: BTreeMap::new(),
            trace: Trace::default(),
            capacity: None,
            root: None,
            dirs: BTreeMap::new(),
            files: BTreeMap::new(),
            next_node: 0,
            locked: BTreeSet::new(),
            cut_one_in: 0,
            cut_rng: Rng::new(!seed),
            cuts: Vec::new(),
        }
    }

    /// The same machine in the same state, without anybody's handles and locks.
    pub(super) fn without_handles(&self) -> Self {
        let mut copy = Self {
            rng: self.rng.clone(),
            faults: self.faults.clone(),
            read_faults: self.read_faults.clone(),
            trace: self.trace.clone(),
            dirs: self.dirs.clone(),
            files: self.files.clone(),
            locked: BTreeSet::new(),
            cut_one_in: 0,
            cut_rng: self.cut_rng.clone(),
            cuts: Vec::new(),
            ..*self
        };
        for file in copy.files.values_mut() {
            file.pin = Arc::default();
        }
        copy.forget_unreachable();
        copy
    }

    /// The machine after its processes were killed: the page cache is whole.
    pub(super) fn killed(&self) -> Self {
        let mut next = self.without_handles();
        next.off = false;
        next.operations = 0;
        next.crash_at = None;
        next.faults.clear();
        next.reads = 0;
        next.read_faults.clear();
        next.trace.note("back", &[], &[]);
        next
    }

    /// The machine after a power loss, its page caches gone.
    pub(super) fn after(&self, outage: &Outage, mut rng: Rng) -> Self {
        let mut next = self.killed();
        for names in next.dirs.values_mut() {
            *names = names.survivor(outage, &mut rng);
        }
        for file in next.files.values_mut() {
            file.content = file.content.survivor(outage, &mut rng);
        }
        next.rng = rng;
        next.forget_unreachable();
        next
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads
    }

    pub(super) fn fail_read(&mut self, read: u64, fault: Fault) {
        self.read_faults.insert(read, fault);
    }

    /// Counts a read of `what`, which the power may keep from happening, or a fault.
    pub(super) fn read(&mut self, what: &str, numbers: &[u64]) -> io::Result<()> {
        self.check_power()?;
        let number = self.reads;
        self.reads += 1;
        self.trace.note(what, numbers, &[]);
        self.read_faults.remove(&number).map_or(Ok(()), |fault| Err(fault.into()))
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.digest()
    }

    pub(super) fn crash_at(&mut self, operation: u64) {
        self.crash_at = Some(operation);
    }

    pub(super) fn fail_operation(&mut self, operation: u64, fault: Fault) {
        self.faults.insert(operation, fault);
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    pub(super) fn cut_one_in(&mut self, operations: u64) {
        self.cut_one_in = operations;
    }

    /// A machine like this one whose power goes at the operation that is about to be made, if one is
    /// wanted.
    pub(super) fn cut_here(&mut self) -> Option<Self> {
        if self.cut_one_in == 0 || self.off || self.cut_rng.below(self.cut_one_in) > 0 {
            return None;
        }
        let mut cut = self.without_handles();
        // Another power than this one's, and another cut the next time.
        cut.rng = Rng::new(self.cut_rng.next());
        cut.crash_at(self.operations);
        Some(cut)
    }

    /// Keeps a machine whose power has gone; what was refused at once was no operation.
    pub(super) fn keep_cut(&mut self, cut: Self) {
        if cut.is_off() {
            self.cuts.push(cut);
        }
    }

    pub(super) fn take_cuts(&mut self) -> Vec<Self> {
        std::mem::take(&mut self.cuts)
    }

    pub(super) fn switch_off(&mut self) {
        self.off = true;
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// Fails once the power is off.
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Counts an operation, told by its name, its numbers and its bytes, and says what becomes of it.
    pub(super) fn begin(&mut self, what: &str, numbers: &[u64], bytes: &[u8]) -> Fate {
        let number = self.operations;
        self.operations += 1;
        self.trace.note(what, numbers, bytes);
        if self.crash_at.is_some_and(|at| number >= at) {
            self.off = true;
            return Fate::PowerOff;
        }
        match self.faults.remove(&number) {
            Some(fault) => Fate::Failed(fault.into()),
            None => Fate::Whole,
        }
    }

    /// Whether an operation that is made whole or not at all was made.
    pub(super) fn happened(&mut self, fate: &Fate) -> bool {
        fate.is_whole() || self.rng.coin()
    }

    /// How many of `len` bytes a write got to before it ended as `fate` has it.
    pub(super) fn portion(&mut self, fate: &Fate, len: usize) -> usize {
        if fate.is_whole() { len } else { self.rng.below(len as u64 + 1) as usize }
    }

    /// How many bytes the files may still grow by.
    pub(super) fn room(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let named: BTreeSet<Node> =
            self.dirs.values().flat_map(|names| names.now().iter()).map(|(_, node)| node).collect();
        let used: u64 = self
            .files
            .iter()
            .filter(|(id, file)| named.contains(&Node::File(**id)) || file.is_open())
            .map(|(_, file)| file.content.now().len())
            .sum();
        capacity.saturating_sub(used)
    }

    pub(super) fn file(&self, id: u64) -> io::Result<&Inode> {
        self.files.get(&id).ok_or_else(|| io::Error::other("a handle without its file"))
    }

    pub(super) fn file_mut(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.files.get_mut(&id).ok_or_else(|| io::Error::other("a handle without its file"))
    }

    /// The directory `dir`, by its number.
    pub(super) fn dir_id(&self, dir: &str) -> io::Result<u64> {
        let mut at = self.root.ok_or_else(|| not_found("the store's directory"))?;
        for name in path::components(dir)? {
            at = match self.dirs.get(&at).and_then(|names| names.now().get(name)) {
                Some(Node::Dir(id)) => id,
                Some(Node::File(_)) => return Err(wrong_kind(dir, "not a directory")),
                None => return Err(not_found(dir)),
            };
        }
        Ok(at)
    }

    pub(super) fn names(&self, dir: u64) -> io::Result<&Cached<Names>> {
        self.dirs.get(&dir).ok_or_else(|| not_found("directory"))
    }

    pub(super) fn names_mut(&mut self, dir: u64) -> io::Result<&mut Cached<Names>> {
        self.dirs.get_mut(&dir).ok_or_else(|| not_found("directory"))
    }

    /// What stands at `path`: its directory, its name there, and the node if there is one.
    pub(super) fn find<'a>(&self, path: &'a str) -> io::Result<(u64, &'a str, Option<Node>)> {
        let (dir, name) = path::split(path)?;
        let dir = self.dir_id(dir)?;
        Ok((dir, name, self.names(dir)?.now().get(name)))
    }

    /// The file at `path`, by its number.
    pub(super) fn file_id(&self, path: &str) -> io::Result<u64> {
        match self.find(path)?.2 {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Dir(_)) => Err(wrong_kind(path, "not a regular file")),
            None => Err(not_found(path)),
        }
    }

    /// Makes the store's directory, in a parent that keeps it at once.
    pub(super) fn make_root(&mut self) {
        if self.root.is_none() {
            self.root = Some(self.new_dir());
        }
    }

    pub(super) fn new_dir(&mut self) -> u64 {
        let id = self.new_node();
        self.dirs.insert(id, Cached::default());
        id
    }

    pub(super) fn new_file(&mut self) -> u64 {
        let id = self.new_node();
        self.files.insert(id, Inode::default());
        id
    }

    fn new_node(&mut self) -> u64 {
        self.next_node += 1;
        self.next_node
    }

    /// Takes the lock on a file. False when it is taken.
    pub(super) fn take_lock(&mut self, file: u64) -> bool {
        self.locked.insert(file)
    }

    pub(super) fn free_lock(&mut self, file: u64) {
        self.locked.remove(&file);
    }

    /// Drops the files and directories that no name, seen, durable or under way, and no handle
    /// leads to.
    pub(super) fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut open: Vec<Node> = self.root.map(Node::Dir).into_iter().collect();
        while let Some(node) = open.pop() {
            if !reached.insert(node) {
                continue;
            }
            if let Node::Dir(id) = node
                && let Some(names) = self.dirs.get(&id)
            {
                open.extend(names.now().iter().map(|(_, node)| node));
                open.extend(names.durable().iter().map(|(_, node)| node));
                open.extend(names.pending().map(NameOp::node));
            }
        }
        self.dirs.retain(|id, _| reached.contains(&Node::Dir(*id)));
        self.files.retain(|id, file| reached.contains(&Node::File(*id)) || file.is_open());
    }

    /// Every file by its path, sorted, and every directory when asked.
    pub(super) fn paths(&self, with_dirs: bool) -> Vec<(String, Node)> {
        let mut found = Vec::new();
        let mut open: Vec<(String, u64)> =
            self.root.map(|root| (String::new(), root)).into_iter().collect();
        while let Some((dir, id)) = open.pop() {
            for (name, node) in self.dirs.get(&id).iter().flat_map(|names| names.now().iter()) {
                let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
                if let Node::Dir(id) = node {
                    open.push((path.clone(), id));
                }
                if with_dirs || matches!(node, Node::File(_)) {
                    found.push((path, node));
                }
            }
        }
        found.sort();
        found
    }

    /// Puts a file there as if it had always been, and its directories too.
    pub(super) fn plant(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (dir, name) = path::split(path)?;
        self.make_root();
        let mut at = self.dir_id("")?;
        for name in path::components(dir)? {
            at = match self.names(at)?.now().get(name) {
                Some(Node::Dir(id)) => id,
                Some(Node::File(_)) => return Err(wrong_kind(dir, "not a directory")),
                None => {
                    let id = self.new_dir();
                    let op = NameOp::Link { name: name.to_owned(), node: Node::Dir(id) };
                    self.names_mut(at)?.change_durably(op);
                    id
                }
            };
        }
        let id = match self.names(at)?.now().get(name) {
            Some(Node::File(id)) => id,
            Some(Node::Dir(_)) => return Err(wrong_kind(path, "not a regular file")),
            None => {
                let id = self.new_file();
                let op = NameOp::Link { name: name.to_owned(), node: Node::File(id) };
                self.names_mut(at)?.change_durably(op);
                id
            }
        };
        let content = &mut self.file_mut(id)?.content;
        content.change_durably(FileOp::Len(0));
        content.change_durably(FileOp::Bytes { offset: 0, data: Bytes::copy_from_slice(bytes) });
        content.change_durably(FileOp::Len(bytes.len() as u64));
        Ok(())
    }
}

impl Inode {
    fn is_open(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    /// Writes what is dirty, and the length with it: one that a failed sync left orphaned is in the
    /// inode all the same.
    pub(super) fn sync(&mut self) {
        self.content.sync();
        if self.content.pending().next().is_some() {
            self.content.change_durably(FileOp::Len(self.content.now().len()));
        }
    }

    /// Turns one bit of the file over, on the disk and in the cache.
    pub(super) fn flip(&mut self, bit: u64) {
        self.content.damage(|image| image.flip(bit), |op| flip_in(op, bit));
    }
}

fn flip_in(op: &mut FileOp, bit: u64) {
    if let FileOp::Bytes { offset, data } = op
        && let Some(at) = (bit / 8).checked_sub(*offset)
    {
        let mut bytes = data.to_vec();
        if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1 << (bit % 8);
            *data = bytes.into();
        }
    }
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

pub(super) fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file or directory"))
}

pub(super) fn wrong_kind(path: &str, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: {what}"))
}
