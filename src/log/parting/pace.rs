//! How much of the files that go is given back at a time, and when.
//!
//! A disk was measured, mounted with `discard`, on which a sync of the log waits 70 to 100 ms while a
//! slice is discarded, whether that has 256 KiB or 4 MiB. So slices are as large as that allows, and
//! cut when nobody waits for a sync.

use std::time::{Duration, Instant};

/// What is given back at a time, octets, while the log rests, and while it does not.
const RESTING: u64 = 16 << 20;
const WORKING: u64 = 4 << 20;
/// How often the log is looked at while it is at work.
const LOOK: Duration = Duration::from_millis(31);

/// Octets that are given back in a second, at most, where no more wait than in so many seconds go.
#[derive(Clone, Copy, Debug)]
struct Rate {
    octets: u64,
    within_s: u64,
}

/// While the log rests, or more room is needed.
const FAST: Rate = Rate { octets: 128 << 20, within_s: 10 };
/// While it is at work: a slice a second, and more only where so much waits that it would take minutes.
const SLOW: Rate = Rate { octets: WORKING, within_s: 60 };

impl Rate {
    /// How long the disk is left alone after `given` octets, when `waiting` more are to go.
    fn pause(self, given: u64, waiting: u64) -> Duration {
        let rate = self.octets.max(waiting / self.within_s);
        Duration::from_nanos(given.saturating_mul(1_000_000_000) / rate)
    }
}

/// What the log does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// How often it was given groups to write.
    pub(super) groups: u64,
    /// Whether there is no room for what is made ahead.
    pub(super) is_pressed: bool,
}

/// When the next slice is given back.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The groups the log had been given when it was looked at last.
    groups: Option<u64>,
    /// Not before is it looked at again.
    next: Option<Instant>,
    /// Not before is more given back while it is at work.
    next_working: Option<Instant>,
}

impl Pace {
    /// How many octets may be given back now.
    ///
    /// # Errors
    /// None: when to ask again.
    pub(super) fn ask(&mut self, now: Instant, seen: Seen) -> Result<u64, Instant> {
        if let Some(next) = self.next.filter(|next| *next > now) {
            return Err(next);
        }
        if self.groups.replace(seen.groups) == Some(seen.groups) {
            return Ok(RESTING);
        }
        if seen.is_pressed || self.next_working.is_none_or(|next| next <= now) {
            return Ok(WORKING);
        }
        let next = now + LOOK;
        self.next = Some(next);
        Err(next)
    }

    /// So many octets were given back, and more wait.
    pub(super) fn gave(&mut self, now: Instant, given: u64, waiting: u64) {
        self.next = Some(now + FAST.pause(given, waiting));
        self.next_working = Some(now + SLOW.pause(given, waiting));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64 << 20;

    /// What goes of `waiting` octets until `seconds` have passed, of a log of which `seen` says what it
    /// does at a millisecond; and in how many slices.
    fn given(mut waiting: u64, seconds: u64, seen: impl Fn(u64) -> Seen) -> (u64, u64) {
        let begun = Instant::now();
        let (mut pace, mut all, mut slices) = (Pace::default(), 0, 0);
        let mut now = Duration::ZERO;
        while waiting > 0 && now < Duration::from_secs(seconds) {
            let at = u64::try_from(now.as_millis()).unwrap();
            match pace.ask(begun + now, seen(at)) {
                Ok(slice) => {
                    let slice = slice.min(waiting);
                    waiting -= slice;
                    (all, slices) = (all + slice, slices + 1);
                    pace.gave(begun + now, slice, waiting);
                }
                Err(next) => now = next - begun,
            }
        }
        (all, slices)
    }

    fn at_work(at: u64) -> Seen {
        Seen { groups: at, is_pressed: false }
    }

    #[test]
    fn a_log_that_rests_gives_back_all_at_the_full_rate() {
        // The first is cut before it is known that it rests.
        assert_eq!(given(4 * SEGMENT, 3, |_| at_work(7)), (4 * SEGMENT, 17));
        // What would take longer than 10 s goes faster.
        let (all, _) = given(1280 * SEGMENT, 10, |_| at_work(7));
        assert!(all >= 700 * SEGMENT, "{} MiB", all >> 20);
    }

    #[test]
    fn a_log_at_work_has_a_slice_cut_a_second() {
        let (all, slices) = given(2 * SEGMENT, 20, at_work);
        assert!((19..=20).contains(&slices) && all == slices * WORKING, "{all} in {slices}");
        // And what would take minutes within one or two.
        let (all, _) = given(64 * SEGMENT, 120, at_work);
        assert!(all >= 50 * SEGMENT, "{} MiB", all >> 20);
    }

    #[test]
    fn a_log_that_is_pressed_gives_back_while_it_works() {
        let pressed = |at| Seen { groups: at, is_pressed: true };
        let (all, slices) = given(10 * SEGMENT, 2, pressed);
        assert!((60..=65).contains(&slices) && all == slices * WORKING, "{all} in {slices}");
    }

    #[test]
    fn a_log_that_comes_to_rest_is_seen_soon() {
        let stops = |at: u64| Seen { groups: at.min(1_500), is_pressed: false };
        let (all, slices) = given(2 * SEGMENT, 3, stops);
        // Two while it was at work.
        assert_eq!((all, slices), (2 * SEGMENT, 2 + 8));
    }
}
