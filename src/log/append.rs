//! Appending, as the engine sees it.

use std::sync::Arc;

use super::draft::{Appended, Draft, NoRoom, Room, Wanted};
use super::segment::Segment;
use super::writer::Writer;
use super::{Log, done};
use crate::clock::TimeMark;
use crate::error::Error;
use crate::event::Event;
use crate::format::align8;
use crate::format::frame::{self, Kind};
use crate::format::housekeeping::Retire;
use crate::location::Location;
use crate::stripe;

impl<P> Log<P> {
    /// Appends a frame about a key; `publish` makes what is handed back once it is durable.
    pub(crate) fn append(
        &self,
        draft: &Draft<'_>,
        room: Room,
        publish: impl FnOnce(u64, Location) -> P,
    ) -> Result<Appended, NoRoom> {
        let stripe = stripe::of_thread(done::STRIPES);
        let mut writer = self.writer.lock();
        self.refuse_ended(&writer).map_err(NoRoom::Ended)?;
        let idle = !writer.has_frames();
        if let Err(needed) = writer.take_room(draft.len(self.config.overhead()), room) {
            return Err(NoRoom::Short(needed));
        }
        if idle {
            self.work.notify_one();
        }
        if draft.kind == Kind::Claim {
            writer.ttl_max_ms = writer.ttl_max_ms.max(draft.term_ms);
        }
        Ok(self.place(&mut writer, draft, None, stripe, publish))
    }

    /// Appends a frame that stood in the tail of an older segment, under its own number.
    ///
    /// For recovery alone, which has prepared a segment that holds all it copies.
    pub(crate) fn append_copy(
        &self,
        draft: &Draft<'_>,
        sequence: u64,
        publish: impl FnOnce(u64, Location) -> P,
    ) -> Appended {
        let mut writer = self.writer.lock();
        self.place(&mut writer, draft, Some(sequence), 0, publish)
    }

    /// Appends a frame with a new number. For recovery, as [`append_copy`](Self::append_copy).
    pub(crate) fn append_new(
        &self,
        draft: &Draft<'_>,
        publish: impl FnOnce(u64, Location) -> P,
    ) -> Appended {
        let mut writer = self.writer.lock();
        self.place(&mut writer, draft, None, 0, publish)
    }

    fn place(
        &self,
        writer: &mut Writer<P>,
        draft: &Draft<'_>,
        sequence: Option<u64>,
        stripe: usize,
        publish: impl FnOnce(u64, Location) -> P,
    ) -> Appended {
        let (sequence, offset) = writer.put(draft, sequence);
        let location = Location::new(writer.active.segment.id, offset, draft.kind);
        writer.open.publish.push(publish(sequence, location));
        let done = writer.open.done.of(stripe);
        if writer.runs_short() {
            self.short.notify_one();
        }
        Appended { sequence, location, done }
    }

    /// From now on only a seal is appended: whoever wants to append anything else finds the store
    /// closed. A frame behind the seal would leave a file that was trimmed as if it were sealed.
    pub(crate) fn end(&self) {
        self.writer.lock().ended = true;
    }

    /// # Errors
    /// Why nothing is appended any more.
    pub(super) fn refuse_ended(&self, writer: &Writer<P>) -> Result<(), Error> {
        self.poison.check()?;
        if writer.ended { Err(Error::closed()) } else { Ok(()) }
    }

    /// Appends the frame that seals the log, after its [`end`](Self::end).
    pub(crate) fn append_seal(&self) -> Result<(), NoRoom> {
        let mut writer = self.writer.lock();
        self.poison.check().map_err(NoRoom::Ended)?;
        self.keep_house(&mut writer, Kind::Seal, &[])
    }

    fn keep_house(&self, writer: &mut Writer<P>, kind: Kind, payload: &[u8]) -> Result<(), NoRoom> {
        let len = align8((frame::HEADER + payload.len()) as u64);
        writer.take_room(len, Room::Housekeeping).map_err(NoRoom::Short)?;
        writer.housekeeping(kind, payload);
        self.work.notify_one();
        Ok(())
    }

    /// Appends the frame that retires segment `id`, which no link behind it names.
    pub(crate) fn append_retire(&self, id: u32) -> Result<(), NoRoom> {
        let mut writer = self.writer.lock();
        self.refuse_ended(&writer).map_err(NoRoom::Ended)?;
        let payload = Retire { segment: id }.encode();
        self.keep_house(&mut writer, Kind::Retire, &payload)?;
        writer.live.retain(|live| *live != id);
        Ok(())
    }

    /// The first frame after opening: the link of the active segment, after what `previous_end`
    /// of `previous_segment` was the end.
    pub(crate) fn begin(&self, time: TimeMark, previous_segment: u32, previous_end: u64) {
        let mut writer = self.writer.lock();
        writer.time = time;
        writer.live = self.segments.all().iter().map(|segment| segment.id).collect();
        let active = Arc::clone(&writer.active.segment);
        writer.live.retain(|id| *id != active.id);
        writer.link(previous_segment, previous_end);
        self.segments.insert(&active);
    }

    /// The segment frames are appended to.
    pub(crate) fn active(&self) -> Arc<Segment> {
        Arc::clone(&self.writer.lock().active.segment)
    }

    /// The segments there are, but those retired: what a link would name, and the active one.
    pub(crate) fn living(&self) -> Vec<Arc<Segment>> {
        let writer = self.writer.lock();
        let older = writer.live.iter().filter_map(|id| self.segments.get(*id));
        older.chain([Arc::clone(&writer.active.segment)]).collect()
    }

    /// Asks for room. The event happens when it was made, or could not be.
    pub(crate) fn ask_for_room(&self, wanted: Wanted) -> Result<Arc<Event>, Error> {
        let mut writer = self.writer.lock();
        self.poison.check()?;
        writer.wanted.total = writer.wanted.total.max(wanted.total);
        writer.wanted.frame = writer.wanted.frame.max(wanted.frame);
        self.short.notify_one();
        Ok(Arc::clone(&writer.waiting))
    }
}
