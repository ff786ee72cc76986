//! The note of a tombstone: any octets are a note or none, and a note encodes to its own octets.

use bytes::Bytes;
use onceward::NOTE_OCTETS_MAX;
use onceward::http::Tombstone;

pub(crate) fn run(data: &[u8]) {
    let note = Bytes::copy_from_slice(data);
    let Some(tombstone) = Tombstone::decode(&note) else { return };
    let again = tombstone.encode();
    assert!(again.len() <= NOTE_OCTETS_MAX, "there is room set aside for no longer note");
    if note.len() <= NOTE_OCTETS_MAX {
        assert_eq!(again, note);
        assert_eq!(Tombstone::decode(&again), Some(tombstone));
    }
}
