//! What the layer and the gateway cost: processor time per request, beside a bare axum app and a
//! bare proxy, in turn, in one run.
//!
//! `cargo bench --bench overhead --features cli`. Without `--bench` all is tried once, small.

#![allow(clippy::print_stdout, reason = "a benchmark is there to print")]
#![allow(clippy::cast_precision_loss, reason = "times are printed with three figures")]

#[path = "support/layer.rs"]
mod layer;
#[path = "support/overhead.rs"]
mod overhead;
#[path = "support/proxied.rs"]
mod proxied;

use overhead::{Row, Scale, print, sure};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [proxy, upstream] = arguments.as_slice()
        && proxy == proxied::BARE_PROXY
    {
        sure(proxied::be_the_bare_proxy(upstream));
        return;
    }
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let scale = if bench { Scale::FULL } else { Scale::TRIAL };
    let runtime =
        sure(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build());
    let mut rows: Vec<Row> = runtime.block_on(layer::measure(scale));
    print("the layer, beside a bare axum app", &rows);
    rows = runtime.block_on(proxied::measure(scale));
    print("the gateway, beside a bare proxy", &rows);
}
