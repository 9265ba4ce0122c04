//! Environment, arguments, process groups, descriptors, signal masks, time limits and restarts of children
//! (docs/development/behaviour.md, EX-13 to EX-26).

use crate::processes::{field, is_there, is_zombie, pids};
use crate::program::{Program, UNTIL_TERM, started_by};
use nix::sys::signal::{Signal, kill};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Records once what the child with the name `$0` sees of its own process.
const LOOK: &str = "[ -e @/$0.done ] || { echo $$ > @/$0.pid; ls /proc/$$/fd > @/$0.fd; env > @/$0.env; \
                    cp /proc/self/status @/$0.status; cp /proc/self/stat @/$0.stat; touch @/$0.done; }";

/// The names of all kinds of children.
const CHILDREN: [&str; 8] = [
    "preStart", "side", "app", "health", "onChange", "task", "preStop", "postStop",
];

fn look(name: &str) -> String {
    format!(r#"["sh", "-c", "{LOOK}", "{name}"]"#)
}

/// Runs a program in which each kind of child has recorded its own state.
fn looked(starter: &[&str]) -> Program {
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{"directory": "@/catalogue", "preStart": {}, "preStop": {}, "postStop": {},
            "services": [{{"name": "my-app", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 30,
                          "health": {}}}],
            "backends": [{{"name": "my-app", "poll": 1, "onChange": {}}}],
            "tasks": [{{"name": "t", "command": {}, "frequency": "500ms", "timeout": "1m"}}],
            "coprocesses": [{{"name": "side-car 1", "command": {}}}]}}"#,
        look("preStart"),
        look("preStop"),
        look("postStop"),
        look("health"),
        look("onChange"),
        look("task"),
        look("side"),
    ));
    let application = format!("{LOOK}; trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done");
    let command = program.command(&["sh", "-c", &application, "app"]);
    program.spawn(&mut started_by(starter, &command));
    for name in ["side", "app", "health", "onChange", "task"] {
        program.until_file(&format!("{name}.done"));
    }
    program.until_file("up");
    program.write("shim.pid", &program.pid().to_string());
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
    program
}

/// Commands that start the shim with signals blocked or ignored.
const STARTERS: [&[&str]; 2] = [
    &["env"],
    &[
        "env",
        "--block-signal=TERM,USR2,CHLD",
        "--ignore-signal=QUIT,PIPE",
    ],
];

#[test]
fn each_child_leads_its_own_group_with_fresh_signals_and_no_descriptor_of_ours() {
    for starter in STARTERS {
        let program = looked(starter);
        for name in CHILDREN {
            let read = |what: &str| program.read(&format!("{name}.{what}"));
            let (status, stat) = (read("status"), read("stat"));
            let after_name = stat.rsplit_once(") ").expect("a stat line").1;
            let group = after_name.split(' ').nth(2).expect("a process group");
            assert_eq!(group, read("pid").trim(), "{name} leads its group");
            let mut descriptors = read("fd");
            descriptors.retain(|character| character != '\n');
            // The descriptor where the shell keeps its standard output while it writes to a file.
            let descriptors = descriptors.replacen("10", "", 1);
            assert_eq!(descriptors, "012", "{name}: the standard streams and no other");
            assert_eq!(
                mask(&status, "SigBlk"),
                0,
                "{name} {starter:?}: nothing is blocked"
            );
            assert_eq!(
                mask(&status, "SigIgn"),
                0,
                "{name} {starter:?}: nothing is ignored"
            );
        }
    }
}

/// A set of signals without 32 and 33, which belong to the C library.
fn mask(status: &str, name: &str) -> u64 {
    let mask = u64::from_str_radix(field(status, name), 16).expect("a set of signals");
    mask & !(0b11 << 31)
}

#[test]
fn the_environment_grows_as_children_are_started() {
    let program = looked(&["env"]);
    let environment = |name: &str| -> BTreeMap<String, String> {
        let text = program.read(&format!("{name}.env"));
        let ours = text
            .lines()
            .filter_map(|line| line.strip_prefix("CONTAINERPILOT_")?.split_once('='));
        ours.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let pid = |name: &str| program.read(&format!("{name}.pid")).trim().to_owned();
    let address = ("MY_APP_IP".to_owned(), "192.0.2.7".to_owned());
    let mut expected = BTreeMap::from([("PID".to_owned(), pid("shim")), address]);
    let steps = [
        [("preStart", "PRESTART_PID")].as_slice(),
        &[("side", "SIDE_CAR_1_PID")],
        &[("app", "APP_PID")],
        &[("preStop", "PRESTOP_PID")],
        &[("postStop", "POSTSTOP_PID")],
    ];
    for moment in steps {
        for (name, _) in moment {
            assert_eq!(environment(name), expected, "{name}");
        }
        expected.extend(
            moment
                .iter()
                .map(|(name, variable)| ((*variable).to_owned(), pid(name))),
        );
    }
    for name in ["health", "onChange", "task"] {
        assert_eq!(environment(name).get("APP_PID"), Some(&pid("app")), "{name}");
    }
}

#[test]
fn arguments_and_environment_reach_the_application_byte_for_byte() {
    let odd = OsStr::from_bytes(b"\xff a=b\n'\"\\ {{ \xfe");
    let mut program = Program::new();
    program.configure(r#"{"directory": "@/catalogue"}"#);
    let words = r#"printf %s "$1" > @/argument; printf %s "$2" > @/empty; printf %s "$ODD" > @/variable"#;
    let mut command = program.command(&["sh", "-c", words, "sh"]);
    program.spawn(command.arg(odd).arg("").env("ODD", odd));
    assert_eq!(program.code(), 0);
    let bytes = |name: &str| std::fs::read(program.path(name)).unwrap();
    assert_eq!(bytes("argument"), odd.as_bytes());
    assert_eq!(bytes("variable"), odd.as_bytes());
    assert_eq!(bytes("empty"), b"");
}

#[test]
fn arguments_are_templates_with_the_exported_variables() {
    let config = r#"{"directory": "@/catalogue", "services":
        [{"name": "my-app", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 30}]}"#;
    let words = [
        "sh",
        "-c",
        "echo $1 > @/said",
        "sh",
        "{{ .CONTAINERPILOT_MY_APP_IP }}",
    ];
    let (code, program) = Program::run(config, &words);
    assert_eq!((code, program.read("said").as_str()), (0, "192.0.2.7\n"));
}

#[test]
fn a_task_that_takes_too_long_is_killed_with_its_group_and_runs_again() {
    let config = r#"{"directory": "@/catalogue", "tasks": [{"name": "long", "frequency": "300ms", "timeout": "200ms",
        "command": ["sh", "-c", "sleep 1000 & echo $$ $! >> @/pids; wait"]}]}"#;
    let mut program = Program::start(config, &UNTIL_TERM);
    program.until_lines("pids", 3);
    program.until_logged("task[long] timeout after 200ms: sh\n");
    program.until_logged("killing command for task[long]");
    let first = pids(program.read("pids").lines().next().unwrap());
    program.until("the first run and its child are gone", |_| {
        first.iter().all(|pid| !is_there(*pid))
    });
    assert_eq!(program.stop(), 0);
    let all = pids(&program.read("pids"));
    let gone = |pid: &nix::unistd::Pid| !is_there(*pid) || is_zombie(*pid);
    crate::waiting::until(
        crate::waiting::SOON,
        || format!("{all:?} are gone"),
        || all.iter().all(gone),
    );
}

#[test]
fn a_check_that_takes_too_long_is_killed_and_is_no_heartbeat() {
    let config = r#"{"directory": "@/catalogue", "services": [{"name": "app", "port": 1, "interfaces": "lo",
        "poll": 1, "ttl": 30, "timeout": "100ms", "health": ["sh", "-c", "trap '' TERM; echo run >> @/runs; sleep 1000"]}]}"#;
    let mut program = Program::start(config, &UNTIL_TERM);
    program.until_lines("runs", 4);
    program.until_logged("app.health timeout after 100ms: sh\n");
    assert!(!program.has("catalogue/app"));
    assert_eq!(program.stop(), 0);
    let log = program.stdout();
    for once in ["timeout after", "killing command for"] {
        assert_eq!(log.matches(once).count(), 1, "{log}");
    }
    assert!(!log.contains("Deregistering"), "it was not registered: {log}");
}

/// A coprocess that records its process ID and argument, and runs until it is killed.
fn coprocess(argument: &str, restarts: &str) -> String {
    format!(
        r#"{{"directory": "@/catalogue", "coprocesses": [{{"name": "side", "restarts": {restarts},
            "command": ["sh", "-c", "echo $$ $0 >> @/side; exec sleep 1000", "{argument}"]}}]}}"#
    )
}

/// Waits for the n-th start of the coprocess, and kills it.
fn kill_start(program: &Program, count: usize, argument: &str) {
    program.until_lines("side", count);
    let text = program.read("side");
    let (pid, word) = text.lines().last().unwrap().split_once(' ').unwrap();
    assert_eq!(word, argument);
    kill(pids(pid)[0], Signal::SIGKILL).unwrap();
    let message = "coprocess[side] exited (137): signal: killed";
    program.until("its end is logged", |program| {
        program.stdout().matches(message).count() == count
    });
}

#[test]
fn a_coprocess_is_started_again_as_often_as_it_may_and_anew_after_a_reload() {
    let mut program = Program::start(&coprocess("arg1", "1"), &UNTIL_TERM);
    kill_start(&program, 1, "arg1");
    kill_start(&program, 2, "arg1");
    program.configure(&coprocess("arg2", "1"));
    program.signal(Signal::SIGHUP);
    kill_start(&program, 3, "arg2");
    kill_start(&program, 4, "arg2");
    assert_eq!(program.stop(), 0);
    assert_eq!(program.lines("side"), 4, "two runs of each configuration");
}

#[test]
fn a_coprocess_that_keeps_ending_at_once_is_started_again_ever_more_slowly() {
    let config = r#"{"directory": "@/catalogue", "coprocesses": [{"name": "short", "restarts": "unlimited",
        "command": ["sh", "-c", "echo run >> @/runs; exit 1"]}]}"#;
    let before = Instant::now();
    let mut program = Program::start(config, &UNTIL_TERM);
    program.until_lines("runs", 4);
    program.until_logged("coprocess[short] ended at once again, starting it again in ");
    let (runs, took) = (program.lines("runs"), before.elapsed());
    assert!(took >= Duration::from_millis(700), "{runs} runs in {took:?}");
    assert_eq!(program.stop(), 0);
    assert!(program.lines("runs") < 12);
}

#[test]
fn coprocesses_are_stopped_before_the_end_and_killed_if_they_ignore_it() {
    let config = r#"{"directory": "@/catalogue", "postStop": ["sh", "-c", "echo postStop >> @/order"], "coprocesses": [
        {"name": "kind", "command":
            ["sh", "-c", "trap 'echo stopped >> @/order; exit 0' TERM; touch @/kind; while :; do sleep 0.05; done"]},
        {"name": "rude", "command": ["sh", "-c", "trap '' TERM; sleep 1000 & echo $$ $! > @/rude; wait"]}]}"#;
    let mut program = Program::start(
        config,
        &["sh", "-c", "while [ ! -e @/go ]; do sleep 0.05; done; exit 6"],
    );
    program.until_file("kind");
    program.until_lines("rude", 1);
    program.write("go", "");
    assert_eq!(program.code(), 6);
    assert_eq!(program.read("order"), "postStop\nstopped\n");
    let gone = || {
        pids(&program.read("rude"))
            .iter()
            .all(|pid| !is_there(*pid) || is_zombie(*pid))
    };
    program.until("the rude one and its child are gone", |_| gone());
}

#[test]
fn nothing_is_started_through_a_shell() {
    let config = r#"{"directory": "@/catalogue", "preStart": "printf %s $HOME;echo"}"#;
    let (code, program) = Program::run(config, &["printf", "%s", " $(id) *"]);
    assert_eq!(code, 0);
    assert!(program.stdout().contains("$HOME;echo"), "{}", program.stdout());
    assert!(program.stdout().contains("echo $(id) *"), "{}", program.stdout());
}

#[test]
fn a_hundred_thousand_characters_of_argument_are_passed_on() {
    let long = "x".repeat(100_000);
    let mut program = Program::new();
    program.configure(r#"{"directory": "@/catalogue", "logging": {"output": "stderr"}}"#);
    let mut command: Command = program.command(&["printf", "%s", &long]);
    program.spawn(&mut command);
    assert_eq!((program.code(), program.stdout()), (0, long));
}
