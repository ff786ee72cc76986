//! A response as the store keeps it.
//!
//! `docs/format.md` draws the layout: headers raw and in order, repeated ones repeated.
//!
//! The lengths account for every octet. Anything else is damage, which is an answer of its own and
//! never a miss. Decoding copies nothing: the parts hold the payload they came from.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::streamed_print;

/// The version without flags, which is written wherever it says enough: an older program reads it.
const VERSION_PLAIN: u8 = 1;
/// The version whose second octet holds flags.
const VERSION_FLAGS: u8 = 2;
const FLAG_BODY_OMITTED: u8 = 1;
const HEAD_OCTETS: usize = 16;

/// A response that was stored, or is about to be: final status, headers, whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers that are kept (see `docs/http.md`), without `Content-Length`.
    pub headers: HeaderMap,
    /// The body's octets.
    pub body: Bytes,
    /// Trailers; empty for none.
    pub trailers: HeaderMap,
    /// Whether there was a body, longer than is kept, and it was left out (C24): whatever `body` is
    /// then, it is not stored.
    pub body_omitted: bool,
}

/// The octets are not a stored response of a version this code knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError;

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a stored response of a known version")
    }
}

impl std::error::Error for DecodeError {}

impl StoredResponse {
    /// A whole response of these parts, without trailers.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body, trailers: HeaderMap::new(), body_omitted: false }
    }

    /// Whether [`encode`](Self::encode) can count its header lines: a map holds at most 2^15 names,
    /// and any number of lines.
    pub(crate) fn is_countable(&self) -> bool {
        let countable = |fields: &HeaderMap| u16::try_from(fields.len()).is_ok();
        countable(&self.headers) && countable(&self.trailers)
    }

    /// The octets to store. Of more than 65,535 lines of headers, or of trailers, none that
    /// [`decode`](Self::decode) can read.
    pub fn encode(&self) -> Bytes {
        let body = if self.body_omitted { &[][..] } else { &self.body };
        let fields = || self.headers.iter().chain(&self.trailers);
        let fields_len: usize =
            fields().map(|(name, value)| 6 + name.as_str().len() + value.len()).sum();
        let mut out = BytesMut::with_capacity(HEAD_OCTETS + fields_len + body.len());
        let (version, flags) =
            if self.body_omitted { (VERSION_FLAGS, FLAG_BODY_OMITTED) } else { (VERSION_PLAIN, 0) };
        out.put_u8(version);
        out.put_u8(flags);
        out.put_u16_le(self.status.as_u16());
        // A name has at most 2^16 - 1 octets.
        out.put_u16_le(self.headers.len() as u16);
        out.put_u16_le(self.trailers.len() as u16);
        out.put_u64_le(body.len() as u64);
        for (name, value) in fields() {
            out.put_u16_le(name.as_str().len() as u16);
            out.put_u32_le(value.len() as u32);
            out.put_slice(name.as_str().as_bytes());
            out.put_slice(value.as_bytes());
        }
        out.put_slice(body);
        out.freeze()
    }

    /// Reads octets that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else; no input panics.
    pub fn decode(octets: Bytes) -> Result<Self, DecodeError> {
        Self::read(&mut streamed_print::behind(octets)).ok_or(DecodeError)
    }

    fn read(octets: &mut Bytes) -> Option<Self> {
        let body_omitted = match (octets.try_get_u8().ok()?, octets.try_get_u8().ok()?) {
            (VERSION_PLAIN | VERSION_FLAGS, 0) => false,
            (VERSION_FLAGS, FLAG_BODY_OMITTED) => true,
            _ => return None,
        };
        let status = StatusCode::from_u16(octets.try_get_u16_le().ok()?).ok()?;
        let header_count = octets.try_get_u16_le().ok()?;
        let trailer_count = octets.try_get_u16_le().ok()?;
        let body_len = octets.try_get_u64_le().ok()?;
        let headers = read_fields(octets, header_count)?;
        let trailers = read_fields(octets, trailer_count)?;
        let fits = octets.len() as u64 == body_len && !(body_omitted && body_len > 0);
        let body = std::mem::take(octets);
        fits.then_some(Self { status, headers, body, trailers, body_omitted })
    }
}

fn read_fields(octets: &mut Bytes, count: u16) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for _ in 0..count {
        let name_len = usize::from(octets.try_get_u16_le().ok()?);
        let value_len = usize::try_from(octets.try_get_u32_le().ok()?).ok()?;
        let name = take(octets, name_len)?;
        let value = take(octets, value_len)?;
        let name = HeaderName::from_bytes(&name).ok()?;
        fields.try_append(name, HeaderValue::from_maybe_shared(value).ok()?).ok()?;
    }
    Some(fields)
}

fn take(octets: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= octets.len()).then(|| octets.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::rng;

    fn sample() -> StoredResponse {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"caf\xe9, 2").unwrap());
        StoredResponse::new(StatusCode::CREATED, headers, Bytes::from_static(b"{}"))
    }

    /// The layout, octet by octet: a store outlives the program that wrote it.
    #[test]
    fn the_layout_is_the_documented_one() {
        let mut expected = vec![1, 0, 201, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        expected.extend(b"\x03\0\x01\0\0\0x-a1");
        expected.extend(b"\x03\0\x07\0\0\0x-acaf\xe9, 2");
        expected.extend(b"{}");
        assert_eq!(sample().encode(), expected);
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let mut random = rng();
        for _ in 0..2_000 {
            let mut map = || {
                let mut map = HeaderMap::new();
                for _ in 0..random.usize(0..6) {
                    let name = format!("x-{}", random.u8(0..4));
                    let value: Vec<u8> = (0..random.usize(0..12))
                        .map(|_| {
                            loop {
                                let octet = random.u8(..);
                                if octet == b'\t' || octet >= 0x20 && octet != 0x7f {
                                    break octet;
                                }
                            }
                        })
                        .collect();
                    map.append(
                        HeaderName::from_bytes(name.as_bytes()).unwrap(),
                        HeaderValue::from_bytes(&value).unwrap(),
                    );
                }
                map
            };
            let (headers, trailers) = (map(), map());
            let stored = StoredResponse {
                status: StatusCode::from_u16(random.u16(100..1000)).unwrap(),
                headers,
                trailers,
                body: (0..random.usize(0..64)).map(|_| random.u8(..)).collect(),
                body_omitted: false,
            };
            let decoded = StoredResponse::decode(stored.encode()).unwrap();
            assert_eq!(decoded, stored);
            let order = |map: &HeaderMap| {
                map.iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>()
            };
            assert_eq!(order(&decoded.headers), order(&stored.headers));
        }
    }

    fn omitted() -> StoredResponse {
        StoredResponse { body: Bytes::new(), body_omitted: true, ..sample() }
    }

    #[test]
    fn c24_a_body_that_was_left_out_is_not_an_empty_one() {
        let octets = omitted().encode();
        assert_eq!(octets[..2], [2, 1]);
        assert_eq!(StoredResponse { body_omitted: true, ..sample() }.encode(), octets);
        assert_eq!(StoredResponse::decode(octets.clone()), Ok(omitted()));
        let mut with_a_body = octets.to_vec();
        with_a_body[8] = 1;
        with_a_body.push(b'x');
        assert_eq!(StoredResponse::decode(with_a_body.into()), Err(DecodeError));
        let mut unflagged = octets.to_vec();
        unflagged[1] = 0;
        let plain = StoredResponse { body_omitted: false, ..omitted() };
        assert_eq!(StoredResponse::decode(unflagged.into()), Ok(plain));
    }

    #[test]
    fn a_cut_or_lengthened_response_is_damage() {
        let whole = sample().encode();
        for len in 0..whole.len() {
            assert_eq!(StoredResponse::decode(whole.slice(..len)), Err(DecodeError), "{len}");
        }
        let longer: Bytes = whole.iter().copied().chain([0]).collect();
        assert_eq!(StoredResponse::decode(longer), Err(DecodeError));
    }

    #[test]
    fn an_unknown_version_is_damage() {
        for at in [0, 1] {
            for whole in [sample(), omitted()] {
                let mut octets = whole.encode().to_vec();
                octets[at] ^= 4;
                assert_eq!(StoredResponse::decode(octets.into()), Err(DecodeError));
            }
        }
    }

    #[test]
    fn arbitrary_octets_never_panic() {
        let mut random = rng();
        let wholes = [sample().encode(), omitted().encode()];
        for n in 0..50_000 {
            let mut octets = wholes[n % 2].to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..octets.len());
                octets[at] = random.u8(..);
            }
            octets.truncate(random.usize(0..=octets.len()));
            if let Ok(decoded) = StoredResponse::decode(octets.into()) {
                assert_eq!(StoredResponse::decode(decoded.encode()), Ok(decoded));
            }
        }
    }

    /// The response in the golden files, with this body.
    fn golden(body: &'static [u8], body_omitted: bool) -> StoredResponse {
        let field = |name, value: &'static [u8]| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            field("content-type", b"application/json"),
            field("x-a", b"1"),
            field("x-a", b"caf\xe9, 2"),
        ] {
            headers.append(name, value);
        }
        StoredResponse {
            status: StatusCode::CREATED,
            headers,
            body: Bytes::from_static(body),
            trailers: HeaderMap::from_iter([field("x-sum", b"7")]),
            body_omitted,
        }
    }

    /// One file a version: what either says stays readable.
    #[test]
    fn the_bytes_are_the_golden_ones() {
        let plain = include_bytes!("../../tests/golden/response.bin").as_slice();
        let flags = include_bytes!("../../tests/golden/response-body-omitted.bin").as_slice();
        for (octets, stored) in [(plain, golden(b"{}\r\n", false)), (flags, golden(b"", true))] {
            assert_eq!(stored.encode(), octets);
            assert_eq!(StoredResponse::decode(Bytes::from_static(octets)), Ok(stored));
        }
    }
}
