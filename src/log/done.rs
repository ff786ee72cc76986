//! That a group is on disk: what whoever appended to it waits for.

use std::sync::Arc;

use crate::error::Error;
use crate::event::{Event, fire_all};

/// How many events a group has at most. A frame's event is counted by four hands or more, so threads
/// that append at once have each their own.
pub(super) const STRIPES: usize = if cfg!(onceward_shuttle) { 2 } else { 8 };

/// The events of a group, made as threads of their stripes append to it. All happen alike.
#[derive(Debug, Default)]
pub(super) struct Done([Option<Arc<Event>>; STRIPES]);

impl Done {
    /// The event of a stripe.
    pub(super) fn of(&mut self, stripe: usize) -> Arc<Event> {
        let stripes = self.0.len();
        // In range by construction.
        let event = self.0.get_mut(stripe % stripes).unwrap_or_else(|| unreachable!());
        Arc::clone(event.get_or_insert_with(Event::new))
    }

    /// Lets all of them happen.
    pub(super) fn fire(self, outcome: Result<(), Error>) {
        fire_all(self.into_events().collect(), outcome);
    }

    /// All of them.
    pub(super) fn events(&self) -> impl Iterator<Item = Arc<Event>> {
        self.0.iter().flatten().cloned()
    }

    /// All of them, let go of.
    pub(super) fn into_events(self) -> impl Iterator<Item = Arc<Event>> {
        self.0.into_iter().flatten()
    }
}
