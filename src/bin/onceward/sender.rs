//! The client that talks to the upstream.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use onceward::http::Body;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::Settings;
use crate::connect::Timed;
use crate::upstream::Upstream;

/// How long a connection may be silent before the system asks whether the other end is alive.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// The client the gateway sends with: HTTP/1.1, one request at a time on each connection, so that
/// a connection that breaks leaves exactly one request unknown.
pub(crate) type Sender = Client<Timed<HttpsConnector<HttpConnector>>, Body>;

impl Settings {
    /// The client for the upstream. The error names the file that cannot be used.
    pub(crate) fn sender(&self) -> Result<Sender, String> {
        let ca = self.upstream_ca.as_deref();
        self.upstream.sender(ca, self.upstream_idle, self.upstream_connect_timeout)
    }
}

impl Upstream {
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
            None if self.is_https() => builder
                .with_native_roots()
                .map_err(|error| format!("the system's certificates cannot be used: {error}"))?,
            // Nothing is verified where nothing is encrypted.
            None => builder.with_root_certificates(rustls::RootCertStore::empty()),
        };
        Ok(builder.with_no_client_auth())
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
