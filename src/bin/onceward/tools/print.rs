//! Printing answers: tables for people, one object a line for programs.

use std::io::{self, ErrorKind, Write};

use serde_json::Value;

use crate::Failure;

/// How many digits of a scope and of a hash a table shows.
const DIGITS: usize = 16;

/// Prints to standard output.
pub(super) struct Printer {
    json: bool,
    /// Whether a list's first line is printed.
    headed: bool,
}

impl Printer {
    /// As JSON, or as a table.
    pub(super) fn new(json: bool) -> Self {
        Self { json, headed: false }
    }

    /// The first line of a list, once.
    pub(super) fn heading(&mut self, with_keys: bool) -> Result<(), Failure> {
        if self.json || self.headed {
            return Ok(());
        }
        self.headed = true;
        let key = if with_keys { "  KEY" } else { "" };
        line(&format!(
            "{:<9}  {:<16}  {:<16}  {:<24}  {:<24}  {:>10}{key}",
            "STATE", "KEY SHA-256", "SCOPE", "CLAIMED", "EXPIRES", "OCTETS"
        ))
        .map(|_| ())
    }

    /// A key of a list. `false` when nobody reads any more.
    pub(super) fn row(&self, key: &Value) -> Result<bool, Failure> {
        if self.json {
            return line(&key.to_string());
        }
        let text = |name| shown(key.get(name));
        let short = |name| text(name).chars().take(DIGITS).collect::<String>();
        let whole =
            key.get("key").map_or_else(String::new, |key| format!("  {}", shown(Some(key))));
        line(&format!(
            "{:<9}  {:<16}  {:<16}  {:<24}  {:<24}  {:>10}{whole}",
            text("state"),
            short("key_sha256"),
            short("scope"),
            text("claimed_at"),
            text("expires_at"),
            text("payload_octets"),
        ))
    }

    /// An answer, member by member.
    pub(super) fn fields(&self, answer: &Value) -> Result<(), Failure> {
        let Some(fields) = answer.as_object().filter(|_| !self.json) else {
            return line(&answer.to_string()).map(|_| ());
        };
        let width = fields.keys().map(String::len).max().unwrap_or_default();
        for (name, value) in fields {
            if !line(&format!("{name:<width$}  {}", shown(Some(value))))? {
                break;
            }
        }
        Ok(())
    }
}

/// `false` when whoever reads has closed its end, as `head` does: that is no fault.
pub(crate) fn line(line: &str) -> Result<bool, Failure> {
    match writeln!(io::stdout().lock(), "{line}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Failed(format!("standard output: {error}"))),
    }
}

/// A value for a person, without what a terminal would obey.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_a_terminal_nothing() {
        assert_eq!(shown(Some(&Value::from("a\u{1b}[2Jb\n"))), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!((shown(None), shown(Some(&Value::from(5)))), ("-".to_owned(), "5".to_owned()));
    }
}
