//! Tests of the shim in containers, as entry point and process 1, with real servers that are stopped, paused, emptied,
//! disconnected, or lose their leader.
//!
//! Every test creates a network and servers of its own and removes them. Tests poll conditions until a deadline. The images are
//! made by `scripts/images`; `docs/development/containers.md` lists the scenarios.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]

mod machine;
mod network;
mod shim;
mod store;

#[path = "../program/http.rs"]
#[allow(dead_code, reason = "the program's tests ask more")]
mod http;
#[path = "../program/waiting.rs"]
mod waiting;

mod clusters;
mod examples;
mod faults;
mod originals;
mod process_1;
mod quick_start;
