//! The stored response: any octets decode to a response that encodes to one that is equal, or are
//! refused; an encoded one that is cut off or longer is refused. A fingerprint may stand in front,
//! which is no part of it.

use bytes::Bytes;
use onceward::http::StoredResponse;

pub(crate) fn run(data: &[u8]) {
    let Ok(response) = StoredResponse::decode(Bytes::copy_from_slice(data)) else { return };
    let again = response.encode();
    // No response begins with what a fingerprint of 32 octets does.
    let in_front = if data.first() == Some(&0x80) { 33 } else { 0 };
    assert_eq!(in_front + again.len(), data.len(), "the lengths account for every octet");
    assert_eq!(StoredResponse::decode(again.clone()).as_ref(), Ok(&response));
    for cut in [0, again.len() / 2, again.len() - 1] {
        assert!(StoredResponse::decode(again.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer: Bytes = again.iter().copied().chain([0]).collect();
    assert!(StoredResponse::decode(longer).is_err());
}
