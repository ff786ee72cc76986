//! Payloads that are sealed: opened each time they are read, for the frame they were sealed for.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::file_name;
use super::segment::Segment;
use super::table::Hold;
use crate::error::Error;
use crate::format::frame::{Frame, SEALED};
use crate::outcome::{Place, Source};

impl Segment {
    /// What the payload of the frame at `offset` says, of which `stored` is what the log has, its
    /// checksum compared.
    ///
    /// # Errors
    /// `Corrupt` when it was sealed for another frame or place, or stands unsealed in a segment that
    /// has a key.
    pub(crate) fn content<'a>(
        &self,
        offset: u64,
        frame: &Frame<'_>,
        stored: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, Error> {
        let corrupt =
            |what: &str| Error::corrupt(format!("{what}, in {} at {offset}", file_name(self.id)));
        let sealed = frame.header.flags & SEALED != 0;
        match self.key() {
            _ if !frame.header.kind.has_content() => Ok(Cow::Borrowed(stored)),
            None if !sealed => Ok(Cow::Borrowed(stored)),
            None => Err(corrupt("a payload is sealed in a segment without a key")),
            Some(_) if !sealed => Err(corrupt("a payload is not sealed in a segment with a key")),
            Some(key) => key
                .open(offset, frame, stored)
                .map(Cow::Owned)
                .ok_or_else(|| corrupt("a payload was not sealed for its frame")),
        }
    }
}

/// The payload of a frame in a segment that has a key.
pub(super) struct Sealed {
    pub(super) segment: Arc<Hold>,
    /// Where the frame stands.
    pub(super) offset: u64,
    /// Where what the log has of its payload does.
    pub(super) stored: Place,
}

impl Sealed {
    fn open(&self) -> Result<Vec<u8>, Error> {
        let stored = self.segment.view(self.stored)?;
        self.segment.head(self.offset, |frame| {
            self.segment.content(self.offset, frame, &stored).map(Cow::into_owned)
        })?
    }
}

impl Source for Sealed {
    fn view(&self, _: Place) -> Result<Cow<'_, [u8]>, Error> {
        self.open().map(Cow::Owned)
    }

    fn bytes(&self, _: Place) -> Result<Bytes, Error> {
        self.open().map(Bytes::from)
    }
}
