//! Process 1 of a container that may do little: a read-only root, a user without an entry, no capabilities, no new
//! privileges, and Docker's own seccomp profile; and `docker exec` at its end.

use crate::machine::Machine;
use crate::network::Network;
use crate::shim::Shim;
use crate::waiting::{SOON, until};
use std::thread;

/// A service in a catalogue on a tmpfs, a handler, a job that takes too long, and orphans.
const CONFIG: &str = r#"{"directory": "/run/catalogue",
    "services": [{"name": "app", "port": 8000, "poll": 1, "ttl": 10, "health": ["sh", "-c", "echo checked"]}],
    "backends": [{"name": "app", "poll": 1, "onChange": ["echo", "the handler has run"]}],
    "tasks": [{"name": "limit", "frequency": "1s", "timeout": "300ms", "command": ["sleep", "1000"]},
              {"name": "orphans", "frequency": "100ms", "command": ["sh", "-c", "sleep 0.1 &"]}]}"#;

/// An application that ends with code 7 on SIGTERM, and shows when it got it.
const APPLICATION: [&str; 3] = [
    "sh",
    "-c",
    "trap 'kill $!; exit 7' TERM; touch /here; sleep 100000 & wait",
];

fn started(network: &Network) -> Machine {
    let machine = Shim::without_configuration()
        .variable("CONTAINERPILOT", CONFIG)
        .without_rights("12345:12345")
        .start(network, "one", &APPLICATION);
    machine.until_logged("Service registered: app");
    machine
}

/// A line of `/proc/1/status` in the container.
fn status(machine: &Machine, name: &str) -> String {
    let status = machine.run(&["cat", "/proc/1/status"]);
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
    status.lines().find_map(value).unwrap_or_default()
}

#[test]
fn without_rights_in_a_read_only_root_under_docker_s_seccomp_profile_it_works_as_elsewhere() {
    let network = Network::new();
    let machine = started(&network);
    assert_eq!(status(&machine, "Seccomp"), "2", "a filter is in force");
    assert_eq!(status(&machine, "CapBnd"), "0000000000000000");
    assert_eq!(status(&machine, "NoNewPrivs"), "1");
    assert!(status(&machine, "Uid").starts_with("12345\t"));
    machine.until_logged("/here: Read-only file system");
    machine.until_logged("the handler has run");
    machine.until_logged("task[limit] timeout after 300ms");
    machine.signal("SIGHUP");
    machine.until_logged("Configuration reloaded.");
    let zombies = || machine.run(&["sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"]);
    until(
        SOON,
        || format!("zombies: {}", zombies()),
        || zombies().trim() == "0",
    );
    assert_eq!(machine.stop().0, 7);
}

#[test]
fn a_process_of_docker_exec_is_asked_to_stop_before_the_container_ends() {
    let network = Network::new();
    let machine = started(&network);
    let script = "trap 'sleep 0.5; exit 5' TERM; echo > /run/entered; while :; do sleep 0.05; done";
    let (entered, stopped) = thread::scope(|scope| {
        let entered = scope.spawn(|| machine.exec(&["sh", "-c", script]).0);
        let there = || machine.exec(&["test", "-e", "/run/entered"]).0 == 0;
        until(SOON, || "the process has entered".into(), there);
        let stopped = machine.stop().0;
        (entered.join().expect("its end is known"), stopped)
    });
    assert_eq!((entered, stopped), (5, 7), "it ended by itself, in its time");
}
