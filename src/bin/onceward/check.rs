//! `onceward check-config`: everything `serve` would read, read, and nothing served.

use std::fmt::Write as _;
use std::io::Write as _;

use http::Method;
use onceward::Options;
use onceward::http::Profile;

use crate::Failure;
use crate::args::ServeArgs;
use crate::config::fields::{FIELDS, key};
use crate::config::written::quoted;
use crate::config::{Effective, Rule, Settings};
use crate::recorded;
use crate::store;
use crate::temp_dir;
use crate::tls::Tls;

/// Reads the settings and the files they name, and prints what is in effect, in the notation of
/// the file, with where each line comes from behind it.
pub(crate) fn check_config(args: ServeArgs) -> Result<(), Failure> {
    let (settings, effective) =
        Settings::resolve(args, &|name| std::env::var_os(name)).map_err(Failure::Usage)?;
    let text = shown(&settings, &effective);
    readable(&settings).map_err(Failure::Usage)?;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::Failed(format!("standard output: {error}")))
}

/// Reads the files the settings name, as `serve` does before it opens the store, and what the store
/// was run under.
fn readable(settings: &Settings) -> Result<(), String> {
    settings.sender()?;
    if let Some((certificate, key)) = &settings.tls {
        Tls::load(certificate, key)?;
    }
    store::encrypted(Options::new(), settings.encryption_key_file.as_deref()).map(drop)?;
    settings.temp_dir.as_deref().map_or(Ok(()), temp_dir::check)?;
    if settings.accept_change {
        return Ok(());
    }
    recorded::check(&settings.data, &recorded::of(settings))
}

fn shown(settings: &Settings, effective: &[Effective]) -> String {
    let mut lines: Vec<(String, String)> = effective
        .iter()
        .map(|Effective { key, value, origin }| match value {
            Some(value) => (format!("{key} = {value}"), origin.clone()),
            // As a comment, so that the whole can be read as a file again.
            None => (format!("# {key}"), origin.clone()),
        })
        .collect();
    let choice = &settings.choice;
    lines.push((format!("# profile {}", quoted(&choice.profile().name)), "in effect".to_owned()));
    for field in FIELDS {
        let set = choice.main.set.iter().find(|(name, _)| *name == field.name);
        let origin = set.map_or("", |(_, place)| place);
        let value = (field.show)(choice.profile());
        lines.push((format!("#   {} = {value}", key(field.name)), origin.to_owned()));
    }
    for rule in &choice.rules {
        lines.push((of_rule(rule, choice.profile()), rule.place.clone()));
    }
    let mut text = String::new();
    for (line, origin) in lines {
        // Writing to a string cannot fail.
        let _ = match origin.as_str() {
            "" => writeln!(text, "{line}"),
            origin => writeln!(text, "{line}  # {origin}"),
        };
    }
    text
}

fn of_rule(rule: &Rule, main: &Profile) -> String {
    let methods: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    if !rule.protect {
        return format!("# route {methods} {}: not protected", rule.path);
    }
    let other: Vec<String> = FIELDS
        .iter()
        .filter(|field| (field.show)(&rule.profile) != (field.show)(main))
        .map(|field| format!("{} = {}", key(field.name), (field.show)(&rule.profile)))
        .collect();
    let other = if other.is_empty() { "as above".to_owned() } else { other.join(", ") };
    format!("# route {methods} {}: profile {}: {other}", rule.path, quoted(&rule.profile.name))
}
