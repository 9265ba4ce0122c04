//! What a service does when its health changes: `onUnhealthy`, `onHealthy` and `exitAfter`.

use crate::agent::{Agent, hostname};
use crate::program::{Program, UNTIL_TERM};
use std::fs;
use std::path::Path;

/// A service that is healthy while the file `healthy` exists, with these keys.
fn start(catalogue: &str, health: &str, keys: &str, application: &[&str]) -> Program {
    let mut program = Program::new();
    program.write("healthy", "");
    program.configure(&format!(
        r#"{{{catalogue}, "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
            "poll": 1, "ttl": 3600, "health": {health}, {keys}}}]}}"#
    ));
    program.launch(application);
    program.until_logged("Service registered: app");
    program
}

const FOLDER: &str = r#""directory": "@/catalogue""#;
const CHECK: &str = r#"["sh", "-c", "echo looked at it; test -e @/healthy"]"#;
const KEYS: &str = r#"
    "onUnhealthy": ["sh", "-c", "echo \"$CONTAINERPILOT_SERVICE $CONTAINERPILOT_HEALTH: $CONTAINERPILOT_REASON\" >>@/unhealthy"],
    "onHealthy": ["sh", "-c", "echo \"$CONTAINERPILOT_SERVICE $CONTAINERPILOT_HEALTH: $CONTAINERPILOT_REASON\" >>@/recovered"]"#;

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

#[test]
fn each_change_of_health_runs_its_command_once_with_the_reason() {
    let mut program = start(FOLDER, CHECK, KEYS, &UNTIL_TERM);
    for times in 1..=2 {
        remove(&program.path("healthy"));
        program.until_lines("unhealthy", times);
        program.write("healthy", "");
        program.until_lines("recovered", times);
    }
    assert_eq!(program.stop(), 0);
    let unhealthy = "app unhealthy: exit status 1: looked at it\n";
    assert_eq!(program.read("unhealthy"), unhealthy.repeat(2));
    assert_eq!(program.read("recovered"), "app healthy: looked at it\n".repeat(2));
}

#[test]
fn with_thresholds_consul_is_critical_and_the_command_runs() {
    let agent = Agent::start();
    let catalogue = format!(r#""consul": "{}""#, agent.address());
    let health = format!(r#"{{"command": {CHECK}, "failures": 2}}"#);
    let program = start(&catalogue, &health, KEYS, &UNTIL_TERM);
    remove(&program.path("healthy"));
    program.until_file("unhealthy");
    let id = format!("app-{}", hostname());
    agent.until_critical(&id);
    program.write("healthy", "");
    program.until_file("recovered");
    agent.until_passing("app", 1);
}

#[test]
fn the_latest_health_counts_while_a_command_runs() {
    let keys = r#""onUnhealthy": ["sh", "-c", "echo >>@/begun; until [ -e @/go ]; do sleep 0.05; done"],
        "onHealthy": "touch @/recovered""#;
    let program = start(FOLDER, CHECK, keys, &UNTIL_TERM);
    remove(&program.path("healthy"));
    program.until_file("begun");
    program.write("healthy", "");
    program.until_logged("Health check of app passes again");
    assert!(!program.has("recovered"), "two at a time");
    program.write("go", "");
    program.until_file("recovered");
    assert_eq!(program.lines("begun"), 1);
}

#[test]
fn so_many_failures_stop_the_shim_with_all_its_steps_and_code_1() {
    for start_as in [Program::launch, Program::launch_as_pid_1] {
        let mut program = Program::new();
        program.configure(&format!(
            r#"{{{FOLDER}, "preStop": "touch @/preStop", "postStop": "touch @/postStop", "drain": "10ms",
                "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 3600,
                    "health": ["sh", "-c", "echo >>@/checks; echo no answer; exit 7"], "exitAfter": 2}}]}}"#
        ));
        start_as(&mut program, &UNTIL_TERM);
        assert_eq!(program.code(), 1);
        let sentence =
            "Health check of app failed 2 times in a row, the shim stops: exit status 7: no answer";
        assert!(program.stdout().contains(sentence), "{}", program.stdout());
        assert!(program.stdout().contains("Draining"), "{}", program.stdout());
        for step in ["preStop", "stopped", "postStop"] {
            assert!(program.has(step), "{step}");
        }
        assert_eq!(program.lines("checks"), 2);
    }
}

#[test]
fn the_exit_code_of_the_application_remains() {
    let application = ["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.02; done"];
    let mut program = start(FOLDER, CHECK, r#""exitAfter": 1"#, &application);
    remove(&program.path("healthy"));
    assert_eq!(program.code(), 9);
}

#[test]
fn a_check_that_prints_anything_gives_its_command_a_valid_reason() {
    let health = r#"["sh", "-c", "test -e @/healthy || { head -c 1000000 /dev/urandom; printf 'x\\000y\\377z'; exit 3; }"]"#;
    let keys =
        r#""onUnhealthy": ["sh", "-c", "printf %s \"$CONTAINERPILOT_REASON\" >@/part; mv @/part @/reason"]"#;
    let program = start(FOLDER, health, keys, &UNTIL_TERM);
    remove(&program.path("healthy"));
    program.until_file("reason");
    let reason = fs::read(program.path("reason")).unwrap();
    let text = String::from_utf8(reason).expect("it is UTF-8");
    assert!(text.len() <= 1024, "{}", text.len());
    assert!(text.starts_with("exit status 3: …"), "{text:?}");
    assert!(text.ends_with("x\u{FFFD}y\u{FFFD}z"), "{text:?}");
}
