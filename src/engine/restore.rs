//! Reading a store back: the tree as far as it goes, then the log behind it, into the index.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::decide::{self, Effect};
use super::publish::Publish;
use super::survey::{Begun, Expected, Survey};
use crate::clock::TimeMark;
use crate::crypt::{self, Keys};
use crate::error::Error;
use crate::expiry;
use crate::format::frame::{Frame, Header, Kind};
use crate::format::group;
use crate::format::head::Head;
use crate::format::segment;
use crate::format::store::Identity as StoreIdentity;
use crate::index::{ByIdentity, Identity, Index};
use crate::location::Location;
use crate::log::replay::{self, From, Scan};
use crate::log::{self, Segments};
use crate::options::Options;
use crate::planted::{Bug, is_planted};
use crate::poison::Poison;
use crate::storage::Storage;
use crate::tree::{Tree, TreeError};

/// A frame of the tail: readable, and perhaps not on disk.
pub(super) struct Copy {
    pub(super) header: Header,
    pub(super) scope: Vec<u8>,
    pub(super) key: Vec<u8>,
    /// As it stands in the log, until [`Restore::unlock`] has opened it.
    pub(super) payload: Vec<u8>,
    /// Where the frame stands: its segment, and the place in it.
    pub(super) place: (u32, u64),
}

/// A claim without an end, so far.
pub(super) struct Claimed {
    pub(super) header: Header,
    pub(super) scope: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// The length up to which a store's last segment is written into the next one when it is opened.
const SHORT: u64 = 256 * 1024;

/// A store being read back.
pub(super) struct Restore {
    identity: StoreIdentity,
    storage: Arc<dyn Storage>,
    pub(super) survey: Survey,
    pub(super) index: Index,
    pub(super) poison: Arc<Poison>,
    pub(super) segments: Arc<Segments>,
    /// Claims in flight, by key.
    pub(super) flights: ByIdentity<Claimed>,
    /// What the replay found, for the next checkpoint.
    pub(super) queue: Vec<Publish>,
    pub(super) expected: Expected,
    pub(super) mark: Option<TimeMark>,
    pub(super) epoch: u64,
    pub(super) last_sequence: u64,
    pub(super) ttl_max_ms: u64,
    pub(super) suspect_until_ms: u64,
    /// Bytes that were on disk do not stand any more.
    pub(super) damaged: bool,
    /// Hash of the last group's header.
    pub(super) previous: u64,
    /// The last segment and where its groups end.
    pub(super) end: (u32, u64),
}

impl Restore {
    pub(super) fn new(
        options: &Options,
        identity: &StoreIdentity,
        storage: &Arc<dyn Storage>,
        survey: Survey,
    ) -> Self {
        let ttl_ms = expiry::millis(options.ttl);
        let poison = Arc::new(Poison::default());
        let segments = Arc::new(Segments::default());
        for begun in survey.begun.values() {
            segments.insert(&begun.segment);
        }
        Self {
            identity: *identity,
            storage: Arc::clone(storage),
            index: Index::new(Arc::clone(&poison)),
            poison,
            segments,
            flights: ByIdentity::default(),
            queue: Vec::new(),
            expected: Expected::default(),
            mark: None,
            epoch: 0,
            last_sequence: 0,
            ttl_max_ms: ttl_ms,
            suspect_until_ms: 0,
            damaged: false,
            previous: 0,
            end: (0, 0),
            survey,
        }
    }

    pub(super) fn secret(&self) -> [u8; 16] {
        self.identity.secret
    }

    /// Takes from the tree what an open needs at once: where it ends, what is in flight and what is
    /// in doubt. The rest of it stays where it is. `None` when there is none, or none to believe.
    ///
    /// # Errors
    /// `Io`: the disk refused, which says nothing of the tree.
    pub(super) fn load_tree(&mut self) -> Result<Option<(Tree, Head)>, Error> {
        let (mut tree, bytes) = match Tree::open(Arc::clone(&self.storage), self.identity.id) {
            Ok(Some(opened)) => opened,
            Ok(None) | Err(TreeError::Damaged(_)) => return Ok(None),
            Err(error @ TreeError::Io(_)) => return Err(error.into()),
        };
        let Ok(head) = Head::decode(&bytes) else { return Ok(None) };
        self.ttl_max_ms = self.ttl_max_ms.max(head.ttl_max_ms);
        if head.segment == 0 || !self.load_flights(&head) || !self.load_doubts(&mut tree)? {
            self.forget_all();
            return Ok(None);
        }
        for row in &head.segments {
            if let Some(segment) = self.segments.get(row.id) {
                segment.last_expiry_ms.fetch_max(row.last_expiry_ms, Relaxed);
                segment.records.fetch_max(row.records, Relaxed);
            }
        }
        self.epoch = head.epoch;
        self.mark = Some(head.time);
        self.last_sequence = head.last_sequence;
        self.suspect_until_ms = head.suspect_until_ms;
        Ok(Some((tree, head)))
    }

    fn forget_all(&mut self) {
        for mut shard in self.index.shards() {
            shard.clear();
        }
        for begun in self.survey.begun.values() {
            begun.segment.live.store(0, Relaxed);
            begun.segment.records.store(0, Relaxed);
            begun.segment.last_expiry_ms.store(0, Relaxed);
        }
        self.flights.clear();
    }

    /// The claims in flight at the checkpoint. One that cannot be read makes the whole tree no use.
    /// It was on disk, which the replay of its segment may not know: it may pass for a torn tail.
    fn load_flights(&mut self, head: &Head) -> bool {
        for &bits in &head.flights {
            let location = Location::from_bits(bits);
            let Some(segment) = self.segments.get(location.segment()) else { continue };
            let read = segment.head(location.offset(), |frame| Claimed {
                header: frame.header,
                scope: frame.scope.to_vec(),
                key: frame.key.to_vec(),
            });
            self.damaged |= read.is_err();
            let Ok(claimed) = read else { return false };
            let identity = self.identify(&claimed.scope, &claimed.key);
            self.flights.insert(identity, claimed);
        }
        true
    }

    /// The keys in doubt, and what ended a doubt, in the order in which they were.
    fn load_doubts(&mut self, tree: &mut Tree) -> Result<bool, Error> {
        let loaded = tree.for_each_doubt(&mut |bucket, _, entries| {
            for entry in entries {
                let identity = Identity::from_ordered(entry.hash);
                let location = Location::from_bits(entry.location);
                // An end whose segment is gone, or cannot be read any more, ends what came before it all
                // the same: the key is unknown then, and refused like all that damage may hide.
                let is_there = self.segments.get(location.segment()).is_some();
                if location.is(Kind::Release) || !is_there {
                    self.remove(identity);
                } else {
                    self.put(identity, location, bucket);
                }
            }
        });
        match loaded {
            Ok(()) => Ok(true),
            Err(TreeError::Damaged(_)) => Ok(false),
            Err(error @ TreeError::Io(_)) => Err(error.into()),
        }
    }

    /// Puts a record in place of whatever the same key had.
    fn put(&self, identity: Identity, location: Location, expires_at_ms: u64) {
        let old = self.standing(identity);
        self.segments.count(location, expires_at_ms);
        if let Some(old) = self.index.shard(identity).put(identity, old, location) {
            self.segments.discount(old);
        }
    }

    fn remove(&self, identity: Identity) {
        if let Some(old) = self.standing(identity)
            && self.index.shard(identity).remove(identity, old)
        {
            self.segments.discount(old);
        }
    }

    /// Where the key's slot stands, if it has one. A slot whose frame cannot be read is not taken
    /// for it: both then stand, and the key is refused as corrupt.
    fn standing(&self, identity: Identity) -> Option<Location> {
        let candidates = self.index.shard(identity).candidates(identity);
        candidates.iter().find(|location| {
            self.segments.get(location.segment()).is_some_and(|segment| {
                segment
                    .head(location.offset(), |frame| self.identify(frame.scope, frame.key))
                    .is_ok_and(|standing| standing == identity)
            })
        })
    }

    /// Replays the log behind the tree's position. Gives the tail that may not be on disk.
    pub(super) fn replay(&mut self, head: Option<&Head>) -> Result<Vec<Copy>, Error> {
        for row in head.iter().flat_map(|head| &head.segments) {
            self.expected.present(row.id);
        }
        let chain = self.survey.chain();
        let first = head.map_or(0, |head| head.segment);
        self.survey.end_before(&chain, first);
        let mut tail = Vec::new();
        for (nth, id) in chain.iter().copied().enumerate().filter(|(_, id)| *id >= first) {
            let at = head.filter(|head| head.segment == id);
            let next = chain.get(nth + 1).copied();
            tail = self.replay_segment(id, at, next)?;
        }
        // Of what stood there the tree may know, and nobody what became of it.
        self.damaged |= self.survey.illegible.iter().any(|id| self.expected.contains(*id));
        Ok(tail)
    }

    fn replay_segment(
        &mut self,
        id: u32,
        at: Option<&Head>,
        next: Option<u32>,
    ) -> Result<Vec<Copy>, Error> {
        let Some(begun) = self.survey.begun.get(&id) else { return Ok(Vec::new()) };
        let (segment, of, prepared) = (Arc::clone(&begun.segment), begun.of, begun.prepared);
        let link = begun.link.clone();
        // A header is written whole before its file has a name: one that does not stand has changed.
        self.damaged |= begun.header_damaged;
        let short = next.is_none() && self.is_short(begun, at)?;
        // A short segment is read from its beginning, whatever the tree knows of it.
        let at = at.filter(|_| !short);
        self.follow(id, at.is_none());
        let upto = next.and_then(|next| self.survey.end_of(id, next));
        if next.is_some() && upto.is_none() {
            // The segment behind it was begun, so this one was whole; where it ended is lost.
            self.damaged = true;
        }
        let from = From {
            offset: at.map_or(segment::HEADER as u64, |head| head.offset),
            previous: at.map(|head| head.previous),
            last_sequence: self.last_sequence,
        };
        let io = |error| Error::io(format!("reading {}", log::path(id)), error);
        let secret = self.identity.secret;
        // What a later group vouches for, or a segment behind this one, was on disk. A seal vouches
        // for nothing: it may have been read from the page cache itself.
        let surely = match next {
            Some(_) => u64::MAX,
            None if is_planted(Bug::TailNotCopied) => u64::MAX,
            None if short => 0,
            None => {
                replay::scan(&*segment.file, of, from, upto, &secret, &mut |_, _, _| {})
                    .map_err(io)?
                    .durable_upto
            }
        };
        let mut end = End { offset: from.offset, previous: from.previous };
        let (mut tail, mut bad, mut sealed) = (Vec::new(), None, false);
        let found =
            replay::scan(&*segment.file, of, from, upto, &secret, &mut |at, group, bytes| {
                let copy = group.last_sequence > surely;
                if copy {
                    end.previous.get_or_insert(group.previous);
                } else {
                    let previous = Some(group::hash(bytes, &secret));
                    end = End { offset: at + group.length, previous };
                }
                let read = replay::frames(bytes, at, group, &mut |place, frame, payload| {
                    sealed = frame.header.kind == Kind::Seal;
                    if copy {
                        tail.extend(self.copy((id, place), frame, payload));
                    } else {
                        self.apply_frame(id, place, frame, payload);
                    }
                });
                bad = bad.take().or(read.err());
            })
            .map_err(io)?;
        let length = match upto {
            Some(upto) => upto,
            // Trimmed to an end that is not known any more, or trimmed as the store was closed.
            None if next.is_some() || sealed => 0,
            None => found.prepared.max(prepared),
        };
        refuse_cut_off(id, &found, from.offset, length)?;
        self.damaged |= bad.is_some() || !found.damage.is_empty();
        segment.ends_at(found.end, next.is_none().then_some(end.offset));
        self.note(&found);
        self.previous = end.previous.unwrap_or(0);
        self.end = (id, end.offset);
        if let Some(link) = link.filter(|_| end.offset == segment::HEADER as u64) {
            // Not one group of it is surely on disk: what it holds is written again, and it goes.
            self.expected.remove(id);
            self.end = (link.previous_segment, link.previous_end);
        }
        Ok(tail)
    }

    /// Whether the last segment is sound, and so short that it is written again as a whole: a store
    /// that is opened often does not fill with segments.
    fn is_short(&self, begun: &Begun, at: Option<&Head>) -> Result<bool, Error> {
        let sound = !begun.header_damaged && begun.link.is_some();
        // Up to here it was on disk: a scan that ends before does not end at a torn tail.
        let known = at.map_or(segment::HEADER as u64, |head| head.offset);
        if !sound || known > SHORT {
            return Ok(false);
        }
        let from = From { offset: segment::HEADER as u64, previous: None, last_sequence: 0 };
        let secret = self.identity.secret;
        let found =
            replay::scan(&*begun.segment.file, begun.of, from, None, &secret, &mut |_, _, _| {})
                .map_err(|error| Error::io("reading the last segment", error))?;
        Ok((known..=SHORT).contains(&found.end) && found.damage.is_empty())
    }

    /// Takes over what the link of segment `id` says.
    fn follow(&mut self, id: u32, from_its_beginning: bool) {
        let link = self.survey.begun.get(&id).and_then(|begun| begun.link.clone());
        let Some(link) = link else {
            self.damaged = true;
            self.expected.present(id);
            return;
        };
        self.epoch = self.epoch.max(link.epoch);
        self.suspect_until_ms = self.suspect_until_ms.max(link.suspect_until_ms);
        if self.mark.is_none_or(|mark| link.time.store_ms >= mark.store_ms) {
            self.mark = Some(link.time);
        }
        if from_its_beginning {
            // What an older link names may have been retired since; the newest one knows.
            self.expected.link(id, &link);
        }
    }

    fn note(&mut self, found: &Scan) {
        // Without a link that stands, a group's store time is the best there is; of which boot it
        // was nobody knows.
        let unknown = TimeMark {
            store_ms: found.store_ms,
            since_boot_ms: 0,
            wall_ms: found.store_ms,
            boot_id: [0; 16],
        };
        let mark = self.mark.get_or_insert(unknown);
        if found.store_ms > mark.store_ms {
            // The same clock, later: a group has only store time, and its link both.
            mark.since_boot_ms += found.store_ms - mark.store_ms;
            mark.wall_ms += found.store_ms - mark.store_ms;
            mark.store_ms = found.store_ms;
        }
        self.last_sequence = self.last_sequence.max(found.last_sequence);
        self.ttl_max_ms = self.ttl_max_ms.max(found.ttl_max_ms);
    }

    /// A frame to be written again; links and seals are of their segment alone.
    fn copy(&mut self, place: (u32, u64), frame: &Frame<'_>, payload: &[u8]) -> Option<Copy> {
        if frame.header.kind == Kind::Retire {
            self.expected.retire(payload);
        }
        frame.header.kind.is_keyed().then(|| Copy {
            header: frame.header,
            scope: frame.scope.to_vec(),
            key: frame.key.to_vec(),
            payload: payload.to_vec(),
            place,
        })
    }

    fn apply_frame(&mut self, segment: u32, offset: u64, frame: &Frame<'_>, payload: &[u8]) {
        if frame.header.kind == Kind::Retire {
            self.expected.retire(payload);
        } else if frame.header.kind.is_keyed() {
            let location = Location::new(segment, offset, frame.header.kind);
            self.apply(&frame.header, frame.scope, frame.key, location);
        }
    }

    /// Does to the index what a frame about a key says: the rule is [`decide::after`].
    pub(super) fn apply(&mut self, header: &Header, scope: &[u8], key: &[u8], location: Location) {
        let Some(effect) = decide::after(header.kind, header.flags) else { return };
        let identity = self.identify(scope, key);
        let mut expires_at_ms = header.term_ms;
        match effect {
            Effect::Begin => {
                let claimed = Claimed { header: *header, scope: scope.to_vec(), key: key.to_vec() };
                self.flights.insert(identity, claimed);
            }
            Effect::Settle => {
                self.flights.remove(&identity);
                self.put(identity, location, header.term_ms);
            }
            Effect::End => {
                self.flights.remove(&identity);
            }
            Effect::Forget => {
                expires_at_ms = self.expiry_of(identity).unwrap_or(0);
                self.flights.remove(&identity);
                self.remove(identity);
            }
        }
        self.queue.push(
            Publish::of_flight(
                identity,
                header.sequence,
                location,
                header.kind,
                header.flags,
                expires_at_ms,
            )
            .done(),
        );
    }

    fn expiry_of(&self, identity: Identity) -> Option<u64> {
        let standing = self.standing(identity)?;
        let segment = self.segments.get(standing.segment())?;
        segment.head(standing.offset(), |frame| frame.header.term_ms).ok()
    }

    /// Gives each segment that counts its key, and opens what is sealed in the tail.
    ///
    /// # Errors
    /// `KeyMissing` when a master key was not given, `Corrupt` when a key is not what was written, or
    /// a payload of the tail was not sealed for its frame; `UnsupportedFormat`, `Io`.
    pub(super) fn unlock(&self, keys: Option<&Keys>, tail: &mut [Copy]) -> Result<(), Error> {
        let contents = tail.iter().filter(|copy| copy.header.kind.has_content());
        let ids = self.expected.iter().chain(contents.map(|copy| copy.place.0));
        for id in ids.collect::<BTreeSet<u32>>() {
            let Some(file) = self.survey.key_file(&*self.storage, id)? else { continue };
            let key = crypt::unlock(keys, &file, self.identity.id, id)
                .map_err(|error| error.about(&log::key::path(id)))?;
            if let Some(segment) = self.segments.get(id) {
                segment.unlock(key);
            }
        }
        for copy in tail {
            let (id, offset) = copy.place;
            let Some(segment) = self.segments.get(id) else { continue };
            let frame = Frame { header: copy.header, scope: &copy.scope, key: &copy.key };
            if let Cow::Owned(opened) = segment.content(offset, &frame, &copy.payload)? {
                copy.payload = opened;
            }
        }
        Ok(())
    }
}

/// Where what is surely on disk ends in a segment.
struct End {
    offset: u64,
    /// Hash of the header of the group that ends there.
    previous: Option<u64>,
}

/// Refuses a file that is shorter than it is known to have been.
fn refuse_cut_off(id: u32, found: &Scan, from: u64, known: u64) -> Result<(), Error> {
    if from.max(known) <= found.file_len {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "{} was cut off: it has {} bytes and had {}",
        log::path(id),
        found.file_len,
        from.max(known)
    )))
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::super::{create, survey};
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::key::Key;
    use crate::storage::SimDisk;
    use crate::{Claim, ErrorKind, ManualClock, Resolution, Resolved, Store};

    /// Nothing of it is left to stand beside what the log says, which is all that counts then.
    #[test]
    fn what_a_tree_said_that_is_not_believed_is_forgotten() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Options::new().open_storage(Arc::clone(&disk) as Arc<dyn Storage>).unwrap();
        let claim = |key| store.blocking_claim(Key::new("", key).unwrap(), Fingerprint::of("a"));
        let _held = [claim("first").unwrap(), claim("second").unwrap()];
        store.checkpoint().unwrap();
        let killed = disk.kill();
        for (damaged, believed) in [(None, true), (Some("first"), false), (Some("second"), false)] {
            let disk = killed.fork();
            if let Some(key) = damaged {
                let path = log::path(1);
                let mut bytes = disk.read_file(&path).unwrap();
                let at = bytes.windows(key.len()).position(|window| window == key.as_bytes());
                bytes[at.unwrap()] ^= 1;
                disk.write_file(&path, &bytes).unwrap();
            }
            let storage: Arc<dyn Storage> = Arc::new(disk);
            let options = Options::new();
            let now = options.clock.read();
            let identity = create::directory(&storage, &options.random, now).unwrap().identity;
            let survey = survey::survey(&*storage, &identity).unwrap();
            let mut restore = Restore::new(&options, &identity, &storage, survey);
            assert_eq!(restore.load_tree().unwrap().is_some(), believed, "{damaged:?}");
            assert_eq!(restore.flights.len(), if believed { 2 } else { 0 }, "{damaged:?}");
            assert_eq!(restore.damaged, !believed, "a claim that was on disk: {damaged:?}");
        }
    }

    /// What ended a doubt stands in a segment of which nothing can be read any more, and the doubt in
    /// one before it: nobody is told that the key is in doubt still, and may be done anew.
    #[test]
    fn a_doubt_whose_end_cannot_be_read_is_not_in_doubt_again() {
        let disk = Arc::new(SimDisk::new(1));
        let options = || Options::new().clock(ManualClock::new(1_750_000_000_000));
        let open = |disk| options().open_storage(disk as Arc<dyn Storage>).unwrap();
        let store = open(Arc::clone(&disk));
        let key = |name| Key::new("scope", name).unwrap();
        let print = Fingerprint::of("a request");
        let claim = |store: &Store, name| store.blocking_claim(key(name), print);
        let next = || {
            store.inner().flush().unwrap();
            store.checkpoint().unwrap();
            store.inner().log.roll().unwrap();
        };
        for name in ["resolved", "still"] {
            let Claim::Granted(ticket) = claim(&store, name).unwrap() else { panic!("{name}") };
            drop(ticket);
        }
        next();
        let end = store.inner().log.active().id;
        let resolved = store.blocking_resolve(key("resolved"), Resolution::Complete("done".into()));
        assert_eq!(resolved.unwrap(), Resolved::Done);
        next();
        let Claim::Granted(last) = claim(&store, "last").unwrap() else { panic!("not granted") };
        last.blocking_complete("done").unwrap();
        for illegible in [false, true] {
            let mut disk = disk.kill();
            if illegible {
                let path = log::path(end);
                let octets = disk.read_file(&path).unwrap().len();
                disk.write_file(&path, &vec![0x55; octets]).unwrap();
            }
            // The second opening removes the segment's file, and the third does not know of it.
            for opening in 1..=3 {
                let opened = Arc::new(disk);
                let store = open(Arc::clone(&opened));
                let resolved = claim(&store, "resolved");
                if illegible {
                    assert_eq!(resolved.unwrap_err().kind(), ErrorKind::Corrupt, "{opening}");
                } else {
                    assert!(matches!(resolved, Ok(Claim::Replay(_))), "{opening}: {resolved:?}");
                }
                let still = claim(&store, "still").unwrap();
                assert!(matches!(still, Claim::InDoubt(_)), "{opening}: {still:?}");
                assert!(matches!(claim(&store, "last"), Ok(Claim::Replay(_))));
                disk = opened.kill();
            }
        }
    }
}
