//! What the promise (P0) says of a key, and nothing of the engine.
//!
//! A key has the facts its history leaves open: the first is sure, each later one is what a call that
//! has not come back may have made of it. What is seen rules out those before it.

use onceward::Fingerprint;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Payload(Vec<u8>),
    Note(Vec<u8>),
}

/// A state of a key. `until_ms` is the last moment at which it must still be (P0.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Free,
    /// Held by claim `id`.
    Held {
        id: u64,
        print: Fingerprint,
        ttl_ms: u64,
    },
    InDoubt {
        print: Fingerprint,
        until_ms: u64,
    },
    Done {
        print: Fingerprint,
        content: Content,
        until_ms: u64,
    },
}

/// What a call has shown of a key.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Absent,
    InFlight(Fingerprint),
    InDoubt(Fingerprint),
    Done(Fingerprint, Content),
}

impl Fact {
    pub(crate) fn may_be_gone(&self, now_ms: u64) -> bool {
        match self {
            Self::Free => true,
            Self::Held { .. } => false,
            Self::InDoubt { until_ms, .. } | Self::Done { until_ms, .. } => now_ms > *until_ms,
        }
    }

    /// Whether this is what was seen. With `exact`, nothing outlives its time, either.
    fn shows(&self, seen: &Seen, now_ms: u64, exact: bool) -> bool {
        let alive = !exact || !self.may_be_gone(now_ms);
        match (self, seen) {
            (_, Seen::Absent) => self.may_be_gone(now_ms),
            (Self::Held { print, .. }, Seen::InFlight(other)) => print == other,
            (Self::InDoubt { print, .. }, Seen::InDoubt(other)) => print == other && alive,
            (Self::Done { print, content, .. }, Seen::Done(other, same)) => {
                print == other && content == same && alive
            }
            _ => false,
        }
    }
}

/// All keys.
pub(crate) struct Model {
    keys: Vec<Vec<Fact>>,
    pub(crate) now_ms: u64,
    /// Whether store time cannot have fallen behind the model's: until the first crash, and while
    /// nothing is decided at a moment the model does not know.
    pub(crate) exact: bool,
}

impl Model {
    pub(crate) fn new(keys: usize) -> Self {
        Self { keys: vec![vec![Fact::Free]; keys], now_ms: 0, exact: true }
    }

    pub(crate) fn facts(&self, key: usize) -> &[Fact] {
        &self.keys[key]
    }

    pub(crate) fn may_be_gone(&self, key: usize) -> bool {
        self.keys[key].iter().any(|fact| fact.may_be_gone(self.now_ms))
    }

    /// A call was begun that may make this of the key.
    pub(crate) fn may(&mut self, key: usize, fact: Fact) {
        if !self.keys[key].contains(&fact) || fact == Fact::Free {
            self.keys[key].push(fact);
        }
    }

    /// A call came back without having made this of the key.
    pub(crate) fn withdraw(&mut self, key: usize, fact: &Fact) {
        let facts = &mut self.keys[key];
        if let Some(at) = facts.iter().rposition(|other| other == fact).filter(|at| *at > 0) {
            facts.remove(at);
        }
    }

    /// A call came back and had made this of the key: what stood before it is past (P0.2).
    pub(crate) fn done(&mut self, key: usize, fact: &Fact) {
        let facts = &mut self.keys[key];
        match facts.iter().position(|other| other == fact) {
            Some(at) => drop(facts.drain(..at)),
            None => *facts = vec![fact.clone()],
        }
    }

    /// A claim was granted (P0.1): only a free key is, and only one claim gets it.
    pub(crate) fn granted(&mut self, key: usize, held: Fact) -> Result<(), String> {
        if !self.may_be_gone(key) {
            return Err(self.wrong(key, "granted"));
        }
        self.keys[key] = vec![held];
        Ok(())
    }

    /// The key was looked at while calls may be under way (P0.3).
    pub(crate) fn seen(&mut self, key: usize, seen: &Seen) -> Result<(), String> {
        let (now_ms, exact) = (self.now_ms, self.exact);
        let facts = &mut self.keys[key];
        let Some(at) = facts.iter().position(|fact| fact.shows(seen, now_ms, exact)) else {
            return Err(self.wrong(key, &format!("{seen:?}")));
        };
        // A claim that is not on disk yet shows as none at all, and that proves nothing.
        if !matches!(seen, Seen::Absent) {
            facts.drain(..at);
        }
        Ok(())
    }

    /// The key was looked at and nothing is under way: what was seen is the only truth.
    pub(crate) fn settled(&mut self, key: usize, seen: &Seen) -> Result<(), String> {
        let (now_ms, exact) = (self.now_ms, self.exact);
        let facts = &mut self.keys[key];
        facts.retain(|fact| fact.shows(seen, now_ms, exact));
        if facts.is_empty() {
            return Err(self.wrong(key, &format!("{seen:?}, and nothing is under way")));
        }
        if matches!(seen, Seen::Absent) {
            // What has expired shows again when store time, which a reboot does not advance, is
            // behind: later than it had to go, which is no breach.
            facts.dedup();
            return Ok(());
        }
        // Several beginnings may show the same: the promise is that of the earliest.
        facts.sort_by_key(|fact| match fact {
            Fact::InDoubt { until_ms, .. } | Fact::Done { until_ms, .. } => *until_ms,
            _ => 0,
        });
        facts.truncate(1);
        Ok(())
    }

    /// The process is gone: whatever was held is in doubt from the moment the store is back (P0.4).
    pub(crate) fn restart(&mut self) {
        let now_ms = self.now_ms;
        for fact in self.keys.iter_mut().flatten() {
            if let Fact::Held { print, ttl_ms, .. } = *fact {
                *fact = Fact::InDoubt { print, until_ms: now_ms + ttl_ms };
            }
        }
    }

    fn wrong(&self, key: usize, what: &str) -> String {
        format!("key {key} is {what} at {} ms; possible: {:?}", self.now_ms, self.keys[key])
    }
}
