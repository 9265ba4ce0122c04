//! A signal that comes in the first milliseconds of a start, or while preStart runs, is not lost
//! (docs/development/behaviour.md, LC-1, LC-18, LC-19).

use crate::processes::{children, field, is_zombie};
use crate::program::Program;
use crate::waiting::SOON;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"{"directory": "@/catalogue"}"#;
/// It ends by SIGTERM from its first instruction on, so that each start has the same exit code.
const APPLICATION: [&str; 2] = ["sleep", "1000"];
/// When SIGTERM is sent, counted from the moment at which the test can send it.
const OFFSETS: [u64; 12] = [0, 50, 100, 200, 400, 700, 1000, 1500, 2000, 3000, 5000, 10_000];

/// Polls without a pause, because a pause would be longer than the interval that is tested.
fn at_once(fact: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {fact}");
    }
}

/// Whether the shim holds SIGTERM back, as it does from before `main` on.
fn holds_term(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let term = 1 << (Signal::SIGTERM as u32 - 1);
    !status.is_empty() && u64::from_str_radix(field(&status, "SigBlk"), 16).unwrap_or(0) & term != 0
}

fn ends_with_143(mut program: Program, target: Pid, offset: u64) {
    sleep(Duration::from_micros(offset));
    kill(target, Signal::SIGTERM).unwrap();
    let ended = program.ended();
    let said = format!(
        "after {offset} us: {ended:?}, {}{}",
        program.stdout(),
        program.stderr()
    );
    assert_eq!((ended.code(), ended.signal()), (Some(143), None), "{said}");
}

#[test]
fn term_in_the_first_milliseconds_ends_the_start_with_143() {
    for offset in OFFSETS {
        let program = Program::start(CONFIG, &APPLICATION);
        let shim = program.pid();
        at_once("signals are blocked", || holds_term(shim));
        ends_with_143(program, shim, offset);
    }
}

#[test]
fn term_in_the_first_milliseconds_ends_process_1_with_143() {
    for offset in OFFSETS {
        let program = Program::start_as_pid_1(CONFIG, &APPLICATION);
        let shim = program.pid();
        at_once("signals are blocked", || holds_term(shim));
        ends_with_143(program, shim, offset);
    }
}

/// If the program that starts the shim blocks SIGTERM, there is no moment in which it is lost.
#[test]
fn term_that_comes_before_the_shim_is_loaded_waits_if_it_is_blocked() {
    for offset in OFFSETS {
        let mut program = Program::new();
        program.configure(CONFIG);
        let words = ["env", "--block-signal=TERM"];
        program.start_by(words.map(str::to_owned).to_vec());
        program.launch(&APPLICATION);
        let target = program.pid();
        at_once("SIGTERM is blocked", || holds_term(target));
        ends_with_143(program, target, offset);
    }
}

/// The same as process 1: the process is there before the program is loaded into it.
#[test]
fn term_that_comes_before_process_1_is_loaded_waits_if_it_is_blocked() {
    for offset in OFFSETS {
        let mut program = Program::new();
        program.configure(CONFIG);
        let words = [
            "env",
            "--block-signal=TERM",
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
        ];
        program.start_by(words.map(str::to_owned).to_vec());
        program.launch(&APPLICATION);
        let unshare = program.pid();
        at_once("there is a process 1", || {
            is_zombie(unshare) || !children(unshare).is_empty()
        });
        let target = children(unshare)[0];
        ends_with_143(program, target, offset);
    }
}

#[test]
fn signals_that_come_during_pre_start_reach_the_application_once_it_runs() {
    let hook = "trap '' USR2 WINCH QUIT; touch @/hook; while [ ! -e @/go ]; do sleep 0.02; done";
    let config = format!(
        r#"{{"directory": "@/catalogue", "logging": {{"level": "debug"}}, "preStart": ["sh", "-c", "{hook}"]}}"#
    );
    for start in [Program::start, Program::start_as_pid_1] {
        // The default action of SIGUSR2 ends the application.
        let mut program = start(&config, &["sleep", "1000"]);
        program.until_file("hook");
        for signal in [Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGUSR2] {
            program.signal(signal);
        }
        program.until_logged("Keeping SIGUSR2 until the application runs");
        program.until_logged("Keeping SIGWINCH until the application runs");
        program.write("go", "");
        assert_eq!(program.code(), 128 + Signal::SIGUSR2 as i32);
        assert_eq!(program.stdout().matches("Passing SIGUSR2").count(), 1);
        assert_eq!(program.stdout().matches("Passing SIGWINCH").count(), 1);
    }
}

/// Only the shim keeps signals blocked.
#[test]
fn a_template_that_waits_for_its_file_ends_by_sigterm() {
    let mut program = Program::new();
    let pipe = program.path("cp.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = crate::program::command();
    command.args(["-template", "-config", &format!("file://{}", pipe.display())]);
    program.spawn(&mut command);
    let shim = program.pid();
    let status = || fs::read_to_string(format!("/proc/{shim}/status")).unwrap_or_default();
    program.until("it waits for a writer, and blocks no SIGTERM", |_| {
        field(&status(), "State").starts_with('S') && !holds_term(shim)
    });
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().signal(), Some(Signal::SIGTERM as i32));
}

/// Writes the signals that a child blocks, and those that it ignores, into a file, which is there whole or not at all.
fn note(name: &str) -> String {
    format!("grep -E '^Sig(Blk|Ign):' /proc/self/status > @/{name}.new; mv @/{name}.new @/{name}")
}

/// The same; what the C library ignores for itself while it starts a child (32 and 33) does not count.
fn masks(program: &Program, name: &str) -> (u64, u64) {
    let text = program.read(name);
    let mask = |line| u64::from_str_radix(field(&text, line), 16).unwrap();
    (mask("SigBlk"), mask("SigIgn") & !(0b11 << 31))
}

#[test]
fn children_block_nothing_and_ignore_only_a_hangup_that_the_shim_was_started_to_ignore() {
    // What the shim is started to ignore, as by a shell in the background and by `nohup`; whether SIGHUP is among it.
    let cases = [
        ("", 0),
        ("HUP", 1),
        ("HUP INT QUIT TERM USR2 PIPE CHLD TTOU", 1),
        ("INT USR1", 0),
    ];
    for (ignored, expected) in cases {
        let (hook, task) = (note("hook"), note("task"));
        let mut program = Program::new();
        program.configure(&format!(
            r#"{{"directory": "@/catalogue", "preStart": ["sh", "-c", "{hook}"],
                "tasks": [{{"name": "t", "frequency": "10ms", "command": ["sh", "-c", "{task}"]}}]}}"#
        ));
        let trap = format!("for n in {ignored}; do trap '' $n; done; exec \"$@\"");
        let words = ["env", "--block-signal=INT", "sh", "-c", &trap, "sh"];
        program.start_by(words.map(str::to_owned).to_vec());
        let until_term = crate::program::UNTIL_TERM[2];
        program.launch(&["sh", "-c", &format!("{}; {until_term}", note("application"))]);
        for name in ["hook", "application", "task"] {
            program.until_file(name);
            assert_eq!(masks(&program, name), (0, expected), "{name}, {ignored:?}");
        }
        program.until_file("up");
        program.signal(Signal::SIGHUP);
        program.until_logged("Configuration reloaded.");
        assert_eq!(program.stop(), 0);
    }
}
