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
    table.only("route.", &NAMES)?;
    // A rule without a path has other lines to point to, unless it has none at all.
    let place = table.entries().first().map_or(place, |entry| &entry.place);
    let path = get::<String>(table, "path")?
        .ok_or_else(|| format!("{place}: route: no `path`: say which paths it is about"))?;
    let path = pattern::check(&path).map_err(|why| wrong(table, place, "path", &why))?;
    let made = match get::<String>(table, "profile")? {
        None => main.clone(),
        Some(name) => profiles.named(&name).map_err(|why| wrong(table, place, "profile", &why))?,
    };
    let refresh = Profiles::refresh(&made);
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

#[cfg(test)]
mod tests {
    use super::super::tests::choice;
    use super::*;

    fn rules(text: &str) -> Result<Vec<Rule>, String> {
        choice(text).map(|choice| choice.rules)
    }

    fn rule(lines: &str) -> Result<Rule, String> {
        rules(&format!("[[route]]\n{lines}\n")).map(|mut rules| rules.remove(0))
    }

    #[test]
    fn a_rule_changes_what_it_names_and_nothing_else() {
        let rule = rule(
            "path = \"/v1/jobs/{id}/**\"\nmethods = [\"PUT\"]\nttl = \"31d\"\n\
             in-flight = \"wait 2s\"\nkey_required = true\nlive = true",
        )
        .unwrap();
        let mut expected = Profile::standard();
        expected.methods = vec![Method::PUT];
        expected.ttl = Duration::from_secs(31 * 86_400);
        expected.in_flight = InFlight::Wait(Duration::from_secs(2));
        expected.key_required = true;
        expected.live_routes = vec![Route::new(Method::PUT, "/v1/jobs/{id}/**")];
        assert_eq!(rule.profile, expected);
        assert!(rule.protect);
        assert!(rule.matches(&Method::PUT, "/v1/jobs/7/a/b"));
        assert!(!rule.matches(&Method::POST, "/v1/jobs/7/a/b"));
        assert!(!rule.matches(&Method::PUT, "/v1/jobs"));
    }

    #[test]
    fn a_rule_may_have_a_profile_of_its_own_and_cover_paths_outside_its_list() {
        let text = "[profiles.mine]\nbase = \"oec\"\n[[route]]\npath = \"/x\"\n\
                    profile = \"mine\"\n[[route]]\npath = \"/y\"\nprofile = \"mine\"\n\
                    protect = true\n[[route]]\npath = \"/z\"\nprotect = false\n";
        let rules = rules(text).unwrap();
        let [listed, all, none] = &rules[..] else { panic!("{rules:?}") };
        assert_eq!(listed.profile.routes, Profile::oec().routes);
        assert_eq!(all.profile.routes, Routes::All);
        assert!(listed.protect && all.protect && !none.protect);
        assert_eq!(none.profile.routes, Routes::Listed(Vec::new()), "X15: ignored, and said so");
        assert!(none.matches(&Method::DELETE, "/z"), "whatever the method");
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_its_line() {
        for (lines, place_and_why) in [
            ("ttl = \"1h\"", "gateway.toml:2: route: no `path`"),
            ("path = \"v1\"", "gateway.toml:2: route.path: `v1`"),
            ("path = \"/**/a\"", "gateway.toml:2: route.path: "),
            ("path = \"/a\"\ntll = \"1h\"", "gateway.toml:3: unknown field `route.tll`"),
            ("path = \"/a\"\nttl = \"never\"", "gateway.toml:3: route.ttl: `never`"),
            ("path = \"/a\"\nprofile = \"x\"", "gateway.toml:3: route.profile: `x` is none of"),
            ("path = \"/a\"\nmethods = [\"GET\"]", "gateway.toml:3: route.methods: a key has no"),
            ("path = \"/a\"\nmethods = []", "gateway.toml:3: route.methods: no method"),
            ("path = \"/a\"\nprotect = false\nttl = \"1h\"", ":4: route.ttl: nothing is protected"),
            ("path = 5", "gateway.toml:2: route.path: invalid type"),
        ] {
            let error = rule(lines).unwrap_err();
            assert!(error.contains(place_and_why), "{lines:?}: {error}");
        }
        assert!(rules("route = 5").unwrap_err().contains(":1: route: invalid type"));
        assert!(rules("route = [5]").unwrap_err().contains(":1: route: an integer is not a rule"));
        assert!(rules("[[route]]").unwrap_err().contains(":1: route: no `path`"));
        let reads = "[[route]]\npath = \"/a\"\nmethods = [\"GET\"]\nprotect = false\n";
        assert_eq!(rules(reads).unwrap().len(), 1);
    }
}
