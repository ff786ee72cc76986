#![no_main]
//! The fuzzer's way into `bodies/machine.rs`.

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/machine.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
