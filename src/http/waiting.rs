//! How many duplicates wait for the first of their requests (C37): each holds its body meanwhile, and
//! claims nothing that another cap could count. Counted by layer, and a gateway has one for each rule.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The most that wait in one scope.
const PER_SCOPE_MAX: usize = 1_024;
/// The most that wait in all scopes of a layer.
const MAX: usize = 4_096;

/// The duplicates that wait now.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    all: usize,
    /// No scope stands here in which nobody waits.
    by_scope: HashMap<[u8; 32], usize>,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiting: Arc<Waiting>,
    scope: [u8; 32],
}

impl Waiting {
    /// Counts one more in `scope`; `None` where as many wait as may.
    pub(crate) fn enter(self: &Arc<Self>, scope: &[u8; 32]) -> Option<Waiter> {
        let mut count = self.0.lock();
        let here = count.by_scope.get(scope).copied().unwrap_or_default();
        if count.all >= MAX || here >= PER_SCOPE_MAX {
            return None;
        }
        count.all += 1;
        count.by_scope.insert(*scope, here + 1);
        Some(Waiter { waiting: Arc::clone(self), scope: *scope })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut count = self.waiting.0.lock();
        count.all = count.all.saturating_sub(1);
        let here = count.by_scope.get(&self.scope).copied().unwrap_or_default();
        if here > 1 {
            count.by_scope.insert(self.scope, here - 1);
        } else {
            count.by_scope.remove(&self.scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_wait_as_may_in_one_scope_and_in_all_and_who_goes_makes_room() {
        let waiting = Arc::new(Waiting::default());
        let mut waiters = Vec::new();
        for scope in 0..4 {
            let enter = || waiting.enter(&[scope; 32]);
            waiters.extend((0..PER_SCOPE_MAX).map(|_| enter().unwrap()));
            assert!(enter().is_none(), "scope {scope} is full");
        }
        assert!(waiting.enter(&[9; 32]).is_none(), "all are");
        drop(waiters.pop());
        assert!(waiting.enter(&[0; 32]).is_none());
        let other = waiting.enter(&[9; 32]).unwrap();
        drop((other, waiters));
        let count = waiting.0.lock();
        assert_eq!((count.all, count.by_scope.len()), (0, 0));
    }
}
