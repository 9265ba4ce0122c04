//! Processes that entered the namespace of process 1 from outside, as `docker exec` makes them: before
//! process 1 ends, they get SIGTERM and their time, although they are no descendants of it
//! (docs/development/behaviour.md, EX-13).

use crate::program::Program;
use crate::waiting::{SOON, until};
use nix::unistd::geteuid;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"{"directory": "@/catalogue"}"#;
/// It ends with a code of its own when the file `go` is there.
const APPLICATION: [&str; 3] = [
    "sh",
    "-c",
    "touch @/up; while [ ! -e @/go ]; do sleep 0.02; done; exit 3",
];

/// Starts a shell in the process namespace of the program. Its parent stays outside.
fn enter(program: &Program, script: &str) -> Child {
    let mut command = Command::new("nsenter");
    command.args(["--pid", "--target", &program.pid().to_string()]);
    if !geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command
        .args(["sh", "-c", &program.expand(script)])
        .stdin(Stdio::null())
        .spawn()
        .expect("this test needs nsenter of util-linux")
}

/// Waits for the end of `nsenter`, which is that of the process it started.
fn end_of(mut entered: Child) -> ExitStatus {
    let mut status = None;
    until(
        SOON,
        || "the process that entered has ended".into(),
        || {
            status = entered.try_wait().expect("a child of the test");
            status.is_some()
        },
    );
    status.expect("it has ended")
}

#[test]
fn a_process_that_entered_the_namespace_is_asked_to_stop_and_has_its_time() {
    let mut program = Program::start_as_pid_1(CONFIG, &APPLICATION);
    program.until_file("up");
    let script =
        "trap 'sleep 0.5; touch @/stopped; exit 4' TERM; touch @/entered; while :; do sleep 0.02; done";
    let entered = enter(&program, script);
    program.until_file("entered");
    program.write("go", "");
    assert_eq!(program.code(), 3, "the application's code");
    assert!(program.has("stopped"), "{}", program.stdout());
    assert_eq!(end_of(entered).code(), Some(4), "it ended by itself");
}

#[test]
fn a_process_that_entered_the_namespace_and_ignores_term_is_killed_after_five_seconds() {
    let mut program = Program::start_as_pid_1(CONFIG, &APPLICATION);
    program.until_file("up");
    let script = "trap 'touch @/asked' TERM; touch @/entered; while :; do sleep 0.02; done";
    let entered = enter(&program, script);
    program.until_file("entered");
    let before = Instant::now();
    program.write("go", "");
    assert_eq!(program.code(), 3, "the application's code");
    let took = before.elapsed();
    assert!(program.has("asked"), "{}", program.stdout());
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert_eq!(end_of(entered).signal(), Some(9));
}
