//! Requests written octet by octet, and what comes back. HTTP/1.1 is spoken here by hand: what the
//! suite has to say is often what no proper client would send. HTTP/2 is hyper's.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onceward::http::Body;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tower_service::Service;

/// Longer than any answer takes on a busy machine. Only a check that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The longest line of a head read, and how many, before it is no head.
const LINE_MAX: u64 = 64 << 10;
const LINES_MAX: usize = 1_000;

type Io = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// A request, as it is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    /// Path and query, below the base.
    pub(crate) target: String,
    /// Lines without those that frame or address the message.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Bytes,
}

/// A response, whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case, in their order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Trailer lines.
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// Statuses of informational responses in front of it.
    pub(crate) informed: Vec<u16>,
}

impl Reply {
    /// The values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.fields.iter().filter(|(field, _)| field == name);
        lines.map(|(_, value)| value.as_slice()).collect()
    }

    /// A field's first value, as text; empty when there is none.
    pub(crate) fn one(&self, name: &str) -> String {
        let value = self.all(name).first().copied().unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    authority: String,
    base: String,
    connector: HttpsConnector<HttpConnector>,
}

impl Target {
    /// The target at `url`, over HTTP/2 or HTTP/1.1. Errors are in words.
    pub(crate) fn new(url: &str, http2: bool) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{url}` names no host"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("`{url}` begins neither with http:// nor with https://")),
        };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = if secure {
            builder
                .with_provider_and_native_roots(provider)
                .map_err(|error| format!("the system's certificates cannot be used: {error}"))?
        } else {
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| format!("TLS cannot be set up: {error}"))?;
            builder.with_tls_config(
                // Nothing is verified where nothing is encrypted.
                config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
            )
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = builder.https_or_http();
        let connector = if http2 {
            builder.enable_http2().wrap_connector(tcp)
        } else {
            builder.enable_http1().wrap_connector(tcp)
        };
        let authority = authority.as_str().to_owned();
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { uri, authority, base, connector })
    }

    /// The base path, without its last `/`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    async fn connect(&self) -> Result<Io, String> {
        let mut connector = self.connector.clone();
        std::future::poll_fn(|cx| connector.poll_ready(cx))
            .await
            .map_err(|error| error.to_string())?;
        let stream = connector.call(self.uri.clone());
        let stream = stream.await.map_err(|error| format!("{}: {error}", self.authority))?;
        Ok(TokioIo::new(stream))
    }

    /// Opens a connection of HTTP/1.1.
    pub(crate) async fn wire(&self) -> Result<Wire, String> {
        let stream = within("connecting", self.connect()).await?;
        Ok(Wire { stream: BufReader::new(stream) })
    }

    /// The head of `ask` in HTTP/1.1, with these lines (each with its line end) in front of the
    /// empty one.
    pub(crate) fn head(&self, ask: &Ask, lines: &str) -> Vec<u8> {
        let Self { authority, base, .. } = self;
        let mut head =
            format!("{} {base}{} HTTP/1.1\r\nHost: {authority}\r\n", ask.method, ask.target)
                .into_bytes();
        for (name, value) in &ask.fields {
            head.extend(name.as_bytes());
            head.extend(b": ");
            head.extend(value);
            head.extend(b"\r\n");
        }
        head.extend(lines.as_bytes());
        head.extend(b"\r\n");
        head
    }

    /// Sends `ask` over HTTP/1.1 and gives the response's head; the body is the caller's to read.
    pub(crate) async fn begin(&self, ask: &Ask) -> Result<(Reply, Wire), String> {
        let mut wire = self.wire().await?;
        let mut octets = self.head(ask, &length_line(ask));
        octets.extend(&ask.body);
        wire.send(&octets).await?;
        let head = wire.reply_head().await?;
        Ok((head, wire))
    }

    /// Sends `ask` over HTTP/1.1 on a connection of its own.
    pub(crate) async fn exchange(&self, ask: &Ask) -> Result<Reply, String> {
        let (head, mut wire) = self.begin(ask).await?;
        wire.rest(head, ask.method == "HEAD").await
    }

    /// Sends `ask` over HTTP/2, and gives the head and the body that is still to be read.
    pub(crate) async fn begin2(&self, ask: &Ask) -> Result<(Reply, Stream2), String> {
        let stream = within("connecting", self.connect()).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|error| format!("HTTP/2: {error}"))?;
        let driver = Driver(tokio::spawn(async move {
            // What breaks it, the request learns as well.
            let _ = connection.await;
        }));
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let uri = format!("{scheme}://{}{}{}", self.authority, self.base, ask.target);
        let mut request = Request::builder().method(ask.method.as_str()).uri(uri);
        for (name, value) in &ask.fields {
            let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
            request = request.header(name.as_str(), value);
        }
        let body = if ask.body.is_empty() { Body::empty() } else { Body::full(ask.body.clone()) };
        let request = request.body(body).map_err(|error| error.to_string())?;
        let response = within("the response", async {
            sender.send_request(request).await.map_err(|error| format!("HTTP/2: {error}"))
        })
        .await?;
        let (parts, body) = response.into_parts();
        let head = Reply {
            status: parts.status.as_u16(),
            fields: listed(&parts.headers),
            ..Reply::default()
        };
        Ok((head, Stream2 { body, _driver: driver }))
    }

    /// Sends `ask` over HTTP/2 on a connection of its own.
    pub(crate) async fn exchange2(&self, ask: &Ask) -> Result<Reply, String> {
        let (mut reply, mut stream) = self.begin2(ask).await?;
        while let Some(piece) = stream.piece(&mut reply).await? {
            reply.body.extend(piece);
        }
        Ok(reply)
    }
}

/// The line that frames a request's body, or none for one without.
fn length_line(ask: &Ask) -> String {
    let bodiless = matches!(ask.method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS");
    if ask.body.is_empty() && bodiless {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", ask.body.len())
    }
}

fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    headers.iter().map(line).collect()
}

/// Waits for `what`, and says so when it does not come.
pub(crate) async fn within<T>(
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = |_| format!("{what} did not come within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}

/// What drives a connection of HTTP/2, which ends when this is dropped.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response's body over HTTP/2.
pub(crate) struct Stream2 {
    body: Incoming,
    _driver: Driver,
}

impl Stream2 {
    /// The next piece; `None` is the end. Trailers go into `reply`.
    pub(crate) async fn piece(&mut self, reply: &mut Reply) -> Result<Option<Bytes>, String> {
        let next = async { Ok(self.body.frame().await) };
        let Some(frame) = within("the body", next).await? else { return Ok(None) };
        let frame = frame.map_err(|error| format!("the body broke off: {error}"))?;
        match frame.into_data() {
            Ok(data) => Ok(Some(data)),
            Err(frame) => {
                reply.trailers = listed(&frame.into_trailers().unwrap_or_default());
                Ok(None)
            }
        }
    }
}

/// A connection of HTTP/1.1.
pub(crate) struct Wire {
    stream: BufReader<Io>,
}

impl Wire {
    /// Sends octets as they are. A peer that has closed is found out on reading.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        within("room to send", async {
            // What it answered before it closed is still there to be read.
            let _ = self.stream.get_mut().write_all(octets).await;
            let _ = self.stream.get_mut().flush().await;
            Ok(())
        })
        .await
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        self.stream.get_mut().shutdown().await.map_err(|error| error.to_string())
    }

    async fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        within("a line of the response", async {
            let mut line = Vec::new();
            let mut limited = (&mut self.stream).take(LINE_MAX);
            match limited.read_until(b'\n', &mut line).await {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some(line.trim_ascii_end().to_vec())),
                Err(error) => Err(format!("reading the response: {error}")),
            }
        })
        .await
    }

    async fn lines(&mut self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut fields = Vec::new();
        while fields.len() < LINES_MAX {
            let line = self.line().await?.ok_or("the response's head broke off")?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = match line.iter().position(|octet| *octet == b':') {
                Some(at) => line.split_at(at),
                None => return Err("a line of the response's head has no colon".to_owned()),
            };
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
        }
        Err("the response's head has no end".to_owned())
    }

    /// One head, which may be an informational one.
    pub(crate) async fn one_head(&mut self) -> Result<Reply, String> {
        let line = self.line().await?.ok_or("the connection was closed without a response")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("`{line}` is no status line"))?;
        Ok(Reply { status, fields: self.lines().await?, ..Reply::default() })
    }

    /// The final head, with the informational ones' statuses.
    pub(crate) async fn reply_head(&mut self) -> Result<Reply, String> {
        let mut informed = Vec::new();
        loop {
            let head = self.one_head().await?;
            if head.status >= 200 || head.status == 101 {
                return Ok(Reply { informed, ..head });
            }
            informed.push(head.status);
        }
    }

    /// Reads the body that belongs to `reply`, and the trailers.
    pub(crate) async fn rest(&mut self, mut reply: Reply, head: bool) -> Result<Reply, String> {
        if head || reply.status < 200 || matches!(reply.status, 204 | 304) {
            return Ok(reply);
        }
        if reply.one("transfer-encoding").eq_ignore_ascii_case("chunked") {
            while let Some(chunk) = self.chunk().await? {
                reply.body.extend(chunk);
            }
            reply.trailers = self.lines().await?;
        } else if let Ok(length) = reply.one("content-length").parse() {
            reply.body = self.octets(length).await?;
        } else {
            within("the body's end", async {
                let body = &mut reply.body;
                let read = self.stream.read_to_end(body).await;
                read.map(|_| ()).map_err(|error| error.to_string())
            })
            .await?;
        }
        Ok(reply)
    }

    /// One chunk of a chunked body; `None` is the last one, behind which come the trailers.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let line = self.line().await?.ok_or("the body broke off")?;
        let size = String::from_utf8_lossy(&line);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("`{size}` is no length"))?;
        if size == 0 {
            return Ok(None);
        }
        let chunk = self.octets(size).await?;
        self.line().await?;
        Ok(Some(chunk))
    }

    async fn octets(&mut self, length: usize) -> Result<Vec<u8>, String> {
        within("the body", async {
            let mut octets = Vec::new();
            let limit = u64::try_from(length).unwrap_or(u64::MAX);
            let read = (&mut self.stream).take(limit).read_to_end(&mut octets).await;
            match read {
                Ok(read) if read == length => Ok(octets),
                Ok(_) => Err("the body broke off".to_owned()),
                Err(error) => Err(format!("the body broke off: {error}")),
            }
        })
        .await
    }
}
