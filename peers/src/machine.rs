//! What the system says of this process, its disk and the machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::work::{sure, there};

/// Heap and stacks of this process in memory, in octets: `RssAnon`, which leaves mapped files out.
pub(crate) fn anonymous() -> u64 {
    let status = sure(fs::read_to_string("/proc/self/status"));
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let field = line.and_then(|line| line.split_whitespace().next());
    1024 * there(field.and_then(|field| field.parse::<u64>().ok()), "no RssAnon")
}

/// Processor time of this process, with all its threads.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Octets the device under `directory` was told to write since it started, by its own counter:
/// whoever else uses it counts too.
pub(crate) fn device_written(directory: &Path) -> u64 {
    let device = sure(fs::metadata(directory)).dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let stat = sure(fs::read_to_string(&path));
    // The seventh field is sectors written, of 512 octets whatever the device has.
    let field = stat.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok());
    512 * there(field, "the device has no counter")
}

/// Octets of disk that the files in `directory` take, however deep.
pub(crate) fn disk(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => disk(&entry.path()),
            Ok(about) => about.blocks() * 512,
            // It went meanwhile.
            Err(_) => 0,
        })
        .sum()
}

/// The machine in one line.
pub(crate) fn named() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(':').nth(1)).unwrap_or_default().trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kib = of(&read("/proc/meminfo"), "MemTotal").replace(" kB", "");
    let gib = kib.parse::<f64>().unwrap_or_default() / f64::from(1 << 20);
    let model = of(&read("/proc/cpuinfo"), "model name");
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = release.split('.').take(2).collect::<Vec<_>>().join(".");
    format!("{cores} processors ({model}), {gib:.0} GiB of memory, Linux {kernel}")
}
