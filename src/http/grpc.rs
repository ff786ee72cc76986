//! gRPC responses: which they are, and where the first message of one ends (C26).
//!
//! Nothing in the head of a gRPC response tells an answer of one message from a stream of them. What
//! comes does: a second message makes it a stream.

use http::HeaderMap;

use super::fields;

/// The octets before each message: a flag, and the message's length.
const HEAD_OCTETS: u8 = 5;
/// The flag of what gRPC-Web sends in the place of trailers.
const IS_TRAILERS: u8 = 0x80;

/// Whether a response is one of gRPC, in any of its forms.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    form(headers).is_some()
}

/// What follows `application/grpc` in the media type.
fn form(headers: &HeaderMap) -> Option<Vec<u8>> {
    let essence = fields::media_type(headers)?;
    let form = essence.strip_prefix(b"application/grpc")?;
    matches!(form.first(), None | Some(b'+' | b'-')).then(|| form.to_vec())
}

/// Reads along with a response to tell one message from a second.
pub(crate) struct Messages {
    /// Whether the octets are messages, and not some text that stands for them.
    are_framed: bool,
    /// Whether a message was begun before.
    has_one: bool,
    head_octets: u8,
    is_trailers: bool,
    length: u32,
    /// Octets of the message at hand that are still to come.
    octets_left: usize,
}

impl Messages {
    /// Reads along with a response that has these headers. What is not gRPC, or is gRPC-Web in
    /// base64, has no second message.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let are_framed = form(headers).is_some_and(|form| !form.starts_with(b"-web-text"));
        Self {
            are_framed,
            has_one: false,
            head_octets: 0,
            is_trailers: false,
            length: 0,
            octets_left: 0,
        }
    }

    /// Whether a second message begins in `data`, which follows all that was given before.
    pub(crate) fn second_begins_in(&mut self, mut data: &[u8]) -> bool {
        while self.are_framed {
            let (_, after) = data.split_at(self.octets_left.min(data.len()));
            self.octets_left -= data.len() - after.len();
            let Some((&octet, rest)) = after.split_first() else { return false };
            data = rest;
            if self.head_octets == 0 {
                self.is_trailers = octet & IS_TRAILERS != 0;
                if self.has_one && !self.is_trailers {
                    return true;
                }
                self.length = 0;
            } else {
                self.length = self.length << 8 | u32::from(octet);
            }
            self.head_octets += 1;
            if self.head_octets == HEAD_OCTETS {
                self.head_octets = 0;
                self.has_one |= !self.is_trailers;
                self.octets_left = self.length as usize;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of_type(media_type: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(media_type));
        headers
    }

    #[test]
    fn c26_grpc_is_known_by_its_media_type() {
        for (media_type, expected) in [
            ("application/grpc", true),
            ("Application/gRPC; a=b", true),
            ("application/grpc+proto", true),
            ("application/grpc-web+proto", true),
            ("application/grpc-web-text", true),
            ("application/grpcs", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&of_type(media_type)), expected, "{media_type}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    /// However the octets are cut, the second message is seen where it begins, and not before.
    #[test]
    fn c26_a_second_message_is_seen_where_it_begins() {
        let one = b"\0\0\0\0\x03abc".as_slice();
        let empty = b"\0\0\0\0\0".as_slice();
        let trailers = b"\x80\0\0\0\x02a:".as_slice();
        for (parts, second_at) in [
            (vec![one], None),
            (vec![empty], None),
            (vec![one, trailers], None),
            (vec![trailers], None),
            (vec![one, one], Some(8)),
            (vec![empty, one], Some(5)),
            (vec![one, empty], Some(8)),
        ] {
            let octets = parts.concat();
            for piece in 1..=octets.len() {
                let mut messages = Messages::of(&of_type("application/grpc"));
                let seen = octets.chunks(piece).position(|data| messages.second_begins_in(data));
                assert_eq!(seen, second_at.map(|at| at / piece), "{octets:?} by {piece}");
            }
        }
        for media_type in ["application/grpc-web-text+proto", "application/json"] {
            let mut messages = Messages::of(&of_type(media_type));
            assert!(!messages.second_begins_in(&[one, one].concat()), "{media_type}");
        }
    }
}
