//! The rules, once: what a claim comes to, and what a frame does to a key. Pure; no I/O.
//!
//! Recovery replays [`after`]; the SQL and the scripts of other backends are translations of
//! [`claim`] and [`resolve`].

use crate::expiry::is_expired;
use crate::fingerprint::Fingerprint;
use crate::format::frame::{Kind, RESOLVED};
use crate::outcome::Resolved;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Claimed, its owner alive.
    InFlight { fingerprint: Fingerprint },
    /// Done: with its payload, or a tombstone.
    Complete { fingerprint: Fingerprint, expires_at_ms: u64 },
    /// Claimed, its owner gone.
    InDoubt { fingerprint: Fingerprint, expires_at_ms: u64 },
}

impl Known {
    /// What is still known at `now_ms`: an expired record is not. A living claim does not expire
    /// (C41).
    #[inline]
    pub(crate) fn at(self, now_ms: u64) -> Option<Self> {
        match self {
            Self::Complete { expires_at_ms, .. } | Self::InDoubt { expires_at_ms, .. }
                if is_expired(expires_at_ms, now_ms) =>
            {
                None
            }
            known => Some(known),
        }
    }

    #[inline]
    fn fingerprint(self) -> Fingerprint {
        match self {
            Self::InFlight { fingerprint }
            | Self::Complete { fingerprint, .. }
            | Self::InDoubt { fingerprint, .. } => fingerprint,
        }
    }
}

/// What a claim comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Grant,
    Replay,
    InFlight,
    Mismatch,
    InDoubt,
}

/// Decides a claim with `fingerprint` on what is known at `now_ms`.
#[inline]
pub(crate) fn claim(known: Option<Known>, fingerprint: Fingerprint, now_ms: u64) -> Verdict {
    let Some(known) = known.and_then(|known| known.at(now_ms)) else { return Verdict::Grant };
    if known.fingerprint() != fingerprint {
        // Before everything else (C38): a request that can never be answered is not told to wait.
        return Verdict::Mismatch;
    }
    match known {
        Known::InFlight { .. } => Verdict::InFlight,
        Known::Complete { .. } => Verdict::Replay,
        Known::InDoubt { .. } => Verdict::InDoubt,
    }
}

/// Decides whether a key may be resolved: only one in doubt.
pub(crate) fn resolve(known: Option<Known>, now_ms: u64) -> Resolved {
    match known.and_then(|known| known.at(now_ms)) {
        None => Resolved::Absent,
        Some(Known::InFlight { .. }) => Resolved::InFlight,
        Some(Known::Complete { .. }) => Resolved::Complete,
        Some(Known::InDoubt { .. }) => Resolved::Done,
    }
}

/// What a frame makes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The key is in flight; whatever record it had stays until the flight ends.
    Begin,
    /// The key's record is this frame, and it is in flight no more.
    Settle,
    /// The key is in flight no more, and the record it had, if any, stays (it has expired).
    End,
    /// The key has no record and is not in flight.
    Forget,
}

/// What a frame of this kind, with these flags, makes of its key; `None` for housekeeping.
pub(crate) const fn after(kind: Kind, flags: u8) -> Option<Effect> {
    match kind {
        Kind::Claim => Some(Effect::Begin),
        Kind::Complete | Kind::Tombstone | Kind::InDoubt => Some(Effect::Settle),
        Kind::Release if flags & RESOLVED != 0 => Some(Effect::Forget),
        Kind::Release => Some(Effect::End),
        Kind::Link | Kind::Retire | Kind::Seal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(text)
    }

    #[test]
    fn the_whole_table() {
        let (mine, other) = (print("mine"), print("other"));
        let complete = Known::Complete { fingerprint: mine, expires_at_ms: 10 };
        let in_doubt = Known::InDoubt { fingerprint: mine, expires_at_ms: 10 };
        let in_flight = Known::InFlight { fingerprint: mine };
        for (known, fingerprint, now, verdict) in [
            (None, mine, 0, Verdict::Grant),
            (Some(complete), mine, 10, Verdict::Replay),
            (Some(complete), other, 10, Verdict::Mismatch),
            (Some(complete), mine, 11, Verdict::Grant),
            (Some(complete), other, 11, Verdict::Grant),
            (Some(in_doubt), mine, 10, Verdict::InDoubt),
            (Some(in_doubt), other, 10, Verdict::Mismatch),
            (Some(in_doubt), mine, 11, Verdict::Grant),
            (Some(in_flight), mine, u64::MAX, Verdict::InFlight),
            (Some(in_flight), other, u64::MAX, Verdict::Mismatch),
        ] {
            assert_eq!(claim(known, fingerprint, now), verdict, "{known:?} at {now}");
        }
        assert_eq!(resolve(None, 0), Resolved::Absent);
        assert_eq!(resolve(Some(complete), 10), Resolved::Complete);
        assert_eq!(resolve(Some(complete), 11), Resolved::Absent);
        assert_eq!(resolve(Some(in_flight), 99), Resolved::InFlight);
        assert_eq!(resolve(Some(in_doubt), 10), Resolved::Done);
        assert_eq!(resolve(Some(in_doubt), 11), Resolved::Absent);
    }

    #[test]
    fn each_frame_has_its_effect() {
        assert_eq!(after(Kind::Claim, 0), Some(Effect::Begin));
        assert_eq!(after(Kind::Complete, 0), Some(Effect::Settle));
        assert_eq!(after(Kind::Tombstone, 0), Some(Effect::Settle));
        assert_eq!(after(Kind::InDoubt, 0), Some(Effect::Settle));
        assert_eq!(after(Kind::Release, 0), Some(Effect::End));
        assert_eq!(after(Kind::Release, RESOLVED), Some(Effect::Forget));
        assert_eq!(after(Kind::Seal, 0), None);
    }
}
