//! Time, as the store may trust it. Nobody else in the crate reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn read(&self) -> Reading {
        (**self).read()
    }

    fn since_boot(&self) -> Duration {
        (**self).since_boot()
    }
}

/// The system's clocks: `CLOCK_BOOTTIME`, the kernel's boot id, and the wall clock.
///
/// Where the system has no boot time (outside Linux and Android), elapsed time comes from
/// [`Instant`] and a restart counts as no time at all, which errs toward late expiry.
#[derive(Clone, Debug)]
pub struct SystemClock {
    started: Instant,
    boot_id: Option<[u8; 16]>,
}

impl SystemClock {
    /// A clock over the running system.
    pub fn new() -> Self {
        Self { started: Instant::now(), boot_id: boot_id() }
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
pub struct ManualClock(std::sync::Arc<parking_lot::Mutex<Reading>>);

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock on its first boot, its wall clock at `wall_ms` milliseconds since the Unix epoch.
    pub fn new(wall_ms: u64) -> Self {
        Self(std::sync::Arc::new(parking_lot::Mutex::new(Reading {
            since_boot: Duration::from_secs(60),
            boot_id: Some([1; 16]),
            wall_ms,
        })))
    }

    /// Lets `by` pass, on every clock.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        now.since_boot += by;
        now.wall_ms += by.as_millis() as u64;
    }

    /// Sets the wall clock alone, as an operator or a time server does.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.0.lock().wall_ms = wall_ms;
    }

    /// Restarts the machine: another boot id, time since boot from zero, the wall clock as it was.
    pub fn reboot(&self) {
        let mut now = self.0.lock();
        now.since_boot = Duration::ZERO;
        now.boot_id = now.boot_id.map(|id| id.map(|octet| octet.wrapping_add(1)));
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn read(&self) -> Reading {
        *self.0.lock()
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

    /// The store time at `now`: never less than any answer before it.
    pub(crate) fn at(&self, now: Reading) -> u64 {
        let by_wall =
            if self.trust_wall_clock { now.wall_ms.saturating_sub(self.start.wall_ms) } else { 0 };
        self.after(now.since_boot, by_wall)
    }

    fn after(&self, since_boot: Duration, by_wall_ms: u64) -> u64 {
        let elapsed = since_boot.saturating_sub(self.start.since_boot).as_millis() as u64;
        let ms = self.start_ms.saturating_add(elapsed.max(by_wall_ms));
        // A line that every thread writes is dear; it is written once a millisecond.
        let latest = self.latest_ms.load(std::sync::atomic::Ordering::Relaxed);
        if latest >= ms {
            return latest;
        }
        self.latest_ms.fetch_max(ms, std::sync::atomic::Ordering::Relaxed).max(ms)
    }

    /// The mark to persist at `now`.
    pub(crate) fn mark(&self, now: Reading) -> TimeMark {
        TimeMark {
            store_ms: self.at(now),
            since_boot_ms: now.since_boot.as_millis() as u64,
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

    #[test]
    fn a_clock_without_a_quick_look_at_its_boot_time_takes_a_whole_one() {
        struct Reads;
        impl Clock for Reads {
            fn read(&self) -> Reading {
                Reading { since_boot: HOUR, boot_id: None, wall_ms: 1 }
            }
        }
        assert_eq!(Reads.since_boot(), HOUR);
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
        }
        let shared = std::sync::Arc::new(Tells);
        assert_eq!(Clock::since_boot(&shared), 2 * HOUR);
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
}
