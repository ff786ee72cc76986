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
