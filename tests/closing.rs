//! What is appended while the store is being closed.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use onceward::storage::SimDisk;
use onceward::{Claim, Clock, Fingerprint, Key, ManualClock, Options, Reading, Store};

type Hook = Box<dyn FnOnce() + Send>;
type Claiming = Pin<Box<dyn Future<Output = Result<Claim<Store>, onceward::Error>> + Send>>;

/// Runs a hook as it is read for the nth time.
#[derive(Clone)]
struct Hooked {
    clock: ManualClock,
    reads: Arc<AtomicI64>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Clock for Hooked {
    fn read(&self) -> Reading {
        if self.reads.fetch_sub(1, Ordering::SeqCst) == 1 {
            let hook = self.hook.lock().unwrap().take();
            if let Some(hook) = hook {
                hook();
            }
        }
        self.clock.read()
    }
}

fn claim(
    store: &Store,
    key: &str,
) -> impl Future<Output = Result<Claim<Store>, onceward::Error>> + Send + 'static {
    store.claim(Key::new("scope", key).unwrap(), Fingerprint::of("a request"))
}

/// A claim comes at any reading of the clock in a close. The store opens again.
#[test]
fn what_is_claimed_while_the_store_closes_does_not_cut_it_off() {
    let (mut bad, mut came) = (Vec::new(), 0);
    for nth in 1..12 {
        let disk = Arc::new(SimDisk::new(1));
        let clock = Hooked {
            clock: ManualClock::new(1_750_000_000_000),
            reads: Arc::new(AtomicI64::new(0)),
            hook: Arc::default(),
        };
        let open = |disk: &Arc<SimDisk>| {
            let disk: Arc<SimDisk> = Arc::clone(disk);
            Options::new().clock(clock.clone()).stepped().open_storage(disk)
        };
        let store = open(&disk).unwrap();
        let mut first = Box::pin(claim(&store, "first"));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        while store.step().unwrap() {}
        let other = store.clone();
        let kept: Arc<Mutex<Vec<Claiming>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let ran = Arc::new(AtomicBool::new(false));
        let has_run = Arc::clone(&ran);
        *clock.hook.lock().unwrap() = Some(Box::new(move || {
            has_run.store(true, Ordering::SeqCst);
            let mut late: Claiming = Box::pin(claim(&other, "late"));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = late.as_mut().poll(&mut cx);
            keep.lock().unwrap().push(late);
        }));
        clock.reads.store(nth, Ordering::SeqCst);
        store.close().unwrap();
        came += u32::from(ran.load(Ordering::SeqCst));
        kept.lock().unwrap().clear();
        drop(first);
        drop(store);
        match open(&disk) {
            Ok(store) => drop(store),
            Err(error) => bad.push(format!("{nth}: {error:?}")),
        }
    }
    assert!(came > 2, "{came} came while it was closed");
    assert!(bad.is_empty(), "{bad:#?}");
}

/// The same with threads and a real disk.
#[test]
fn threads_that_claim_while_the_store_closes() {
    let directory = tempfile::tempdir().unwrap();
    let mut bad = Vec::new();
    for round in 0..20 {
        let path = directory.path().join(format!("{round}"));
        let store = Store::open(&path).unwrap();
        let begun = std::sync::Barrier::new(5);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, begun) = (store.clone(), &begun);
                scope.spawn(move || {
                    begun.wait();
                    for nth in 0.. {
                        let text = format!("{thread} {nth}");
                        let key = Key::new("scope", &text).unwrap();
                        match store.blocking_claim(key, Fingerprint::of("a request")) {
                            Ok(Claim::Granted(ticket)) => drop(ticket.blocking_complete("done")),
                            _ => break,
                        }
                    }
                });
            }
            begun.wait();
            for _ in 0..10 * round {
                std::hint::spin_loop();
            }
            store.close().unwrap();
        });
        drop(store);
        if let Err(error) = Store::open(&path) {
            bad.push(format!("{round}: {error}"));
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
