//! The program as process 1 of a namespace: it reaps all orphans, and loses no status of its own children
//! (docs/development/behaviour.md, EX-3 to EX-8). If another process is process 1, it reaps as a subreaper.

use crate::exit_codes::LIVES;
use crate::processes::{children, is_there, pids, zombies_of};
use crate::program::{Program, UNTIL_TERM};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn every_end_has_its_exit_code() {
    for life in LIVES {
        life.check_exit_code(Program::launch_as_pid_1);
    }
}

#[test]
fn the_shim_is_process_1_and_exports_that_pid() {
    let config = r#"{"directory": "@/catalogue"}"#;
    let words = "echo $PPID $CONTAINERPILOT_PID > @/parent";
    let mut program = Program::start_as_pid_1(config, &["sh", "-c", words]);
    assert_eq!(program.code(), 0);
    assert_eq!(program.read("parent"), "1 1\n");
}

#[test]
fn term_and_int_stop_process_1_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let config = r#"{"directory": "@/catalogue", "preStop": ["sh", "-c", "echo preStop >> @/order"],
                         "postStop": ["sh", "-c", "echo postStop >> @/order"]}"#;
        let application =
            "trap 'echo stopped >> @/order; exit 5' TERM; touch @/up; while :; do sleep 0.05; done";
        let mut program = Program::start_as_pid_1(config, &["sh", "-c", application]);
        program.until_file("up");
        program.signal(signal);
        assert_eq!(program.code(), 5);
        assert_eq!(program.read("order"), "preStop\nstopped\npostStop\n");
    }
}

#[test]
fn hup_and_usr1_do_not_end_process_1() {
    let mut program = Program::start_as_pid_1(r#"{"directory": "@/catalogue"}"#, &UNTIL_TERM);
    program.until_file("up");
    program.signal(Signal::SIGHUP);
    program.until_logged("Configuration reloaded.");
    program.signal(Signal::SIGUSR1);
    program.until_logged("Entering maintenance");
    program.signal(Signal::SIGTERM);
    assert_eq!((program.code(), program.has("stopped")), (0, true));
}

/// A task that always fails, and 20 coprocesses with different exit codes.
fn failing() -> String {
    let coprocess =
        |code| format!(r#"{{"name": "c{code}", "command": ["sh", "-c", "sleep 0.{code}; exit {code}"]}}"#);
    let coprocesses: Vec<String> = (1..=20).map(coprocess).collect();
    format!(
        r#"{{"directory": "@/catalogue", "coprocesses": [{}],
            "tasks": [{{"name": "seven", "command": ["sh", "-c", "echo run >> @/runs; exit 7"],
                        "frequency": "5ms", "timeout": "1m"}}],
            "services": [{{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30,
                          "health": ["sh", "-c", "sleep 0.1 & exec true"]}}]}}"#,
        coprocesses.join(", ")
    )
}

/// 2,000 grandchildren, each orphaned at once and dead soon after.
const ORPHANS: [&str; 3] = [
    "sh",
    "-c",
    "i=0; while [ $i -lt 2000 ]; do (sleep 0.0$((i % 10)) &); i=$((i + 1)); done; touch @/made; \
     while [ ! -e @/go ]; do sleep 0.05; done; exit 9",
];

#[test]
fn among_thousands_of_dying_orphans_no_code_is_lost_and_no_zombie_stays() {
    orphans_are_reaped(Program::start_as_pid_1(&failing(), &ORPHANS));
}

#[test]
fn beside_another_process_1_orphans_are_reaped_as_well() {
    orphans_are_reaped(Program::start(&failing(), &ORPHANS));
}

fn orphans_are_reaped(mut program: Program) {
    const SENTENCE: &str = "task[seven] exited with error: ";
    let deadline = Instant::now() + Duration::from_secs(120);
    while !program.has("made") {
        assert!(Instant::now() < deadline, "2,000 children are made");
        std::thread::sleep(Duration::from_millis(20));
    }
    program.until_lines("runs", 300);
    for code in 1..=20 {
        program.until_logged(&format!(
            "coprocess[c{code}] exited ({code}): exit status {code}\n"
        ));
    }
    let shim = program.pid();
    program.until(
        "no more than the application and one run of each job is left",
        |_| children(shim).len() <= 4 && zombies_of(shim) <= 1,
    );
    program.write("go", "");
    assert_eq!(program.code(), 9);
    let (stdout, runs) = (program.stdout(), program.lines("runs"));
    let ends: Vec<&str> = stdout
        .lines()
        .filter_map(|line| line.split_once(SENTENCE))
        .map(|(_, end)| end)
        .collect();
    assert!(ends.len() + 1 >= runs, "{runs} runs, {} logged", ends.len());
    assert!(ends.iter().all(|end| *end == "exit status 7"), "{ends:?}");
    assert!(!stdout.contains("app does not pass"), "{stdout}");
}

#[test]
fn an_orphan_is_adopted_and_reaped_also_when_the_shim_is_not_process_1() {
    let application =
        "(sleep 1000 & echo $! > @/orphan); trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done";
    let mut program = Program::start(r#"{"directory": "@/catalogue"}"#, &["sh", "-c", application]);
    program.until_file("up");
    let orphan = pids(&program.read("orphan"))[0];
    let parent = || fs::read_to_string(format!("/proc/{orphan}/status")).unwrap();
    let adopted = format!("\nPPid:\t{}\n", program.pid());
    program.until("the orphan is the shim's", |_| parent().contains(&adopted));
    kill(orphan, Signal::SIGKILL).unwrap();
    program.until("the orphan is reaped", |_| !is_there(orphan));
    assert_eq!(program.stop(), 0);
}
