//! How much memory responses take that do not end (C24). A program of its own, and one test, for it
//! looks at the memory of the whole process.
#![cfg(all(feature = "http", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::BodyExt;
use onceward::http::{Body, Decision, Profile};
use onceward::{NOTE_OCTETS_MAX, State};
use support::anonymous::anonymous;
use support::stream::zeros;
use support::{Api, keyed};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;
const FRAME: usize = 64 << 10;
const AT_ONCE: usize = 16;
/// What of each response is kept at the most.
const CAP: usize = 2 * MIB;
/// What of each its client reads: if it were held in memory, all of it would be far too much.
const READ: usize = 32 * MIB;

/// Zeros without end. What memory the process has is noted as each mebibyte of them is taken.
fn endless(most: &Arc<AtomicUsize>) -> Body {
    let (most, mut taken) = (Arc::clone(most), 0_usize);
    zeros(usize::MAX, FRAME, move |octets| {
        taken += octets;
        if taken.is_multiple_of(MIB) {
            most.fetch_max(anonymous(), Ordering::SeqCst);
        }
    })
}

/// 16 responses at once that do not end: no more of them is held than the profile says for each, a
/// tombstone stands for each before its client has an octet, and none is run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c24_endless_responses_are_tombstones_and_memory_is_bounded_by_what_may_be_kept() {
    let mut profile = Profile::standard();
    profile.response_octets_max = CAP;
    let before = anonymous();
    let most = Arc::new(AtomicUsize::new(0));
    let api = Api::with(profile, {
        let most = Arc::clone(&most);
        move |_, _| {
            let body = endless(&most);
            async move { Response::new(body) }
        }
    });
    let ask =
        |number: usize| keyed("POST", "/things", &number.to_string()).body(Body::empty()).unwrap();
    let all_are_held = Arc::new(Barrier::new(AT_ONCE));
    let mut clients = JoinSet::new();
    for number in 0..AT_ONCE {
        let (api, all_are_held) = (api.clone(), Arc::clone(&all_are_held));
        let request = ask(number);
        clients.spawn(async move {
            let mut response = api.respond(request).await;
            assert_eq!(response.extensions().get(), Some(&Decision::FreshNotRetained));
            // None has been read from yet: what is held of each is held now.
            all_are_held.wait().await;
            let mut octets = 0;
            while octets < READ {
                let frame = response.body_mut().frame().await.unwrap().unwrap();
                octets += frame.into_data().unwrap().len();
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let more = most.load(Ordering::SeqCst).max(anonymous()) - before;
    assert!(more < AT_ONCE * CAP + 64 * MIB, "{} MiB more", more / MIB);
    assert_eq!(api.store.states(), [State::Complete; AT_ONCE]);
    assert!(api.store.payloads().iter().all(|kept| kept.len() <= NOTE_OCTETS_MAX));
    for number in 0..AT_ONCE {
        let again = api.send(ask(number)).await;
        assert_eq!((again.status.as_u16(), again.decision), (409, Some(Decision::NotRetained)));
    }
    assert_eq!(api.runs(), AT_ONCE);
}
