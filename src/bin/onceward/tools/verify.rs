//! `verify`: all of a store is read, what is wrong is said, and nothing is modified.

use std::path::Path;

use onceward::{
    Error, ErrorKind, Finding, FoundKey, Keys, VerifyProgress, VerifyReport, verify_encrypted_with,
    verify_with,
};
use serde_json::{Value, json};

use super::args::VerifyArgs;
use super::print::line;
use crate::Failure;
use crate::bar::Bar;
use crate::gateway::hex;

/// How many octets of a scope and of a hash people are shown: as many as log lines have of a hash.
const OCTETS_SHOWN: usize = 8;

/// Exit code 0 when all is well; 1 when something is wrong, or cannot be read; 2 when there is no
/// store, a process has it open, or the file of keys cannot be used.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let name = args.data.display();
    if !args.data.is_dir() {
        let why = format!("there is no directory {name}");
        return Err(no_report(args, &why, Failure::Usage(why.clone())));
    }
    let keys = args.encryption_key_file().as_deref().map(Keys::from_file).transpose();
    let keys = keys.map_err(|error| {
        let why = error.to_string();
        no_report(args, &why, Failure::Usage(why.clone()))
    })?;
    let mut bar = Bar::new();
    let progress = |progress| {
        let share = hundredths(progress);
        bar.show(share, what(share));
    };
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
    let failure = match error.kind() {
        ErrorKind::UnsupportedFormat => Failure::Usage(format!("{name}: {error}")),
        ErrorKind::Locked => Failure::Usage(format!(
            "{name} is in use: a store is verified while no process has it open, or verify a copy \
             of it"
        )),
        _ => Failure::Failed(format!("{name}: {error}")),
    };
    no_report(args, &error.to_string(), failure)
}

/// `failure`, once a program that reads the report is told `why` there is none.
fn no_report(args: &VerifyArgs, why: &str, failure: Failure) -> Failure {
    if !args.json {
        return failure;
    }
    let directory = args.data.display().to_string();
    let object = json!({ "directory": directory, "sound": false, "error": why });
    match line(&object.to_string()) {
        Ok(_) => failure,
        Err(unsaid) => unsaid,
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

fn hundredths(progress: VerifyProgress) -> u64 {
    let share = u128::from(progress.bytes) * 100 / u128::from(progress.bytes_total.max(1));
    share.min(100) as u64
}

/// What the share is of: the log, then, for a moment nobody can foresee, the tree.
fn what(share: u64) -> &'static str {
    if share == 100 { "of the log, now the tree" } else { "of the log" }
}
