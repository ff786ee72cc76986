//! Reading a log back: which groups stand, what is torn, and what is damaged.

use std::io;
use std::ops::Range;

use super::file_name;
use crate::format::frame::{self, Frame};
use crate::format::group::{self, HEADER, Header};
use crate::format::{seed, segment};
use crate::storage::File;

/// Bytes read at a time.
const WINDOW: u64 = 1 << 20;
/// Bytes read at once where one group alone is wanted, which mostly ends within them.
const NEAR: u64 = 16 << 10;

/// A file read in order through one window, with pread: recovery trusts no map.
struct Reader<'a> {
    file: &'a dyn File,
    len: u64,
    /// Bytes read at a time, where that many are there.
    reach: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> Reader<'a> {
    fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, reach: WINDOW, window: Vec::new(), start: 0 })
    }

    /// The `len` bytes at `offset`; `None` when the file ends before.
    fn get(&mut self, offset: u64, len: u64) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        let held = self.start..self.start + self.window.len() as u64;
        if offset < held.start || end > held.end {
            let size = len.max(self.reach).min(self.len - offset);
            if self.window.len() as u64 != size {
                self.window = vec![0; size as usize];
            }
            self.start = offset;
            self.file.read_at(&mut self.window, offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.window.get(from..from + len as usize))
    }

    /// The group at `offset`, if a whole one of this segment stands there.
    fn group(&mut self, offset: u64, of: Of) -> io::Result<Option<(Header, &[u8])>> {
        let Some(peeked) = self.get(offset, HEADER as u64)?.and_then(group::peek) else {
            return Ok(None);
        };
        if peeked.segment != of.segment || of.salt.is_some_and(|salt| salt != peeked.salt) {
            return Ok(None);
        }
        let Some(bytes) = self.get(offset, peeked.length)? else { return Ok(None) };
        Ok(group::decode(bytes, offset).ok().map(|header| (header, bytes)))
    }

    /// The next place in `range` where a whole group of this segment stands.
    fn search(&mut self, range: Range<u64>, of: Of) -> io::Result<Option<u64>> {
        // A file that was cut off ends before its groups are said to.
        let end = range.end.min(self.len);
        let mut offset = range.start;
        while offset < end {
            let len = WINDOW.min(end - offset);
            // What the window still holds first, so that each byte is read about once, however many
            // places look like the beginning of a group.
            let held = (self.start + self.window.len() as u64).saturating_sub(offset);
            let len = if held >= 8 { len.min(held) } else { len };
            let Some(bytes) = self.get(offset, len)? else { return Ok(None) };
            match candidate(bytes) {
                Some(at) => {
                    let at = offset + at as u64;
                    if self.group(at, of)?.is_some() {
                        return Ok(Some(at));
                    }
                    offset = at + 8;
                }
                None => offset += len.next_multiple_of(8),
            }
        }
        Ok(None)
    }
}

/// Bytes that are compared with zeros at a time.
const BLOCK: usize = 4096;

/// The first place in `bytes`, in steps of eight, where a group may begin. Most of what is searched
/// was made ahead and is zeros, which none begins with.
fn candidate(bytes: &[u8]) -> Option<usize> {
    let zeros = &[0; BLOCK];
    let mut blocks = bytes.chunks(BLOCK).enumerate();
    blocks.find_map(|(nth, block)| {
        if zeros.starts_with(block) {
            return None;
        }
        let within = block.chunks(8).position(group::may_begin)?;
        Some(nth * BLOCK + 8 * within)
    })
}

/// Which groups are a segment's own. The salt is unknown when the segment's header is damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of {
    pub(crate) segment: u32,
    pub(crate) salt: Option<u64>,
}

/// Where a scan begins, and what it knows of what is before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) offset: u64,
    /// Hash of the header of the group before, when known.
    pub(crate) previous: Option<u64>,
    /// Number of the last frame before.
    pub(crate) last_sequence: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// Groups that stand.
    pub(crate) groups: u64,
    /// Where they end.
    pub(crate) end: u64,
    /// Hash of the last group's header.
    pub(crate) previous: Option<u64>,
    pub(crate) last_sequence: u64,
    /// Frames up to this number are known to have been on disk before the last group.
    pub(crate) durable_upto: u64,
    /// The length the file is known to have had.
    pub(crate) prepared: u64,
    pub(crate) file_len: u64,
    /// Store time of the last group.
    pub(crate) store_ms: u64,
    pub(crate) ttl_max_ms: u64,
    pub(crate) salt: Option<u64>,
    /// Bytes that held groups and do not any more.
    pub(crate) damage: Vec<Range<u64>>,
}

/// Reads the groups of a segment in order, and gives each to `visit` with its place.
///
/// `upto` is where they end, when the segment that follows says so: up to there every byte must
/// stand, and what does not is damage. Without it, bytes that do not stand are a torn tail, *unless*
/// a group behind them says that they were on disk: then they are damage, too (and the scan goes on
/// behind them).
pub(crate) fn scan(
    file: &dyn File,
    of: Of,
    from: From,
    upto: Option<u64>,
    secret: &[u8; 16],
    visit: &mut dyn FnMut(u64, &Header, &[u8]),
) -> io::Result<Scan> {
    let mut reader = Reader::new(file)?;
    let mut of = of;
    let mut scan = Scan {
        end: from.offset,
        previous: from.previous,
        last_sequence: from.last_sequence,
        file_len: reader.len,
        ..Scan::default()
    };
    let limit = upto.unwrap_or(reader.len);
    loop {
        if scan.end >= limit {
            break;
        }
        let at = scan.end;
        if let Some((header, bytes)) = reader.group(at, of)? {
            if scan.previous.is_some_and(|previous| previous != header.previous) {
                // Sound in itself and not what followed here: something is missing between.
                scan.damage.push(at..at);
            }
            visit(at, &header, bytes);
            of.salt = Some(header.salt);
            scan.groups += 1;
            scan.end = at + header.length;
            scan.previous = Some(group::hash(bytes, secret));
            scan.last_sequence = scan.last_sequence.max(header.last_sequence);
            scan.durable_upto = scan.durable_upto.max(header.durable_upto);
            scan.prepared = scan.prepared.max(header.prepared);
            scan.store_ms = scan.store_ms.max(header.store_ms);
            scan.ttl_max_ms = scan.ttl_max_ms.max(header.ttl_max_ms);
            continue;
        }
        let resume = match upto {
            Some(upto) => Some(reader.search(at + 8..upto, of)?.unwrap_or(upto)),
            None => behind_damage(&mut reader, at, of, scan.last_sequence)?,
        };
        let Some(resume) = resume else { break };
        scan.damage.push(at..resume);
        scan.previous = None;
        scan.end = resume;
    }
    scan.salt = of.salt;
    Ok(scan)
}

/// Where the groups go on behind bytes at `at` that do not stand, if some later group says that they
/// were on disk; `None` when `at` is a torn tail.
fn behind_damage(
    reader: &mut Reader<'_>,
    at: u64,
    of: Of,
    last_sequence: u64,
) -> io::Result<Option<u64>> {
    let mut first = None;
    let mut offset = at + 8;
    while let Some(found) = reader.search(offset..reader.len, of)? {
        let Some((header, _)) = reader.group(found, of)? else { break };
        first.get_or_insert(found);
        if header.durable_upto > last_sequence {
            return Ok(first);
        }
        offset = found + header.length;
    }
    Ok(None)
}

/// The first group of a segment, if it stands: given to `look`. Reads that group and not much more:
/// an open asks each segment of the store.
pub(crate) fn first_group<R>(
    file: &dyn File,
    of: Of,
    look: impl FnOnce(&Header, &[u8]) -> R,
) -> io::Result<Option<R>> {
    let mut reader = Reader { reach: NEAR, ..Reader::new(file)? };
    Ok(reader.group(segment::HEADER as u64, of)?.map(|(header, bytes)| look(&header, bytes)))
}

/// Whether a whole group of this segment stands anywhere in `file`.
pub(crate) fn has_groups(file: &dyn File, of: Of) -> io::Result<bool> {
    let mut reader = Reader::new(file)?;
    let all = segment::HEADER as u64..reader.len;
    Ok(reader.search(all, of)?.is_some())
}

/// The salt of a segment of which neither the header nor the first group stands: that of a group whose
/// keyed hash the group right behind it carries. In a payload, of this segment or of an earlier one in
/// the same file, there may be octets that pass for groups of any salt, but for that hash.
pub(crate) fn proven_salt(
    file: &dyn File,
    segment: u32,
    secret: &[u8; 16],
) -> io::Result<Option<u64>> {
    let mut reader = Reader::new(file)?;
    let of = Of { segment, salt: None };
    let mut offset = segment::HEADER as u64;
    while let Some(found) = reader.search(offset..reader.len, of)? {
        let Some((header, bytes)) = reader.group(found, of)? else { break };
        let hash = group::hash(bytes, secret);
        let behind = Of { segment, salt: Some(header.salt) };
        let next = reader.group(found + header.length, behind)?;
        if next.is_some_and(|(next, _)| next.previous == hash) {
            return Ok(Some(header.salt));
        }
        offset = found + 8;
    }
    Ok(None)
}

/// The number up to which any group of this segment says that frames were on disk, wherever it
/// stands.
pub(crate) fn vouched(file: &dyn File, of: Of) -> io::Result<u64> {
    let mut reader = Reader::new(file)?;
    let (mut vouched, mut offset) = (0, segment::HEADER as u64);
    while let Some(found) = reader.search(offset..reader.len, of)? {
        let Some((header, _)) = reader.group(found, of)? else { break };
        vouched = vouched.max(header.durable_upto);
        offset = found + header.length;
    }
    Ok(vouched)
}

/// The header at the start of a segment file.
pub(crate) fn read_header(file: &dyn File) -> io::Result<Result<segment::Header, String>> {
    let mut bytes = vec![0_u8; (segment::HEADER as u64).min(file.len()?) as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(segment::Header::decode(&bytes).map_err(|bad| bad.0.to_owned()))
}

/// Gives each frame of a group that stands at `offset` to `visit`, with its place and payload.
///
/// # Errors
/// The group's checksum holds and a frame in it does not: written wrongly, or to the wrong place.
pub(crate) fn frames(
    bytes: &[u8],
    offset: u64,
    header: &Header,
    visit: &mut dyn FnMut(u64, &Frame<'_>, &[u8]),
) -> Result<(), String> {
    let mut at = HEADER;
    let mut count = 0;
    while at < bytes.len() {
        let place = offset + at as u64;
        let rest = bytes.get(at..).unwrap_or_default();
        let said = |what: &str| format!("{what}, in {} at {place}", file_name(header.segment));
        let frame = frame::decode(rest, seed(header.salt, place)).map_err(|bad| said(bad.0))?;
        let head_len = frame.header.head_len() as usize;
        let payload = rest
            .get(head_len..head_len + frame.header.payload_len as usize)
            .ok_or_else(|| said("a payload is cut off"))?;
        if frame::payload_crc(payload) != frame.header.payload_crc {
            return Err(said("a payload's checksum does not hold"));
        }
        visit(place, &frame, payload);
        count += 1;
        at += frame.header.frame_len() as usize;
    }
    if count != header.count {
        return Err(format!("a group has {count} frames and says {}", header.count));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::format::frame::Kind;
    use crate::storage::Map;

    const SECRET: [u8; 16] = [7; 16];
    const SALT: u64 = 0x0123_4567_89ab_cdef;
    const OF: Of = Of { segment: 3, salt: Some(SALT) };
    const START: From =
        From { offset: segment::HEADER as u64, previous: Some(0), last_sequence: 0 };

    /// A file that is only read, never past its end, and counts what was read of it.
    #[derive(Debug, Default)]
    struct Octets {
        bytes: Vec<u8>,
        read: std::sync::atomic::AtomicU64,
    }

    impl File for Octets {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
            let from = offset as usize;
            out.copy_from_slice(self.bytes.get(from..from + out.len()).expect("read past the end"));
            self.read.fetch_add(out.len() as u64, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("reading a log back writes nothing")
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!("reading a log back syncs nothing")
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("reading a log back cuts nothing off")
        }

        fn preallocate(&self, _: u64) -> io::Result<()> {
            unreachable!("reading a log back takes no room")
        }

        fn map(&self, _: u64) -> io::Result<Arc<dyn Map>> {
            unreachable!("recovery trusts no map")
        }
    }

    /// A segment as it is written, group by group.
    struct Written {
        bytes: Vec<u8>,
        groups: Vec<Range<u64>>,
        previous: u64,
        last_sequence: u64,
    }

    impl Written {
        fn new() -> Self {
            let header = segment::Header {
                store_id: [5; 16],
                salt: SALT,
                id: OF.segment,
                prepared: 4096,
                epoch: 1,
                sealed: false,
            };
            let bytes = header.encode().to_vec();
            Self { bytes, groups: Vec::new(), previous: 0, last_sequence: 0 }
        }

        /// Appends a group of so many octets of frames. What is not changed vouches for nothing.
        fn group(mut self, octets: usize, change: impl FnOnce(&mut Header)) -> Self {
            let start = self.bytes.len() as u64;
            self.last_sequence += 1;
            let mut header = Header {
                salt: SALT,
                segment: OF.segment,
                count: 1,
                epoch: 1,
                last_sequence: self.last_sequence,
                durable_upto: 0,
                previous: self.previous,
                length: (HEADER + octets) as u64,
                store_ms: 1_000,
                prepared: 4_096,
                ttl_max_ms: 50,
            };
            change(&mut header);
            let mut bytes = vec![0xaa; HEADER + octets];
            self.previous = header.seal(&mut bytes, start, &SECRET);
            self.bytes.extend(bytes);
            self.groups.push(start..self.bytes.len() as u64);
            self
        }

        fn plain(self) -> Self {
            self.group(16, |_| ())
        }

        /// Turns a bit over in the last octet of a group.
        fn damage(mut self, nth: usize) -> Self {
            let last = self.groups[nth].end as usize - 1;
            self.bytes[last] ^= 1;
            self
        }

        fn file(&self) -> Octets {
            Octets { bytes: self.bytes.clone(), ..Octets::default() }
        }

        /// What a scan from `from` finds, and where the groups it visits begin.
        fn scan_as(&self, of: Of, from: From, upto: Option<u64>) -> (Scan, Vec<u64>) {
            let mut visited = Vec::new();
            let scan = scan(&self.file(), of, from, upto, &SECRET, &mut |at, header, bytes| {
                assert_eq!(bytes.len() as u64, header.length);
                assert_eq!(bytes, &self.bytes[at as usize..at as usize + bytes.len()]);
                visited.push(at);
            });
            (scan.unwrap(), visited)
        }

        fn scan(&self, upto: Option<u64>) -> (Scan, Vec<u64>) {
            self.scan_as(OF, START, upto)
        }

        fn starts(&self, which: &[usize]) -> Vec<u64> {
            which.iter().map(|nth| self.groups[*nth].start).collect()
        }
    }

    #[test]
    fn groups_that_stand_are_given_in_order_and_the_most_that_any_says_is_kept() {
        let mut log = Written::new()
            .group(16, |header| (header.store_ms, header.prepared) = (1_001, 8_192))
            .group(24, |header| (header.durable_upto, header.ttl_max_ms) = (1, 70))
            .plain();
        let end = log.bytes.len() as u64;
        log.bytes.extend([0; 100]);
        let (found, visited) = log.scan(None);
        assert_eq!(visited, log.starts(&[0, 1, 2]));
        assert_eq!((found.groups, found.end, found.file_len), (3, end, end + 100));
        assert_eq!((found.previous, found.last_sequence), (Some(log.previous), 3));
        assert_eq!((found.durable_upto, found.prepared), (1, 8_192));
        assert_eq!((found.store_ms, found.ttl_max_ms), (1_001, 70));
        assert_eq!((found.salt, found.damage), (Some(SALT), vec![]));
    }

    #[test]
    fn a_scan_goes_on_from_where_it_is_told() {
        let log = Written::new().plain().plain();
        let from = From { offset: log.groups[1].start, previous: None, last_sequence: 9 };
        let (found, visited) = log.scan_as(OF, from, None);
        assert_eq!(visited, log.starts(&[1]));
        assert_eq!((found.last_sequence, found.damage), (9, vec![]), "an older number is no news");
        let (nothing, visited) =
            log.scan_as(OF, From { offset: log.bytes.len() as u64, ..from }, None);
        assert_eq!((nothing.groups, nothing.previous, visited), (0, None, vec![]));
    }

    #[test]
    fn the_first_group_of_a_scan_must_follow_what_was_before() {
        let log = Written::new().plain();
        let from = From { previous: Some(1), ..START };
        let (found, visited) = log.scan_as(OF, from, None);
        assert_eq!((visited, found.damage.len()), (log.starts(&[0]), 1));
        let (nothing, _) = Written::new().scan_as(OF, from, None);
        assert_eq!((nothing.groups, nothing.previous), (0, Some(1)), "what was before is the last");
    }

    #[test]
    fn bytes_that_do_not_stand_are_a_torn_tail_until_a_later_group_vouches_for_them() {
        for (vouched, damaged) in [(0, false), (1, false), (2, true), (3, true)] {
            let log = Written::new().plain().plain().plain();
            let log = log.group(16, |header| header.durable_upto = vouched).damage(1);
            let (found, visited) = log.scan(None);
            let hole = log.groups[1].clone();
            if damaged {
                assert_eq!(visited, log.starts(&[0, 2, 3]), "{vouched}");
                assert_eq!((found.damage, found.end), (vec![hole], log.groups[3].end));
                assert_eq!(found.last_sequence, 4);
            } else {
                assert_eq!(visited, log.starts(&[0]), "{vouched}");
                assert_eq!((found.damage, found.end), (vec![], hole.start));
                assert_eq!(found.last_sequence, 1);
            }
        }
    }

    #[test]
    fn up_to_where_the_next_segment_says_every_byte_must_stand() {
        let log = Written::new().plain().plain().plain();
        let (found, visited) = log.scan(Some(log.groups[1].end));
        assert_eq!((visited, found.end), (log.starts(&[0, 1]), log.groups[1].end));

        let log = log.damage(1);
        let (found, visited) = log.scan(Some(log.groups[2].end));
        assert_eq!((visited, found.damage), (log.starts(&[0, 2]), vec![log.groups[1].clone()]));

        let log = log.damage(2);
        let both = log.groups[1].start..log.groups[2].end;
        let (found, visited) = log.scan(Some(both.end));
        assert_eq!((visited, found.end), (log.starts(&[0]), both.end));
        assert_eq!(found.damage, [both]);
    }

    #[test]
    fn what_was_cut_off_a_file_before_its_end_is_damage() {
        let mut log = Written::new().plain().plain();
        let end = log.groups[1].end;
        for cut in [1, 8, 9, 103, 104] {
            log.bytes.truncate((end - cut) as usize);
            let (found, visited) = log.scan(Some(end));
            assert_eq!((visited, found.end), (log.starts(&[0]), end), "{cut} octets");
            assert_eq!((found.damage, found.file_len), (vec![log.groups[1].clone()], end - cut));
            let (found, _) = log.scan(None);
            assert_eq!((found.damage, found.end), (vec![], log.groups[0].end));
        }
    }

    #[test]
    fn a_group_that_did_not_follow_here_tells_of_one_missing() {
        let log = Written::new().plain().group(16, |header| header.previous ^= 1).plain();
        let (found, visited) = log.scan(None);
        assert_eq!(visited, log.starts(&[0, 1, 2]));
        let nowhere = log.groups[1].start..log.groups[1].start;
        assert_eq!(found.damage, vec![nowhere]);
    }

    #[test]
    fn groups_of_another_segment_or_another_life_of_the_file_are_none() {
        let another: [fn(&mut Header); 3] = [
            |header| header.salt ^= 1,
            |header| header.segment = 4,
            |header| (header.salt, header.segment) = (1, 4),
        ];
        for change in another {
            let log = Written::new().plain().group(16, change).plain();
            for salt in [OF.salt, None] {
                let (found, visited) = log.scan_as(Of { salt, ..OF }, START, None);
                assert_eq!((visited, found.damage), (log.starts(&[0]), vec![]));
                assert_eq!(found.salt, OF.salt, "the first group's, when nobody knew it");
            }
            assert!(!has_groups(&Written::new().group(16, change).file(), OF).unwrap());
        }
    }

    /// The search reads a window at a time, and a group may begin or end anywhere in it.
    #[test]
    fn groups_behind_megabytes_of_damage_are_found_wherever_they_begin() {
        for megabytes in [1, 2] {
            for by in [0, 80, 88, 96, 104, 112, 176] {
                // The search begins 8 octets behind the damage's beginning; 96 ends a window there.
                let octets = megabytes * WINDOW as usize + by - 88 - HEADER;
                let log = Written::new().plain().group(octets, |_| ()).damage(1);
                let log = log.group(16, |header| header.durable_upto = 2);
                let (found, visited) = log.scan(None);
                assert_eq!(visited, log.starts(&[0, 2]), "{megabytes} MiB and {by}");
                assert_eq!(found.damage, [log.groups[1].clone()]);
            }
        }
    }

    /// Who vouches may stand far behind the first group that goes on.
    #[test]
    fn the_scan_goes_back_to_the_first_group_behind_the_damage() {
        let log = Written::new().plain().plain().plain().group(3 << 20, |_| ());
        let log = log.group(16, |header| header.durable_upto = 2).damage(1);
        let (found, visited) = log.scan(None);
        assert_eq!(visited, log.starts(&[0, 2, 3, 4]));
        assert_eq!((found.damage, found.end), (vec![log.groups[1].clone()], log.groups[4].end));
    }

    #[test]
    fn a_search_reads_each_byte_about_once_however_much_looks_like_a_group() {
        let mut log = Written::new().plain();
        let mut head = log.bytes[segment::HEADER..segment::HEADER + HEADER].to_vec();
        // As long as a few of them, and none stands.
        head[56..64].copy_from_slice(&1_024_u64.to_le_bytes());
        log.bytes.truncate(segment::HEADER);
        log.bytes.extend(head.repeat(30_000));
        let file = log.file();
        assert!(!has_groups(&file, OF).unwrap());
        let len = log.bytes.len() as u64;
        assert!(len > 2 * WINDOW);
        let read = file.read.load(std::sync::atomic::Ordering::Relaxed);
        assert!(read <= len + WINDOW, "{read} octets of {len}, looked through once");
    }

    #[test]
    fn a_group_may_begin_where_its_magic_stands_and_nowhere_among_zeros() {
        let magic = &Written::new().plain().bytes[segment::HEADER..segment::HEADER + 8];
        assert_eq!(candidate(&[]), None);
        for len in [8, BLOCK, BLOCK + 8, 3 * BLOCK + 16] {
            assert_eq!(candidate(&vec![0; len]), None);
            for at in (0..len).step_by(8) {
                let mut bytes = vec![0; len];
                bytes[at..at + 8].copy_from_slice(magic);
                assert_eq!(candidate(&bytes), Some(at), "of {len}");
                bytes[..at].fill(1);
                bytes[at + 8..].fill(magic[0]);
                assert_eq!(candidate(&bytes), Some(at), "of {len}");
            }
        }
    }

    #[test]
    fn the_most_that_any_group_vouches_for_counts_wherever_it_stands() {
        let log = Written::new()
            .group(16, |header| header.durable_upto = 5)
            .plain()
            .group(16, |header| header.durable_upto = 7)
            .group(16, |header| header.durable_upto = 9)
            .group(16, |header| header.durable_upto = 8)
            .damage(0)
            .damage(1);
        assert_eq!(vouched(&log.file(), OF).unwrap(), 9);
        assert_eq!(vouched(&log.file(), Of { salt: Some(1), ..OF }).unwrap(), 0);
        assert_eq!(vouched(&log.damage(3).file(), OF).unwrap(), 8);
    }

    #[test]
    fn the_first_group_is_the_one_behind_the_segments_header() {
        let log = Written::new().plain().plain();
        let look = |log: &Written| {
            first_group(&log.file(), OF, |header, bytes| (header.last_sequence, bytes.len()))
                .unwrap()
        };
        assert_eq!(look(&log), Some((1, HEADER + 16)));
        assert!(has_groups(&log.file(), OF).unwrap());
        let log = log.damage(0);
        assert_eq!(look(&log), None);
        assert!(has_groups(&log.file(), OF).unwrap(), "the second stands");
        assert!(!has_groups(&log.damage(1).file(), OF).unwrap());
        assert!(!has_groups(&Octets::default(), OF).unwrap());
    }

    /// An open asks each segment for it, and a store of 50 million records has 250.
    #[test]
    fn the_first_group_is_read_and_little_behind_it() {
        for octets in [16, 3 * NEAR as usize] {
            let mut log = Written::new().group(octets, |_| ());
            log.bytes.resize(log.bytes.len() + 2 * WINDOW as usize, 0);
            let file = log.file();
            let found = first_group(&file, OF, |_, bytes| bytes.len()).unwrap();
            assert_eq!(found, Some(HEADER + octets));
            let read = file.read.load(std::sync::atomic::Ordering::Relaxed);
            assert!(read <= NEAR + (HEADER + octets) as u64, "{read} octets for {octets}");
        }
    }

    #[test]
    fn p0_3_a_salt_is_proven_by_two_groups_of_which_one_has_the_others_keyed_hash() {
        let proven = |log: &Written| proven_salt(&log.file(), OF.segment, &SECRET).unwrap();
        let log = Written::new().plain().plain().plain().damage(0);
        assert_eq!(proven(&log), Some(SALT));
        assert_eq!(proven(&log.damage(1)), None, "one is none");
        // Whoever writes groups of his own knows no secret.
        let forged = |salt| {
            let change = move |header: &mut Header| {
                header.salt = salt;
                header.previous = 7;
            };
            Written::new().group(16, change).group(16, change)
        };
        assert_eq!(proven(&forged(5)), None);
        let mut both = forged(5);
        both.previous = 0;
        assert_eq!(proven(&both.plain().plain()), Some(SALT), "behind forged ones, too");
        let other = proven_salt(&Written::new().plain().plain().file(), OF.segment + 1, &SECRET);
        assert_eq!(other.unwrap(), None);
    }

    #[test]
    fn a_segments_header_is_read_or_told_to_be_cut_off() {
        let log = Written::new().plain();
        let header = read_header(&log.file()).unwrap().unwrap();
        assert_eq!((header.id, header.salt), (OF.segment, SALT));
        for len in 0..segment::HEADER {
            let bytes = log.bytes[..len].to_vec();
            let cut = Octets { bytes, ..Octets::default() };
            assert!(read_header(&cut).unwrap().is_err(), "{len} octets");
        }
    }

    fn keyed(payload: &[u8]) -> frame::Header {
        frame::Header {
            kind: Kind::Complete,
            flags: 0,
            scope_len: 1,
            key_len: 2,
            payload_len: payload.len() as u32,
            payload_crc: frame::payload_crc(payload),
            sequence: 1,
            claim_sequence: 1,
            claimed_at_ms: 2,
            term_ms: 3,
            fingerprint: Fingerprint::of("x"),
        }
    }

    /// A group of two frames that stands at `at`, as `change` has them.
    fn two(at: u64, change: impl Fn(usize, &mut frame::Header)) -> (Header, Vec<u8>) {
        let mut bytes = vec![0; HEADER];
        for (nth, payload) in [&b"one"[..], b"the second"].into_iter().enumerate() {
            let mut header = keyed(payload);
            change(nth, &mut header);
            let start = bytes.len();
            header.encode(b"s", b"k1", seed(SALT, at + start as u64), &mut bytes);
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let header = Header {
            salt: SALT,
            segment: 3,
            count: 2,
            epoch: 1,
            last_sequence: 1,
            durable_upto: 0,
            previous: 0,
            length: bytes.len() as u64,
            store_ms: 0,
            prepared: 0,
            ttl_max_ms: 0,
        };
        header.seal(&mut bytes, at, &SECRET);
        (header, bytes)
    }

    #[test]
    fn each_frame_of_a_group_is_given_with_its_place_and_payload() {
        let (header, bytes) = two(4096, |_, _| ());
        let mut seen = Vec::new();
        frames(&bytes, 4096, &header, &mut |place, frame, payload| {
            assert_eq!((frame.scope, frame.key), (&b"s"[..], &b"k1"[..]));
            seen.push((place, payload.to_vec()));
        })
        .unwrap();
        let first = 4096 + HEADER as u64;
        assert_eq!(seen, [(first, b"one".to_vec()), (first + 88, b"the second".to_vec())]);
    }

    #[test]
    fn a_group_that_stands_with_a_frame_that_does_not_was_written_wrongly() {
        let refused = |bytes: &[u8], header: &Header, at: u64, seen: usize| {
            let given = Cell::new(0);
            let read = frames(bytes, at, header, &mut |_, _, _| given.set(given.get() + 1));
            assert_eq!(given.get(), seen, "frames that stand");
            read.unwrap_err()
        };
        let (header, bytes) = two(64, |_, _| ());
        assert!(refused(&bytes, &header, 72, 0).contains("checksum"), "another place");
        let fewer = refused(&bytes, &Header { count: 3, ..header }, 64, 2);
        assert!(fewer.contains("2 frames and says 3"), "{fewer}");
        assert!(refused(&bytes, &Header { count: 1, ..header }, 64, 2).contains("says 1"));

        let (header, bytes) = two(64, |nth, frame| frame.payload_crc ^= nth as u32);
        let second = format!(" at {}", 64 + HEADER + 88);
        let said = refused(&bytes, &header, 64, 1);
        assert!(said.contains("a payload's checksum") && said.ends_with(&second), "{said}");

        let (header, bytes) = two(64, |nth, frame| frame.payload_len += 100 * nth as u32);
        assert!(refused(&bytes, &header, 64, 1).contains("cut off"));
    }
}
