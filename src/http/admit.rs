//! Steps 1 to 4 of the decision: what can be said from the head of a request alone.

use bytes::Bytes;
use http::header::UPGRADE;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::fields;
use super::fingerprint;
use super::key_header;
use super::layer::Config;
use super::outcome::{Idempotency, Ignored, KeyDigest};
use super::policy::Coverage;
use super::problem::Condition;
use crate::fingerprint::Fingerprint;

/// What becomes of a request, by its head.
pub(crate) enum Admission {
    /// It goes to the handler as if the layer were not there.
    Pass(Ignored),
    /// It is refused; its body is not asked for.
    Refuse(Condition),
    /// Its body is to be read and its key claimed.
    Keyed(Keyed),
}

/// A protected request's key.
pub(crate) struct Keyed {
    pub(crate) scope: [u8; 32],
    pub(crate) key: Bytes,
    /// The URI the client sent.
    pub(crate) target: Uri,
}

impl Keyed {
    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest { scope: self.scope, key: *Fingerprint::of(&self.key).as_bytes() }
    }
}

/// Judges a request by its head, in the order of the requirements: method and route, principal,
/// key missing, key syntax.
pub(crate) fn admit(config: &Config, parts: &Parts) -> Admission {
    let profile = &config.profile;
    let has_key = key_header::is_present(&parts.headers, profile);
    if !has_key && !profile.key_required {
        return Admission::Pass(Ignored::NoKey);
    }
    let pass = |why| Admission::Pass(if has_key { why } else { Ignored::NoKey });
    let target = config.target(parts);
    match profile.coverage(&parts.method, target.path()) {
        Coverage::Protected => {}
        Coverage::OtherMethod => return pass(Ignored::Method),
        Coverage::OtherRoute => return pass(Ignored::Route),
    }
    let principal = match &config.principal {
        Some(principal) => match principal(parts) {
            Some(principal) => Some(principal),
            None => return pass(Ignored::NoPrincipal),
        },
        None => None,
    };
    let key = match key_header::read(&parts.headers, profile) {
        Ok(Some(key)) => key,
        Ok(None) => return Admission::Refuse(Condition::MissingKey),
        Err(fault) => return Admission::Refuse(Condition::InvalidKey(fault)),
    };
    if asks_to_upgrade(&parts.method, &parts.headers) {
        return Admission::Refuse(Condition::UpgradeNotSupported);
    }
    let scope = fingerprint::scope(principal.as_deref(), &parts.method, &target, profile.scope);
    // A layer around this one is at work on it: a second claim would find the first in flight, and
    // that refusal would be stored as the result.
    let outer = parts.extensions.get::<Idempotency>();
    if outer.is_some_and(|outer| outer.is_of(&scope, &key)) {
        return Admission::Pass(Ignored::Granted);
    }
    Admission::Keyed(Keyed { scope, key, target })
}

/// Whether the request asks to change protocols (C21). An `Upgrade` that `Connection` does not name
/// is not for this hop (RFC 9110, section 7.8).
fn asks_to_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    let named =
        || fields::named_by_connection(headers).any(|name| name.eq_ignore_ascii_case(b"upgrade"));
    *method == Method::CONNECT || headers.contains_key(UPGRADE) && named()
}
