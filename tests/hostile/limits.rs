//! Few descriptors, a limit on processes, a missing `/dev/null`, resource limits of the shim; and what
//! children do not inherit.

use crate::observed::{Hostile, Observed};
use crate::program::{Program, UNTIL_TERM, binary, in_namespaces, started_by};
use crate::slowness;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

const ALONE: &str = r#"{"directory": "@/catalogue"}"#;
const CHECKED: &str = r#"{"directory": "@/catalogue", "services": [
    {"name": "app", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10, "health": "true"}]}"#;

/// The program with a configuration and an application, started after lines of a shell script.
fn behind(shell: &str, config: &str, application: &[&str]) -> Program {
    let mut program = Program::new();
    program.configure(config);
    let script = format!("{shell}; exec \"$@\"");
    let mut command = started_by(&["sh", "-c", &script, "sh"], &program.command(application));
    program.spawn(&mut command);
    program
}

#[test]
fn with_few_descriptors_it_refuses_to_start_in_one_sentence_or_it_works() {
    // With three descriptors, not even the libraries of the program can be loaded.
    let codes: Vec<i32> = (4..=32)
        .map(|limit| {
            let application = [
                "sh",
                "-c",
                "while [ ! -e @/catalogue/app ]; do sleep 0.05; done; exit 7",
            ];
            let mut program = behind(&format!("ulimit -n {limit}"), CHECKED, &application);
            let (code, stderr) = (program.code(), program.stderr());
            let sentence =
                "16 free file descriptors are needed at the start (ulimit -n): too many open files";
            match code {
                7 => assert_eq!(stderr, "", "{limit}"),
                _ => assert!(
                    stderr.lines().count() == 1 && stderr.contains(sentence),
                    "{limit}: {stderr}"
                ),
            }
            code
        })
        .collect();
    assert_eq!((codes[0], codes[codes.len() - 1]), (1, 7));
    assert!(
        codes.is_sorted() && codes.iter().all(|code| [1, 7].contains(code)),
        "{codes:?}"
    );
}

#[test]
fn hundreds_of_services_need_no_more_than_the_hard_limit_and_children_have_the_soft_one() {
    with_hundreds_of_services(|command| format!(r#""poll": 1, "timeout": "60s", "health": {command}"#));
}

/// Their checks are forked and not started by the C library.
#[test]
fn hundreds_of_services_whose_checks_have_a_user_need_no_more_either() {
    assert!(geteuid().is_root(), "this test needs root");
    with_hundreds_of_services(|command| {
        format!(r#""poll": 2, "health": {{"command": {command}, "user": 0, "timeout": "2s"}}"#)
    });
}

fn with_hundreds_of_services(check: impl Fn(&str) -> String) {
    let service = |number: u32| {
        let script = format!(
            "ulimit -Sn > @/soft-check; echo >> @/runs-{number}; while [ ! -e @/go ]; do sleep 1; done"
        );
        let check = check(&format!(r#"["sh", "-c", "{script}"]"#));
        format!(r#"{{"name": "s{number}", "port": 1, "interfaces": "static:127.0.0.1", "ttl": 30, {check}}}"#)
    };
    let services: Vec<String> = (0..100).map(service).collect();
    let config = format!(
        r#"{{"directory": "@/catalogue", "services": [{}]}}"#,
        services.join(", ")
    );
    let application = UNTIL_TERM[2].replace(
        "touch @/up",
        "ulimit -Sn > @/soft; ulimit -Hn > @/hard; touch @/up",
    );
    let shell = "ulimit -Sn 64; ulimit -Hn 1024";
    let mut program = behind(shell, &config, &["sh", "-c", &application]);
    program.until_file("up");
    assert_eq!(
        (program.read("soft"), program.read("hard")),
        ("64\n".into(), "1024\n".into())
    );
    let everywhere =
        |program: &Program, name: &str| (0..100).all(|number| program.has(&format!("{name}{number}")));
    program.until("all checks run at a time", |program| everywhere(program, "runs-"));
    assert_eq!(program.read("soft-check"), "64\n");
    program.write("go", "");
    program.until("all services are registered", |program| {
        everywhere(program, "catalogue/s")
    });
    assert_eq!(program.stop(), 0);
    assert!(
        !program.stdout().contains("too many open files"),
        "{}",
        program.stdout()
    );
}

#[test]
fn without_a_null_device_children_run_and_a_warning_says_so() {
    let mut program = Program::new();
    program.configure(CHECKED);
    let script = "mount -t tmpfs none /dev && exec \"$@\"";
    let application = [
        "sh",
        "-c",
        "cat; while [ ! -e @/catalogue/app ]; do sleep 0.05; done; exit 7",
    ];
    let command = program.command(&application);
    let mut command = in_namespaces(&["--mount"], &["sh", "-c", script, "sh"], &command);
    program.spawn(&mut command);
    assert_eq!(program.code(), 7, "{}", program.stdout());
    let warning = "/dev/null cannot be used (no such file or directory): the standard input of children is an empty pipe";
    assert_eq!(
        program.stdout().matches(warning).count(),
        1,
        "{}",
        program.stdout()
    );
}

#[test]
fn a_file_in_the_place_of_the_null_device_is_not_read_and_not_waited_for() {
    for place in ["mkfifo /dev/null", "echo text > /dev/null"] {
        let mut program = Program::new();
        program.configure(ALONE);
        let script = format!("mount -t tmpfs none /dev && {place} && exec \"$@\"");
        let command = program.command(&["sh", "-c", "cat > @/read; exit 7"]);
        let mut command = in_namespaces(&["--mount"], &["sh", "-c", &script, "sh"], &command);
        program.spawn(&mut command);
        assert_eq!(
            (program.code(), program.read("read")),
            (7, String::new()),
            "{place}"
        );
    }
}

#[test]
fn no_child_gets_a_descriptor_that_the_shim_inherited() {
    let shell = "exec 7</dev/null 8</dev/null";
    let application = [
        "sh",
        "-c",
        "for n in /proc/$$/fd/*; do echo ${n##*/}; done > @/own; exit 7",
    ];
    let config = r#"{"directory": "@/catalogue", "preStart": ["sh", "-c", "ls /proc/$$/fd > @/hook"]}"#;
    let mut program = behind(shell, config, &application);
    assert_eq!(program.code(), 7);
    for file in ["own", "hook"] {
        let found = program.read(file);
        assert!(
            found.starts_with("0\n") && !found.contains("7\n") && !found.contains("8\n"),
            "{found}"
        );
    }
}

#[test]
fn limits_of_the_shim_itself_end_neither_it_nor_the_application() {
    let config = r#"{"directory": "@/catalogue",
        "tasks": [{"name": "t", "command": ["sh", "-c", "echo 0123456789012345678901234567890123456789"],
                   "frequency": "5ms"}]}"#;
    // The limit of a file's size counts in blocks of 512 bytes, of processor time in seconds.
    let mut program = behind("ulimit -f 2; ulimit -St 600", config, &UNTIL_TERM);
    program.until_file("up");
    program.until("the log is as long as it may be", |program| {
        program.stdout().len() >= 1024
    });
    for signal in [Signal::SIGXFSZ, Signal::SIGXCPU] {
        program.signal(signal);
    }
    program.signal(Signal::SIGUSR1);
    assert_eq!(program.stop(), 0);
    assert!(program.has("stopped") && program.stdout().len() == 1024);
}

/// A user without processes except those of one test.
fn own_user(number: u32) -> u32 {
    1_000_000 + 2 * std::process::id() + number
}

/// The options with which `setpriv` becomes this user.
fn identity(user: &str) -> [&str; 5] {
    ["--reuid", user, "--regid", user, "--clear-groups"]
}

/// The program as a separate user with this limit on processes.
fn with_processes(limit: u32, user: u32, config: &str, application: &[&str]) -> Program {
    assert!(geteuid().is_root(), "this test needs root");
    let mut program = Program::new();
    program.configure(config);
    fs::copy(binary(), program.path("containerpilot")).unwrap();
    fs::set_permissions(program.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let (user, limit) = (user.to_string(), format!("--nproc={limit}"));
    let mut command = program.command(application);
    let arguments: Vec<OsString> = command.get_args().map(Into::into).collect();
    command = started_by(
        &[&["setpriv"][..], &identity(&user), &["prlimit", &limit, "--"]].concat(),
        &Command::new(program.path("containerpilot")),
    );
    command.args(arguments);
    program.spawn(&mut command);
    program
}

#[test]
fn if_no_process_can_be_started_the_exit_code_is_126() {
    let mut program = with_processes(1, own_user(0), CHECKED, &["sleep", "1000"]);
    assert_eq!(program.code(), 126);
    let sentence = "fork/exec sleep: resource temporarily unavailable";
    assert!(program.stdout().contains(sentence), "{}", program.stdout());
}

#[test]
fn when_processes_run_out_jobs_fail_and_everything_else_goes_on() {
    let config = r#"{"consul": "127.0.0.1:1",
        "services": [{"name": "app", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10, "health": "true"}],
        "backends": [{"name": "other", "poll": 1, "onChange": "true"}],
        "tasks": [{"name": "t", "command": ["echo", "task ran"], "frequency": "1s"}]}"#;
    let mut program = with_processes(50, own_user(1), config, &["sleep", "1000"]);
    program.until("the task", |program| program.stdout().contains("task ran"));
    // The shim and the application are two processes. A thread during the start counts, too.
    let pid = program.pid().to_string();
    let limited = Command::new("setpriv")
        .args(identity(&own_user(1).to_string()))
        .args(["prlimit", "--nproc=2", "--pid", &pid])
        .status();
    assert!(limited.is_ok_and(|status| status.success()));
    for failed in ["task[t]", "app does not pass", "Failed to query other"] {
        program.until(failed, |program| program.stdout().contains(failed));
    }
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 128 + 15, "{}", program.stdout());
}

/// Signals that the shim ignores do not stay pending.
#[test]
fn ignored_signals_cost_nothing() {
    let observed = Observed::start(&Hostile::default());
    let numbers = [Signal::SIGPIPE, Signal::SIGURG, Signal::SIGXFSZ, Signal::SIGXCPU];
    numbers.iter().for_each(|number| observed.program.signal(*number));
    observed.until_starts(1);
    let before = observed.processor_time();
    observed.until_starts(2);
    let used = observed.processor_time() - before;
    assert!(
        used < Duration::from_millis(200) * slowness(),
        "{used:?} in two seconds"
    );
}
