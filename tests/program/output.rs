//! The destination of each child's output, byte for byte. No reader of it delays the shim
//! (docs/development/behaviour.md, EX-10 to EX-12, EX-21 and LG-1 to LG-7).

use crate::agent::hostname;
use crate::program::{Program, UNTIL_TERM, command, started_by};
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{PipeReader, Read, pipe};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A configuration whose log is elsewhere, so that only children write to the standard output.
const LOG_ELSEWHERE: &str = r#"{"directory": "@/catalogue", "logging": {"output": "stderr"}}"#;

/// Writes a file `block` a hundred times, which makes 100 MB.
const HUNDRED_BLOCKS: [&str; 3] = ["sh", "-c", "for n in $(seq 100); do cat @/block; done"];

fn block() -> Vec<u8> {
    let mut state = 1_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..1_000_003).map(byte).collect()
}

/// Reads a hundred blocks and the end, with a pause between reads.
fn expect_hundred_blocks(mut output: impl Read, pause: Duration) {
    let block = block();
    let mut read = vec![0; block.len()];
    for n in 0..100 {
        for part in read.chunks_mut(100_000) {
            output.read_exact(part).unwrap();
            sleep(pause);
        }
        assert!(read == block, "block {n}");
    }
    assert_eq!(output.read(&mut read).unwrap(), 0, "nothing follows");
}

#[test]
fn a_hundred_megabytes_of_the_application_arrive_untouched_in_a_file() {
    let mut program = Program::new();
    fs::write(program.path("block"), block()).unwrap();
    program.configure(LOG_ELSEWHERE);
    program.launch(&HUNDRED_BLOCKS);
    assert_eq!(program.code(), 0);
    expect_hundred_blocks(fs::File::open(program.path("stdout")).unwrap(), Duration::ZERO);
}

#[test]
fn a_hundred_megabytes_of_the_application_arrive_untouched_through_a_slowly_read_pipe() {
    let mut program = Program::new();
    fs::write(program.path("block"), block()).unwrap();
    program.configure(LOG_ELSEWHERE);
    let reader = launch_into_pipe(&mut program, &HUNDRED_BLOCKS);
    expect_hundred_blocks(reader, Duration::from_millis(1));
    assert_eq!(program.code(), 0);
}

fn launch_into_pipe(program: &mut Program, application: &[&str]) -> PipeReader {
    let (reader, writer) = pipe().unwrap();
    let mut command = program.command(application);
    program.spawn_into(&mut command, writer);
    reader
}

#[test]
fn the_application_has_the_standard_input_of_the_shim_and_other_children_have_none() {
    let mut program = Program::new();
    program.configure(
        r#"{"directory": "@/catalogue", "logging": {"output": "stderr"},
            "preStart": ["sh", "-c", "readlink /proc/self/fd/0; cat"],
            "coprocesses": [{"command": ["sh", "-c", "cat > @/side; touch @/read"]}]}"#,
    );
    let application = program.command(&["sh", "-c", "while [ ! -e @/read ]; do sleep 0.01; done; exec cat"]);
    let shell = r#"echo x | "$@""#;
    program.spawn(&mut started_by(&["sh", "-c", shell, "sh"], &application));
    assert_eq!(program.code(), 0);
    assert_eq!(program.stdout(), "/dev/null\nx\n");
    assert_eq!(program.read("side"), "");
}

#[test]
fn lifecycle_hooks_inherit_the_output() {
    let hook =
        |name: &str| format!(r#""{name}": ["sh", "-c", "printf '\\377{name}'; printf '{name}.' >&2"]"#);
    let hooks = ["preStart", "preStop", "postStop"].map(hook).join(", ");
    let mut program = Program::start(
        &format!(r#"{{{hooks}, "directory": "@/catalogue", "logging": {{"level": "ERROR"}}}}"#),
        &[
            "sh",
            "-c",
            "trap 'printf app; exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
        ],
    );
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
    assert_eq!(
        fs::read(program.path("stdout")).unwrap(),
        b"\xffpreStart\xffpreStopapp\xffpostStop"
    );
    assert_eq!(program.stderr(), "preStart.preStop.postStop.");
}

/// Every job whose output is logged; each prints the same.
fn talkative(format: &str) -> String {
    format!(
        r#"{{"directory": "@/catalogue", "logging": {{"format": "{format}", "checks": true}},
            "services": [{{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30, "health": "@/say"}}],
            "backends": [{{"name": "app", "poll": 1, "onChange": "@/say"}}],
            "tasks": [{{"name": "clean up", "command": "@/say", "frequency": "1s"}}],
            "coprocesses": [{{"name": "side", "command": "@/say"}}]}}"#
    )
}

const SAY: &str = "#!/bin/sh\necho 'he said \"hi\" <\\>'\necho\necho wrong >&2\nprintf end";

/// Waits until the log has all these lines, compared without their time stamps.
fn expect_lines(format: &str, expected: &[String], cut: fn(&str) -> Option<&str>) {
    let mut program = Program::new();
    program.write_executable("say", SAY);
    program.configure(&talkative(format));
    program.launch(&UNTIL_TERM);
    for line in expected {
        program.until(&format!("{format}: {line}"), |program| {
            program
                .stdout()
                .lines()
                .filter_map(cut)
                .any(|logged| logged == line)
        });
    }
    assert_eq!(program.stop(), 0);
    assert!(
        program.stdout().lines().all(|line| cut(line).is_some()),
        "{}",
        program.stdout()
    );
}

/// The fields of each job in the two formats that have fields.
fn fields() -> [(String, String, String); 4] {
    let id = format!("app-{}", hostname());
    let fields = |text: String, before: &str, after: String| (text, before.to_owned(), after);
    [
        fields(
            format!("process=health serviceID={id} serviceName=app "),
            "",
            format!(r#","process":"health","serviceID":"{id}","serviceName":"app""#),
        ),
        fields(
            "backend=app process=onChange ".into(),
            r#""backend":"app","#,
            r#","process":"onChange""#.into(),
        ),
        fields(
            r#"process=task task="clean up" "#.into(),
            "",
            r#","process":"task","task":"clean up""#.into(),
        ),
        fields(
            "coprocess=side process=coprocess ".into(),
            r#""coprocess":"side","#,
            r#","process":"coprocess""#.into(),
        ),
    ]
}

#[test]
fn what_jobs_print_is_in_the_log_line_by_line_in_the_default_format() {
    let messages = [r#"he said "hi" <\>"#, "", "wrong", "end"];
    let lines: Vec<String> = ["app.health", "app.onChange", "task[clean up]", "coprocess[side]"]
        .iter()
        .flat_map(|name| messages.map(|message| format!("{name}: {message}")))
        .collect();
    // The length of `2016/04/14 01:27:38` and a space.
    expect_lines("default", &lines, |line| {
        let shape: String = line
            .chars()
            .take(20)
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        (shape == "0000/00/00 00:00:00 ").then(|| &line[20..])
    });
}

#[test]
fn what_jobs_print_is_in_the_log_with_the_jobs_fields_in_the_text_format() {
    let messages = [r#"msg="he said \"hi\" <\\>" "#, "", "msg=wrong ", "msg=end "];
    let line = |message: &str, text: &str| format!("level=info {message}{text}");
    let lines: Vec<String> = fields()
        .iter()
        .flat_map(|(text, ..)| messages.map(|message| line(message, text)))
        .collect();
    expect_lines("text", &lines, |line| {
        let (time, rest) = line.strip_prefix("time=\"")?.split_once("\" ")?;
        (time.len() >= 20 && time.as_bytes()[10] == b'T').then_some(rest)
    });
}

#[test]
fn what_jobs_print_is_in_the_log_with_the_jobs_fields_in_the_json_format() {
    let messages = [r#"he said \"hi\" \u003c\\\u003e"#, "", "wrong", "end"];
    let line = |message: &str, before: &str, after: &str| {
        format!(r#"{{{before}"level":"info","msg":"{message}"{after}"#)
    };
    let lines: Vec<String> = fields()
        .iter()
        .flat_map(|(_, before, after)| messages.map(|message| line(message, before, after)))
        .collect();
    expect_lines("json", &lines, |line| {
        serde_json::from_str::<serde_json::Value>(line).ok()?;
        let (rest, time) = line.rsplit_once(",\"time\":\"")?;
        (time.ends_with("\"}") && time.len() >= 22 && time.as_bytes()[10] == b'T').then_some(rest)
    });
}

#[test]
fn a_check_that_writes_megabytes_without_an_end_of_line_still_passes_and_all_is_logged() {
    let mut program = Program::new();
    program.write_executable(
        "check",
        "#!/bin/sh\n[ -e @/ran ] && exit 0\ntouch @/ran\nhead -c 5000000 /dev/zero | tr '\\0' '\\377'\nprintf '\\376'",
    );
    program.configure(
        r#"{"directory": "@/catalogue", "logging": {"checks": true}, "services":
            [{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30, "health": "@/check"}]}"#,
    );
    program.launch(&UNTIL_TERM);
    let count = |byte: u8| {
        let log = fs::read(program.path("stdout")).unwrap();
        log.iter().filter(|found| **found == byte).count()
    };
    let failed = || format!("{} bytes are in the log", count(0xff));
    until(SOON, failed, || count(0xfe) == 1 && count(0xff) == 5_000_000);
    program.until_file("catalogue/app");
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_grandchild_that_holds_the_output_of_a_check_does_not_hold_the_next_check() {
    let config = r#"{"directory": "@/catalogue", "services":
        [{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30,
          "health": ["sh", "-c", "setsid sleep 1000 & echo run >> @/runs"]}]}"#;
    let program = Program::start(config, &UNTIL_TERM);
    program.until_lines("runs", 3);
    program.until_file("catalogue/app");
}

#[test]
fn a_reader_of_the_log_that_stops_does_not_delay_term() {
    let config = r#"{"directory": "@/catalogue", "tasks": [{"frequency": "10ms", "timeout": "1m", "command":
        ["sh", "-c", "head -c 20000 /dev/zero | tr '\\0' x; echo; echo run >> @/runs"]}]}"#;
    let mut program = Program::new();
    program.configure(config);
    let reader = launch_into_pipe(&mut program, &UNTIL_TERM);
    program.until_file("up");
    program.until_lines("runs", 50);
    let before = Instant::now();
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert_eq!(program.code(), 0);
    assert!(
        before.elapsed() < Duration::from_secs(6),
        "{:?}",
        before.elapsed()
    );
    drop(reader);
}

#[test]
fn a_reader_of_the_log_that_is_gone_changes_nothing() {
    let mut program = Program::new();
    program.configure(&talkative("text"));
    program.write_executable("say", &format!("{SAY}\necho run >> @/runs"));
    drop(launch_into_pipe(&mut program, &UNTIL_TERM));
    survives(program);
}

#[test]
fn closed_streams_change_nothing() {
    let mut program = Program::new();
    program.configure(&talkative("json"));
    program.write_executable("say", &format!("{SAY}\necho run >> @/runs"));
    let closed = ["sh", "-c", r#"exec "$@" <&- >&- 2>&-"#, "sh"];
    let mut command = started_by(&closed, &program.command(&UNTIL_TERM));
    program.spawn(&mut command);
    survives(program);
}

fn survives(mut program: Program) {
    program.until_file("up");
    program.until_lines("runs", 6);
    program.until_file("catalogue/app");
    program.signal(Signal::SIGHUP);
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert_eq!(program.code(), 0);
}

#[test]
fn an_application_that_writes_to_a_reader_that_is_gone_dies_of_sigpipe() {
    let mut program = Program::new();
    program.configure(LOG_ELSEWHERE);
    drop(launch_into_pipe(&mut program, &["yes"]));
    assert_eq!(program.code(), 128 + 13);
}

#[test]
fn the_version_to_a_closed_stream_is_no_panic() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = command();
    let output = command.arg("-version").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
}

#[test]
fn the_last_lines_of_a_coprocess_are_logged() {
    let config = r#"{"directory": "@/catalogue", "coprocesses": [{"name": "side", "command":
        ["sh", "-c", "trap 'echo its last words; exit 0' TERM; touch @/ready; while :; do sleep 0.05; done"]}]}"#;
    let (code, program) = Program::run(
        config,
        &["sh", "-c", "while [ ! -e @/ready ]; do sleep 0.05; done"],
    );
    assert_eq!(code, 0);
    assert!(
        program.stdout().contains("its last words"),
        "{}",
        program.stdout()
    );
}
