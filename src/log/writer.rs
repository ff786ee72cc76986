//! Appending: frames into the open group, in memory, under one short lock.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::done::Done;
use super::draft::{Draft, Room, Wanted};
use super::segment::{Prepared, Segment};
use super::{Config, Start};
use crate::backend::NOTE_OCTETS_MAX;
use crate::clock::TimeMark;
use crate::crypt;
use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::format::frame::{self, Frame, Kind, SEALED};
use crate::format::housekeeping::Link;
use crate::format::{align8, group, seed, segment};
use crate::location::OFFSET_END;

/// Room set aside for housekeeping: retire and seal frames, and what a roll leaves unused.
const SLACK: u64 = 16 * 1024;
/// The most a frame that ends a claim without a payload takes, its group's header included.
pub(crate) const FINISHING_MAX: u64 =
    align8((frame::HEAD_MAX + NOTE_OCTETS_MAX) as u64 + crypt::OVERHEAD) + group::HEADER as u64;
/// The room kept ready ahead of need, at first and at most. It doubles whenever it ran short.
const AHEAD_FIRST: u64 = 256 * 1024;
const AHEAD_MAX: u64 = 32 * 1024 * 1024;

/// Frames to be written together, the room for the header in front of them.
#[derive(Debug)]
pub(crate) struct Group<P> {
    pub(crate) segment: Arc<Segment>,
    pub(crate) base: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) last_sequence: u64,
    pub(crate) prepared: u64,
    pub(crate) ttl_max_ms: u64,
    pub(crate) publish: Vec<P>,
    pub(super) done: Done,
}

impl<P> Group<P> {
    /// A group that about so many frames are expected in.
    fn new(segment: Arc<Segment>, base: u64, mut bytes: Vec<u8>, frames: usize) -> Self {
        bytes.clear();
        bytes.resize(group::HEADER, 0);
        Self {
            segment,
            base,
            bytes,
            count: 0,
            last_sequence: 0,
            prepared: 0,
            ttl_max_ms: 0,
            publish: Vec::with_capacity(frames),
            done: Done::default(),
        }
    }

    fn end(&self) -> u64 {
        if self.count == 0 { self.base } else { self.base + self.bytes.len() as u64 }
    }
}

/// The state of appending.
pub(crate) struct Writer<P> {
    epoch: u64,
    last_sequence: u64,
    pub(super) ttl_max_ms: u64,
    suspect_until_ms: u64,
    /// The time mark a roll writes; refreshed by the engine.
    pub(super) time: TimeMark,
    pub(super) active: Prepared,
    /// Segments ready to follow, in order.
    pub(super) next: VecDeque<Prepared>,
    /// Segments begun of which no group is written yet, so that the table of segments has them not.
    begun: Vec<Arc<Segment>>,
    next_segment: u32,
    closed: VecDeque<Group<P>>,
    pub(super) open: Group<P>,
    /// How often groups were taken to be written.
    taken: u64,
    /// Bytes set aside for frames that finish claims.
    reserved: u64,
    /// Bytes to keep ready beyond what is reserved, and the most it grows to.
    ahead: u64,
    ahead_max: u64,
    pub(super) wanted: Wanted,
    pub(super) waiting: Arc<Event>,
    /// Whether nothing is appended any more but a seal.
    pub(super) ended: bool,
    /// A buffer to use again.
    spare: Vec<u8>,
    /// Ids of the segments there are, but the active one.
    pub(super) live: Vec<u32>,
}

impl<P> Writer<P> {
    pub(super) fn new(active: Prepared, config: &Config, start: Start) -> Self {
        let open = Group::new(Arc::clone(&active.segment), segment::HEADER as u64, Vec::new(), 0);
        Self {
            epoch: config.epoch,
            last_sequence: start.last_sequence,
            ttl_max_ms: start.ttl_max_ms,
            suspect_until_ms: start.suspect_until_ms,
            time: TimeMark { store_ms: 0, since_boot_ms: 0, wall_ms: 0, boot_id: [0; 16] },
            active,
            next: VecDeque::new(),
            begun: Vec::new(),
            next_segment: start.next_segment,
            closed: VecDeque::new(),
            open,
            taken: 0,
            reserved: 0,
            ahead: AHEAD_FIRST.min(config.segment_size / 2),
            ahead_max: AHEAD_MAX.min(config.segment_size / 2),
            wanted: Wanted::default(),
            waiting: Event::new(),
            ended: false,
            spare: Vec::new(),
            live: Vec::new(),
        }
    }

    pub(super) fn has_frames(&self) -> bool {
        self.open.count > 0 || !self.closed.is_empty()
    }

    /// Every group with frames, in order; the next frame begins another.
    pub(super) fn take_groups(&mut self) -> VecDeque<Group<P>> {
        self.close_open();
        self.taken += u64::from(!self.closed.is_empty());
        std::mem::take(&mut self.closed)
    }

    /// How often there were groups to be written: as long as that is the same, the log rests.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The time a roll will write.
    pub(super) fn set_time(&mut self, time: TimeMark) {
        self.time = time;
    }

    pub(super) fn take_waiting(&mut self) -> Arc<Event> {
        self.wanted = Wanted::default();
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn ttl_max_ms(&self) -> u64 {
        self.ttl_max_ms
    }

    pub(super) fn give_back_buffer(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() > self.spare.capacity() && bytes.capacity() <= 8 << 20 {
            self.spare = bytes;
        }
    }

    fn close_open(&mut self) {
        if self.open.count == 0 {
            return;
        }
        self.open.prepared = self.active.segment.length.load(Relaxed);
        self.open.ttl_max_ms = self.ttl_max_ms;
        let next = Group::new(
            Arc::clone(&self.active.segment),
            self.open.end(),
            std::mem::take(&mut self.spare),
            self.open.publish.len(),
        );
        self.closed.push_back(std::mem::replace(&mut self.open, next));
    }

    /// Octets a frame takes in the open group: with the group's header, when it is the first.
    fn cost(&self, len: u64) -> u64 {
        if self.open.count == 0 { len + group::HEADER as u64 } else { len }
    }

    fn left_in_active(&self) -> u64 {
        let end = self.active.segment.length.load(Relaxed).min(OFFSET_END);
        end.saturating_sub(self.open.end())
    }

    /// What a prepared segment holds beside its headers and its link frame.
    fn capacity(&self, prepared: &Prepared) -> u64 {
        prepared.segment.length.load(Relaxed).saturating_sub(self.opening_len())
    }

    /// Octets of a segment before the first frame that is not housekeeping.
    fn opening_len(&self) -> u64 {
        // The link's fixed part, and four octets for each segment there is.
        let link = frame::HEADER as u64 + 72 + 4 * (self.live.len() as u64 + 1);
        (segment::HEADER + group::HEADER) as u64 + align8(link)
    }

    /// What can be counted on in a prepared segment: at its end, a frame that does not fit any more
    /// leaves up to its own length unused.
    fn usable(&self, prepared: &Prepared) -> u64 {
        self.capacity(prepared).saturating_sub(FINISHING_MAX)
    }

    /// Octets that can be counted on without making room.
    fn free(&self) -> u64 {
        let active = self.left_in_active().saturating_sub(FINISHING_MAX);
        active + self.next.iter().map(|next| self.usable(next)).sum::<u64>()
    }

    pub(super) fn is_asked_for_room(&self) -> bool {
        !self.wanted.nothing()
    }

    /// Whether somebody waits for more than this.
    pub(super) fn wants_beyond(&self, wanted: Wanted) -> bool {
        self.wanted.total > wanted.total || self.wanted.frame > wanted.frame
    }

    pub(super) fn runs_short(&self) -> bool {
        !self.wanted.nothing() || self.free() < self.reserved + SLACK + self.ahead / 2
    }

    /// Whether the largest claim there may be finds room.
    pub(super) fn takes_claims(&self) -> bool {
        let claim = align8(frame::HEAD_MAX as u64) + group::HEADER as u64;
        self.free() >= self.reserved + SLACK + FINISHING_MAX + claim
    }

    /// Finds room for a frame of `len` octets by the right of `room`, rolling when it must.
    pub(super) fn take_room(&mut self, len: u64, room: Room) -> Result<(), Wanted> {
        let kept = match room {
            Room::Free { reserve } => self.reserved + reserve + SLACK,
            Room::FreeGivingBack { reserved } => self.reserved.saturating_sub(reserved) + SLACK,
            Room::Freeing => self.reserved + SLACK / 2,
            Room::Housekeeping => self.reserved,
            Room::Reserved { .. } => 0,
        };
        let frame = len + group::HEADER as u64;
        let short = Wanted { total: kept + frame, frame };
        let cost = self.cost(len);
        let rolls = cost > self.left_in_active();
        let after = if rolls {
            if self.next.front().is_none_or(|next| len > self.capacity(next)) {
                return Err(short);
            }
            self.next.iter().map(|next| self.usable(next)).sum::<u64>().saturating_sub(len)
        } else {
            self.free().saturating_sub(cost)
        };
        if after < kept {
            return Err(short);
        }
        match room {
            Room::Free { reserve } => self.reserved += reserve,
            Room::FreeGivingBack { reserved } | Room::Reserved { reserved } => {
                self.reserved = self.reserved.saturating_sub(reserved);
            }
            Room::Freeing | Room::Housekeeping => {}
        }
        if rolls {
            self.roll();
        }
        Ok(())
    }

    /// The id of the next segment to be made.
    pub(super) fn next_id(&self) -> u32 {
        self.next_segment
    }

    /// Goes on in the next segment, whose first frame says after what. The caller made sure that
    /// there is one.
    pub(super) fn roll(&mut self) {
        let Some(next) = self.next.pop_front() else { return };
        self.close_open();
        let previous = std::mem::replace(&mut self.active, next);
        let previous_end = self.open.base;
        self.live.push(previous.segment.id);
        self.begun.push(Arc::clone(&self.active.segment));
        self.open = Group::new(
            Arc::clone(&self.active.segment),
            segment::HEADER as u64,
            std::mem::take(&mut self.open.bytes),
            0,
        );
        self.link(previous.segment.id, previous_end);
    }

    /// Puts the link frame that every segment begins with into the open group.
    pub(super) fn link(&mut self, previous_segment: u32, previous_end: u64) {
        self.active.segment.began_ms.store(self.time.store_ms, Relaxed);
        let link = Link {
            epoch: self.epoch,
            time: self.time,
            suspect_until_ms: self.suspect_until_ms,
            previous_segment,
            previous_end,
            live: self.live.clone(),
        };
        self.housekeeping(Kind::Link, &link.encode());
    }

    pub(super) fn housekeeping(&mut self, kind: Kind, payload: &[u8]) -> u64 {
        let (sequence, _) = self.put(
            &Draft {
                kind,
                flags: 0,
                scope: &[],
                key: &[],
                payload,
                payload_crc: frame::payload_crc(payload),
                claim_sequence: Some(0),
                claimed_at_ms: 0,
                term_ms: 0,
                fingerprint: Fingerprint::from_digest([0; 32]),
            },
            None,
        );
        sequence
    }

    /// Puts a frame into the open group. `sequence` is `Some` for one that is copied with its
    /// number.
    pub(super) fn put(&mut self, draft: &Draft<'_>, sequence: Option<u64>) -> (u64, u64) {
        let sequence = sequence.unwrap_or(self.last_sequence + 1);
        self.last_sequence = self.last_sequence.max(sequence);
        let group = &mut self.open;
        let start = group.bytes.len();
        let offset = group.base + start as u64;
        let mut header = frame::Header {
            kind: draft.kind,
            flags: draft.flags,
            scope_len: draft.scope.len() as u8,
            key_len: draft.key.len() as u8,
            payload_len: draft.payload.len() as u32,
            payload_crc: draft.payload_crc,
            sequence,
            claim_sequence: draft.claim_sequence.unwrap_or(sequence),
            claimed_at_ms: draft.claimed_at_ms,
            term_ms: draft.term_ms,
            fingerprint: draft.fingerprint,
        };
        let key = group.segment.key().filter(|_| draft.kind.has_content());
        let payload = key.map_or(Cow::Borrowed(draft.payload), |key| {
            header.flags |= SEALED;
            header.payload_len += crypt::OVERHEAD as u32;
            let frame = Frame { header, scope: draft.scope, key: draft.key };
            let sealed = key.seal(offset, &frame, draft.payload);
            header.payload_crc = frame::payload_crc(&sealed);
            Cow::Owned(sealed)
        });
        header.encode(draft.scope, draft.key, seed(group.segment.salt, offset), &mut group.bytes);
        group.bytes.extend_from_slice(&payload);
        group.bytes.resize(start + header.frame_len() as usize, 0);
        group.count += 1;
        group.last_sequence = self.last_sequence;
        (sequence, offset)
    }
}

/// What making room finds out under the writer's lock, and puts back.
impl<P> Writer<P> {
    /// What to prepare next: `None` when there is room for all that is wanted.
    pub(super) fn plan(&mut self) -> Option<super::room::Plan> {
        let wanted = self.wanted.total.max(self.reserved + SLACK + self.ahead);
        // A frame that goes into the next segment leaves the rest of this one unused.
        let free = self.free_for_wanted();
        let whole = self.ahead >= self.ahead_max;
        let rest = self.next.back().filter(|_| whole).map_or(0, Prepared::left);
        if free >= wanted && self.wanted_fits() && rest == 0 {
            return None;
        }
        let last = self.next.back().unwrap_or(&self.active);
        Some(super::room::Plan {
            missing: wanted.saturating_sub(free).max(rest),
            extend: !whole || !self.next.is_empty(),
            urgent: !self.wanted.nothing() || free < self.reserved + SLACK,
            wanted: self.wanted,
            instead: if self.wanted_fits() || self.next.is_empty() {
                0
            } else {
                self.reserved + SLACK + FINISHING_MAX
            },
            opening: self.opening_len(),
            length: last.segment.length.load(Relaxed),
            size: last.size,
            last: Arc::clone(&last.segment),
            next_id: self.next_segment,
            epoch: self.epoch,
        })
    }

    fn free_for_wanted(&self) -> u64 {
        let free = self.free();
        if self.wanted.frame > self.left_in_active() {
            free - self.left_in_active().saturating_sub(FINISHING_MAX)
        } else {
            free
        }
    }

    /// Whether those who asked for room have it.
    pub(super) fn is_wanted_met(&self) -> bool {
        self.free_for_wanted() >= self.wanted.total && self.wanted_fits()
    }

    /// Whether a roll leaves room for what is reserved.
    pub(super) fn may_roll(&self) -> bool {
        let next = self.next.iter().map(|next| self.usable(next)).sum::<u64>();
        next >= self.reserved + SLACK
    }

    /// Room a segment must have so that a roll into it is allowed.
    pub(super) fn room_to_roll(&self) -> u64 {
        self.opening_len() + self.reserved + 2 * SLACK + FINISHING_MAX
    }

    /// Whether the largest frame waited for fits into one segment.
    fn wanted_fits(&self) -> bool {
        let frame = self.wanted.frame;
        frame <= self.left_in_active()
            || self.next.front().is_some_and(|next| frame <= self.capacity(next))
    }

    /// Whether there is room for all that is reserved.
    pub(super) fn holds_reserved(&self) -> bool {
        self.free() >= self.reserved + SLACK
    }

    /// A new segment is ready. One made for a frame too large for those waiting replaces them, unless
    /// more is reserved by now than it holds. Gives those that are not needed.
    pub(super) fn add(&mut self, prepared: Prepared) -> Vec<Prepared> {
        self.next_segment = prepared.segment.id + 1;
        let too_small = !self.wanted_fits() && self.wanted.frame <= self.capacity(&prepared);
        let replaced = if too_small { self.next.drain(..).collect() } else { Vec::new() };
        self.next.push_back(prepared);
        if !replaced.is_empty() && !self.holds_reserved() {
            return std::mem::replace(&mut self.next, replaced.into()).into();
        }
        replaced
    }

    /// Room was asked for and ran short before: keep more ready from now on.
    pub(super) fn grow_ahead(&mut self) {
        self.ahead = (self.ahead * 2).min(self.ahead_max);
    }

    /// Whoever waits for room is to be told.
    pub(super) fn waiters(&mut self) -> Option<Arc<Event>> {
        (!self.wanted.nothing()).then(|| self.take_waiting())
    }

    /// Takes the segment `id` out of those that are ready to follow, if it is.
    pub(super) fn drop_next(&mut self, id: u32) -> Option<Prepared> {
        let place = self.next.iter().position(|next| next.segment.id == id)?;
        self.next.remove(place)
    }

    /// Files prepared and not begun.
    pub(super) fn take_next(&mut self) -> VecDeque<Prepared> {
        std::mem::take(&mut self.next)
    }

    /// Segments whose files are there and which the table of segments may not have yet.
    pub(super) fn unlisted(&self) -> Vec<Arc<Segment>> {
        let next = self.next.iter().map(|next| &next.segment);
        next.chain(&self.begun).map(Arc::clone).collect()
    }

    /// A group of segment `id` was written, and the table of segments has it.
    pub(super) fn is_listed(&mut self, id: u32) {
        self.begun.retain(|begun| begun.id != id);
    }
}
