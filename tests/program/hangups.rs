//! No SIGHUP and no SIGCONT reaches a new child: neither one that the kernel sends when a session or a terminal changes
//! hands, nor one that the shim got itself (docs/development/behaviour.md, EX-13).

use crate::program::{Program, UNTIL_TERM, in_namespaces};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use nix::unistd::ttyname;

/// What children do first: each SIGHUP and SIGCONT is recorded from then on. Without the trap SIGHUP ends a child.
const RECORD: &str = "trap 'echo $0 HUP >> @/got' HUP; trap 'echo $0 CONT >> @/got' CONT";

/// Children of several kinds that start again and again.
fn config() -> String {
    let job = |name: &str| {
        format!(r#"["sh", "-c", "{RECORD}; sleep 0.05 & wait; echo ended >> @/{name}", "{name}"]"#)
    };
    format!(
        r#"{{"directory": "@/catalogue",
            "services": [{{"name": "app", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 30,
                          "health": {}}}],
            "tasks": [{{"name": "t", "frequency": "10ms", "timeout": "1m", "command": {}}}],
            "coprocesses": [{{"name": "c", "restarts": "unlimited", "command": {}}}]}}"#,
        job("check"),
        job("task"),
        job("coprocess")
    )
}

/// The words of a shell that becomes the leader of a session with this terminal, and then the program.
fn session_leader(terminal: &OpenptyResult) -> String {
    let path = ttyname(&terminal.slave).expect("a terminal has a path");
    format!("exec setsid --ctty \"$@\" < {}", path.display())
}

/// Checks that nothing is recorded while children of each kind start, and that the shim read no configuration again.
fn no_child_gets_one(mut program: Program) {
    program.until_file("up");
    program.until_lines("task", 20);
    program.until_lines("coprocess", 2);
    program.until_lines("check", 1);
    let (got, log) = (program.read("got"), program.stdout());
    assert_eq!(got, "", "{log}");
    assert!(!log.contains("hangup") && !log.contains("Reloading"), "{log}");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
}

fn application() -> String {
    format!("{RECORD}; {}", UNTIL_TERM[2])
}

#[test]
fn no_hangup_and_no_continue_reaches_a_new_child_of_a_session_leader() {
    for script in ["exec \"$@\"", "exec setsid \"$@\""] {
        let mut program = Program::new();
        program.configure(&config());
        program.start_by(["sh", "-c", script, "sh"].map(str::to_owned).to_vec());
        program.launch(&["sh", "-c", &application(), "app"]);
        no_child_gets_one(program);
    }
}

#[test]
fn no_hangup_and_no_continue_reaches_a_new_child_of_the_leader_of_a_terminal() {
    let terminal = openpty(None, None).expect("a terminal");
    let mut program = Program::new();
    program.configure(&config());
    let words = ["sh", "-c", &session_leader(&terminal), "sh"];
    program.start_by(words.map(str::to_owned).to_vec());
    program.launch(&["sh", "-c", &application(), "app"]);
    no_child_gets_one(program);
}

/// As in a container with a terminal: process 1 leads the session of the terminal.
#[test]
fn no_hangup_and_no_continue_reaches_a_new_child_of_process_1_with_a_terminal() {
    let terminal = openpty(None, None).expect("a terminal");
    let mut program = Program::new();
    program.configure(&config());
    let command = program.command(&["sh", "-c", &application(), "app"]);
    let words = ["sh", "-c", &session_leader(&terminal), "sh"];
    program.spawn_as_pid_1(&mut in_namespaces(
        &["--pid", "--fork", "--mount-proc", "--kill-child"],
        &words,
        &command,
    ));
    no_child_gets_one(program);
}

/// SIGHUP and SIGCONT are for the shim and for the application that runs, not for what starts meanwhile.
#[test]
fn a_hangup_and_a_continue_for_the_shim_reach_no_other_child() {
    for start in [Program::start, Program::start_as_pid_1] {
        let mut program = start(&config(), &UNTIL_TERM);
        program.until_file("up");
        for count in 1..=20 {
            for signal in [Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGHUP] {
                program.signal(signal);
            }
            program.until_lines("task", 2 * count);
        }
        program.until_logged("Configuration reloaded.");
        program.until_lines("coprocess", 2);
        assert_eq!(program.read("got"), "", "{}", program.stdout());
        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 0);
    }
}
