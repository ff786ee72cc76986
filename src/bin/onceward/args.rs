//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An idempotency gateway: the work is done once, the answer is the same.
#[derive(Debug, Parser)]
#[command(name = "onceward", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reverse proxy that answers a repeated request with the response of the first
    Serve(Box<ServeArgs>),
    /// Sample API under all profiles, with a guided tour of what their documents promise
    Demo(DemoArgs),
}

/// The flags of `demo`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DemoArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8765, with --once a free
    /// port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Directory of the stores, made when there is none [default: a temporary one, removed again]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// End after the tour, with 0 when every step was as promised and 1 when not
    #[arg(long)]
    pub(crate) once: bool,
    /// Be the process that the tour kills
    #[arg(long, hide = true, requires = "data")]
    pub(crate) child: bool,
}

/// The flags of `serve`. Values are read in `config`, so that a flag, a variable and a line of the
/// file are checked, and complained about, alike.
// The lines of documentation are the program's help, where backticks would be shown.
#[allow(clippy::doc_markdown, rustdoc::bare_urls)]
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "DURATION is a whole number and a unit: 500ms, 3s, 5m, 24h, 31d.\n\
                  Every option but --config may stand in the file, without the dashes in front \
                  (`drain-timeout = \"25s\"`). A flag wins over its variable, and that over the \
                  file.")]
pub(crate) struct ServeArgs {
    /// Where requests go: http://HOST[:PORT][/BASE] or https://… [env: ONCEWARD_UPSTREAM]
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Address to listen on; port 0 takes a free one [env: ONCEWARD_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address for /livez and /readyz; none unless given [env: ONCEWARD_ADMIN]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// Directory of the store, made when there is none [env: ONCEWARD_DATA] [default: onceward-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// standard, ietf, managed-dev, magnolia, oec, stripe or adyen [env: ONCEWARD_PROFILE] [default: standard]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How callers are told apart: auth-request:PATH:HEADER, header:NAME, authorization or
    /// single-tenant [env: ONCEWARD_PRINCIPAL] [default: authorization]
    #[arg(long, value_name = "HOW")]
    pub(crate) principal: Option<String>,
    /// How long a result is kept, from its completion [env: ONCEWARD_TTL] [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<String>,
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
    /// What becomes of a key when the upstream says 502, 504, or 503 without Retry-After: in-doubt,
    /// store or release [env: ONCEWARD_ON_GATEWAY_STATUS] [default: in-doubt]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_gateway_status: Option<String>,
    /// What a replayed 202 is sent with: the current answer of its Location (location), or what is
    /// stored (off) [env: ONCEWARD_REFRESH] [default: location for managed-dev, else off]
    #[arg(long, value_name = "FROM")]
    pub(crate) refresh: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn an_unknown_flag_is_a_usage_error() {
        let error = Cli::try_parse_from(["onceward", "serve", "--upsteam", "http://up"]);
        assert_eq!(error.unwrap_err().exit_code(), 2);
    }
}
