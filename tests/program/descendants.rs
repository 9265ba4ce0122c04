//! The processes that children of the shim start: those of a job end with its time limit or its stop, and all that is
//! left is asked to stop before the shim ends (docs/development/behaviour.md, EX-13).

use crate::loopback::{OwnAddress, PORT};
use crate::processes::{is_there, is_zombie, pids};
use crate::program::Program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;
use std::time::{Duration, Instant};

/// Starts the program in both ways: as a subreaper, and as process 1.
const WAYS: [fn(&str, &[&str]) -> Program; 2] = [Program::start, Program::start_as_pid_1];

/// A shell command that runs until it gets a signal, and then does what the test gives.
fn until(signal: &str, what: &str) -> String {
    format!("trap '{what}' {signal}; touch @/up; while :; do sleep 0.02; done")
}

fn has_ended(pid: Pid) -> bool {
    !is_there(pid) || is_zombie(pid)
}

#[test]
fn what_a_job_started_ends_with_its_time_limit_whatever_groups_and_sessions_it_made() {
    let below = |name: &str, start: &str| {
        format!(r#"["sh", "-c", "{start} & echo $! >> @/{name}.new; mv @/{name}.new @/{name}; wait"]"#)
    };
    let address = OwnAddress::reserve();
    let config = format!(
        r#"{{"directory": "@/catalogue",
            "services": [{{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30, "timeout": "1s",
                          "health": {}}}],
            "tasks": [{{"name": "t", "frequency": "1s", "timeout": "1s", "command": {}}}],
            "telemetry": {{"port": {PORT}, "interfaces": "static:{}", "sensors": [{{"name": "s", "help": "h", "type": "gauge",
                          "poll": 1, "timeout": "1s", "check": {}}}]}}}}"#,
        below("check", "setsid sleep 1000"),
        below("task", "timeout 1000 sleep 1000"),
        address.ip(),
        below("sensor", "setsid sh -c 'sleep 1000 & wait'"),
    );
    let mut program = Program::start(&config, &["sleep", "1000"]);
    for name in ["check", "task", "sensor"] {
        program.until_file(name);
        let started = pids(&program.read(name))[0];
        program.until(&format!("{name}: {started} has ended"), |_| has_ended(started));
    }
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 128 + 15);
}

#[test]
fn what_the_application_started_is_asked_to_stop_when_the_application_has_ended() {
    for start in WAYS {
        let child = until("TERM", "sleep 0.3; touch @/stopped; exit");
        let mut program = start(
            r#"{"directory": "@/catalogue"}"#,
            &["sh", "-c", &format!("sh -c \"{child}\"; true")],
        );
        program.until_file("up");
        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 128 + 15);
        assert!(program.has("stopped"));
        assert!(
            program
                .stdout()
                .contains("processes that it started have not: waiting for them")
        );
    }
}

#[test]
fn what_outlives_the_application_is_killed_after_the_stop_timeout_and_the_code_is_the_applications() {
    for start in WAYS {
        let child = until("TERM", "");
        let application = format!("setsid sh -c \"{child}\" & echo $! > @/child; trap 'exit 6' TERM; wait");
        let config = r#"{"stopTimeout": 1, "directory": "@/catalogue"}"#;
        let mut program = start(config, &["sh", "-c", &application]);
        program.until_file("up");
        let before = Instant::now();
        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 6);
        let took = before.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
}

#[test]
fn a_daemon_of_the_application_lives_as_long_as_the_shim_and_is_asked_to_stop() {
    for start in WAYS {
        let daemon = until("TERM", "sleep 0.2; touch @/stopped; exit");
        let application =
            format!("(setsid sh -c \"{daemon}\" &); while [ ! -e @/go ]; do sleep 0.02; done; exit 3");
        let post_stop = r#""postStop": ["sh", "-c", "[ -e @/stopped ] || touch @/lived"]"#;
        let config = format!(r#"{{"directory": "@/catalogue", {post_stop}}}"#);
        let mut program = start(&config, &["sh", "-c", &application]);
        program.until_file("up");
        program.write("go", "");
        assert_eq!(program.code(), 3);
        assert!(program.has("lived") && program.has("stopped"));
    }
}

#[test]
fn a_daemon_that_ignores_term_is_killed_at_the_end() {
    let daemon = until("TERM", "");
    let application = format!(
        "(setsid sh -c \"echo \\$\\$ > @/daemon; {daemon}\" &); while [ ! -e @/up ]; do sleep 0.02; done"
    );
    let before = Instant::now();
    let (code, program) = Program::run(r#"{"directory": "@/catalogue"}"#, &["sh", "-c", &application]);
    assert_eq!(code, 0);
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert!(has_ended(pids(&program.read("daemon"))[0]));
}

#[test]
fn a_process_that_is_no_descendant_is_not_touched() {
    let mut other = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let (code, _program) = Program::run(r#"{"directory": "@/catalogue"}"#, &["true"]);
    assert_eq!(code, 0);
    assert_eq!(other.try_wait().expect("a child of the test"), None);
    kill(Pid::from_raw(other.id().cast_signed()), Signal::SIGKILL).expect("it runs");
    other.wait().expect("a child of the test");
}
