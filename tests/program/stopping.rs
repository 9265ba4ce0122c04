//! How the application is asked to stop, and by which signals of the shim: the keys `stopSignal`, `signalGroup` and
//! `stopOn`, and an application that is stopped by SIGSTOP.

use crate::processes::pids;
use crate::program::{Program, UNTIL_TERM};
use nix::sys::signal::{Signal, kill};

/// Starts the program in both ways: as a subreaper, and as process 1.
const WAYS: [fn(&str, &[&str]) -> Program; 2] = [Program::start, Program::start_as_pid_1];

#[test]
fn the_application_gets_its_own_stop_signal() {
    for (written, start) in ["\"SIGQUIT\"", "3"].into_iter().zip(WAYS) {
        let config = format!(r#"{{"directory": "@/catalogue", "stopSignal": {written}}}"#);
        let application = "trap 'exit 4' TERM; trap 'exit 5' QUIT; touch @/up; while :; do sleep 0.02; done";
        let mut program = start(&config, &["sh", "-c", application]);
        program.until_file("up");
        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 5);
    }
}

#[test]
fn with_signal_group_all_of_the_application_gets_the_stop_signal_at_once() {
    let config = r#"{"directory": "@/catalogue", "signalGroup": true, "stopTimeout": 20}"#;
    // The shell waits for its child, which has no other reason to end.
    let child = "trap 'exit 0' TERM; touch @/up; while :; do sleep 0.02; done";
    let application = format!("setsid sh -c \"{child}\" & trap 'wait; exit 6' TERM; wait; exit 7");
    let mut program = Program::start(config, &["sh", "-c", &application]);
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 6);
}

#[test]
fn signals_of_stop_on_begin_the_stop_and_others_are_passed_on() {
    for start in WAYS {
        let config = r#"{"directory": "@/catalogue", "stopOn": ["SIGQUIT", "WINCH"]}"#;
        let application =
            "trap 'touch @/int' INT; trap 'exit 8' TERM; touch @/up; while :; do sleep 0.02; done";
        let mut program = start(config, &["sh", "-c", application]);
        program.until_file("up");
        program.signal(Signal::SIGINT);
        program.until_file("int");
        program.signal(Signal::SIGWINCH);
        assert_eq!(program.code(), 8);
    }
}

#[test]
fn an_application_that_is_stopped_continues_to_see_its_stop_signal() {
    let application = "trap 'exit 9' TERM; echo $$ > @/pid; touch @/up; while :; do sleep 0.02; done";
    let config = r#"{"directory": "@/catalogue", "stopTimeout": 20}"#;
    let mut program = Program::start(config, &["sh", "-c", application]);
    program.until_file("up");
    kill(pids(&program.read("pid"))[0], Signal::SIGSTOP).expect("the application runs");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 9);
}

#[test]
fn without_these_keys_sigterm_and_sigint_begin_the_stop() {
    let mut program = Program::start(r#"{"directory": "@/catalogue"}"#, &UNTIL_TERM);
    program.until_file("up");
    program.signal(Signal::SIGINT);
    assert_eq!((program.code(), program.has("stopped")), (0, true));
}
