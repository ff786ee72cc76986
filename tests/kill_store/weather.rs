//! What a disk does to the process that has its store on it: a call that fails, once or for good, or
//! is the process's last; or no room.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

use crate::small_disk::SmallDisk;

/// What befalls a process, besides being killed from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Fair,
    /// A system call fails, or kills.
    Calls,
    /// The disk fills up.
    Full,
}

impl Weather {
    pub(crate) const ALL: [Self; 3] = [Self::Fair, Self::Calls, Self::Full];
}

/// Where a store is.
pub(crate) enum Place {
    Disk(tempfile::TempDir),
    Small(SmallDisk),
}

impl Place {
    pub(crate) fn of(weather: Weather) -> Self {
        match weather {
            Weather::Full => Self::Small(SmallDisk::mount()),
            // Where builds are: on a disk, which the place for temporary files may not be.
            _ => Self::Disk(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Disk(directory) => directory.path(),
            Self::Small(disk) => disk.path(),
        }
    }

    /// Leaves so many octets of a small disk free, or all there are.
    pub(crate) fn leave(&self, octets: u64) {
        let Self::Small(disk) = self else { return };
        if octets == u64::MAX {
            File::create(disk.path().join("ballast")).unwrap();
            return;
        }
        let ballast = disk.fill("ballast");
        let taken = ballast.metadata().unwrap().len();
        ballast.set_len(taken.saturating_sub(octets)).unwrap();
    }
}

/// The calls that change a disk, and how many of each a thread makes before long. The first few
/// `openat`s are those of whatever starts a program.
const CALLS: [(&str, u32, u32); 7] = [
    ("fdatasync", 1, 60),
    ("pwrite64", 1, 90),
    ("fsync", 1, 10),
    ("renameat", 1, 6),
    ("unlinkat", 1, 10),
    ("ftruncate", 1, 8),
    ("openat", 16, 50),
];

/// A system call that fails, or kills, in whichever thread comes to make so many of them.
pub(crate) struct Trace {
    call: &'static str,
    /// As `strace` has it.
    inject: String,
    /// Where `strace` says what it did.
    said: PathBuf,
    pub(crate) kills: bool,
}

impl Trace {
    pub(crate) fn draw(rng: &mut Rng, said: PathBuf) -> Self {
        // Syncs and writes are most of what there is.
        let (call, first, last) = CALLS[if rng.bool() { rng.usize(..2) } else { rng.usize(..7) }];
        let kills = rng.u8(..3) == 0;
        // A process that is killed by its own hand is not to be killed from outside first.
        let nth = rng.u32(first..=if kills { first + (last - first) / 4 } else { last });
        let what = match rng.u8(..8) {
            _ if kills => "signal=KILL",
            0 if call == "pwrite64" => "error=ENOSPC",
            _ => "error=EIO",
        };
        // Most disks that fail once say that all is well from then on.
        let on = if !kills && rng.u8(..4) == 0 { "+" } else { "" };
        Self { call, inject: format!("{call}:{what}:when={nth}{on}"), said, kills }
    }

    /// `program` under `strace`, which is a process beside it: the child is the program.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-qq", "-y", "--seccomp-bpf", "--decode-pids=comm", "-o"]);
        command.arg(&self.said).args(["-e", &format!("trace={}", self.call)]);
        command.args(["-e", &format!("inject={}", self.inject)]).arg(program);
        // Where there is one, a program's start tries dozens of places, and calls that fail are to
        // be the store's.
        command.env_remove("LD_LIBRARY_PATH");
        command
    }

    /// What it did to the committer's calls on the log. It is said before the call returns.
    pub(crate) fn failed_commit(&self) -> Option<String> {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        let of_log = |line: &&str| {
            line.contains("<onceward-commit>")
                && line.contains("/segments/")
                && line.contains("INJECTED")
        };
        said.lines().find(of_log).map(str::to_owned)
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inject.fmt(f)
    }
}
