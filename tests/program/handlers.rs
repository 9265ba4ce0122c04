//! When handlers run and what they get, with a real Consul and with a folder.

use crate::agent::Agent;
use crate::program::{Program, UNTIL_TERM};
use serde_json::json;
use std::fs;

/// A backend `db` with these members, whose handler adds a line to the file `runs`.
fn start(catalogue: &str, members: &str) -> Program {
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{{catalogue}, "logging": {{"level": "debug"}}, "backends": [{{"name": "db", "poll": 1, {members},
            "onChange": ["sh", "-c", "echo run >> @/runs"]}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    program
}

/// Registers an instance in the folder, as another shim does, for an hour.
fn enter(program: &Program, id: &str, port: u16) {
    let folder = program.path("catalogue/db");
    fs::create_dir_all(&folder).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let expires = json!({"boot": boot.trim(), "milliseconds_since_boot": u64::MAX / 2});
    let entry = json!({"id": id, "name": "db", "address": "192.0.2.7", "port": port, "tags": [],
        "ttl_milliseconds": 3_600_000, "expires": expires});
    let name = format!("{id}.json");
    let hidden = folder.join(format!(".{name}.new"));
    fs::write(&hidden, entry.to_string()).unwrap();
    fs::rename(hidden, folder.join(name)).unwrap();
}

fn runs(program: &Program) -> usize {
    program.read("runs").lines().count()
}

#[test]
fn changes_within_the_quiet_time_run_a_handler_of_consul_once() {
    let agent = Agent::start();
    let program = start(
        &format!(r#""consul": "{}""#, agent.address()),
        r#""wait": "2s:1m""#,
    );
    for port in 1..=3 {
        agent.register("db", &format!("db-{port}"), port);
        let seen = format!("Backend db changed: {port} passing instances");
        program.until_logged(&seen);
    }
    program.until("the handler ran", |program| runs(program) > 0);
    agent.deregister("db-1");
    program.until_logged("Backend db changed: 2 passing instances");
    program.until("the handler ran again", |program| runs(program) == 2);
}

#[test]
fn with_too_few_instances_a_handler_of_the_folder_is_held_back() {
    let program = start(
        r#""directory": "@/catalogue""#,
        r#""minimum": 2, "splay": "500ms""#,
    );
    enter(&program, "db-1", 1);
    program.until_logged("db.onChange waits for more instances: there are 1, the minimum is 2");
    assert_eq!(runs(&program), 0);
    enter(&program, "db-2", 2);
    program.until("the handler ran", |program| runs(program) == 1);
    fs::remove_file(program.path("catalogue/db/db-1.json")).unwrap();
    program.until("it is held back again", |program| {
        program.stdout().matches("waits for more instances").count() == 2
    });
    assert_eq!(runs(&program), 1);
}
