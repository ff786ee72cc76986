//! The floor under a lookup: what no store that keeps its records in a mapped log and its keys in a
//! table can be faster than. One probe, the key compared where the frame stands, its head's checksum
//! and its payload's, and every byte read: nothing is decided, nothing is locked, nobody is asked.

use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;

use onceward::storage::{Disk, Map, Storage};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::support::keys::Text;
use crate::support::{PAYLOAD, read_all, sure};

/// The map of a segment.
type Mapped = Arc<dyn Map>;

const SECRET: [u8; 16] = *b"the floor's own!";
/// Octets of a frame before its key, as `docs/format.md` draws it, and where its fields stand.
const HEADER: usize = 80;
const KIND: usize = 4;
const PAYLOAD_CRC: usize = 12;
/// Kind, flags, length of the scope and of the key of a result under a key of 36 octets.
const COMPLETE: [u8; 4] = [2, 0, 0, 36];
const HEAD: usize = HEADER + 36;

/// A table of slots and the files they point into.
pub(crate) struct Floor {
    /// Half a hash; and the segment's place in `maps` and the frame's offset, plus one.
    slots: Vec<(u64, u64)>,
    maps: Vec<Mapped>,
}

impl Floor {
    /// The results of the closed or open store in `directory`, `records` of them or a little more.
    pub(crate) fn new(directory: &Path, records: u64) -> Self {
        let disk = Disk::new(directory);
        let mut names = sure(disk.list("segments"));
        names.retain(|name| name.strip_suffix(".log").is_some());
        let slots = vec![(0, 0); (records as usize * 4 / 3).next_power_of_two()];
        let mut floor = Self { slots, maps: Vec::new() };
        for name in names {
            let file = sure(disk.open_read_only(&format!("segments/{name}")));
            let len = sure(file.len());
            let map = sure(file.map(len));
            let bytes = sure(map.view(0..len)).into_owned();
            floor.index(&bytes);
            floor.maps.push(map);
        }
        floor
    }

    /// Finds the results in a segment by what they look like.
    fn index(&mut self, bytes: &[u8]) {
        let nth = self.maps.len() as u64;
        let mut at = 0;
        while let Some(frame) = bytes.get(at..at + HEAD + PAYLOAD) {
            let (head, payload) = frame.split_at(HEAD);
            if field(head, KIND) == COMPLETE
                && field(head, KIND + 4) == (PAYLOAD as u32).to_le_bytes()
                && field(head, PAYLOAD_CRC) == crc32fast::hash(payload).to_le_bytes()
            {
                let key = head.get(HEADER..).and_then(|key| key.first_chunk()).copied();
                self.insert(hash(&key.unwrap_or([0; 36])), (nth << 32 | at as u64) + 1);
                at += HEAD + PAYLOAD;
                at = at.next_multiple_of(8);
            } else {
                at += 8;
            }
        }
    }

    fn insert(&mut self, hash: u64, place: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots.get_mut(at) {
                Some(slot) if slot.1 == 0 => break *slot = (hash, place),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Looks each of `texts` up, its head compared; with `whole` its payload, too, and every byte
    /// read. Gives how many there were.
    pub(crate) fn look_up(&self, texts: &[Text], whole: bool) -> usize {
        self.look_up_by::<false>(texts, whole)
    }

    /// [`look_up`](Self::look_up), where each look begins when the one before it has read its record:
    /// the processor knows no key sooner, and waits for one look's memory at a time.
    pub(crate) fn look_up_in_turn(&self, texts: &[Text], whole: bool) -> usize {
        self.look_up_by::<true>(texts, whole)
    }

    fn look_up_by<const IN_TURN: bool>(&self, texts: &[Text], whole: bool) -> usize {
        let (mut found, mut sum) = (0, 0_u64);
        let mask = self.slots.len() - 1;
        let zero = if IN_TURN { std::hint::black_box(0) } else { 0 };
        for nth in 0..texts.len() {
            let Some(text) = texts.get(nth + (sum & zero) as usize) else { break };
            let hash = hash(text);
            let mut at = hash as usize & mask;
            while let Some(&(other, place)) = self.slots.get(at).filter(|slot| slot.1 != 0) {
                if other == hash
                    && let Some(read) = self.read(place - 1, text, whole)
                {
                    sum = sum.wrapping_add(read);
                    found += 1;
                    break;
                }
                at = (at + 1) & mask;
            }
        }
        std::hint::black_box(sum);
        found
    }

    fn read(&self, place: u64, text: &Text, whole: bool) -> Option<u64> {
        let map = self.maps.get((place >> 32) as usize)?;
        let start = place & u64::from(u32::MAX);
        let len = if whole { HEAD + PAYLOAD } else { HEAD };
        let view = sure(map.view(start..start + len as u64));
        let (head, payload) = view.split_at_checked(HEAD)?;
        if head.get(HEADER..)? != text {
            return None;
        }
        // The seed of a frame's checksum is the store's; the work is the same with any.
        let mut sum = u64::from(crc32fast::hash(head.get(KIND..)?));
        if whole {
            assert_eq!(crc32fast::hash(payload).to_le_bytes(), field(head, PAYLOAD_CRC));
            sum = sum.wrapping_add(read_all(payload));
        }
        Some(sum)
    }
}

fn hash(text: &Text) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&SECRET);
    hasher.write(text);
    hasher.finish128().as_u128() as u64
}

fn field(head: &[u8], at: usize) -> [u8; 4] {
    head.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
}
