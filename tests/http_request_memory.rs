//! How much memory request bodies take (C13). A program of its own, and one test, for it looks at
//! the memory of the whole process.
#![cfg(all(feature = "http", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;

use http_body_util::BodyExt;
use onceward::http::{Body, Decision, OversizeRequest, Profile};
use support::anonymous::anonymous;
use support::stream::zeros;
use support::{Api, created, keyed};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;
const AT_ONCE: usize = 16;

/// So many octets.
fn body(octets: usize) -> Body {
    zeros(octets, 64 << 10, |_| {})
}

/// 16 bodies of 12 MiB at once, and one of 256 MiB: what is held in memory is what the profile says
/// for each, and not what was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c13_memory_is_bounded_by_its_limit_and_not_by_what_is_sent() {
    let mut profile = Profile::standard();
    profile.oversize_request = OversizeRequest::Stream;
    let limit = AT_ONCE * profile.request_octets_in_memory + 64 * MIB;
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let before = anonymous();
    let api = Api::with(profile, {
        let barrier = Arc::clone(&barrier);
        move |n, request| {
            let barrier = Arc::clone(&barrier);
            async move {
                if n <= AT_ONCE {
                    // All of them are held now.
                    barrier.wait().await;
                }
                let mut most = anonymous();
                let (mut body, mut octets) = (request.into_body(), 0);
                while let Some(frame) = body.frame().await {
                    octets += frame.unwrap().into_data().unwrap().len();
                    if octets % (8 * MIB) < 64 << 10 {
                        most = most.max(anonymous());
                    }
                }
                assert!(most < before + limit, "{} MiB more", (most - before) / MIB);
                created(octets)
            }
        }
    });
    let mut requests = JoinSet::new();
    for number in 0..AT_ONCE {
        let (api, body) = (api.clone(), body(12 * MIB));
        let request = keyed("POST", "/things", &number.to_string()).body(body).unwrap();
        requests.spawn(async move { api.send(request).await });
    }
    while let Some(reply) = requests.join_next().await {
        let reply = reply.unwrap();
        assert_eq!(reply.seen(), (201, &*format!("{{\"n\":{}}}", 12 * MIB)));
    }
    for decision in [Decision::Fresh, Decision::Replayed] {
        let request = keyed("POST", "/things", "large").body(body(256 * MIB)).unwrap();
        let reply = api.send(request).await;
        assert_eq!(reply.decision, Some(decision));
        assert_eq!(reply.seen(), (201, &*format!("{{\"n\":{}}}", 256 * MIB)));
        assert!(anonymous() < before + limit);
    }
}
