//! Settling: the one frame that ends a claim.

use std::sync::Arc;

use super::Inner;
use super::publish::Publish;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::format::frame::{self, Kind};
use crate::index::{Identity, Phase};
use crate::log::{Draft, NoRoom, Room, Wanted};
use crate::planted::{Bug, is_planted};

/// What a ticket holds: a claim, whose flight has all there is to say of it, and the room for its end.
pub(crate) struct Held {
    pub(super) identity: Identity,
    pub(super) claim_sequence: u64,
    /// Room set aside in the log for the frame that ends this.
    pub(super) reserved: u64,
    /// Whether the claim still holds its key.
    pub(super) holds: bool,
}

/// Why a claim was not settled.
pub(super) enum Unsettled {
    Room(Wanted),
    Failed(Error),
}

impl Inner {
    /// Decides and appends the frame that ends the claim, under the key's shard lock.
    pub(super) fn settle(
        &self,
        held: &mut Held,
        kind: Kind,
        content: &[u8],
        payload_crc: u32,
    ) -> Result<Arc<Event>, Unsettled> {
        // Before the lock: a clock is the caller's code, and may panic.
        let now_ms = (kind != Kind::Release).then(|| self.now_ms());
        let mut shard = self.index.shard(held.identity);
        let flight = shard.flights.get_mut(&held.identity).filter(|flight| {
            flight.claim_sequence == held.claim_sequence && flight.phase == Phase::Held
        });
        let Some(flight) = flight else {
            held.holds = false;
            let ended = self.log.poison().check().err();
            return Err(Unsettled::Failed(ended.unwrap_or_else(|| {
                Error::new(ErrorKind::Fenced, "the ticket does not hold its key any more")
            })));
        };
        let ttl_ms = match flight.ttl_ms {
            ttl_ms if is_planted(Bug::SecondsForMilliseconds) => ttl_ms / 1000,
            ttl_ms if is_planted(Bug::KeptTooLong) => 2 * ttl_ms,
            ttl_ms => ttl_ms,
        };
        let expires_at_ms = now_ms.map_or(0, |now_ms| now_ms.saturating_add(ttl_ms));
        let draft = Draft {
            kind,
            flags: 0,
            scope: flight.owner.scope(),
            key: flight.owner.key(),
            payload: content,
            payload_crc,
            claim_sequence: Some(flight.claim_sequence),
            claimed_at_ms: flight.claimed_at_ms,
            term_ms: expires_at_ms,
            fingerprint: flight.fingerprint,
        };
        let room = match kind {
            Kind::Complete => Room::FreeGivingBack { reserved: held.reserved },
            _ => Room::Reserved { reserved: held.reserved },
        };
        let appended = self.log.append(&draft, room, |sequence, location| {
            Publish::of_flight(held.identity, sequence, location, kind, 0, expires_at_ms)
        });
        match appended {
            Ok(appended) => {
                flight.phase = Phase::Settling { durable: flight.is_durable() };
                flight.written = Arc::clone(&appended.done);
                held.holds = false;
                Ok(appended.done)
            }
            Err(NoRoom::Short(wanted)) => Err(Unsettled::Room(wanted)),
            Err(NoRoom::Ended(error)) => {
                held.holds = false;
                if is_planted(Bug::StaleTicketAccepted) && error.kind() == ErrorKind::Closed {
                    let done = Event::new();
                    done.fire(Ok(()));
                    return Ok(done);
                }
                Err(Unsettled::Failed(error))
            }
        }
    }

    /// Ends a claim whose owner has gone, without waiting. That fails only when writes have ended:
    /// recovery then finds a claim without an end, which is in doubt, too.
    pub(super) fn let_go(&self, held: &mut Held, kind: Kind) {
        if held.holds {
            let settled = self.settle(held, kind, &[], frame::payload_crc(&[]));
            debug_assert!(!matches!(settled, Err(Unsettled::Room(_))), "its room was reserved");
        }
    }
}
