//! Services with several checks, and checks with intervals of their own, as an operator sees them.

use crate::agent::{Agent, hostname};
use crate::http::get;
use crate::loopback::OwnAddress;
use crate::program::{Program, UNTIL_TERM};
use crate::schema::assert_is_status;
use std::fs;

const FOLDER: &str = r#""directory": "@/catalogue""#;

/// A service with a check `one` every 200 ms and a check `two` at each poll, which pass while the files `one` and `two`
/// exist; `two` and the service have these further keys. Each run of `two` is a line of the file `runs`.
fn config(catalogue: &str, keys: &str, further: &str) -> String {
    format!(
        r#"{{{catalogue}, "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
            "poll": 1, "ttl": 3600 {further}, "checks": [
                {{"name": "one", "command": "test -e @/one", "interval": "200ms"}},
                {{"name": "two", "command": ["sh", "-c", "echo >>@/runs; echo looked; test -e @/two"] {keys}}}]}}]}}"#
    )
}

fn start(config: &str) -> Program {
    let mut program = Program::new();
    program.write("one", "");
    program.write("two", "");
    program.configure(config);
    program.launch(&UNTIL_TERM);
    program
}

fn remove(program: &Program, file: &str) {
    fs::remove_file(program.path(file)).unwrap();
}

/// The text of the entry in the folder, if there is one.
fn entry(program: &Program) -> Option<String> {
    let folder = fs::read_dir(program.path("catalogue/app"));
    let mut files = folder.into_iter().flatten().flatten();
    let file = files.find(|file| file.path().extension().is_some_and(|end| end == "json"))?;
    fs::read_to_string(file.path()).ok()
}

#[test]
fn while_one_of_two_checks_fails_the_folder_gets_no_heartbeat() {
    let mut program = start(&config(FOLDER, "", ""));
    program.until_logged("Service registered: app");
    let first = entry(&program);
    program.until("a heartbeat renews the entry", |program| entry(program) != first);
    remove(&program, "one");
    program.until_logged("Health check one of app does not pass any more: exit status 1");
    let last = entry(&program);
    let runs = program.lines("runs");
    program.until_lines("runs", runs + 3);
    assert_eq!(
        entry(&program),
        last,
        "the other check goes on, and no heartbeat is sent"
    );
    program.write("one", "");
    program.until_logged("Health check one of app passes again");
    program.until("a heartbeat renews the entry", |program| entry(program) != last);
    assert!(!program.stdout().contains("Health check of app"));
    assert_eq!(program.stop(), 0);
}

#[test]
fn consul_gets_critical_with_the_name_of_the_check_that_fails() {
    let agent = Agent::start();
    let catalogue = format!(r#""consul": "{}""#, agent.address());
    let program = start(&config(&catalogue, r#", "failures": 2"#, ""));
    agent.until_passing("app", 1);
    let id = format!("app-{}", hostname());
    agent.until_output(&id, "one: ok\ntwo: looked");
    remove(&program, "two");
    agent.until_critical(&id);
    assert_eq!(agent.output(&id), "two: exit status 1: looked");
    program.write("two", "");
    agent.until_passing("app", 1);
    assert_eq!(program.stdout().matches("Service registered").count(), 1);
}

#[test]
fn a_command_for_a_change_of_health_gets_the_name_of_the_check_and_the_status_has_all_of_them() {
    let own = OwnAddress::reserve();
    let (ip, port) = (own.ip(), own.socket().port());
    let catalogue = format!(r#"{FOLDER}, "telemetry": {{"port": {port}, "interfaces": "static:{ip}"}}"#);
    let command = r#", "onUnhealthy": ["sh", "-c", "echo $CONTAINERPILOT_REASON >@/reason.new; mv @/reason.new @/reason"]"#;
    let text = config(&catalogue, "", command);
    let mut program = start(&text);
    program.until_logged("Service registered: app");
    remove(&program, "two");
    program.until_file("reason");
    assert_eq!(program.read("reason"), "two: exit status 1: looked\n");
    let status = get(&own.socket().to_string(), "/status").expect("an answer").body;
    assert_is_status(&status);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let service = &status["services"][0];
    assert_eq!(service["health"], "unhealthy");
    assert_eq!(service["check"], serde_json::Value::Null);
    let checks = service["checks"].as_array().unwrap();
    let found: Vec<_> = checks
        .iter()
        .map(|check| {
            (
                check["name"].as_str().unwrap(),
                check["interval_seconds"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [("one", 0.2), ("two", 1.0)]);
    assert_eq!(
        (&checks[0]["health"], &checks[1]["health"]),
        (&"healthy".into(), &"unhealthy".into())
    );
    assert_eq!(checks[1]["last"]["exit_code"], 1);
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_single_check_with_a_long_interval_is_followed_by_heartbeats_at_each_poll() {
    let mut program = Program::new();
    program.configure(
        r#"{"directory": "@/catalogue", "services": [{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
            "poll": 1, "ttl": 3, "health": {"command": ["sh", "-c", "echo >>@/runs"], "interval": "1h"}}]}"#,
    );
    program.launch(&UNTIL_TERM);
    program.until_logged("Service registered: app");
    for _ in 0..3 {
        let before = entry(&program);
        program.until("a heartbeat renews the entry", |program| entry(program) != before);
    }
    assert_eq!(program.lines("runs"), 1);
    assert_eq!(program.stop(), 0);
}
