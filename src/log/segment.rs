//! One segment.

use std::borrow::Cow;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::fill::Fill;
use super::{DIRECTORY, TEMPORARY, file_name, kept, key, path};
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

/// A segment that can be read. Whoever holds its `Arc`, or its map's, may read its published bytes,
/// also after it was retired: its file is not written again, nor cut, before.
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
    /// Whether the file is cut no more; held while it is.
    settled: Mutex<bool>,
    /// Whether this store made the file, since it was opened.
    is_made_here: bool,
    /// Records of the index that stand here.
    pub(crate) live: AtomicU64,
    /// Records that were ever published here.
    pub(crate) records: AtomicU64,
    /// The latest expiry of a record here, milliseconds of store time.
    pub(crate) last_expiry_ms: AtomicU64,
    /// Where the groups end that are written for good: nothing before it is written again. What of
    /// them may be shown, the index says.
    pub(crate) end: AtomicU64,
    /// Where the groups begin that a later link voids: this process wrote them again as it opened the
    /// store, and they still stand here.
    void_from: AtomicU64,
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
            settled: Mutex::default(),
            is_made_here: true,
            live: 0.into(),
            records: 0.into(),
            last_expiry_ms: 0.into(),
            end: (format::HEADER as u64).into(),
            void_from: u64::MAX.into(),
            length: length.into(),
            began_ms: 0.into(),
        })
    }

    /// Opens the segment file `id` to read, and to write what is left of it.
    pub(crate) fn open(storage: &dyn Storage, id: u32, salt: u64) -> io::Result<Self> {
        let file = storage.open(&path(id))?;
        let length = file.len()?;
        Ok(Self { is_made_here: false, ..Self::new(id, salt, file, length, length)? })
    }

    /// The groups end at `end`, and those from `void_from` on were written again.
    pub(crate) fn ends_at(&self, end: u64, void_from: Option<u64>) {
        self.end.store(end, Relaxed);
        self.void_from.store(void_from.unwrap_or(u64::MAX), Relaxed);
    }

    /// Where the groups end that count.
    pub(crate) fn counts_upto(&self) -> u64 {
        self.end.load(Relaxed).min(self.void_from.load(Relaxed))
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

    /// Destroys the segment's key, if it has one.
    pub(super) fn destroy_key(&self, storage: &dyn Storage) -> io::Result<()> {
        if self.key().is_some() { key::erase(storage, self.id) } else { Ok(()) }
    }

    /// Removes the segment's file, whichever name it has, once its key is destroyed. One that is not
    /// there is none to remove.
    pub(crate) fn remove(&self, storage: &dyn Storage) -> io::Result<()> {
        self.destroy_key(storage)?;
        unlink(storage, &path(self.id))?;
        unlink(storage, &kept::path(self.id))
    }

    /// Whether the file, of a segment that was retired, does for another one: it has one of these
    /// `lengths`. Not when a sync of it ever failed: what a later one says of its blocks would be worth
    /// nothing. Nor when an earlier process made it, of whose syncs nobody knows; and under which it
    /// may have been plain, while payloads are sealed now.
    pub(super) fn is_worth_keeping(&self, lengths: &RangeInclusive<u64>) -> bool {
        let length = self.length.load(Relaxed);
        lengths.contains(&length) && self.is_made_here && !self.has_failed()
    }

    /// Whether this store made the file, since it was opened: nobody has it mapped but who was handed
    /// something by this store.
    pub(super) fn is_made_here(&self) -> bool {
        self.is_made_here
    }

    /// Whether nobody but the caller holds the segment or its map, and nobody can any more: a hold of
    /// the table, which a thread may remember, has a count of its own, and all of its life it holds
    /// the segment.
    pub(super) fn is_unread(this: &mut Arc<Self>) -> bool {
        Arc::get_mut(this).is_some_and(|it| Arc::get_mut(&mut it.map).is_some())
    }

    /// Whether the file may be written again: whoever was handed a payload reads what he was handed.
    pub(super) fn is_nobodys(this: &mut Arc<Self>) -> bool {
        Self::is_unread(this) || is_planted(Bug::ReusedUnderReader)
    }

    /// Whether a sync of the file has failed.
    pub(super) fn has_failed(&self) -> bool {
        *self.failed.lock()
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

    /// Makes the file `length` bytes long; what comes to it reads as zeros, and its blocks are there.
    pub(super) fn extend(&self, length: u64, fill: Fill) -> io::Result<()> {
        fill.up_to(&*self.file, length)?;
        self.sync().inspect_err(|_| {
            // Best effort: the space is free again.
            let _ = self.file.set_len(self.length.load(Relaxed));
        })?;
        self.length.store(length, Relaxed);
        Ok(())
    }

    /// Gives back to the disk what the file holds beyond its groups, if that is more than `least`.
    ///
    /// Only once the link of the segment that follows is durable: it says where this one ends.
    pub(crate) fn trim(&self, least: u64) {
        let settled = self.settled.lock();
        if *settled {
            return;
        }
        let end = self.end.load(Relaxed);
        let rest = self.length.load(Relaxed).saturating_sub(end);
        if rest > least && self.file.set_len(end).is_ok() {
            self.length.store(end, Relaxed);
        }
    }

    /// Has the file cut no more. Gives how long it is.
    pub(crate) fn settle_length(&self) -> u64 {
        *self.settled.lock() = true;
        self.length.load(Relaxed)
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

/// A segment whose file is made ahead, and in which no group stands yet.
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
    fill: Fill,
) -> io::Result<Prepared> {
    let sealing = seal(storage, header, master)?;
    let temporary = format!("{}{TEMPORARY}", path(header.id));
    unlink(storage, &temporary)?;
    let file = storage.create(&temporary)?;
    begin(storage, &temporary, file, header, size, sealing, fill)
}

/// Makes the kept file of `old`, which is nobody's, that of segment `id`: at once as long as it is,
/// and with groups of another number and salt in place of zeros. As [`create`].
pub(super) fn reuse(
    storage: &dyn Storage,
    old: &Segment,
    header: &format::Header,
    size: u64,
    master: Option<&Master>,
) -> io::Result<Prepared> {
    let sealing = seal(storage, header, master)?;
    let file = Arc::clone(&old.file);
    begin(storage, &kept::path(old.id), file, header, size, sealing, Fill::Zeros)
}

/// Makes the key of a segment and keeps it, when payloads are sealed.
fn seal(
    storage: &dyn Storage,
    header: &format::Header,
    master: Option<&Master>,
) -> io::Result<Option<DataKey>> {
    let Some(master) = master else { return Ok(None) };
    let (made, wrapped) = master.make(header.store_id, header.id)?;
    key::write(storage, header.id, &wrapped)?;
    Ok(Some(made))
}

/// Makes `file`, under a temporary name, the segment that `header` says.
fn begin(
    storage: &dyn Storage,
    temporary: &str,
    file: Arc<dyn File>,
    header: &format::Header,
    size: u64,
    sealing: Option<DataKey>,
    fill: Fill,
) -> io::Result<Prepared> {
    let made = (|| {
        fill.up_to(&*file, header.prepared)?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        storage.rename(temporary, &path(header.id))?;
        if is_planted(Bug::DirectoryNotSynced) { Ok(()) } else { storage.sync_dir(DIRECTORY) }
    })();
    if let Err(error) = made {
        // Best effort: what stays is removed at the next open, for no group stands in it.
        let _ = storage.unlink(temporary).or_else(|_| storage.unlink(&path(header.id)));
        if sealing.is_some() {
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

/// Removes a file that may not be there.
fn unlink(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
