//! Tests of the built program under hostile conditions: children that print without end, servers that send invalid
//! data, files that never end, resource limits that are reached. One subject a module.
//!
//! Each test measures bounds of docs/bounds.md from outside: when checks start, whether `/status` answers, how much
//! memory, threads, descriptors and processor time are used, when SIGTERM takes effect, and that the program works
//! normally afterwards.
//!
//! `HOSTILE_BINARY` names the program under test; scripts/test names the release build. Without it the debug
//! build is tried, whose times are longer: see `slowness`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]

#[path = "../program/agent.rs"]
#[allow(dead_code, reason = "other tests ask the agent more")]
mod agent;
#[path = "../program/etcd_server.rs"]
#[allow(dead_code, reason = "other tests ask the server more")]
mod etcd_server;
#[path = "../program/http.rs"]
#[allow(dead_code, reason = "other tests ask servers more")]
mod http;
#[path = "../program/isolated.rs"]
mod isolated;
#[path = "../common/loopback.rs"]
#[allow(dead_code, reason = "other tests need more of an address")]
mod loopback;
#[path = "../program/processes.rs"]
#[allow(dead_code, reason = "other tests look at more of a process")]
mod processes;
#[path = "../program/program.rs"]
#[allow(dead_code, reason = "other tests do more with the program")]
mod program;
#[path = "../common/self_signed.rs"]
mod self_signed;
#[path = "../program/sending.rs"]
mod sending;
#[path = "../program/waiting.rs"]
mod waiting;

mod cgroup;
mod machine;
mod observed;

mod all_at_once;
mod config;
mod consul;
mod consul_tls;
mod directory;
mod etcd;
mod flood;
mod instruments;
mod limits;
mod names;
mod overruns;
mod pids;
mod probes;
mod reloads;
mod silence;
mod templates;
mod trees;

use std::env;

/// How much longer than in the release build a step may take: the debug build is not optimised.
fn slowness() -> u32 {
    if env::var_os("HOSTILE_BINARY").is_some() {
        1
    } else {
        4
    }
}
