//! `containerpilot` as a library: everything but the composition root, so that tests and the simulation can
//! use it. ARCHITECTURE.md describes the modules.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may fail by panicking"
    )
)]

#[cfg(test)]
#[path = "../tests/common/accounts.rs"]
mod accounts;
pub mod adapters;
mod cause;
pub mod check;
pub mod client;
pub mod command_line;
pub mod config;
pub mod driver;
pub mod explain;
#[cfg(test)]
#[path = "../tests/common/loopback.rs"]
#[allow(dead_code, reason = "the program's tests need more")]
mod loopback;
pub mod panics;
pub mod ports;
#[cfg(test)]
#[path = "../tests/common/self_signed.rs"]
mod self_signed;
pub mod version;
