//! A program that was built without etcd refuses a configuration with it, and runs with others:
//!
//!     cargo test --no-default-features --test without_etcd
#![cfg(not(feature = "etcd"))]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]
#![allow(dead_code, reason = "other tests use more of the shared modules")]

#[path = "program/processes.rs"]
mod processes;
#[path = "program/program.rs"]
mod program;
#[path = "program/sending.rs"]
mod sending;
#[path = "program/waiting.rs"]
mod waiting;

use nix::sys::signal::Signal;
use program::{Program, UNTIL_TERM, command};

/// With a pre-start hook that leaves a trace.
const WITH_ETCD: &str = r#"{"preStart": "touch @/begun",
  "etcd": {"endpoints": "http://127.0.0.1:1"}}"#;
/// The second one of its values has the error.
const REFUSAL: &str = "@/cp.json:2:11: etcd: this containerpilot was built without etcd; \
                       use one that was built with it, or `consul` or `directory`\n    \
                       2 |   \"etcd\": {\"endpoints\": \"http://127.0.0.1:1\"}}\n";
const SERVICE: &str = r#""services": [{"name": "app", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 9}]"#;

#[test]
fn a_start_with_etcd_is_refused_before_anything_runs() {
    let (code, program) = Program::run(WITH_ETCD, &["touch", "@/begun"]);
    let stderr = program.stderr();
    assert_eq!(
        (code, stderr.contains(&program.expand(REFUSAL))),
        (1, true),
        "{stderr}"
    );
    assert!(!program.has("begun"));
}

#[test]
fn a_check_of_it_reports_the_same() {
    let program = Program::new();
    program.configure(WITH_ETCD);
    let file = format!("file://{}", program.path("cp.json").display());
    let output = command().args(["-check", "-config", &file]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = program.expand(&format!("error: {REFUSAL}"));
    assert!(
        stderr.starts_with(&expected) && stderr.matches("error:").count() == 1,
        "{stderr}"
    );
    assert_eq!((output.status.code(), output.stdout), (Some(1), vec![]));
}

#[test]
fn a_reload_to_it_reports_the_same_and_changes_nothing() {
    let with_folder = format!(r#"{{"directory": "@/catalogue", {SERVICE}}}"#);
    let mut program = Program::start(&with_folder, &UNTIL_TERM);
    program.until_logged("Service registered: app");
    program.configure(WITH_ETCD);
    program.signal(Signal::SIGHUP);
    program.until_logged("etcd: this containerpilot was built without etcd; use one that was built with it");
    program.configure(&with_folder);
    program.signal(Signal::SIGHUP);
    program.until_logged("Configuration reloaded.");
    let log = program.stdout();
    assert_eq!(log.matches("Service registered").count(), 1, "{log}");
    assert!(!log.contains("deregistered") && !program.has("begun"), "{log}");
    assert_eq!(program.stop(), 0);
}

#[test]
fn its_version_says_that_it_is_without_etcd() {
    let output = command().arg("-version").output().unwrap();
    let expected = concat!("Version: ", env!("CARGO_PKG_VERSION"), "+without-etcd\nGitHash: ");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(expected));
}
