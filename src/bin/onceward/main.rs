//! The `onceward` binary: a gateway that answers a repeated request with the response of the first.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 usage, which a configuration that cannot be read
//! is too.

mod admin;
mod answer;
mod args;
mod auth;
mod bar;
mod bench;
mod check;
mod config;
mod conformance;
mod connect;
mod demo;
mod duration;
mod gateway;
mod headers;
mod listen;
mod log;
mod metrics;
mod octets;
mod policy;
mod principal;
mod prompt;
mod proxy;
mod recorded;
mod refresh;
mod sender;
mod serve;
mod signals;
mod size;
mod steady;
mod store;
mod temp_dir;
mod timestamp;
mod tls;
mod tools;
mod tracked;
mod trusted;
mod unread;
mod upgrade;
mod upstream;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{Cli, Command, ServeArgs};
use crate::config::Settings;

/// Why the program ends without having done what it was asked to: one line for the operator.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked wrongly. Exit code 2.
    Usage(String),
    /// It failed. Exit code 1.
    Failed(String),
}

/// How long is waited for threads that are in the middle of something when all is over.
const CUT_OFF: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // clap ends the process itself, with code 2 for usage and 0 for help.
    let ended = match Cli::parse().command {
        Command::Serve(args) => serve(*args),
        Command::CheckConfig(args) => check::check_config(*args),
        Command::Policy(args) => policy::print(args),
        Command::Bench(args) => bench::bench(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Conformance(args) => conformance::conformance(&args),
        Command::ConformanceUpstream(args) => conformance::conformance_upstream(&args),
        Command::Tool(tool) => tools::run(&tool),
        Command::Verify(args) => tools::verify(&args),
    };
    let (why, code) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (why, 1),
        Err(Failure::Usage(why)) => (why, 2),
    };
    eprintln!("onceward: {}", why.replace('\n', " "));
    ExitCode::from(code)
}

fn serve(args: ServeArgs) -> Result<(), Failure> {
    let (settings, _) =
        Settings::resolve(args, &|name| std::env::var_os(name)).map_err(Failure::Usage)?;
    log::start(&settings.log, settings.log_format).map_err(Failure::Failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    let ended = runtime.block_on(serve::serve(settings));
    // What outlived the drain is cut off here; only a thread that waits for the disk outlives this.
    runtime.shutdown_timeout(CUT_OFF);
    ended.map(|in_doubt| tracing::info!(in_doubt, "stopped"))
}
