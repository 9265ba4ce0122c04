//! Tests of the built program, one subject a module. Each test starts the real binary, sends it signals and reads its
//! output from outside, as an operator would.
//!
//! Tests poll a condition until a deadline and never rely on a fixed sleep. Each test ends the processes it started.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]

mod agent;
#[allow(dead_code, reason = "the tests of the adapter use more of it")]
mod etcd_server;
mod http;
mod isolated;
#[path = "../common/loopback.rs"]
mod loopback;
mod processes;
mod program;
#[path = "../common/schema.rs"]
#[allow(dead_code, reason = "other tests use the list of problems")]
mod schema;
mod sending;
mod waiting;

mod acting;
mod bad_input;
mod bare;
mod check;
mod checks;
mod children;
mod clocks;
mod consul;
mod control;
mod descendants;
mod directory;
mod drain;
mod early;
mod entered;
#[cfg(feature = "etcd")]
mod etcd;
mod exit_codes;
mod handlers;
mod hangups;
mod health;
mod original_example;
mod output;
mod page;
mod paused;
mod pid1;
mod probes;
mod prometheus;
mod proxied;
mod registration;
mod rolling;
mod secured;
mod signals;
mod stopping;
mod telemetry;
mod templates;
mod terminal;
mod users;
