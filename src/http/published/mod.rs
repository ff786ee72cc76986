//! What an API says about its keys: the policy to publish (D5), and what browsers must be allowed.

mod json;
mod markdown;
mod value;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::fields::{BODY_OMITTED, KEY_IGNORED};
use super::policy::{OnDisconnect, OnError, OnTimeout, OversizeResponse, Verdict};
use super::problem::{Condition, Refusal};
use super::profile::Profile;

/// The idempotency policy of an API, for those who write its clients: a resource must publish one,
/// with its expiry (D5, draft section 2.5.2).
///
/// It says all that a client can observe of a [`Profile`], and nothing that a client cannot.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    profile: &'a Profile,
    /// What a gateway makes of a status by which another one lost the request, if it goes by that.
    lost: Option<Verdict>,
    /// The errors the profile can answer with, in the order of the requirements.
    errors: Vec<Refusal>,
}

/// Statuses by which a gateway lost a request; the last is none with `Retry-After`.
const LOST: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];

/// What becomes of the key on this status.
struct Exception {
    status: StatusCode,
    /// Only where the response has `Retry-After`.
    with_retry_after: bool,
    verdict: Verdict,
}

impl Policy<'_> {
    /// The policy of a gateway in front of a service with this profile, where `on_lost` is what
    /// becomes of the key on a status by which a gateway further in lost the request: 502, 504, and
    /// 503 without `Retry-After`. With [`OnError::Store`] they are statuses like others.
    #[must_use]
    pub fn behind_gateway(mut self, on_lost: OnError) -> Self {
        self.lost = match on_lost {
            OnError::Store => None,
            on_lost => Some(on_lost.into()),
        };
        self
    }

    /// The statuses that go before their class. Of several that fit a response, the first counts.
    fn exceptions(&self) -> Vec<Exception> {
        let of =
            |status, with_retry_after, verdict| Exception { status, with_retry_after, verdict };
        let profile = self.profile;
        let released = profile.release_statuses.iter();
        let mut own: Vec<_> = released.map(|status| of(*status, false, Verdict::Release)).collect();
        if profile.release_503_with_retry_after {
            own.push(of(StatusCode::SERVICE_UNAVAILABLE, true, Verdict::Release));
        }
        let Some(lost) = self.lost else { return own };
        let asks_to_retry = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("1"))]);
        let later = profile.verdict(None, StatusCode::SERVICE_UNAVAILABLE, &asks_to_retry);
        let mut all = vec![of(StatusCode::SERVICE_UNAVAILABLE, true, later)];
        all.extend(LOST.map(|status| of(status, false, lost)));
        own.retain(|own| !LOST.contains(&own.status));
        all.extend(own);
        all
    }

    /// Those by which the service says that nothing was done.
    fn released(&self) -> impl Iterator<Item = Exception> {
        let lost: &[_] = if self.lost.is_some() { &LOST } else { &[] };
        let released = self.exceptions().into_iter().filter(|exception| {
            let is_lost = lost.contains(&exception.status) && !exception.with_retry_after;
            exception.verdict == Verdict::Release && !is_lost
        });
        let (later, others): (Vec<_>, Vec<_>) = released.partition(|said| said.with_retry_after);
        others.into_iter().chain(later)
    }

    /// The policy as a JSON object, laid out, with a line feed at its end. `docs/http.md` says what
    /// its members mean; `policy` is the version of their meaning.
    pub fn json(&self) -> String {
        json::document(self).written()
    }

    /// The policy in Markdown, without a heading of its own.
    pub fn markdown(&self) -> String {
        markdown::document(self)
    }
}

impl Profile {
    /// The idempotency policy of an API with this profile (D5).
    pub fn policy(&self) -> Policy<'_> {
        let errors = Condition::all()
            .filter(|condition| match condition {
                Condition::MissingKey => self.key_required,
                Condition::KeyReused => self.compares_requests(),
                Condition::ResponseTimeout => {
                    self.timeout.is_some() && self.on_timeout == OnTimeout::Continue
                }
                Condition::HandlerStopped => {
                    self.timeout.is_some() && self.on_timeout == OnTimeout::Cancel
                        || self.on_disconnect == OnDisconnect::Cancel
                }
                _ => true,
            })
            .map(|condition| self.refusal(&condition))
            .collect();
        Policy { profile: self, lost: None, errors }
    }

    /// [`policy`](Self::policy) as JSON.
    pub fn policy_json(&self) -> String {
        self.policy().json()
    }

    /// [`policy`](Self::policy) in Markdown, for an API's documentation.
    pub fn policy_document(&self) -> String {
        self.policy().markdown()
    }

    /// The request headers that CORS must allow, or browsers do not send the key.
    pub fn cors_allow_headers(&self) -> Vec<HeaderName> {
        std::iter::once(&self.header).chain(&self.header_aliases).cloned().collect()
    }

    /// The response headers that CORS must expose, or scripts do not see the marker, the key where
    /// it is echoed, and when to retry.
    pub fn cors_expose_headers(&self) -> Vec<HeaderName> {
        let omits = self.oversize_response == OversizeResponse::OmitBody;
        let echoed = if self.echo_key { self.cors_allow_headers() } else { Vec::new() };
        self.marker
            .iter()
            .cloned()
            .chain(echoed)
            .chain([RETRY_AFTER, LOCATION, KEY_IGNORED])
            .chain(omits.then_some(BODY_OMITTED))
            .collect()
    }
}

/// The policy's word for what becomes of a key.
fn fate(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Store => "stored",
        Verdict::Release => "released",
        Verdict::InDoubt => "in-doubt",
    }
}

fn fate_on(rule: OnError) -> &'static str {
    fate(rule.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cors_shows_the_key_and_the_marker() {
        let oec = Profile::oec();
        assert_eq!(oec.cors_allow_headers(), ["x-idempotency-key"]);
        let exposed = oec.cors_expose_headers();
        assert_eq!(
            exposed,
            ["x-idempotency-replayed", "retry-after", "location", "onceward-key-ignored"]
        );
        let exposed = Profile::adyen().cors_expose_headers();
        assert!(exposed.contains(&HeaderName::from_static("idempotency-key")), "{exposed:?}");
    }

    #[test]
    fn d5_a_policy_lists_the_errors_that_can_happen() {
        let codes = |profile: &Profile| -> Vec<_> {
            profile.policy().errors.iter().map(|error| error.anchor).collect()
        };
        for profile in Profile::all() {
            let codes = codes(&profile);
            assert_eq!(codes.contains(&"missing-key"), profile.name == "ietf");
            let compares = profile.name != "oec" && profile.name != "adyen";
            assert_eq!(codes.contains(&"key-reused"), compares, "O12: {}", profile.name);
            assert!(codes.contains(&"in-progress") && codes.contains(&"invalid-key"));
        }
    }
}
