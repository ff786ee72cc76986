//! The examples, run: each sends its request twice, and says by its exit code whether the work was
//! done once (M1, M8, D6).
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

fn run(example: &str) {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--all-features", "--example", example])
        .args(["--", "--once"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{example}: {said}{complained}");
    assert_eq!(said.matches("working on").count(), 1, "M1, M8: {said}");
}

#[test]
fn d6_the_axum_example_does_its_work_once() {
    run("axum");
}

#[test]
fn d6_the_hyper_example_does_its_work_once() {
    run("hyper");
}

#[test]
fn c26_the_grpc_example_does_its_work_once() {
    run("tonic");
}
