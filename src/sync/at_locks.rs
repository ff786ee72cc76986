//! What a thread of a test does as it comes to a lock of the library: so a test has several threads
//! in a store and decides itself which of them goes on, in an order that can be repeated. In builds
//! with the feature `test-util` alone.

use std::cell::{Cell, RefCell};

type Hook = Box<dyn FnMut(bool)>;

thread_local! {
    static HAS_HOOK: Cell<bool> = const { Cell::new(false) };
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Has this thread call `hook` with `false` each time it comes to a lock of the library; and with
/// `true`, again and again instead of waiting, for as long as another thread that has a hook keeps
/// the lock. `None` takes that back. Within the hook the thread has none.
pub fn at_locks(hook: Option<Box<dyn FnMut(bool)>>) {
    HAS_HOOK.set(hook.is_some());
    HOOK.set(hook);
}

/// Whether this thread has a hook.
pub(super) fn has_hook() -> bool {
    HAS_HOOK.get()
}

/// The thread has come to a lock, which another one keeps or not.
pub(super) fn come(kept: bool) {
    let Some(mut hook) = HOOK.take() else { return };
    HAS_HOOK.set(false);
    hook(kept);
    at_locks(Some(hook));
}
