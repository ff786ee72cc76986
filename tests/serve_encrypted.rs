//! A gateway whose stored responses are encrypted: the key's file, its rotation, and what the
//! directory shows.
#![cfg(feature = "cli")]
// A test, and what it is made of, fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod serve_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serve_support::{Gateway, Upstream, command, exchange, keyed, response};

const CANARY: &str = "canary-1f7a9c";

fn key_file(path: &Path, lines: &[&str], mode: u32) {
    let _ = fs::remove_file(path);
    fs::write(path, lines.iter().map(|line| line.repeat(32) + "\n").collect::<String>()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether any file of the store has the response in it.
fn shown(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        let holds = |bytes: Vec<u8>| bytes.windows(13).any(|part| part == CANARY.as_bytes());
        if path.is_dir() { shown(&path) } else { holds(fs::read(path).unwrap()) }
    })
}

#[test]
fn stored_responses_are_encrypted_under_the_key_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("master"));
    let flags = ["--encryption-key-file", file.to_str().unwrap()];
    let upstream = Upstream::start(|_, wire| {
        wire.send(response("201 Created", "", CANARY));
        true
    });
    let ask = |gateway: &Gateway| {
        let answer = exchange(gateway.address, keyed("/sites", "k", "{}"));
        assert_eq!((answer.status(), answer.text()), (201, CANARY));
    };

    key_file(&file, &["01"], 0o600);
    let gateway = Gateway::over(&data, &upstream.url(), &flags);
    ask(&gateway);
    ask(&gateway);
    gateway.stop();
    assert!(!shown(&data));

    // Rotated: the old key still opens what it has closed.
    key_file(&file, &["02", "01"], 0o600);
    let gateway = Gateway::over(&data, &upstream.url(), &flags);
    ask(&gateway);
    gateway.stop();
    assert_eq!(upstream.requests().len(), 1, "the rest are replays");

    let tool = |file: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
        command.args(["stats", "--data", data.to_str().unwrap()]);
        command.env_remove("ONCEWARD_ENCRYPTION_KEY_FILE");
        command.args(
            file.map(|file| ["--encryption-key-file", file.to_str().unwrap()]).iter().flatten(),
        );
        command.output().unwrap()
    };
    assert!(tool(Some(&file)).status.success());
    let refused = tool(None);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");

    let refused = |flags: &[&str], code, part: &str| {
        let (url, data) = (upstream.url(), data.to_str().unwrap().to_owned());
        let all =
            [&["--upstream", &url, "--listen", "127.0.0.1:0", "--data", &data], flags].concat();
        let (status, said) = Gateway::spawn_unready(&mut command(&all)).ended();
        assert_eq!(status.code(), Some(code), "{said:?}");
        assert!(said.last().unwrap().contains(part), "{said:?}");
    };
    refused(&[], 1, "no keys were given");
    key_file(&file, &["03"], 0o600);
    refused(&flags, 1, "was not given");
    key_file(&file, &["02"], 0o644);
    refused(&flags, 2, "0600");
}

#[test]
fn verify_opens_what_is_encrypted_with_the_file_that_serve_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("master"));
    let upstream = Upstream::start(|_, wire| {
        wire.send(response("201 Created", "", CANARY));
        true
    });
    key_file(&file, &["01"], 0o600);
    let flags = ["--encryption-key-file", file.to_str().unwrap()];
    let gateway = Gateway::over(&data, &upstream.url(), &flags);
    assert_eq!(exchange(gateway.address, keyed("/sites", "k", "{}")).status(), 201);
    gateway.stop();

    let verify = |by_variable: bool, flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onceward"));
        command.args(["verify", "--data", data.to_str().unwrap()]).args(flags);
        command.env_remove("ONCEWARD_ENCRYPTION_KEY_FILE");
        if by_variable {
            command.env("ONCEWARD_ENCRYPTION_KEY_FILE", &file);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    for (by_variable, flags) in [(false, &flags[..]), (true, &[]), (false, &[])] {
        let (code, said) = verify(by_variable, flags);
        assert_eq!(code, Some(0), "{said}");
    }

    key_file(&file, &["02"], 0o600);
    let (code, said) = verify(false, &flags);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WRONG") && said.contains(".key"), "{said}");
    key_file(&file, &["01"], 0o644);
    let (code, said) = verify(false, &flags);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("0600"), "{said}");

    let (code, said) = verify(false, &[&flags[..], &["--json"]].concat());
    let object: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((code, &object["sound"]), (Some(2), &false.into()), "{said}");
    assert!(object["error"].as_str().unwrap().contains("0600"), "{said}");
    std::fs::remove_dir_all(&data).unwrap();
    let (code, said) = verify(false, &["--json"]);
    let object: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((code, &object["directory"]), (Some(2), &data.to_str().unwrap().into()), "{said}");
    assert!(object["error"].as_str().unwrap().contains("no directory"), "{said}");
}
