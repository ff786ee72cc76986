#![no_main]
//! The gateway's configuration file. Its code is the gateway's own, and stands here as it does there:
//! the modules below are those of `src/bin/onceward` that reading a file takes.
#![allow(dead_code, unused_imports, reason = "the gateway uses the rest")]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/bin/onceward/config/mod.rs"]
mod config;
#[path = "../../src/bin/onceward/duration.rs"]
mod duration;
#[path = "../../src/bin/onceward/log.rs"]
mod log;
#[path = "../../src/bin/onceward/principal.rs"]
mod principal;
#[path = "../../src/bin/onceward/args/serve.rs"]
mod serve;
#[path = "../../src/bin/onceward/size.rs"]
mod size;
#[path = "../../src/bin/onceward/admin/token.rs"]
mod token;
#[path = "../../src/bin/onceward/trusted.rs"]
mod trusted;
#[path = "../../src/bin/onceward/upstream.rs"]
mod upstream;

mod admin {
    pub(crate) use crate::token::Token;
}

mod args {
    pub(crate) use crate::serve::ServeArgs;
}

fuzz_target!(|data: &[u8]| config::any::run(data));
