//! Opening: the store is read back, and goes on in a new segment in which everything that was not
//! surely on disk is written again before anything is answered.
//!
//! 1. Survey the segments; nothing is modified before all that can refuse the store has been read.
//! 2. Load what the tree says of itself and of keys in doubt; the rest of it is read later, beside
//!    everything else (`warm`). A tree that cannot be believed is made anew from the log.
//! 3. Replay the log behind the tree's position. Bytes that were on disk and do not stand any more
//!    make the store *suspect*: a key it does not know is refused until whatever may have stood
//!    there has expired.
//! 4. Begin a new segment: the tail that may be in the page cache alone is copied into it, and
//!    every claim of an earlier epoch is put in doubt; sync.

use std::sync::Arc;

use super::checkpoint::Checkpointer;
use super::cold::Cold;
use super::counters::Counters;
use super::publish::{Publish, Queue};
use super::restore::{Copy, Restore};
use super::survey::survey;
use super::sweep::REST;
use super::timer::Timer;
use super::{Inner, create, threads};
use crate::clock::StoreTime;
use crate::crypt;
use crate::error::{Error, ErrorKind};
use crate::expiry::{self, Buckets};
use crate::format::frame::{self, Header, Kind};
use crate::format::{align8, group, segment};
use crate::index::{Caps, Identity};
use crate::key::Key;
use crate::location::OFFSET_END;
use crate::log::segment::Prepared;
use crate::log::{self, Config, Draft, Fill, Log, Start};
use crate::options::{IN_FLIGHT_MAX, Options, SEGMENT_SIZE_MAX};
use crate::planted::{Bug, is_planted};
use crate::storage::Storage;
use crate::sync::Mutex;

/// Room prepared in a new segment beyond what recovery writes into it.
const FIRST_ROOM: u64 = 64 * 1024;

// Claims of so many keys fit beside a tail as long as a segment may be.
const _: () =
    assert!(IN_FLIGHT_MAX as u64 * align8(frame::HEAD_MAX as u64) < OFFSET_END - SEGMENT_SIZE_MAX);

/// A file that takes the room the next open needs.
const RESERVE: &str = "segments/reserve.tmp";
const RESERVE_LEN: u64 = 512 * 1024;

/// Opens the store.
pub(super) fn open(options: Options, storage: Arc<dyn Storage>) -> Result<Inner, Error> {
    // First of all: without its current key a store is not even made.
    let master = crypt::master(options.keys.as_ref(), &options.random)?;
    let now = options.clock.read();
    let directory = create::directory(&storage, &options.random, now)?;
    let identity = directory.identity;
    let survey = survey(&*storage, &identity)?;
    let newborn = survey.temporary.iter().any(|path| path == create::NEWBORN);
    if survey.begun.is_empty() && !newborn {
        return Err(Error::corrupt("every segment of the store is missing"));
    }

    let mut restore = Restore::new(&options, &identity, &storage, survey);
    let tree = restore.load_tree()?;
    let mut tail = restore.replay(tree.as_ref().map(|(_, head)| head))?;
    restore.survey.refuse_missing(&restore.expected)?;
    restore.unlock(options.keys.as_ref(), &mut tail)?;

    let by_wall = options.trust_wall_clock || is_planted(Bug::ExpiredByWallClock);
    let time = match restore.mark {
        Some(mark) => StoreTime::resume(mark, now, by_wall),
        None => StoreTime::new(now, by_wall),
    };
    let now_ms = time.at(now);
    if restore.damaged && !is_planted(Bug::DamageForgotten) {
        let until = now_ms.saturating_add(restore.ttl_max_ms);
        restore.suspect_until_ms = restore.suspect_until_ms.max(until);
    }
    clear_away(&*storage, &restore)?;
    let retired = restore.drop_retired();
    let config = Config {
        store_id: identity.id,
        secret: identity.secret,
        epoch: restore.epoch + 1,
        durability: options.durability,
        segment_size: options.segment_size,
        max_disk: options.max_disk,
        master,
        random: options.random.clone(),
    };
    let log = new_log(&storage, config, &restore, &tail)?;
    let (previous_segment, previous_end) = restore.end;
    log.begin(time.mark(now), previous_segment, previous_end);
    write_tail(&log, &mut restore, tail, &time, &options)?;
    let position = write_in_doubt(&log, &mut restore, now_ms, &time, &options)?;
    create::remove(&*storage, create::NEWBORN)
        .map_err(|error| Error::io("finishing the store's creation", error))?;
    keep_reserve(&*storage);
    // Now that the new link says where it ends. Not one that goes: of a group that is read and not surely
    // on disk the next open may find nothing, and take the file for one that was cut off.
    let last = restore.survey.begun.last_key_value();
    if let Some((_, last)) = last.filter(|(id, _)| !retired.contains(id)) {
        last.segment.trim(options.segment_size / REST);
    }
    for id in retired {
        // Nothing lives in what is left, and the new link does not name it.
        let _ = remove_segment(&*storage, &restore, id);
    }
    let tree = tree.map(|(tree, _)| tree);
    let tree_bytes = tree.as_ref().and_then(|tree| tree.file_len().ok()).unwrap_or(0);
    log.other_bytes.store(tree_bytes, std::sync::atomic::Ordering::Relaxed);
    let epoch = restore.epoch + 1;
    let inner = Inner {
        buckets: Buckets::of_retention(expiry::millis(options.ttl)),
        caps: Caps::new(options.max_in_flight, options.max_in_flight_per_scope),
        epoch,
        identity,
        index: restore.index,
        cold: Cold::new(),
        suspect_until_ms: restore.suspect_until_ms.into(),
        publishing: Mutex::new(()),
        sweeping: super::turns::Turns::default(),
        closed: Mutex::new(false),
        queue: Mutex::new(Queue { frames: restore.queue, position }),
        tree: Mutex::new(Checkpointer::new(tree, position)),
        timer: Timer::default(),
        threads: threads::Threads::default(),
        counters: Counters::default(),
        lock: Mutex::new(Some(directory.lock)),
        options,
        storage,
        time,
        log,
    };
    inner.relist(&mut inner.tree.lock(), None);
    Ok(inner)
}

/// Removes what no group stands in: segments made ahead and never begun, and temporary files.
fn clear_away(storage: &dyn Storage, restore: &Restore) -> Result<(), Error> {
    let temporary = restore.survey.temporary.iter().filter(|path| *path != create::NEWBORN);
    let io = |error| Error::io("removing a segment that was never begun", error);
    for path in restore.survey.unused.iter().chain(temporary) {
        match create::remove(storage, path) {
            // Nobody's data, under a name that is not given again: tried anew by each open.
            Err(_) if log::is_kept(path) => {}
            removed => removed.map_err(io)?,
        }
    }
    // Nothing was sealed under the key of a segment that is not there, or that has no group.
    let keys = restore.survey.keys.iter();
    for id in keys.filter(|id| !restore.survey.is_there(**id)) {
        log::key::erase(storage, *id).map_err(io)?;
    }
    Ok(())
}

/// Removes a segment that was retired, or is void, once its key is destroyed.
fn remove_segment(storage: &dyn Storage, restore: &Restore, id: u32) -> std::io::Result<()> {
    if restore.survey.keys.contains(&id) {
        log::key::erase(storage, id)?;
    }
    storage.unlink(&log::path(id))
}

/// Keeps room for the next open, which removes it first: a store on a full disk can then be opened
/// again. Best effort: without it, such an open fails as `Full` until there is room.
fn keep_reserve(storage: &dyn Storage) {
    let kept = create::remove(storage, RESERVE)
        .and_then(|()| storage.create(RESERVE))
        .and_then(|file| file.preallocate(RESERVE_LEN).and_then(|()| file.sync()));
    if kept.is_err() {
        let _ = create::remove(storage, RESERVE);
    }
}

/// Octets of the segment that recovery begins: with room for all that it writes, which stands in this
/// one.
///
/// # Errors
/// `Full`: no segment is as long.
fn room(restore: &Restore, tail: &[Copy]) -> Result<u64, Error> {
    let heads = restore.segments.all().len() as u64;
    let link = align8((frame::HEADER + 72) as u64 + 4 * (heads + 1));
    let opening = (segment::HEADER + 2 * group::HEADER) as u64 + link;
    // What was plain may be sealed in its new place.
    let sealing = tail.len() as u64 * crypt::OVERHEAD;
    let copies = tail.iter().map(|copy| copy.header.frame_len()).sum::<u64>() + sealing;
    // A claim of the tail may be put in doubt, too.
    let claims = restore.flights.values().map(|claimed| claimed.header);
    let claims = claims.chain(tail.iter().map(|copy| copy.header));
    let in_doubt: u64 = claims.map(|header| align8(header.head_len())).sum();
    let prepared = (opening + copies + in_doubt + FIRST_ROOM).next_multiple_of(4096);
    if prepared > OFFSET_END {
        return Err(Error::new(
            ErrorKind::Full,
            "what must be written again to open the store is more than a segment holds, 2 GiB",
        ));
    }
    Ok(prepared)
}

/// A log that goes on in a new segment, with room for all that recovery writes.
fn new_log(
    storage: &Arc<dyn Storage>,
    config: Config,
    restore: &Restore,
    tail: &[Copy],
) -> Result<Log<Publish>, Error> {
    let id = restore.survey.last_id.max(restore.expected.iter().last().unwrap_or(0)) + 1;
    let prepared = room(restore, tail)?;
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => {
            Error::new(ErrorKind::Full, "there is no room to open the store in").with_source(error)
        }
        _ => Error::io("beginning a segment", error),
    };
    let header = segment::Header {
        store_id: config.store_id,
        salt: config.random.number().map_err(io)?,
        id,
        prepared,
        epoch: config.epoch,
        sealed: config.master.is_some(),
    };
    let size = config.segment_size.max(prepared);
    let active: Prepared =
        log::segment::create(&**storage, &header, size, config.master.as_ref(), Fill::Zeros)
            .map_err(io)?;
    let start = Start {
        previous: restore.previous,
        last_sequence: restore.last_sequence,
        ttl_max_ms: restore.ttl_max_ms,
        suspect_until_ms: restore.suspect_until_ms,
        next_segment: id + 1,
    };
    Ok(Log::new(
        Arc::clone(storage),
        config,
        Arc::clone(&restore.poison),
        Arc::clone(&restore.segments),
        active,
        start,
    ))
}

/// Writes the tail again, in one group with the link that voids it where it stood.
fn write_tail(
    log: &Log<Publish>,
    restore: &mut Restore,
    tail: Vec<Copy>,
    time: &StoreTime,
    options: &Options,
) -> Result<(), Error> {
    let mut written = Vec::with_capacity(tail.len());
    for copy in tail {
        let draft = Draft::again(&copy.header, &copy.scope, &copy.key, &copy.payload);
        let identity = restore.identify(&copy.scope, &copy.key);
        let appended = log.append_copy(&draft, copy.header.sequence, |number, location| {
            Publish::claim(identity, number, location).done()
        });
        written.push((copy, appended.location));
    }
    log.commit(time.mark(options.clock.read()), &mut Vec::new()).map_err(log::Failed::tell)?;
    log.sync()?;
    for (copy, location) in written {
        restore.apply(&copy.header, &copy.scope, &copy.key, location);
    }
    Ok(())
}

/// Puts every claim of an earlier epoch in doubt: its owner is gone, and nobody knows how far it
/// came. From now on for its retention (P0.5). Gives the log's end.
fn write_in_doubt(
    log: &Log<Publish>,
    restore: &mut Restore,
    now_ms: u64,
    time: &StoreTime,
    options: &Options,
) -> Result<log::Position, Error> {
    let claims: Vec<_> = restore.flights.drain().map(|(_, claimed)| claimed).collect();
    let mut written = Vec::with_capacity(claims.len());
    for claimed in claims {
        let header = Header {
            kind: Kind::InDoubt,
            flags: 0,
            payload_len: 0,
            payload_crc: frame::payload_crc(&[]),
            term_ms: now_ms.saturating_add(claimed.header.term_ms),
            ..claimed.header
        };
        let draft = Draft::again(&header, &claimed.scope, &claimed.key, &[]);
        let identity = restore.identify(&claimed.scope, &claimed.key);
        let appended = log.append_new(&draft, |number, location| {
            Publish::claim(identity, number, location).done()
        });
        written.push((
            Header { sequence: appended.sequence, ..header },
            claimed,
            appended.location,
        ));
    }
    log.commit(time.mark(options.clock.read()), &mut Vec::new()).map_err(log::Failed::tell)?;
    log.sync()?;
    for (header, claimed, location) in written {
        restore.apply(&header, &claimed.scope, &claimed.key, location);
    }
    Ok(log.position())
}

impl Restore {
    /// Lets go of segments that were retired and not removed. Gives their ids, to be removed
    /// once the new link, which does not name them, is on disk.
    fn drop_retired(&mut self) -> Vec<u32> {
        let there = self.survey.begun.keys().chain(&self.survey.illegible).copied();
        let retired: Vec<u32> = there.filter(|id| !self.expected.contains(*id)).collect();
        if !retired.is_empty() {
            for mut shard in self.index.shards() {
                shard.retain(|location| !retired.contains(&location.segment()));
            }
        }
        for id in &retired {
            self.segments.remove(*id);
        }
        retired
    }

    pub(super) fn identify(&self, scope: &[u8], key: &[u8]) -> Identity {
        Identity::of(Key::of_checked(scope, key), &self.secret())
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;
    use crate::storage::{Fault, SimDisk};
    use crate::{Claim, Fingerprint};

    /// What an opening writes again stands in one segment, whose frames have places below 2 GiB. Beyond
    /// that it is refused, and the store is as it was.
    #[test]
    fn an_opening_that_needs_more_than_a_segment_is_refused() {
        let disk = Arc::new(SimDisk::new(1));
        let storage: Arc<dyn Storage> = Arc::clone(&disk) as Arc<_>;
        let store = Options::new().open_storage(Arc::clone(&storage)).unwrap();
        let key = Key::new("scope", "key").unwrap();
        let claimed = store.blocking_claim(key, Fingerprint::of("a request")).unwrap();
        let Claim::Granted(ticket) = claimed else { panic!("{claimed:?}") };
        ticket.blocking_complete("done").unwrap();
        store.close().unwrap();
        let options = Options::new();
        let directory = create::directory(&storage, &options.random, options.clock.read()).unwrap();
        let found = survey(&*storage, &directory.identity).unwrap();
        let mut restore = Restore::new(&options, &directory.identity, &storage, found);
        let mut tail = restore.replay(None).unwrap();
        assert!(tail.iter().any(|copy| copy.header.kind == Kind::Complete));
        assert!(room(&restore, &tail).unwrap() < 2 * FIRST_ROOM);
        let mut with = |payload_len| {
            let result = tail.iter_mut().find(|copy| copy.header.kind == Kind::Complete).unwrap();
            result.header.payload_len = payload_len;
            room(&restore, &tail)
        };
        let nearly = (1_u32 << 31) - (1 << 20);
        let left = OFFSET_END - with(nearly).unwrap();
        let most = nearly + u32::try_from(left).unwrap();
        assert_eq!(with(most).unwrap(), OFFSET_END, "a whole segment");
        assert_eq!(with(most + 4096).unwrap_err().kind(), ErrorKind::Full);
    }

    /// What was kept to be used again is nobody's data; a segment that was made ahead would be taken
    /// for one of a later life.
    #[test]
    fn c35_a_kept_file_that_cannot_be_removed_is_left_and_a_segment_is_not() {
        let disk = Arc::new(SimDisk::new(1));
        let storage: Arc<dyn Storage> = Arc::clone(&disk) as Arc<_>;
        Options::new().open_storage(Arc::clone(&storage)).unwrap().close().unwrap();
        let options = Options::new();
        let directory = create::directory(&storage, &options.random, options.clock.read()).unwrap();
        let found = survey(&*storage, &directory.identity).unwrap();
        let mut restore = Restore::new(&options, &directory.identity, &storage, found);
        for (path, is_left) in
            [("segments/0000000099.kept.tmp", true), ("segments/0000000099.log", false)]
        {
            assert_eq!(log::is_kept(path), is_left);
            storage.create(path).unwrap();
            restore.survey.unused = vec![path.to_owned()];
            disk.fail_operation(disk.operations(), Fault::Io);
            assert_eq!(clear_away(&*storage, &restore).is_ok(), is_left, "{path}");
            clear_away(&*storage, &restore).unwrap();
            assert!(storage.open(path).is_err());
        }
    }

    #[test]
    fn more_claims_in_flight_than_an_opening_could_put_in_doubt_are_no_option() {
        let open = |claims| {
            Options::new().max_in_flight(claims).stepped().open_storage(Arc::new(SimDisk::new(1)))
        };
        open(IN_FLIGHT_MAX).unwrap();
        for claims in [0, IN_FLIGHT_MAX + 1, u32::MAX] {
            assert_eq!(open(claims).unwrap_err().kind(), ErrorKind::InvalidOption, "{claims}");
        }
    }
}
