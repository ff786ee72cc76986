//! The operations that change or sync something, each made whole, in part or not at all.

use std::io;

use bytes::Bytes;

use super::image::FileOp;
use super::machine::{Fate, Machine, wrong_kind};
use super::names::{NameOp, Node};
use crate::storage::path;

impl Machine {
    /// Makes one operation; and once more, on a machine of its own, the power going in the middle of
    /// it, where such a machine is wanted.
    pub(super) fn attempt<T>(
        &mut self,
        operation: impl Fn(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(mut cut) = self.cut_here() {
            let _ = operation(&mut cut);
            self.keep_cut(cut);
        }
        operation(self)
    }

    pub(super) fn create_file(&mut self, path: &str) -> io::Result<u64> {
        self.check_power()?;
        let (dir, name, there) = self.find(path)?;
        if there.is_some() {
            return Err(taken(path));
        }
        let fate = self.begin("create", &[dir], name.as_bytes());
        let id = self.new_file();
        if self.happened(&fate) {
            let op = NameOp::Link { name: name.to_owned(), node: Node::File(id) };
            self.names_mut(dir)?.change(op);
        }
        fate.into_result()?;
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, dir: &str) -> io::Result<()> {
        self.check_power()?;
        if dir.is_empty() {
            let fate = self.begin("create_dir", &[], &[]);
            if self.happened(&fate) {
                self.make_root();
            }
            return fate.into_result();
        }
        let (parent, name, there) = self.find(dir)?;
        match there {
            Some(Node::Dir(_)) => return Ok(()),
            Some(Node::File(_)) => return Err(wrong_kind(dir, "not a directory")),
            None => {}
        }
        let fate = self.begin("create_dir", &[parent], name.as_bytes());
        if self.happened(&fate) {
            let node = Node::Dir(self.new_dir());
            self.names_mut(parent)?.change(NameOp::Link { name: name.to_owned(), node });
        }
        fate.into_result()
    }

    pub(super) fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        self.check_power()?;
        let dir = self.dir_id(dir)?;
        let fate = self.begin("sync_dir", &[dir], &[]);
        let through = self.happened(&fate);
        let names = self.names_mut(dir)?;
        match fate {
            Fate::Failed(_) => names.fail_sync(),
            _ if through => names.sync(),
            _ => {}
        }
        self.forget_unreachable();
        fate.into_result()
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        path::split_pair(from, to)?;
        self.check_power()?;
        let node = Node::File(self.file_id(from)?);
        let (dir, name, there) = self.find(to)?;
        if let Some(Node::Dir(_)) = there {
            return Err(wrong_kind(to, "not a regular file"));
        }
        let fate = self.begin("rename", &[dir], name.as_bytes());
        if self.happened(&fate) {
            self.names_mut(dir)?.change(NameOp::Rename { to: name.to_owned(), node });
        }
        fate.into_result()
    }

    pub(super) fn unlink(&mut self, path: &str) -> io::Result<()> {
        self.check_power()?;
        let node = Node::File(self.file_id(path)?);
        let (dir, name, _) = self.find(path)?;
        let fate = self.begin("unlink", &[dir], name.as_bytes());
        if self.happened(&fate) {
            self.names_mut(dir)?.change(NameOp::Unlink { name: name.to_owned(), node });
        }
        fate.into_result()
    }

    pub(super) fn write(&mut self, file: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = end_of(bytes, offset)?;
        let mut fate = self.begin("write", &[file, offset], bytes);
        let len = self.file(file)?.content.now().len();
        let reachable = len.saturating_add(self.room());
        let mut fitting = bytes;
        if end > reachable {
            // What fits may have been written before the room ran out.
            let fits = reachable.saturating_sub(offset).min(bytes.len() as u64) as usize;
            fitting = bytes.get(..fits).unwrap_or_default();
            if fate.is_whole() {
                fate = Fate::Failed(io::ErrorKind::StorageFull.into());
            }
        }
        let written = self.portion(&fate, fitting.len());
        let data = shared(fitting.get(..written).unwrap_or_default());
        if written > 0 {
            let content = &mut self.file_mut(file)?.content;
            content.change(FileOp::Bytes { offset, data });
            let end = offset + written as u64;
            if end > len {
                content.change(FileOp::Len(end));
            }
        }
        fate.into_result()
    }

    pub(super) fn sync(&mut self, file: u64) -> io::Result<()> {
        self.check_power()?;
        let fate = self.begin("sync", &[file], &[]);
        // A sync that fails reports so and has forgotten what was dirty. One the power cuts short
        // may have been through.
        let through = match fate {
            Fate::Failed(_) => false,
            _ => self.happened(&fate),
        };
        let inode = self.file_mut(file)?;
        match fate {
            Fate::Failed(_) => inode.content.fail_sync(),
            _ if through => inode.sync(),
            _ => {}
        }
        fate.into_result()
    }

    pub(super) fn set_len(&mut self, file: u64, len: u64) -> io::Result<()> {
        let len = end_of(&[], len)?;
        let fate = self.begin("set_len", &[file, len], &[]);
        let old_len = self.file(file)?.content.now().len();
        if len.saturating_sub(old_len) > self.room() {
            fate.into_result()?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.happened(&fate) {
            self.file_mut(file)?.content.change(FileOp::Len(len));
        }
        fate.into_result()
    }
}

/// As many zeros as room is made with at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The bytes, copied; zeros, of which most writes of any length are, are there already.
fn shared(bytes: &[u8]) -> Bytes {
    match ZEROS.get(..bytes.len()) {
        Some(zeros) if bytes == zeros => Bytes::from_static(zeros),
        _ => Bytes::copy_from_slice(bytes),
    }
}

/// Where a write of `bytes` at `offset` ends. No file is longer than the kernel can count.
fn end_of(bytes: &[u8], offset: u64) -> io::Result<u64> {
    offset
        .checked_add(bytes.len() as u64)
        .filter(|&end| i64::try_from(end).is_ok())
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn taken(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{path}: the name is taken"))
}
