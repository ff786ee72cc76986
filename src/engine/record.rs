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
        let (fingerprint, expires_at_ms) = (self.header.fingerprint, self.header.term_ms);
        if self.header.kind == Kind::InDoubt {
            Known::InDoubt { fingerprint, expires_at_ms }
        } else {
            Known::Complete { fingerprint, expires_at_ms }
        }
    }

    /// The record, its payload to be verified when it is asked for.
    pub(super) fn record(self) -> Result<Record, Error> {
        let header = &self.header;
        let state = if header.kind == Kind::InDoubt { State::InDoubt } else { State::Complete };
        let bare =
            Record::bare(state, header.fingerprint, header.claimed_at_ms, Some(header.term_ms));
        Ok(match header.kind {
            Kind::Complete => {
                bare.with_unverified(self.segment.payload(self.location.offset(), header))
            }
            Kind::Tombstone => {
                let note = self.segment.payload(self.location.offset(), header);
                bare.with_note(note.source.bytes(note.place)?)
            }
            _ => bare,
        })
    }
}

impl Inner {
    /// The key's settled record, and the store time a moment ago; `None` where it takes more than one
    /// look: several slots may be the key's, or the segment has just gone.
    #[inline]
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
    #[inline]
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

/// [`Inner::examine`] in a segment that is held.
#[inline]
pub(super) fn examine_in(
    segment: Arc<Hold>,
    location: Location,
    key: Key<'_>,
) -> Result<Option<Settled>, Error> {
    let header = segment.head(location.offset(), |frame| {
        (frame.scope == key.scope() && frame.key == key.key()).then_some(frame.header)
    })?;
    Ok(header.map(|header| Settled { segment, location, header }))
}
