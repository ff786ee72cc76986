//! The memory of processes, for tests that hold a bound to it.

use std::process::Command;

/// Octets that the process has of `what`, a line of its status, as `RssAnon` and `VmRSS`.
pub(crate) fn memory_of(pid: u32, what: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// What this process has of memory that no file stands for, in octets.
pub(crate) fn anonymous() -> usize {
    memory_of(std::process::id(), "RssAnon")
}

/// Whether this process runs `test` and nothing else, whose memory that of the process is. Where it
/// is not, another is started that is, and what comes of it held to have passed.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "ONCEWARD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let ran = alone.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let passed = ran.status.success() && said.contains("test result: ok. 1 passed");
    assert!(passed, "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    false
}
