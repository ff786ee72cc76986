//! How many requests may be in flight, and how much memory those take that are not yet (PROOF
//! "in-flight caps global and per scope, refused before buffering").

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use onceward::http::{Body, BoxError, IdempotencyLayer, Profile};
use onceward::{Options, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

use crate::anonymous::{anonymous, is_alone};
use crate::serve_support::PATIENCE;

const MIB: usize = 1 << 20;
const UPLOADS: usize = 200;
const PER_SCOPE: u32 = 8;
const GLOBAL: u32 = 32;

/// A sender that is slow: so many octets come, and then nothing any more.
struct Slow {
    left: usize,
    asked: Arc<AtomicUsize>,
    stalled: Option<mpsc::UnboundedSender<()>>,
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let octets = self.left.min(64 << 10);
        if octets == 0 {
            if let Some(stalled) = self.stalled.take() {
                stalled.send(()).unwrap();
            }
            return Poll::Pending;
        }
        self.left -= octets;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; octets])))))
    }
}

type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// An API whose handlers say that they have begun, and wait to be let go.
struct Api {
    service: Service,
    begun: mpsc::UnboundedReceiver<()>,
    go: watch::Sender<bool>,
}

fn api(directory: &Path, store: Store, profile: Profile) -> Api {
    let (begin, begun) = mpsc::unbounded_channel();
    let (go, wait) = watch::channel(false);
    let handler = tower::service_fn(move |request: Request<Body>| {
        let (begin, mut wait) = (begin.clone(), wait.clone());
        async move {
            let at_once = request.headers().contains_key("x-at-once");
            if !at_once {
                begin.send(()).unwrap();
                wait.wait_for(|go| *go).await.unwrap();
            }
            let mut response = Response::new(Body::full("made"));
            *response.status_mut() = StatusCode::CREATED;
            Ok::<_, Infallible>(response)
        }
    });
    let layer = IdempotencyLayer::new(store).profile(profile).spool_dir(directory);
    let layer = layer.principal(|parts: &http::request::Parts| {
        parts.headers.get("x-account").map(|account| account.as_bytes().to_vec())
    });
    Api { service: BoxCloneSyncService::new(layer.layer(handler)), begun, go }
}

fn post(account: &str, key: &str) -> http::request::Builder {
    Request::post("/things").header("x-account", account).header("idempotency-key", key)
}

async fn send(service: Service, request: Request<Body>) -> Response<Body> {
    let sent = tokio::time::timeout(PATIENCE, service.oneshot(request)).await;
    assert!(sent.is_ok(), "no answer while the body goes on");
    sent.unwrap().unwrap()
}

/// `UPLOADS` slow uploads by `account`: their answers, and how often anybody asked for their octets.
async fn uploads(service: &Service, account: &str) -> (Vec<Response<Body>>, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut all = JoinSet::new();
    for n in 0..UPLOADS {
        let body = Slow { left: MIB, asked: Arc::clone(&asked), stalled: None };
        let request = post(account, &format!("upload-{n}")).body(Body::new(body)).unwrap();
        all.spawn(send(service.clone(), request));
    }
    (all.join_all().await, asked.load(Ordering::SeqCst))
}

fn assert_refused(responses: &[Response<Body>]) {
    assert_eq!(responses.len(), UPLOADS);
    for response in responses {
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(response.headers().contains_key("retry-after"));
    }
}

// One account has as many requests at work as it may. Whatever else it sends is refused while it is
// being sent, and nobody has read an octet of it; replays go on, and so does every other account,
// until all together have as many as there may be.
#[tokio::test]
async fn uploads_over_a_cap_are_refused_before_an_octet_of_them_is_read() {
    let parent = tempfile::tempdir().unwrap();
    let options = Options::new().max_in_flight(GLOBAL).max_in_flight_per_scope(PER_SCOPE);
    let store = options.open(parent.path().join("data")).unwrap();
    let mut api = api(parent.path(), store, Profile::standard());
    let done = || post("acct_0", "done").header("x-at-once", "1").body(Body::empty()).unwrap();
    assert_eq!(send(api.service.clone(), done()).await.status(), StatusCode::CREATED);

    let mut held = JoinSet::new();
    for account in 0..GLOBAL / PER_SCOPE {
        for n in 0..PER_SCOPE {
            let request = post(&format!("acct_{account}"), &format!("held-{n}"));
            held.spawn(send(api.service.clone(), request.body(Body::empty()).unwrap()));
            api.begun.recv().await.unwrap();
        }
        let (refused, asked) = uploads(&api.service, "acct_0").await;
        assert_refused(&refused);
        assert_eq!(asked, 0, "the scope is full, and no octet was asked for");
        let replay = send(api.service.clone(), done()).await;
        assert_eq!(replay.headers()["idempotency-replayed"], "true", "replays claim nothing");
    }
    let (refused, asked) = uploads(&api.service, "acct_of_its_own").await;
    assert_refused(&refused);
    assert_eq!(asked, 0, "the store is full, and no octet was asked for");

    api.go.send(true).unwrap();
    for response in held.join_all().await {
        assert_eq!(response.status(), StatusCode::CREATED);
    }
    let after = post("acct_0", "after").body(Body::empty()).unwrap();
    assert_eq!(send(api.service.clone(), after).await.status(), StatusCode::CREATED);
}

/// C13: 200 slow uploads, all under way, take what the profile gives each of them and no more; the
/// rest is in files. In a process of its own, whose memory nobody else takes.
#[test]
fn c13_slow_uploads_take_the_memory_the_profile_gives_them() {
    if !is_alone("caps::c13_slow_uploads_take_the_memory_the_profile_gives_them") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let parent = tempfile::tempdir().unwrap();
        let store = Store::open(parent.path().join("data")).unwrap();
        let mut profile = Profile::standard();
        profile.request_octets_in_memory = 128 << 10;
        let limit = UPLOADS * profile.request_octets_in_memory + 64 * MIB;
        let api = api(parent.path(), store, profile);
        let before = anonymous();
        let (stall, mut stalled) = mpsc::unbounded_channel();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut all = JoinSet::new();
        for n in 0..UPLOADS {
            let (asked, stalled) = (Arc::clone(&asked), Some(stall.clone()));
            let body = Slow { left: MIB, asked, stalled };
            let request = post("acct_1", &n.to_string()).body(Body::new(body)).unwrap();
            all.spawn(api.service.clone().oneshot(request));
        }
        for _ in 0..UPLOADS {
            tokio::time::timeout(PATIENCE, stalled.recv()).await.unwrap().unwrap();
        }
        let more = anonymous().saturating_sub(before);
        println!("{} MiB more", more / MIB);
        assert!(more < limit, "{} MiB more than before", more / MIB);
        all.shutdown().await;
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}
