//! What one turned bit may cost, by where it is: docs/format.md says what stands there, and
//! docs/reliability.md what is refused for it.

use std::fmt;
use std::ops::Range;

use crate::damage::{Came, Kept, Small, files};
use crate::world::key;

/// A group of the log: where it stands, and whose frames are in it.
#[derive(Debug)]
struct Group {
    octets: Range<u64>,
    keys: Vec<usize>,
}

/// The groups of a small store's log.
#[derive(Debug)]
pub(crate) struct Costs {
    log: Vec<(String, Vec<Group>)>,
    free: Vec<usize>,
    closed: bool,
}

/// What damaged stores came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    stores: u64,
    refused: u64,
    keys: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stores, refused, keys } = self;
        write!(f, "{refused} of {stores} stores refused as a whole, and {keys} keys of the others")
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(number)
}

/// The groups in a segment's octets.
fn groups(bytes: &[u8], keys: usize) -> Vec<Group> {
    const SEGMENT_HEADER: usize = 64;
    const GROUP_HEADER: usize = 88;
    const FRAME_HEADER: usize = 80;
    let (mut at, mut all) = (SEGMENT_HEADER, Vec::new());
    while bytes.get(at..at + 4) == Some(b"OWG1") {
        let end = at + number::<8>(bytes, at + 56) as usize;
        let mut group = Group { octets: at as u64..end as u64, keys: Vec::new() };
        let mut frame = at + GROUP_HEADER;
        for _ in 0..number::<4>(bytes, at + 20) {
            let scope = frame + FRAME_HEADER;
            let name = scope + bytes[frame + 6] as usize;
            let payload = name + bytes[frame + 7] as usize;
            let after = payload + number::<4>(bytes, frame + 8) as usize;
            group.keys.extend((0..keys).find(|nth| {
                let own = key(*nth);
                let own = own.as_key();
                own.scope() == &bytes[scope..name] && own.key() == &bytes[name..payload]
            }));
            frame = after.next_multiple_of(8);
        }
        assert_eq!(frame, end, "groups are read in the wrong way");
        all.push(group);
        at = end;
    }
    all
}

/// Whether the key of an encrypted segment stands there.
fn is_key_of_segment(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, kind)| kind == "key")
}

impl Costs {
    pub(crate) fn of(small: &Small, closed: bool) -> Self {
        let log = files(&small.disk)
            .into_iter()
            .filter(|(path, _)| path.starts_with("segments/0") && !is_key_of_segment(path));
        let log: Vec<_> =
            log.map(|(path, bytes)| (path, groups(&bytes, small.keys.len()))).collect();
        for (number, kept) in small.keys.iter().enumerate() {
            let stands =
                log.iter().flat_map(|(_, groups)| groups).any(|g| g.keys.contains(&number));
            assert!(stands || *kept == Kept::Free, "key {number} is nowhere: {log:?}");
        }
        let free = small.keys.iter().enumerate().filter(|(_, kept)| **kept == Kept::Free);
        Self { free: free.map(|(number, _)| number).collect(), log, closed }
    }

    /// Whether `verify` knows what each octet there ought to be: of `STORE` and of the log's groups.
    pub(crate) fn is_known(&self, path: &str, at: u64) -> bool {
        path == "STORE"
            || self.groups(path).and_then(<[_]>::last).is_some_and(|last| at < last.octets.end)
    }

    /// Where `verify` says that something is wrong: there; for the seal of a store that was closed, at
    /// the file's end, behind which more is looked for without it.
    pub(crate) fn told_at(&self, path: &str, at: u64) -> u64 {
        let end = self.groups(path).and_then(<[_]>::last).map_or(at, |seal| seal.octets.end);
        if self.ends_what_is_closed(path, at) { end } else { at }
    }

    fn groups(&self, path: &str) -> Option<&[Group]> {
        self.log.iter().find(|(log, _)| log == path).map(|(_, groups)| &groups[..])
    }

    /// Holds what a bit that turned in that octet came to against what it may cost.
    pub(crate) fn hold(
        &self,
        path: &str,
        at: u64,
        came: &Came,
        seen: &mut Seen,
    ) -> Result<(), String> {
        seen.stores += 1;
        let refused = match came {
            Came::Refused(error) => {
                seen.refused += 1;
                let may = path == "STORE"
                    || is_key_of_segment(path)
                    || self.ends_what_is_closed(path, at);
                return if may { Ok(()) } else { Err(format!("it is refused: {error:?}")) };
            }
            Came::Opened(_) if path == "STORE" => return Err("it opens".to_owned()),
            Came::Opened(refused) => refused,
        };
        seen.keys += refused.len() as u64;
        let may = self.keys(path, at);
        match refused.iter().find(|key| !may.contains(key)) {
            Some(key) => Err(format!("key {key} is refused, and only {may:?} may be")),
            None => Ok(()),
        }
    }

    /// Whether the seal of a store that was closed stands there: without it the file, cut to its
    /// length, is one that was cut off.
    fn ends_what_is_closed(&self, path: &str, at: u64) -> bool {
        let last = self.log.last().filter(|(log, _)| log == path);
        let seal = last.and_then(|(_, groups)| groups.last());
        self.closed && seal.is_some_and(|seal| seal.octets.contains(&at))
    }

    /// The keys that may be refused: what a group has; and those that nobody knows, which may have
    /// stood there, as they may where a segment's header does not stand, or the tree.
    fn keys(&self, path: &str, at: u64) -> Vec<usize> {
        if path == "tree.redb" {
            return self.free.clone();
        }
        if !self.is_known(path, at) {
            return Vec::new();
        }
        let group = self.groups(path).and_then(|all| all.iter().find(|g| g.octets.contains(&at)));
        group.iter().flat_map(|group| &group.keys).chain(&self.free).copied().collect()
    }
}
