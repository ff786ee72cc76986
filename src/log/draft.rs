//! What is appended, by what right, and what comes of it: the words of the log.

use std::sync::Arc;

use crate::error::Error;
use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::format::align8;
use crate::format::frame::{self, Kind, SEALED};
use crate::location::Location;

/// A frame to append; the log adds its number, place and checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) scope: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) payload_crc: u32,
    /// The claim this is about; `None` for a new claim, which is its own.
    pub(crate) claim_sequence: Option<u64>,
    pub(crate) claimed_at_ms: u64,
    pub(crate) term_ms: u64,
    pub(crate) fingerprint: Fingerprint,
}

impl<'a> Draft<'a> {
    /// A frame written once more as `header` has it, but for its number. `payload` is what it says,
    /// opened when it was sealed.
    pub(crate) fn again(
        header: &frame::Header,
        scope: &'a [u8],
        key: &'a [u8],
        payload: &'a [u8],
    ) -> Self {
        let payload_crc = if header.flags & SEALED == 0 {
            header.payload_crc
        } else {
            // The one in the header is over what was sealed.
            frame::payload_crc(payload)
        };
        Self {
            kind: header.kind,
            flags: header.flags & !SEALED,
            scope,
            key,
            payload,
            payload_crc,
            claim_sequence: Some(header.claim_sequence),
            claimed_at_ms: header.claimed_at_ms,
            term_ms: header.term_ms,
            fingerprint: header.fingerprint,
        }
    }

    /// Octets of the frame, when sealing adds `overhead` to a payload.
    pub(super) fn len(&self, overhead: u64) -> u64 {
        let head = frame::HEADER + self.scope.len() + self.key.len();
        let overhead = if self.kind.has_content() { overhead } else { 0 };
        align8((head + self.payload.len()) as u64 + overhead)
    }
}

/// By what right a frame takes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// What is free beyond all reservations; and this many bytes are reserved with it.
    Free { reserve: u64 },
    /// What is free beyond all reservations but this one, which is given back with it.
    FreeGivingBack { reserved: u64 },
    /// The reservation made for it, given back with it.
    Reserved { reserved: u64 },
    /// What is free beyond all reservations and half of what is kept for housekeeping: a frame
    /// that frees a key in doubt.
    Freeing,
    /// What is free beyond all reservations: the room kept for housekeeping.
    Housekeeping,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(crate) enum NoRoom {
    /// Room must be made ready first.
    Short(Wanted),
    /// The log takes no more.
    Ended(Error),
}

/// Room somebody waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Octets that must be free in all.
    pub(crate) total: u64,
    /// Octets of the largest frame, which one segment must hold.
    pub(crate) frame: u64,
}

impl Wanted {
    pub(super) fn nothing(self) -> bool {
        self.total == 0
    }
}

/// A frame in the open group.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) sequence: u64,
    pub(crate) location: Location,
    /// Happens when the frame is durable and published, or never will be.
    pub(crate) done: Arc<Event>,
}
