//! `[[route]]`: rules for some paths, of which the first that matches holds.

use std::time::Duration;

use http::Method;
use onceward::http::{InFlight, Profile, Route, Routes};

use super::Refresh;
use super::fields;
use super::file::{Table, Value};
use super::pattern;
use super::profiles::{Made, Profiles};
use super::sources::Sources;
use super::written::Written;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Compared with the raw path.
    pub(crate) path: String,
    /// Those the rule is about; all of them where there is none.
    pub(crate) methods: Vec<Method>,
    /// Whether keys have an effect here.
    pub(crate) protect: bool,
    /// What holds here.
    pub(crate) profile: Profile,
    pub(crate) refresh: Refresh,
    /// `FILE:LINE` of its path.
    pub(crate) place: String,
}

impl Rule {
    /// Whether the rule is about a request.
    pub(crate) fn matches(&self, method: &Method, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && Route::path_matches(&self.path, path)
    }
}

/// The settings of a rule.
const NAMES: [&str; 8] =
    ["path", "methods", "profile", "ttl", "in-flight", "key-required", "live", "protect"];

/// Reads the rules in the file; where one names no profile, `main` is its own.
pub(crate) fn read(
    from: &Sources<'_>,
    profiles: &Profiles,
    main: &Made,
) -> Result<Vec<Rule>, String> {
    let Some(entry) = from.file.get("route") else {
        return Ok(Vec::new());
    };
    let Value::List(rules) = &entry.value else {
        return Err(format!(
            "{}: route: invalid type: {}, expected rules, each under [[route]]",
            entry.place,
            entry.value.kind()
        ));
    };
    rules
        .iter()
        .map(|rule| match rule {
            Value::Table(table) => rule_of(table, &entry.place, profiles, main),
            other => Err(format!("{}: route: {} is not a rule", entry.place, other.kind())),
        })
        .collect()
}

fn rule_of(table: &Table, place: &str, profiles: &Profiles, main: &Made) -> Result<Rule, String> {
    table.only("route.", NAMES.into_iter())?;
    // A rule without a path has other lines to point to, unless it has none at all.
    let place = table.entries().first().map_or(place, |entry| &entry.place);
    let path = get::<String>(table, "path")?
        .ok_or_else(|| format!("{place}: route: no `path`: say which paths it is about"))?;
    let path = pattern::check(&path).map_err(|why| wrong(table, place, "path", &why))?;
    let made = match get::<String>(table, "profile")? {
        None => main.clone(),
        Some(name) => profiles.named(&name).map_err(|why| wrong(table, place, "profile", &why))?,
    };
    let refresh = profiles.refresh(&made);
    let mut profile = made.profile;
    let methods = get::<Vec<Method>>(table, "methods")?;
    let protect = get::<bool>(table, "protect")?;
    if protect == Some(false) {
        let pointless = ["profile", "ttl", "in-flight", "key-required", "live"];
        if let Some(name) = pointless.into_iter().find(|name| table.get(name).is_some()) {
            return Err(wrong(table, place, name, "nothing is protected here (protect = false)"));
        }
        // No path is listed: a key is ignored, and the response says so (X15).
        (profile.routes, profile.enforce_unlisted) = (Routes::Listed(Vec::new()), false);
    } else {
        if let Some(methods) = &methods {
            if let Some(why) = fields::unprotectable(methods) {
                return Err(wrong(table, place, "methods", &why));
            }
            profile.methods.clone_from(methods);
        }
        if protect == Some(true) {
            profile.routes = Routes::All;
        }
    }
    if let Some(ttl) = get::<Duration>(table, "ttl")? {
        profile.ttl = ttl;
    }
    if let Some(in_flight) = get::<InFlight>(table, "in-flight")? {
        profile.in_flight = in_flight;
    }
    if let Some(key_required) = get::<bool>(table, "key-required")? {
        profile.key_required = key_required;
    }
    if get::<bool>(table, "live")? == Some(true) {
        profile.live_routes =
            profile.methods.iter().map(|method| Route::new(method.clone(), path.clone())).collect();
    }
    let place = table.get("path").map_or(place, |entry| &entry.place).to_owned();
    Ok(Rule {
        path,
        methods: methods.unwrap_or_default(),
        protect: protect != Some(false),
        profile,
        refresh,
        place,
    })
}

fn get<T: Written>(table: &Table, name: &str) -> Result<Option<T>, String> {
    table
        .get(name)
        .map(|entry| {
            T::read(&entry.value).map_err(|why| format!("{}: route.{name}: {why}", entry.place))
        })
        .transpose()
}

fn wrong(table: &Table, place: &str, name: &str, why: &str) -> String {
    let place = table.get(name).map_or(place, |entry| &entry.place);
    format!("{place}: route.{name}: {why}")
}
