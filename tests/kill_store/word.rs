//! What a process tells the oracle, a line each. A line is one write to a pipe, so that it is said
//! whole or not at all, whenever the process dies.

use std::fmt;
use std::str::FromStr;

use crate::facts::Content;

/// What somebody who looked at a key saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    InFlight,
    InDoubt,
    Result(Content),
}

/// One thing said. Times are milliseconds of the store's clock since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The process is there, and waits for its task.
    Ready,
    /// The store is about to be opened.
    Opening,
    /// It is open, and nobody claims yet: what is seen from here on, stands.
    Opened,
    /// From here on many claim at once.
    Working,
    /// The store is about to be closed, and nobody claims any more.
    Closing,
    Closed,
    /// The clock is about to be set forward.
    Time {
        ms: u64,
    },
    /// A claim that was begun at `ms` is granted.
    Granted {
        key: u64,
        number: u64,
        ms: u64,
    },
    /// What was begun at `ms` to end the grant has succeeded.
    Ended {
        key: u64,
        number: u64,
        ms: u64,
    },
    Saw {
        key: u64,
        seen: Seen,
    },
    /// A key in doubt is about to be resolved: to a result, or to be free.
    Resolving {
        key: u64,
        number: u64,
        ms: u64,
        result: bool,
    },
    Resolved {
        key: u64,
        number: u64,
    },
    /// The store did not open, which is no fault on such a disk.
    Unopened(String),
    /// The store was closed and said that not all was well, which is no fault on such a disk.
    Unclosed(String),
    /// A claim failed; whether the key is free nobody knows.
    Unclaimed {
        key: u64,
    },
    /// A new claim was refused for want of room.
    Refused,
    /// What was to end the grant has failed.
    Failed {
        key: u64,
        number: u64,
    },
    /// There was no room for the grant's result: from `ms` on, it is ended without.
    NoRoom {
        key: u64,
        number: u64,
        ms: u64,
    },
    /// Whoever listens may make room now.
    Crowded,
    /// Something that may never be.
    Fault(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => write!(f, "ready"),
            Self::Opening => write!(f, "opening"),
            Self::Opened => write!(f, "opened"),
            Self::Working => write!(f, "working"),
            Self::Closing => write!(f, "closing"),
            Self::Closed => write!(f, "closed"),
            Self::Time { ms } => write!(f, "time {ms}"),
            Self::Granted { key, number, ms } => write!(f, "granted {key} {number} {ms}"),
            Self::Ended { key, number, ms } => write!(f, "ended {key} {number} {ms}"),
            Self::Saw { key, seen: Seen::Nothing } => write!(f, "nothing {key}"),
            Self::Saw { key, seen: Seen::InFlight } => write!(f, "in-flight {key}"),
            Self::Saw { key, seen: Seen::InDoubt } => write!(f, "in-doubt {key}"),
            Self::Saw { key, seen: Seen::Result(Content { tombstone, hash }) } => {
                write!(f, "result {key} {} {hash}", u8::from(*tombstone))
            }
            Self::Resolving { key, number, ms, result } => {
                write!(f, "resolving {key} {number} {ms} {}", u8::from(*result))
            }
            Self::Resolved { key, number } => write!(f, "resolved {key} {number}"),
            Self::Unopened(why) => write!(f, "unopened {}", why.replace('\n', " ")),
            Self::Unclosed(why) => write!(f, "unclosed {}", why.replace('\n', " ")),
            Self::Unclaimed { key } => write!(f, "unclaimed {key}"),
            Self::Refused => write!(f, "refused"),
            Self::Failed { key, number } => write!(f, "failed {key} {number}"),
            Self::NoRoom { key, number, ms } => write!(f, "no-room {key} {number} {ms}"),
            Self::Crowded => write!(f, "crowded"),
            Self::Fault(what) => write!(f, "fault {}", what.replace('\n', " ")),
        }
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        match name {
            "fault" => return Ok(Self::Fault(rest.to_owned())),
            "unopened" => return Ok(Self::Unopened(rest.to_owned())),
            "unclosed" => return Ok(Self::Unclosed(rest.to_owned())),
            _ => {}
        }
        let numbers: Result<Vec<u64>, _> = rest.split_whitespace().map(str::parse).collect();
        let numbers = numbers.map_err(|_| line.to_owned())?;
        let saw = |key, seen| Self::Saw { key, seen };
        Ok(match (name, numbers[..].as_ref()) {
            ("ready", []) => Self::Ready,
            ("opening", []) => Self::Opening,
            ("opened", []) => Self::Opened,
            ("working", []) => Self::Working,
            ("closing", []) => Self::Closing,
            ("closed", []) => Self::Closed,
            ("time", &[ms]) => Self::Time { ms },
            ("granted", &[key, number, ms]) => Self::Granted { key, number, ms },
            ("ended", &[key, number, ms]) => Self::Ended { key, number, ms },
            ("nothing", &[key]) => saw(key, Seen::Nothing),
            ("in-flight", &[key]) => saw(key, Seen::InFlight),
            ("in-doubt", &[key]) => saw(key, Seen::InDoubt),
            ("result", &[key, tombstone, hash]) => {
                saw(key, Seen::Result(Content { tombstone: tombstone == 1, hash }))
            }
            ("resolving", &[key, number, ms, result]) => {
                Self::Resolving { key, number, ms, result: result == 1 }
            }
            ("resolved", &[key, number]) => Self::Resolved { key, number },
            ("unclaimed", &[key]) => Self::Unclaimed { key },
            ("refused", []) => Self::Refused,
            ("failed", &[key, number]) => Self::Failed { key, number },
            ("no-room", &[key, number, ms]) => Self::NoRoom { key, number, ms },
            ("crowded", []) => Self::Crowded,
            _ => return Err(line.to_owned()),
        })
    }
}
