#![no_main]
//! The fuzzer's way into `bodies/recovery.rs`.

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/recovery.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
