//! What a thread remembers of tables of segments, so that it finds a segment without a lock.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::table::Hold;

/// Tables a thread remembers at a time: looks at more stores than that, in turn, each take the lock.
const TABLES: usize = 4;

/// Segments of a table a thread remembers, the newest: a look into an older one takes the lock.
const SEGMENTS: usize = 4096;

/// The segments that a row of a table had, by id.
///
/// No hold on any of them: one that is removed goes, whoever remembers it, and its bytes are given
/// back to the disk even if that thread never looks again.
#[derive(Debug)]
pub(super) struct Remembered(Box<[(u32, Weak<Hold>)]>);

impl Remembered {
    /// What `holds`, in the order of their ids, are to be remembered as.
    pub(super) fn of(holds: &[Arc<Hold>]) -> Self {
        let newest = holds.get(holds.len().saturating_sub(SEGMENTS)..).unwrap_or_default();
        Self(newest.iter().map(|hold| (hold.id, Arc::downgrade(hold))).collect())
    }

    #[inline]
    fn hold(&self, id: u32) -> Option<Arc<Hold>> {
        // Ids follow one another but for what went before its time, so the guess is right.
        let (first, _) = self.0.first()?;
        let guess = self.0.get(id.wrapping_sub(*first) as usize).filter(|(there, _)| *there == id);
        let (_, hold) = guess
            .or_else(|| self.0.get(self.0.binary_search_by_key(&id, |(there, _)| *there).ok()?))?;
        hold.upgrade()
    }
}

/// A table's state, by a number that no other table or state has; and what it was.
type Known = Option<(u64, Arc<Remembered>)>;

thread_local! {
    static NEAR: RefCell<[Known; TABLES]> = const { RefCell::new([const { None }; TABLES]) };
}

/// A hold on the segment `id` of the table whose state has this number; `None` when the thread does
/// not remember it.
#[inline]
pub(super) fn hold(table: usize, state: u64, id: u32) -> Option<Arc<Hold>> {
    // A thread that is ending remembers nothing.
    let found = NEAR.try_with(|near| {
        let near = near.borrow();
        let (known, remembered) = near.get(table % TABLES)?.as_ref()?;
        if *known == state { remembered.hold(id) } else { None }
    });
    found.ok().flatten()
}

/// Remembers a table's state in place of what stood there.
pub(super) fn remember(table: usize, state: u64, remembered: &Arc<Remembered>) {
    let _ = NEAR.try_with(|near| {
        if let Some(known) = near.borrow_mut().get_mut(table % TABLES) {
            *known = Some((state, Arc::clone(remembered)));
        }
    });
}
