//! The command line.

mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::conformance::{ConformanceArgs, UpstreamArgs};
use crate::tools::{Tool, VerifyArgs};

pub(crate) use serve::ServeArgs;

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
    /// Reads everything `serve` would, says what is in effect and where it comes from, and serves
    /// nothing
    CheckConfig(Box<ServeArgs>),
    /// Prints what clients should be told about keys under a profile, or under a configuration
    Policy(PolicyArgs),
    /// Sample API under all profiles, with a guided tour of what their documents promise
    Demo(DemoArgs),
    /// What this machine does in a directory of yours: a table, with what nobody can do faster beside
    /// each figure
    Bench(BenchArgs),
    /// Whether a server keeps a profile's promises: a table of requirements, by what HTTP shows
    Conformance(Box<ConformanceArgs>),
    /// API to put behind the layer that `conformance` is to check
    ConformanceUpstream(UpstreamArgs),
    #[command(flatten)]
    Tool(Box<Tool>),
    /// Reads all of a store on which nothing runs, says what is wrong, and modifies nothing
    Verify(VerifyArgs),
}

/// The flags of `policy`.
// The lines of documentation are the program's help, where backticks would be shown.
#[allow(clippy::doc_markdown)]
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PolicyArgs {
    /// A shipped profile or one of the file's; with --config, else what its gateway is run with
    /// [env: ONCEWARD_PROFILE] [default: standard]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// TOML file of the gateway [env: ONCEWARD_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// As JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// As Markdown, which is the default
    #[arg(long)]
    pub(crate) markdown: bool,
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
