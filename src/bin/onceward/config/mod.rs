//! What `serve` is told: flags win over `ONCEWARD_*` variables, and those over the TOML file.

#[cfg(any(test, fuzzing))]
pub(crate) mod any;
pub(crate) mod fields;
mod file;
mod limits;
mod pattern;
mod profiles;
mod routes;
mod sources;
pub(crate) mod written;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use onceward::http::Profile;

pub(crate) use self::limits::Limits;
pub(crate) use self::profiles::Made;
pub(crate) use self::routes::Rule;
pub(crate) use self::sources::Effective;

use self::limits::LimitFlags;
use self::profiles::{Everywhere, Profiles};
use self::sources::Sources;
use self::written::words;
use crate::admin::Token;
use crate::args::ServeArgs;
use crate::principal::Principal;
use crate::trusted::Trusted;
use crate::upstream::Upstream;

/// Every setting that may stand in the file.
const NAMES: &[&str] = &[
    "upstream",
    "listen",
    "tls-cert",
    "tls-key",
    "admin",
    "admin-token-file",
    "data",
    "encryption-key-file",
    "max-disk",
    "index-memory",
    "max-in-flight",
    "max-in-flight-per-scope",
    "temp-dir",
    "profile",
    "profiles",
    "route",
    "principal",
    "ttl",
    "max-request",
    "drain-timeout",
    "wait-lock",
    "upstream-ca",
    "upstream-host",
    "upstream-idle",
    "upstream-connect-timeout",
    "upstream-timeout",
    "trusted-proxies",
    "on-gateway-status",
    "refresh",
    "publish-policy",
    "log",
    "log-format",
];

/// Everything `serve` needs to know, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting with a name of its own")]
pub(crate) struct Settings {
    pub(crate) upstream: Upstream,
    /// `HOST:PORT`, resolved when it is bound.
    pub(crate) listen: String,
    /// The files of the certificate and its key, both in PEM.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) admin: Option<String>,
    /// What the admin address asks for, from its file.
    pub(crate) admin_token: Option<Token>,
    pub(crate) data: PathBuf,
    pub(crate) encryption_key_file: Option<PathBuf>,
    pub(crate) limits: Limits,
    /// Where what memory does not hold of a request's body waits; `None` for the system's.
    pub(crate) temp_dir: Option<PathBuf>,
    pub(crate) choice: Choice,
    pub(crate) principal: Principal,
    pub(crate) drain_timeout: Duration,
    pub(crate) wait_lock: Option<Duration>,
    pub(crate) upstream_ca: Option<PathBuf>,
    pub(crate) upstream_host: HostPolicy,
    pub(crate) upstream_idle: Duration,
    pub(crate) upstream_connect_timeout: Duration,
    pub(crate) trusted_proxies: Trusted,
    pub(crate) publish_policy: bool,
    /// Whether a store that was run under other rules is taken all the same.
    pub(crate) accept_change: bool,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// What holds for which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Where no rule matches.
    pub(crate) main: Made,
    pub(crate) refresh: Refresh,
    pub(crate) on_gateway_status: OnGatewayStatus,
    /// The first that matches holds.
    pub(crate) rules: Vec<Rule>,
}

impl Choice {
    /// The profile where no rule matches.
    pub(crate) fn profile(&self) -> &Profile {
        &self.main.profile
    }

    /// The profile of a request for this path (raw, without the query).
    pub(crate) fn profile_for(&self, method: &Method, path: &str) -> &Profile {
        let rule = self.rules.iter().find(|rule| rule.matches(method, path));
        rule.map_or(self.profile(), |rule| &rule.profile)
    }
}

/// Whose `Host` the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostPolicy {
    /// The client's: the upstream builds links that lead back through the gateway.
    Preserve,
    /// Its own, for an upstream that serves several hosts at one address.
    Upstream,
}

words!(HostPolicy { "preserve" => HostPolicy::Preserve, "upstream" => HostPolicy::Upstream });

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

words!(OnGatewayStatus {
    "in-doubt" => OnGatewayStatus::InDoubt,
    "store" => OnGatewayStatus::Store,
    "release" => OnGatewayStatus::Release,
});

/// Where the body of a replay comes from (X1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// The store.
    Off,
    /// The stored `Location` of a 202, if it is to be had.
    Location,
}

words!(Refresh { "location" => Refresh::Location, "off" => Refresh::Off });

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

words!(LogFormat { "text" => LogFormat::Text, "json" => LogFormat::Json });

/// What of the command line bears on profiles and rules.
#[derive(Debug, Default)]
pub(crate) struct ChoiceFlags {
    pub(crate) profile: Option<String>,
    pub(crate) ttl: Option<String>,
    pub(crate) max_request: Option<String>,
    pub(crate) upstream_timeout: Option<String>,
    pub(crate) on_gateway_status: Option<String>,
    pub(crate) refresh: Option<String>,
}

impl Choice {
    /// What the file at `config`, variables and these flags say about profiles and rules, and
    /// nothing else.
    pub(crate) fn resolve(
        config: Option<PathBuf>,
        flags: ChoiceFlags,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        Self::read(&mut Sources::open(config, variable, NAMES)?, flags)
    }

    fn read(from: &mut Sources<'_>, flags: ChoiceFlags) -> Result<Self, String> {
        let named = from.find("profile", flags.profile.clone())?;
        let name = from.setting("profile", flags.profile, "standard".to_owned())?;
        let everywhere = Everywhere {
            ttl: from.optional_found("ttl", flags.ttl)?,
            request_octets_max: from.optional_found("max-request", flags.max_request)?,
            timeout: from.optional_found("upstream-timeout", flags.upstream_timeout)?,
            refresh: from.optional_found("refresh", flags.refresh)?,
        };
        if matches!(everywhere.request_octets_max, Some((0, _))) {
            return Err("max-request: no request fits in nothing".to_owned());
        }
        let profiles = Profiles::read(from, everywhere)?;
        let main = profiles.named(&name).map_err(|why| match &named {
            Some(found) => found.wrong(&why),
            None => why,
        })?;
        let rules = routes::read(from, &profiles, &main)?;
        let on_gateway_status =
            from.setting("on-gateway-status", flags.on_gateway_status, OnGatewayStatus::InDoubt)?;
        Ok(Self { refresh: Profiles::refresh(&main), main, on_gateway_status, rules })
    }
}

impl Settings {
    /// Brings flags, variables (by `variable`; an empty one counts as absent) and the file
    /// together, and says where each setting comes from. Errors are one line for the operator, and
    /// name the flag, the variable, or the file with its line and key.
    pub(crate) fn resolve(
        flags: ServeArgs,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Vec<Effective>), String> {
        Self::read(Sources::open(flags.config.clone(), variable, NAMES)?, flags)
    }

    fn read(mut from: Sources<'_>, flags: ServeArgs) -> Result<(Self, Vec<Effective>), String> {
        let from = &mut from;
        let upstream = from.optional("upstream", flags.upstream)?.ok_or_else(|| {
            "no upstream: say where requests go with --upstream URL, ONCEWARD_UPSTREAM or \
             `upstream` in the file"
                .to_owned()
        })?;
        let checked = |from: &Sources<'_>, key, flag: Option<String>, check: Check| match from
            .find(key, flag)?
        {
            None => Ok(()),
            Some(found) => check(&found.read::<String>()?).map_err(|why| found.wrong(&why)),
        };
        checked(from, "listen", flags.listen.clone(), address)?;
        checked(from, "admin", flags.admin.clone(), address)?;
        checked(from, "log", flags.log.clone(), |filter| crate::log::check(filter).map(drop))?;
        let listen = from.setting("listen", flags.listen, "127.0.0.1:8080".to_owned())?;
        let tls = match (
            from.optional("tls-cert", flags.tls_cert)?,
            from.optional("tls-key", flags.tls_key)?,
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("tls-cert is set and tls-key is not".to_owned()),
            (None, Some(_)) => return Err("tls-key is set and tls-cert is not".to_owned()),
        };
        let choice = ChoiceFlags {
            profile: flags.profile,
            ttl: flags.ttl,
            max_request: flags.max_request,
            upstream_timeout: flags.upstream_timeout,
            on_gateway_status: flags.on_gateway_status,
            refresh: flags.refresh,
        };
        let limits = LimitFlags {
            max_disk: flags.max_disk,
            index_memory: flags.index_memory,
            max_in_flight: flags.max_in_flight,
            max_in_flight_per_scope: flags.max_in_flight_per_scope,
        };
        let named = flags.admin_token_file;
        let token_file = from.find("admin-token-file", named.clone())?;
        let settings = Self {
            upstream,
            listen,
            tls,
            admin: from.optional("admin", flags.admin)?,
            admin_token: match (token_file, from.optional::<PathBuf>("admin-token-file", named)?) {
                (Some(found), Some(file)) => Some(token(&file).map_err(|why| found.wrong(&why))?),
                _ => None,
            },
            data: from.setting("data", flags.data, PathBuf::from("onceward-data"))?,
            encryption_key_file: from.optional("encryption-key-file", flags.encryption_key_file)?,
            limits: Limits::read(from, limits)?,
            temp_dir: from.optional("temp-dir", flags.temp_dir)?,
            choice: Choice::read(from, choice)?,
            principal: from.setting("principal", flags.principal, Principal::Authorization)?,
            drain_timeout: from.setting(
                "drain-timeout",
                flags.drain_timeout,
                Duration::from_secs(25),
            )?,
            wait_lock: from.optional("wait-lock", flags.wait_lock)?,
            upstream_ca: from.optional("upstream-ca", flags.upstream_ca)?,
            upstream_host: from.setting(
                "upstream-host",
                flags.upstream_host,
                HostPolicy::Preserve,
            )?,
            upstream_idle: from.setting(
                "upstream-idle",
                flags.upstream_idle,
                Duration::from_secs(1),
            )?,
            upstream_connect_timeout: from.setting(
                "upstream-connect-timeout",
                flags.upstream_connect_timeout,
                Duration::from_secs(10),
            )?,
            trusted_proxies: from.setting(
                "trusted-proxies",
                flags.trusted_proxies,
                Trusted::default(),
            )?,
            publish_policy: from.setting("publish-policy", flags.publish_policy, false)?,
            accept_change: flags.accept_change,
            log: from.setting("log", flags.log, "info".to_owned())?,
            log_format: from.setting("log-format", flags.log_format, LogFormat::Text)?,
        };
        Ok((settings, std::mem::take(from.effective())))
    }
}

/// Reads the token in `file`.
fn token(file: &Path) -> Result<Token, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Token::parse(&text).ok_or_else(|| {
        format!("{}: a token is one word of visible ASCII characters", file.display())
    })
}

type Check = fn(&str) -> Result<(), String>;

/// Checks that `text` looks like `HOST:PORT`; names are resolved when the address is bound.
fn address(text: &str) -> Result<(), String> {
    text.rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        .map(drop)
        .ok_or_else(|| {
            format!(
                "`{text}` is not an address to listen on: write HOST:PORT, as in 127.0.0.1:8080"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trusted::Network;

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
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        };
        Settings::resolve(flags, &variable).map(|(settings, _)| settings)
    }

    /// The profiles and rules of a file.
    pub(super) fn choice(text: &str) -> Result<Choice, String> {
        resolve(flags("http://up"), &[], Some(text)).map(|settings| settings.choice)
    }

    #[test]
    fn every_default_is_the_documented_one() {
        let settings = resolve(flags("http://up"), &[], None).unwrap();
        assert_eq!(
            settings,
            Settings {
                upstream: Upstream::parse("http://up").unwrap(),
                listen: "127.0.0.1:8080".to_owned(),
                tls: None,
                admin: None,
                admin_token: None,
                data: PathBuf::from("onceward-data"),
                encryption_key_file: None,
                limits: Limits {
                    max_disk: None,
                    index_memory: 256 << 20,
                    max_in_flight: 65_536,
                    max_in_flight_per_scope: 4_096,
                },
                temp_dir: None,
                choice: Choice {
                    main: Made::shipped(Profile::standard()),
                    refresh: Refresh::Off,
                    on_gateway_status: OnGatewayStatus::InDoubt,
                    rules: Vec::new(),
                },
                principal: Principal::Authorization,
                drain_timeout: Duration::from_secs(25),
                wait_lock: None,
                upstream_ca: None,
                upstream_host: HostPolicy::Preserve,
                upstream_idle: Duration::from_secs(1),
                upstream_connect_timeout: Duration::from_secs(10),
                trusted_proxies: Trusted::default(),
                publish_policy: false,
                accept_change: false,
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
        assert_eq!(settings.choice.profile().ttl, Duration::from_secs(3));
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
            ("tls-cert", "cert.pem"),
            ("tls-key", "key.pem"),
            ("admin", "[::1]:0"),
            ("admin-token-file", token.to_str().unwrap()),
            ("data", "d"),
            ("encryption-key-file", "master"),
            ("max-disk", "10GiB"),
            ("index-memory", "512MiB"),
            ("max-in-flight", "100"),
            ("max-in-flight-per-scope", "10"),
            ("temp-dir", "/var/tmp/bodies"),
            ("profile", "oec"),
            ("principal", "single-tenant"),
            ("ttl", "1h"),
            ("drain-timeout", "1ms"),
            ("wait-lock", "2ms"),
            ("upstream-ca", "ca.pem"),
            ("upstream-host", "upstream"),
            ("upstream-idle", "3ms"),
            ("upstream-connect-timeout", "4ms"),
            ("upstream-timeout", "5ms"),
            ("max-request", "64KiB"),
            ("trusted-proxies", "10.0.0.0/8, ::1"),
            ("publish-policy", "true"),
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
        let told = values.map(|(key, _)| key);
        let unsaid: Vec<&&str> = NAMES.iter().filter(|name| !told.contains(name)).collect();
        assert_eq!(unsaid, [&"profiles", &"route"], "every setting is shown here");
        let mut profile = Profile::oec();
        profile.ttl = Duration::from_secs(3600);
        profile.timeout = Some(Duration::from_millis(5));
        profile.refresh_location = true;
        (profile.request_octets_max, profile.request_octets_in_memory) = (65_536, 65_536);
        let expected = Settings {
            upstream: Upstream::parse("https://up/v1").unwrap(),
            listen: "localhost:0".to_owned(),
            tls: Some((PathBuf::from("cert.pem"), PathBuf::from("key.pem"))),
            admin: Some("[::1]:0".to_owned()),
            admin_token: Token::parse("s3cret"),
            data: PathBuf::from("d"),
            encryption_key_file: Some(PathBuf::from("master")),
            limits: Limits {
                max_disk: Some(10 << 30),
                index_memory: 512 << 20,
                max_in_flight: 100,
                max_in_flight_per_scope: 10,
            },
            temp_dir: Some(PathBuf::from("/var/tmp/bodies")),
            choice: Choice {
                main: Made::shipped(profile),
                refresh: Refresh::Location,
                on_gateway_status: OnGatewayStatus::Release,
                rules: Vec::new(),
            },
            principal: Principal::SingleTenant,
            drain_timeout: Duration::from_millis(1),
            wait_lock: Some(Duration::from_millis(2)),
            upstream_ca: Some(PathBuf::from("ca.pem")),
            upstream_host: HostPolicy::Upstream,
            upstream_idle: Duration::from_millis(3),
            upstream_connect_timeout: Duration::from_millis(4),
            trusted_proxies: Trusted(vec![
                Network::parse("10.0.0.0/8").unwrap(),
                Network::parse("::1").unwrap(),
            ]),
            publish_policy: true,
            accept_change: false,
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
            let refresh = |variables| {
                resolve(flags("http://up"), variables, Some(&file)).unwrap().choice.refresh
            };
            assert_eq!(refresh(&[]), expected);
            assert_eq!(refresh(&[("ONCEWARD_REFRESH", "off")]), Refresh::Off);
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
            (
                "wait-lock = \"1s\"\nwait_lock = \"2s\"\n",
                "gateway.toml:2: `wait_lock` is set twice",
            ),
            ("upstream-timeout = \"0s\"\n", "gateway.toml:1: upstream-timeout: `0s`"),
            ("max-request = \"much\"\n", "gateway.toml:1: max-request: `much`"),
            ("max-request = -1\n", "gateway.toml:1: max-request: invalid type"),
            ("max-disk = \"64MiB\"\n", "gateway.toml:1: max-disk: at least 128MiB"),
            ("index-memory = 5\n", "gateway.toml:1: index-memory: at least 1MiB"),
            ("max-in-flight = 0\n", "gateway.toml:1: max-in-flight: from 1 to 1048576"),
            ("max-in-flight = \"1MiB\"\n", "gateway.toml:1: max-in-flight: `1MiB` is not a whole"),
            ("max-in-flight = 4294967296\n", "gateway.toml:1: max-in-flight: a whole number"),
            (
                "max-in-flight-per-scope = 1048577\n",
                "gateway.toml:1: max-in-flight-per-scope: from 1 to 1048576",
            ),
            ("temp-dir = \"\"\n", "gateway.toml:1: temp-dir: an empty path"),
            ("max-request = 0\n", "max-request: no request fits in nothing"),
            ("trusted-proxies = [\"10.0.0.0/8\", \"x\"]\n", "gateway.toml:1: trusted-proxies: `x`"),
            ("publish-policy = \"perhaps\"\n", "gateway.toml:1: publish-policy: `perhaps`"),
            ("tls-cert = \"c.pem\"\n", "tls-cert is set and tls-key is not"),
            ("tls-key = \"k.pem\"\n", "tls-key is set and tls-cert is not"),
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
            assert_eq!(address(text), Ok(()), "{text}");
        }
        for text in ["", "8080", ":8080", "localhost", "a:b", "a:65536"] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }
}
