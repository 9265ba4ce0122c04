//! The drain: how long the application goes on after its services left a real Consul, and what ends it early.
//!
//! The application is a second shim, whose telemetry is the server that clients use.

use crate::agent::Agent;
use crate::http::get;
use crate::loopback::OwnAddress;
use crate::program::{Program, UNTIL_TERM, binary};
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// How much later than planned something may happen on a busy machine.
const LATE: Duration = Duration::from_secs(5);

/// Starts the program with this drain and an application that serves requests, registered in Consul.
fn serving(agent: &Agent, own: &OwnAddress, drain: &str) -> Program {
    let mut program = Program::new();
    let (ip, port) = (own.ip(), own.socket().port());
    program.configure(&format!(
        r#"{{"consul": "{}", "drain": "{drain}", "preStop": "touch @/preStop", "services": [
            {{"name": "app", "port": {port}, "interfaces": "static:{ip}", "poll": 1, "ttl": 60}}]}}"#,
        agent.address()
    ));
    let server = format!(
        r#"{{"directory": "@/other", "telemetry": {{"port": {port}, "interfaces": "static:{ip}"}}}}"#
    );
    program.write("app.json", &program.expand(&server));
    program.launch(&[&binary().display().to_string(), "-config", "file://@/app.json"]);
    agent.until_passing("app", 1);
    until(SOON, || "the application serves".into(), || serves(own));
    program
}

fn serves(own: &OwnAddress) -> bool {
    get(&own.socket().to_string(), "/metrics").is_some_and(|answer| answer.status == 200)
}

fn left(agent: &Agent) -> bool {
    agent.get("/v1/agent/services") == serde_json::json!({})
}

#[test]
fn requests_are_served_until_the_end_of_the_drain_after_the_service_left_consul() {
    let (agent, own) = (Agent::start(), OwnAddress::reserve());
    let mut program = serving(&agent, &own, "3s");
    let signalled = Instant::now();
    program.signal(Signal::SIGTERM);
    let mut served = 0;
    until(
        SOON,
        || "the service left".into(),
        || {
            assert!(serves(&own), "the application is stopped before its service left");
            left(&agent)
        },
    );
    let deregistered = Instant::now();
    while deregistered.elapsed() < SOON && serves(&own) {
        served += 1;
        assert!(left(&agent), "the service came back");
    }
    let refused = Instant::now();
    assert!(served > 0);
    assert!(
        refused - signalled >= Duration::from_secs(3),
        "the drain is too short"
    );
    assert!(
        refused - deregistered < Duration::from_secs(3) + LATE,
        "the drain is too long"
    );
    assert_eq!(program.code(), 0);
    program.until_logged("Draining: the application goes on for 3s");
    assert!(program.has("preStop"));
}

#[test]
fn a_second_signal_ends_the_drain_and_sighup_does_not() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let (agent, own) = (Agent::start(), OwnAddress::reserve());
        let mut program = serving(&agent, &own, "1h");
        program.signal(Signal::SIGTERM);
        program.until_logged("Draining: the application goes on for 1h");
        program.signal(Signal::SIGHUP);
        program.until_logged("Ignoring SIGHUP");
        assert!(serves(&own) && !program.has("preStop"));
        program.signal(second);
        assert_eq!(program.code(), 0);
        assert!(program.has("preStop"));
        let sentence = format!(
            "{} came again: the stop continues without draining",
            second.as_str()
        );
        assert!(program.stdout().contains(&sentence), "{}", program.stdout());
    }
}

#[test]
fn an_application_that_ends_ends_the_drain_with_its_code() {
    for start in [Program::start, Program::start_as_pid_1] {
        let config = r#"{"directory": "@/catalogue", "drain": "1h", "postStop": "touch @/postStop"}"#;
        let application = "touch @/up; until [ -e @/end ]; do sleep 0.02; done; exit 4";
        let mut program = start(config, &["sh", "-c", application]);
        program.until_file("up");
        program.signal(Signal::SIGTERM);
        program.until_logged("Draining");
        program.write("end", "");
        assert_eq!((program.code(), program.has("postStop")), (4, true));
    }
}

#[test]
fn without_an_application_there_is_no_drain() {
    let coprocess = r#"[{"command": ["sh", "-c", "touch @/up; exec sleep 1000"]}]"#;
    let config = format!(r#"{{"directory": "@/catalogue", "drain": "1h", "coprocesses": {coprocess}}}"#);
    let mut program = Program::start(&config, &[]);
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
}

#[test]
fn the_drain_is_shown_in_the_status() {
    let own = OwnAddress::reserve();
    let (ip, port) = (own.ip(), own.socket().port());
    let config = format!(
        r#"{{"directory": "@/catalogue", "drain": "1h",
            "telemetry": {{"port": {port}, "interfaces": "static:{ip}"}}}}"#
    );
    let mut program = Program::start(&config, &UNTIL_TERM);
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    program.until("the phase is draining", |_| {
        let status = get(&own.socket().to_string(), "/status");
        status.is_some_and(|status| status.body.contains(r#""phase":"draining""#))
    });
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
}
