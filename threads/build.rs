//! Has the crate's locks and threads be the scheduler's.

fn main() {
    println!("cargo:rustc-cfg=onceward_shuttle");
    println!("cargo:rustc-check-cfg=cfg(onceward_shuttle)");
    println!("cargo:rerun-if-changed=build.rs");
}
