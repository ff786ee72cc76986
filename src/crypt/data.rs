//! The data key of a segment: made and wrapped by a master key, and what is sealed under it.

use std::io;
use std::sync::Arc;

use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use zeroize::Zeroizing;

use super::{KeyId, Secret};
use crate::format::frame::{self, Frame};
use crate::format::key::{LENGTH, WRAPPED_OCTETS, Wrapped};
use crate::random::Random;

/// Octets a sealed payload has more than a plain one: its tag. A multiple of 8, so that a frame
/// grows by as many.
pub(crate) const OVERHEAD: u64 = 16;
const TAG: usize = OVERHEAD as usize;

const _: () = assert!(OVERHEAD.is_multiple_of(8));

/// A master key: it wraps data keys and nothing else.
#[derive(Clone)]
pub(crate) struct Master {
    id: KeyId,
    secret: Secret,
    /// Where data keys come from.
    random: Random,
}

impl Master {
    pub(super) fn new(id: KeyId, secret: [u8; 32], random: Random) -> Self {
        Self { id, secret: Zeroizing::new(secret), random }
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new((&*self.secret).into())
    }

    /// A random key for a new segment, and the octets to keep of it.
    pub(crate) fn make(
        &self,
        store_id: [u8; 16],
        segment: u32,
    ) -> io::Result<(DataKey, [u8; LENGTH])> {
        let mut secret: Secret = Zeroizing::new([0; 32]);
        self.random.fill(&mut *secret)?;
        let mut wrapped = Wrapped {
            store_id,
            segment,
            master: self.id.to_octets(),
            nonce: [0; 12],
            key: [0; WRAPPED_OCTETS],
        };
        self.random.fill(&mut wrapped.nonce)?;
        let key = seal(&self.cipher(), wrapped.nonce, &wrapped.binding(), &*secret);
        wrapped.key = *key.first_chunk().ok_or_else(|| io::Error::other("a short key"))?;
        Ok((DataKey::new(store_id, segment, &secret), wrapped.encode()))
    }

    /// The data key that this one wraps; `None` when it was wrapped by another.
    pub(super) fn unwrap(&self, wrapped: &Wrapped) -> Option<DataKey> {
        let opened = open(&self.cipher(), wrapped.nonce, &wrapped.binding(), &wrapped.key)?;
        let secret: Secret = Zeroizing::new(*Zeroizing::new(opened).first_chunk()?);
        Some(DataKey::new(wrapped.store_id, wrapped.segment, &secret))
    }
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Master").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The key of one segment. The program that made the segment seals with it, and each place once:
/// no segment is appended to after the store was opened again.
#[derive(Clone)]
pub(crate) struct DataKey(Arc<Inner>);

struct Inner {
    cipher: Aes256GcmSiv,
    store_id: [u8; 16],
    segment: u32,
}

impl DataKey {
    fn new(store_id: [u8; 16], segment: u32, secret: &Secret) -> Self {
        let cipher = Aes256GcmSiv::new((&**secret).into());
        Self(Arc::new(Inner { cipher, store_id, segment }))
    }

    /// The payload of the frame to stand at `offset`, sealed. `frame` has the length it will have.
    pub(crate) fn seal(&self, offset: u64, frame: &Frame<'_>, payload: &[u8]) -> Vec<u8> {
        seal(&self.0.cipher, nonce(offset), &self.binding(offset, frame), payload)
    }

    /// The payload of the frame at `offset`; `None` when it was not sealed for this frame, there.
    pub(crate) fn open(&self, offset: u64, frame: &Frame<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.0.cipher, nonce(offset), &self.binding(offset, frame), sealed)
    }

    fn binding(&self, offset: u64, frame: &Frame<'_>) -> Vec<u8> {
        frame::binding(self.0.store_id, self.0.segment, offset, frame)
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("segment", &self.0.segment).finish_non_exhaustive()
    }
}

/// A frame's place is its nonce: under a segment's key no two are alike.
fn nonce(offset: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (octet, of) in nonce.iter_mut().zip(offset.to_le_bytes()) {
        *octet = of;
    }
    nonce
}

fn seal(cipher: &Aes256GcmSiv, nonce: [u8; 12], binding: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + TAG);
    out.extend_from_slice(plain);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), binding, out.as_mut_slice().into())
        // Only for more than 64 GiB, where a payload has a length of 32 bits.
        .unwrap_or_else(|_| unreachable!());
    out.extend_from_slice(&tag);
    out
}

fn open(cipher: &Aes256GcmSiv, nonce: [u8; 12], binding: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (sealed, tag) = sealed.split_last_chunk::<TAG>()?;
    let mut out = sealed.to_vec();
    cipher
        .decrypt_inout_detached(
            &Nonce::from(nonce),
            binding,
            out.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::tests::example;

    const STORE: [u8; 16] = [3; 16];

    fn master() -> Master {
        Master::new(KeyId::from_octets([1; 16]), [2; 32], Random::default())
    }

    fn frame() -> Frame<'static> {
        Frame { header: example(), scope: b"acct_1", key: b"key-1" }
    }

    #[test]
    fn a_payload_opens_where_it_was_sealed_and_nowhere_else() {
        let (key, kept) = master().make(STORE, 7).unwrap();
        let sealed = key.seal(4096, &frame(), b"created");
        assert_eq!(sealed.len() as u64, 7 + OVERHEAD);
        assert!(!sealed.windows(7).any(|octets| octets == b"created"));
        assert_eq!(key.open(4096, &frame(), &sealed).unwrap(), b"created");
        assert!(key.open(4104, &frame(), &sealed).is_none(), "another place");

        let wrapped = Wrapped::decode(&kept).unwrap();
        let again = master().unwrap(&wrapped).unwrap();
        assert_eq!(again.open(4096, &frame(), &sealed).unwrap(), b"created");

        let (other, _) = master().make(STORE, 7).unwrap();
        assert!(other.open(4096, &frame(), &sealed).is_none(), "each segment has a key of its own");
        for (store_id, segment) in [([4; 16], 7), (STORE, 8)] {
            let inner = Inner { cipher: again.0.cipher.clone(), store_id, segment };
            let moved = DataKey(Arc::new(inner));
            assert!(moved.open(4096, &frame(), &sealed).is_none(), "another store or segment");
        }
    }

    #[test]
    fn every_flipped_bit_of_what_is_sealed_or_bound_is_seen() {
        let (key, _) = master().make(STORE, 7).unwrap();
        let sealed = key.seal(64, &frame(), b"created");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(64, &frame(), &bad).is_none(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(key.open(64, &frame(), &sealed[..len]).is_none(), "{len} octets");
        }
        let header = example();
        let fingerprint = crate::fingerprint::Fingerprint::of("another");
        for other in [
            frame::Header { kind: frame::Kind::Tombstone, ..header },
            frame::Header { flags: frame::RENEWED, ..header },
            frame::Header { payload_len: 8, ..header },
            frame::Header { sequence: 43, ..header },
            frame::Header { claim_sequence: 40, ..header },
            frame::Header { claimed_at_ms: 1, ..header },
            frame::Header { term_ms: 1, ..header },
            frame::Header { fingerprint, ..header },
        ] {
            let frame = Frame { header: other, ..frame() };
            assert!(key.open(64, &frame, &sealed).is_none(), "{other:?}");
        }
        for (scope, name) in [(b"acct_2", b"key-1"), (b"acct_1", b"key-2")] {
            let frame = Frame { header, scope, key: name };
            assert!(key.open(64, &frame, &sealed).is_none(), "another key");
        }
        // The checksum is over what is sealed, which it cannot be bound to.
        let summed = Frame { header: frame::Header { payload_crc: 1, ..header }, ..frame() };
        assert!(key.open(64, &summed, &sealed).is_some());
    }

    #[test]
    fn a_data_key_opens_under_its_own_master_and_binding_alone() {
        let (_, kept) = master().make(STORE, 7).unwrap();
        let wrapped = Wrapped::decode(&kept).unwrap();
        let other = Master::new(KeyId::from_octets([1; 16]), [9; 32], Random::default());
        assert!(other.unwrap(&wrapped).is_none());
        let mut key = wrapped.key;
        for bit in 0..WRAPPED_OCTETS * 8 {
            key[bit / 8] ^= 1 << (bit % 8);
            assert!(master().unwrap(&Wrapped { key, ..wrapped }).is_none(), "bit {bit}");
            key[bit / 8] ^= 1 << (bit % 8);
        }
        for bad in [
            Wrapped { store_id: [4; 16], ..wrapped },
            Wrapped { segment: 8, ..wrapped },
            Wrapped { master: [5; 16], ..wrapped },
            Wrapped { nonce: [6; 12], ..wrapped },
        ] {
            assert!(master().unwrap(&bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (key, _) = master().make(STORE, 7).unwrap();
        let shown = format!("{:?} {key:?}", master());
        assert!(!shown.contains("2, 2"), "{shown}");
    }
}
