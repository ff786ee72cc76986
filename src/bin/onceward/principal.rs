//! Who is asking: the principal whose keys a request's key is among (C8).

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use onceward::Fingerprint;

/// How the gateway tells one caller from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// SHA-256 of the `Authorization` field.
    Authorization,
    /// A field that something in front of the gateway sets.
    Header(HeaderName),
    /// The upstream is asked, with the caller's credentials, before anything is claimed or
    /// replayed.
    AuthRequest {
        /// What is asked for with GET.
        path: PathAndQuery,
        /// The field of the answer that names the caller.
        header: HeaderName,
    },
    /// Everyone is one.
    SingleTenant,
}

/// What the upstream said about the caller: a request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked(pub(crate) Option<Vec<u8>>);

impl Principal {
    /// Reads `authorization`, `header:NAME`, `auth-request:PATH:HEADER` or `single-tenant`. Errors
    /// are in words for the operator.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let name = |name: &str| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is not the name of a header field"))
        };
        match text.split_once(':') {
            None if text == "authorization" => Ok(Self::Authorization),
            None if text == "single-tenant" => Ok(Self::SingleTenant),
            Some(("header", field)) => Ok(Self::Header(name(field)?)),
            Some(("auth-request", rest)) => {
                // The field's name has no colon in it, and a path may.
                let (path, field) = rest.rsplit_once(':').ok_or_else(|| {
                    "`auth-request` takes a path and a header field: auth-request:PATH:HEADER"
                        .to_owned()
                })?;
                let path = Some(path)
                    .filter(|path| path.starts_with('/'))
                    .and_then(|path| PathAndQuery::try_from(path).ok())
                    .ok_or_else(|| format!("`{path}` is not a path that begins with /"))?;
                Ok(Self::AuthRequest { path, header: name(field)? })
            }
            _ => Err(format!(
                "`{text}` is not a way to tell callers apart: write authorization, header:NAME, \
                 auth-request:PATH:HEADER or single-tenant"
            )),
        }
    }

    /// The principal of a request, or `None` when it has none and its key is to be ignored.
    pub(crate) fn of(&self, parts: &Parts) -> Option<Vec<u8>> {
        match self {
            Self::Authorization => only(&parts.headers, &header::AUTHORIZATION)
                .map(|value| Fingerprint::of(value).as_bytes().to_vec()),
            Self::Header(name) => only(&parts.headers, name).map(<[u8]>::to_vec),
            Self::AuthRequest { .. } => {
                parts.extensions.get::<Asked>().and_then(|asked| asked.0.clone())
            }
            Self::SingleTenant => Some(Vec::new()),
        }
    }

    /// The principal of the caller whom an operator names: by the field's value, as the caller or
    /// the upstream sends it. Where everyone is one, whatever the name.
    pub(crate) fn named(&self, name: &str) -> Vec<u8> {
        match self {
            Self::Authorization => Fingerprint::of(name).as_bytes().to_vec(),
            Self::Header(_) | Self::AuthRequest { .. } => name.as_bytes().to_vec(),
            Self::SingleTenant => Vec::new(),
        }
    }

    /// What the operator is told about this choice when the gateway starts.
    pub(crate) fn notice(&self) -> Option<String> {
        match self {
            Self::Authorization => Some(
                "callers are told apart by their Authorization header: a rotated token is a new \
                 caller, and a revoked one still gets what is stored for it (auth-request survives \
                 both)"
                    .to_owned(),
            ),
            Self::Header(name) => Some(format!(
                "callers are told apart by the header {name}: something in front of this gateway \
                 must set it, and remove what callers send in its place"
            )),
            Self::SingleTenant => Some(
                "every caller is the same one (single-tenant): whoever knows a key and its request \
                 gets the stored response"
                    .to_owned(),
            ),
            Self::AuthRequest { .. } => None,
        }
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Authorization => f.write_str("authorization"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::AuthRequest { path, header } => write!(f, "auth-request:{path}:{header}"),
            Self::SingleTenant => f.write_str("single-tenant"),
        }
    }
}

/// The value of a field that stands there once and is not empty. Twice is ambiguous: the upstream
/// may believe the other one.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_way_is_read_and_shown() {
        for text in [
            "authorization",
            "single-tenant",
            "header:x-account",
            "auth-request:/auth:x-account",
            "auth-request:/auth?a=b:c:x-account",
        ] {
            assert_eq!(Principal::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_way_is_refused() {
        for text in [
            "",
            "Authorization",
            "header",
            "header:",
            "header:a b",
            "single-tenant:x",
            "auth-request",
            "auth-request:",
            "auth-request:/auth",
            "auth-request:auth:x",
            "auth-request:/auth:",
            "authorization:x",
        ] {
            assert!(Principal::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn c8_the_authorization_is_hashed() {
        let of = |fields: &[(&str, &str)]| Principal::Authorization.of(&parts(fields));
        let one = of(&[("authorization", "Bearer one")]).unwrap();
        assert_eq!(one, Fingerprint::of("Bearer one").as_bytes());
        assert_ne!(Some(one), of(&[("authorization", "Bearer two")]));
    }

    #[test]
    fn a_caller_is_found_by_the_name_an_operator_knows_him_by() {
        let fields = &[("authorization", "Bearer one"), ("x-account", "acct_1")];
        for (how, name) in [
            ("authorization", "Bearer one"),
            ("header:x-account", "acct_1"),
            ("single-tenant", "whoever"),
        ] {
            let principal = Principal::parse(how).unwrap();
            assert_eq!(Some(principal.named(name)), principal.of(&parts(fields)), "{how}");
        }
        let asked = Principal::parse("auth-request:/auth:x-account").unwrap();
        let mut parts = parts(&[]);
        parts.extensions.insert(Asked(Some(b"acct_1".to_vec())));
        assert_eq!(Some(asked.named("acct_1")), asked.of(&parts));
    }

    #[test]
    fn a_field_that_is_absent_empty_or_repeated_names_nobody() {
        for principal in [Principal::Authorization, Principal::parse("header:x-account").unwrap()] {
            for fields in [
                &[][..],
                &[("authorization", ""), ("x-account", "")],
                &[
                    ("authorization", "a"),
                    ("authorization", "a"),
                    ("x-account", "a"),
                    ("x-account", "a"),
                ],
            ] {
                assert_eq!(principal.of(&parts(fields)), None, "{principal} {fields:?}");
            }
        }
    }

    #[test]
    fn an_auth_request_is_believed_and_nothing_the_caller_sends() {
        let principal = Principal::parse("auth-request:/auth:x-account").unwrap();
        let mut parts = parts(&[("x-account", "evil")]);
        assert_eq!(principal.of(&parts), None);
        parts.extensions.insert(Asked(Some(b"acct_1".to_vec())));
        assert_eq!(principal.of(&parts), Some(b"acct_1".to_vec()));
    }
}
