//! A look at a key that changes while it is looked at: what it says stood at some moment of the look.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use onceward::{
    Claim, Clock, Fingerprint, Key, ManualClock, Options, Reading, Resolution, Resolved, State,
};

type Hook = Box<dyn FnOnce() + Send>;

/// A clock that does something once, as it is looked at.
struct Hooked {
    clock: ManualClock,
    hook: Mutex<Option<Hook>>,
}

impl Hooked {
    fn run(&self) {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

struct Shared(Arc<Hooked>);

impl Clock for Shared {
    fn read(&self) -> Reading {
        self.0.clock.read()
    }

    fn since_boot(&self) -> Duration {
        self.0.run();
        self.0.clock.since_boot()
    }
}

/// A key in doubt is resolved to a result while somebody looks at it, and the doubt's term ends: at no
/// moment was the key free.
#[test]
fn p0_4_a_look_across_a_resolution_does_not_find_the_key_free() {
    for many in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let hooked =
            Arc::new(Hooked { clock: ManualClock::new(1_750_000_000_000), hook: Mutex::new(None) });
        let open = || {
            Options::new()
                .ttl(Duration::from_secs(10))
                .clock(Shared(Arc::clone(&hooked)))
                .open(directory.path().join("data"))
                .unwrap()
        };
        let key = || Key::new("acct", "k").unwrap();
        let store = open();
        let Claim::Granted(ticket) =
            store.blocking_claim(key(), Fingerprint::of("POST /v1/sites")).unwrap()
        else {
            panic!()
        };
        store.close().unwrap();
        std::mem::forget(ticket);
        drop(store);
        let store = open();
        assert_eq!(store.get(key()).unwrap().unwrap().state(), State::InDoubt);
        hooked.clock.advance(Duration::from_secs(9));
        let (resolver, of) = (store.clone(), Arc::clone(&hooked));
        *hooked.hook.lock().unwrap() = Some(Box::new(move || {
            std::thread::spawn(move || {
                let done = Resolution::Complete("done".into());
                assert_eq!(resolver.blocking_resolve(key(), done).unwrap(), Resolved::Done);
                of.clock.advance(Duration::from_secs(2));
            })
            .join()
            .unwrap();
        }));
        let seen = if many {
            store.get_many(&[key()]).pop().unwrap().unwrap()
        } else {
            store.get(key()).unwrap()
        };
        assert!(hooked.hook.lock().unwrap().is_none(), "the hook ran");
        assert!(store.get(key()).unwrap().is_some(), "it is complete");
        assert!(seen.is_some(), "many: {many}: found free, and was in doubt, then complete");
    }
}
