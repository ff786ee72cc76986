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

/// A file read in order through one window, with pread: recovery trusts no map.
struct Reader<'a> {
    file: &'a dyn File,
    len: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> Reader<'a> {
    fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, window: Vec::new(), start: 0 })
    }

    /// The `len` bytes at `offset`; `None` when the file ends before.
    fn get(&mut self, offset: u64, len: u64) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        let held = self.start..self.start + self.window.len() as u64;
        if offset < held.start || end > held.end {
            let size = len.max(WINDOW).min(self.len - offset);
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

/// The first group of a segment, if it stands: given to `look`.
pub(crate) fn first_group<R>(
    file: &dyn File,
    of: Of,
    look: impl FnOnce(&Header, &[u8]) -> R,
) -> io::Result<Option<R>> {
    let mut reader = Reader::new(file)?;
    Ok(reader.group(segment::HEADER as u64, of)?.map(|(header, bytes)| look(&header, bytes)))
}

/// Whether a whole group of this segment stands anywhere in `file`.
pub(crate) fn has_groups(file: &dyn File, of: Of) -> io::Result<bool> {
    let mut reader = Reader::new(file)?;
    let all = segment::HEADER as u64..reader.len;
    Ok(reader.search(all, of)?.is_some())
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
