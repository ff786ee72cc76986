//! The service behind the middleware: sends a request to the upstream, once, and says what became
//! of it.
//!
//! What the middleware is told (SPEC, "Gateway outcomes"):
//! 1. The upstream was not reached, or the request was never written: nothing was executed. 502.
//! 2. The connection broke later: unknown. 502.
//! 3. The upstream answered `Onceward-Outcome: not-executed`: believed, and the field is removed.
//! 4. It answered 502, 504, or 503 without `Retry-After`: a gateway further in lost the request;
//!    unknown, unless `on-gateway-status` says otherwise.
//! 5. Any other answer: the status decides, in the middleware.
//! 6. No answer in the profile's time: the middleware's to say, where a key is granted (C33).
//!
//! Nothing is ever sent twice. A connection taken from the pool may have been closed by the
//! upstream a moment ago: if the client notices before it wrote anything, that is case 1, and if
//! it notices later nobody can tell, which is case 2. Unused connections are therefore kept for a
//! shorter time than servers keep theirs (`upstream-idle`).

use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use onceward::http::{Body, Idempotency, Outcome, Profile};

use crate::answer;
use crate::config::{HostPolicy, OnGatewayStatus};
use crate::duration::show;
use crate::headers::{self, Hop};
use crate::metrics::{Answered, Asking};
use crate::sender::Sender;
use crate::trusted::Trusted;
use crate::upgrade::Wish;
use crate::upstream::Upstream;

const OUTCOME: HeaderName = HeaderName::from_static("onceward-outcome");

/// Who sent a request: a request extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Sends requests to the upstream. Clones share one pool of connections.
#[derive(Clone)]
pub(crate) struct Proxy {
    way: Arc<Way>,
    profile: Arc<Profile>,
}

/// How requests reach the upstream.
pub(crate) struct Way {
    pub(crate) upstream: Upstream,
    pub(crate) sender: Sender,
    pub(crate) host: HostPolicy,
    pub(crate) on_gateway_status: OnGatewayStatus,
    /// Whose word about earlier hops is passed on.
    pub(crate) trusted: Trusted,
    /// What clients speak to the gateway: `http` or `https`.
    pub(crate) proto: &'static str,
}

impl Proxy {
    /// A proxy by `way`, whose own errors are in the dialect of `profile`.
    pub(crate) fn new(way: Way, profile: Profile) -> Self {
        Self { way: Arc::new(way), profile: Arc::new(profile) }
    }

    /// The same, with errors in the dialect of `profile`, and its time for requests without a key.
    pub(crate) fn under(&self, profile: Profile) -> Self {
        Self { way: Arc::clone(&self.way), profile: Arc::new(profile) }
    }

    /// Where requests go.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.way.upstream
    }

    /// The answer to a request with these fields that is not sent, for the upstream did not say who
    /// its sender is.
    pub(crate) fn unreachable(&self, headers: &HeaderMap) -> Response<Body> {
        answer::unreachable(&self.profile, headers)
    }

    /// [`send`](Self::send), for a request that no key is granted for: one that takes longer than
    /// the profile's time is let go of. Where a key is granted, the middleware keeps the time, and
    /// knows what becomes of the key (C33).
    pub(crate) async fn send_in_time(&self, request: Request<Body>) -> Response<Body> {
        let Some(limit) = self.profile.timeout else {
            return self.send(request).await;
        };
        let answered = tokio::time::timeout(limit, self.send(request)).await;
        answered.unwrap_or_else(|_| {
            tracing::warn!(limit = show(limit), "the upstream did not answer in time");
            answer::late()
        })
    }

    /// Sends `request` to its target under the upstream's base, and gives the answer with what the
    /// middleware should make of it.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        match request.uri().path_and_query().and_then(|path| self.way.upstream.join(path)) {
            Some(uri) => self.send_to(uri, request).await,
            None => answer::not_passed_on("only requests for a path are passed on"),
        }
    }

    /// Sends `request` to `uri`, which is at the upstream.
    pub(crate) async fn send_to(&self, uri: Uri, mut request: Request<Body>) -> Response<Body> {
        let way = &*self.way;
        let wish = Wish::take(&mut request);
        let (mut parts, body) = request.into_parts();
        let kept = answer::keep(&parts.headers);
        forward(&mut parts, way);
        if let Some(wish) = &wish {
            wish.pass_on(&mut parts.headers);
        }
        let mut onward = Request::new(body);
        *onward.method_mut() = parts.method;
        *onward.uri_mut() = uri;
        *onward.headers_mut() = parts.headers;
        let asking = Asking::new();
        let (answered, response) = match way.sender.request(onward).await {
            Ok(response) => self.received(response, wish, &kept),
            Err(error) => self.failed(&error, &kept),
        };
        asking.ended(answered);
        response
    }

    fn received(
        &self,
        mut response: Response<Incoming>,
        wish: Option<Wish>,
        kept: &HeaderMap,
    ) -> (Answered, Response<Body>) {
        let agreed = headers::upgrade_asked(response.headers());
        headers::strip_hop_by_hop(response.headers_mut());
        let said = said_not_executed(&mut response);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(wish), Some(agreed)) = (wish, agreed) else {
                tracing::warn!("the upstream changed protocol without being asked");
                return (Answered::Broken, answer::broken(&self.profile, kept));
            };
            wish.join(&mut response, agreed);
        }
        let (answered, outcome) = if said {
            (Answered::NotExecuted, Some(Outcome::NotExecuted))
        } else if lost_further_in(&response) {
            let outcome = match self.way.on_gateway_status {
                OnGatewayStatus::InDoubt => Some(Outcome::Unknown),
                OnGatewayStatus::Release => Some(Outcome::NotExecuted),
                OnGatewayStatus::Store => None,
            };
            (Answered::LostFurtherIn, outcome)
        } else {
            (Answered::Status(response.status()), None)
        };
        let mut response = response.map(Body::new);
        if let Some(outcome) = outcome {
            response.extensions_mut().insert(outcome);
        }
        (answered, response)
    }

    fn failed(
        &self,
        error: &hyper_util::client::legacy::Error,
        kept: &HeaderMap,
    ) -> (Answered, Response<Body>) {
        let cause = in_full(error);
        if never_written(error) {
            tracing::warn!(error = cause, "the upstream was not reached");
            return (Answered::Unreachable, answer::unreachable(&self.profile, kept));
        }
        tracing::warn!(error = cause, "the connection to the upstream broke: outcome unknown");
        (Answered::Broken, answer::broken(&self.profile, kept))
    }
}

/// Makes a request's fields those of the next hop.
fn forward(parts: &mut Parts, way: &Way) {
    let asked = headers::host(parts);
    // An IPv4 peer of an IPv6 socket is an IPv4 peer.
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    headers::strip_hop_by_hop(&mut parts.headers);
    // The gateway answered the expectation itself, when it began to read the body.
    parts.headers.remove(header::EXPECT);
    let trusted = peer.is_some_and(|peer| way.trusted.holds(peer));
    let hop = Hop { peer, trusted, proto: way.proto, host: asked.clone() };
    headers::set_forwarded(&mut parts.headers, hop);
    headers::append_via(&mut parts.headers, parts.version);
    let host = match way.host {
        HostPolicy::Preserve => asked,
        HostPolicy::Upstream => None,
    };
    parts.headers.insert(header::HOST, host.unwrap_or_else(|| way.upstream.host().clone()));
}

/// Whether the request is known not to have left: no connection was made, or the one it was given
/// to was closed before a byte of it was written, in which case hyper says that it was canceled.
fn never_written(error: &hyper_util::client::legacy::Error) -> bool {
    error.is_connect()
        || error
            .source()
            .and_then(|source| source.downcast_ref::<hyper::Error>())
            .is_some_and(hyper::Error::is_canceled)
}

/// Takes the upstream's own word off its answer.
fn said_not_executed<B>(response: &mut Response<B>) -> bool {
    let said = response
        .headers()
        .get_all(OUTCOME)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"not-executed"));
    response.headers_mut().remove(OUTCOME);
    said
}

/// Whether a status says that a gateway between here and the work lost sight of the request.
fn lost_further_in<B>(response: &Response<B>) -> bool {
    match response.status() {
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => true,
        StatusCode::SERVICE_UNAVAILABLE => !response.headers().contains_key(header::RETRY_AFTER),
        _ => false,
    }
}

/// An error with its causes, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl tower_service::Service<Request<Body>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let proxy = self.clone();
        let granted = request.extensions().get::<Idempotency>().is_some();
        Box::pin(async move {
            Ok(if granted { proxy.send(request).await } else { proxy.send_in_time(request).await })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(upstream: Upstream, host: HostPolicy) -> Way {
        let hour = std::time::Duration::from_secs(3600);
        let sender = upstream.sender(None, hour, hour).unwrap();
        let (on_gateway_status, trusted) = (OnGatewayStatus::InDoubt, Trusted::default());
        Way { upstream, sender, host, on_gateway_status, trusted, proto: "http" }
    }

    fn forwarded(policy: HostPolicy, target: &str, fields: &[(&str, &str)]) -> HeaderMap {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        parts.extensions.insert(Peer(SocketAddr::from(([192, 0, 2, 7], 4711))));
        forward(&mut parts, &way(Upstream::parse("http://up:81").unwrap(), policy));
        parts.headers
    }

    #[test]
    fn the_host_is_the_clients_or_the_upstreams() {
        let host = |policy, target, fields: &[(&str, &str)]| {
            let headers = forwarded(policy, target, fields);
            assert_eq!(headers.get_all("host").iter().count(), 1);
            headers["host"].clone()
        };
        let fields = &[("host", "api.example")];
        assert_eq!(host(HostPolicy::Preserve, "/a", fields), "api.example");
        assert_eq!(host(HostPolicy::Upstream, "/a", fields), "up:81");
        assert_eq!(host(HostPolicy::Preserve, "http://abs.example/a", fields), "abs.example");
        assert_eq!(
            host(HostPolicy::Preserve, "http://u:p@abs.example:1/a", fields),
            "abs.example:1"
        );
        assert_eq!(host(HostPolicy::Preserve, "/a", &[]), "up:81", "HTTP/1.0 may have none");
    }

    #[test]
    fn the_upstream_is_told_who_asked_and_for_which_host() {
        let headers = forwarded(
            HostPolicy::Upstream,
            "/a",
            &[("host", "api.example"), ("expect", "100-continue"), ("connection", "close")],
        );
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "api.example");
        assert_eq!(headers["via"], "1.1 onceward");
        assert!(!headers.contains_key("expect") && !headers.contains_key("connection"));
    }

    #[test]
    fn a_gateway_further_in_lost_the_request_by_these_statuses_alone() {
        let lost = |status: u16, retry_after: bool| {
            let mut response = Response::builder().status(status);
            if retry_after {
                response = response.header("retry-after", "1");
            }
            lost_further_in(&response.body(()).unwrap())
        };
        for status in 200..=599 {
            assert_eq!(lost(status, false), [502, 503, 504].contains(&status), "{status}");
            assert_eq!(lost(status, true), [502, 504].contains(&status), "{status} + RA");
        }
    }

    #[test]
    fn the_upstreams_word_is_taken_off_its_answer() {
        for (word, said) in [("not-executed", true), ("Not-Executed", true), ("done", false)] {
            let mut response = Response::builder().header(OUTCOME, word).body(()).unwrap();
            assert_eq!(said_not_executed(&mut response), said, "{word}");
            assert!(response.headers().is_empty());
        }
    }

    /// The story: a connection waits unused in the pool. The upstream closes it. Before the client
    /// has looked, a request is given to that connection; then the client looks, finds it closed,
    /// and has written nothing. The runtime has one thread, so nothing looks in between: one turn
    /// of its driver brings both the close and the test's own cue, and the test goes first.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_request_given_to_a_connection_that_was_closed_before_is_known_to_be_unsent() {
        use std::io::{Read as _, Write as _};
        use std::sync::mpsc::channel;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream =
            Upstream::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let ((go, gone), (closed, is_closed)) = (channel(), channel());
        let (cue, mut give_cue) = std::os::unix::net::UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 1024];
            let length = stream.read(&mut heard).unwrap();
            assert!(heard[..length].ends_with(b"\r\n\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            gone.recv().unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            give_cue.write_all(b".").unwrap();
            closed.send(()).unwrap();
            stream.read(&mut heard).unwrap_or(0)
        });
        let proxy = Proxy::new(way(upstream, HostPolicy::Preserve), Profile::standard());

        let first = proxy.send(Request::new(Body::empty())).await;
        assert_eq!(first.status(), 200);
        http_body_util::BodyExt::collect(first.into_body()).await.unwrap();
        for _ in 0..16 {
            // The connection finds its way back into the pool.
            tokio::task::yield_now().await;
        }
        cue.set_nonblocking(true).unwrap();
        let cue = tokio::net::UnixStream::from_std(cue).unwrap();
        go.send(()).unwrap();
        is_closed.recv().unwrap();
        cue.readable().await.unwrap();
        let second = proxy.send(Request::new(Body::empty())).await;
        assert_eq!(second.status(), 502);
        assert_eq!(second.extensions().get(), Some(&Outcome::NotExecuted));
        drop(proxy);
        assert_eq!(server.join().unwrap(), 0, "not an octet of the second request arrived");
    }
}
