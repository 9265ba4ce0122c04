//! What is registered besides version 2, and which instances count, with a real Consul 1.8.7.

use crate::agent::Agent;
use crate::program::{Program, UNTIL_TERM};
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

/// A service with these members.
fn service(agent: &Agent, members: &str) -> String {
    let address = agent.address();
    format!(
        r#"{{"consul": "{address}", "services": [{{"name": "app", "port": 8000, "poll": 1, "ttl": 30, {members}}}]}}"#
    )
}

fn entry(agent: &Agent) -> Value {
    agent
        .passing("app")
        .first()
        .map_or(Value::Null, |entry| entry["Service"].clone())
}

#[test]
fn consul_gets_pairs_weights_tagged_addresses_and_a_host_name_and_a_reload_registers_them_anew() {
    let agent = Agent::start();
    let mut program = Program::new();
    program.configure(&service(
        &agent,
        r#""address": "app.example", "id": "app-7", "meta": {"version": "1"}, "weights": {"passing": 10, "warning": 2},
           "taggedAddresses": {"lan": {"address": "192.0.2.7"}, "wan": {"address": "203.0.113.7", "port": 80}}"#,
    ));
    program.launch(&UNTIL_TERM);
    agent.until_passing("app", 1);
    let service_entry = entry(&agent);
    assert_eq!(
        (&service_entry["ID"], &service_entry["Address"]),
        (&json!("app-7"), &json!("app.example"))
    );
    assert_eq!(service_entry["Meta"], json!({"version": "1"}));
    assert_eq!(service_entry["Weights"], json!({"Passing": 10, "Warning": 2}));
    let tagged = &service_entry["TaggedAddresses"];
    assert_eq!(tagged["lan"], json!({"Address": "192.0.2.7", "Port": 8000}));
    assert_eq!(tagged["wan"], json!({"Address": "203.0.113.7", "Port": 80}));
    program.configure(&service(
        &agent,
        r#""address": "192.0.2.8", "id": "app-7", "meta": {"version": "2"}, "weights": {"passing": 5}"#,
    ));
    program.signal(Signal::SIGHUP);
    until(
        SOON,
        || format!("the new entry is there, not {}", entry(&agent)),
        || entry(&agent)["Meta"] == json!({"version": "2"}),
    );
    assert_eq!(entry(&agent)["Address"], "192.0.2.8");
    assert_eq!(entry(&agent)["Weights"], json!({"Passing": 5, "Warning": 1}));
}

/// A backend with these members, whose handler writes the instances to the file `seen`.
fn watching(agent: &Agent, members: &str) -> Program {
    let address = agent.address();
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{"consul": "{address}", "backends": [{{"name": "db", "poll": 1, {members},
            "onChange": ["sh", "-c", "echo $CONTAINERPILOT_INSTANCES > @/new; mv @/new @/seen"]}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    program
}

fn enter(agent: &Agent, id: &str, port: u16, status: &str, tags: &[&str]) {
    let check = json!({"TTL": "1h", "Status": status});
    let body =
        json!({"Name": "db", "ID": id, "Address": "192.0.2.7", "Port": port, "Tags": tags, "Check": check});
    agent.put("/v1/agent/service/register", &body.to_string());
}

#[test]
fn backends_select_by_state_tags_and_datacenter() {
    let agent = Agent::start();
    enter(&agent, "db-1", 1, "passing", &["blue", "v2"]);
    enter(&agent, "db-2", 2, "critical", &["blue", "v2"]);
    enter(&agent, "db-3", 3, "passing", &["blue"]);
    let seen = |members: &str, expected: &str| {
        let program = watching(&agent, members);
        program.until("the instances are those that count", |program| {
            program.read("seen").trim() == expected
        });
    };
    seen(r#""passing": false"#, "192.0.2.7:1 192.0.2.7:2 192.0.2.7:3");
    seen(r#""tags": ["v2", "blue"], "datacenter": "dc1""#, "192.0.2.7:1");
    seen(
        r#""tag": "blue", "tags": ["v2"], "passing": false"#,
        "192.0.2.7:1 192.0.2.7:2",
    );
    let program = watching(&agent, r#""datacenter": "dc9""#);
    program.until_logged("Failed to query db: ");
    program.until_logged("No path to datacenter");
}

#[test]
fn a_token_file_that_changed_is_read_again_after_a_refusal() {
    let acl =
        r#"acl { enabled = true, default_policy = "deny", tokens { master = "root", agent = "root" } }"#;
    let agent = Agent::start_with(&[acl], "root");
    let mut program = Program::new();
    let write = |program: &Program, token: &str| {
        program.write("token.new", token);
        fs::rename(program.path("token.new"), program.path("token")).unwrap();
    };
    write(&program, "a-token-that-is-unknown\n");
    let address = agent.address();
    program.configure(&format!(
        r#"{{"consul": {{"address": "{address}", "tokenFile": "@/token"}},
            "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 30}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    program.until_logged("Service registration failed: ");
    write(&program, "root\n");
    agent.until_passing("app", 1);
    fs::remove_file(program.path("token")).unwrap();
    program.signal(Signal::SIGHUP);
    program.until_logged("the file of the Consul token, ");
    assert!(!program.stdout().contains("a-token-that-is-unknown"));
    agent.until_passing("app", 1);
}
