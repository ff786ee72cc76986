//! How settings are written, and read back: one notation for a flag, a variable and the file.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use onceward::http::{
    Canonical, Dialect, InFlight, KeySyntax, Mismatch, OnCrash, OnDisconnect, OnError, OnTimeout,
    OversizeRequest, OversizeResponse, Query, Route, Routes, Scope,
};

use super::file::Value;
use super::pattern;
use crate::principal::Principal;
use crate::trusted::{Network, Trusted};
use crate::upstream::Upstream;
use crate::{duration, size};

/// A value that can be read from a setting, and shown as one.
pub(crate) trait Written: Sized {
    /// Reads it. Errors are in words for the operator, without a place.
    fn read(value: &Value) -> Result<Self, String>;
    /// Writes it as TOML, so that [`read`](Self::read) gives it back.
    fn show(&self) -> String;
}

/// Implements [`Written`] for a choice among words.
macro_rules! words {
    ($type:ty { $($word:literal => $variant:path),+ $(,)? }) => {
        impl $crate::config::written::Written for $type {
            fn read(value: &$crate::config::file::Value) -> Result<Self, String> {
                match $crate::config::written::text(value)? {
                    $($word => Ok($variant),)+
                    other => Err(format!("`{other}` is none of {}", [$($word),+].join(", "))),
                }
            }

            fn show(&self) -> String {
                $crate::config::written::quoted(match self { $($variant => $word),+ })
            }
        }
    };
}
pub(crate) use words;

words!(KeySyntax { "strict" => KeySyntax::Strict, "lenient" => KeySyntax::Lenient });
words!(Scope {
    "principal" => Scope::Principal,
    "principal-and-route" => Scope::PrincipalAndRoute,
});
words!(Query { "include" => Query::Include, "ignore" => Query::Ignore, "sorted" => Query::Sorted });
words!(Canonical { "raw" => Canonical::Raw, "json" => Canonical::Json });
words!(Dialect {
    "problem" => Dialect::Problem,
    "managed-dev" => Dialect::ManagedDev,
    "oec" => Dialect::Oec,
});
words!(OversizeRequest {
    "reject" => OversizeRequest::Reject,
    "stream" => OversizeRequest::Stream,
});
words!(OversizeResponse {
    "tombstone" => OversizeResponse::Tombstone,
    "omit-body" => OversizeResponse::OmitBody,
});
words!(OnTimeout { "continue" => OnTimeout::Continue, "cancel" => OnTimeout::Cancel });
words!(OnDisconnect { "detach" => OnDisconnect::Detach, "cancel" => OnDisconnect::Cancel });
words!(OnCrash { "in-doubt" => OnCrash::InDoubt, "reexecute" => OnCrash::Reexecute });
words!(OnError {
    "store" => OnError::Store,
    "release" => OnError::Release,
    "in-doubt" => OnError::InDoubt,
});

/// The string a value is.
pub(crate) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(invalid(other, "a string")),
    }
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn invalid(value: &Value, expected: &str) -> String {
    format!("invalid type: {}, expected {expected}", value.kind())
}

impl Written for String {
    fn read(value: &Value) -> Result<Self, String> {
        text(value).map(str::to_owned)
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Written for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        match text(value)? {
            "" => Err("an empty path".to_owned()),
            path => Ok(Self::from(path)),
        }
    }

    fn show(&self) -> String {
        quoted(&self.display().to_string())
    }
}

impl Written for bool {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Truth(truth) => Ok(*truth),
            Value::Text(text) if text == "true" => Ok(true),
            Value::Text(text) if text == "false" => Ok(false),
            Value::Text(text) => Err(format!("`{text}` is neither true nor false")),
            other => Err(invalid(other, "true or false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Octets.
impl Written for usize {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => size::parse(text),
            Value::Number(octets) => size::parse(&octets.to_string()),
            other => Err(invalid(other, "a size")),
        }
    }

    fn show(&self) -> String {
        let size = size::show(*self);
        if size.bytes().all(|octet| octet.is_ascii_digit()) { size } else { quoted(&size) }
    }
}

/// A count.
impl Written for u32 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Text(text) => text.parse::<u64>().ok(),
            Value::Number(number) => Some(*number),
            other => return Err(invalid(other, "a whole number")),
        };
        number.and_then(|number| Self::try_from(number).ok()).ok_or_else(|| {
            let most = Self::MAX;
            match value {
                Value::Text(text) => format!("`{text}` is not a whole number up to {most}"),
                _ => format!("a whole number up to {most} is wanted"),
            }
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Written for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        duration::parse(text(value)?)
    }

    fn show(&self) -> String {
        quoted(&duration::show(*self))
    }
}

/// `none`, or what it is.
impl<T: Written> Written for Option<T> {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "none" => Ok(None),
            value => T::read(value).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted("none"), T::show)
    }
}

/// A list, or its members with commas between them.
impl<T: Written> Written for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::List(values) => values.iter().map(T::read).collect(),
            Value::Text(text) if text.is_empty() => Ok(Self::new()),
            Value::Text(text) => {
                text.split(',').map(|part| T::read(&Value::Text(part.trim().to_owned()))).collect()
            }
            other => Err(invalid(other, "a list")),
        }
    }

    fn show(&self) -> String {
        let members: Vec<String> = self.iter().map(T::show).collect();
        format!("[{}]", members.join(", "))
    }
}

impl Written for HeaderName {
    fn read(value: &Value) -> Result<Self, String> {
        let name = text(value)?;
        Self::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is not the name of a header field"))
    }

    fn show(&self) -> String {
        quoted(self.as_str())
    }
}

impl Written for Method {
    fn read(value: &Value) -> Result<Self, String> {
        method(text(value)?)
    }

    fn show(&self) -> String {
        quoted(self.as_str())
    }
}

fn method(name: &str) -> Result<Method, String> {
    // Methods have case, and none in use has small letters in it.
    if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'-') {
        return Err(format!("`{name}` is not a method: write it as in POST"));
    }
    Method::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a method"))
}

impl Written for StatusCode {
    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Number(number) => u16::try_from(*number).ok(),
            Value::Text(text) => text.parse().ok(),
            other => return Err(invalid(other, "a status")),
        };
        number
            .and_then(|number| Self::from_u16(number).ok())
            .filter(|status| (100..600).contains(&status.as_u16()))
            .ok_or_else(|| "a status is a number from 100 to 599".to_owned())
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Written for Route {
    fn read(value: &Value) -> Result<Self, String> {
        let route = text(value)?;
        let (name, path) = route
            .split_once(' ')
            .ok_or_else(|| format!("`{route}` is not a route: write it as in POST /a/{{id}}"))?;
        Ok(Self::new(method(name)?, pattern::check(path)?))
    }

    fn show(&self) -> String {
        quoted(&format!("{} {}", self.method, self.path))
    }
}

impl Written for Routes {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "all" => Ok(Self::All),
            value => Vec::read(value).map(Self::Listed),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::All => quoted("all"),
            Self::Listed(routes) => routes.show(),
        }
    }
}

impl Written for Mismatch {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        if text == "replay" {
            return Ok(Self::Replay);
        }
        text.strip_prefix("reject ")
            .and_then(|status| status.parse::<u16>().ok())
            .filter(|status| (400..500).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .map(Self::Reject)
            .ok_or_else(|| {
                format!("`{text}` is neither `replay` nor `reject STATUS`, as in reject 422")
            })
    }

    fn show(&self) -> String {
        match self {
            Self::Replay => quoted("replay"),
            Self::Reject(status) => quoted(&format!("reject {}", status.as_str())),
        }
    }
}

impl Written for InFlight {
    fn read(value: &Value) -> Result<Self, String> {
        match text(value)? {
            "reject" => Ok(Self::Reject),
            text => match text.strip_prefix("wait ") {
                Some(patience) => duration::parse(patience).map(Self::Wait),
                None => {
                    Err(format!("`{text}` is neither `reject` nor `wait DURATION`, as in wait 2s"))
                }
            },
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Reject => quoted("reject"),
            Self::Wait(patience) => quoted(&format!("wait {}", duration::show(*patience))),
        }
    }
}

impl Written for Upstream {
    fn read(value: &Value) -> Result<Self, String> {
        Self::parse(text(value)?)
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Written for Principal {
    fn read(value: &Value) -> Result<Self, String> {
        Self::parse(text(value)?)
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Written for Network {
    fn read(value: &Value) -> Result<Self, String> {
        Self::parse(text(value)?)
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Written for Trusted {
    fn read(value: &Value) -> Result<Self, String> {
        Vec::read(value).map(Self)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}
