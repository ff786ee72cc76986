//! What the system says of this process, its disk and the machine.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::work::{sure, there};

/// The longest wait for the device.
const REST: Duration = Duration::from_secs(2);

/// Heap and stacks of this process in memory, in octets: `RssAnon`, which leaves mapped files out.
pub(crate) fn anonymous() -> u64 {
    of_status("RssAnon:")
}

/// All of this process in memory, in octets: `VmRSS`, with what it has mapped of files.
pub(crate) fn resident() -> u64 {
    of_status("VmRSS:")
}

fn of_status(name: &str) -> u64 {
    let status = sure(fs::read_to_string("/proc/self/status"));
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let field = line.and_then(|line| line.split_whitespace().next());
    1024 * there(field.and_then(|field| field.parse::<u64>().ok()), "no such line of its status")
}

/// Processor time of this process, with all its threads.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reads every file in `directory`, however deep, so that whoever looks into them finds them in
/// memory, as far as there is room.
pub(crate) fn read(directory: &Path) {
    let mut octets = vec![0; 1 << 20];
    for entry in sure(fs::read_dir(directory)).flatten() {
        let about = sure(entry.metadata());
        if about.is_dir() {
            read(&entry.path());
        } else if about.is_file() {
            let mut file = sure(File::open(entry.path()));
            while sure(file.read(&mut octets)) > 0 {}
        }
    }
}

/// The fields of the counters of the device under `directory`; `None` where there is none, as under
/// a file system in memory.
fn counters(directory: &Path) -> Option<Vec<u64>> {
    let device = sure(fs::metadata(directory)).dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = match fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        read => sure(read),
    };
    Some(stat.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}

/// Octets that are free under `directory`, if that is a file system in memory.
pub(crate) fn free_in_memory(directory: &Path) -> Option<u64> {
    const TMPFS: u32 = 0x0102_1994;
    let about = rustix::fs::statfs(directory).ok()?;
    let is_memory = u32::try_from(about.f_type).is_ok_and(|kind| kind == TMPFS);
    is_memory.then(|| about.f_bavail * u64::try_from(about.f_bsize).unwrap_or_default())
}

/// Has the system write what it has put off, and waits until its device is idle: what was removed
/// may be discarded there long after. On a device that others keep busy the wait ends by itself.
pub(crate) fn at_rest(directory: &Path) {
    rustix::fs::sync();
    let begun = Instant::now();
    let mut before = Vec::new();
    while begun.elapsed() < REST {
        let Some(now) = counters(directory) else { return };
        // The ninth is what is on its way.
        if now == before && now.get(8) == Some(&0) {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Octets the device under `directory` was told to write since it started, by its own counter:
/// whoever else uses it counts too. `None` for a file system without a device.
pub(crate) fn device_written(directory: &Path) -> Option<u64> {
    // The seventh field is sectors written, of 512 octets whatever the device has.
    counters(directory)
        .map(|counters| 512 * there(counters.get(6).copied(), "the device has no counter"))
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

/// Octets of the file system under `directory` that are in use, by its own count: files that were
/// removed and are still open, or whose blocks it has yet to free, are among them.
pub(crate) fn in_use(directory: &Path) -> u64 {
    let about = sure(rustix::fs::statvfs(directory));
    about.f_frsize * about.f_blocks.saturating_sub(about.f_bfree)
}

/// The newest commit of what is measured and of what measures, with a plus when either has been
/// changed since; other commits, such as those of results, are no reason to measure anew.
pub(crate) fn commit() -> String {
    const MEASURED: [&str; 6] =
        ["src", "Cargo.toml", "Cargo.lock", "peers/src", "peers/Cargo.toml", "peers/Cargo.lock"];
    let git = |arguments: &[&str]| {
        let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut command = Command::new("git");
        command.current_dir(repository).args(arguments).args(MEASURED);
        let output = command.output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["log", "-1", "--format=%h", "--"]).filter(|commit| !commit.is_empty());
    let changed = git(&["status", "--porcelain", "--"]).is_some_and(|lines| !lines.is_empty());
    let plus = if changed { "+" } else { "" };
    format!("{}{plus}", commit.as_deref().unwrap_or("unknown"))
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
    let compiler = env!("PEERS_COMPILER");
    format!("{cores} processors ({model}), {gib:.0} GiB of memory, Linux {kernel}; {compiler}")
}

/// What `program` says of its version, in its first line.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().next().map(str::trim).filter(|line| !line.is_empty())?;
    output.status.success().then(|| line.to_owned())
}
