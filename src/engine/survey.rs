//! The segments of a store that is being opened or verified: which there are, in what order, and
//! what each says of the one before. Reads alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::Error;
use crate::format::frame::Kind;
use crate::format::housekeeping::{Link, Retire};
use crate::format::segment::{HEADER, Header};
use crate::format::store::Identity;
use crate::log::replay::{self, From, Of};
use crate::log::{self, Segment};
use crate::storage::Storage;

/// A segment file in which groups stand.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) segment: Arc<Segment>,
    pub(super) of: Of,
    /// What its first frame says, if that stands.
    pub(super) link: Option<Link>,
    /// Whether its header does not stand, which was written before it got its name.
    pub(super) header_damaged: bool,
    /// The length its file had when it was made.
    pub(super) prepared: u64,
    /// Whether its header says that it has a key.
    pub(super) sealed: bool,
}

/// What stands in the directory of segments.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Segments with groups, in order.
    pub(super) begun: BTreeMap<u32, Begun>,
    /// Files no group stands in: made ahead and never begun.
    pub(super) unused: Vec<String>,
    /// Segments of which nothing can be believed, neither a header nor a group: what they had is
    /// damaged, if they count. A later one is begun, by whose groups the store's time is known.
    pub(super) illegible: BTreeSet<u32>,
    /// Files under temporary names.
    pub(super) temporary: Vec<String>,
    /// Segments, or what once were segments, beside which a file of a key stands.
    pub(super) keys: BTreeSet<u32>,
    /// The greatest id any file has.
    pub(super) last_id: u32,
}

/// The names in the directory of segments, which is there since before the store was.
pub(super) fn names(storage: &dyn Storage) -> Result<Vec<String>, Error> {
    storage.list(log::DIRECTORY).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::corrupt("the directory of segments is missing"),
        _ => Error::io("reading the segments", error),
    })
}

/// Reads which segments there are.
///
/// # Errors
/// `Corrupt` for a file of another store, or one cut off before its first group; `Io`.
pub(super) fn survey(storage: &dyn Storage, identity: &Identity) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    for name in names(storage)? {
        let path = format!("{}/{name}", log::DIRECTORY);
        if let Some(id) = log::key::id_of(&name) {
            survey.keys.insert(id);
            continue;
        }
        let Some(id) = log::id_of(&name) else {
            if name.ends_with(log::TEMPORARY) {
                survey.temporary.push(path);
                continue;
            }
            return Err(Error::corrupt(format!("{path} is not one of the store's files")));
        };
        survey.last_id = survey.last_id.max(id);
        match begun(storage, identity, id, &path)? {
            Stands::Groups(begun) => {
                survey.begun.insert(id, *begun);
            }
            Stands::Nothing => survey.unused.push(path),
            Stands::Illegible => {
                survey.illegible.insert(id);
            }
        }
    }
    survey.set_aside_what_nothing_vouches_for(&identity.secret)?;
    survey.refuse_an_illegible_end()?;
    Ok(survey)
}

/// What stands in a segment's file.
enum Stands {
    Groups(Box<Begun>),
    /// A header, and nothing behind it.
    Nothing,
    /// Nothing that can be believed.
    Illegible,
}

fn begun(storage: &dyn Storage, identity: &Identity, id: u32, path: &str) -> Result<Stands, Error> {
    let io = |error| Error::io(format!("reading {path}"), error);
    let file = storage.open_read_only(path).map_err(io)?;
    let header: Result<Header, String> = replay::read_header(&*file).map_err(io)?;
    if let Ok(header) = &header
        && (header.store_id != identity.id || header.id != id)
    {
        return Err(Error::corrupt(format!("{path} is of another store, or another segment")));
    }
    let told = header.as_ref().ok().map(|header| header.salt);
    let of = Of { segment: id, salt: told };
    let first = replay::first_group(&*file, of, |group, bytes| (group.salt, link_of(group, bytes)))
        .map_err(io)?;
    let len = file.len().map_err(io)?;
    // Without the salt, octets of an earlier segment, a user's among them, could pass for a group. The
    // first group's place never had any: whatever stands there is a group of this segment or of none.
    let stands = first.is_some();
    let (salt, link) = match first {
        Some((salt, link)) => (Some(salt), link),
        None if told.is_some() => (told, None),
        None => (replay::proven_salt(&*file, id, &identity.secret).map_err(io)?, None),
    };
    let of = Of { segment: id, salt };
    // Only where the first one does not stand is the rest of the file searched for another.
    let has_groups = stands || salt.is_some() && replay::has_groups(&*file, of).map_err(io)?;
    if !has_groups {
        return match header {
            Ok(header) if header.prepared <= len => Ok(Stands::Nothing),
            Err(_) if len >= HEADER as u64 => Ok(Stands::Illegible),
            // A file gets its name only once it is whole, so a shorter one was cut off since.
            _ => Err(damaged_or_cut_off(path)),
        };
    }
    let segment = Segment::open(storage, id, salt.unwrap_or_default()).map_err(io)?;
    if let Some(link) = &link {
        segment.began_ms.store(link.time.store_ms, Relaxed);
    }
    // Until the scan says better, whatever the file has may be looked at.
    segment.end.store(len, Relaxed);
    Ok(Stands::Groups(Box::new(Begun {
        segment: Arc::new(segment),
        of,
        link,
        header_damaged: header.is_err(),
        sealed: header.as_ref().is_ok_and(|header| header.sealed),
        prepared: header.map_or(0, |header| header.prepared),
    })))
}

fn damaged_or_cut_off(path: &str) -> Error {
    Error::corrupt(format!("{path} is damaged, or was cut off"))
}

fn link_of(group: &crate::format::group::Header, bytes: &[u8]) -> Option<Link> {
    let mut link = None;
    let offset = crate::format::segment::HEADER as u64;
    // A group whose checksum holds has whole frames; a link that cannot be read is as good as none.
    let _ = replay::frames(bytes, offset, group, &mut |_, frame, payload| {
        if frame.header.kind == Kind::Link {
            link = Link::decode(payload).ok();
        }
    });
    link
}

/// Which segments ought to be there, as the log's housekeeping frames say.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected(std::collections::BTreeSet<u32>);

impl Expected {
    pub(super) fn link(&mut self, id: u32, link: &Link) {
        self.0 = link.live.iter().copied().collect();
        self.0.insert(id);
    }

    pub(super) fn present(&mut self, id: u32) {
        self.0.insert(id);
    }

    pub(super) fn retire(&mut self, payload: &[u8]) {
        if let Ok(retire) = Retire::decode(payload) {
            self.0.remove(&retire.segment);
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.0.remove(&id);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl Survey {
    /// Whether segment `id` has its file, and was begun.
    pub(super) fn is_there(&self, id: u32) -> bool {
        self.begun.contains_key(&id) || self.illegible.contains(&id)
    }

    /// Every segment that ought to be there is.
    pub(super) fn refuse_missing(&self, expected: &Expected) -> Result<(), Error> {
        let missing = expected.iter().find(|id| !self.is_there(*id));
        missing.map_or(Ok(()), |id| {
            Err(Error::corrupt(format!("{} is missing and was not retired", log::path(id))))
        })
    }

    /// The octets kept of the key of segment `id`, if it has one.
    ///
    /// # Errors
    /// `Corrupt` when it had one and has none any more; `Io`.
    pub(super) fn key_file(
        &self,
        storage: &dyn Storage,
        id: u32,
    ) -> Result<Option<Vec<u8>>, Error> {
        let kept = self.keys.contains(&id);
        // A segment without a sound header has a key if one is there.
        let has = self.begun.get(&id).is_some_and(|it| it.sealed || it.header_damaged && kept);
        if !has {
            return Ok(None);
        }
        let path = log::key::path(id);
        let read = log::key::read(storage, id)
            .map_err(|error| Error::io(format!("reading {path}"), error))?;
        read.ok_or_else(|| Error::corrupt(format!("{path} is missing"))).map(Some)
    }

    /// Counts the last segment as never begun when its first group does not stand and no later one
    /// says that it did. Under `Buffered` a power cut may keep a later group and not the first. A
    /// segment is begun once everything before it is synced; so a group that vouches for no more
    /// than that vouches for nothing in its own segment.
    fn set_aside_what_nothing_vouches_for(&mut self, secret: &[u8; 16]) -> Result<(), Error> {
        let io = |error| Error::io("reading the last segments", error);
        let scan = |begun: &Begun| {
            let from = From { offset: HEADER as u64, previous: None, last_sequence: 0 };
            replay::scan(&*begun.segment.file, begun.of, from, None, secret, &mut |_, _, _| {})
                .map_err(io)
        };
        let mut newest = self.begun.iter().rev();
        let (Some((&id, last)), Some((_, before))) = (newest.next(), newest.next()) else {
            return Ok(());
        };
        if last.link.is_some() || last.header_damaged {
            return Ok(());
        }
        let before = scan(before)?;
        let vouched = replay::vouched(&*last.segment.file, last.of).map_err(io)?;
        if before.damage.is_empty() && vouched <= before.last_sequence {
            self.begun.remove(&id);
            self.unused.push(log::path(id));
        }
        Ok(())
    }

    /// Refuses a store whose last segment is illegible: how late it was then nobody knows, and a record
    /// that had expired by then, and whose key had another since, would pass for one that lives.
    fn refuse_an_illegible_end(&self) -> Result<(), Error> {
        let last = self.begun.last_key_value().map_or(0, |(id, _)| *id);
        let illegible = self.illegible.last().filter(|id| **id > last);
        illegible.map_or(Ok(()), |id| Err(damaged_or_cut_off(&log::path(*id))))
    }

    /// The segments that count, oldest first: each named by the link of the one behind it. One that
    /// no link names is void: nothing in it was surely on disk, and what it held was written again.
    /// Where a link does not stand, or what it names is illegible, the segment before is taken to be the
    /// one meant.
    pub(super) fn chain(&self) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut at = self.begun.last_key_value();
        while let Some((id, begun)) = at {
            chain.push(*id);
            at = match &begun.link {
                Some(link) if !self.illegible.contains(&link.previous_segment) => {
                    self.begun.get_key_value(&link.previous_segment)
                }
                _ => self.begun.range(..id).next_back(),
            }
            // Links lead back; one that does not is damage that passed for a link.
            .filter(|(before, _)| *before < id);
        }
        chain.reverse();
        chain
    }

    /// Lets the segments of `chain` before `first`, which nobody replays, end where the next one says,
    /// whatever their files have behind that. Of all but the last, files are cut no more: an ended store
    /// of this process may have handed out what stands behind that end, in groups that were written
    /// again. Only who opens the log next cuts a file, and behind all groups.
    pub(super) fn end_before(&self, chain: &[u32], first: u32) {
        for (id, next) in chain.iter().zip(chain.iter().skip(1)) {
            let Some(begun) = self.begun.get(id) else { continue };
            begun.segment.settle_length();
            if let Some(end) = self.end_of(*id, *next).filter(|_| *id < first) {
                begun.segment.end.store(end, Relaxed);
            }
        }
    }

    /// Where the groups of `id` end, as the link of `next` says.
    pub(super) fn end_of(&self, id: u32, next: u32) -> Option<u64> {
        let link = self.begun.get(&next)?.link.as_ref()?;
        (link.previous_segment == id).then_some(link.previous_end)
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::format::group;
    use crate::storage::SimDisk;
    use crate::{Claim, ErrorKind, Fingerprint, Key, ManualClock, Options};

    /// A segment that is ready and not begun, in a file that had payloads: one of them has the octets
    /// of a group, as anybody can make one who guesses the number of the segment. When the header does
    /// not stand, nothing else tells it from a group of the segment.
    #[test]
    fn p0_3_without_a_salt_nothing_in_a_file_is_believed_but_a_first_group() {
        let ttl = Duration::from_secs(10);
        let clock = ManualClock::new(1_750_000_000_000);
        let disk = Arc::new(SimDisk::new(1));
        let options = |seed| {
            let options = Options::new().segment_size(64 << 10).ttl(ttl).clock(clock.clone());
            options.seeded(seed).stepped()
        };
        let store = options(1).open_storage(Arc::clone(&disk) as Arc<dyn Storage>).unwrap();
        let complete = |name: &str| {
            let key = Key::new("scope", name).unwrap();
            let mut claimed = Box::pin(store.claim(key, Fingerprint::of("a request")));
            let Claim::Granted(ticket) = drive(&store, claimed.as_mut()).unwrap() else {
                panic!("a grant")
            };
            let mut completed = Box::pin(ticket.complete(vec![b'p'; 20 << 10]));
            drive(&store, completed.as_mut()).unwrap();
        };
        for round in 0..4 {
            for nth in 0..10 {
                complete(&format!("{round} {nth}"));
            }
            clock.advance(ttl + Duration::from_millis(1));
            store.keep_house(40);
        }
        let reused = store.stats().segments_reused;
        let mut nth = 0;
        while store.stats().segments_reused == reused {
            complete(&format!("last {nth}"));
            nth += 1;
        }
        let disk_after = Arc::new(disk.kill());
        drop(store);
        let is_segment =
            |path: &String| path.rsplit('/').next().is_some_and(|name| log::id_of(name).is_some());
        let ready = disk_after.files().into_iter().rfind(is_segment).unwrap();
        let bytes = disk_after.read_file(&ready).unwrap();
        let header = Header::decode(&bytes).unwrap();
        // In the middle of an earlier payload.
        let at = bytes.windows(4096).position(|window| window == [b'p'; 4096]).unwrap();
        let at = at.next_multiple_of(8);
        let mut forged = vec![0; group::HEADER];
        let length = forged.len() as u64;
        group::Header {
            salt: 1,
            segment: header.id,
            count: 0,
            epoch: 1,
            last_sequence: 1 << 40,
            durable_upto: 1 << 40,
            previous: 0,
            length,
            store_ms: 1_750_000_000_000,
            prepared: 64 << 10,
            ttl_max_ms: 10_000,
        }
        .seal(&mut forged, at as u64, &[0; 16]);
        let mut planted = bytes;
        planted.splice(at..at + forged.len(), forged);
        disk_after.write_file(&ready, &planted).unwrap();
        // The salt tells.
        let copy = Arc::new(disk_after.kill());
        let sound = options(2).open_storage(copy).unwrap();
        assert_eq!(sound.stats().suspect_until_ms, None);
        drop(sound);
        let disk = Arc::new(disk_after.kill());
        disk.flip_bit(&ready, 8 * 20).unwrap();
        let opened = options(2).open_storage(disk);
        let error = opened.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("is damaged, or was cut off"), "{error}");
    }

    /// A store has a segment for every 200,000 records or so, and each open looks at all of them.
    #[test]
    fn a_segment_whose_first_group_stands_is_not_searched_for_another() {
        let disk = Arc::new(SimDisk::new(1));
        let options = Options::new().segment_size(64 << 10).seeded(1).stepped();
        let store = options.open_storage(Arc::clone(&disk) as Arc<dyn Storage>).unwrap();
        for nth in 0..20 {
            let name = format!("{nth}");
            let key = Key::new("scope", &name).unwrap();
            let mut claimed = Box::pin(store.claim(key, Fingerprint::of("a request")));
            let Claim::Granted(ticket) = drive(&store, claimed.as_mut()).unwrap() else {
                panic!("a grant")
            };
            let mut completed = Box::pin(ticket.complete(vec![b'p'; 20 << 10]));
            drive(&store, completed.as_mut()).unwrap();
        }
        let before = disk.reads();
        let found = survey(&*disk, &store.inner().identity).unwrap();
        let (segments, reads) = (found.begun.len() as u64, disk.reads() - before);
        assert!(segments > 4 && found.unused.len() < 3, "{found:?}");
        let unused = found.unused.len() as u64;
        // Two of octets, header and first group, and the rest of names and lengths. A search would ask
        // once more for either; one that was not begun is searched.
        assert!(reads < 10 * segments + 10 * unused, "{reads} of {segments} and {unused}");
    }

    fn drive<T>(
        store: &crate::Store,
        mut future: std::pin::Pin<&mut impl Future<Output = T>>,
    ) -> T {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            let _ = store.step();
        }
    }
}
