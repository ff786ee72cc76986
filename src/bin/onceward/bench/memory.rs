//! The floor under a look: one probe of a table in memory, the key compared where the record stands,
//! its checksums, and every byte read. Nothing is decided, nothing is locked, nobody is asked.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::keys::{self, PAYLOAD, Text};

const SECRET: [u8; 16] = *b"the floor's own!";
/// Octets of a record: as many as a frame has before its key, the key, and the result.
const HEAD: usize = 80 + size_of::<Text>();
const RECORD: usize = HEAD + PAYLOAD;

/// How much of a record is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Its head: what state the key is in.
    Head,
    /// All of it.
    Whole,
}

/// A table of slots, and the records they point to.
pub(super) struct Memory {
    /// Half a hash, and the number of a record plus one.
    slots: Vec<(u64, u64)>,
    records: Vec<u8>,
    head_crc: Vec<u32>,
    payload_crc: u32,
}

impl Memory {
    /// The first `records` results.
    pub(super) fn new(records: u64) -> Self {
        let payload = keys::payload();
        let slots = vec![(0, 0); (records as usize * 4 / 3).next_power_of_two()];
        let mut memory = Self {
            slots,
            records: Vec::with_capacity(records as usize * RECORD),
            head_crc: Vec::with_capacity(records as usize),
            payload_crc: crc32fast::hash(&payload),
        };
        for number in 0..records {
            let text = keys::text(number);
            let begin = memory.records.len();
            memory.records.resize(begin + HEAD - text.len(), 1);
            memory.records.extend_from_slice(&text);
            let head = memory.records.get(begin..).unwrap_or_default();
            memory.head_crc.push(crc32fast::hash(head));
            memory.records.extend_from_slice(&payload);
            memory.insert(hash(&text), number + 1);
        }
        memory
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

    /// Looks a key up; whether it is there and sound.
    pub(super) fn look_up(&self, text: &Text, depth: Depth) -> bool {
        let mask = self.slots.len() - 1;
        let hash = hash(text);
        let mut at = hash as usize & mask;
        while let Some(&(other, place)) = self.slots.get(at).filter(|slot| slot.1 != 0) {
            if other == hash
                && let Some(sound) = self.read(place as usize - 1, text, depth)
            {
                return sound;
            }
            at = (at + 1) & mask;
        }
        false
    }

    /// `None` when the record is another key's.
    fn read(&self, nth: usize, text: &Text, depth: Depth) -> Option<bool> {
        let (head, rest) = self.records.get(nth * RECORD..)?.split_at_checked(HEAD)?;
        if !head.ends_with(text) {
            return None;
        }
        let sound = self.head_crc.get(nth) == Some(&crc32fast::hash(head));
        if depth == Depth::Head {
            return Some(sound);
        }
        let payload = rest.get(..PAYLOAD)?;
        std::hint::black_box(keys::read_all(payload));
        Some(sound && crc32fast::hash(payload) == self.payload_crc)
    }
}

fn hash(text: &Text) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&SECRET);
    hasher.write(text);
    hasher.finish128().as_u128() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_not() {
        let mut memory = Memory::new(1_000);
        for depth in [Depth::Head, Depth::Whole] {
            assert!((0..1_000).all(|number| memory.look_up(&keys::text(number), depth)));
            assert!((1_000..2_000).all(|number| !memory.look_up(&keys::text(number), depth)));
        }
        *memory.records.last_mut().unwrap() ^= 1;
        assert!(memory.look_up(&keys::text(999), Depth::Head));
        assert!(!memory.look_up(&keys::text(999), Depth::Whole), "the checksum is compared");
    }
}
