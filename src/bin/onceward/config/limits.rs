//! What the store may take of the machine, as settings.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::sources::Sources;
use super::written::Written;

/// The least disk that may be set, in octets: two segments of the log.
const DISK_MIN: usize = 128 << 20;
/// The least memory the store's index takes, in octets.
const INDEX_MIN: usize = 1 << 20;
/// The most claims in flight that a store allows.
const IN_FLIGHT_MAX: u32 = 1 << 20;

/// How much the store may take, each as the option of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In octets; `None` for what the disk has.
    pub(crate) max_disk: Option<usize>,
    /// In octets.
    pub(crate) index_memory: usize,
    pub(crate) max_in_flight: u32,
    pub(crate) max_in_flight_per_scope: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_disk: None,
            index_memory: 256 << 20,
            max_in_flight: 65_536,
            max_in_flight_per_scope: 4_096,
        }
    }
}

/// What the command line says of them.
#[derive(Debug, Default)]
pub(super) struct LimitFlags {
    pub(super) max_disk: Option<String>,
    pub(super) index_memory: Option<String>,
    pub(super) max_in_flight: Option<String>,
    pub(super) max_in_flight_per_scope: Option<String>,
}

impl Limits {
    /// Reads them. One that the store would refuse is refused by the name of its place.
    pub(super) fn read(from: &mut Sources<'_>, flags: LimitFlags) -> Result<Self, String> {
        let (disk, index) = ((DISK_MIN, "128MiB"), (INDEX_MIN, "1MiB"));
        at_least(from, "max-disk", flags.max_disk.clone(), disk)?;
        at_least(from, "index-memory", flags.index_memory.clone(), index)?;
        let claims = 1..=IN_FLIGHT_MAX;
        within(from, "max-in-flight", flags.max_in_flight.clone(), &claims)?;
        let of_a_scope = flags.max_in_flight_per_scope;
        within(from, "max-in-flight-per-scope", of_a_scope.clone(), &claims)?;
        let default = Self::default();
        Ok(Self {
            max_disk: from.optional("max-disk", flags.max_disk)?,
            index_memory: from.setting("index-memory", flags.index_memory, default.index_memory)?,
            max_in_flight: from.setting(
                "max-in-flight",
                flags.max_in_flight,
                default.max_in_flight,
            )?,
            max_in_flight_per_scope: from.setting(
                "max-in-flight-per-scope",
                of_a_scope,
                default.max_in_flight_per_scope,
            )?,
        })
    }
}

/// Refuses a size below the `least`, which is said in its words.
fn at_least(
    from: &Sources<'_>,
    key: &str,
    flag: Option<String>,
    (least, words): (usize, &str),
) -> Result<(), String> {
    match from.find(key, flag)? {
        Some(found) if found.read::<usize>()? < least => {
            Err(found.wrong(&format!("at least {words}")))
        }
        _ => Ok(()),
    }
}

/// Refuses what is outside `bounds`.
fn within<T: Written + PartialOrd + Display>(
    from: &Sources<'_>,
    key: &str,
    flag: Option<String>,
    bounds: &RangeInclusive<T>,
) -> Result<(), String> {
    match from.find(key, flag)? {
        Some(found) if !bounds.contains(&found.read()?) => {
            Err(found.wrong(&format!("from {} to {}", bounds.start(), bounds.end())))
        }
        _ => Ok(()),
    }
}
