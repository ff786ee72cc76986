//! The note of a tombstone: any octets are a note or none, and a note encodes to its own octets, which
//! stand behind the fingerprint of a streamed request, if there is one.

use bytes::Bytes;
use onceward::NOTE_OCTETS_MAX;
use onceward::http::Tombstone;

/// How a note begins that a fingerprint stands in front of, and what that takes.
const PRINT: u8 = 0x80;
const PRINT_OCTETS: usize = 33;

pub(crate) fn run(data: &[u8]) {
    let note = Bytes::copy_from_slice(data);
    let Some(tombstone) = Tombstone::decode(&note) else { return };
    let again = tombstone.encode();
    assert!(again.len() <= NOTE_OCTETS_MAX, "there is room set aside for no longer note");
    if note.len() <= NOTE_OCTETS_MAX {
        // What a streamed request's fingerprint takes may stand in front.
        let (print, own) = note.split_at(note.len() - again.len());
        assert_eq!(again, own);
        assert!(print.is_empty() || (print.len() == PRINT_OCTETS && print[0] == PRINT));
        assert_eq!(Tombstone::decode(&again), Some(tombstone));
    }
}
