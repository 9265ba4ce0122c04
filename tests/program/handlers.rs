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

/// The list that the handler of a backend read, once it has so many instances.
fn list_read(program: &Program, count: usize) -> Vec<serde_json::Value> {
    let list = || serde_json::from_str(&program.read("list")).unwrap_or_default();
    program.until("the handler read the list", |_| {
        let list: Vec<serde_json::Value> = list();
        list.len() == count
    });
    list()
}

const READER: &str = r#""stdin": "json", "onChange": ["sh", "-c", "cat > @/new; mv @/new @/list"]"#;

fn start_reader(catalogue: &str) -> Program {
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{{catalogue}, "backends": [{{"name": "db", "poll": 1, {READER}}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    program
}

#[test]
fn a_handler_of_consul_reads_what_consul_says() {
    let agent = Agent::start();
    for port in [2, 1] {
        let id = format!("db-{port}");
        let body = json!({"Name": "db", "ID": id, "Address": "192.0.2.7", "Port": port, "Tags": ["blue", "a \"b\""],
            "Meta": {"zone": "b"}, "Check": {"TTL": "1h", "Status": "passing"}});
        agent.put("/v1/agent/service/register", &body.to_string());
    }
    let program = start_reader(&format!(r#""consul": "{}""#, agent.address()));
    let list = list_read(&program, 2);
    let consul = agent.passing("db");
    for (entry, id) in list.iter().zip(["db-1", "db-2"]) {
        let theirs = consul.iter().find(|theirs| theirs["Service"]["ID"] == id);
        let theirs = theirs.expect("Consul has it");
        for member in ["ID", "Service", "Tags", "Address", "Port", "Meta"] {
            assert_eq!(entry["Service"][member], theirs["Service"][member], "{member}");
        }
        for member in ["Node", "Address"] {
            assert_eq!(entry["Node"][member], theirs["Node"][member], "{member}");
        }
        let (ours, theirs) = (
            entry["Checks"].as_array().unwrap(),
            theirs["Checks"].as_array().unwrap(),
        );
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            for member in ["Node", "CheckID", "Name", "Status", "ServiceID", "ServiceName"] {
                assert_eq!(ours[member], theirs[member], "{member}");
            }
        }
    }
    agent.deregister("db-1");
    assert_eq!(list_read(&program, 1)[0]["Service"]["ID"], "db-2");
    agent.deregister("db-2");
    list_read(&program, 0);
    assert_eq!(program.read("list"), "[]\n");
}

#[test]
fn a_handler_of_the_folder_reads_the_list_and_a_handler_that_does_not_read_delays_nothing() {
    let program = start_reader(r#""directory": "@/catalogue""#);
    enter(&program, "db-1", 1);
    let expected = json!({
        "Node": {"Node": "", "Address": "192.0.2.7"},
        "Service": {"ID": "db-1", "Service": "db", "Tags": [], "Address": "192.0.2.7", "Port": 1, "Meta": {}},
        "Checks": []
    });
    assert_eq!(list_read(&program, 1), [expected]);
    let mut other = Program::new();
    other.configure(
        r#"{"directory": "@/catalogue", "backends": [{"name": "db", "poll": 1, "stdin": "json",
            "onChange": ["sh", "-c", "echo x >> @/runs; exec sleep 600"]}]}"#,
    );
    other.launch(&UNTIL_TERM);
    for number in 0..2_000 {
        enter(&other, &format!("db-{number}"), number);
    }
    other.until_lines("runs", 1);
    assert_eq!(other.stop(), 0);
}
