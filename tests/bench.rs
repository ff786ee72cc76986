//! `onceward bench` as a person meets it: its rows, its refusals, and the directory it leaves as it
//! was.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The rows, in their order.
const ROWS: [&str; 10] = [
    "get, hit",
    "get_many, 64 hits",
    "get, miss",
    "claim, replay",
    "durable cycle, 1 task",
    "durable cycle, 64 tasks",
    "durable cycle, 256 tasks",
    "durable cycle, 1024 tasks",
    "sweep, expired results",
    "open, to the first grant",
];

fn command(data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
    command.arg("bench").arg("--data").arg(data).args(flags).stdin(Stdio::null());
    command
}

fn bench(data: &Path, flags: &[&str]) -> Output {
    command(data, flags).output().unwrap()
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn every_row_has_its_floor_beside_it_and_nothing_stays() {
    let directory = tempfile::tempdir().unwrap();
    let ran = bench(directory.path(), &["--records", "1000", "--seconds", "0.2", "--json"]);
    let error = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{error}");
    assert!(is_empty(directory.path()));
    // No terminal: a line for each thing that begins.
    for row in ROWS {
        assert!(error.lines().any(|line| line == format!("bench: {row}")), "{row}: {error}");
    }

    let object: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&object["records"], &object["payload_octets"]), (&1000.into(), &512.into()));
    let rows = object["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ROWS);
    for row in rows {
        let figure = |name: &str| row[name].as_f64();
        let (ours, floor) = (figure("onceward").unwrap(), figure("floor").unwrap());
        assert!(ours > 0.0 && floor > 0.0, "{row}");
        let parts = if row["unit"] == "s" { floor / ours } else { ours / floor };
        assert!((figure("of_floor").unwrap() / parts - 1.0).abs() < 1e-6, "{row}");
        let timed = row["name"].as_str().unwrap().starts_with("durable");
        for (within, more) in [("p50_us", "p99_us"), ("floor_p50_us", "floor_p99_us")] {
            assert_eq!((figure(within).is_some(), figure(more).is_some()), (timed, timed), "{row}");
            assert!(figure(within) <= figure(more), "{row}");
        }
    }
}

#[test]
fn people_get_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let ran = bench(directory.path(), &["--records", "1000", "--seconds", "0.1"]);
    assert_eq!(ran.status.code(), Some(0));
    let text = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 + ROWS.len(), "{text}");
    assert!(lines[1].trim_start().starts_with("ONCEWARD"), "{text}");
    for (line, row) in lines[2..].iter().zip(ROWS) {
        assert!(line.starts_with(row), "{text}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let refused = |data: &Path, flags: &[&str], code: i32, why: &str| {
        let ran = bench(data, flags);
        let error = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{error}");
        assert!(error.contains(why), "{error}");
        assert!(ran.stdout.is_empty());
    };
    refused(&file, &[], 2, "there is no directory");
    refused(&directory.path().join("none"), &[], 2, "there is no directory");
    refused(directory.path(), &["--records", "0"], 2, "0 is not in 1000..=");
    refused(directory.path(), &["--seconds", "0"], 2, "above 0");
    // Nobody makes a directory there, not even root.
    refused(Path::new("/proc"), &[], 1, "/proc cannot be written");
    std::fs::remove_file(&file).unwrap();
    assert!(is_empty(directory.path()));
}

// Somebody has seen enough while the store is full and the floor's files stand.
#[test]
fn an_interrupted_run_takes_its_files_with_it() {
    for during in ["bench: making results", "bench: durable cycle, 1 task"] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command(directory.path(), &["--records", "1000", "--seconds", "60"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line == during), "{during}");
        assert!(!is_empty(directory.path()));
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let last = said.last().unwrap_or_default();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{last}");
        assert!(last.contains("interrupted"), "{last}");
        assert!(is_empty(directory.path()), "{during}");
    }
}
