//! One segment.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{DIRECTORY, TEMPORARY, file_name, key, path};
use crate::crypt::{DataKey, Master};
use crate::error::Error;
use crate::format::frame::{self, Frame, HEAD_MAX, Head};
use crate::format::{seed, segment as format};
use crate::outcome::{Place, Source};
use crate::planted::{Bug, is_planted};
use crate::storage::{File, Map, Storage};
use crate::sync::Mutex;

/// Bytes of a frame that are asked for before it is known how many it has: a head, and a result of
/// half a KiB. Asking for what is not read costs little; waiting for what was not asked for, a read
/// of memory.
const NEAR: usize = 640;

/// A segment that can be read. Whoever holds its `Arc` may read its published bytes, also after it
/// was retired and unlinked.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) salt: u64,
    pub(crate) file: Arc<dyn File>,
    map: Arc<dyn Map>,
    /// What its payloads are sealed under; set once, before it is read or appended to.
    key: OnceLock<DataKey>,
    /// Whether a sync of the file has failed.
    failed: Mutex<bool>,
    /// Records of the index that stand here.
    pub(crate) live: AtomicU64,
    /// Records that were ever published here.
    pub(crate) records: AtomicU64,
    /// The latest expiry of a record here, milliseconds of store time.
    pub(crate) last_expiry_ms: AtomicU64,
    /// Where the groups end that are written for good: nothing before it is written again. What of
    /// them may be shown, the index says.
    pub(crate) end: AtomicU64,
    /// The length of the file.
    pub(crate) length: AtomicU64,
    /// Store time of the first frame: when the segment began, milliseconds.
    pub(crate) began_ms: AtomicU64,
}

impl Segment {
    /// A segment over `file`, whose first `map_len` bytes are mapped.
    pub(crate) fn new(
        id: u32,
        salt: u64,
        file: Arc<dyn File>,
        length: u64,
        map_len: u64,
    ) -> io::Result<Self> {
        let map = file.map(map_len)?;
        Ok(Self {
            id,
            salt,
            file,
            map,
            key: OnceLock::new(),
            failed: Mutex::default(),
            live: 0.into(),
            records: 0.into(),
            last_expiry_ms: 0.into(),
            end: (format::HEADER as u64).into(),
            length: length.into(),
            began_ms: 0.into(),
        })
    }

    /// Opens the segment file `id` to read, and to write what is left of it.
    pub(crate) fn open(storage: &dyn Storage, id: u32, salt: u64) -> io::Result<Self> {
        let file = storage.open(&path(id))?;
        let length = file.len()?;
        Self::new(id, salt, file, length, length)
    }

    /// The key under which its payloads are sealed.
    pub(crate) fn key(&self) -> Option<&DataKey> {
        self.key.get()
    }

    /// Opens the segment's payloads with `key`, its own.
    pub(crate) fn unlock(&self, key: DataKey) {
        // One that is there already is the same.
        let _ = self.key.set(key);
    }

    /// Removes the segment's file, once its key is destroyed. One that is not there is none to
    /// remove.
    pub(crate) fn remove(&self, storage: &dyn Storage) -> io::Result<()> {
        if self.key().is_some() {
            key::erase(storage, self.id)?;
        }
        match storage.unlink(&path(self.id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes what was written durable. Once it failed, it fails for good.
    ///
    /// A kernel tells of bytes that it could not write once, to whoever syncs the file first (Rebello
    /// and others, "Can Applications Recover from fsync Failures?", 2020), and room is made in a
    /// segment's file while groups are written to it: who is told may not be the one whose bytes they
    /// were. So one syncs at a time, and none succeeds after one that failed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut failed = self.failed.lock();
        if *failed {
            return Err(io::Error::other("a sync of this segment failed before"));
        }
        let synced = self.file.sync();
        *failed = synced.is_err();
        synced
    }

    /// Makes the file `length` bytes long, with zeros that are on disk.
    pub(crate) fn extend(&self, length: u64) -> io::Result<()> {
        self.file.preallocate(length)?;
        self.sync().inspect_err(|_| {
            // Best effort: the space is free again.
            let _ = self.file.set_len(self.length.load(Relaxed));
        })?;
        self.length.store(length, Relaxed);
        Ok(())
    }

    /// Gives back to the disk what the file holds beyond its groups.
    ///
    /// Only once the link of the segment that follows is durable: it says where this one ends.
    pub(crate) fn trim(&self) {
        let end = self.end.load(Relaxed);
        if end < self.length.load(Relaxed) && self.file.set_len(end).is_ok() {
            self.length.store(end, Relaxed);
        }
    }

    /// Gives `look` the head of the frame at `offset`, its checksum compared.
    ///
    /// # Errors
    /// `Corrupt`, naming the place.
    #[inline]
    pub(crate) fn head<R>(
        &self,
        offset: u64,
        look: impl FnOnce(&Frame<'_>) -> R,
    ) -> Result<R, Error> {
        let window = self.window(offset);
        let viewed;
        let head = if let Some(head) = self.map.near(window.clone()) {
            head
        } else {
            let outside = |_| self.corrupt("a frame outside its segment", offset);
            viewed = self.map.view(window).map_err(outside)?;
            &viewed
        };
        let decoded = frame::decode(head, seed(self.salt, offset));
        Ok(look(&decoded.map_err(|bad| self.corrupt(bad.0, offset))?))
    }

    /// Gives `look` the head of the frame at `offset`, its checksum compared; `None` when `look` says
    /// so, and when there is no such head: what there is, [`head`](Self::head) says.
    #[inline]
    pub(crate) fn glance<R>(
        &self,
        offset: u64,
        look: impl FnOnce(&Head<'_>) -> Option<R>,
    ) -> Option<R> {
        let window = self.window(offset);
        let viewed;
        let head = if let Some(head) = self.map.near(window.clone()) {
            head
        } else {
            viewed = self.map.view(window).ok()?;
            &viewed
        };
        look(&frame::check(head, seed(self.salt, offset)).ok()?)
    }

    /// As long as a head at `offset` may be: how long it is, is in it.
    #[inline]
    fn window(&self, offset: u64) -> Range<u64> {
        let end = self.end.load(Acquire);
        offset..end.min(offset.saturating_add(HEAD_MAX as u64))
    }

    #[cold]
    fn corrupt(&self, what: &str, offset: u64) -> Error {
        Error::corrupt(format!("{what}, in {} at {offset}", file_name(self.id)))
    }

    /// Asks for the frame at `offset` to be brought near, its head and the beginning of its payload
    /// at once: read one after the other, each would be waited for.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        self.map.prefetch(offset, NEAR);
    }

    fn check(&self, payload: &[u8], place: Place) -> Result<(), Error> {
        if frame::payload_crc(payload) == place.crc || is_planted(Bug::PayloadNotCompared) {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "a payload's checksum does not hold, in {} at {}",
            file_name(self.id),
            place.start
        )))
    }
}

impl Source for Segment {
    fn view(&self, place: Place) -> Result<Cow<'_, [u8]>, Error> {
        let payload = self.map.view(range(place)).map_err(unread)?;
        self.check(&payload, place)?;
        Ok(payload)
    }

    fn bytes(&self, place: Place) -> Result<Bytes, Error> {
        let payload = Arc::clone(&self.map).bytes(range(place)).map_err(unread)?;
        self.check(&payload, place)?;
        Ok(payload)
    }
}

fn range(place: Place) -> Range<u64> {
    place.start..place.start + u64::from(place.len)
}

fn unread(error: io::Error) -> Error {
    Error::io("reading a payload", error)
}

/// A segment whose file is made and zeroed ahead, and in which no group stands yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) segment: Arc<Segment>,
    /// The most the file may grow to: what is mapped.
    pub(crate) size: u64,
}

impl Prepared {
    /// What the file may still grow by.
    pub(crate) fn left(&self) -> u64 {
        self.size.saturating_sub(self.segment.length.load(Relaxed))
    }
}

/// Makes the file of segment `id`, `length` bytes of it written, durable under its name.
///
/// It is made under a temporary name, so that a file with a segment's name is never half a segment.
/// With a `master` it gets a key, whose file has its name on disk no later than the segment's.
pub(crate) fn create(
    storage: &dyn Storage,
    header: &format::Header,
    size: u64,
    master: Option<&Master>,
) -> io::Result<Prepared> {
    let mut sealing = None;
    if let Some(master) = master {
        let (made, wrapped) = master.make(header.store_id, header.id)?;
        key::write(storage, header.id, &wrapped)?;
        sealing = Some(made);
    }
    let temporary = format!("{}{TEMPORARY}", path(header.id));
    match storage.unlink(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(&temporary)?;
    let made = (|| {
        file.preallocate(header.prepared)?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        storage.rename(&temporary, &path(header.id))?;
        if is_planted(Bug::DirectoryNotSynced) { Ok(()) } else { storage.sync_dir(DIRECTORY) }
    })();
    if let Err(error) = made {
        // Best effort: what stays is removed at the next open, for no group stands in it.
        let _ = storage.unlink(&temporary).or_else(|_| storage.unlink(&path(header.id)));
        if master.is_some() {
            let _ = storage.unlink(&key::path(header.id));
        }
        return Err(error);
    }
    let segment = Segment::new(header.id, header.salt, file, header.prepared, size)?;
    if let Some(key) = sealing {
        segment.unlock(key);
    }
    Ok(Prepared { segment: Arc::new(segment), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_and_an_id_are_the_same_thing() {
        for id in [1, 42, u32::MAX] {
            assert_eq!(super::super::id_of(&file_name(id)), Some(id));
        }
        for other in ["1.log", "0000000001.log.tmp", "000000000x.log", "9999999999.log", ""] {
            assert_eq!(super::super::id_of(other), None, "{other}");
        }
    }
}
