//! Walking over the live records, for tools and migration.

use std::sync::Arc;

use super::Inner;
use super::cold::{Seen, is_kept};
use super::record::Settled;
use crate::error::Error;
use crate::format::frame::Kind;
use crate::index::{Flight, Identity, SHARDS};
use crate::location::Location;
use crate::outcome::{Record, State};

/// A key and its record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Item {
    /// The scope's octets.
    pub scope: Vec<u8>,
    /// The key's octets.
    pub key: Vec<u8>,
    /// The record.
    pub record: Record,
    /// Where the walk was when it came by: a later one goes on behind it with [`Iter::after`].
    pub cursor: Cursor,
}

/// A place in a walk over a store: a key's own, for as long as the store exists, whatever becomes of
/// the key. Written as 18 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    shard: u8,
    /// The half of the key's identity that a slot keeps.
    hash: u64,
}

const _: () = assert!(SHARDS <= 1 << 8);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}{:016x}", self.shard, self.hash)
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCursorError;

impl std::fmt::Display for ParseCursorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a cursor is 18 hexadecimal digits")
    }
}

impl std::error::Error for ParseCursorError {}

impl std::str::FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let digits = text.len() == 18 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let (shard, hash) = text.split_at_checked(2).filter(|_| digits).ok_or(ParseCursorError)?;
        Ok(Self {
            shard: u8::from_str_radix(shard, 16).map_err(|_| ParseCursorError)?,
            hash: u64::from_str_radix(hash, 16).map_err(|_| ParseCursorError)?,
        })
    }
}

/// The live records of a store, a shard of the index at a time: each key at most once, and each
/// that stood the whole time. Holds a few octets for each key of one shard, which is one in 64.
pub struct Iter {
    inner: Arc<Inner>,
    next_shard: usize,
    after: Option<Cursor>,
    only: Option<State>,
    /// What the shard held, last place first.
    found: Vec<(Cursor, Found)>,
    /// The last record given: one that moved between index and tree may be found in both.
    last: Option<(Cursor, Vec<u8>, Vec<u8>)>,
    /// Why a part of the shard could not be read.
    failed: Option<Error>,
}

/// A key's record, as the index has it.
enum Found {
    Settled(Location),
    InFlight { scope: Vec<u8>, key: Vec<u8>, record: Record },
}

impl Found {
    fn flight(flight: &Flight) -> Self {
        Self::InFlight {
            scope: flight.owner.scope().to_vec(),
            key: flight.owner.key().to_vec(),
            record: flight.record(),
        }
    }
}

impl Iter {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            next_shard: 0,
            after: None,
            only: None,
            found: Vec::new(),
            last: None,
            failed: None,
        }
    }

    /// The records in `state` alone; what is in another is not read. Before the first step.
    #[must_use]
    pub fn in_state(mut self, state: State) -> Self {
        self.only = Some(state);
        self
    }

    /// Goes on behind `cursor`. Before the first step.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.next_shard = usize::from(cursor.shard);
        self.after = Some(cursor);
        self
    }

    fn fill(&mut self) -> bool {
        if self.next_shard >= SHARDS {
            return false;
        }
        let nth = self.next_shard as u8;
        self.next_shard += 1;
        loop {
            let seen = self.fill_from_index(nth);
            match self.fill_from_tree(nth, seen) {
                Ok(true) => break,
                // Something moved between the two: both are looked at again.
                Ok(false) => {}
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        self.found.sort_by_key(|(cursor, _)| std::cmp::Reverse(*cursor));
        true
    }

    fn fill_from_index(&mut self, nth: u8) -> Seen {
        // A shard is named by the upper half of an identity.
        let shard_of = Identity(u128::from(nth) << 64);
        let at = |hash| Cursor { shard: nth, hash };
        let behind = |cursor: &Cursor| self.after.is_none_or(|after| *cursor > after);
        let wanted = |state| self.only.is_none_or(|only| only == state);
        let shard = self.inner.index.shard(shard_of);
        let slots = shard.slots().filter(|(hash, location)| {
            let in_doubt = location.is(Kind::InDoubt);
            wanted(if in_doubt { State::InDoubt } else { State::Complete }) && behind(&at(*hash))
        });
        self.found.clear();
        self.found.extend(slots.map(|(hash, it)| (at(hash), Found::Settled(it))));
        if wanted(State::InFlight) {
            let claims = shard
                .flights
                .iter()
                .filter(|(identity, flight)| flight.is_shown() && behind(&at(identity.low())));
            self.found.extend(
                claims.map(|(identity, flight)| (at(identity.low()), Found::flight(flight))),
            );
        }
        self.inner.cold.seen()
    }

    /// Adds what the tree alone has. `false` when that is not what was `seen` any more.
    fn fill_from_tree(&mut self, nth: u8, seen: Seen) -> Result<bool, Error> {
        if seen.is_empty() || self.only.is_some_and(|only| only != State::Complete) {
            return Ok(true);
        }
        self.inner.cold.refuse_damaged()?;
        let list = self.inner.cold.list();
        if list.seen != seen {
            return Ok(false);
        }
        let behind = self.after.filter(|after| after.shard == nth).map(|after| after.hash);
        let range = Identity::ordered_range(usize::from(nth), behind);
        for cold in &list.pieces {
            let read = self.inner.ask_tree(&list, &cold.piece, |reader| {
                let mut entries = Vec::new();
                let whole = reader.range(&cold.piece, &range, &mut entries)?;
                Ok(whole.then_some(entries))
            })?;
            let Some(entries) = read else { return Ok(false) };
            for entry in entries {
                let location = Location::from_bits(entry.location);
                // An entry whose segment is gone is of a record that expired, or has another.
                let stands = self.inner.log.segments.get(location.segment()).is_some();
                if is_kept(location) && stands {
                    let hash = Identity::from_ordered(entry.hash).low();
                    self.found.push((Cursor { shard: nth, hash }, Found::Settled(location)));
                }
            }
        }
        Ok(true)
    }

    /// Whether a record of this key was given just now.
    fn is_given(&self, item: &Item) -> bool {
        self.last.as_ref().is_some_and(|(cursor, scope, key)| {
            (*cursor, scope, key) == (item.cursor, &item.scope, &item.key)
        })
    }

    /// The record at `location`, unless it has expired or moved on.
    fn read(&mut self, cursor: Cursor, location: Location) -> Option<Result<Item, Error>> {
        let Some(segment) = self.inner.log.segments.hold(location.segment()) else {
            // Written again elsewhere, and its segment removed, since the shard was read.
            let identity = Identity(u128::from(cursor.shard) << 64 | u128::from(cursor.hash));
            let now = self.inner.index.shard(identity).candidates(identity);
            let moved = now.iter().filter(|now| *now != location);
            self.found.extend(moved.map(|now| (cursor, Found::Settled(now))));
            return None;
        };
        let read = segment.head(location.offset(), |frame| {
            (frame.scope.to_vec(), frame.key.to_vec(), frame.header)
        });
        let (scope, key, header) = match read {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        let settled = Settled { segment, location, header };
        settled.known().at(self.inner.now_ms())?;
        Some(settled.record().map(|record| Item { scope, key, record, cursor }))
    }
}

impl Iterator for Iter {
    /// A record, or why one cannot be read; the next ones still can.
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.found.pop() {
                Some((cursor, Found::InFlight { scope, key, record })) => {
                    return Some(Ok(Item { scope, key, record, cursor }));
                }
                Some((cursor, Found::Settled(location))) => match self.read(cursor, location) {
                    Some(Ok(item)) if self.is_given(&item) => {}
                    Some(Ok(item)) => {
                        self.last = Some((cursor, item.scope.clone(), item.key.clone()));
                        return Some(Ok(item));
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => {}
                },
                None if self.failed.is_some() => return self.failed.take().map(Err),
                None if self.fill() => {}
                None => return None,
            }
        }
    }
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("next_shard", &self.next_shard).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        let cursor = Cursor { shard: 63, hash: 0x00ff_0000_0000_0001 };
        assert_eq!(cursor.to_string(), "3f00ff000000000001");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "3f", "3f00ff0000000000010", "zz00ff000000000001", "+f00ff000000000001"] {
            assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError), "{text:?}");
        }
        assert_eq!(
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".parse::<Cursor>(),
            Err(ParseCursorError)
        );
    }
}
