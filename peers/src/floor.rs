//! The floor under lookups: a bare open-addressing table in memory over records in a mapped file,
//! in the order and of the size in which onceward has them, with the same checks and nothing else.
//! No locks, no shards, no expiry, no states, no errors, and a hash of a few multiplications.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, MmapMut};

use crate::job::{Look, Setup};
use crate::work::{Text, Wanted, digest, is_payload, payload_into, sure, text};

/// A record: a head of 80 octets as onceward's frames have, the key, the payload.
const HEAD: usize = 80;
const PRINT: Range<usize> = 48..80;
const KEY: Range<usize> = HEAD..HEAD + 36;
/// What the head's checksum covers.
const CHECKED: Range<usize> = 4..HEAD + 36;

/// Octets that are zeroed with one write, ahead of the records, so that the system keeps the file in
/// large pages; as onceward does.
const PIECE: usize = 2 << 20;

pub(crate) struct Floor {
    /// Slots of hash and place plus one, zero where it is empty. A power of two, at most three quarters
    /// taken, in large pages as onceward's are.
    slots: MmapMut,
    mask: usize,
    map: Mmap,
    length: usize,
}

fn file(setup: &Setup) -> PathBuf {
    setup.directory.join("records")
}

const fn octets(length: usize) -> usize {
    (KEY.end + length).next_multiple_of(8)
}

/// Writes the records of `numbers`, none of which is there.
pub(crate) fn fill(setup: &Setup, numbers: Range<u64>) {
    let mut file = sure(File::create(file(setup)));
    let octets = octets(setup.length);
    let zeros = vec![0; PIECE];
    let all = usize::try_from(numbers.end - numbers.start).unwrap_or_default() * octets;
    for _ in 0..all.div_ceil(PIECE) {
        sure(file.write_all(&zeros));
    }
    sure(file.seek(SeekFrom::Start(0)));
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut record = Vec::with_capacity(octets);
    for number in numbers {
        let text = text(number);
        record.clear();
        record.resize(PRINT.start, 0);
        record.extend_from_slice(&digest(&text));
        record.extend_from_slice(&text);
        payload_into(number, setup.length, &mut record);
        let payload = crc32fast::hash(record.get(KEY.end..).unwrap_or_default());
        put(&mut record, 4, payload);
        put(&mut record, 8, u32::try_from(setup.length).unwrap_or_default());
        let head = crc32fast::hash(record.get(CHECKED).unwrap_or_default());
        put(&mut record, 0, head);
        record.resize(octets, 0);
        sure(out.write_all(&record));
    }
    sure(sure(out.into_inner()).sync_all());
}

fn put(record: &mut [u8], at: usize, value: u32) {
    if let Some(place) = record.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

#[inline]
fn word(record: &[u8], at: usize) -> Option<u32> {
    record.get(at..)?.first_chunk().map(|octets| u32::from_le_bytes(*octets))
}

/// A hash of a key's 36 octets.
#[inline]
fn hash(text: &Text) -> u64 {
    const BY: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_chunks::<8>();
    let mut hash = words.iter().fold(0_u64, |hash, word| {
        (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(BY)
    });
    for octet in rest {
        hash = (hash.rotate_left(9) ^ u64::from(*octet)).wrapping_mul(BY);
    }
    hash ^ hash >> 29
}

/// Octets of a slot.
const SLOT: usize = 16;

#[inline]
fn slot(slots: &[u8], at: usize) -> Option<(u64, u64)> {
    let slot: &[u8; SLOT] = slots.get(at * SLOT..)?.first_chunk()?;
    let (hash, place) = slot.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*hash), u64::from_le_bytes(*place.first_chunk()?)))
}

impl Floor {
    pub(crate) fn open(setup: &Setup) -> Self {
        let file = file(setup);
        let octets = octets(setup.length);
        let map = map(&file);
        let places = whole(&file, octets);
        let count = (places.len() / 3 * 4 + 16).next_power_of_two();
        let (mut slots, mask) = (sure(MmapMut::map_anon(count * SLOT)), count - 1);
        // A kernel that has no large pages gives small ones.
        let _ = slots.advise(Advice::HugePage);
        for (place, text) in places {
            let hash = hash(&text);
            let mut at = hash as usize & mask;
            while slot(&slots, at).is_some_and(|(_, place)| place != 0) {
                at = (at + 1) & mask;
            }
            if let Some((first, second)) = slots
                .get_mut(at * SLOT..(at + 1) * SLOT)
                .and_then(|slot| slot.split_at_mut_checked(8))
            {
                first.copy_from_slice(&hash.to_le_bytes());
                second.copy_from_slice(&(place + 1).to_le_bytes());
            }
        }
        Self { slots, mask, map, length: setup.length }
    }

    /// The record of `text`, if its head is sound.
    #[inline]
    fn find(&self, text: &Text) -> Option<&[u8]> {
        let hash = hash(text);
        let mut at = hash as usize & self.mask;
        loop {
            let (other, place) = slot(&self.slots, at)?;
            if place == 0 {
                return None;
            }
            if other == hash {
                let record = self.map.get(place as usize - 1..)?;
                if record.get(KEY)? == text {
                    let sound = word(record, 0)? == crc32fast::hash(record.get(CHECKED)?);
                    return sound.then_some(record);
                }
            }
            at = (at + 1) & self.mask;
        }
    }

    pub(crate) fn look_up(&self, wanted: &[Wanted], look: Look) -> usize {
        let good = |wanted: &&Wanted| match (look, self.find(&wanted.text)) {
            (Look::Miss, found) => found.is_none(),
            (_, None) => false,
            (Look::Head, Some(record)) => record.get(PRINT) == wanted.text.get(..32),
            (Look::Payload, Some(record)) => {
                let payload = record.get(KEY.end..KEY.end + self.length).unwrap_or_default();
                word(record, 4) == Some(crc32fast::hash(payload))
                    && is_payload(payload, wanted.number, self.length)
            }
        };
        wanted.iter().filter(good).count()
    }
}

/// Every record's place and key, read from the file.
fn whole(file: &Path, octets: usize) -> Vec<(u64, Text)> {
    let mut input = BufReader::with_capacity(1 << 20, sure(File::open(file)));
    let mut record = vec![0; octets];
    let (mut places, mut place) = (Vec::new(), 0);
    while input.read_exact(&mut record).is_ok() {
        let Some(text) = record.get(KEY).and_then(|text| text.try_into().ok()) else { break };
        // Zeros that were written ahead and not needed.
        if text == [0; 36] {
            break;
        }
        places.push((place, text));
        place += octets as u64;
    }
    places
}

#[expect(unsafe_code, reason = "whoever maps a file promises that nobody else changes it")]
fn map(file: &Path) -> Mmap {
    let file = sure(File::open(file));
    // Safety: the file belongs to this run, was written before by a process that has ended, and
    // nobody writes to it or cuts it while it is mapped.
    let map = sure(unsafe { Mmap::map(&file) });
    sure(map.advise(Advice::Random));
    map
}
