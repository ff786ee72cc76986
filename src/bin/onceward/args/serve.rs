//! The command line of `serve` and `check-config`.

use std::path::PathBuf;

use clap::Args;

/// The flags of `serve`, and of `check-config`. Values are read in `config`, so that a flag, a variable and a line of the
/// file are checked, and complained about, alike.
// The lines of documentation are the program's help, where backticks would be shown.
#[allow(clippy::doc_markdown, rustdoc::bare_urls)]
#[derive(Args, Clone, Debug, Default)]
#[command(
    after_help = "DURATION is a whole number and a unit: 500ms, 3s, 5m, 24h, 31d. SIZE is octets, \
                  or KiB, MiB or GiB of them: 16MiB.\n\
                  Every option but --config and --accept-change may stand in the file, without the dashes in front \
                  (`drain-timeout = \"25s\"`). A flag wins over its variable, and that over the \
                  file."
)]
pub(crate) struct ServeArgs {
    /// Where requests go: http://HOST[:PORT][/BASE] or https://… [env: ONCEWARD_UPSTREAM]
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Address to listen on; port 0 takes a free one [env: ONCEWARD_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// PEM file of the certificate to serve https with, its chain behind it; with --tls-key
    /// [env: ONCEWARD_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<String>,
    /// PEM file of the certificate's key [env: ONCEWARD_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<String>,
    /// Address for health, metrics and the commands for keys; none unless given
    /// [env: ONCEWARD_ADMIN]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// File with the token that the admin address asks for; it asks for none unless given
    /// [env: ONCEWARD_ADMIN_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token_file: Option<String>,
    /// Directory of the store, made when there is none [env: ONCEWARD_DATA] [default: onceward-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// File of the master key that stored responses are encrypted under; they are not unless given
    /// [env: ONCEWARD_ENCRYPTION_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_key_file: Option<String>,
    /// The most disk the store may take: new keys are refused beyond it; what the disk has unless
    /// given [env: ONCEWARD_MAX_DISK]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_disk: Option<String>,
    /// The most memory the index of keys may take; what goes beyond is looked up on disk
    /// [env: ONCEWARD_INDEX_MEMORY] [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) index_memory: Option<String>,
    /// The most keyed requests at work at a time [env: ONCEWARD_MAX_IN_FLIGHT] [default: 65536]
    #[arg(long, value_name = "N")]
    pub(crate) max_in_flight: Option<String>,
    /// The most keyed requests of one caller at work at a time
    /// [env: ONCEWARD_MAX_IN_FLIGHT_PER_SCOPE] [default: 4096]
    #[arg(long, value_name = "N")]
    pub(crate) max_in_flight_per_scope: Option<String>,
    /// Directory for what memory does not hold of request bodies, made when there is none; the
    /// system's unless given [env: ONCEWARD_TEMP_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_dir: Option<String>,
    /// standard, ietf, managed-dev, magnolia, oec, stripe, adyen, or one of the file's
    /// [env: ONCEWARD_PROFILE] [default: standard]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How callers are told apart: auth-request:PATH:HEADER, header:NAME, authorization or
    /// single-tenant [env: ONCEWARD_PRINCIPAL] [default: authorization]
    #[arg(long, value_name = "HOW")]
    pub(crate) principal: Option<String>,
    /// How long a result is kept, from its completion [env: ONCEWARD_TTL] [default: the profile's]
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<String>,
    /// The longest request body taken with a key [env: ONCEWARD_MAX_REQUEST]
    /// [default: the profile's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_request: Option<String>,
    /// How long to wait for running requests when told to stop [env: ONCEWARD_DRAIN_TIMEOUT]
    /// [default: 25s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain_timeout: Option<String>,
    /// How long to wait while another process owns the store; not at all unless given
    /// [env: ONCEWARD_WAIT_LOCK]
    #[arg(long, value_name = "DURATION")]
    pub(crate) wait_lock: Option<String>,
    /// PEM file of the authorities to trust for an https upstream, in place of the system's
    /// [env: ONCEWARD_UPSTREAM_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_ca: Option<String>,
    /// The Host the upstream sees: the client's (preserve) or its own (upstream)
    /// [env: ONCEWARD_UPSTREAM_HOST] [default: preserve]
    #[arg(long, value_name = "WHOSE")]
    pub(crate) upstream_host: Option<String>,
    /// How long an unused connection to the upstream is kept [env: ONCEWARD_UPSTREAM_IDLE]
    /// [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) upstream_idle: Option<String>,
    /// How long a connection to the upstream may take to open, TLS and all
    /// [env: ONCEWARD_UPSTREAM_CONNECT_TIMEOUT] [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) upstream_connect_timeout: Option<String>,
    /// How long the upstream may take to answer; as long as it takes unless given
    /// [env: ONCEWARD_UPSTREAM_TIMEOUT]
    #[arg(long, value_name = "DURATION")]
    pub(crate) upstream_timeout: Option<String>,
    /// Networks of the proxies whose X-Forwarded-* are believed, as in 10.0.0.0/8,::1; none unless
    /// given [env: ONCEWARD_TRUSTED_PROXIES]
    #[arg(long, value_name = "NETWORKS")]
    pub(crate) trusted_proxies: Option<String>,
    /// What becomes of a key when the upstream says 502, 504, or 503 without Retry-After: in-doubt,
    /// store or release [env: ONCEWARD_ON_GATEWAY_STATUS] [default: in-doubt]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_gateway_status: Option<String>,
    /// What a replayed 202 is sent with: the current answer of its Location (location), or what is
    /// stored (off) [env: ONCEWARD_REFRESH] [default: location for managed-dev, else off]
    #[arg(long, value_name = "FROM")]
    pub(crate) refresh: Option<String>,
    /// Answer GET /.well-known/idempotency-policy with what clients should know
    /// [env: ONCEWARD_PUBLISH_POLICY] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) publish_policy: Option<String>,
    /// Take a store that was run under another principal rule or other profiles: every key in it
    /// may come to mean something else
    #[arg(long)]
    pub(crate) accept_change: bool,
    /// What is logged: a level, or directives as in `warn,onceward=debug` [env: ONCEWARD_LOG]
    /// [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// text or json [env: ONCEWARD_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// TOML file with the options above [env: ONCEWARD_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
