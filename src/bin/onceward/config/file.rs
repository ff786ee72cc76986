//! The configuration file as a tree of values, each of which knows where it stands.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table(Vec<Entry>);

/// One line of a table, or a table within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it is written.
    pub(crate) name: String,
    /// `FILE:LINE`.
    pub(crate) place: String,
    pub(crate) value: Value,
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Truth(bool),
    List(Vec<Value>),
    Table(Table),
    /// Something no setting takes, by its name in TOML.
    Other(&'static str),
}

impl Value {
    /// What it is, for the error that says that it should be something else.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "an integer",
            Self::Truth(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

impl Table {
    /// Reads the file at `path`. Errors are one line, with the file, the line and the key.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(path, &text)
    }

    /// Reads the `text` of the file at `path`. Errors as there.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let lines = Lines::of_text(text);
        let root = DeTable::parse(text).map_err(|error| {
            let message = error.message().replace('\n', " ");
            let Some(span) = error.span() else {
                return format!("{}: {message}", path.display());
            };
            let number = lines.of(span.start);
            let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default();
            // A value that is not TOML is reported without its key, which stands in front of it.
            let key = line.split_once('=').map_or("", |(key, _)| key.trim());
            let key = if message.contains(key) { String::new() } else { format!("{key}: ") };
            format!("{}:{number}: {key}{message}", path.display())
        })?;
        let place = |offset| format!("{}:{}", path.display(), lines.of(offset));
        Self::from_toml(root.get_ref(), &place)
    }

    fn from_toml(table: &DeTable<'_>, place: &dyn Fn(usize) -> String) -> Result<Self, String> {
        let mut entries: Vec<Entry> = Vec::new();
        // TOML gives tables in no order; errors come in that of the lines.
        let mut lines: Vec<_> = table.iter().collect();
        lines.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in lines {
            let name_at = place(name.span().start);
            let name = name.get_ref().as_ref().to_owned();
            if entries.iter().any(|entry| same(&entry.name, &name)) {
                return Err(format!("{name_at}: `{name}` is set twice"));
            }
            let value = value_from_toml(value, place)?;
            entries.push(Entry { name, place: name_at, value });
        }
        Ok(Self(entries))
    }

    /// The entry of this name, written with `-` or `_` between its words.
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| same(&entry.name, name))
    }

    /// All entries, in the file's order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Refuses what is none of `names`. `within` is the table's own name, with a `.` behind it, or
    /// empty.
    pub(crate) fn only(&self, within: &str, names: &[&str]) -> Result<(), String> {
        match self.0.iter().find(|entry| !names.iter().any(|name| same(name, &entry.name))) {
            None => Ok(()),
            Some(entry) => Err(format!("{}: unknown field `{within}{}`", entry.place, entry.name)),
        }
    }
}

/// Whether two names are one: `-` and `_` are alike.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let plain = |octet: u8| if octet == b'_' { b'-' } else { octet };
    one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn value_from_toml(
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(usize) -> String,
) -> Result<Value, String> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a negative or very large integer"), Value::Number),
        DeValue::Boolean(truth) => Value::Truth(*truth),
        DeValue::Float(_) => Value::Other("a floating-point number"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(values) => Value::List(
            values.iter().map(|value| value_from_toml(value, place)).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => Value::Table(Table::from_toml(table, place)?),
    })
}

/// Where the lines of a text end: found once, for a long file has many places to name.
struct Lines(Vec<usize>);

impl Lines {
    fn of_text(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The number, from 1, of the line that holds the octet at `offset`.
    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}
