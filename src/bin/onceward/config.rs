//! What `serve` is told: flags win over `ONCEWARD_*` variables, and those over the TOML file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onceward::http::Profile;
use serde::Deserialize;
use toml::Spanned;

use crate::admin::Token;
use crate::args::ServeArgs;
use crate::duration;
use crate::principal::Principal;
use crate::upstream::Upstream;

/// Everything `serve` needs to know, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) upstream: Upstream,
    /// `HOST:PORT`, resolved when it is bound.
    pub(crate) listen: String,
    pub(crate) admin: Option<String>,
    /// What the admin address asks for, from its file.
    pub(crate) admin_token: Option<Token>,
    pub(crate) data: PathBuf,
    /// With the `ttl` asked for.
    pub(crate) profile: Profile,
    pub(crate) principal: Principal,
    pub(crate) drain_timeout: Duration,
    pub(crate) wait_lock: Option<Duration>,
    pub(crate) upstream_ca: Option<PathBuf>,
    pub(crate) upstream_host: HostPolicy,
    pub(crate) upstream_idle: Duration,
    pub(crate) on_gateway_status: OnGatewayStatus,
    pub(crate) refresh: Refresh,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// Whose `Host` the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostPolicy {
    /// The client's: the upstream builds links that lead back through the gateway.
    Preserve,
    /// Its own, for an upstream that serves several hosts at one address.
    Upstream,
}

/// What becomes of a key when the upstream itself is a gateway that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnGatewayStatus {
    /// Nobody knows whether the work was done.
    InDoubt,
    /// The status is a result like another.
    Store,
    /// The operator knows that nothing was done.
    Release,
}

/// Where the body of a replay comes from (X1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// The store.
    Off,
    /// The stored `Location` of a 202, if it is to be had.
    Location,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The file, as it is written: every value a string, kept with its place. Each name may be written
/// as the flag is, with hyphens, or with underscores.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    upstream: Option<Spanned<String>>,
    listen: Option<Spanned<String>>,
    admin: Option<Spanned<String>>,
    #[serde(rename = "admin-token-file", alias = "admin_token_file")]
    admin_token: Option<Spanned<String>>,
    data: Option<Spanned<String>>,
    profile: Option<Spanned<String>>,
    principal: Option<Spanned<String>>,
    ttl: Option<Spanned<String>>,
    #[serde(alias = "drain_timeout")]
    drain_timeout: Option<Spanned<String>>,
    #[serde(alias = "wait_lock")]
    wait_lock: Option<Spanned<String>>,
    #[serde(alias = "upstream_ca")]
    upstream_ca: Option<Spanned<String>>,
    #[serde(alias = "upstream_host")]
    upstream_host: Option<Spanned<String>>,
    #[serde(alias = "upstream_idle")]
    upstream_idle: Option<Spanned<String>>,
    #[serde(alias = "on_gateway_status")]
    on_gateway_status: Option<Spanned<String>>,
    refresh: Option<Spanned<String>>,
    log: Option<Spanned<String>>,
    #[serde(alias = "log_format")]
    log_format: Option<Spanned<String>>,
}

/// The three places a value may come from.
struct Sources<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The file's name and text, for the errors that point into it.
    file: Option<(PathBuf, String)>,
}

/// A value with the name of where it came from, for the error that may follow.
struct Found {
    value: String,
    origin: String,
}

impl Settings {
    /// Brings flags, variables (by `variable`; an empty one counts as absent) and the file
    /// together. Errors are one line for the operator, and name the flag, the variable, or the
    /// file with its line and key.
    pub(crate) fn resolve(
        flags: ServeArgs,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let variable = &|name: &str| variable(name).filter(|value| !value.is_empty());
        let path = flags.config.or_else(|| variable("ONCEWARD_CONFIG").map(PathBuf::from));
        let (file, from) = match path {
            None => (File::default(), Sources { variable, file: None }),
            Some(path) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let file = parse_file(&path, &text)?;
                (file, Sources { variable, file: Some((path, text)) })
            }
        };
        let upstream = from.find("upstream", flags.upstream, file.upstream)?.ok_or_else(|| {
            "no upstream: say where requests go with --upstream URL, ONCEWARD_UPSTREAM or \
             `upstream` in the file"
                .to_owned()
        })?;
        let path = |found: Option<Found>| found.map(|found| PathBuf::from(found.value));
        let mut profile = from
            .find("profile", flags.profile, file.profile)?
            .map_or_else(|| Ok(Profile::standard()), |found| found.read(profile))?;
        if let Some(ttl) = from.duration("ttl", flags.ttl, file.ttl)? {
            profile.ttl = ttl;
        }
        Ok(Self {
            upstream: upstream.read(Upstream::parse)?,
            listen: from
                .find("listen", flags.listen, file.listen)?
                .map_or_else(|| Ok("127.0.0.1:8080".to_owned()), |found| found.read(address))?,
            admin: from
                .find("admin", flags.admin, file.admin)?
                .map(|found| found.read(address))
                .transpose()?,
            admin_token: from
                .find("admin-token-file", flags.admin_token_file, file.admin_token)?
                .map(|found| found.read(token))
                .transpose()?,
            data: path(from.find("data", flags.data, file.data)?)
                .unwrap_or_else(|| PathBuf::from("onceward-data")),
            refresh: from
                .find("refresh", flags.refresh, file.refresh)?
                .map(|found| {
                    found.choose(&[("location", Refresh::Location), ("off", Refresh::Off)])
                })
                .transpose()?
                // Only managed.dev promises the job "with its current status" (M10).
                .unwrap_or(if profile.name == Profile::managed_dev().name {
                    Refresh::Location
                } else {
                    Refresh::Off
                }),
            profile,
            principal: from
                .find("principal", flags.principal, file.principal)?
                .map_or(Ok(Principal::Authorization), |found| found.read(Principal::parse))?,
            drain_timeout: from
                .duration("drain-timeout", flags.drain_timeout, file.drain_timeout)?
                .unwrap_or(Duration::from_secs(25)),
            wait_lock: from.duration("wait-lock", flags.wait_lock, file.wait_lock)?,
            upstream_ca: path(from.find("upstream-ca", flags.upstream_ca, file.upstream_ca)?),
            upstream_host: from
                .find("upstream-host", flags.upstream_host, file.upstream_host)?
                .map_or(Ok(HostPolicy::Preserve), |found| {
                    found.choose(&[
                        ("preserve", HostPolicy::Preserve),
                        ("upstream", HostPolicy::Upstream),
                    ])
                })?,
            upstream_idle: from
                .duration("upstream-idle", flags.upstream_idle, file.upstream_idle)?
                .unwrap_or(Duration::from_secs(1)),
            on_gateway_status: from
                .find("on-gateway-status", flags.on_gateway_status, file.on_gateway_status)?
                .map_or(Ok(OnGatewayStatus::InDoubt), |found| {
                    found.choose(&[
                        ("in-doubt", OnGatewayStatus::InDoubt),
                        ("store", OnGatewayStatus::Store),
                        ("release", OnGatewayStatus::Release),
                    ])
                })?,
            log: from
                .find("log", flags.log, file.log)?
                .map_or_else(|| Ok("info".to_owned()), |found| found.read(crate::log::check))?,
            log_format: from
                .find("log-format", flags.log_format, file.log_format)?
                .map_or(Ok(LogFormat::Text), |found| {
                    found.choose(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
                })?,
        })
    }
}

impl Sources<'_> {
    fn find(
        &self,
        key: &str,
        flag: Option<String>,
        line: Option<Spanned<String>>,
    ) -> Result<Option<Found>, String> {
        if let Some(value) = flag {
            return Ok(Some(Found { value, origin: format!("--{key}") }));
        }
        let name = format!("ONCEWARD_{}", key.to_uppercase().replace('-', "_"));
        if let Some(value) = (self.variable)(&name) {
            let value = value.into_string().map_err(|_| format!("{name}: not UTF-8"))?;
            return Ok(Some(Found { value, origin: name }));
        }
        Ok(line.zip(self.file.as_ref()).map(|(line, (path, text))| {
            let number = line_number(text, line.span().start);
            let origin = format!("{}:{number}: {key}", path.display());
            Found { value: line.into_inner(), origin }
        }))
    }

    fn duration(
        &self,
        key: &str,
        flag: Option<String>,
        line: Option<Spanned<String>>,
    ) -> Result<Option<Duration>, String> {
        self.find(key, flag, line)?.map(|found| found.read(duration::parse)).transpose()
    }
}

impl Found {
    fn read<T>(self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        read(&self.value).map_err(|why| format!("{}: {why}", self.origin))
    }

    fn choose<T: Copy>(self, choices: &[(&str, T)]) -> Result<T, String> {
        self.read(|value| {
            choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(
                || {
                    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                    format!("`{value}` is none of {}", names.join(", "))
                },
            )
        })
    }
}

fn parse_file(path: &Path, text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().replace('\n', " ");
        let Some(span) = error.span() else {
            return format!("{}: {message}", path.display());
        };
        let number = line_number(text, span.start);
        let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default();
        // A value of the wrong type is reported without its key, which stands in front of it.
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        let key = if message.contains(key) { String::new() } else { format!("{key}: ") };
        format!("{}:{number}: {key}{message}", path.display())
    })
}

/// The number, from 1, of the line that holds the octet at `offset`.
fn line_number(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|octet| *octet == b'\n').count() + 1
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| {
        let names = Profile::all().map(|profile| profile.name);
        format!("`{name}` is none of {}", names.join(", "))
    })
}

/// Reads the token in the file at `path`.
fn token(path: &str) -> Result<Token, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Token::parse(&text)
        .ok_or_else(|| format!("{path}: a token is one word of visible ASCII characters"))
}

/// Checks that `text` looks like `HOST:PORT`; names are resolved when the address is bound.
fn address(text: &str) -> Result<String, String> {
    text.rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        .map(|_| text.to_owned())
        .ok_or_else(|| {
            format!(
                "`{text}` is not an address to listen on: write HOST:PORT, as in 127.0.0.1:8080"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(upstream: &str) -> ServeArgs {
        ServeArgs { upstream: Some(upstream.to_owned()), ..ServeArgs::default() }
    }

    fn resolve(
        flags: ServeArgs,
        variables: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut flags = flags;
        if let Some(text) = file {
            let path = dir.path().join("gateway.toml");
            std::fs::write(&path, text).unwrap();
            flags.config = Some(path);
        }
        Settings::resolve(flags, &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn every_default_is_the_documented_one() {
        let settings = resolve(flags("http://up"), &[], None).unwrap();
        assert_eq!(
            settings,
            Settings {
                upstream: Upstream::parse("http://up").unwrap(),
                listen: "127.0.0.1:8080".to_owned(),
                admin: None,
                admin_token: None,
                data: PathBuf::from("onceward-data"),
                profile: Profile::standard(),
                principal: Principal::Authorization,
                drain_timeout: Duration::from_secs(25),
                wait_lock: None,
                upstream_ca: None,
                upstream_host: HostPolicy::Preserve,
                upstream_idle: Duration::from_secs(1),
                on_gateway_status: OnGatewayStatus::InDoubt,
                refresh: Refresh::Off,
                log: "info".to_owned(),
                log_format: LogFormat::Text,
            }
        );
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_that_over_the_file() {
        let file = "ttl = \"1s\"\ndrain-timeout = \"1s\"\nwait_lock = \"1s\"\n";
        let variables = [("ONCEWARD_TTL", "2s"), ("ONCEWARD_DRAIN_TIMEOUT", "2s")];
        let mut flags = flags("http://up");
        flags.ttl = Some("3s".to_owned());
        let settings = resolve(flags, &variables, Some(file)).unwrap();
        assert_eq!(settings.profile.ttl, Duration::from_secs(3));
        assert_eq!(settings.drain_timeout, Duration::from_secs(2));
        assert_eq!(settings.wait_lock, Some(Duration::from_secs(1)));
    }

    #[test]
    fn each_option_is_read_from_the_file_and_from_its_variable() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "s3cret\n").unwrap();
        let values = [
            ("upstream", "https://up/v1"),
            ("listen", "localhost:0"),
            ("admin", "[::1]:0"),
            ("admin-token-file", token.to_str().unwrap()),
            ("data", "d"),
            ("profile", "oec"),
            ("principal", "single-tenant"),
            ("ttl", "1h"),
            ("drain-timeout", "1ms"),
            ("wait-lock", "2ms"),
            ("upstream-ca", "ca.pem"),
            ("upstream-host", "upstream"),
            ("upstream-idle", "3ms"),
            ("on-gateway-status", "release"),
            ("refresh", "location"),
            ("log", "warn"),
            ("log-format", "json"),
        ];
        let lines =
            |values: Vec<String>| values.into_iter().map(|line| line + "\n").collect::<String>();
        let hyphens = lines(values.map(|(key, value)| format!("{key} = {value:?}")).to_vec());
        let underscores = lines(
            values.map(|(key, value)| format!("{} = {value:?}", key.replace('-', "_"))).to_vec(),
        );
        let names =
            values.map(|(key, _)| format!("ONCEWARD_{}", key.to_uppercase().replace('-', "_")));
        let variables: Vec<(&str, &str)> =
            names.iter().zip(values).map(|(name, (_, value))| (name.as_str(), value)).collect();
        let mut profile = Profile::oec();
        profile.ttl = Duration::from_secs(3600);
        let expected = Settings {
            upstream: Upstream::parse("https://up/v1").unwrap(),
            listen: "localhost:0".to_owned(),
            admin: Some("[::1]:0".to_owned()),
            admin_token: Token::parse("s3cret"),
            data: PathBuf::from("d"),
            profile,
            principal: Principal::SingleTenant,
            drain_timeout: Duration::from_millis(1),
            wait_lock: Some(Duration::from_millis(2)),
            upstream_ca: Some(PathBuf::from("ca.pem")),
            upstream_host: HostPolicy::Upstream,
            upstream_idle: Duration::from_millis(3),
            on_gateway_status: OnGatewayStatus::Release,
            refresh: Refresh::Location,
            log: "warn".to_owned(),
            log_format: LogFormat::Json,
        };
        for file in [&hyphens, &underscores] {
            assert_eq!(resolve(ServeArgs::default(), &[], Some(file)).unwrap(), expected);
        }
        assert_eq!(resolve(ServeArgs::default(), &variables, None).unwrap(), expected);
    }

    #[test]
    fn x1_managed_dev_alone_refreshes_unless_told_otherwise() {
        for profile in Profile::all() {
            let file = format!("profile = {:?}", profile.name);
            let expected =
                if profile.name == "managed-dev" { Refresh::Location } else { Refresh::Off };
            assert_eq!(resolve(flags("http://up"), &[], Some(&file)).unwrap().refresh, expected);
            let off = [("ONCEWARD_REFRESH", "off")];
            assert_eq!(
                resolve(flags("http://up"), &off, Some(&file)).unwrap().refresh,
                Refresh::Off
            );
        }
    }

    #[test]
    fn an_empty_variable_is_absent() {
        let variables = [("ONCEWARD_ADMIN", ""), ("ONCEWARD_CONFIG", "")];
        assert_eq!(resolve(flags("http://up"), &variables, None).unwrap().admin, None);
    }

    #[test]
    fn an_error_names_the_flag_or_the_variable() {
        let mut wrong = flags("http://up");
        wrong.ttl = Some("never".to_owned());
        assert!(resolve(wrong, &[], None).unwrap_err().starts_with("--ttl: `never`"));
        let error = resolve(flags("http://up"), &[("ONCEWARD_WAIT_LOCK", "x")], None).unwrap_err();
        assert!(error.starts_with("ONCEWARD_WAIT_LOCK: `x`"), "{error}");
        let error = resolve(ServeArgs::default(), &[], None).unwrap_err();
        assert!(error.contains("--upstream") && error.contains("ONCEWARD_UPSTREAM"), "{error}");
    }

    #[test]
    fn an_error_in_the_file_names_the_file_the_line_and_the_key() {
        for (text, where_and_what) in [
            ("\nttl = \"soon\"\n", "gateway.toml:2: ttl: `soon`"),
            ("ttl = \"1h\"\nttl = \"1h\"\n", "gateway.toml:2: "),
            ("listen = \"a:1\"\n\nlissten = \"b:1\"\n", "gateway.toml:3: unknown field `lissten`"),
            ("\n\nttl = 5\n", "gateway.toml:3: ttl: invalid type"),
            ("admin = \n", "gateway.toml:1: admin: "),
            ("[serve]\nttl = \"1h\"\n", "gateway.toml:1: unknown field `serve`"),
            ("profile = \"nobody\"\n", "gateway.toml:1: profile: `nobody`"),
            ("log_format = \"xml\"\n", "gateway.toml:1: log-format: `xml`"),
        ] {
            let error = resolve(flags("http://up"), &[], Some(text)).unwrap_err();
            assert!(error.contains(where_and_what), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
        let mut flags = flags("http://up");
        flags.config = Some(PathBuf::from("no/such/gateway.toml"));
        assert!(resolve(flags, &[], None).unwrap_err().starts_with("no/such/gateway.toml: "));
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for text in ["127.0.0.1:0", "[::]:8080", "localhost:80"] {
            assert_eq!(address(text), Ok(text.to_owned()));
        }
        for text in ["", "8080", ":8080", "localhost", "a:b", "a:65536"] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }
}
