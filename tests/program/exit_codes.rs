//! The exit code is the application's; every other end has a code of its own (docs/development/behaviour.md,
//! EX-2, EX-7, EX-8 and EX-20).

use crate::program::{Program, command};
use std::process::{Command, Output};

/// One run from start to exit.
pub struct ProgramRun {
    hooks: &'static str,
    application: &'static [&'static str],
    code: i32,
}

const fn life(hooks: &'static str, application: &'static [&'static str], code: i32) -> ProgramRun {
    ProgramRun {
        hooks,
        application,
        code,
    }
}

/// An application as a shell command.
macro_rules! shell {
    ($end:literal) => {
        &["sh", "-c", concat!("touch @/started; ulimit -c 0; ", $end)]
    };
}

/// Hooks, applications and the exit codes that they lead to. As process 1 the codes are the same.
pub const LIVES: [ProgramRun; 27] = [
    life("", shell!("exit 0"), 0),
    life("", shell!("exit 1"), 1),
    life("", shell!("exit 7"), 7),
    life("", shell!("exit 255"), 255),
    life("", shell!("kill -KILL $$"), 128 + 9),
    life("", shell!("kill -TERM $$"), 128 + 15),
    life("", shell!("kill -HUP $$"), 128 + 1),
    life("", shell!("kill -SEGV $$"), 128 + 11),
    life("", shell!("kill -40 $$"), 128 + 40),
    life("", shell!("kill -64 $$"), 128 + 64),
    life("", &["no-such-program"], 127),
    life("", &["@/no-such-program"], 127),
    life("", &["@/plain/below-a-file"], 127),
    life("", &["@/plain"], 126),
    life("", &["@"], 126),
    life("", &["@/no-format"], 126),
    life(r#""preStart": ["sh", "-c", "exit 3"],"#, shell!("exit 0"), 3),
    life(
        r#""preStart": ["sh", "-c", "kill -KILL $$"],"#,
        shell!("exit 0"),
        128 + 9,
    ),
    life(r#""preStart": "no-such-hook","#, shell!("exit 0"), 127),
    life(r#""preStart": "@/plain","#, shell!("exit 0"), 126),
    life(r#""postStop": ["sh", "-c", "exit 9"],"#, shell!("exit 3"), 9),
    life(r#""postStop": ["sh", "-c", "exit 9"],"#, shell!("exit 0"), 9),
    life(r#""postStop": "true","#, shell!("exit 3"), 3),
    life(
        r#""postStop": ["sh", "-c", "kill -TERM $$"],"#,
        shell!("exit 3"),
        128 + 15,
    ),
    life(r#""postStop": "no-such-hook","#, shell!("exit 3"), 127),
    life(r#""postStop": "@/plain","#, shell!("exit 3"), 126),
    life(
        r#""preStart": "", "preStop": "false", "postStop": [],"#,
        shell!("exit 3"),
        3,
    ),
];

impl ProgramRun {
    /// Runs it, and checks the exit code.
    pub fn check_exit_code(&self, launch: impl Fn(&mut Program, &[&str])) {
        let mut program = Program::new();
        program.write("plain", "");
        program.write_executable("no-format", "neither a script nor a binary\n");
        program.configure(&format!(r#"{{{} "directory": "@/catalogue"}}"#, self.hooks));
        launch(&mut program, self.application);
        let called = format!("{} {:?}", self.hooks, self.application);
        assert_eq!(program.code(), self.code, "{called}: {}", program.stdout());
        let runs = self.application.len() > 1 && !self.pre_start_fails();
        assert_eq!(program.has("started"), runs, "{called}");
    }

    fn pre_start_fails(&self) -> bool {
        self.hooks.starts_with(r#""preStart": "#) && !self.hooks.starts_with(r#""preStart": """#)
    }
}

#[test]
fn every_end_has_its_exit_code() {
    for life in LIVES {
        life.check_exit_code(Program::launch);
    }
}

#[test]
fn an_application_that_cannot_be_started_is_reported_with_the_reason() {
    let table = [
        (
            "no-such",
            r#"exec: "no-such": executable file not found in $PATH"#,
        ),
        ("/no/such", "fork/exec /no/such: no such file or directory"),
        ("/dev/null", "fork/exec /dev/null: permission denied"),
    ];
    for (application, sentence) in table {
        let (_, program) = Program::run(r#"{"directory": "@/catalogue"}"#, &[application]);
        assert!(program.stdout().contains(sentence), "{}", program.stdout());
    }
}

/// The output and exit code of the program for some command lines.
fn answer(change: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    change(&mut command())
        .output()
        .expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_version_is_two_lines_whatever_other_flags_are_given() {
    for words in [
        &["-version"][..],
        &["--version=true"],
        &["-config", "{", "-version", "-template"],
    ] {
        let output = answer(|command| command.args(words));
        let stdout = text(&output.stdout);
        let [version, hash] = stdout.lines().collect::<Vec<_>>()[..] else {
            panic!("two lines, not {stdout:?}");
        };
        assert!(version.starts_with("Version: ") && version.len() > 9, "{version}");
        assert!(hash.starts_with("GitHash: ") && hash.len() > 9, "{hash}");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new())
        );
    }
}

#[test]
fn help_exits_0_and_an_invalid_flag_exits_2() {
    for (word, code) in [
        ("-h", 0),
        ("--help", 0),
        ("-confg", 2),
        ("-config", 2),
        ("-version=x", 2),
    ] {
        let output = answer(|command| command.arg(word));
        assert_eq!(output.status.code(), Some(code), "{word}");
        assert!(text(&output.stderr).contains("Usage of "), "{word}");
        assert_eq!(text(&output.stdout), "", "{word}");
    }
}

#[test]
fn without_a_configuration_it_exits_1() {
    let ways: [fn(&mut Command) -> &mut Command; 3] = [
        |command| command.arg("true"),
        |command| command.args(["-config", "", "true"]),
        |command| command.env("CONTAINERPILOT", "").arg("true"),
    ];
    for way in ways {
        let output = answer(way);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("-config flag is required"));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_flag_takes_precedence_over_the_environment_and_the_environment_is_enough() {
    const GOOD: &str = r#"{"directory": "/nowhere"}"#;
    let code = |change: fn(&mut Command) -> &mut Command| answer(change).status.code();
    assert_eq!(
        code(|command| command.env("CONTAINERPILOT", GOOD).arg("true")),
        Some(0)
    );
    assert_eq!(
        code(|command| command.env("CONTAINERPILOT", "{").arg("true")),
        Some(1)
    );
    let both: fn(&mut Command) -> &mut Command =
        |command| command.env("CONTAINERPILOT", "{").args(["-config", GOOD, "true"]);
    assert_eq!(code(both), Some(0));
}

#[test]
fn a_wrong_configuration_exits_1() {
    let (code, program) = Program::run(r#"{"directory": "@", "nonsense": 1}"#, &["touch", "@/started"]);
    assert_eq!((code, program.has("started")), (1, false));
}

#[test]
fn a_template_is_printed_byte_for_byte() {
    let output = answer(|command| {
        command
            .env("NAME", "a=b")
            .args(["-template", "-config", "{{ .NAME }} {{ .NONE }}\n{"])
    });
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "a=b \n{".into())
    );
}
