//! Looking at a record where it stands.

use std::sync::Arc;

use super::Inner;
use super::decide::Known;
use crate::error::Error;
use crate::format::frame::{Header, Kind};
use crate::index::Candidates;
use crate::key::Key;
use crate::location::Location;
use crate::log::Hold;
use crate::outcome::{Record, State};

/// A key's record as its frame has it: the head's checksum compared, the payload's not yet.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) segment: Arc<Hold>,
    pub(super) location: Location,
    pub(super) header: Header,
}

impl Settled {
    pub(super) fn known(&self) -> Known {
        known(&self.header)
    }

    /// The record, its payload to be verified when it is asked for.
    pub(super) fn record(self) -> Result<Record, Error> {
        let header = self.header;
        let state = match header.kind {
            Kind::Complete => return Ok(complete(self.segment, self.location, &header)),
            Kind::InDoubt => State::InDoubt,
            _ => State::Complete,
        };
        let bare =
            Record::bare(state, header.fingerprint, header.claimed_at_ms, Some(header.term_ms));
        if header.kind != Kind::Tombstone {
            return Ok(bare);
        }
        let note = self.segment.payload(self.location.offset(), &header);
        Ok(bare.with_note(note.source.bytes(note.place)?))
    }
}

/// What a settled frame of this header says of its key.
#[inline]
fn known(header: &Header) -> Known {
    let (fingerprint, expires_at_ms) = (header.fingerprint, header.term_ms);
    if header.kind == Kind::InDoubt {
        Known::InDoubt { fingerprint, expires_at_ms }
    } else {
        Known::Complete { fingerprint, expires_at_ms }
    }
}

/// The record of a result.
#[inline]
fn complete(segment: Arc<Hold>, location: Location, header: &Header) -> Record {
    Record::complete(
        header.fingerprint,
        header.claimed_at_ms,
        header.term_ms,
        segment.payload(location.offset(), header),
    )
}

impl Inner {
    /// What `judge` says of the result at `location`, if it is `key`'s, by store time a moment ago, and
    /// the record; `None` when it says nothing, and where it takes more than one look to tell.
    #[inline]
    pub(super) fn plain<T>(
        &self,
        location: Location,
        key: Key<'_>,
        judge: impl FnOnce(Known, u64) -> Option<T>,
    ) -> Option<(T, Record)> {
        let segment = self.log.segments.hold(location.segment())?;
        segment.prefetch(location.offset());
        let now_ms = self.lately_ms();
        plain_in(segment, location, key, |known| judge(known, now_ms))
    }

    /// The key's settled record, and the store time a moment ago; `None` where it takes more than one
    /// look: several slots may be the key's, or the segment has just gone.
    pub(super) fn glance(
        &self,
        candidates: &Candidates,
        key: Key<'_>,
    ) -> Option<Result<(Option<Settled>, u64), Error>> {
        if candidates.is_empty() {
            return Some(Ok((None, self.lately_ms())));
        }
        let location = candidates.only()?;
        let segment = self.log.segments.hold(location.segment())?;
        segment.prefetch(location.offset());
        let now_ms = self.lately_ms();
        Some(examine_in(segment, location, key).map(|settled| (settled, now_ms)))
    }

    /// The frame at `location`, if it is of `key`: `None` when it is of another key, which shares
    /// half its hash, or when its segment was removed since the slot was read.
    ///
    /// # Errors
    /// `Corrupt`: what stands there cannot be told.
    pub(super) fn examine(
        &self,
        location: Location,
        key: Key<'_>,
    ) -> Result<Option<Settled>, Error> {
        let Some(segment) = self.log.segments.hold(location.segment()) else { return Ok(None) };
        segment.prefetch(location.offset());
        examine_in(segment, location, key)
    }
}

/// [`Inner::plain`] in a segment that is held.
///
/// Nothing of the head is copied before it is known to be wanted, and the record is made once: a look
/// that has little to do between two waits for memory has the processor begin the next look meanwhile.
#[inline]
pub(super) fn plain_in<T>(
    segment: Arc<Hold>,
    location: Location,
    key: Key<'_>,
    judge: impl FnOnce(Known) -> Option<T>,
) -> Option<(T, Record)> {
    let (judged, header) = segment.glance(location.offset(), |head| {
        if head.kind != Kind::Complete || head.key != key.key() || head.scope != key.scope() {
            return None;
        }
        let header = head.header();
        Some((judge(known(&header))?, header))
    })?;
    Some((judged, complete(segment, location, &header)))
}

/// [`Inner::examine`] in a segment that is held.
fn examine_in(
    segment: Arc<Hold>,
    location: Location,
    key: Key<'_>,
) -> Result<Option<Settled>, Error> {
    let header = segment.head(location.offset(), |frame| {
        (frame.scope == key.scope() && frame.key == key.key()).then_some(frame.header)
    })?;
    Ok(header.map(|header| Settled { segment, location, header }))
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::index::Identity;
    use crate::storage::{Disk, SimDisk, Storage};
    use crate::{Claim, Fingerprint, ManualClock, Options};

    /// A slot says half a hash: what it leads to is another key's often enough to be told apart.
    #[test]
    fn a_glance_tells_of_the_keys_own_live_result_and_of_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Storage> = Arc::new(Disk::new(directory.path()));
        for storage in [disk, Arc::new(SimDisk::new(1))] {
            let clock = ManualClock::new(1_750_000_000_000);
            let options = Options::new().ttl(Duration::from_secs(60)).clock(clock.clone());
            let store = options.open_storage(storage).unwrap();
            let inner = store.inner();
            let print = Fingerprint::of("a request");
            let granted = |key| match store.blocking_claim(key, print).unwrap() {
                Claim::Granted(ticket) => ticket,
                other => panic!("not granted: {other:?}"),
            };
            let key = |name| Key::new("scope", name).unwrap();
            granted(key("result")).blocking_complete("done").unwrap();
            granted(key("note")).blocking_complete_without_payload("none").unwrap();
            drop(granted(key("doubt")));
            let doubted = store.blocking_claim(key("doubt"), print).unwrap();
            assert!(matches!(doubted, Claim::InDoubt(_)));
            let found = |name| {
                let identity = Identity::of(key(name), &inner.identity.secret);
                let candidates = inner.index.shard(identity).candidates(identity);
                candidates.only().unwrap()
            };
            let alive = |known: Known, now_ms| known.at(now_ms);
            let plain = |at, key| inner.plain(found(at), key, alive);
            let (known, record) = plain("result", key("result")).unwrap();
            assert!(matches!(known, Known::Complete { fingerprint, .. } if fingerprint == print));
            assert_eq!(record.payload().unwrap().unwrap(), "done");
            assert_eq!(record.state(), State::Complete);
            assert_eq!(record.expires_at().unwrap(), record.claimed_at() + Duration::from_secs(60));
            for other in ["resulx", "resul", "results", "note"] {
                assert!(plain("result", key(other)).is_none(), "{other}");
            }
            for scope in ["scopE", "scop", "scoper", ""] {
                let other = Key::new(scope, "result").unwrap();
                assert!(plain("result", other).is_none(), "{scope}");
            }
            assert!(plain("note", key("note")).is_none());
            assert!(plain("doubt", key("doubt")).is_none());
            clock.advance(Duration::from_secs(60));
            assert!(plain("result", key("result")).is_some(), "to the very millisecond");
            clock.advance(Duration::from_millis(1));
            assert!(plain("result", key("result")).is_none());
        }
    }
}
