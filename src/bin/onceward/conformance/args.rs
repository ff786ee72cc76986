//! The flags of `conformance` and of `conformance-upstream`.

use clap::Args;

/// The flags of `conformance`.
// The lines of documentation are the program's help, where backticks would be shown.
#[allow(clippy::doc_markdown, rustdoc::bare_urls)]
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Behind the layer under test there should be `onceward conformance-upstream`, \
                        or an API with the same contract (docs/conformance.md); an API without it \
                        is checked as far as --create-path shows anything.\n\
                        Exit codes: 0 nothing failed, 1 something did, 2 usage."
)]
pub(crate) struct ConformanceArgs {
    /// Base URL of the server under test: http://HOST[:PORT][/BASE] or https://…
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// The profile it should conform to: standard, ietf, managed-dev, magnolia, oec, …
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub(crate) profile: String,
    /// Header that tells callers apart; none where every caller is the same one
    #[arg(long, value_name = "NAME", default_value = "Authorization")]
    pub(crate) principal_header: String,
    /// Path below the base whose POST creates something, of an API without the test contract
    #[arg(long, value_name = "PATH")]
    pub(crate) create_path: Option<String>,
    /// JSON object that path takes
    #[arg(long, value_name = "JSON", default_value = "{\"name\":\"conformance\"}")]
    pub(crate) create_body: String,
    /// How long the server keeps results, where that is short enough to wait for: 1s, 500ms, …
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<String>,
    /// Speak HTTP/2 (by prior knowledge, or ALPN)
    #[arg(long)]
    pub(crate) http2: bool,
    /// Numbers to check, and no others: C34,C37
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Print JSON in place of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `conformance-upstream`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpstreamArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8766")]
    pub(crate) listen: String,
}
