//! Health checks with thresholds, as an operator sees them in Consul, in the folder and in the log.

use crate::agent::{Agent, hostname};
use crate::program::{Program, UNTIL_TERM};
use std::fs;

/// A service that is healthy while the file `healthy` exists, with a TTL that no test waits for. Its check has these
/// thresholds.
fn start(catalogue: &str, thresholds: &str) -> Program {
    let mut program = Program::new();
    program.write("healthy", "");
    program.configure(&format!(
        r#"{{{catalogue}, "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
            "poll": 1, "ttl": 3600, "health": {{"command": ["sh", "-c", "echo looked; test -e @/healthy"], {thresholds}}}}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    program
}

fn remove(program: &Program, file: &str) {
    fs::remove_file(program.path(file)).unwrap();
}

#[test]
fn consul_gets_critical_with_the_output_long_before_the_ttl_ends() {
    let agent = Agent::start();
    let program = start(&format!(r#""consul": "{}""#, agent.address()), r#""failures": 2"#);
    agent.until_passing("app", 1);
    let id = format!("app-{}", hostname());
    agent.until_output(&id, "looked");
    remove(&program, "healthy");
    agent.until_critical(&id);
    assert_eq!(agent.output(&id), "exit status 1: looked");
    program.until_logged("Health check of app failed, 1 of 2 times in a row: exit status 1");
    program.until_logged("Health check of app does not pass any more: exit status 1");
    program.write("healthy", "");
    agent.until_passing("app", 1);
    program.until_logged("Health check of app passes again");
    assert_eq!(program.stdout().matches("Service registered").count(), 1);
}

#[test]
fn the_folder_has_no_entry_while_the_service_is_unhealthy() {
    let mut program = start(
        r#""directory": "@/catalogue""#,
        r#""failures": 1, "successes": 2"#,
    );
    program.until_logged("Service registered: app");
    let entries = |program: &Program| {
        let folder = fs::read_dir(program.path("catalogue/app"));
        let files = folder.into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|end| end == "json"))
            .count()
    };
    assert_eq!(entries(&program), 1);
    remove(&program, "healthy");
    program.until("the entry is gone", |program| entries(program) == 0);
    program.write("healthy", "");
    program.until("the entry is back", |program| entries(program) == 1);
    program.until("the second registration is logged", |program| {
        program.stdout().matches("Service registered").count() == 2
    });
    assert_eq!(program.stop(), 0);
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    let program = start(
        r#""directory": "@/catalogue""#,
        r#""failures": 1, "startPeriod": "1h""#,
    );
    program.until_logged("Service registered: app");
    remove(&program, "healthy");
    program.until_logged("Health check of app does not pass any more");
    let mut slow = Program::new();
    slow.configure(
        r#"{"directory": "@/catalogue", "services": [{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
            "poll": 1, "ttl": 3, "health": {"command": "test -e @/healthy", "failures": 1, "startPeriod": "1h"}}]}"#,
    );
    slow.launch(&UNTIL_TERM);
    slow.until_logged("Health check of app failed in its start period: exit status 1");
    slow.write("healthy", "");
    slow.until_logged("Service registered: app");
    assert!(!slow.stdout().contains("does not pass any more"));
}
