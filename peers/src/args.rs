//! What a measurement is told on its command line: `name=value`, each once.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::job::Setup;

/// `name=value` pairs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args(Vec<(String, String)>);

impl Args {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let pair = |argument: String| match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => panic!("{argument} is not of the form name=value"),
        };
        let mut pairs: Vec<_> = arguments.map(pair).collect();
        // As `words` has them: what came later goes before.
        pairs.reverse();
        Self(pairs)
    }

    /// With one more, which comes before an earlier one of its name.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and texts are given where they are made"
    )]
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(0, (name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = String> {
        self.0.iter().rev().map(|(name, value)| format!("{name}={value}"))
    }

    fn find(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        self.find(name).unwrap_or(default).to_owned()
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.find(name).map(str::parse) {
            Some(Ok(number)) => number,
            Some(Err(_)) => panic!("{name} is not a number of its kind"),
            None => default,
        }
    }

    /// How a store is opened.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            directory: PathBuf::from(self.text("dir", ".")),
            length: self.number("length", 512),
            tasks: self.number("tasks", 1),
            cache: self.number("cache", 4 << 30),
            expiries: self.number("expiries", 0) == 1,
            ttl: Duration::from_secs(self.number("ttl", 24 * 60 * 60)),
            still: self.number("still", 0) == 1,
            in_flight: 0,
            index_memory: self.number("index_memory", 4 << 30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_last_holds_in_the_process_that_is_told_too() {
        let args = Args::default().with("name", "first").with("ttl", 15).with("name", "last");
        assert_eq!(args.text("name", ""), "last");
        let told = Args::parse(args.words());
        assert_eq!(told.text("name", ""), "last");
        assert_eq!(told.number("ttl", 0), 15);
    }
}
