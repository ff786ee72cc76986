//! A store on the simulated disk, stepped by hand, and keys for it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onceward::storage::SimDisk;
use onceward::{Claim, Error, Fingerprint, Key, KeyId, Keys, ManualClock, Options, Store, Ticket};

pub(crate) const BORN_MS: u64 = 1_750_000_000_000;
pub(crate) const TTL: Duration = Duration::from_secs(10);
/// Two such payloads, and no third, fit into a segment.
pub(crate) const LONG: usize = 25_000;

/// Keys of 32 octets that are alike, the first the current one.
pub(crate) fn ring(current: u8, older: &[u8]) -> Keys {
    let all: Vec<u8> = [&[current], older].concat();
    Keys::from_fn(KeyId::of(&[current; 32]), move |id| {
        all.iter().map(|octet| [*octet; 32]).find(|key| KeyId::of(key) == id)
    })
}

pub(crate) fn options(clock: &ManualClock) -> Options {
    Options::new().ttl(TTL).segment_size(64 << 10).clock(clock.clone()).stepped()
}

pub(crate) fn on(disk: &Arc<SimDisk>, options: Options) -> Result<Store, Error> {
    let disk: Arc<SimDisk> = Arc::clone(disk);
    options.open_storage(disk)
}

pub(crate) fn key(text: &str) -> Key<'_> {
    Key::new("acct_1", text).unwrap()
}

pub(crate) fn print() -> Fingerprint {
    Fingerprint::of("POST /v1/sites")
}

/// Drives a future to its end by stepping the store.
pub(crate) fn drive<T>(store: &Store, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        store.step().unwrap();
    }
    panic!("the store steps without end");
}

pub(crate) fn claim(store: &Store, text: &str) -> Claim {
    drive(store, store.claim(key(text), print())).unwrap()
}

pub(crate) fn granted(store: &Store, text: &str) -> Ticket {
    match claim(store, text) {
        Claim::Granted(ticket) => ticket,
        other => panic!("{text}: expected a grant, got {other:?}"),
    }
}

pub(crate) fn complete(store: &Store, text: &str, payload: &[u8]) {
    let ticket = granted(store, text);
    drive(store, ticket.complete(payload.to_vec())).unwrap();
}

pub(crate) fn replayed(store: &Store, text: &str) -> Option<Vec<u8>> {
    match claim(store, text) {
        Claim::Replay(record) => record.payload().unwrap().map(|payload| payload.to_vec()),
        other => panic!("{text}: expected a replay, got {other:?}"),
    }
}

/// A payload of its own for each number.
pub(crate) fn long(number: u8) -> Vec<u8> {
    (0..LONG).map(|at| (at * 31 + at / 251) as u8 ^ number).collect()
}

/// The segments there are, oldest first.
pub(crate) fn segments(disk: &SimDisk) -> Vec<u32> {
    let files = disk.files().into_iter();
    files
        .filter_map(|path| path.strip_prefix("segments/")?.strip_suffix(".log")?.parse().ok())
        .collect()
}
