//! `[profiles.NAME]`: profiles of the operator's own, each a shipped one with other fields.

use std::time::Duration;

use onceward::http::Profile;

use super::Refresh;
use super::fields;
use super::file::{Table, Value};
use super::sources::Sources;
use super::written::text;

/// A profile, and what its fields come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) profile: Profile,
    /// The shipped profile it is made from; its own name for a shipped one.
    base: String,
    /// The fields written down in the file, and where.
    pub(crate) set: Vec<(&'static str, String)>,
}

/// The profiles there are: those of the file, and the shipped ones.
#[derive(Debug)]
pub(crate) struct Profiles {
    made: Vec<Made>,
    everywhere: Everywhere,
}

/// What is set for all profiles at once, with whether the file says so. A field of a profile's own
/// is closer to it than the file's general word, and a flag or a variable wins over both.
#[derive(Debug)]
pub(crate) struct Everywhere {
    pub(crate) ttl: Option<(Duration, bool)>,
    pub(crate) request_octets_max: Option<(usize, bool)>,
    pub(crate) timeout: Option<(Duration, bool)>,
    pub(crate) refresh: Option<Refresh>,
}

impl Profiles {
    /// Reads the tables in the file.
    pub(crate) fn read(from: &Sources<'_>, everywhere: Everywhere) -> Result<Self, String> {
        let mut made = Vec::new();
        if let Some(entry) = from.file.get("profiles") {
            let Value::Table(tables) = &entry.value else {
                return Err(format!(
                    "{}: profiles: invalid type: {}, expected tables, as in [profiles.mine]",
                    entry.place,
                    entry.value.kind()
                ));
            };
            for entry in tables.entries() {
                let within = format!("profiles.{}", entry.name);
                let Value::Table(table) = &entry.value else {
                    return Err(format!("{}: {within}: expected a table", entry.place));
                };
                let wrong = |why: &str| Err(format!("{}: {within}: {why}", entry.place));
                if Profile::named(&entry.name).is_some() {
                    return wrong("a profile of this name is shipped; take another name");
                }
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if entry.name.is_empty() || !entry.name.chars().all(plain) {
                    return wrong("a name has letters, digits, `-`, `_` and `.` in it");
                }
                made.push(Made::read(&entry.name, &within, &entry.place, table)?);
            }
        }
        Ok(Self { made, everywhere })
    }

    /// The profile of this name, with what is set everywhere.
    pub(crate) fn named(&self, name: &str) -> Result<Made, String> {
        let own = self.made.iter().find(|made| made.profile.name == name).cloned();
        let mut made =
            own.or_else(|| Profile::named(name).map(Made::shipped)).ok_or_else(|| {
                let own = self.made.iter().map(|made| made.profile.name.to_string());
                let shipped = Profile::all().map(|profile| profile.name.to_string());
                let names: Vec<String> = shipped.into_iter().chain(own).collect();
                format!("`{name}` is none of {}", names.join(", "))
            })?;
        self.everywhere.apply(&mut made);
        Ok(made)
    }

    /// Where the body of a replay under `made` comes from (X1): only managed.dev promises the job
    /// "with its current status" (M10).
    pub(crate) fn refresh(&self, made: &Made) -> Refresh {
        let of_the_base = || {
            if made.base == Profile::managed_dev().name { Refresh::Location } else { Refresh::Off }
        };
        self.everywhere.refresh.unwrap_or_else(of_the_base)
    }
}

impl Everywhere {
    fn apply(&self, made: &mut Made) {
        let own = |field: &str| made.set.iter().any(|(name, _)| *name == field);
        let holds = |in_file: bool, field| !(in_file && own(field));
        if let Some((ttl, in_file)) = self.ttl
            && holds(in_file, "ttl")
        {
            made.profile.ttl = ttl;
        }
        if let Some((octets, in_file)) = self.request_octets_max
            && holds(in_file, "request_octets_max")
        {
            made.profile.request_octets_max = octets;
        }
        if let Some((timeout, in_file)) = self.timeout
            && holds(in_file, "timeout")
        {
            made.profile.timeout = Some(timeout);
        }
        let profile = &mut made.profile;
        profile.request_octets_in_memory =
            profile.request_octets_in_memory.min(profile.request_octets_max);
    }
}

impl Made {
    /// A shipped profile as it is.
    pub(crate) fn shipped(profile: Profile) -> Self {
        Self { base: profile.name.to_string(), profile, set: Vec::new() }
    }

    fn read(name: &str, within: &str, place: &str, table: &Table) -> Result<Self, String> {
        let names = std::iter::once("base").chain(fields::FIELDS.iter().map(|field| field.name));
        table.only(&format!("{within}."), names)?;
        let Some(base) = table.get("base") else {
            return Err(format!("{place}: {within}: no `base`: name the profile it is made from"));
        };
        let found = text(&base.value)
            .and_then(|name| {
                Profile::named(name).ok_or_else(|| {
                    let names = Profile::all().map(|profile| profile.name);
                    format!("`{name}` is none of {}", names.join(", "))
                })
            })
            .map_err(|why| format!("{}: {within}.base: {why}", base.place))?;
        let mut made = Self { base: found.name.to_string(), profile: found, set: Vec::new() };
        made.profile.name = name.to_owned().into();
        for entry in table.entries() {
            let Some(field) = fields::field(&entry.name) else { continue };
            (field.read)(&mut made.profile, &entry.value).map_err(|why| {
                format!("{}: {within}.{}: {why}", entry.place, fields::key(field.name))
            })?;
            made.set.push((field.name, entry.place.clone()));
        }
        let set: Vec<&str> = made.set.iter().map(|(name, _)| *name).collect();
        match fields::nonsense(&made.profile, &set) {
            None => Ok(made),
            Some((field, why)) => {
                // Of what does not go together, one part may stand in the base alone.
                let at = made.set.iter().find(|(name, _)| *name == field);
                let place = at.map_or(place, |(_, place)| place);
                Err(format!("{place}: {within}.{}: {why}", fields::key(field)))
            }
        }
    }
}
