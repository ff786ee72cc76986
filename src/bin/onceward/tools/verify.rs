//! `verify`: all of a store is read, what is wrong is said, and nothing is modified.

use std::io::{IsTerminal, Write};
use std::path::Path;

use onceward::{
    Error, ErrorKind, Finding, FoundKey, Keys, VerifyProgress, VerifyReport, verify_encrypted_with,
    verify_with,
};
use serde_json::{Value, json};

use super::args::VerifyArgs;
use super::print::line;
use crate::Failure;
use crate::gateway::hex;

/// How wide the bar is, in characters.
const BAR: u64 = 40;
/// How many octets of a scope and of a hash people are shown: as many as log lines have of a hash.
const OCTETS_SHOWN: usize = 8;

/// Exit code 0 when all is well; 1 when something is wrong, or cannot be read; 2 when there is no
/// store, or a process has it open.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let name = args.data.display();
    if !args.data.is_dir() {
        return Err(Failure::Usage(format!("there is no directory {name}")));
    }
    let keys = args.encryption_key_file.as_deref().map(Keys::from_file).transpose();
    let keys = keys.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut bar = Bar::new();
    let progress = |progress| bar.show(progress);
    let verified = match &keys {
        Some(keys) => verify_encrypted_with(&args.data, keys, progress),
        None => verify_with(&args.data, progress),
    };
    bar.clear();
    let report = match verified {
        Ok(report) => report,
        Err(error) => return Err(not_read(args, &error)),
    };
    if args.json {
        line(&of_report(&args.data, &report).to_string())?;
    } else {
        for text in told(&report) {
            if !line(&text)? {
                break;
            }
        }
    }
    if report.is_sound() {
        return Ok(());
    }
    let count = report.findings.len() as u64 + report.unlisted;
    Err(Failure::Failed(format!("{name}: findings: {count}; the store is damaged")))
}

/// The end of a verification that there is no report of.
fn not_read(args: &VerifyArgs, error: &Error) -> Failure {
    let name = args.data.display();
    match error.kind() {
        ErrorKind::UnsupportedFormat => Failure::Usage(format!("{name}: {error}")),
        ErrorKind::Locked => Failure::Usage(format!(
            "{name} is in use: a store is verified while no process has it open, or verify a copy \
             of it"
        )),
        _ => {
            let object = json!({
                "directory": name.to_string(), "sound": false, "error": error.to_string()
            });
            match args.json.then(|| line(&object.to_string())) {
                Some(Err(failure)) => failure,
                _ => Failure::Failed(format!("{name}: {error}")),
            }
        }
    }
}

/// The report as an object. `docs/operating.md` promises its members.
fn of_report(directory: &Path, report: &VerifyReport) -> Value {
    json!({
        "directory": directory.display().to_string(),
        "sound": report.is_sound(),
        "sealed": report.sealed,
        "bytes": report.bytes,
        "segments": report.segments,
        "groups": report.groups,
        "frames": report.frames,
        "records": {
            "complete": report.complete,
            "tombstones": report.tombstones,
            "in_doubt": report.in_doubt,
            "unfinished": report.unfinished,
        },
        "tree": { "entries": report.tree_entries, "log_only": report.log_only },
        "findings": report.findings.iter().map(of_finding).collect::<Vec<_>>(),
        "unlisted": report.unlisted,
    })
}

fn of_finding(finding: &Finding) -> Value {
    json!({
        "file": finding.file,
        "from": finding.octets.as_ref().map(|octets| octets.start),
        "to": finding.octets.as_ref().map(|octets| octets.end),
        "what": finding.what,
        "keys": finding.keys.iter().map(of_key).collect::<Vec<_>>(),
        "keys_unlisted": finding.keys_unlisted,
    })
}

fn of_key(key: &FoundKey) -> Value {
    json!({
        "offset": key.offset,
        "frame": key.frame,
        "scope": hex(&key.scope),
        "key_sha256": hex(&key.key_sha256),
        "payload_sound": key.payload_sound,
    })
}

/// The report in lines, for a person.
fn told(report: &VerifyReport) -> Vec<String> {
    let count = |name: &str, count: u64, more: String| {
        format!("{name:<12} {count:>12}  {more}").trim_end().to_owned()
    };
    let plain = |name, number| count(name, number, String::new());
    let end = if report.sealed { "it was closed" } else { "it was not closed, or is damaged" };
    let mut lines = vec![
        count("segments", report.segments, format!("{} octets; {end}", report.bytes)),
        plain("groups", report.groups),
        plain("frames", report.frames),
        count("complete", report.complete, format!("{} without a payload", report.tombstones)),
        plain("in doubt", report.in_doubt),
        count("unfinished", report.unfinished, "in doubt once the store is opened".to_owned()),
        count(
            "tree entries",
            report.tree_entries,
            format!("{} records stand in the log alone, which is no fault", report.log_only),
        ),
    ];
    for finding in &report.findings {
        lines.push(format!("WRONG  {finding}"));
        for key in &finding.keys {
            let short = |octets: &[u8]| hex(octets.get(..OCTETS_SHOWN).unwrap_or(octets));
            let payload = if key.payload_sound { "stands" } else { "does not" };
            lines.push(format!(
                "       key {} of scope {}: {} at {}, its payload {payload}",
                short(&key.key_sha256),
                short(&key.scope),
                key.frame,
                key.offset,
            ));
        }
        if finding.keys_unlisted > 0 {
            lines.push(format!("       and {} keys more", finding.keys_unlisted));
        }
    }
    if report.unlisted > 0 {
        lines.push(format!("WRONG  and {} findings more", report.unlisted));
    }
    if report.is_sound() {
        lines.push("all is well".to_owned());
    }
    lines
}

/// How far it is, on a terminal; nothing elsewhere.
struct Bar {
    on: bool,
    /// The last share shown, in hundredths.
    shown: Option<u64>,
}

impl Bar {
    fn new() -> Self {
        Self { on: std::io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, progress: VerifyProgress) {
        let share = hundredths(progress);
        if !self.on || self.shown == Some(share) {
            return;
        }
        self.shown = Some(share);
        self.print(&format!("\r{}", bar(share)));
    }

    fn clear(&self) {
        if self.shown.is_some() {
            self.print("\r\u{1b}[K");
        }
    }

    /// A bar that cannot be drawn is no reason to end.
    #[allow(clippy::unused_self, reason = "a bar alone draws here")]
    fn print(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn hundredths(progress: VerifyProgress) -> u64 {
    let share = u128::from(progress.bytes) * 100 / u128::from(progress.bytes_total.max(1));
    share.min(100) as u64
}

fn bar(share: u64) -> String {
    let full = (share * BAR / 100) as usize;
    let rest = if share == 100 { ", now the tree" } else { "" };
    let empty = BAR as usize - full;
    format!("[{}{}] {share:>3}% of the log{rest}", "#".repeat(full), ".".repeat(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_wide_at_each_share() {
        assert_eq!(bar(0), format!("[{}]   0% of the log", ".".repeat(40)));
        assert_eq!(bar(50), format!("[{}{}]  50% of the log", "#".repeat(20), ".".repeat(20)));
        assert_eq!(bar(100), format!("[{}] 100% of the log, now the tree", "#".repeat(40)));
    }
}
