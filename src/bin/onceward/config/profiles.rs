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
    pub(crate) refresh: Option<(Refresh, bool)>,
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
                let read = Made::read(&entry.name, &within, &entry.place, table)?;
                read.check(&everywhere, &within, &entry.place)?;
                made.push(read);
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

    /// Where the body of a replay under `made`, with what is set everywhere, comes from (X1).
    pub(crate) fn refresh(made: &Made) -> Refresh {
        if made.profile.refresh_location { Refresh::Location } else { Refresh::Off }
    }
}

impl Everywhere {
    fn apply(&self, made: &mut Made) {
        self.set(made);
        let profile = &mut made.profile;
        profile.request_octets_in_memory =
            profile.request_octets_in_memory.min(profile.request_octets_max);
    }

    fn set(&self, made: &mut Made) {
        if let Some((ttl, in_file)) = self.ttl
            && made.gives_way("ttl", in_file)
        {
            made.profile.ttl = ttl;
        }
        if let Some((octets, in_file)) = self.request_octets_max
            && made.gives_way("request_octets_max", in_file)
        {
            made.profile.request_octets_max = octets;
        }
        if let Some((timeout, in_file)) = self.timeout
            && made.gives_way("timeout", in_file)
        {
            made.profile.timeout = Some(timeout);
        }
        if let Some((refresh, in_file)) = self.refresh
            && made.gives_way("refresh_location", in_file)
        {
            made.profile.refresh_location = refresh == Refresh::Location;
        }
    }
}

impl Made {
    /// A shipped profile as it is.
    pub(crate) fn shipped(profile: Profile) -> Self {
        Self { profile, set: Vec::new() }
    }

    /// Whether `field` is what is set everywhere, in the file or not. A field of its own that is
    /// not in effect then comes from no line of the file.
    fn gives_way(&mut self, field: &str, in_file: bool) -> bool {
        if in_file {
            return self.set.iter().all(|(name, _)| *name != field);
        }
        self.set.retain(|(name, _)| *name != field);
        true
    }

    fn read(name: &str, within: &str, place: &str, table: &Table) -> Result<Self, String> {
        let names: Vec<&str> =
            std::iter::once("base").chain(fields::FIELDS.iter().map(|field| field.name)).collect();
        table.only(&format!("{within}."), &names)?;
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
        let mut made = Self::shipped(found);
        made.profile.name = name.to_owned().into();
        for entry in table.entries() {
            let Some(field) = fields::field(&entry.name) else { continue };
            (field.read)(&mut made.profile, &entry.value).map_err(|why| {
                format!("{}: {within}.{}: {why}", entry.place, fields::key(field.name))
            })?;
            made.set.push((field.name, entry.place.clone()));
        }
        // Names of headers have no case: however they are written, it is the same profile.
        made.profile.volatile_headers.iter_mut().for_each(|name| name.make_ascii_lowercase());
        Ok(made)
    }

    /// Refuses what makes no sense, by itself or with what is set everywhere: either may be what the
    /// other is written for.
    fn check(&self, everywhere: &Everywhere, within: &str, place: &str) -> Result<(), String> {
        let set: Vec<&str> = self.set.iter().map(|(name, _)| *name).collect();
        if fields::nonsense(&self.profile, &set).is_none() {
            return Ok(());
        }
        let mut whole = self.clone();
        everywhere.set(&mut whole);
        let Some((field, why)) = fields::nonsense(&whole.profile, &set) else { return Ok(()) };
        // Of what does not go together, one part may stand in the base alone.
        let at = self.set.iter().find(|(name, _)| *name == field);
        let place = at.map_or(place, |(_, place)| place);
        Err(format!("{place}: {within}.{}: {why}", fields::key(field)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Choice;
    use super::super::tests::choice;
    use super::*;
    use onceward::http::{InFlight, Mismatch, Route, Routes};

    fn mine(fields: &str) -> Result<Profile, String> {
        let text = format!("profile = \"mine\"\n[profiles.mine]\n{fields}");
        choice(&text).map(|Choice { main, .. }| main.profile)
    }

    #[test]
    fn a_profile_is_its_base_with_other_fields() {
        let read = mine(
            "base = \"oec\"\nheader = \"X-Key\"\nheader_aliases = [\"Idempotency-Key\"]\n\
             key-required = true\nmethods = [\"POST\", \"PUT\"]\n\
             routes = [\"PUT /v1/{id}\", \"POST /v1/**\"]\nmismatch = \"reject 409\"\n\
             query = \"sorted\"\nmarker = \"none\"\nttl = \"31d\"\nin-flight = \"wait 2s\"\n\
             response-octets-max = \"1MiB\"\nrequest-octets-max = 4096\n\
             release-statuses = [409, 429]\ntimeout = \"30s\"\non-timeout = \"cancel\"\n\
             volatile-headers = [\"X-Node\", \"x-Trace-*\"]\n",
        )
        .unwrap();
        let mut expected = Profile::oec();
        expected.name = "mine".into();
        expected.header = http::HeaderName::from_static("x-key");
        expected.header_aliases = vec![http::HeaderName::from_static("idempotency-key")];
        expected.key_required = true;
        expected.methods = vec![http::Method::POST, http::Method::PUT];
        expected.routes = Routes::Listed(vec![
            Route::new(http::Method::PUT, "/v1/{id}"),
            Route::new(http::Method::POST, "/v1/**"),
        ]);
        expected.mismatch = Mismatch::Reject(http::StatusCode::CONFLICT);
        expected.query = onceward::http::Query::Sorted;
        expected.marker = None;
        expected.ttl = Duration::from_secs(31 * 86_400);
        expected.in_flight = InFlight::Wait(Duration::from_secs(2));
        expected.response_octets_max = 1 << 20;
        (expected.request_octets_max, expected.request_octets_in_memory) = (4096, 4096);
        expected.release_statuses =
            vec![http::StatusCode::CONFLICT, http::StatusCode::TOO_MANY_REQUESTS];
        expected.timeout = Some(Duration::from_secs(30));
        expected.on_timeout = onceward::http::OnTimeout::Cancel;
        expected.volatile_headers = vec!["x-node".into(), "x-trace-*".into()];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_profile_that_makes_no_sense_is_refused_with_its_line() {
        for (fields, place_and_why) in [
            ("ttl = \"1h\"", "gateway.toml:2: profiles.mine: no `base`"),
            ("base = \"mine\"", "gateway.toml:3: profiles.mine.base: `mine`"),
            ("base = \"ietf\"\ntll = \"1h\"", "gateway.toml:4: unknown field `profiles.mine.tll`"),
            ("base = \"ietf\"\nname = \"x\"", "gateway.toml:4: unknown field `profiles.mine.name`"),
            ("base = \"ietf\"\nttl = 5", "gateway.toml:4: profiles.mine.ttl: invalid type"),
            ("base = \"ietf\"\nkey-syntax = \"loose\"", ":4: profiles.mine.key-syntax: `loose`"),
            ("base = \"ietf\"\nkey-octets-max = 256", ":4: profiles.mine.key-octets-max: "),
            ("base = \"ietf\"\nmethods = []", ":4: profiles.mine.methods: no method"),
            ("base = \"ietf\"\nmethods = [\"GET\"]", ":4: profiles.mine.methods: a key has no"),
            ("base = \"ietf\"\nmethods = [\"post\"]", ":4: profiles.mine.methods: `post`"),
            ("base = \"ietf\"\nmismatch = \"reject\"", ":4: profiles.mine.mismatch: `reject`"),
            ("base = \"ietf\"\nmismatch = \"reject 200\"", ":4: profiles.mine.mismatch: "),
            (
                "base = \"ietf\"\nmismatch = \"replay\"",
                ":4: profiles.mine.mismatch: `replay` needs",
            ),
            ("base = \"oec\"\nscope = \"principal\"", ":2: profiles.mine.mismatch: `replay` needs"),
            ("base = \"oec\"\ncanonical = \"json\"", ":4: profiles.mine.canonical: "),
            ("base = \"oec\"\nquery = \"include\"", ":4: profiles.mine.query: "),
            (
                "base = \"oec\"\nfingerprint-headers = [\"x-v\"]",
                ":4: profiles.mine.fingerprint-headers: ",
            ),
            ("base = \"oec\"\nroutes = [\"PUT /a\"]", ":4: profiles.mine.routes: `PUT /a`"),
            ("base = \"oec\"\nroutes = [\"/a\"]", ":4: profiles.mine.routes: `/a`"),
            ("base = \"oec\"\nroutes = [\"POST a\"]", ":4: profiles.mine.routes: `a`"),
            ("base = \"ietf\"\nenforce-unlisted = true", ":4: profiles.mine.enforce-unlisted: "),
            ("base = \"ietf\"\nlive-routes = [\"PUT /a\"]", ":4: profiles.mine.live-routes: "),
            ("base = \"ietf\"\nheader = \"Authorization\"", ":4: profiles.mine.header: "),
            (
                "base = \"ietf\"\nheader-aliases = [\"Idempotency-Key\"]",
                ":4: profiles.mine.header-a",
            ),
            ("base = \"ietf\"\nmarker = \"location\"", ":4: profiles.mine.marker: "),
            ("base = \"ietf\"\nin-flight = \"wait\"", ":4: profiles.mine.in-flight: `wait`"),
            ("base = \"ietf\"\nin-flight = \"wait 0s\"", ":4: profiles.mine.in-flight: `0s`"),
            ("base = \"ietf\"\nrequest-octets-max = 0", ":4: profiles.mine.request-octets-max: "),
            (
                "base = \"ietf\"\nrequest-octets-in-memory = \"17MiB\"",
                ":4: profiles.mine.request-octets-in-memory: ",
            ),
            ("base = \"ietf\"\non-timeout = \"cancel\"", ":4: profiles.mine.on-timeout: "),
            ("base = \"ietf\"\nrelease-statuses = [201]", ":4: profiles.mine.release-statuses: "),
            (
                "base = \"ietf\"\nresponse-octets-max = \"1GiB\"",
                ":4: profiles.mine.response-octets-max: ",
            ),
            ("base = \"ietf\"\nfail-open = 1", ":4: profiles.mine.fail-open: invalid type"),
        ] {
            let error = mine(fields).unwrap_err();
            assert!(error.contains(place_and_why), "{fields:?}: {error}");
        }
    }

    #[test]
    fn a_name_that_is_shipped_or_none_is_refused() {
        for (text, why) in [
            ("[profiles.oec]\nbase = \"ietf\"", ":1: profiles.oec: a profile of this name"),
            ("[profiles.\"a b\"]\nbase = \"ietf\"", ":1: profiles.a b: a name has"),
            ("profiles = 1", ":1: profiles: invalid type"),
            ("[profiles]\nmine = 1", ":2: profiles.mine: expected a table"),
            ("profile = \"mine\"", ":1: profile: `mine` is none of standard, "),
        ] {
            let error = choice(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_profiles_own_field_is_closer_than_the_files_and_a_flag_wins_over_both() {
        let file = "ttl = \"2h\"\nprofile = \"mine\"\n[profiles.mine]\nbase = \"ietf\"\n";
        let own = format!("{file}ttl = \"1h\"\n");
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(choice(file).unwrap().main.profile.ttl, hours(2));
        assert_eq!(choice(&own).unwrap().main.profile.ttl, hours(1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.toml");
        std::fs::write(&path, own).unwrap();
        let flags = super::super::ChoiceFlags { ttl: Some("3h".to_owned()), ..Default::default() };
        let flagged = Choice::resolve(Some(path), flags, &|_| None).unwrap();
        assert_eq!(flagged.main.profile.ttl, hours(3));
    }

    #[test]
    fn a_field_makes_sense_with_what_is_set_everywhere() {
        let file = |general: &str, own: &str| {
            choice(&format!(
                "{general}\nprofile = \"mine\"\n[profiles.mine]\nbase = \"ietf\"\n{own}\n"
            ))
        };
        let cancel = "on-timeout = \"cancel\"";
        let canceled = file("upstream-timeout = \"30s\"", cancel).unwrap().main.profile;
        assert_eq!(canceled.timeout, Some(Duration::from_secs(30)));
        assert_eq!(canceled.on_timeout, onceward::http::OnTimeout::Cancel);
        let large = "request-octets-in-memory = \"32MiB\"";
        let held = file("max-request = \"64MiB\"", large).unwrap().main.profile;
        assert_eq!(held.request_octets_in_memory, 32 << 20);
        let less = file("max-request = \"1KiB\"", "request-octets-in-memory = \"2KiB\"");
        assert_eq!(less.unwrap().main.profile.request_octets_in_memory, 1 << 10);
        for (general, own, why) in [
            ("max-request = \"64MiB\"", cancel, ":5: profiles.mine.on-timeout: "),
            ("upstream-timeout = \"30s\"", large, ":5: profiles.mine.request-octets-in-memory: "),
            (
                "upstream-timeout = \"30s\"",
                &format!("{cancel}\ntimeout = \"none\""),
                ":5: profiles.mine.on-t",
            ),
        ] {
            let error = file(general, own).unwrap_err();
            assert!(error.contains(why), "{general} {own}: {error}");
        }
    }

    #[test]
    fn d5_what_is_refreshed_is_what_is_told() {
        for (text, refreshes) in [
            ("", false),
            ("refresh = \"location\"", true),
            ("profile = \"managed-dev\"", true),
            ("profile = \"managed-dev\"\nrefresh = \"off\"", false),
        ] {
            let rule = "[[route]]\npath = \"/x\"\nprofile = \"managed-dev\"\n";
            let choice = choice(&format!("{text}\n{rule}")).unwrap();
            let told = choice.profile().refresh_location;
            assert_eq!(
                (choice.refresh == Refresh::Location, told),
                (refreshes, refreshes),
                "{text}"
            );
            let rule = &choice.rules[0];
            let of_rule = rule.refresh == Refresh::Location;
            assert_eq!(of_rule, rule.profile.refresh_location, "{text}");
            assert_eq!(of_rule, !text.contains("off"), "{text}");
        }
    }

    #[test]
    fn x1_what_is_made_from_managed_dev_refreshes_too() {
        let text = "profile = \"mine\"\n[profiles.mine]\nbase = \"managed-dev\"\n";
        assert_eq!(choice(text).unwrap().refresh, Refresh::Location);
    }
}
