//! Time, as the store may trust it. Nobody else in the crate reads a clock.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::planted::{Bug, is_planted};

/// One look at a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Time since boot, time asleep included. Never goes back within one boot.
    pub since_boot: Duration,
    /// Which boot that is; `None` where the system does not say, which counts as another boot.
    pub boot_id: Option<[u8; 16]>,
    /// The wall clock, milliseconds since the Unix epoch. Used once, to date a new store, and by
    /// `trust_wall_clock`.
    pub wall_ms: u64,
}

/// A source of [`Reading`]s.
pub trait Clock: Send + Sync + 'static {
    /// Looks at the clock.
    fn read(&self) -> Reading;

    /// [`Reading::since_boot`] alone: what every look at a record asks for. Must be what
    /// [`read`](Clock::read) says.
    fn since_boot(&self) -> Duration {
        self.read().since_boot
    }

    /// [`since_boot`](Clock::since_boot) a moment ago, for a clock that can tell that sooner: some
    /// milliseconds behind, and *never ahead*, for it says when a look no longer shows a record, which
    /// may be late and never early. It may go back: the store keeps to the latest it was told. What a
    /// record's time is reckoned from, and what grants, sweeps or lists, asks `since_boot`.
    fn lately(&self) -> Duration {
        self.since_boot()
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn read(&self) -> Reading {
        (**self).read()
    }

    fn since_boot(&self) -> Duration {
        (**self).since_boot()
    }

    fn lately(&self) -> Duration {
        (**self).lately()
    }
}

/// The system's clocks: `CLOCK_BOOTTIME`, the kernel's boot id, and the wall clock.
///
/// What it says of a moment [ago](Clock::lately) is behind by a tick of the kernel, 1 to 10
/// milliseconds as the kernel was built; by some more while the processor that counts ticks has other
/// things to do, a virtual one above all; and after the machine slept, for the rest of the tick in
/// which it awoke, by the time asleep as well.
///
/// Where the system has no boot time (outside Linux and Android), elapsed time comes from
/// [`Instant`] and a restart counts as no time at all, which errs toward late expiry.
#[derive(Clone, Debug)]
pub struct SystemClock {
    started: Instant,
    boot_id: Option<[u8; 16]>,
    last: Arc<Last>,
}

/// The last look at the clock by [`lately`](Clock::lately), and in which tick of the kernel that was.
#[derive(Debug, Default)]
struct Last {
    tick: AtomicU64,
    /// Nanoseconds since boot, of that tick or one after it.
    since_boot_ns: AtomicU64,
}

impl SystemClock {
    /// A clock over the running system.
    pub fn new() -> Self {
        Self { started: Instant::now(), boot_id: boot_id(), last: Arc::default() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        Reading {
            since_boot: since_boot(self.started),
            boot_id: self.boot_id,
            wall_ms: wall_ms(SystemTime::now()),
        }
    }

    fn since_boot(&self) -> Duration {
        since_boot(self.started)
    }

    // To read a clock, the processor waits for all that it has begun, the memory of looks with it. The
    // kernel's tick is read like any other memory, and the clock once in each.
    fn lately(&self) -> Duration {
        let Some(tick) = tick() else { return self.since_boot() };
        if self.last.tick.load(Acquire) == tick {
            return Duration::from_nanos(self.last.since_boot_ns.load(Relaxed));
        }
        let since_boot = self.since_boot();
        // In this order: nobody takes the time of an earlier tick for that of this one. Whoever is late
        // with the name of an earlier tick makes the next one to look read the clock once more.
        self.last.since_boot_ns.fetch_max(since_boot.as_nanos() as u64, Relaxed);
        self.last.tick.store(tick, Release);
        since_boot
    }
}

/// Which tick of the kernel it is: another every few milliseconds. `None` where it does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn tick() -> Option<u64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Some(
        now.tv_sec
            .unsigned_abs()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(now.tv_nsec.unsigned_abs()),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn tick() -> Option<u64> {
    None
}

fn wall_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn since_boot(_started: Instant) -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn since_boot(started: Instant) -> Duration {
    started.elapsed()
}

/// The kernel's boot id: a UUID in text, made anew at each boot. It is the clock's own file, which
/// is why the clock reads it and not `storage`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mut digits = text.bytes().filter_map(|c| char::from(c).to_digit(16));
    let mut id = [0_u8; 16];
    for octet in &mut id {
        *octet = (digits.next()? * 16 + digits.next()?) as u8;
    }
    Some(id)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_id() -> Option<[u8; 16]> {
    None
}

/// The process's monotonic clock: what deadlines of callers are named in.
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// A clock that stands still until it is moved. Clones share one time.
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<parking_lot::Mutex<Hands>>);

#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
struct Hands {
    now: Reading,
    /// How far behind what it says of a moment ago may be, milliseconds, and what that is drawn from.
    behind: Option<(u64, u64)>,
}

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock on its first boot, its wall clock at `wall_ms` milliseconds since the Unix epoch.
    pub fn new(wall_ms: u64) -> Self {
        let now = Reading { since_boot: Duration::from_secs(60), boot_id: Some([1; 16]), wall_ms };
        Self(Arc::new(parking_lot::Mutex::new(Hands { now, behind: None })))
    }

    /// From now on [`lately`](Clock::lately) is behind, each time by another number of milliseconds of
    /// 0 to `max_ms`, drawn from `seed`. A new clock is never behind.
    #[must_use]
    pub fn behind(self, max_ms: u64, seed: u64) -> Self {
        self.0.lock().behind = Some((max_ms, seed));
        self
    }

    /// Lets `by` pass, on every clock.
    pub fn advance(&self, by: Duration) {
        let now = &mut self.0.lock().now;
        now.since_boot += by;
        now.wall_ms += by.as_millis() as u64;
    }

    /// Sets the wall clock alone, as an operator or a time server does.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.0.lock().now.wall_ms = wall_ms;
    }

    /// Restarts the machine: another boot id, time since boot from zero, the wall clock as it was.
    pub fn reboot(&self) {
        let now = &mut self.0.lock().now;
        now.since_boot = Duration::ZERO;
        now.boot_id = now.boot_id.map(|id| id.map(|octet| octet.wrapping_add(1)));
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn read(&self) -> Reading {
        self.0.lock().now
    }

    fn lately(&self) -> Duration {
        let mut hands = self.0.lock();
        let behind_ms = hands.behind.as_mut().map_or(0, |(max_ms, state)| {
            // SplitMix64 (Steele and others, "Fast Splittable Pseudorandom Number Generators", 2014).
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) % (*max_ms + 1)
        });
        hands.now.since_boot.saturating_sub(Duration::from_millis(behind_ms))
    }
}

/// Store time: milliseconds that advance only by elapsed time somebody observed.
///
/// It starts from the wall clock when a store is created and from the last persisted mark when one
/// is opened; after that the wall clock has no say (unless `trust_wall_clock`, outside P0.5). So a
/// wall clock that jumps expires nothing early, and time spent switched off lengthens retention.
#[derive(Debug)]
pub(crate) struct StoreTime {
    start_ms: u64,
    start: Reading,
    trust_wall_clock: bool,
    latest_ms: std::sync::atomic::AtomicU64,
}

/// A persisted point of store time, enough to go on from after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeMark {
    pub(crate) store_ms: u64,
    /// Rounded up.
    pub(crate) since_boot_ms: u64,
    pub(crate) wall_ms: u64,
    /// All zero where the system names no boot.
    pub(crate) boot_id: [u8; 16],
}

impl StoreTime {
    /// Store time of a new store: the wall clock's.
    pub(crate) fn new(now: Reading, trust_wall_clock: bool) -> Self {
        Self::starting_at(now.wall_ms, now, trust_wall_clock)
    }

    /// Store time after `mark`: later by what elapsed since, if that can be known, else by nothing.
    pub(crate) fn resume(mark: TimeMark, now: Reading, trust_wall_clock: bool) -> Self {
        let now_ms = now.since_boot.as_millis() as u64;
        let same_boot = now.boot_id.is_some_and(|id| id == mark.boot_id);
        let observed = if same_boot { now_ms.saturating_sub(mark.since_boot_ms) } else { 0 };
        let by_wall = if trust_wall_clock { now.wall_ms.saturating_sub(mark.wall_ms) } else { 0 };
        Self::starting_at(
            mark.store_ms.saturating_add(observed.max(by_wall)),
            now,
            trust_wall_clock,
        )
    }

    fn starting_at(start_ms: u64, start: Reading, trust_wall_clock: bool) -> Self {
        Self { start_ms, start, trust_wall_clock, latest_ms: start_ms.into() }
    }

    /// The store time now: never less than any answer before it.
    pub(crate) fn now(&self, clock: &dyn Clock) -> u64 {
        if self.trust_wall_clock {
            return self.at(clock.read());
        }
        self.after(clock.since_boot(), 0)
    }

    /// The store time as [`Clock::lately`] has it: never less than any answer before it, of
    /// [`now`](Self::now) or of this, and never more than `now` would say. So a look that goes by it
    /// shows nothing that anybody was told is gone, and hides nothing before its time.
    pub(crate) fn lately(&self, clock: &dyn Clock) -> u64 {
        if self.trust_wall_clock {
            return self.at(clock.read());
        }
        if is_planted(Bug::LookedAhead) {
            return self.after(clock.since_boot() + Duration::from_millis(1), 0);
        }
        self.after(clock.lately(), 0)
    }

    /// The store time at `now`: never less than any answer before it.
    pub(crate) fn at(&self, now: Reading) -> u64 {
        self.told(self.reckoned_at(now))
    }

    fn reckoned_at(&self, now: Reading) -> u64 {
        let by_wall =
            if self.trust_wall_clock { now.wall_ms.saturating_sub(self.start.wall_ms) } else { 0 };
        self.reckoned(now.since_boot, by_wall)
    }

    fn after(&self, since_boot: Duration, by_wall_ms: u64) -> u64 {
        self.told(self.reckoned(since_boot, by_wall_ms))
    }

    fn reckoned(&self, since_boot: Duration, by_wall_ms: u64) -> u64 {
        let elapsed = since_boot.saturating_sub(self.start.since_boot);
        let elapsed = (elapsed.as_secs().saturating_mul(1000))
            .saturating_add(u64::from(elapsed.subsec_millis()));
        self.start_ms.saturating_add(elapsed.max(by_wall_ms))
    }

    /// `ms`, or the latest time anybody was told, if that is later.
    fn told(&self, ms: u64) -> u64 {
        // A line that every thread writes is dear; it is written once a millisecond.
        let latest = self.latest_ms.load(std::sync::atomic::Ordering::Relaxed);
        if latest >= ms {
            return latest;
        }
        self.latest_ms.fetch_max(ms, std::sync::atomic::Ordering::Relaxed).max(ms)
    }

    /// The mark to persist at `now`. What is added to it after a restart in the same boot is never more
    /// than what passed (P0.5).
    pub(crate) fn mark(&self, now: Reading) -> TimeMark {
        let reckoned_ms = self.reckoned_at(now);
        let store_ms = self.told(reckoned_ms);
        // Somebody may have been told a later time since `now` was read: then the mark is of that one.
        let later_ms = store_ms - reckoned_ms;
        // Rounded up, for `resume` rounds down what it takes this from.
        let since_boot_ms = now.since_boot.as_nanos().div_ceil(1_000_000) as u64;
        TimeMark {
            store_ms,
            since_boot_ms: since_boot_ms.saturating_add(later_ms),
            wall_ms: now.wall_ms,
            boot_id: now.boot_id.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;
    const TEN_YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;

    /// C44.
    #[test]
    fn a_wall_clock_ten_years_off_moves_nothing() {
        let clock = ManualClock::new(TEN_YEARS_MS * 5);
        let time = StoreTime::new(clock.read(), false);
        let start = time.at(clock.read());
        clock.set_wall_ms(TEN_YEARS_MS * 6);
        assert_eq!(time.at(clock.read()), start);
        clock.set_wall_ms(0);
        clock.advance(HOUR);
        assert_eq!(time.at(clock.read()), start + HOUR_MS);
    }

    #[test]
    fn a_restart_in_the_same_boot_counts_and_a_reboot_does_not() {
        let clock = ManualClock::new(TEN_YEARS_MS);
        let time = StoreTime::new(clock.read(), false);
        let mark = time.mark(clock.read());
        clock.advance(HOUR);
        assert_eq!(
            StoreTime::resume(mark, clock.read(), false).at(clock.read()),
            mark.store_ms + HOUR_MS
        );
        clock.reboot();
        clock.advance(HOUR);
        assert_eq!(
            StoreTime::resume(mark, clock.read(), false).at(clock.read()),
            mark.store_ms,
            "time since another boot says nothing about this store's age"
        );
        assert_eq!(
            StoreTime::resume(mark, clock.read(), true).at(clock.read()),
            mark.store_ms + 2 * HOUR_MS
        );
    }

    /// Processes end and begin at any microsecond of one boot.
    #[test]
    fn p0_5_restarts_in_one_boot_add_no_time_that_has_not_passed() {
        let mut random = crate::seed::rng();
        for round in 0..200 {
            let clock = ManualClock::new(TEN_YEARS_MS);
            let mut advance =
                |up_to_us| clock.advance(Duration::from_micros(random.u64(0..up_to_us)));
            advance(1000);
            let born = clock.since_boot();
            let mut time = StoreTime::new(clock.read(), false);
            let start = time.now(&clock);
            for opening in 1..20 {
                advance(3000);
                let mark = time.mark(clock.read());
                advance(3000);
                time = StoreTime::resume(mark, clock.read(), false);
                advance(3000);
                let passed_us = clock.since_boot().saturating_sub(born).as_micros() as u64;
                let told_us = (time.now(&clock) - start) * 1000;
                let least_us = passed_us.saturating_sub(3000 * opening + 1000);
                assert!((least_us..=passed_us).contains(&told_us), "round {round}, {opening}");
            }
        }
    }

    /// Others are told the time between a look at the clock and the mark that is made of it.
    #[test]
    fn p0_5_a_mark_of_an_earlier_look_counts_no_time_twice() {
        let clock = ManualClock::new(TEN_YEARS_MS);
        let time = StoreTime::new(clock.read(), false);
        let looked = clock.read();
        clock.advance(HOUR);
        let told = time.now(&clock);
        let mark = time.mark(looked);
        assert_eq!(mark.store_ms, told, "no mark is behind what somebody was told");
        clock.advance(HOUR);
        assert_eq!(StoreTime::resume(mark, clock.read(), false).now(&clock), told + HOUR_MS);
    }

    #[test]
    fn a_system_without_boot_ids_never_counts_time_across_a_restart() {
        let mut now = ManualClock::new(0).read();
        now.boot_id = None;
        let mark = StoreTime::new(now, false).mark(now);
        now.since_boot += HOUR;
        assert_eq!(StoreTime::resume(mark, now, false).at(now), mark.store_ms);
    }

    #[test]
    fn store_time_now_is_that_of_the_clock() {
        let clock = ManualClock::new(TEN_YEARS_MS);
        for trust_wall_clock in [false, true] {
            let time = StoreTime::new(clock.read(), trust_wall_clock);
            let start = time.now(&clock);
            assert_eq!(start, clock.read().wall_ms);
            clock.advance(HOUR);
            assert_eq!(time.now(&clock), start + HOUR_MS);
            clock.set_wall_ms(start + 3 * HOUR_MS);
            let by_wall = if trust_wall_clock { 3 } else { 1 };
            assert_eq!(time.now(&clock), start + by_wall * HOUR_MS);
        }
    }

    /// P0.5, and no look goes back: whatever is asked in whatever order, across reboots.
    #[test]
    fn p0_5_store_time_a_moment_ago_is_never_ahead_and_never_behind_an_answer_before() {
        const BEHIND_MS: u64 = 4;
        let mut random = crate::seed::rng();
        for round in 0..200 {
            let clock = ManualClock::new(TEN_YEARS_MS).behind(BEHIND_MS, random.u64(..));
            let mut time = StoreTime::new(clock.read(), false);
            let (mut exact_ms, mut told_ms, mut met) = (TEN_YEARS_MS, TEN_YEARS_MS, [false; 2]);
            for _ in 0..200 {
                match random.u8(0..20) {
                    0..6 => {
                        let by_ms = random.u64(0..8);
                        clock.advance(Duration::from_millis(by_ms));
                        exact_ms += by_ms;
                    }
                    6..10 => {
                        assert_eq!(time.now(&clock), exact_ms, "round {round}");
                        told_ms = exact_ms;
                    }
                    10 => {
                        let mark = time.mark(clock.read());
                        if random.bool() {
                            clock.reboot();
                        }
                        time = StoreTime::resume(mark, clock.read(), false);
                        told_ms = exact_ms;
                    }
                    _ => {
                        let lately_ms = time.lately(&clock);
                        let least_ms = told_ms.max(exact_ms.saturating_sub(BEHIND_MS));
                        assert!((least_ms..=exact_ms).contains(&lately_ms), "round {round}");
                        met[usize::from(lately_ms < exact_ms)] = true;
                        told_ms = lately_ms;
                    }
                }
            }
            assert_eq!(met, [true; 2], "round {round}");
        }
    }

    #[test]
    fn who_trusts_the_wall_clock_looks_at_it() {
        let clock = ManualClock::new(TEN_YEARS_MS).behind(4, 7);
        let time = StoreTime::new(clock.read(), true);
        clock.set_wall_ms(TEN_YEARS_MS + HOUR_MS);
        assert_eq!(time.lately(&clock), TEN_YEARS_MS + HOUR_MS);
    }

    #[test]
    fn a_clock_without_a_quick_look_at_its_boot_time_takes_a_whole_one() {
        struct Reads;
        impl Clock for Reads {
            fn read(&self) -> Reading {
                Reading { since_boot: HOUR, boot_id: None, wall_ms: 1 }
            }
        }
        assert_eq!((Reads.since_boot(), Reads.lately()), (HOUR, HOUR));
    }

    #[test]
    fn a_shared_clock_is_asked_what_it_is_asked() {
        struct Tells;
        impl Clock for Tells {
            fn read(&self) -> Reading {
                Reading { since_boot: HOUR, boot_id: None, wall_ms: 1 }
            }

            fn since_boot(&self) -> Duration {
                2 * HOUR
            }

            fn lately(&self) -> Duration {
                3 * HOUR
            }
        }
        let shared = std::sync::Arc::new(Tells);
        assert_eq!(Clock::since_boot(&shared), 2 * HOUR);
        assert_eq!(Clock::lately(&shared), 3 * HOUR);
        assert_eq!(Clock::read(&shared).since_boot, HOUR);
    }

    #[test]
    fn the_system_clock_goes_forward() {
        let clock = SystemClock::new();
        let (first, quick, second) = (clock.read(), clock.since_boot(), clock.read());
        assert!(first.since_boot <= quick && quick <= second.since_boot);
        assert!(first.wall_ms > 1_600_000_000_000);
    }

    /// What it reads is the time since the machine was started, and not since anything later: a
    /// restart of the process is to be seen in it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_system_clock_is_the_kernels() {
        let clock = SystemClock::default();
        let before = clock.read().since_boot;
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let after = clock.read().since_boot;
        // The kernel says hundredths, cut off.
        assert!(before.as_secs_f64() < uptime + 0.02 && uptime <= after.as_secs_f64());

        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let id = u128::from_be_bytes(clock.read().boot_id.unwrap());
        assert_eq!(format!("{id:032x}"), boot_id.trim().replace('-', ""));
    }

    #[test]
    fn the_system_clock_a_moment_ago_is_never_ahead_and_goes_on() {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert!(tick().is_some(), "a look reads the clock each time");
        let clock = SystemClock::new();
        let first = clock.lately();
        let mut last = first;
        while last == first {
            let lately = clock.lately();
            assert!(lately >= last && lately <= clock.since_boot());
            assert!(clock.clone().lately() >= lately, "clones share one time");
            last = lately;
        }
    }
}
