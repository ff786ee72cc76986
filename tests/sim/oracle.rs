//! The promise (P0) as a judge: whether what somebody saw of a key is allowed by what is known of
//! that key. It knows nothing of the engine, nor how what is known came to be known, which is
//! `known.rs`.

use onceward::{ErrorKind, State};

use crate::fact::{Fact, Is};
use crate::world::BEHIND_MS;

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
            // X9: not too late, either, beyond what a look may be behind the clock. A doubt does not
            // say which of several beginnings it has.
            let again = facts[at + 1..].iter().filter(|fact| fact.is == *is && *is == Is::InDoubt);
            let late = again
                .chain(&facts[at..=at])
                .all(|fact| now_ms > fact.latest_ms.saturating_add(BEHIND_MS));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Content;

    const NOW_MS: u64 = 100;

    fn done(octet: u8) -> Is {
        Is::Done(Content::Payload([octet][..].into()))
    }

    /// Kept until the end of this millisecond, and not longer.
    fn until(is: Is, until_ms: u64) -> Fact {
        Fact { is, ttl_ms: 10, until_ms, latest_ms: until_ms, prints: 1 }
    }

    fn lives(is: Is) -> Fact {
        until(is, NOW_MS)
    }

    fn gone(is: Is) -> Fact {
        until(is, NOW_MS - BEHIND_MS - 1)
    }

    fn judged(facts: &[Fact], seen: &Seen) -> Result<Option<usize>, &'static str> {
        judge((facts, 0), seen, NOW_MS, false)
    }

    #[test]
    fn p0_1_a_key_is_granted_and_absent_when_it_may_be_free_and_never_else() {
        let held = || Fact::held((10, 1));
        let free = [vec![Fact::FREE], vec![gone(done(1))], vec![gone(Is::InDoubt)]];
        let taken = [vec![held()], vec![lives(done(1))], vec![lives(Is::InDoubt)]];
        for facts in free.iter().chain(&[vec![held(), Fact::FREE]]) {
            assert_eq!(judged(facts, &Seen::Granted), Ok(None), "{facts:?}");
            assert_eq!(judged(facts, &Seen::Absent), Ok(None), "{facts:?}");
        }
        for facts in taken.iter().chain(&[vec![held(), lives(done(1))]]) {
            assert_eq!(judged(facts, &Seen::Granted), Err("granted"), "{facts:?}");
            assert_eq!(judged(facts, &Seen::Absent), Err("absent"), "{facts:?}");
            let damaged = judge((facts, 0), &Seen::Granted, NOW_MS, true);
            assert_eq!(damaged, Err("granted"), "{facts:?}");
        }
    }

    #[test]
    fn p0_3_a_record_is_one_that_may_be_of_the_same_request() {
        let facts = [Fact::held((10, 1)), lives(done(1)), lives(done(2))];
        assert_eq!(judged(&facts, &Seen::Record(done(1), 1)), Ok(Some(1)));
        assert_eq!(judged(&facts, &Seen::Record(done(2), 1)), Ok(Some(2)));
        assert_eq!(judged(&facts, &Seen::Record(Is::Held, 1)), Ok(None));
        for wrong in [(done(3), 1), (done(1), 2), (Is::InDoubt, 1), (Is::Held, 2)] {
            let (is, print) = wrong.clone();
            assert!(judged(&facts, &Seen::Record(is, print)).is_err(), "{wrong:?}");
        }
        let begun = judge((&[Fact::FREE], 2), &Seen::Record(Is::Held, 2), NOW_MS, false);
        assert_eq!(begun, Ok(None));
    }

    #[test]
    fn x9_a_record_is_not_there_after_its_last_moment() {
        let late = Err("kept too long");
        assert_eq!(judged(&[gone(done(1))], &Seen::Record(done(1), 1)), late);
        // A doubt may be of the later beginning; a result is its own.
        let doubts = [gone(Is::InDoubt), lives(Is::InDoubt)];
        assert_eq!(judged(&doubts, &Seen::Record(Is::InDoubt, 1)), Ok(Some(0)));
        assert_eq!(judged(&doubts[..1], &Seen::Record(Is::InDoubt, 1)), late);
        let results = [gone(done(1)), lives(done(1))];
        assert_eq!(judged(&results, &Seen::Record(done(1), 1)), late);
    }

    #[test]
    fn only_damage_is_refused_and_damage_answers_nothing_that_was_not() {
        let facts = [lives(done(1))];
        let damaged = |seen: &Seen| judge((&facts, 0), seen, NOW_MS, true);
        assert_eq!(judged(&facts, &Seen::Refused(ErrorKind::Corrupt)), Err("refused"));
        assert_eq!(damaged(&Seen::Refused(ErrorKind::Corrupt)), Ok(None));
        assert_eq!(damaged(&Seen::Refused(ErrorKind::Io)), Err("refused"));
        assert_eq!(damaged(&Seen::Record(Is::InDoubt, 1)), Ok(None));
        assert!(damaged(&Seen::Record(done(2), 1)).is_err());
        assert_eq!(damaged(&Seen::Absent), Err("absent"));
    }

    #[test]
    fn c38_another_fingerprint_is_told_so_and_nothing_else() {
        let right = [
            (Told::Replay, State::Complete),
            (Told::InDoubt, State::InDoubt),
            (Told::InFlight, State::InFlight),
        ];
        for (told, state) in right {
            for (_, other) in right {
                assert_eq!(is_told_right(told, other, true), state == other);
                assert!(!is_told_right(told, other, false));
            }
            assert!(is_told_right(Told::Mismatch, state, false));
            assert!(!is_told_right(Told::Mismatch, state, true));
        }
    }
}
