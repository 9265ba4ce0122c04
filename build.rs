//! Tells the program which commit it is built from, and its version.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a build script runs git and speaks to cargo on its output"
)]

use std::env;
use std::process::Command;

fn main() {
    let hash = Command::new("git")
        // A fixed length: by default it depends on the number of objects in the repository, and a clone has fewer.
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let hash = hash
        .ok()
        .filter(|output| output.status.success())
        .map(|output| output.stdout);
    let hash = hash
        .and_then(|hash| String::from_utf8(hash).ok())
        .unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=BUILT_FROM_COMMIT={}", hash.trim());
    // What semantic versioning has for this: metadata of the build, which no comparison of versions considers.
    let without_etcd = env::var_os("CARGO_FEATURE_ETCD").is_none();
    let metadata = if without_etcd { "+without-etcd" } else { "" };
    println!(
        "cargo::rustc-env=BUILT_VERSION={}{metadata}",
        env!("CARGO_PKG_VERSION")
    );
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
}
