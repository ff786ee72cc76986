//! What the device under the benchmarks was asked to write, by its own count.

use std::fs;
use std::os::linux::fs::MetadataExt;

/// Bytes written to the device that `target/` stands on since the machine started; `None` where
/// that cannot be told. Other programs' bytes are among them.
pub(crate) fn bytes_written() -> Option<u64> {
    let dev = fs::metadata(env!("CARGO_TARGET_TMPDIR")).ok()?.st_dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // The seventh figure counts sectors written, of 512 bytes whatever the device has.
    stat.split_whitespace().nth(6)?.parse::<u64>().ok().map(|sectors| sectors * 512)
}

/// Processor time of this process, the store's own threads included, in nanoseconds.
pub(crate) fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
