#![no_main]
//! The fuzzer's way into `bodies/stored_response.rs`.

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/stored_response.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
