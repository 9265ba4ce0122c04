//! When handlers run and what they get, with a real Consul and with a folder.

use crate::agent::Agent;
use crate::program::{Program, UNTIL_TERM};
use serde_json::json;
use std::fs;

/// Adds a line to the file `runs` with what it gets, and fails while the file `fails` exists.
const HANDLER: &str = "echo $CONTAINERPILOT_BACKEND: $CONTAINERPILOT_INSTANCES +$CONTAINERPILOT_ADDED \
    -$CONTAINERPILOT_REMOVED >> @/runs; ! test -e @/fails";

/// A backend `db` with these members.
fn start(catalogue: &str, members: &str) -> Program {
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{{catalogue}, "logging": {{"level": "debug"}}, "backends": [{{"name": "db", "poll": 1, {members},
            "onChange": ["sh", "-c", "{HANDLER}"]}}]}}"#
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

/// The line of the last run, once there are so many.
fn run_number(program: &Program, count: usize) -> String {
    program.until_lines("runs", count);
    program.read("runs").lines().last().unwrap_or_default().into()
}

#[test]
fn a_handler_of_the_folder_gets_what_has_changed_since_its_last_success() {
    let program = start(r#""directory": "@/catalogue""#, r#""tag": """#);
    enter(&program, "db-1", 1);
    let first = "db: 192.0.2.7:1 +192.0.2.7:1 -";
    assert_eq!(run_number(&program, 1), first);
    program.write("fails", "");
    enter(&program, "db-2", 2);
    let second = "db: 192.0.2.7:1 192.0.2.7:2 +192.0.2.7:2 -";
    assert_eq!(run_number(&program, 2), second);
    program.until_logged("db.onChange exited with error: exit status 1");
    fs::remove_file(program.path("catalogue/db/db-1.json")).unwrap();
    assert_eq!(
        run_number(&program, 3),
        "db: 192.0.2.7:2 +192.0.2.7:2 -192.0.2.7:1"
    );
    program.until("the third run ends", |program| {
        program.stdout().matches("db.onChange exited with error").count() == 2
    });
    fs::remove_file(program.path("fails")).unwrap();
    enter(&program, "db-3", 3);
    let fourth = "db: 192.0.2.7:2 192.0.2.7:3 +192.0.2.7:2 192.0.2.7:3 -192.0.2.7:1";
    assert_eq!(run_number(&program, 4), fourth);
    program.until_logged("db.onChange exited: exit status 0");
    enter(&program, "db-4", 4);
    let fifth = "db: 192.0.2.7:2 192.0.2.7:3 192.0.2.7:4 +192.0.2.7:4 -";
    assert_eq!(run_number(&program, 5), fifth);
}

#[test]
fn a_handler_of_consul_gets_what_has_changed() {
    let agent = Agent::start();
    let program = start(&format!(r#""consul": "{}""#, agent.address()), r#""tag": """#);
    agent.register("db", "db-1", 1);
    assert!(
        run_number(&program, 1).ends_with(":1 -"),
        "{}",
        program.read("runs")
    );
    agent.register("db", "db-2", 2);
    let second = run_number(&program, 2);
    let words: Vec<&str> = second.split(' ').collect();
    assert_eq!(words.len(), 5, "{second}");
    assert!(words[1].ends_with(":1") && words[2].ends_with(":2") && words[3] == format!("+{}", words[2]));
}
