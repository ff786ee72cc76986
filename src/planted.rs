//! Bugs planted on purpose, to put on trial what looks for bugs. None is compiled into a build
//! without the feature `test-util`, and none is there unless a test plants it.

/// A bug that can be planted: each breaks one line of the promise (P0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "test-util", non_exhaustive)]
// Public only with the feature; without it, as visible as it can be.
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
pub enum Bug {
    /// A group is acknowledged once it is written, before it is synced (P0.2).
    AcknowledgedBeforeSync,
    /// A group whose sync fails is published all the same, as if that came first (P0.2).
    PublishedBeforeSync,
    /// A new segment's name is not synced before frames in it are acknowledged (P0.2).
    DirectoryNotSynced,
    /// A sync that failed is tried again, and the success of the second believed (P0.2).
    WentOnAfterEio,
    /// Records expire by the wall clock (P0.5).
    ExpiredByWallClock,
    /// The time that looks go by is ahead of the clock, by a millisecond (P0.5).
    LookedAhead,
    /// A payload is handed out without its checksum being compared (P0.3).
    PayloadNotCompared,
    /// A claim is granted without a frame in the log (P0.1).
    ClaimNotLogged,
    /// A sweep takes the bucket that is next to expire (P0.5).
    SweptOneBucketEarly,
    /// A key in doubt is granted again (P0.4).
    InDoubtGranted,
    /// The tail of a log that was not closed is believed where it stands (P0.2).
    TailNotCopied,
    /// A claim behind somebody's flight does not compare fingerprints (C38).
    FingerprintSkippedInFlight,
    /// A retention is divided as if it had to be made seconds of: gone far too early (P0.5).
    SecondsForMilliseconds,
    /// A record is kept for twice its retention (X9).
    KeptTooLong,
    /// Claims in flight are not written again before their segment goes (P0.1).
    RenewalLost,
    /// A segment's file goes before the frame that retires it is on disk.
    UnlinkedBeforeRetired,
    /// A retired segment's file is written again before its new name is on disk.
    ReusedBeforeDirectorySync,
    /// A retired segment's file is written again while somebody reads what was in it (P0.3).
    ReusedUnderReader,
    /// A checkpoint is made of what the log may still lose (P0.1, under `Buffered`).
    CheckpointedBeforeSync,
    /// Whoever waits for a flight is not told of its end.
    WaitersNotTold,
    /// A claim whose future is dropped on the way does not give its key back.
    GiveBackForgotten,
    /// No room is kept for the end of a claim (C36).
    RoomNotReserved,
    /// Damage found while opening is forgotten: what is not indexed is taken for free (P0.1).
    DamageForgotten,
    /// A resolution as not done leaves the key in doubt.
    ReleaseForgotten,
    /// What was left to the tree is not looked for there (P0.1).
    SpilledNotProbed,
    /// A filter in memory lacks the entries of its piece (P0.1).
    FilterBitsMissing,
    /// Of several entries of the tree the oldest counts, expired as it is (P0.1).
    OlderRunWins,
    /// A ticket of a store that was closed since is used up as if it still held its key (fencing).
    StaleTicketAccepted,
    /// Others append while the store closes, behind its seal or into its group.
    AppendedBehindSeal,
}

#[cfg(feature = "test-util")]
impl Bug {
    /// Every one of them.
    pub const ALL: &[Self] = &[
        Self::AcknowledgedBeforeSync,
        Self::PublishedBeforeSync,
        Self::DirectoryNotSynced,
        Self::WentOnAfterEio,
        Self::ExpiredByWallClock,
        Self::LookedAhead,
        Self::PayloadNotCompared,
        Self::ClaimNotLogged,
        Self::SweptOneBucketEarly,
        Self::InDoubtGranted,
        Self::TailNotCopied,
        Self::FingerprintSkippedInFlight,
        Self::SecondsForMilliseconds,
        Self::KeptTooLong,
        Self::RenewalLost,
        Self::UnlinkedBeforeRetired,
        Self::ReusedBeforeDirectorySync,
        Self::ReusedUnderReader,
        Self::CheckpointedBeforeSync,
        Self::WaitersNotTold,
        Self::GiveBackForgotten,
        Self::RoomNotReserved,
        Self::DamageForgotten,
        Self::ReleaseForgotten,
        Self::SpilledNotProbed,
        Self::FilterBitsMissing,
        Self::OlderRunWins,
        Self::StaleTicketAccepted,
        Self::AppendedBehindSeal,
    ];
}

#[cfg(feature = "test-util")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in whatever this thread does from here on, in place of any other; `None` pulls it
/// out. Of the thread and not of a store, so that it reaches the rooms below the store; a store
/// that is stepped does all its work on the thread that steps it.
#[cfg(feature = "test-util")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// The bug that is planted, for the threads that work for this one.
#[cfg(feature = "test-util")]
#[must_use]
pub fn planted() -> Option<Bug> {
    PLANTED.get()
}

/// Whether this bug is planted.
#[cfg(feature = "test-util")]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// No bug is.
#[cfg(not(feature = "test-util"))]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
