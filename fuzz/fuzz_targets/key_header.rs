#![no_main]
//! The fuzzer's way into `bodies/key_header.rs`.

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/key_header.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
