#![no_main]
//! The fuzzer's way into `bodies/frame.rs`.

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/frame.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
