//! The promise (P0) as a judge: whether what somebody saw of a key is allowed by what is known of
//! that key. It knows nothing of the engine, nor how what is known came to be known, which is
//! `known.rs`.

use onceward::{ErrorKind, State};

use crate::fact::{Fact, Is};

/// What somebody saw of a key.
pub(crate) enum Seen {
    Granted,
    Absent,
    Refused(ErrorKind),
    /// A record that is so, with this fingerprint, as a bit.
    Record(Is, u8),
}

/// What a claim that was not granted was told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Replay,
    InDoubt,
    InFlight,
    Mismatch,
}

/// P0.5, never early: whether the key may be free although this was so. Somebody who has its ticket
/// keeps it for as long as the process lives.
pub(crate) fn may_be_gone(fact: &Fact, now_ms: u64) -> bool {
    match fact.is {
        Is::Free => true,
        Is::Held => false,
        Is::InDoubt | Is::Done(_) => now_ms > fact.until_ms,
    }
}

/// Judges what was seen of a key with these `facts`, in the order in which they were begun, and
/// `claims`, the fingerprints of those that have not come back. Gives which of the facts it is, where
/// that is settled now: those before it are no more.
///
/// # Errors
/// What breaks the promise.
pub(crate) fn judge(
    (facts, claims): (&[Fact], u8),
    seen: &Seen,
    now_ms: u64,
    damaged: bool,
) -> Result<Option<usize>, &'static str> {
    let may_be_free = facts.iter().any(|fact| may_be_gone(fact, now_ms));
    let held = facts.iter().filter(|fact| fact.is == Is::Held);
    let held = held.fold(claims, |prints, fact| prints | fact.prints);
    match seen {
        // P0.1, P0.4: no grant while an earlier one, its result or its doubt may not be gone. P0.2:
        // what was acknowledged or shown is there; a claim that is not on the disk need not show.
        Seen::Granted | Seen::Absent if may_be_free => Ok(None),
        Seen::Granted => Err("granted"),
        Seen::Absent => Err("absent"),
        // Damage is refused, and nothing else is. The end of a claim may be among the bytes that do
        // not stand: the doubt that shows then has a beginning nobody here knows of.
        Seen::Refused(ErrorKind::Corrupt) | Seen::Record(Is::InDoubt, _) if damaged => Ok(None),
        Seen::Refused(_) => Err("refused"),
        Seen::Record(Is::Held, print) if held & print != 0 => Ok(None),
        // P0.3: the identical payload, of the same request. P0.4: a doubt that has a beginning.
        Seen::Record(is, print) => {
            let same = |fact: &Fact| fact.is == *is && fact.prints & print != 0;
            let at = facts.iter().position(same).ok_or("what it cannot be")?;
            // X9: not too late, either. A doubt does not say which of several beginnings it has.
            let again = facts[at + 1..].iter().filter(|fact| fact.is == *is && *is == Is::InDoubt);
            let late = again.chain(&facts[at..=at]).all(|fact| now_ms > fact.latest_ms);
            if late && !damaged { Err("kept too long") } else { Ok(Some(at)) }
        }
    }
}

/// C38: on every path a claim with another fingerprint is told so, and nothing else; and one with the
/// same is told what is.
pub(crate) fn is_told_right(told: Told, state: State, same_print: bool) -> bool {
    match told {
        Told::Mismatch => !same_print,
        Told::Replay => same_print && state == State::Complete,
        Told::InDoubt => same_print && state == State::InDoubt,
        Told::InFlight => same_print && state == State::InFlight,
    }
}
