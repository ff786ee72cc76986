//! Connections that change protocol: once both sides agreed, octets pass unread.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::headers::upgrade_asked;

/// A client's wish to change protocol, and its side of the connection.
pub(crate) struct Wish {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Wish {
    /// Takes the wish out of a request, before its connection fields are stripped. `None` when
    /// there is none that can be passed on: the request is then one like any other, which is any
    /// server's right (RFC 9110, section 7.8). HTTP/2 in clear text is not passed on, for requests
    /// within it would pass unread.
    pub(crate) fn take<B: http_body::Body>(request: &mut Request<B>) -> Option<Self> {
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let protocol = upgrade_asked(request.headers())?;
        let is_http2 = protocol.as_bytes().to_ascii_lowercase().windows(3).any(|at| at == b"h2c");
        if is_http2 || !request.body().is_end_stream() {
            return None;
        }
        client.map(|client| Self { protocol, client })
    }

    /// Asks the upstream for the same, after the connection fields were stripped.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        set(headers, self.protocol.clone());
    }

    /// Joins both sides once the upstream agreed, in a task of its own. `headers` are the stripped
    /// ones of the answer to the client; `upstream` is the answer itself, with its `Upgrade`.
    pub(crate) fn join<B>(self, upstream: &mut Response<B>, agreed: HeaderValue) {
        debug_assert_eq!(upstream.status(), StatusCode::SWITCHING_PROTOCOLS);
        set(upstream.headers_mut(), agreed);
        let upstream = hyper::upgrade::on(upstream);
        tokio::spawn(async move {
            let both = tokio::try_join!(self.client, upstream);
            let Ok((client, upstream)) = both.inspect_err(|error| {
                tracing::debug!(%error, "a connection was to change protocol and broke");
            }) else {
                return;
            };
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
                tracing::debug!(%error, "a connection that changed protocol broke");
            }
        });
    }
}

fn set(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}
