//! Verifying a store that nobody has open: everything is read, nothing is modified.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::create;
use super::damaged;
use super::decide::{self, Effect};
use super::survey::{Expected, Survey, survey};
use crate::crypt::{self, Keys};
use crate::error::{Error, ErrorKind};
use crate::expiry::is_expired;
use crate::format::frame::{Frame, Kind};
use crate::format::head::Head;
use crate::format::segment;
use crate::index::{ByIdentity, Identity};
use crate::key::Key;
use crate::location::Location;
use crate::log;
use crate::log::replay::{self, From};
use crate::stats::{Finding, VerifyProgress, VerifyReport};
use crate::storage::{Disk, Storage};
use crate::tree::{self, Entry, Tree};

/// Reads the whole store in `directory` and reports what is wrong with it. Offline: it takes the
/// store's lock meanwhile. Read-only: it never modifies, makes or removes a file.
///
/// # Errors
/// `Locked` when the store is open; `UnsupportedFormat` when it is none; `Io`; `Corrupt` when the
/// damage leaves nothing to read. Whatever else is wrong is in the report.
pub fn verify(directory: impl AsRef<Path>) -> Result<VerifyReport, Error> {
    verify_with(directory, |_| {})
}

/// The same, and `progress` is told how far it is: before the first octet, at least once a segment
/// and about once a mebibyte, and when all of the log is read.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    directory: impl AsRef<Path>,
    mut progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport, Error> {
    let storage = Arc::new(Disk::new(directory.as_ref())) as Arc<dyn Storage>;
    read(&storage, None, &mut progress)
}

/// [`verify`] with the keys of an encrypted store: that each payload opens, and was sealed for its
/// frame, is verified, too. Without them its checksums are.
///
/// # Errors
/// As [`verify`]. A key that is missing is in the report.
#[cfg(feature = "encrypt")]
pub fn verify_encrypted(directory: impl AsRef<Path>, keys: &Keys) -> Result<VerifyReport, Error> {
    verify_encrypted_with(directory, keys, |_| {})
}

/// The same, and `progress` is told how far it is, as [`verify_with`] tells it.
///
/// # Errors
/// As [`verify_encrypted`].
#[cfg(feature = "encrypt")]
pub fn verify_encrypted_with(
    directory: impl AsRef<Path>,
    keys: &Keys,
    mut progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport, Error> {
    let storage = Arc::new(Disk::new(directory.as_ref())) as Arc<dyn Storage>;
    read(&storage, Some(keys), &mut progress)
}

/// [`verify`] of the store on `storage`.
///
/// # Errors
/// As there.
#[cfg(feature = "test-util")]
pub fn verify_storage(storage: &Arc<dyn Storage>) -> Result<VerifyReport, Error> {
    verify_on(storage)
}

#[cfg(feature = "test-util")]
pub(crate) fn verify_on(storage: &Arc<dyn Storage>) -> Result<VerifyReport, Error> {
    read(storage, None, &mut |_| {})
}

fn read(
    storage: &Arc<dyn Storage>,
    keys: Option<&Keys>,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, Error> {
    let identity = create::existing(&**storage)?;
    let lock = create::lock_read_only(&**storage)?;
    let survey = survey(&**storage, &identity)?;
    let mut bytes_total = 0;
    for begun in survey.begun.values() {
        let len = begun.segment.file.len();
        bytes_total += len.map_err(|error| Error::io("reading the segments", error))?;
    }
    let mut verification = Verification {
        secret: identity.secret,
        survey: &survey,
        locked: BTreeMap::new(),
        report: VerifyReport::default(),
        progress: Meter { told: 0, bytes_total, progress },
        records: ByIdentity::default(),
        claims: ByIdentity::default(),
        forgotten: ByIdentity::default(),
        expected: Expected::default(),
    };
    verification.unlock(storage, keys, identity.id)?;
    verification.read_log()?;
    verification.read_tree(storage, identity.id);
    let report = verification.finish();
    // Who opens a store makes the lock's file first: it was none then that could have been taken.
    if lock.is_none() && create::lock_read_only(&**storage)?.is_some() {
        return Err(Error::new(ErrorKind::Locked, "the store was opened while it was verified"));
    }
    Ok(report)
}

/// Tells somebody how far the reading is, but not at each group.
struct Meter<'a> {
    told: u64,
    bytes_total: u64,
    progress: &'a mut dyn FnMut(VerifyProgress),
}

impl Meter<'_> {
    const STEP: u64 = 1 << 20;

    fn at(&mut self, bytes: u64) {
        if bytes >= self.told + Self::STEP {
            self.tell(bytes);
        }
    }

    fn tell(&mut self, bytes: u64) {
        self.told = bytes;
        (self.progress)(VerifyProgress { bytes, bytes_total: self.bytes_total });
    }
}

/// Where a record stands.
#[derive(Clone, Copy)]
struct Standing {
    location: Location,
    sequence: u64,
    expires_at_ms: u64,
}

struct Verification<'a> {
    secret: [u8; 16],
    survey: &'a Survey,
    /// Segments whose payloads cannot be opened, and why; of one that was retired that is as it
    /// should be.
    locked: BTreeMap<u32, String>,
    report: VerifyReport,
    progress: Meter<'a>,
    /// Each key's record, as the log says.
    records: ByIdentity<Standing>,
    claims: ByIdentity<u64>,
    /// Keys somebody resolved as free, and when.
    forgotten: ByIdentity<u64>,
    expected: Expected,
}

impl Verification<'_> {
    /// Gives each segment its key, where it has one.
    fn unlock(
        &mut self,
        storage: &Arc<dyn Storage>,
        keys: Option<&Keys>,
        store_id: [u8; 16],
    ) -> Result<(), Error> {
        for (id, begun) in &self.survey.begun {
            let unlocked = self.survey.key_file(&**storage, *id).and_then(|file| {
                file.map(|file| crypt::unlock(keys, &file, store_id, *id)).transpose()
            });
            match unlocked {
                Ok(key) => key.into_iter().for_each(|key| begun.segment.unlock(key)),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                // Without keys there is nothing to say of theirs.
                Err(error) if keys.is_none() && error.kind() != ErrorKind::Corrupt => {}
                Err(error) => {
                    self.locked.insert(*id, error.to_string());
                }
            }
        }
        Ok(())
    }

    fn read_log(&mut self) -> Result<(), Error> {
        let chain = self.survey.chain();
        let mut previous = None;
        let mut last_sequence = 0;
        for (nth, id) in chain.iter().enumerate() {
            let Some(begun) = self.survey.begun.get(id) else { continue };
            let path = log::path(*id);
            self.report.segments += 1;
            let before = self.report.bytes;
            self.progress.tell(before);
            if begun.header_damaged {
                self.report.add(Finding {
                    octets: Some(0..segment::HEADER as u64),
                    ..Finding::new(&path, "its header does not stand")
                });
            }
            if let Some(link) = &begun.link {
                self.expected.link(*id, link);
            } else {
                self.report.add(Finding::new(&path, "its first group does not stand"));
                self.expected.present(*id);
            }
            let from = From { offset: segment::HEADER as u64, previous, last_sequence };
            let upto = chain.get(nth + 1).and_then(|next| self.survey.end_of(*id, *next));
            let (file, secret) = (Arc::clone(&begun.segment.file), self.secret);
            let found =
                replay::scan(&*file, begun.of, from, upto, &secret, &mut |at, group, bytes| {
                    let read = replay::frames(bytes, at, group, &mut |place, frame, payload| {
                        self.frame(*id, place, frame, payload);
                    });
                    if let Err(what) = read {
                        let octets = Some(at..at + group.length);
                        self.report.add(Finding { octets, ..Finding::new(&path, what) });
                    }
                    self.progress.at(before + at);
                })
                .map_err(|error| Error::io(format!("reading {path}"), error))?;
            begun.segment.end.store(found.end, Relaxed);
            self.report.groups += found.groups;
            self.report.bytes += found.file_len;
            for gap in &found.damage {
                let what = if gap.is_empty() {
                    "groups are missing here: the next one does not follow the one before"
                } else {
                    "the groups here do not stand"
                };
                let mut finding =
                    Finding { octets: Some(gap.clone()), ..Finding::new(&path, what) };
                if let Some(salt) = found.salt {
                    damaged::keys(&*file, salt, gap.clone(), &mut |key| finding.name(key))
                        .map_err(|error| Error::io(format!("reading {path}"), error))?;
                }
                self.report.add(finding);
            }
            let known = match upto {
                Some(upto) => upto,
                None if nth + 1 < chain.len() || self.report.sealed => 0,
                None => found.prepared.max(begun.prepared),
            };
            if known > found.file_len {
                let what = format!("cut off, it has {} bytes and had {known}", found.file_len);
                let octets = Some(found.file_len..known);
                self.report.add(Finding { octets, ..Finding::new(&path, what) });
            }
            (previous, last_sequence) = (found.previous, found.last_sequence);
        }
        let locked = self.locked.iter().filter(|(id, _)| self.expected.contains(**id));
        for (id, problem) in locked {
            self.report.add(Finding::new(log::key::path(*id), problem));
        }
        for id in self.expected.iter().filter(|id| !self.survey.begun.contains_key(id)) {
            let what = if self.survey.illegible.contains(&id) {
                "neither its header nor any group in it can be believed"
            } else {
                "missing and not retired"
            };
            self.report.add(Finding::new(log::path(id), what));
        }
        self.progress.tell(self.report.bytes);
        Ok(())
    }

    fn frame(&mut self, segment: u32, offset: u64, frame: &Frame<'_>, payload: &[u8]) {
        let header = &frame.header;
        let begun = self.survey.begun.get(&segment).map(|begun| &begun.segment);
        if let Some(unlocked) = begun.filter(|segment| segment.key().is_some()) {
            let content = unlocked.content(offset, frame, payload);
            if let Err(error) = content {
                let octets = Some(offset..offset + header.frame_len());
                let what = error.to_string();
                self.report.add(Finding { octets, ..Finding::new(log::path(segment), what) });
            }
        }
        self.report.frames += 1;
        self.report.sealed = header.kind == Kind::Seal;
        if header.kind == Kind::Retire {
            self.expected.retire(payload);
        }
        let Some(effect) = decide::after(header.kind, header.flags) else { return };
        let identity = Identity::of(Key::of_checked(frame.scope, frame.key), &self.secret);
        match effect {
            Effect::Begin => {
                self.claims.insert(identity, header.claim_sequence);
            }
            Effect::End => {
                self.claims.remove(&identity);
            }
            Effect::Forget => {
                self.claims.remove(&identity);
                self.records.remove(&identity);
                self.forgotten.insert(identity, header.sequence);
            }
            Effect::Settle => {
                self.claims.remove(&identity);
                let location = Location::new(segment, offset, header.kind);
                let (sequence, expires_at_ms) = (header.sequence, header.term_ms);
                self.records.insert(identity, Standing { location, sequence, expires_at_ms });
            }
        }
    }

    fn read_tree(&mut self, storage: &Arc<dyn Storage>, store_id: [u8; 16]) {
        let mut entries: ByIdentity<Entry> = ByIdentity::default();
        let read = Tree::verify(storage, store_id, &mut |_, found| {
            for entry in found {
                let identity = Identity::from_ordered(entry.hash);
                // Runs come in order, and a frame written again keeps its number.
                let newer =
                    entries.get(&identity).is_none_or(|known| known.sequence <= entry.sequence);
                if newer {
                    entries.insert(identity, *entry);
                }
            }
        });
        let head = match read {
            Ok((head, problems)) => {
                for what in problems {
                    self.report.add(of_tree(&what));
                }
                Head::decode(&head)
            }
            Err(error) => {
                self.report.log_only = self.records.len() as u64;
                let absent = storage
                    .open_read_only(tree::FILE)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
                // It is made anew from the log when the store opens; but somebody should know. A
                // store that has none yet, for it was cut off before its first checkpoint, lacks
                // nothing.
                if !absent || self.report.sealed && !self.records.is_empty() {
                    self.report.add(of_tree(&error.to_string()));
                }
                return;
            }
        };
        let Ok(head) = head else {
            self.report.add(of_tree("its head cannot be read"));
            return;
        };
        let missing = self.name_missing(&entries, &head);
        let mut current = 0_u64;
        for (identity, entry) in entries {
            let location = Location::from_bits(entry.location);
            let gone = !self.survey.begun.contains_key(&location.segment());
            if location.is(Kind::Release) || (gone && !self.expected.contains(location.segment())) {
                continue;
            }
            match self.records.get(&identity) {
                Some(record) if record.sequence >= entry.sequence => {
                    self.report.tree_entries += 1;
                    current += u64::from(record.sequence == entry.sequence);
                }
                None if self.forgotten.get(&identity).is_some_and(|at| *at > entry.sequence) => {}
                _ => self.report.add(of_tree(&format!(
                    "an entry points at {location:?}, where its record does not stand"
                ))),
            }
        }
        self.report.log_only = (self.records.len() as u64).saturating_sub(current + missing);
        if head.last_sequence > 0 && self.survey.begun.range(head.segment..).next().is_none() {
            self.report.add(of_tree("it is ahead of the log"));
        }
    }

    /// Names the records that the tree ought to have and has not: those before the position it stands
    /// for that had not expired then, for only what has is swept out of it. Gives how many there are.
    fn name_missing(&mut self, entries: &ByIdentity<Entry>, head: &Head) -> u64 {
        let mut missing: Vec<Location> = self
            .records
            .iter()
            .filter(|(_, record)| record.sequence <= head.last_sequence)
            .filter(|(_, record)| !is_expired(record.expires_at_ms, head.time.store_ms))
            .filter(|(identity, record)| {
                entries.get(identity).is_none_or(|entry| entry.sequence < record.sequence)
            })
            .map(|(_, record)| record.location)
            .collect();
        missing.sort_by_key(|location| (location.segment(), location.offset()));
        for of_one in missing.chunk_by(|one, next| one.segment() == next.segment()) {
            let Some(id) = of_one.first().map(|location| location.segment()) else { continue };
            let mut finding = of_tree(&format!("it lacks records that stand in {}", log::path(id)));
            let Some(begun) = self.survey.begun.get(&id) else { continue };
            for location in of_one {
                let salt = begun.of.salt.unwrap_or(begun.segment.salt);
                match damaged::key_at(&*begun.segment.file, salt, location.offset()) {
                    Ok(Some(key)) => finding.name(key),
                    // It was read a moment ago; whatever the disk says now, it is one of those.
                    _ => finding.keys_unlisted += 1,
                }
            }
            self.report.add(finding);
        }
        missing.len() as u64
    }

    fn finish(mut self) -> VerifyReport {
        self.report.unfinished = self.claims.len() as u64;
        let in_doubt =
            self.records.values().filter(|record| record.location.is(Kind::InDoubt)).count();
        self.report.in_doubt = in_doubt as u64;
        self.report.complete = (self.records.len() - in_doubt) as u64;
        let tombstones =
            self.records.values().filter(|record| record.location.is(Kind::Tombstone)).count();
        self.report.tombstones = tombstones as u64;
        self.report
    }
}

/// A finding about the tree, whose own words begin with its file's name.
fn of_tree(what: &str) -> Finding {
    let bare =
        what.strip_prefix(tree::FILE).map_or(what, |rest| rest.trim_start_matches([':', ' ']));
    Finding::new(tree::FILE, bare)
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::fingerprint::Fingerprint;
    use crate::options::Options;
    use crate::outcome::Claim;
    use crate::storage::SimDisk;

    #[test]
    fn a_record_the_tree_forgot_is_named() {
        let storage: Arc<dyn Storage> = Arc::new(SimDisk::new(1));
        let clock = ManualClock::new(1_750_000_000_000);
        let store = Options::new().clock(clock).open_storage(Arc::clone(&storage)).unwrap();
        for name in ["one", "two", "three"] {
            let key = Key::new("scope", name).unwrap();
            let Claim::Granted(ticket) = store.blocking_claim(key, Fingerprint::of("")).unwrap()
            else {
                panic!("{name} is free");
            };
            ticket.blocking_complete(name).unwrap();
        }
        store.close().unwrap();
        assert_eq!(verify_on(&storage).unwrap().problems, [""; 0]);

        // The same tree but for one entry, and nothing about it to tell it by.
        let identity = create::existing(&*storage).unwrap();
        let forgotten = Identity::of(Key::new("scope", "two").unwrap(), &identity.secret);
        let mut entries = Vec::new();
        let (head, _) = Tree::verify(&storage, identity.id, &mut |bucket, run| {
            let kept = run.iter().filter(|entry| Identity::from_ordered(entry.hash) != forgotten);
            entries.extend(kept.map(|entry| (bucket, *entry)));
        })
        .unwrap();
        assert_eq!(entries.len(), 2);
        let mut tree = Tree::create(Arc::clone(&storage), identity.id, &head).unwrap();
        tree.checkpoint(&head, entries, Vec::new()).unwrap();
        tree.close().unwrap();

        let report = verify_on(&storage).unwrap();
        let [finding] = &report.findings[..] else { panic!("{:?}", report.problems) };
        assert_eq!(finding.file, tree::FILE);
        assert!(finding.what.contains("lacks"), "{finding}");
        let [key] = &finding.keys[..] else { panic!("{finding:?}") };
        assert_eq!(key.key_sha256, *Fingerprint::of("two").as_bytes());
        assert_eq!((key.frame, key.payload_sound), ("complete", true));
        assert_eq!((report.complete, report.tree_entries, report.log_only), (3, 2, 0));
    }
}
