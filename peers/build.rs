//! Names the compiler that builds the harness, for the line about the machine.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    // `rustc 1.98.0 (commit date)`: the first two say it.
    let said = said.unwrap_or_default();
    let short: Vec<&str> = said.split_whitespace().take(2).collect();
    let short = if short.is_empty() { "rustc unknown".to_owned() } else { short.join(" ") };
    println!("cargo:rustc-env=PEERS_COMPILER={short}");
}
