//! `-check`: everything is reported, nothing is started, and the exit code says whether the configuration can be used.

use crate::program::{Program, command};
use std::process::Output;

/// The result of checking a configuration, in whose text `@` stands for the folder.
fn check(program: &Program, config: &str, flags: &[&str], application: &[&str]) -> Output {
    program.configure(config);
    let file = format!("file://{}", program.path("cp.json").display());
    let mut command = command();
    command
        .args(["-check", "-config", &file])
        .args(flags)
        .args(application);
    command.env_remove("CONTAINERPILOT").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const GOOD: &str = r#"{
  "directory": "@/catalogue",
  "stopTimeout": 10,
  "preStart": "touch @/started",
  "services": [{"name": "web", "port": 80, "poll": 5, "ttl": 20, "interfaces": "lo",
    "health": "no-such-check --quick", "timeout": "7s"}],
  "backends": [{"name": "db", "poll": 3, "onChange": ["sh", "-c", "reload 'all'"]}],
  "tasks": [{"name": "backup", "command": "/nowhere/backup", "frequency": "1h"}],
  "control": {"socket": "@/s", "group": 7}
}"#;

#[test]
fn a_usable_configuration_has_warnings_only_and_nothing_is_started() {
    let program = Program::new();
    let output = check(&program, GOOD, &[], &["no-such-application"]);
    assert_eq!(output.status.code(), Some(0));
    let file = program.path("cp.json").display().to_string();
    assert_eq!(text(&output.stdout), format!("{file}: no errors, 5 warnings\n"));
    let warnings = text(&output.stderr);
    for warning in [
        format!("warning: {file}:3:18: stopTimeout: Docker kills a container 10 seconds after"),
        format!("warning: {file}:6:15: services[0].health: there is no program `no-such-check` in PATH\n"),
        format!("warning: {file}:6:51: services[0].timeout: `timeout` is longer than `poll` in service web"),
        format!("warning: {file}:8:43: tasks[0].command: there is no program `/nowhere/backup`\n"),
        "warning: there is no program `no-such-application` in PATH\n".into(),
    ] {
        assert!(warnings.contains(&warning), "{warning}\n{warnings}");
    }
    assert!(!program.has("started") && !program.has("catalogue"));
}

#[test]
fn all_errors_are_reported_and_the_exit_code_is_1() {
    let program = Program::new();
    let wrong = r#"{"directory": "/x", "stopTimeout": "soon", "taks": []}"#;
    let output = check(&program, wrong, &["-explain"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let errors = text(&output.stderr);
    assert_eq!(errors.matches("error: ").count(), 2, "{errors}");
    let output = check(&program, wrong, &["-format", "json"], &[]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(1), String::new())
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["valid"], false);
    assert_eq!(answer["errors"][0]["key"], "stopTimeout");
    assert_eq!(
        (&answer["errors"][1]["line"], &answer["errors"][1]["column"]),
        (&1.into(), &44.into())
    );
    assert_eq!(answer["errors"][1]["hints"][0], "did you mean `tasks`?");
}

#[test]
fn interfaces_of_another_machine_are_warnings_only_if_that_is_asked_for() {
    let program = Program::new();
    let elsewhere = r#"{"consul": "c:8500",
        "services": [{"name": "web", "port": 80, "poll": 5, "ttl": 20, "interfaces": "eth77"}]}"#;
    let required = check(&program, elsewhere, &[], &[]);
    assert_eq!(required.status.code(), Some(1));
    assert!(text(&required.stderr).starts_with("error: "));
    let optional = check(&program, elsewhere, &["-interfaces=optional"], &[]);
    assert_eq!(optional.status.code(), Some(0));
    assert!(
        text(&optional.stderr).starts_with("warning: "),
        "{}",
        text(&optional.stderr)
    );
    let foreign = r#"{"consul": "c:8500",
        "services": [{"name": "web", "port": 80, "poll": 5, "ttl": 20, "interfaces": "static:192.0.2.1"}]}"#;
    let foreign = text(&check(&program, foreign, &[], &[]).stderr);
    assert!(
        foreign.contains("no interface of this machine has the address 192.0.2.1"),
        "{foreign}"
    );
}

#[test]
fn an_explanation_names_every_step_in_order() {
    let program = Program::new();
    let output = check(&program, GOOD, &["-explain"], &["sleep", "1 hour"]);
    let explained = text(&output.stdout).replace(&program.path("").display().to_string(), "@/");
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    insta::assert_snapshot!(explained.replace(&host, "HOST"));
}

#[test]
fn a_flag_that_means_nothing_without_check_is_refused() {
    for (flag, others) in [
        (&["-explain"][..], "-check"),
        (&["-format=json"], "-check or -status"),
        (&["-interfaces", "optional"], "-check"),
        (
            &["-socket", "/run/s"],
            "-reload, -maintenance, -ping, -status or -healthy",
        ),
    ] {
        let output = command().args(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag:?}");
        let sentence = format!("is used together with {others} only");
        assert!(text(&output.stderr).contains(&sentence), "{flag:?}");
    }
    let output = command().args(["-check", "-format", "xml"]).output().unwrap();
    let sentence = "invalid value \"xml\" for flag -format: allowed is text or json\n";
    assert!(
        text(&output.stderr).starts_with(sentence),
        "{}",
        text(&output.stderr)
    );
}
