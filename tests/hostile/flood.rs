//! Children that print without end, signals without pause, a log that is not read: everything else is on
//! time.

use crate::observed::{Hostile, Observed};
use crate::processes::field;
use crate::program::Program;
use crate::slowness;
use crate::waiting::{SOON, until};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, mkfifo, read};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How late a check may be, and how long `/status` and SIGTERM may take. The bounds in docs/bounds.md are for an
/// idle machine; this one is larger, because other tests run at the same time.
const PROMPT: Duration = Duration::from_millis(700);
/// How long the flood lasts, in starts of the observed check.
const STARTS: usize = 4;

/// Two checks, with lines of two bytes and without a line's end.
const CHECKS: &str = r#",
    {"name": "a", "port": 2, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10, "timeout": "1m",
     "health": ["sh", "-c", "touch @/flood1; exec yes"]},
    {"name": "b", "port": 3, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10, "timeout": "1m",
     "health": ["sh", "-c", "touch @/flood2; exec cat /dev/zero"]}"#;

/// Two coprocesses, two handlers and two tasks, with lines of all kinds.
const OTHERS: &str = r#",
    "coprocesses": [
        {"name": "c", "command": ["sh", "-c", "touch @/flood3; exec yes"]},
        {"name": "d", "command": ["sh", "-c", "touch @/flood4; exec yes $(seq 30)"]}],
    "backends": [
        {"name": "observed", "poll": 1, "onChange": ["sh", "-c", "touch @/flood5; exec yes ''"]},
        {"name": "observed", "poll": 1, "onChange": ["sh", "-c", "touch @/flood6; exec yes $(seq 30)"]}],
    "tasks": [
        {"name": "e", "frequency": "1s", "timeout": "1m", "command": ["sh", "-c", "touch @/flood7; exec yes >&2"]},
        {"name": "f", "frequency": "1s", "timeout": "1m",
         "command": ["sh", "-c", "touch @/flood8; exec cat /dev/urandom"]}]"#;

/// Ignores the signals that are sent without pause.
const UNTIL_TERM_WHATEVER_COMES: [&str; 3] = [
    "sh",
    "-c",
    "trap '' 34 35; trap 'touch @/stopped; exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
];

/// Eight children that print as fast as they can.
fn flood(as_pid_1: bool, logging: &str) -> (String, bool) {
    (
        format!("{OTHERS}, \"logging\": {{\"format\": \"{logging}\"}}"),
        as_pid_1,
    )
}

/// Checks that everything is on time during the flood.
fn everything_is_prompt(observed: &Observed) {
    let over = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                observed.get("/metrics");
            }
        });
        let enough = observed.starts().len() + STARTS;
        let mut slowest = Duration::ZERO;
        until(
            SOON,
            || "the check goes on".into(),
            || {
                let (status, took) = observed.get("/status");
                slowest = slowest.max(if status.is_some() { took } else { Duration::MAX });
                observed.starts().len() >= enough
            },
        );
        over.store(true, Ordering::Relaxed);
        slowest
    });
    let late = observed.lateness(STARTS - 1);
    let memory = observed.peak_memory();
    let stopped = observed.terminate();
    let seen = format!("check {late:?} late, /status in {slowest:?}, SIGTERM in {stopped:?}, {memory} bytes");
    let bound = PROMPT * slowness();
    assert!(late.max(slowest).max(stopped) < bound, "{seen}");
    assert!(memory < 64 << 20, "{seen}");
    // Shown with --nocapture.
    std::io::stderr().write_all(format!("{seen}\n").as_bytes()).ok();
}

/// A program whose log is discarded.
fn without_log() -> Program {
    let program = Program::new();
    symlink("/dev/null", program.path("stdout")).unwrap();
    program
}

/// A program whose log is a pipe, and the end to read it from.
fn with_log_in_pipe() -> (Program, OwnedFd) {
    let program = Program::new();
    mkfifo(&program.path("stdout"), Mode::S_IRWXU).unwrap();
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let reader = open(&program.path("stdout"), flags, Mode::empty()).unwrap();
    (program, reader)
}

fn start(program: Program, (sections, as_pid_1): &(String, bool)) -> Observed {
    let observed = Observed::start_in(
        program,
        &Hostile {
            services: CHECKS,
            sections,
            as_pid_1: *as_pid_1,
            ..Hostile::default()
        },
    );
    // The report of a failed test must not read a pipe that never ends.
    fs::remove_file(observed.program.path("stdout")).unwrap();
    for number in 1..=8 {
        observed.program.until_file(&format!("flood{number}"));
    }
    observed
}

#[test]
fn eight_children_that_print_without_end_delay_nothing() {
    for (as_pid_1, format) in [(false, "default"), (true, "json")] {
        let observed = start(without_log(), &flood(as_pid_1, format));
        everything_is_prompt(&observed);
    }
}

#[test]
fn an_unread_log_delays_nothing_while_eight_children_print() {
    let (program, reader) = with_log_in_pipe();
    let observed = start(program, &flood(false, "text"));
    everything_is_prompt(&observed);
    drop(reader);
}

#[test]
fn an_unread_log_does_not_slow_children() {
    let (program, reader) = with_log_in_pipe();
    let sections = r#", "tasks": [{"name": "t", "frequency": "10ms", "timeout": "1m",
        "command": ["sh", "-c", "yes $(seq 30) | head -c 3000000; echo run >> @/runs"]}]"#;
    let observed = Observed::start_in(
        program,
        &Hostile {
            sections,
            ..Hostile::default()
        },
    );
    fs::remove_file(observed.program.path("stdout")).unwrap();
    observed.program.until_lines("runs", 10);
    let mut some = [0; 4096];
    assert!(read(&reader, &mut some).unwrap() > 0, "something was logged");
    observed.terminate();
}

/// A process that sends signals without pause, until it is dropped.
struct Storm(Child);

impl Storm {
    fn of(number: i32, shim: Pid) -> Self {
        let script = format!("while kill -{number} {shim}; do :; done");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn signals_without_pause_delay_nothing() {
    for as_pid_1 in [false, true] {
        let observed = Observed::start_in(
            without_log(),
            &Hostile {
                application: Some(&UNTIL_TERM_WHATEVER_COMES),
                as_pid_1,
                ..Hostile::default()
            },
        );
        observed.program.until_file("up");
        let storms = [34, 35, 17, 1].map(|number| Storm::of(number, observed.pid()));
        everything_is_prompt(&observed);
        drop(storms);
    }
}

/// Whether a process that wrote its status into this file ignores or blocks 34.
fn has_inherited_first_real_time(program: &Program, file: &str) -> bool {
    let status = program.read(file);
    let has = |name| u64::from_str_radix(field(&status, name), 16).unwrap() & 1 << 33 != 0;
    has("SigIgn") || has("SigBlk")
}

/// The C library of a release takes the first one for itself.
#[test]
fn each_real_time_signal_reaches_the_application() {
    assert!(geteuid().is_root(), "this test needs root");
    let numbers: Vec<String> = (34..=64).map(|number| number.to_string()).collect();
    let script = format!(
        "while read -r line; do echo \"$line\"; done < /proc/$$/status > @/spawned; for n in {}; do trap \"echo $n >> @/got\" $n; done; trap 'exit 0' TERM; \
         touch @/up; while :; do sleep 0.05; done",
        numbers.join(" ")
    );
    // A command with a user is forked.
    let config = r#"{"directory": "@/catalogue",
        "preStart": {"command": ["sh", "-c", "exec cat /proc/self/status > @/forked"], "user": 0}}"#;
    let application = ["sh", "-c", &script];
    for as_pid_1 in [false, true] {
        let mut program = match as_pid_1 {
            false => Program::start(config, &application),
            true => Program::start_as_pid_1(config, &application),
        };
        program.until_file("up");
        for (index, number) in numbers.iter().enumerate() {
            let kill = format!("kill -{number} {}", program.pid());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            program.until_lines("got", index + 1);
        }
        assert_eq!(program.stop(), 0);
        let got = program.read("got");
        assert_eq!(got.lines().collect::<Vec<_>>(), numbers);
        for file in ["spawned", "forked"] {
            assert!(!has_inherited_first_real_time(&program, file), "{file}");
        }
    }
}

/// A start of a child is the only time at which a release does not wait for 34.
#[test]
fn the_first_real_time_signal_never_ends_the_shim() {
    let config = r#"{"directory": "@/catalogue",
        "tasks": [{"name": "t", "command": ["sh", "-c", "echo >> @/runs"], "frequency": "5ms"}]}"#;
    let mut program = Program::start(config, &UNTIL_TERM_WHATEVER_COMES);
    program.until_file("up");
    let storm = Storm::of(34, program.pid());
    program.until_lines("runs", 100);
    drop(storm);
    assert_eq!(program.stop(), 0);
}

/// In a release build, 1 GB may take 3 s. The test uses a tenth of it, and permits three times as much
/// because other tests run at the same time.
#[test]
fn a_line_costs_little_in_every_form_of_the_log() {
    for format in ["default", "text", "json"] {
        let sections = format!(
            r#", "logging": {{"format": "{format}"}}, "tasks": [{{"name": "t", "frequency": "1s", "timeout": "1h",
            "command": ["sh", "-c", "yes $(seq -s - 30) | head -c 100000000; touch @/printed; exec sleep 1000"]}}]"#
        );
        let observed = Observed::start_in(
            without_log(),
            &Hostile {
                sections: &sections,
                ..Hostile::default()
            },
        );
        observed.program.until_file("printed");
        let took = observed.processor_time();
        assert!(
            took < Duration::from_millis(900) * slowness(),
            "{format}: {took:?}"
        );
        observed.terminate();
    }
}
