//! When the tree turns out to be damaged while the store is open: what it alone knew is read again
//! from the log, which has it all, and the tree is made anew. Until then a key that is not indexed
//! is refused as corrupt, for nobody knows whether it is free.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Inner;
use super::cold::is_kept;
use crate::error::Error;
use crate::expiry::is_expired;
use crate::format::frame::Frame;
use crate::format::segment::HEADER;
use crate::index::Identity;
use crate::key::Key;
use crate::location::Location;
use crate::log::{Segment, replay};
use crate::tree::Entry;

impl Inner {
    /// Reads everything into the index and makes the tree anew. The index may take more than its
    /// budget then, until the next [`spill`](Self::spill).
    ///
    /// # Errors
    /// `Io`: the log could not be read; what was refused stays so. What the new tree could not be
    /// written for, which later checkpoints try again.
    pub(super) fn reload(&self) -> Result<(), Error> {
        let _one = self.sweeping()?;
        self.refuse_closed()?;
        let mut sound = true;
        for segment in self.log.segments.all() {
            sound &= self.reload_segment(&segment)?;
        }
        if !sound {
            // What stood in the damaged bytes may be what the tree alone knew.
            let until_ms = self.now_ms().saturating_add(self.log.ttl_max_ms());
            self.suspect_until_ms.fetch_max(until_ms, Relaxed);
        }
        let mut checkpointer = self.tree.lock();
        checkpointer.condemn();
        self.cold.clear();
        drop(checkpointer);
        self.checkpoint()
    }

    /// Admits every result and tombstone of a segment that has not expired: whichever of a key's is
    /// the newest stands in the end. Whether all of it could be read.
    fn reload_segment(&self, segment: &Arc<Segment>) -> Result<bool, Error> {
        let of = replay::Of { segment: segment.id, salt: Some(segment.salt) };
        let from = replay::From { offset: HEADER as u64, previous: None, last_sequence: 0 };
        let end = Some(segment.end.load(Relaxed));
        let now_ms = self.now_ms();
        let mut sound = true;
        let secret = &self.identity.secret;
        let found =
            replay::scan(&*segment.file, of, from, end, secret, &mut |offset, header, bytes| {
                let read = replay::frames(bytes, offset, header, &mut |at, frame, _| {
                    self.reload_frame(segment.id, at, frame, now_ms);
                });
                sound &= read.is_ok();
            })
            .map_err(|error| Error::io("reading a segment", error))?;
        Ok(sound && found.damage.is_empty())
    }

    fn reload_frame(&self, segment: u32, offset: u64, frame: &Frame<'_>, now_ms: u64) {
        let header = &frame.header;
        if !header.kind.is_keyed() || is_expired(header.term_ms, now_ms) {
            return;
        }
        let location = Location::new(segment, offset, header.kind);
        if is_kept(location) {
            let key = Key::of_checked(frame.scope, frame.key);
            self.admit(&Entry {
                hash: Identity::of(key, &self.identity.secret).ordered(),
                location: location.to_bits(),
                sequence: header.sequence,
            });
        }
    }
}
