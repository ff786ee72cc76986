#![no_main]
//! The fuzzer's way into `bodies/tombstone.rs`.

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/tombstone.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
