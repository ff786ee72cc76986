//! JSON whose members keep the order they are given, laid out for people to read.

use std::time::Duration;

use crate::http::problem::quoted;

/// How long a line may get before its list is broken into one line an item, in characters.
const LINE_CHARS_MAX: usize = 100;

/// A JSON value.
pub(super) enum Value {
    Null,
    Flag(bool),
    /// Digits, as JSON writes them.
    Number(String),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(&'static str, Value)>),
}

impl Value {
    /// A length of time, in seconds.
    pub(super) fn seconds(time: Duration) -> Self {
        if time.subsec_nanos() == 0 {
            return Self::from(time.as_secs());
        }
        let digits = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
        Self::Number(digits.trim_end_matches('0').to_owned())
    }

    pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }

    /// The value as a text of its own, with a line feed at its end.
    pub(super) fn written(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out.push('\n');
        out
    }

    fn write(&self, depth: usize, out: &mut String) {
        let short = self.on_one_line();
        if depth > 0 && 2 * depth + short.chars().count() <= LINE_CHARS_MAX {
            out.push_str(&short);
            return;
        }
        let (open, close, items): (_, _, Vec<(Option<&str>, &Self)>) = match self {
            Self::List(items) => ('[', ']', items.iter().map(|item| (None, item)).collect()),
            Self::Object(members) => {
                ('{', '}', members.iter().map(|(name, value)| (Some(*name), value)).collect())
            }
            _ => return out.push_str(&short),
        };
        out.push(open);
        for (position, (name, value)) in items.iter().enumerate() {
            out.push_str(if position == 0 { "\n" } else { ",\n" });
            out.push_str(&"  ".repeat(depth + 1));
            if let Some(name) = name {
                out.push_str(&quoted(name));
                out.push_str(": ");
            }
            value.write(depth + 1, out);
        }
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
        out.push(close);
    }

    fn on_one_line(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Flag(flag) => flag.to_string(),
            Self::Number(digits) => digits.clone(),
            Self::Text(text) => quoted(text),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::on_one_line).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Object(members) => {
                let member = |(name, value): &(&str, Self)| {
                    format!("{}: {}", quoted(name), value.on_one_line())
                };
                let members: Vec<_> = members.iter().map(member).collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<http::StatusCode> for Value {
    fn from(status: http::StatusCode) -> Self {
        Self::Number(status.as_u16().to_string())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_short_ones_their_line() {
        let long = Value::texts(["x".repeat(60), "y".repeat(60)]);
        let value = Value::Object(vec![
            ("z", Value::from("a\"b")),
            ("a", Value::Object(vec![("n", Value::from(7_u64)), ("m", Value::Null)])),
            ("list", long),
            ("flag", Value::from(true)),
        ]);
        let (x, y) = ("x".repeat(60), "y".repeat(60));
        assert_eq!(
            value.written(),
            format!(
                "{{\n  \"z\": \"a\\\"b\",\n  \"a\": {{\"n\": 7, \"m\": null}},\n  \"list\": [\n    \
                 \"{x}\",\n    \"{y}\"\n  ],\n  \"flag\": true\n}}\n"
            )
        );
    }

    #[test]
    fn seconds_are_written_as_json_takes_them() {
        for (ms, text) in [(0, "0"), (86_400_000, "86400"), (500, "0.5"), (1_050, "1.05")] {
            let value = Value::seconds(Duration::from_millis(ms));
            assert_eq!(value.on_one_line(), text);
            assert!(serde_json::from_str::<f64>(text).is_ok());
        }
    }
}
