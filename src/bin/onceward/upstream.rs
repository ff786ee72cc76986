//! Where requests go: the upstream's address, and the client that talks to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use onceward::http::Body;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::connect::Timed;

/// How long a connection may be silent before the system asks whether the other end is alive.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// The client the gateway sends with: HTTP/1.1, one request at a time on each connection, so that
/// a connection that breaks leaves exactly one request unknown.
pub(crate) type Sender = Client<Timed<HttpsConnector<HttpConnector>>, Body>;

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

    /// A client for this upstream. `ca` is a PEM file of the authorities to trust for https, in
    /// place of the system's; `idle` is how long an unused connection is kept, and `connect` how
    /// long a new one may take to open.
    ///
    /// Errors are in words for the operator: a PEM file that cannot be read or holds no
    /// certificate, or a system without any.
    pub(crate) fn sender(
        &self,
        ca: Option<&Path>,
        idle: Duration,
        connect: Duration,
    ) -> Result<Sender, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls(ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Client::builder(TokioExecutor::new())
            // A request that failed is never sent again: whether it was done is the store's to say.
            .retry_canceled_requests(false)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .set_host(false)
            .build(Timed::new(connector, connect)))
    }

    fn tls(&self, ca: Option<&Path>) -> Result<rustls::ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match ca {
            Some(file) => builder.with_root_certificates(authorities(file)?),
            None if self.scheme == Scheme::HTTPS => builder
                .with_native_roots()
                .map_err(|error| format!("the system's certificates cannot be used: {error}"))?,
            // Nothing is verified where nothing is encrypted.
            None => builder.with_root_certificates(rustls::RootCertStore::empty()),
        };
        Ok(builder.with_no_client_auth())
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}

fn authorities(file: &Path) -> Result<rustls::RootCertStore, String> {
    let wrong = |why: String| format!("{}: {why}", file.display());
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it (PEM is expected)".to_owned()));
    }
    Ok(roots)
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

    #[test]
    fn a_file_without_a_certificate_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let upstream = Upstream::parse("https://up").unwrap();
        let idle = Duration::from_secs(1);
        let absent = upstream.sender(Some(&file), idle, idle).unwrap_err();
        std::fs::write(&file, "no certificate").unwrap();
        let empty = upstream.sender(Some(&file), idle, idle).unwrap_err();
        for message in [absent, empty] {
            assert!(message.contains("ca.pem"), "{message}");
        }
    }
}
