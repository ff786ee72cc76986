//! The places a setting may come from: a flag wins over its variable, and that over the file.

use std::ffi::OsString;
use std::path::PathBuf;

use super::file::{Table, Value};
use super::written::Written;

/// Where settings are looked for, and what was found there.
pub(crate) struct Sources<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub(crate) file: Table,
    effective: Vec<Effective>,
}

/// A setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) key: &'static str,
    /// As it would stand in the file; `None` where it is not set and has no default.
    pub(crate) value: Option<String>,
    /// Where it comes from, in words.
    pub(crate) origin: String,
}

/// A value with where it came from, for the error that may follow.
pub(crate) struct Found {
    value: Value,
    /// The flag, the variable, or the file's name, line and key.
    place: String,
    /// Whether the file is what it came from.
    pub(crate) in_file: bool,
}

impl<'a> Sources<'a> {
    /// Reads the file named by `config` or `ONCEWARD_CONFIG`, if either is. An empty variable
    /// counts as absent. The file may have the settings `names` and no others.
    pub(crate) fn open(
        config: Option<PathBuf>,
        variable: &'a dyn Fn(&str) -> Option<OsString>,
        names: &[&str],
    ) -> Result<Self, String> {
        let named = variable("ONCEWARD_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        let file = match config.or(named) {
            None => Table::default(),
            Some(path) => Table::read(&path)?,
        };
        Self::of(file, variable, names)
    }

    /// The file, read already, and variables.
    pub(crate) fn of(
        file: Table,
        variable: &'a dyn Fn(&str) -> Option<OsString>,
        names: &[&str],
    ) -> Result<Self, String> {
        file.only("", names)?;
        Ok(Self { variable, file, effective: Vec::new() })
    }

    /// What is said about `key`, and where.
    pub(crate) fn find(&self, key: &str, flag: Option<String>) -> Result<Option<Found>, String> {
        if let Some(value) = flag {
            let place = format!("--{key}");
            return Ok(Some(Found { value: Value::Text(value), place, in_file: false }));
        }
        let name = format!("ONCEWARD_{}", key.to_uppercase().replace('-', "_"));
        if let Some(value) = (self.variable)(&name).filter(|value| !value.is_empty()) {
            let value = value.into_string().map_err(|_| format!("{name}: not UTF-8"))?;
            return Ok(Some(Found { value: Value::Text(value), place: name, in_file: false }));
        }
        Ok(self.file.get(key).map(|entry| Found {
            value: entry.value.clone(),
            place: format!("{}: {key}", entry.place),
            in_file: true,
        }))
    }

    /// The setting `key`, or `default`.
    pub(crate) fn setting<T: Written>(
        &mut self,
        key: &'static str,
        flag: Option<String>,
        default: T,
    ) -> Result<T, String> {
        Ok(self.optional(key, flag)?.unwrap_or_else(|| {
            if let Some(said) = self.effective.last_mut() {
                (said.value, said.origin) = (Some(default.show()), "default".to_owned());
            }
            default
        }))
    }

    /// The setting `key`, if there is one.
    pub(crate) fn optional<T: Written>(
        &mut self,
        key: &'static str,
        flag: Option<String>,
    ) -> Result<Option<T>, String> {
        Ok(self.optional_found(key, flag)?.map(|(value, _)| value))
    }

    /// The setting `key`, if there is one, and whether the file says so.
    pub(crate) fn optional_found<T: Written>(
        &mut self,
        key: &'static str,
        flag: Option<String>,
    ) -> Result<Option<(T, bool)>, String> {
        let found = self.find(key, flag)?;
        let Some(found) = found else {
            self.effective.push(Effective { key, value: None, origin: "not set".to_owned() });
            return Ok(None);
        };
        let (origin, in_file) = (found.place.clone(), found.in_file);
        let value: T = found.read()?;
        self.effective.push(Effective { key, value: Some(value.show()), origin });
        Ok(Some((value, in_file)))
    }

    /// What was found, in the order it was asked for.
    pub(crate) fn effective(&mut self) -> &mut Vec<Effective> {
        &mut self.effective
    }
}

impl Found {
    /// The value; the error names its place.
    pub(crate) fn read<T: Written>(&self) -> Result<T, String> {
        T::read(&self.value).map_err(|why| self.wrong(&why))
    }

    /// An error about it, with its place.
    pub(crate) fn wrong(&self, why: &str) -> String {
        format!("{}: {why}", self.place)
    }
}
