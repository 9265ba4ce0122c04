//! The shim with an application and a real etcd, from registration to deregistration; the server restarts, loses its
//! data, stops answering or does not exist. Each test has a server of its own.

use crate::agent::hostname;
use crate::etcd_server::{Server, folder_of_certificates};
use crate::loopback::OwnAddress;
use crate::program::{Program, UNTIL_TERM, in_namespaces};
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// One service that is healthy while the file `healthy` exists; its checks are counted. A request may take as
/// long as `poll`, because a busy machine needs that.
fn service(endpoints: &[&str]) -> String {
    let endpoints = serde_json::json!(endpoints);
    format!(
        r#"{{"etcd": {{"endpoints": {endpoints}}}, "logging": {{"level": "debug"}},
            "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7", "poll": 2, "ttl": 6,
                          "tags": ["blue", "v2"],
                          "health": ["sh", "-c", "echo check >> @/checks; test -e @/healthy"]}}]}}"#
    )
}

fn started(config: &str) -> Program {
    let mut program = Program::new();
    program.write("healthy", "");
    program.configure(config);
    program.launch(&UNTIL_TERM);
    program
}

/// The key and the value of the service.
fn entry() -> [String; 2] {
    let id = format!("app-{}", hostname());
    [
        format!("/containerpilot/app/{id}/service"),
        format!(r#"{{"id":"{id}","name":"app","address":"192.0.2.7","port":8000,"tags":["blue","v2"]}}"#),
    ]
}

fn until_there(server: &Server) {
    let failed = || format!("the entry is there, not {:?}", server.everything());
    until(SOON, failed, || server.everything() == entry());
}

fn until_gone(server: &Server) {
    let failed = || format!("nothing is there, not {:?}", server.everything());
    until(SOON, failed, || server.everything().is_empty());
}

/// Waits for this number of further checks.
fn until_checked(program: &Program, more: usize) {
    let count = |program: &Program| program.read("checks").lines().count();
    let before = count(program);
    program.until("checks go on", |program| count(program) >= before + more);
}

/// Checks that no heartbeat has failed so far.
fn has_failed_nowhere(program: &Program) {
    let log = program.stdout();
    assert!(
        !log.contains("failed") && !log.contains("not registered: no"),
        "{log}"
    );
}

fn the_entry_has_its_key_and_value_and_goes_when_the_check_fails(version: &'static str) {
    let server = Server::start(version);
    let mut program = started(&service(&[&server.url()]));
    until_there(&server);
    until_checked(&program, 5);
    assert_eq!(server.everything(), entry(), "heartbeats keep it");
    std::fs::remove_file(program.path("healthy")).unwrap();
    until_gone(&server);
    program.write("healthy", "");
    until_there(&server);
    has_failed_nowhere(&program);
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert_eq!(
        server.everything(),
        [""; 0],
        "gone before the application gets SIGTERM"
    );
    assert_eq!(program.code(), 0);
}

#[test]
fn the_entry_in_etcd_3_4_has_its_key_and_value_and_goes_when_the_check_fails() {
    the_entry_has_its_key_and_value_and_goes_when_the_check_fails("3.4");
}

#[test]
fn the_entry_in_etcd_3_5_has_its_key_and_value_and_goes_when_the_check_fails() {
    the_entry_has_its_key_and_value_and_goes_when_the_check_fails("3.5");
}

#[test]
fn a_file_of_the_original_works() {
    let server = Server::start("3.5");
    let url = server.url();
    let program = started(&format!(
        r#"{{"etcd": {{"endpoints": "{url}", "prefix": "/containerpilot"}},
            "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7", "tags": ["blue", "v2"],
                          "poll": 1, "ttl": 3, "health": "true"}}]}}"#
    ));
    until_there(&server);
    drop(program);
    until_gone(&server);
}

#[test]
fn a_server_that_lost_its_data_gets_the_registration_again() {
    let server = Server::start("3.5");
    let program = started(&service(&[&server.url()]));
    until_there(&server);
    server.ctl(&["del", "--prefix", ""]);
    program.until_logged(&format!("{}: there is no entry", entry()[0]));
    until_there(&server);
    server.ctl(&["put", &entry()[0], "something else"]);
    program.until_logged("the entry is another one");
    until_there(&server);
}

#[test]
fn after_the_server_was_killed_and_started_again_heartbeats_succeed() {
    let mut server = Server::start("3.5");
    let watched = service(&[&server.url()]).replace(
        r#""services""#,
        r#""backends": [{"name": "db", "poll": 5, "onChange": ["sh", "-c", "echo x >> @/changes"]}], "services""#,
    );
    let program = started(&watched);
    until_there(&server);
    server.stop();
    until_checked(&program, 2);
    program.until_logged("refused");
    server.start_again();
    server.ctl(&["put", "/containerpilot/db/db-1/service", &db(1)]);
    program.until_file("changes");
    server.ctl(&["del", "--prefix", "/containerpilot/"]);
    until_there(&server);
}

#[test]
fn a_frozen_server_delays_sigterm_by_two_seconds_at_most() {
    let server = Server::start("3.5");
    let mut program = started(&service(&[&server.url()]));
    until_there(&server);
    server.freeze();
    let before = Instant::now();
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    let delay = before.elapsed();
    assert!(delay < Duration::from_millis(2_900), "{delay:?}");
    assert_eq!(program.code(), 0);
}

#[test]
fn a_dead_and_a_frozen_endpoint_beside_a_live_one_cost_no_heartbeat() {
    let server = Server::start("3.5");
    let (unused, silent) = (OwnAddress::reserve(), OwnAddress::reserve());
    let dead = format!("http://{}", unused.socket());
    let _listens = TcpListener::bind(silent.socket()).unwrap();
    let frozen = format!("http://{}", silent.socket());
    let program = started(&service(&[&dead, &frozen, &server.url()]));
    until_there(&server);
    until_checked(&program, 5);
    assert_eq!(server.everything(), entry());
    has_failed_nowhere(&program);
}

#[test]
fn a_name_whose_other_addresses_accept_and_say_nothing_costs_no_heartbeat() {
    let server = Server::start("3.5");
    let authority = server.url().replace("http://", "");
    let (live, port) = authority.split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let silent = [OwnAddress::reserve(), OwnAddress::reserve()];
    let listeners = silent
        .each_ref()
        .map(|own| TcpListener::bind(own.at(port)).unwrap());
    let mut program = Program::new();
    program.write("healthy", "");
    let hosts = format!(
        "{} etcd.test\n{live} etcd.test\n{} etcd.test\n",
        silent[0].ip(),
        silent[1].ip()
    );
    program.write("hosts", &hosts);
    program.configure(&service(&[&format!("http://etcd.test:{port}")]));
    let hosts = program.path("hosts");
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let words = ["sh", "-c", &script, "sh"];
    let mut command = in_namespaces(&["--mount"], &words, &program.command(&UNTIL_TERM));
    program.spawn(&mut command);
    until_there(&server);
    until_checked(&program, 4);
    assert_eq!(server.everything(), entry());
    has_failed_nowhere(&program);
    let tried = listeners.iter().filter(|listener| {
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_ok()
    });
    assert!(tried.count() > 0, "the silent ones were tried");
}

#[test]
fn rotated_files_of_tls_come_into_force_with_a_reload() {
    let own = OwnAddress::reserve();
    let folder = folder_of_certificates(&own);
    let server = Server::start_secured("3.5", own, &folder);
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(file("other-agent-ca.pem"), file("in-use.pem")).unwrap();
    let tls = serde_json::json!({
        "cafile": file("in-use.pem"),
        "clientcert": file("dc1-client-consul-0.pem"),
        "clientkey": file("dc1-client-consul-0-key.pem"),
    });
    let config =
        service(&[&server.url()]).replace(r#""]}, "logging""#, &format!(r#""], "tls": {tls}}}, "logging""#));
    let program = started(&config);
    program.until_logged("invalid peer certificate");
    std::fs::copy(file("consul-agent-ca.pem"), file("in-use.pem")).unwrap();
    program.signal(Signal::SIGHUP);
    program.until_logged("Service registered: app");
}

fn db(port: u16) -> String {
    format!(r#"{{"id":"db-{port}","name":"db","address":"192.0.2.9","port":{port}}}"#)
}

#[test]
fn on_change_runs_on_arrival_and_departure_long_before_the_next_poll() {
    let server = Server::start("3.5");
    let url = server.url();
    let program = Program::start(
        &format!(
            r#"{{"etcd": {{"endpoints": "{url}"}},
                "backends": [{{"name": "db", "poll": 4, "onChange": ["sh", "-c", "echo x >> @/changes"]}}]}}"#
        ),
        &UNTIL_TERM,
    );
    let changes = |program: &Program| program.read("changes").lines().count();
    server.ctl(&["put", "/containerpilot/db/db-1/service", &db(1)]);
    program.until("the first look finds it", |program| changes(program) == 1);
    let before = Instant::now();
    server.ctl(&["put", "/containerpilot/db/db-2/service", &db(2)]);
    program.until("an arrival is handled", |program| changes(program) == 2);
    server.ctl(&["del", "/containerpilot/db/db-1/service"]);
    program.until("a departure is handled", |program| changes(program) == 3);
    server.ctl(&["put", "/containerpilot/db/db-2/service", "no JSON"]);
    program.until("an entry that is none any more is handled", |program| {
        changes(program) == 4
    });
    assert!(
        before.elapsed() < Duration::from_secs(8),
        "{:?}",
        before.elapsed()
    );
    let skipped = "the value of /containerpilot/db/db-2/service is not an instance";
    program.until_logged(skipped);
    assert_eq!(
        program.stdout().matches(skipped).count(),
        1,
        "{}",
        program.stdout()
    );
}

#[test]
fn after_a_reload_an_unchanged_entry_is_the_same_and_is_deregistered_at_the_stop() {
    let server = Server::start("3.5");
    let mut program = started(&service(&[&server.url()]));
    until_there(&server);
    let lease = || server.ctl(&["get", &entry()[0], "--write-out=json"]);
    let before = lease();
    program.signal(Signal::SIGHUP);
    until_checked(&program, 4);
    let version = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap()["kvs"][0].clone();
    assert_eq!(version(&lease()), version(&before));
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert_eq!(server.everything(), [""; 0]);
    assert_eq!(program.code(), 0);
}
