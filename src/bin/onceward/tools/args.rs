//! The command line of the tools.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

const ADMIN_TOKEN_FILE: &str = "ONCEWARD_ADMIN_TOKEN_FILE";
const ENCRYPTION_KEY_FILE: &str = "ONCEWARD_ENCRYPTION_KEY_FILE";

const TOKEN_FILE_HELP: &str =
    "File with the token of the admin address [env: ONCEWARD_ADMIN_TOKEN_FILE]";
const KEY_FILE_HELP: &str = "File of the store's master keys, when it is encrypted; with --data \
                             [env: ONCEWARD_ENCRYPTION_KEY_FILE]";
const VERIFY_KEY_FILE_HELP: &str = "File of the store's master keys: what is encrypted is \
                                    verified, too [env: ONCEWARD_ENCRYPTION_KEY_FILE]";

/// What an operator asks of a gateway, or of the store of one that does not run.
// The lines of documentation are the program's help, where backticks would be shown.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// List keys: by scope and hash, and as they are with --show-keys
    List(ListArgs),
    /// Show one key
    Get(GetArgs),
    /// Give a key in doubt back: its work was not done, and the next request does it
    Release(ReleaseArgs),
    /// End a key in doubt: give it back, or say what response replays are to give
    Resolve(ResolveArgs),
    /// Show the store's figures
    Stats(StoreArgs),
    /// Forget what has expired, now; this also happens by itself
    Sweep(StoreArgs),
}

/// The flags of `verify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    #[arg(long, value_name = "FILE", help = VERIFY_KEY_FILE_HELP)]
    encryption_key_file: Option<PathBuf>,
    /// Print JSON, one object
    #[arg(long)]
    pub(super) json: bool,
}

/// Which store, and how the answer is printed.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    #[arg(long, value_name = "FILE", help = TOKEN_FILE_HELP)]
    admin_token_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = KEY_FILE_HELP)]
    encryption_key_file: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

impl VerifyArgs {
    pub(super) fn encryption_key_file(&self) -> Option<PathBuf> {
        file(self.encryption_key_file.as_ref(), ENCRYPTION_KEY_FILE)
    }
}

impl StoreArgs {
    pub(super) fn admin_token_file(&self) -> Option<PathBuf> {
        file(self.admin_token_file.as_ref(), ADMIN_TOKEN_FILE)
    }

    pub(super) fn encryption_key_file(&self) -> Option<PathBuf> {
        file(self.encryption_key_file.as_ref(), ENCRYPTION_KEY_FILE)
    }
}

/// The file a flag names, or a variable. As for `serve`, an empty variable counts as absent, which
/// clap takes for a path that is none.
fn file(flag: Option<&PathBuf>, variable: &str) -> Option<PathBuf> {
    let said = || std::env::var_os(variable).filter(|path| !path.is_empty());
    flag.cloned().or_else(|| said().map(PathBuf::from))
}

/// Where the store is.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PlaceArgs {
    /// Admin address of the gateway that runs on the store: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,
    /// Directory of the store, on which nothing runs; opening it leaves what was in flight in doubt
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
}

/// Whose keys.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ScopeArgs {
    /// The scope in hexadecimal digits, as log lines and lists have it
    #[arg(long, value_name = "HEX", conflicts_with = "principal")]
    pub(super) scope: Option<String>,
    /// The caller, by the value of the field the gateway knows callers by; with --admin
    #[arg(long, value_name = "TEXT")]
    pub(super) principal: Option<String>,
    /// The method, where keys belong to paths (oec, and rules with such a profile) [default: POST]
    #[arg(long, value_name = "METHOD", requires = "path")]
    pub(super) method: Option<String>,
    /// The path, where keys belong to paths (oec, and rules with such a profile)
    #[arg(long, value_name = "PATH", conflicts_with = "scope")]
    pub(super) path: Option<String>,
}

/// Which key.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeyArgs {
    /// The key, without quotes around it
    pub(super) key: String,
    /// KEY is the key's SHA-256, or the first 16 digits of it, as log lines have it
    #[arg(long)]
    pub(super) hash: bool,
    #[command(flatten)]
    pub(super) scope: ScopeArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

/// The flags of `list`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Keys in this state alone
    #[arg(long, value_enum)]
    pub(super) state: Option<StateArg>,
    /// So many keys at most [default: all]
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Show keys as they are, which others may guess the next ones by
    #[arg(long)]
    pub(super) show_keys: bool,
    #[command(flatten)]
    pub(super) scope: ScopeArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

/// A key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArg {
    InDoubt,
    InFlight,
    Complete,
}

impl StateArg {
    /// The word the API has for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InDoubt => "in-doubt",
            Self::InFlight => "in-flight",
            Self::Complete => "complete",
        }
    }
}

/// The flags of `get`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(super) key: KeyArgs,
    /// Show the key as it is
    #[arg(long)]
    pub(super) show_keys: bool,
}

/// The flags of `release`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    pub(super) key: KeyArgs,
}

/// The flags of `resolve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    pub(super) key: KeyArgs,
    #[command(flatten)]
    pub(super) how: HowArgs,
    /// Header field of the response, NAME: VALUE; may be given again
    #[arg(long, value_name = "FIELD", conflicts_with = "release")]
    pub(super) header: Vec<String>,
    /// File with the body of the response, - for standard input [default: no body]
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    pub(super) body: Option<PathBuf>,
}

/// How a key is resolved.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct HowArgs {
    /// The work was not done: give the key back
    #[arg(long)]
    pub(super) release: bool,
    /// The work was done: replay a response with this status
    #[arg(long, value_name = "CODE")]
    pub(super) status: Option<u16>,
}
