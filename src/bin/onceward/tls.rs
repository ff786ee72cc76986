//! The gateway's own certificate: read from files, and read again when told to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What a client may ask for during the handshake, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, as it is now.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads both files, in PEM. Errors are one line, and name the file.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let current = RwLock::new(read(certificate, key)?);
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the files again, for connections from now on. On an error nothing changes.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let new = read(&self.certificate, &self.key)?;
        *self.current.write() = new;
        Ok(())
    }

    /// Whoever shakes hands with the next client.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let pem = std::fs::read(certificate).map_err(|error| wrong(certificate, &error))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"no certificate in it (PEM is expected)"));
    }
    let pem = std::fs::read(key).map_err(|error| wrong(key, &error))?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| wrong(key, &format!("no private key in it: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("{}: {error}", wrong(certificate, &key.display())))?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Listens for SIGHUP from now on. What it gives reads the files again at each one, for as long as
/// it is polled.
#[cfg(unix)]
pub(crate) fn reload_on_hangup(tls: Arc<Tls>) -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let hangups = signal(SignalKind::hangup());
    async move {
        let mut hangups = match hangups {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be listened for");
                return;
            }
        };
        while hangups.recv().await.is_some() {
            let tls = Arc::clone(&tls);
            // Files are read apart from the connections.
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(())) => tracing::info!("the certificate was read again"),
                Ok(Err(why)) => tracing::error!("the certificate stays as it was: {why}"),
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
    }
}

/// Where there are no such signals, a restart reads the files.
#[cfg(not(unix))]
pub(crate) fn reload_on_hangup(_: Arc<Tls>) -> impl Future<Output = ()> + Send + 'static {
    std::future::pending()
}
