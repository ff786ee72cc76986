//! Whether some order of one key's calls, each at a moment between its beginning and its end, gives
//! the answers that were given (Wing and Gong, "Testing and Verifying Concurrent Objects", 1993;
//! with a memory of the configurations met, as Lowe has it).

use std::collections::HashSet;

/// What was asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Claim { print: u8 },
    Complete { token: u64, content: u64 },
    Release { token: u64 },
    Drop { token: u64 },
    Resolve { content: Option<u64> },
    Get,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    Granted(u64),
    InFlight,
    InDoubt,
    Mismatch,
    Absent,
    /// With this content.
    Done(u64),
    /// A resolution refused, for the key is complete.
    Complete,
}

/// One call, and the ticks between which it took effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) answer: Answer,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// The sequential store: one key of it, from which nothing expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Free,
    Held { token: u64, print: u8 },
    InDoubt { print: u8 },
    Done { content: u64, print: u8 },
}

impl State {
    /// The state after `event`, if its answer is the right one here.
    fn after(self, event: &Event) -> Option<Self> {
        let next = match (event.call, self, event.answer) {
            (Call::Claim { print }, Self::Free, Answer::Granted(token)) => {
                Self::Held { token, print }
            }
            (
                Call::Claim { print },
                Self::Held { print: other, .. }
                | Self::InDoubt { print: other }
                | Self::Done { print: other, .. },
                Answer::Mismatch,
            ) if print != other => self,
            (Call::Claim { print }, Self::Held { print: other, .. }, Answer::InFlight)
            | (Call::Claim { print }, Self::InDoubt { print: other }, Answer::InDoubt)
                if print == other =>
            {
                self
            }
            (Call::Claim { print }, Self::Done { content, print: other }, Answer::Done(seen))
                if print == other && content == seen =>
            {
                self
            }
            (Call::Complete { token, content }, Self::Held { token: held, print }, Answer::Ok)
                if token == held =>
            {
                Self::Done { content, print }
            }
            (Call::Release { token }, Self::Held { token: held, .. }, Answer::Ok)
                if token == held =>
            {
                Self::Free
            }
            (Call::Drop { token }, Self::Held { token: held, print }, Answer::Ok)
                if token == held =>
            {
                Self::InDoubt { print }
            }
            (Call::Resolve { content: None }, Self::InDoubt { .. }, Answer::Ok) => Self::Free,
            (Call::Resolve { content: Some(content) }, Self::InDoubt { print }, Answer::Ok) => {
                Self::Done { content, print }
            }
            (Call::Resolve { .. } | Call::Get, Self::Free, Answer::Absent)
            | (Call::Resolve { .. } | Call::Get, Self::Held { .. }, Answer::InFlight)
            | (Call::Resolve { .. }, Self::Done { .. }, Answer::Complete)
            | (Call::Get, Self::InDoubt { .. }, Answer::InDoubt) => self,
            (Call::Get, Self::Done { content, .. }, Answer::Done(seen)) if content == seen => self,
            _ => return None,
        };
        Some(next)
    }
}

/// Whether the events, at most 128 of one key, are those of a sequential store in some order.
pub(crate) fn is_linearizable(events: &[Event]) -> bool {
    assert!(events.len() <= 128, "{} calls of one key", events.len());
    let all = if events.len() == 128 { u128::MAX } else { (1 << events.len()) - 1 };
    let mut met = HashSet::new();
    // Calls that took effect, and the state that left.
    let mut open = vec![(0_u128, State::Free)];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        if !met.insert((done, state)) {
            continue;
        }
        let waiting = || events.iter().enumerate().filter(|(nth, _)| done & 1 << nth == 0);
        // A call takes effect before the first of the others has come back.
        let first_end = waiting().map(|(_, event)| event.ended).min().unwrap_or(u64::MAX);
        for (nth, event) in waiting().filter(|(_, event)| event.begun < first_end) {
            open.extend(state.after(event).map(|next| (done | 1 << nth, next)));
        }
    }
    false
}
