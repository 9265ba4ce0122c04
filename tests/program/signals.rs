//! The effect of each signal in each phase (docs/development/behaviour.md, LC-1 to LC-20).

use crate::processes::{descriptors_of, is_there, is_zombie, pids, zombies_of};
use crate::program::{Program, UNTIL_TERM};
use crate::waiting::{SOON, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const NO_SERVICES: &str = r#"{"directory": "@/catalogue"}"#;

/// One service that is always healthy.
const SERVICE: &str = r#""directory": "@/catalogue", "services": [{"name": "app", "port": 8000,
    "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 30, "health": "true"}]"#;

/// How many instances are in the catalogue.
fn registered(program: &Program) -> usize {
    let entries = std::fs::read_dir(program.path("catalogue/app"))
        .into_iter()
        .flatten();
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".json"))
        .count()
}

fn until_registered(program: &Program) {
    program.until("the service is registered", |program| registered(program) == 1);
}

/// A hook that writes a file when it runs, and ends when the file `go` exists.
fn waiting(name: &str) -> String {
    format!(r#""{name}": ["sh", "-c", "touch @/{name}; while [ ! -e @/go ]; do sleep 0.02; done"]"#)
}

#[test]
fn term_and_int_stop_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let note = |name: &str| {
            format!(
                r#""{name}": ["sh", "-c", "echo {name} $(find @/catalogue -name '*.json' | wc -l) >> @/order"]"#
            )
        };
        let hooks = ["preStart", "preStop", "postStop"].map(note).join(", ");
        let application = "trap 'echo stopped >> @/order; exit 5' TERM; echo started >> @/order; \
                           while :; do sleep 0.05; done";
        let mut program = Program::start(&format!("{{{hooks}, {SERVICE}}}"), &["sh", "-c", application]);
        until_registered(&program);
        program.until_lines("order", 2);
        program.signal(signal);
        assert_eq!(program.code(), 5);
        let order = ["preStart 0", "started", "preStop 0", "stopped", "postStop 0"];
        assert_eq!(program.read("order").lines().collect::<Vec<_>>(), order);
    }
}

#[test]
fn an_application_that_ignores_term_is_killed_with_its_group_after_the_stop_timeout() {
    let config = r#"{"stopTimeout": 1, "directory": "@/catalogue"}"#;
    let application =
        "trap '' TERM; sleep 1000 & echo $! > @/child; touch @/up; while :; do sleep 0.05; done";
    let mut program = Program::start(config, &["sh", "-c", application]);
    program.until_file("up");
    let before = Instant::now();
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 128 + 9);
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert!(
        program.stdout().contains("Killing Process "),
        "{}",
        program.stdout()
    );
    until_gone(&program, "child");
}

/// Waits until all processes that a file names have ended.
fn until_gone(program: &Program, file: &str) {
    let named = pids(&program.read(file));
    assert!(!named.is_empty(), "{file}");
    program.until(&format!("all of {named:?} are gone"), |_| {
        named.iter().all(|pid| !is_there(*pid) || is_zombie(*pid))
    });
}

#[test]
fn a_negative_stop_timeout_kills_at_once() {
    let mut program = Program::start(r#"{"stopTimeout": -1, "directory": "@/catalogue"}"#, &UNTIL_TERM);
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 128 + 9);
    assert!(!program.has("stopped"));
}

#[test]
fn term_during_pre_start_ends_its_group_and_starts_nothing() {
    let hooks = [
        "sleep 1000 & echo $! > @/child; touch @/pre; wait",
        "trap 'exit 0' TERM; sleep 1000 & echo $! > @/child; touch @/pre; wait",
        "trap '' TERM; sleep 1000 & echo $! > @/child; touch @/pre; wait",
    ];
    for hook in hooks {
        let config = format!(
            r#"{{"preStart": ["sh", "-c", "{hook}"], "preStop": "touch @/other", "postStop": "touch @/other",
                 "stopTimeout": 1, {SERVICE}}}"#
        );
        let mut program = Program::start(&config, &["touch", "@/other"]);
        program.until_file("pre");
        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 143, "{hook}");
        assert!(!program.has("other"), "{hook}");
        until_gone(&program, "child");
    }
}

#[test]
fn term_that_comes_twice_reaches_the_application_once() {
    let application =
        "trap 'echo term >> @/terms' TERM; touch @/up; while [ ! -e @/go ]; do sleep 0.05; done; exit 4";
    let mut program = Program::start(NO_SERVICES, &["sh", "-c", application]);
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    program.until_lines("terms", 1);
    program.signal(Signal::SIGTERM);
    program.signal(Signal::SIGINT);
    program.until_logged("Ignoring SIGTERM");
    program.until_logged("Ignoring SIGINT");
    program.write("go", "");
    assert_eq!(program.code(), 4);
    assert_eq!(program.lines("terms"), 1);
}

#[test]
fn term_during_post_stop_neither_cuts_it_off_nor_runs_pre_stop() {
    let config = format!(
        r#"{{{}, "preStop": "touch @/other", {SERVICE}}}"#,
        waiting("postStop")
    );
    let mut program = Program::start(&config, &["sh", "-c", "exit 3"]);
    program.until_file("postStop");
    program.signal(Signal::SIGTERM);
    program.until_logged("Ignoring SIGTERM");
    program.write("go", "");
    assert_eq!((program.code(), program.has("other")), (3, false));
}

#[test]
fn hup_and_usr1_during_pre_start_do_not_lose_a_following_term() {
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        let config = format!("{{{}, {SERVICE}}}", waiting("preStart"));
        let mut program = Program::start(&config, &["touch", "@/other"]);
        program.until_file("preStart");
        program.signal(signal);
        program.signal(Signal::SIGTERM);
        assert_eq!((program.code(), program.has("other")), (143, false), "{signal}");
    }
}

#[test]
fn hup_and_usr1_while_stopping_change_nothing() {
    for (moment, signal) in [
        ("preStop", Signal::SIGHUP),
        ("preStop", Signal::SIGUSR1),
        ("postStop", Signal::SIGHUP),
        ("postStop", Signal::SIGUSR1),
    ] {
        let mut program = Program::start(&format!("{{{}, {SERVICE}}}", waiting(moment)), &UNTIL_TERM);
        program.until_file("up");
        program.signal(Signal::SIGTERM);
        program.until_file(moment);
        program.signal(signal);
        program.until_logged(&format!("Ignoring {signal}"));
        program.signal(Signal::SIGTERM);
        program.write("go", "");
        assert_eq!(
            (program.code(), program.has("stopped")),
            (0, true),
            "{moment} {signal}"
        );
    }
}

#[test]
fn term_in_a_burst_of_signals_is_not_lost() {
    let bursts: [&[Signal]; 4] = [
        &[Signal::SIGHUP, Signal::SIGHUP, Signal::SIGHUP, Signal::SIGTERM],
        &[Signal::SIGUSR1, Signal::SIGTERM],
        &[Signal::SIGUSR1, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM],
        &[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGHUP],
    ];
    for burst in bursts.into_iter().cycle().take(12) {
        let mut program = Program::start(&format!("{{{SERVICE}}}"), &UNTIL_TERM);
        program.until_file("up");
        let shim = program.pid();
        for signal in burst {
            kill(shim, *signal).ok();
        }
        assert_eq!((program.code(), program.has("stopped")), (0, true), "{burst:?}");
    }
}

#[test]
fn term_during_a_reload_that_waits_for_a_frozen_catalogue_is_not_lost() {
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let catalogue = format!(r#""consul": "{}""#, frozen.local_addr().unwrap());
    let service = r#""services": [{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30,
                                   "health": "touch @/checked"}]"#;
    let mut program = Program::start(&format!("{{{catalogue}, {service}}}"), &UNTIL_TERM);
    program.until_file("up");
    program.until_file("checked");
    program.configure(&format!("{{{catalogue}}}"));
    program.signal(Signal::SIGHUP);
    program.until_logged("Reloading configuration.");
    let before = Instant::now();
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert!(
        before.elapsed() < Duration::from_secs(6),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(program.code(), 0);
}

/// All signals that can be caught, except those that the shim handles, SIGCHLD, and those for faults and
/// limits of the shim itself.
fn passed_on() -> Vec<i32> {
    let withheld = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 24, 25, 31];
    (1..=31)
        .chain(34..=64)
        .filter(|number| !withheld.contains(number))
        .collect()
}

/// Sends a signal by number, because nix has no real-time signals.
fn send(pid: Pid, number: i32) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{number} {pid}")])
        .status();
    assert!(sent.unwrap().success(), "{number}");
}

#[test]
fn every_other_signal_reaches_the_application_once_and_ours_never() {
    let numbers: Vec<String> = passed_on().iter().map(ToString::to_string).collect();
    let application = format!(
        "for n in {} 1 10 13 23 24 25; do trap \"echo $n >> @/got\" $n; done; trap 'exit 0' TERM; touch @/up; \
         while :; do sleep 0.05; done",
        numbers.join(" ")
    );
    let config = r#"{"directory": "@/catalogue", "logging": {"level": "debug"}}"#;
    let mut program = Program::start(config, &["sh", "-c", &application]);
    program.until_file("up");
    let withheld = [
        nix::libc::SIGPIPE,
        nix::libc::SIGURG,
        nix::libc::SIGCHLD,
        nix::libc::SIGHUP,
        nix::libc::SIGUSR1,
        nix::libc::SIGXCPU,
        nix::libc::SIGXFSZ,
    ];
    for number in withheld {
        send(program.pid(), number);
    }
    // They are sent one after the other: the kernel drops a pending SIGCONT when a stop signal comes, and the
    // reverse.
    for (index, number) in passed_on().into_iter().enumerate() {
        send(program.pid(), number);
        program.until_lines("got", index + 1);
    }
    assert_eq!(program.stop(), 0);
    let mut got: Vec<i32> = program
        .read("got")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    got.sort_unstable();
    assert_eq!(got, passed_on());
}

#[test]
fn a_signal_that_comes_before_there_is_an_application_does_not_end_the_shim() {
    let config = format!(
        r#"{{{}, {SERVICE}, "logging": {{"level": "debug"}}}}"#,
        waiting("preStart")
    );
    let mut program = Program::start(&config, &UNTIL_TERM);
    program.until_file("preStart");
    for number in passed_on() {
        send(program.pid(), number);
    }
    program.until_logged("Keeping signal 64 until the application runs");
    program.signal(Signal::SIGTERM);
    assert_eq!((program.code(), program.has("up")), (143, false));
}

#[test]
fn without_an_application_it_waits_for_term_and_exits_0() {
    let config = format!(r#"{{"preStop": "touch @/pre", "postStop": "touch @/post", {SERVICE}}}"#);
    let mut program = Program::start(&config, &[]);
    until_registered(&program);
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
    assert!(program.has("pre") && !program.has("post"));
    assert_eq!(registered(&program), 0);
}

#[test]
fn a_pre_start_that_edits_the_configuration_and_sends_hup_is_followed() {
    let hook = r#""preStart": ["sh", "-c", "sed -i s/8000/8001/g @/cp.json; kill -HUP $CONTAINERPILOT_PID"]"#;
    let mut program = Program::start(&format!("{{{hook}, {SERVICE}}}"), &UNTIL_TERM);
    until_registered(&program);
    let entry = Command::new("cat")
        .arg("-s")
        .args(entries(&program))
        .output()
        .unwrap();
    let entry = String::from_utf8(entry.stdout).unwrap();
    assert!(entry.contains(r#""port":8001"#), "{entry}");
    assert_eq!(program.stop(), 0);
}

fn entries(program: &Program) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(program.path("catalogue/app")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn maintenance_deregisters_the_service_and_term_still_stops_the_application() {
    let mut program = Program::start(&format!("{{{SERVICE}}}"), &UNTIL_TERM);
    until_registered(&program);
    program.signal(Signal::SIGUSR1);
    program.until("the service is deregistered", |program| registered(program) == 0);
    assert_eq!((program.stop(), program.has("stopped")), (0, true));
}

#[test]
fn three_hundred_reloads_leave_the_service_registered_and_nothing_behind() {
    let mut program = Program::start(&format!("{{{SERVICE}}}"), &UNTIL_TERM);
    until_registered(&program);
    program.signal(Signal::SIGHUP);
    program.until_logged("Configuration reloaded.");
    let before = descriptors_of(program.pid());
    for n in 0..300_u64 {
        sleep(Duration::from_millis(n * 7 % 31));
        program.signal(Signal::SIGHUP);
        assert_eq!(registered(&program), 1, "an unchanged service has no gap");
    }
    let (shim, settled) = (program.pid(), |text: &str| {
        text.matches("Configuration reloaded.").count()
    });
    until(SOON, || program.stdout(), || settled(&program.stdout()) > 1);
    program.until("no descriptors or zombies are left", |_| {
        descriptors_of(shim) <= before && zombies_of(shim) == 0
    });
    assert_eq!(registered(&program), 1);
    assert_eq!(program.stop(), 0);
}
