//! Listening: addresses bound, connections accepted and served, and let go of gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use onceward::http::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::prompt::Prompt;
use crate::tls::Tls;

/// How long the head of a request may take to arrive, and a connection to begin.
pub(crate) const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an HTTP/2 peer is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system refused to, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds `address` (`HOST:PORT`). The error is one line and names the address.
pub(crate) async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), String> {
    let wrong = |error: io::Error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    Ok((listener, bound))
}

/// The next connection, however often the system refuses to give one.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are written whole: waiting for more to send with them gains nothing.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return (stream, peer);
            }
            Err(error) if is_peers_fault(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// Serves HTTP/1.1 and HTTP/2 on `listener` with `handle`, until `stop` resolves; then the listener
/// is closed, idle connections and handshakes are let go of, and the others wait in the returned
/// group for what runs on them. Over `tls` the client chooses the version in the handshake (ALPN),
/// in clear text by how it begins (prior knowledge).
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    handle: H,
    stop: impl Future<Output = ()>,
) -> GracefulShutdown
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE_INTERVAL);
    // Dropped when this returns, which is what handshakes see.
    let (accepting, stopped) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener) => accepted,
        };
        let (builder, handle, watcher) = (builder.clone(), handle.clone(), graceful.watcher());
        match &tls {
            None => {
                tokio::spawn(connection(stream, peer, builder, handle, watcher));
            }
            Some(tls) => {
                let (acceptor, stopped) = (tls.acceptor(), stopped.clone());
                tokio::spawn(async move {
                    if let Some(stream) = handshake(&acceptor, stream, stopped).await {
                        connection(stream, peer, builder, handle, watcher).await;
                    }
                });
            }
        }
    }
    drop(accepting);
    graceful
}

/// Shakes hands, within a time and until nothing new is served.
async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    mut stopped: watch::Receiver<()>,
) -> Option<TlsStream<TcpStream>> {
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    tokio::select! {
        shaken = shaken => match shaken {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        },
        // Nothing is ever sent: this is the end of the sender.
        _ = stopped.changed() => None,
    }
}

/// Serves one connection to its end.
async fn connection<I, H, F>(
    stream: I,
    peer: SocketAddr,
    builder: auto::Builder<TokioExecutor>,
    handle: H,
    watcher: Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let response = handle(request, peer);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let stream = TokioIo::new(Prompt::new(stream, HEADER_READ_TIMEOUT));
    let connection = builder.serve_connection_with_upgrades(stream, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
}
