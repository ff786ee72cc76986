//! The words in which what is known of a key is told.

use std::sync::Arc;

use onceward::{Error, Record};

/// What a finished key answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Payload(Arc<[u8]>),
    Note(Arc<[u8]>),
}

/// How it is with a key: nobody has it, somebody has its ticket, nobody knows, or it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    Free,
    Held,
    InDoubt,
    Done(Content),
}

/// A state that the history of a key leaves open: the last that was acknowledged or seen, or one
/// that was begun since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) is: Is,
    pub(crate) ttl_ms: u64,
    /// The last moment at which it must still be.
    pub(crate) until_ms: u64,
    /// The last moment at which it may still be; `u64::MAX` while that is not settled.
    pub(crate) latest_ms: u64,
    /// The fingerprints it may have, one bit each.
    pub(crate) prints: u8,
}

impl Fact {
    pub(crate) const FREE: Self =
        Self { is: Is::Free, ttl_ms: 0, until_ms: 0, latest_ms: 0, prints: 0 };

    pub(crate) fn held((ttl_ms, prints): (u64, u8)) -> Self {
        Self { is: Is::Held, ttl_ms, until_ms: u64::MAX, latest_ms: u64::MAX, prints }
    }

    /// Whether it is one that ends with its time.
    pub(crate) fn expires(&self) -> bool {
        matches!(self.is, Is::InDoubt | Is::Done(_))
    }

    /// It was decided now, at the latest.
    pub(crate) fn settle(&mut self, now_ms: u64) {
        if self.latest_ms == u64::MAX && self.expires() {
            self.latest_ms = now_ms + self.ttl_ms;
        }
    }

    /// In words, without its payload.
    pub(crate) fn brief(&self) -> String {
        let is = match &self.is {
            Is::Done(Content::Payload(payload)) => {
                let head: Vec<u8> = payload.iter().copied().take(4).collect();
                format!("done with {} bytes {head:?}…", payload.len())
            }
            other => format!("{other:?}"),
        };
        format!("{is} from {} to {} as {:b}", self.until_ms, self.latest_ms, self.prints)
    }
}

/// What a record answers.
pub(crate) fn content(record: &Record) -> Result<Content, Error> {
    if let Some(note) = record.note() {
        return Ok(Content::Note(note[..].into()));
    }
    Ok(Content::Payload(record.payload()?.unwrap_or_default()[..].into()))
}
