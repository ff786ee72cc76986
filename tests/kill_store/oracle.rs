//! What a store may answer after what was heard from the processes that had it (P0), whoever killed
//! them: it knows what was said outside, and nothing of the engine.

use std::collections::{BTreeSet, HashMap};

use crate::facts::{Content, End, TTL, WORKERS, end, note, payload, ttl};
use crate::word::{Seen, Word};

/// What may be the truth about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A ticket of this process's.
    Held,
    /// Not gone before `until`.
    InDoubt {
        until_ms: u64,
    },
    Result {
        content: Content,
        until_ms: u64,
    },
}

impl State {
    fn is_gone(self, now_ms: u64) -> bool {
        match self {
            Self::Free => true,
            Self::Held => false,
            Self::InDoubt { until_ms } | Self::Result { until_ms, .. } => until_ms <= now_ms,
        }
    }
}

/// A key that was heard of.
#[derive(Clone, Debug, Default)]
struct Known {
    /// What it may be; nothing for a key that was never granted.
    may_be: Vec<State>,
    /// The number of the latest grant or resolution.
    number: u64,
    /// Every result it ever had: who looked long ago may say so late.
    had: Vec<Content>,
    /// There was no room for the result of the latest grant.
    small: bool,
    /// What this process failed to write, and nobody may see before it is gone.
    failed: Option<Content>,
}

impl Known {
    fn may_be_free(&self, now_ms: u64) -> bool {
        self.may_be.is_empty() || self.may_be.iter().any(|state| state.is_gone(now_ms))
    }

    fn result(&mut self, content: Content, until_ms: u64) -> State {
        self.had.push(content);
        State::Result { content, until_ms }
    }
}

/// What was heard of one store.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    keys: HashMap<u64, Known>,
    /// Looked at by many at once: what is said of a key may be late.
    working: bool,
    /// No clock of a process has been beyond this.
    now_ms: u64,
    /// A process has seen this much for certain.
    seen_ms: u64,
    /// Keys that nobody has looked at since somebody may have changed them.
    unseen: BTreeSet<u64>,
    worked: u64,
    /// Claims that failed: each may have left a key in doubt.
    unclaimed: u64,
    tally: Tally,
}

/// What was met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) grants: u64,
    pub(crate) results: u64,
    pub(crate) replays: u64,
    /// Keys in doubt whose grant nobody had heard of.
    pub(crate) unheard: u64,
    pub(crate) expired: u64,
    /// Ends of grants that failed.
    pub(crate) failed: u64,
    /// New claims without room, and results without.
    pub(crate) refused: u64,
    pub(crate) small: u64,
}

impl Oracle {
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// The keys that the next process is to look at.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = u64> {
        self.unseen.iter().copied()
    }

    /// Every key that was heard of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.keys.keys().copied()
    }

    /// These may have been claimed by a process that could not say so any more.
    pub(crate) fn touched(&mut self, keys: impl Iterator<Item = u64>) {
        self.unseen.extend(keys);
    }

    /// The process is gone, and its tickets with it.
    pub(crate) fn ended(&mut self) {
        self.worked += u64::from(self.working);
        self.working = false;
        for (key, known) in &mut self.keys {
            known.failed = None;
            for state in &mut known.may_be {
                if *state == State::Held {
                    let until_ms = self.seen_ms + ttl(*key).as_millis() as u64;
                    *state = State::InDoubt { until_ms };
                    self.unseen.insert(*key);
                }
            }
        }
    }

    /// Takes note of `word`, or says what is wrong with it.
    pub(crate) fn hear(&mut self, word: &Word) -> Result<(), String> {
        match *word {
            Word::Ready
            | Word::Opening
            | Word::Unopened(_)
            | Word::Closing
            | Word::Closed
            | Word::Unclosed(_)
            | Word::Crowded => {}
            Word::Opened => self.seen_ms = self.now_ms,
            Word::Working => self.working = true,
            Word::Time { ms } => self.now_ms = self.now_ms.max(ms),
            Word::Granted { key, number, ms } => return self.granted(key, number, ms),
            Word::Ended { key, number, ms } => self.finished(key, number, ms),
            Word::Saw { key, seen } if self.working => return self.glimpsed(key, seen),
            Word::Saw { key, seen } => return self.saw(key, seen),
            Word::Resolving { key, number, ms, result } => self.resolving(key, number, ms, result),
            Word::Resolved { key, number } => self.resolved(key, number),
            Word::Unclaimed { key } => {
                self.unclaimed += 1;
                self.unseen.insert(key);
            }
            Word::Refused => self.tally.refused += 1,
            Word::Failed { key, number } => self.failed(key, number),
            Word::NoRoom { key, number, ms } => self.no_room(key, number, ms),
            Word::Fault(ref what) => return Err(what.clone()),
        }
        Ok(())
    }

    fn granted(&mut self, key: u64, number: u64, ms: u64) -> Result<(), String> {
        self.seen_ms = self.seen_ms.max(ms);
        self.unseen.insert(key);
        let known = self.keys.entry(key).or_default();
        if !known.may_be_free(self.now_ms) {
            return Err(format!("key {key} is granted, and it is {:?}", known.may_be));
        }
        self.tally.grants += 1;
        self.tally.expired += u64::from(!known.may_be.is_empty());
        let until_ms = ms + ttl(key).as_millis() as u64;
        known.number = number;
        known.small = false;
        let ended = match (end(key, number), Content::left_by(key, number)) {
            (_, Some(content)) => Some(known.result(content, until_ms)),
            (End::Release, _) => Some(State::Free),
            (End::Drop, _) => Some(State::InDoubt { until_ms }),
            _ => None,
        };
        known.may_be = [State::Held].into_iter().chain(ended).collect();
        Ok(())
    }

    fn finished(&mut self, key: u64, number: u64, ms: u64) {
        self.seen_ms = self.seen_ms.max(ms);
        let known = self.keys.entry(key).or_default();
        if known.number != number {
            // Said late: it was granted again since.
            return;
        }
        let small = known.small.then(|| Content::of(true, &note(number)));
        known.may_be = match small.or_else(|| Content::left_by(key, number)) {
            Some(content) => {
                self.tally.results += 1;
                vec![State::Result { content, until_ms: ms + ttl(key).as_millis() as u64 }]
            }
            None => vec![State::Free],
        };
    }

    /// There was no room for the result, and nothing of it was written.
    fn no_room(&mut self, key: u64, number: u64, ms: u64) {
        self.tally.small += 1;
        let known = self.keys.entry(key).or_default();
        if known.number == number {
            known.small = true;
            let until_ms = ms + ttl(key).as_millis() as u64;
            let ended = known.result(Content::of(true, &note(number)), until_ms);
            known.may_be = vec![State::Held, ended];
        }
    }

    /// The end of the grant may be there or not, and is shown to nobody until that is known.
    fn failed(&mut self, key: u64, number: u64) {
        self.tally.failed += 1;
        let known = self.keys.entry(key).or_default();
        if known.number != number {
            return;
        }
        let ended = known.may_be.iter().find_map(|state| match state {
            State::Result { content, .. } => Some(*content),
            _ => None,
        });
        // One like it may have been there before.
        known.failed = ended.filter(|it| known.had.iter().filter(|had| *had == it).count() == 1);
    }

    fn resolving(&mut self, key: u64, number: u64, ms: u64, result: bool) {
        self.seen_ms = self.seen_ms.max(ms);
        self.unseen.insert(key);
        let known = self.keys.entry(key).or_default();
        let until_ms = ms + TTL.max(ttl(key)).as_millis() as u64;
        let resolved = if result {
            known.result(Content::of(false, &payload(key, number)), until_ms)
        } else {
            State::Free
        };
        if known.may_be.is_empty() {
            // In doubt, since somebody says so who is about to resolve it, and granted by nobody
            // who could say so.
            known.may_be.push(State::InDoubt { until_ms: 0 });
        }
        known.may_be.push(resolved);
        known.number = number;
    }

    fn resolved(&mut self, key: u64, number: u64) {
        let known = self.keys.entry(key).or_default();
        if known.number == number
            && let Some(state) = known.may_be.last().copied()
        {
            known.may_be = vec![state];
        }
    }

    /// Somebody saw this of a key while others were at it: only what was never true is wrong, and a
    /// result that was shown is there to stay.
    fn glimpsed(&mut self, key: u64, seen: Seen) -> Result<(), String> {
        self.unseen.insert(key);
        let known = self.keys.entry(key).or_default();
        let Seen::Result(content) = seen else { return Ok(()) };
        self.tally.replays += 1;
        if known.failed == Some(content) {
            return Err(format!("key {key} is answered with what failed to be written"));
        }
        let shown =
            |state: &State| matches!(state, State::Result { content: it, .. } if *it == content);
        if known.may_be.iter().any(shown) {
            known.may_be.retain(shown);
        } else if !known.had.contains(&content) {
            return Err(format!(
                "key {key} is answered with what nobody gave it: {:?}",
                known.may_be
            ));
        }
        Ok(())
    }

    /// Somebody saw this of a key, and nobody else was there.
    fn saw(&mut self, key: u64, seen: Seen) -> Result<(), String> {
        self.unseen.remove(&key);
        let now_ms = self.now_ms;
        let known = self.keys.entry(key).or_default();
        let wrong = |known: &Known| {
            Err(format!(
                "key {key} is seen as {seen:?} at {now_ms} ms, and it is {:?}",
                known.may_be
            ))
        };
        match seen {
            Seen::Nothing if known.may_be_free(now_ms) => known.may_be = vec![State::Free],
            Seen::InDoubt => {
                let doubt = |state: &State| matches!(state, State::InDoubt { .. });
                if known.may_be.iter().any(doubt) {
                    known.may_be.retain(doubt);
                } else if known.may_be_free(now_ms) {
                    // Granted to a worker who was killed before it could say so; nobody knows when.
                    self.tally.unheard += 1;
                    known.may_be = vec![State::InDoubt { until_ms: 0 }];
                    if self.tally.unheard > WORKERS * self.worked + self.unclaimed {
                        return Err(format!(
                            "key {key} is in doubt, and nobody can have claimed it"
                        ));
                    }
                } else {
                    return wrong(known);
                }
            }
            Seen::Result(content) => {
                let this = |state: &State| matches!(state, State::Result { content: it, .. } if *it == content);
                self.tally.replays += 1;
                if !known.may_be.iter().any(this) {
                    return wrong(known);
                }
                known.may_be.retain(this);
            }
            Seen::Nothing | Seen::InFlight => return wrong(known),
        }
        Ok(())
    }
}
