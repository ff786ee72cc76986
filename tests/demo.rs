//! The demo as a person meets it: the tour, its exit code, and the API that stays afterwards.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod serve_support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serve_support::{PATIENCE, Wire};

/// `onceward demo`, while it runs, with everything it says.
struct Demo {
    child: Child,
    said: Receiver<String>,
}

impl Demo {
    /// Starts it with these flags; its temporary files go into `temp`.
    fn start(temp: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onceward"))
            .arg("demo")
            .args(flags)
            .env("TMPDIR", temp)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, said) = channel();
        let stdout: BufReader<ChildStdout> = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if send.send(line.unwrap()).is_err() {
                    return;
                }
            }
            let mut complaints = String::new();
            stderr.read_to_string(&mut complaints).unwrap();
            // Whoever listened may have failed already.
            let _ = send.send(complaints);
        });
        Self { child, said }
    }

    /// Waits for its end; gives its exit code and what it said.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) => text.extend([&line, "\n"]),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on; it said\n{text}"),
            }
        }
        (self.child.wait().unwrap().code(), text)
    }

    /// Waits for a line with `part`; gives all up to and with it.
    fn until(&self, part: &str) -> String {
        let mut text = String::new();
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                panic!("waiting for {part:?}: {error}; it said\n{text}");
            });
            text.extend([&line, "\n"]);
            if line.contains(part) {
                return text;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already, which is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_empty(directory: &Path) -> bool {
    directory.read_dir().unwrap().next().is_none()
}

#[test]
fn the_tour_goes_through_every_document_and_holds() {
    let temp = tempfile::tempdir().unwrap();
    let (code, table) = Demo::start(temp.path(), &["--once"]).ended();
    assert_eq!(code, Some(0), "{table}");
    for part in ["managed.dev", "oec.sh", "Magnolia", "IETF draft", "Expiry", "A crash"] {
        assert!(table.contains(&format!("\n{part}  ")), "{part} in {table}");
    }
    for number in [
        "M1,", "M7,", "M8\n", "M9\n", "M10,", "M11,", "M12\n", "M13,", "M14,", "M15\n", "M16\n",
        "O2,", "O4,", "O5,", "O6,", "O9,", "O10\n", "O11,", "O12\n", "O13\n", "O14\n", "O15,",
        "O16\n", "G1,", "G5,", "G6,", "G7,", "G8\n", "G10,", "G13\n", "G17\n", "G18\n", "G21,",
        "G22\n", "D1,", "D7\n", "D8,", "D9,", "D10\n", "C34\n",
    ] {
        assert!(table.contains(&format!(" {number}")), "{number:?} in {table}");
    }
    assert!(!table.contains('✗') && !table.contains('\x1b'), "{table}");
    let rows = table.lines().filter(|line| line.ends_with('✓')).count();
    assert!(table.contains(&format!("\n{rows} of {rows} steps as promised\n")), "{table}");
    for line in table.lines().filter(|line| !line.contains("store in")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(is_empty(temp.path()), "the temporary directory is still there");
}

/// A directory that is given stays, with its records: the second tour goes over the first one's.
#[test]
fn a_given_directory_is_kept_and_used_again() {
    let temp = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let flags = ["--once", "--data", data.path().to_str().unwrap()];
        let (code, table) = Demo::start(temp.path(), &flags).ended();
        assert_eq!(code, Some(0), "{table}");
    }
    assert!(!is_empty(data.path()));
    assert!(is_empty(temp.path()));
}

/// After the tour the API answers until it is interrupted, and takes its directory with it.
#[test]
fn the_api_stays_until_it_is_interrupted() {
    let temp = tempfile::tempdir().unwrap();
    let demo = Demo::start(temp.path(), &["--listen", "127.0.0.1:0"]);
    let said = demo.until("# ietf");
    let origin = said.split("stays at http://").nth(1).unwrap().split(' ').next().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::to(origin.parse().unwrap());
        wire.send(
            "POST /v1/sites/site_1/environments HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\
             Authorization: Bearer mfk_live_acme\r\nIdempotency-Key: k\r\n\r\n{}",
        );
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), 202, "{answer:?}");
        ids.push(answer.one("location").to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    demo.signal("-INT");
    let (code, said) = demo.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(is_empty(temp.path()));
}

#[test]
fn a_tour_that_is_interrupted_fails_and_cleans_up() {
    let temp = tempfile::tempdir().unwrap();
    let demo = Demo::start(temp.path(), &["--once"]);
    demo.until("managed.dev");
    demo.signal("-INT");
    let (code, said) = demo.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the tour was interrupted"), "{said}");
    assert!(is_empty(temp.path()));
}

#[test]
fn an_address_that_cannot_be_had_fails_before_the_tour() {
    let temp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = Demo::start(temp.path(), &["--once", "--listen", &address]).ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    assert!(is_empty(temp.path()));
}
