//! What a key in doubt comes to, where somebody decides it (C34).

use bytes::Bytes;
use http::request::Parts;

use super::fields;
use super::layer::Config;
use super::outcome::{KeyDigest, derive};
use super::panics::{Panicked, catching_panics};
use super::policy::OnCrash;
use super::response::StoredResponse;
use super::trailers;
use crate::outcome::{Record, Resolution};

/// A key in doubt, and the request that came upon it: what a
/// [`resolver`](super::IdempotencyLayer::resolver) decides by.
#[derive(Clone)]
#[non_exhaustive]
pub struct Doubt {
    /// The key's octets, decoded (1 to 255 of them).
    pub key: Bytes,
    /// The scope and the key, hashed.
    pub digest: KeyDigest,
    /// What the store knows of the work: when it was claimed, and with which fingerprint.
    pub record: Record,
    /// The head of the request that came upon the key. Where the profile compares requests it is
    /// the one whose work is in doubt, sent again.
    pub request: Parts,
}

impl Doubt {
    /// What [`Idempotency::derived_key`](super::Idempotency::derived_key) gave the handler whose
    /// work is in doubt: by it a service downstream can be asked.
    pub fn derived_key(&self, label: &str) -> String {
        derive(&self.digest.scope, &self.key, label)
    }
}

impl std::fmt::Debug for Doubt {
    /// Shows hashes alone: a key may be guessable, and a head holds credentials (D12).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doubt")
            .field("digest", &self.digest)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// What a resolver says of a key in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "made once a doubt, and not kept")]
pub enum Ruling {
    /// The work was not done: the key is free again, and this request is executed.
    Release,
    /// The work was done, with this response: it is stored and replayed. One that is not
    /// final (1xx) is none.
    Complete(StoredResponse),
    /// Nobody knows: the request is refused, and the key stays in doubt.
    InDoubt,
}

/// Whether anybody decides about keys in doubt.
pub(crate) fn is_decided(config: &Config) -> bool {
    config.resolver.is_some() || config.profile.on_crash == OnCrash::Reexecute
}

/// How the key is to be resolved; `None` leaves it in doubt. The resolver, where there is one, has
/// the only word: a failure of it says nothing about the work.
pub(crate) async fn decide(config: &Config, doubt: Doubt) -> Option<Resolution> {
    let Some(resolver) = &config.resolver else {
        return (config.profile.on_crash == OnCrash::Reexecute).then_some(Resolution::Release);
    };
    match catching_panics(|| resolver(doubt)).await {
        Ok(Ok(Ruling::Release)) => Some(Resolution::Release),
        Ok(Ok(Ruling::Complete(response))) if response.status.is_informational() => {
            tracing::error!("a resolver gave a response that is not final: the key stays in doubt");
            None
        }
        Ok(Ok(Ruling::Complete(response))) => {
            let response = as_kept(config, response);
            if response.is_countable() {
                return Some(Resolution::Complete(response.encode()));
            }
            tracing::error!("a resolver gave too many header lines: the key stays in doubt");
            None
        }
        Ok(Ok(Ruling::InDoubt)) => None,
        Ok(Err(error)) => {
            tracing::error!(%error, "the resolver failed: the key stays in doubt");
            None
        }
        Err(Panicked) => {
            tracing::error!("the resolver panicked: the key stays in doubt");
            None
        }
    }
}

/// The response as it would have been kept, had its handler given it.
fn as_kept(config: &Config, response: StoredResponse) -> StoredResponse {
    let profile = &config.profile;
    let bodiless = fields::is_bodiless(response.status);
    StoredResponse {
        headers: fields::kept(&response.headers, profile),
        trailers: trailers::kept(&response.trailers, &response.headers, profile),
        body: if bodiless { Bytes::new() } else { response.body },
        ..response
    }
}
