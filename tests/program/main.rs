//! What is true of the built program, one subject a module. Everything here runs the real binary: it is
//! started, signalled and read from outside, as an operator would.
//!
//! No test sleeps and hopes: a fact is waited for until it holds, and the test fails if it does not in time.
//! Whatever a test started, it ends.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]

mod agent;
#[allow(dead_code, reason = "the adapter's tests ask the server more")]
mod etcd_server;
mod http;
mod isolated;
#[path = "../common/loopback.rs"]
mod loopback;
mod processes;
mod program;
#[path = "../common/schema.rs"]
#[allow(dead_code, reason = "other tests want to know what is wrong")]
mod schema;
mod sending;
mod waiting;

mod bad_input;
mod children;
mod consul;
mod directory;
mod etcd;
mod exit_codes;
mod mission;
mod output;
mod paused;
mod pid1;
mod prometheus;
mod proxied;
mod secured;
mod signals;
mod telemetry;
