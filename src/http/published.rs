//! What an API says about its keys: the policy to publish (D5), and what browsers must be allowed.

use std::fmt::Write;

use http::HeaderName;
use http::header::{LOCATION, RETRY_AFTER};

use super::fields::{BODY_OMITTED, KEY_IGNORED};
use super::policy::{InFlight, KeySyntax, Mismatch, OversizeResponse, Routes, Scope};
use super::profile::Profile;

impl Profile {
    /// The request headers that CORS must allow, or browsers do not send the key.
    pub fn cors_allow_headers(&self) -> Vec<HeaderName> {
        std::iter::once(&self.header).chain(&self.header_aliases).cloned().collect()
    }

    /// The response headers that CORS must expose, or scripts do not see the marker and when to
    /// retry.
    pub fn cors_expose_headers(&self) -> Vec<HeaderName> {
        let mut names: Vec<_> = self.marker.iter().cloned().collect();
        names.extend([RETRY_AFTER, LOCATION, KEY_IGNORED]);
        if self.oversize_response == OversizeResponse::OmitBody {
            names.push(BODY_OMITTED);
        }
        if self.echo_key {
            names.extend(self.cors_allow_headers());
        }
        names
    }

    /// The idempotency policy of an API with this profile, in Markdown, for its documentation: a
    /// resource must publish one, with its expiry (draft section 2.5.2).
    pub fn policy_document(&self) -> String {
        let mut lines = Vec::new();
        let methods: Vec<_> = self.methods.iter().map(http::Method::as_str).collect();
        lines.push(format!("Keys are read from the `{}` header.", self.header));
        lines.push(match self.key_syntax {
            KeySyntax::Strict => format!(
                "A key is a structured-field String (RFC 9651), such as `\"k\"`, of 1 to {} octets.",
                self.key_octets_max
            ),
            KeySyntax::Lenient => format!(
                "A key is 1 to {} octets of visible ASCII, bare or quoted; a bare key has no `\"`, \
                 `,`, `;` or `\\`. Case counts.",
                self.key_octets_max
            ),
        });
        lines.push(format!(
            "{} requests are covered{}; on others a key has no effect. A key is {}.",
            methods.join(" and "),
            if matches!(self.routes, Routes::Listed(_)) && !self.enforce_unlisted {
                " on the paths listed below"
            } else {
                ""
            },
            if self.key_required { "required" } else { "optional" },
        ));
        lines.push(format!(
            "A result is kept for {} from its completion, and replayed until then; a later request \
             with the key is a new one.",
            duration(self.ttl.as_secs()),
        ));
        lines.push(
            match self.scope {
                Scope::Principal => "A key belongs to the caller, on every path.",
                Scope::PrincipalAndRoute => "A key belongs to the caller, the method and the path.",
            }
            .into(),
        );
        lines.push(match self.mismatch {
            Mismatch::Reject(status) => format!(
                "A key used with a different request is refused with {}, and nothing is executed.",
                status.as_u16()
            ),
            Mismatch::Replay => {
                "Requests are not compared: a key used again gets the first result, \
                                 whatever the request."
                    .into()
            }
        });
        lines.push(match self.in_flight {
            InFlight::Reject => "A duplicate of a request still at work is refused with 409.".into(),
            InFlight::Wait(patience) => format!(
                "A duplicate of a request still at work waits up to {}, and is refused with 409 then.",
                duration(patience.as_secs())
            ),
        });
        if let Some(marker) = &self.marker {
            lines.push(format!("A replayed response has the header `{marker}: true`."));
        }
        let mut document = String::new();
        for line in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(document, "- {line}");
        }
        if let Routes::Listed(routes) = &self.routes {
            document.push_str("\nPaths:\n\n");
            for route in routes {
                let _ = writeln!(document, "- `{} {}`", route.method, route.path);
            }
        }
        document
    }
}

fn duration(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..3_600 => (seconds, "second"),
        _ if seconds.is_multiple_of(3_600) => (seconds / 3_600, "hour"),
        _ => (seconds, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_every_profile_has_a_policy_to_publish() {
        for profile in Profile::all() {
            let document = profile.policy_document();
            assert!(document.contains(&format!("`{}`", profile.header)), "{document}");
            assert!(document.contains("kept for 24 hours from its completion"), "{document}");
            let required = document.contains("A key is required");
            assert_eq!(required, profile.name == "ietf", "{document}");
            let replays = document.contains("gets the first result");
            assert_eq!(replays, profile.name == "oec", "{document}");
        }
        let oec = Profile::oec().policy_document();
        assert!(oec.contains("- `POST /api/public/v1/environments/{id}/actions/deploy`"), "{oec}");
        let managed_dev = Profile::managed_dev().policy_document();
        assert!(managed_dev.contains("refused with 409, and nothing is executed"), "{managed_dev}");
    }

    #[test]
    fn a_duration_reads_as_one() {
        for (seconds, text) in
            [(1, "1 second"), (59, "59 seconds"), (3600, "1 hour"), (5400, "5400 seconds")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn cors_shows_the_key_and_the_marker() {
        let oec = Profile::oec();
        assert_eq!(oec.cors_allow_headers(), ["x-idempotency-key"]);
        let exposed = oec.cors_expose_headers();
        assert_eq!(
            exposed,
            ["x-idempotency-replayed", "retry-after", "location", "onceward-key-ignored"]
        );
        let mut loud = Profile::managed_dev();
        (loud.echo_key, loud.oversize_response) = (true, OversizeResponse::OmitBody);
        let exposed = loud.cors_expose_headers();
        assert_eq!(exposed.last().unwrap(), "idempotency-key");
        assert!(exposed.contains(&BODY_OMITTED));
    }
}
