//! A response as the store keeps it.
//!
//! `docs/format.md` draws the layout: headers raw and in order, repeated ones repeated.
//!
//! The lengths account for every octet. Anything else is damage, which is an answer of its own and
//! never a miss. Decoding copies nothing: the parts hold the payload they came from.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::streamed_print;

const VERSION: u8 = 1;
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
    /// A response of these parts, without trailers.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body, trailers: HeaderMap::new() }
    }

    /// The octets to store.
    pub fn encode(&self) -> Bytes {
        let fields = || self.headers.iter().chain(&self.trailers);
        let fields_len: usize =
            fields().map(|(name, value)| 6 + name.as_str().len() + value.len()).sum();
        let mut out = BytesMut::with_capacity(HEAD_OCTETS + fields_len + self.body.len());
        out.put_u8(VERSION);
        out.put_u8(0);
        out.put_u16_le(self.status.as_u16());
        // A header map holds at most 2^15 entries, a name at most 2^16 - 1 octets.
        out.put_u16_le(self.headers.len() as u16);
        out.put_u16_le(self.trailers.len() as u16);
        out.put_u64_le(self.body.len() as u64);
        for (name, value) in fields() {
            out.put_u16_le(name.as_str().len() as u16);
            out.put_u32_le(value.len() as u32);
            out.put_slice(name.as_str().as_bytes());
            out.put_slice(value.as_bytes());
        }
        out.put_slice(&self.body);
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
        if octets.try_get_u8().ok()? != VERSION || octets.try_get_u8().ok()? != 0 {
            return None;
        }
        let status = StatusCode::from_u16(octets.try_get_u16_le().ok()?).ok()?;
        let header_count = octets.try_get_u16_le().ok()?;
        let trailer_count = octets.try_get_u16_le().ok()?;
        let body_len = octets.try_get_u64_le().ok()?;
        let headers = read_fields(octets, header_count)?;
        let trailers = read_fields(octets, trailer_count)?;
        (octets.len() as u64 == body_len).then_some(())?;
        Some(Self { status, headers, body: std::mem::take(octets), trailers })
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

    fn seeded() -> fastrand::Rng {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("SEED={seed}");
        fastrand::Rng::with_seed(seed)
    }

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
        let mut random = seeded();
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
            };
            let decoded = StoredResponse::decode(stored.encode()).unwrap();
            assert_eq!(decoded, stored);
            let order = |map: &HeaderMap| {
                map.iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>()
            };
            assert_eq!(order(&decoded.headers), order(&stored.headers));
        }
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
            let mut octets = sample().encode().to_vec();
            octets[at] ^= 2;
            assert_eq!(StoredResponse::decode(octets.into()), Err(DecodeError));
        }
    }

    #[test]
    fn arbitrary_octets_never_panic() {
        let mut random = seeded();
        let whole = sample().encode();
        for _ in 0..50_000 {
            let mut octets = whole.to_vec();
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

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_bytes!("../../tests/golden/response.bin");
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
        let stored = StoredResponse {
            status: StatusCode::CREATED,
            headers,
            body: Bytes::from_static(b"{}\r\n"),
            trailers: HeaderMap::from_iter([field("x-sum", b"7")]),
        };
        assert_eq!(stored.encode(), golden[..]);
        assert_eq!(StoredResponse::decode(Bytes::from_static(golden)), Ok(stored));
    }
}
