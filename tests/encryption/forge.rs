//! Somebody who can write to a store's directory and knows its format: moves bytes about, and makes
//! every checksum and the chain of groups fit again (`docs/format.md`).

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher;
use std::path::Path;

use onceward::storage::SimDisk;
use siphasher::sip::SipHasher13;

const SEGMENT_HEADER: usize = 64;
const GROUP_HEADER: usize = 88;
const FRAME_HEADER: usize = 80;
const COMPLETE: u8 = 2;

/// A frame with a result.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) segment: u32,
    pub(crate) key: Vec<u8>,
    at: usize,
    payload: std::ops::Range<usize>,
}

/// The segments of a store that was closed.
#[derive(Clone)]
pub(crate) struct Log {
    secret: [u8; 16],
    segments: BTreeMap<String, Vec<u8>>,
}

impl Log {
    pub(crate) fn read(disk: &SimDisk) -> Self {
        let logs = disk.files().into_iter().filter(|path| path.strip_suffix(".log").is_some());
        let segments = logs.map(|path| (path.clone(), disk.read_file(&path).unwrap())).collect();
        Self::of(&disk.read_file("STORE").unwrap(), segments)
    }

    pub(crate) fn read_from(directory: &Path) -> Self {
        let names = fs::read_dir(directory.join("segments")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let logs = names
            .filter(|name| name.strip_suffix(".log").is_some())
            .map(|name| format!("segments/{name}"));
        let segments = logs.map(|path| (path.clone(), fs::read(directory.join(path)).unwrap()));
        Self::of(&fs::read(directory.join("STORE")).unwrap(), segments.collect())
    }

    fn of(store: &[u8], segments: BTreeMap<String, Vec<u8>>) -> Self {
        Self { secret: store[32..48].try_into().unwrap(), segments }
    }

    pub(crate) fn write(mut self, disk: &SimDisk) {
        self.sum();
        for (path, bytes) in &self.segments {
            disk.write_file(path, bytes).unwrap();
        }
    }

    pub(crate) fn write_to(mut self, directory: &Path) {
        self.sum();
        for (path, bytes) in &self.segments {
            fs::write(directory.join(path), bytes).unwrap();
        }
    }

    pub(crate) fn completes(&self) -> Vec<Frame> {
        let mut found = Vec::new();
        for (path, bytes) in &self.segments {
            for at in groups(bytes).into_iter().flat_map(|at| frames(bytes, at)) {
                if bytes[at + 4] == COMPLETE {
                    let (key, payload) = parts(bytes, at);
                    let segment = path["segments/".len()..][..10].parse().unwrap();
                    found.push(Frame { segment, key: bytes[key].to_vec(), at, payload });
                }
            }
        }
        found
    }

    fn bytes(&mut self, segment: u32) -> &mut Vec<u8> {
        self.segments.get_mut(&format!("segments/{segment:010}.log")).unwrap()
    }

    pub(crate) fn swap_payloads(&mut self, left: &Frame, right: &Frame) {
        let one = self.bytes(left.segment)[left.payload.clone()].to_vec();
        let other = self.bytes(right.segment)[right.payload.clone()].to_vec();
        self.bytes(left.segment)[left.payload.clone()].copy_from_slice(&other);
        self.bytes(right.segment)[right.payload.clone()].copy_from_slice(&one);
    }

    /// Makes `value` the octet at `at` in the frame.
    pub(crate) fn set(&mut self, frame: &Frame, at: usize, value: u8) {
        self.bytes(frame.segment)[frame.at + at] = value;
    }

    /// Makes every checksum fit, and the chain.
    fn sum(&mut self) {
        let mut previous = None;
        for bytes in self.segments.values_mut() {
            let salt = u64_at(bytes, 32);
            for group in groups(bytes) {
                for at in frames(bytes, group) {
                    let (key, payload) = parts(bytes, at);
                    let sum = crc(0, &bytes[payload]);
                    bytes[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
                    let seed = (salt ^ (salt >> 32)) as u32 ^ (at >> 3) as u32;
                    let sum = crc(seed, &bytes[at + 4..key.end]);
                    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
                }
                if let Some(previous) = previous {
                    bytes[group + 48..group + 56].copy_from_slice(&u64::to_le_bytes(previous));
                }
                let end = group + u64_at(bytes, group + 56) as usize;
                let sum = crc((group >> 3) as u32, &bytes[group + 8..end]);
                bytes[group + 4..group + 8].copy_from_slice(&sum.to_le_bytes());
                let mut hasher = SipHasher13::new_with_key(&self.secret);
                hasher.write(&bytes[group..group + GROUP_HEADER]);
                previous = Some(hasher.finish());
            }
        }
    }
}

/// Makes the checksum of a key's file fit.
pub(crate) fn sum_key(bytes: &mut [u8]) {
    let sum = crc(0, &bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
}

fn groups(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER;
    while bytes[at..].starts_with(b"OWG1") {
        found.push(at);
        at += u64_at(bytes, at + 56) as usize;
    }
    found
}

fn frames(bytes: &[u8], group: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let end = group + u64_at(bytes, group + 56) as usize;
    let mut at = group + GROUP_HEADER;
    while at < end {
        found.push(at);
        at = parts(bytes, at).1.end.next_multiple_of(8);
    }
    found
}

/// Where the key and the payload of the frame at `at` stand.
fn parts(bytes: &[u8], at: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let key = at + FRAME_HEADER + usize::from(bytes[at + 6]);
    let payload = key + usize::from(bytes[at + 7]);
    let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    (key..payload, payload..payload + len)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
