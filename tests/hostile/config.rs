//! Configurations whose reading does not end, or that are too large or take too long, at the start and at a
//! reload.

use crate::observed::{Hostile, Observed};
use crate::program::{Program, UNTIL_TERM};
use crate::slowness;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

/// How much longer than usual a reload may take.
const PROMPT: Duration = Duration::from_millis(100);

/// Creates a file with the name `other`.
type Make = fn(&Program);

/// What replaces the file, and the message in the log.
const FILES: [(&str, Make, &str); 6] = [
    ("a pipe", pipe, "is a pipe, which can be read at the start only"),
    (
        "a device without end",
        |program| link(program, "/dev/zero"),
        "is a device",
    ),
    ("a directory", |program| link(program, "/"), "is a directory"),
    ("two gigabytes", sparse, "it is larger than 4194304 bytes"),
    ("unknown keys", unknown_keys, "more problems"),
    ("a list", long_list, "a list of 200000 elements"),
];

fn pipe(program: &Program) {
    mkfifo(&program.path("other"), Mode::S_IRWXU).unwrap();
}

fn link(program: &Program, path: &str) {
    symlink(path, program.path("other")).unwrap();
}

fn sparse(program: &Program) {
    File::create(program.path("other"))
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
}

fn unknown_keys(program: &Program) {
    let keys: Vec<String> = (0..100_000).map(|index| format!("\"key{index}\": 1")).collect();
    program.write("other", &format!("{{{}}}", keys.join(",\n")));
}

fn long_list(program: &Program) {
    let tags = vec!["\"t\""; 200_000].join(",");
    program.write(
        "other",
        &format!(r#"{{"services": [{{"name": "a", "tags": [{tags}]}}]}}"#),
    );
}

fn expression(program: &Program) {
    let text = r#"{{ $x := printf "%100000d" 1 | replaceAll " " "a" }}{{ regexReplaceAll "a.*b|a" "x" $x }}"#;
    program.write("other", text);
}

/// Replaces the configuration file by the file `other`.
fn replace(program: &Program) {
    fs::rename(program.path("other"), program.path("cp.json")).unwrap();
}

fn reload(observed: &Observed) {
    observed.program.signal(Signal::SIGHUP);
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused_and_delays_nothing() {
    let observed = Observed::start(&Hostile::default());
    let good = observed.program.read("cp.json");
    observed.until_starts(2);
    for (what, file, sentence) in FILES {
        file(&observed.program);
        replace(&observed.program);
        reload(&observed);
        observed.program.until_logged(sentence);
        let (status, took) = observed.get("/status");
        assert_eq!(status.map(|status| status.status), Some(200), "{what}");
        assert!(took < PROMPT * slowness(), "{what}: {took:?}");
    }
    fs::remove_file(observed.program.path("cp.json")).unwrap();
    observed.program.write("cp.json", &good);
    reload(&observed);
    observed.program.until_logged("Configuration reloaded.");
    observed.until_starts(1);
    assert!(observed.peak_memory() < 100 << 20, "{}", observed.peak_memory());
    assert!(observed.threads() <= 2, "{}", observed.threads());
    let took = observed.terminate();
    assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
}

#[test]
fn an_endless_regular_expression_is_refused_and_delays_nothing() {
    let observed = Observed::start(&Hostile::default());
    observed.until_starts(2);
    expression(&observed.program);
    replace(&observed.program);
    reload(&observed);
    observed.until_starts(2);
    // Without optimisation, this number of steps may exceed the time limit of a reload.
    observed.program.until("it is refused", |program| {
        program.stdout().contains("exceeded 1000000 steps")
            || slowness() > 1 && program.stdout().contains("within 2s")
    });
    assert!(
        observed.lateness(2) < PROMPT * slowness(),
        "{:?}",
        observed.lateness(2)
    );
    let took = observed.terminate();
    assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
}

#[test]
fn many_reloads_delay_neither_checks_nor_the_stop() {
    let observed = Observed::start(&Hostile::default());
    observed.until_starts(2);
    let before = observed.starts().len();
    unknown_keys(&observed.program);
    replace(&observed.program);
    let began = Instant::now();
    while observed.starts().len() < before + 3 {
        reload(&observed);
        // The loop, the folder's thread, one that reads, and an earlier one that may not have ended yet.
        assert!(observed.threads() <= 4, "{}", observed.threads());
        assert!(began.elapsed() < Duration::from_secs(20), "checks do not go on");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        observed.lateness(2) < PROMPT * slowness(),
        "{:?}",
        observed.lateness(2)
    );
    reload(&observed);
    let took = observed.terminate();
    assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
}

#[test]
fn a_pipe_without_a_writer_at_the_start_obeys_a_signal() {
    for (signal, as_pid_1) in [
        (Signal::SIGTERM, false),
        (Signal::SIGTERM, true),
        (Signal::SIGINT, true),
    ] {
        let mut program = Program::new();
        pipe(&program);
        replace(&program);
        match as_pid_1 {
            true => program.launch_as_pid_1(&UNTIL_TERM),
            false => program.launch(&UNTIL_TERM),
        }
        let reads = |program: &Program| {
            fs::read_dir(format!("/proc/{}/task", program.pid()))
                .unwrap()
                .count()
                == 2
        };
        program.until("it waits for the pipe", reads);
        program.signal(signal);
        assert_eq!(program.code(), 143);
        assert!(!program.has("up"));
    }
}

#[test]
fn a_pipe_with_a_writer_is_a_configuration_at_the_start() {
    let mut program = Program::new();
    pipe(&program);
    replace(&program);
    program.launch(&UNTIL_TERM);
    fs::write(
        program.path("cp.json"),
        program.expand(r#"{"directory": "@/catalogue"}"#),
    )
    .unwrap();
    assert_eq!(program.stop(), 0);
}
