//! Where requests go: the upstream's address.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

/// The upstream's address: scheme, authority and a base path, from `--upstream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// Without its last `/`: empty, or `/` and more.
    base: String,
}

impl Upstream {
    /// Reads `http://host[:port][/base]` or the same with `https`. Errors are in words for the
    /// operator.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not an upstream URL: {why}");
        if text.contains('#') {
            return Err(wrong("it has a fragment"));
        }
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        let parts = uri.into_parts();
        let scheme = match parts.scheme {
            Some(scheme) if scheme == Scheme::HTTP || scheme == Scheme::HTTPS => scheme,
            Some(_) => return Err(wrong("its scheme is neither http nor https")),
            None => return Err(wrong("it does not begin with http:// or https://")),
        };
        let authority = parts.authority.ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user name in it, which would not be sent"));
        }
        if authority.host().is_empty() {
            return Err(wrong("it names no host"));
        }
        if authority.port().is_none() && authority.as_str() != authority.host() {
            return Err(wrong("its port is not a number from 0 to 65535"));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(wrong("it has a query, and queries are the request's own"));
        }
        let host = HeaderValue::try_from(authority.as_str())
            .map_err(|error| wrong(&format!("{error}")))?;
        let base = path.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme, authority, host, base })
    }

    /// The upstream's own `Host`.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The address of `target` (raw path and query) at the upstream: base and target one after the
    /// other, neither decoded nor normalised. `None` when the target is not a path, as in
    /// `OPTIONS *`.
    pub(crate) fn join(&self, target: &PathAndQuery) -> Option<Uri> {
        if !target.as_str().starts_with('/') {
            return None;
        }
        if self.base.is_empty() {
            return self.at(target.clone());
        }
        self.at(PathAndQuery::try_from(format!("{}{target}", self.base)).ok()?)
    }

    /// The address of `path` at the upstream, its base set aside: where the upstream's own links
    /// lead.
    pub(crate) fn at(&self, path: PathAndQuery) -> Option<Uri> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .ok()
    }

    /// Whether it is asked over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(upstream: &str, target: &str) -> String {
        let target = PathAndQuery::try_from(target).unwrap();
        Upstream::parse(upstream).unwrap().join(&target).unwrap().to_string()
    }

    #[test]
    fn base_and_target_are_joined_raw() {
        for (upstream, target, whole) in [
            ("http://up", "/", "http://up/"),
            ("http://up/", "/a", "http://up/a"),
            ("http://up:81/v1", "/a?b=c", "http://up:81/v1/a?b=c"),
            ("https://up/v1/", "/a", "https://up/v1/a"),
            ("http://up/v1", "/", "http://up/v1/"),
            ("http://up/v1", "//a//b", "http://up/v1//a//b"),
            ("http://up", "//evil.example/x", "http://up//evil.example/x"),
            ("http://up/v1", "/%2e%2E/%41?%20=+&&", "http://up/v1/%2e%2E/%41?%20=+&&"),
            ("http://up/v1", "/a/../b?", "http://up/v1/a/../b?"),
            ("http://[::1]:81", "/a", "http://[::1]:81/a"),
        ] {
            assert_eq!(joined(upstream, target), whole);
        }
    }

    #[test]
    fn a_target_that_is_no_path_is_not_joined() {
        let upstream = Upstream::parse("http://up").unwrap();
        assert_eq!(upstream.join(&PathAndQuery::from_static("*")), None);
    }

    #[test]
    fn what_is_not_an_upstream_is_refused() {
        for text in [
            "",
            "up",
            "up:80",
            "/v1",
            "ftp://up",
            "http://",
            "http:///v1",
            "http://u:p@up",
            "http://up/v1?a=b",
            "http://up/#a",
            "http://up:99999",
            "http://up:x",
            "http://a b",
        ] {
            assert!(Upstream::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_upstream_is_shown_as_it_was_named() {
        assert_eq!(
            Upstream::parse("https://up:8443/v1/").unwrap().to_string(),
            "https://up:8443/v1"
        );
    }
}
