//! What is true of the shim in containers, where it is the entry point and process 1: against real servers
//! that are stopped, paused, emptied, cut off, or lose their leader.
//!
//! Every test has a network and servers of its own, and removes them. No test sleeps and hopes. The images are
//! made by `scripts/images`; `docs/containers.md` lists the scenarios.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]

mod machine;
mod shim;
mod store;
mod world;

#[path = "../program/http.rs"]
#[allow(dead_code, reason = "the program's tests ask more")]
mod http;
#[path = "../program/waiting.rs"]
mod waiting;

mod clusters;
mod faults;
mod originals;
