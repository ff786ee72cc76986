//! The count of a shard's changes, by which keys are looked at without a lock: the real one
//! (`src/index/version.rs`), in every order of two threads, with all that their processors may show
//! them of each other's memory.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;

mod sync {
    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    }
}

#[path = "../../src/index/version.rs"]
mod version;
use version::Version;

#[derive(Default)]
struct Shard {
    version: Version,
    /// Two words of what is changed, alike whenever nobody is changing them.
    words: [AtomicU64; 2],
    /// What the change points at, written before it.
    frame: AtomicU64,
}

impl Shard {
    fn change(&self, to: u64) {
        self.frame.store(to, Relaxed);
        self.version.begin();
        for word in &self.words {
            word.store(to, Relaxed);
        }
        self.version.end();
    }

    fn look(&self) -> Option<u64> {
        let version = self.version.before()?;
        let [one, other] = self.words.each_ref().map(|word| word.load(Relaxed));
        if !self.version.is_still(version) {
            return None;
        }
        assert_eq!(one, other, "half a change");
        assert!(self.frame.load(Relaxed) >= one, "a change without what it points at");
        Some(one)
    }
}

#[test]
fn who_looks_sees_no_half_of_a_change_and_what_it_points_at() {
    loom::model(|| {
        let shard = Arc::new(Shard::default());
        let changed = Arc::clone(&shard);
        let changing = thread::spawn(move || {
            changed.change(1);
        });
        let (first, second) = (shard.look(), shard.look());
        if let (Some(first), Some(second)) = (first, second) {
            assert!(first <= second, "a change is not taken back");
        }
        changing.join().unwrap();
        assert_eq!(shard.look(), Some(1), "nobody changes it any more");
    });
}
