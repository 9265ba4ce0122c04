//! Invalid configurations: every problem is reported, nothing is started, nothing is changed
//! (docs/development/behaviour.md, CLI-5, CFG-2 and LC-14).

use crate::program::{Program, UNTIL_TERM, command};
use nix::sys::signal::Signal;
use std::fs;

/// An invalid text and the whole report: `@` stands for the folder.
const WRONG: [(&str, &str); 20] = [
    (
        "{}",
        "@/cp.json:1:1: No discovery backend defined, needed is one of consul, etcd, directory\n\
         \x20   1 | {}\n\
         \x20     | ^",
    ),
    (
        "null",
        "@/cp.json:1:1: No discovery backend defined, needed is one of consul, etcd, directory\n\
         \x20   1 | null\n\
         \x20     | ^^^^",
    ),
    (
        r#"{"directory": "/x", "consul": "c:1"}"#,
        "@/cp.json:2:14: directory: More than one discovery backend defined, allowed is one of consul, etcd, directory\n\
         \x20   2 | \"directory\": \"/x\", \"consul\": \"c:1\"}\n\
         \x20     |              ^^^^",
    ),
    (
        "{\"directory\": \"/x\",\n\
         \"stopTimout\": 5}",
        "@/cp.json:3:1: stopTimout: unknown key `stopTimout`\n\
         \x20   3 | \"stopTimout\": 5}\n\
         \x20     | ^^^^^^^^^^^^\n\
         hint: did you mean `stopTimeout`?",
    ),
    (
        r#"{"directory": "/x", "stopTimeout": "soon"}"#,
        "@/cp.json:2:35: stopTimeout: not a whole number: found \"soon\", allowed is a whole number of seconds, or -1 for SIGKILL at once\n\
         \x20   2 | \"directory\": \"/x\", \"stopTimeout\": \"soon\"}\n\
         \x20     |                                   ^^^^^^",
    ),
    (
        r#"{"directory": "/x", "services": {"name": "x"}}"#,
        "@/cp.json:2:32: services: not a list: found an object, allowed is an array of services\n\
         \x20   2 | \"directory\": \"/x\", \"services\": {\"name\": \"x\"}}\n\
         \x20     |                                ^",
    ),
    (
        "{\"directory\": \"/x\", \"services\": [\n\
         {\"name\": \"app\", \"port\": 1, \"interfaces\": \"lo\",\n\
         \"ttl\": 5,\n\
         \"poll\": 0}]}",
        "@/cp.json:5:9: services[0].poll: `poll` must be > 0 in service app: found 0, allowed is a whole number of seconds from 1\n\
         \x20   5 | \"poll\": 0}]}\n\
         \x20     |         ^",
    ),
    (
        "{\"directory\": \"/x\", \"services\": [{\"name\": \"a\", \"port\": 1, \"poll\": 1, \"ttl\": 2, \"interfaces\": \"lo\"},\n\
         \x20           {\"name\": \"a\", \"port\": 1, \"poll\": 1, \"ttl\": 2, \"interfaces\": \"lo\"}]}",
        "@/cp.json:3:13: services[1]: there are two services called a\n\
         \x20   3 |             {\"name\": \"a\", \"port\": 1, \"poll\": 1, \"ttl\": 2, \"interfaces\": ...\n\
         \x20     |             ^",
    ),
    (
        r#"{"directory": "/x", "backends": [{"name": "db", "poll": "x"}]}"#,
        "@/cp.json:2:33: backends[0]: `onChange` is required in backend db\n\
         \x20   2 | \"directory\": \"/x\", \"backends\": [{\"name\": \"db\", \"poll\": \"x\"}]}\n\
         \x20     |                                 ^\n\
         @/cp.json:2:56: backends[0].poll: not a whole number: found \"x\", allowed is a whole number of seconds from 1\n\
         \x20   2 | \"directory\": \"/x\", \"backends\": [{\"name\": \"db\", \"poll\": \"x\"}]}\n\
         \x20     |                                                        ^^^",
    ),
    (
        r#"{"directory": "/x", "tasks": [{"frequency": "1ns"}]}"#,
        "@/cp.json:2:30: tasks[0]: Task did not provide a command\n\
         \x20   2 | \"directory\": \"/x\", \"tasks\": [{\"frequency\": \"1ns\"}]}\n\
         \x20     |                              ^\n\
         @/cp.json:2:44: tasks[0].frequency: Unable to parse frequency: it cannot be less than 1ms: found \"1ns\", allowed is a number of seconds or a duration such as \"500ms\" or \"1m30s\"\n\
         \x20   2 | \"directory\": \"/x\", \"tasks\": [{\"frequency\": \"1ns\"}]}\n\
         \x20     |                                            ^^^^^",
    ),
    (
        r#"{"directory": "/x", "coprocesses": [{"command": "a", "restarts": -1}]}"#,
        "@/cp.json:2:65: coprocesses[0].restarts: Invalid 'restarts' field \"-1\": accepts positive integers, \"unlimited\" or \"never\"\n\
         \x20   2 | ...ectory\": \"/x\", \"coprocesses\": [{\"command\": \"a\", \"restarts\": -1}]}\n\
         \x20     |                                                                ^^",
    ),
    (
        "{\"directory\": \"/x\", \"logging\": {\"level\": \"loud\",\n\
         \x20           \"format\": \"xml\"}}",
        "@/cp.json:2:41: logging.level: Unknown log level 'loud': found \"loud\", allowed is debug, info, warn, warning, error, fatal, panic\n\
         \x20   2 | \"directory\": \"/x\", \"logging\": {\"level\": \"loud\",\n\
         \x20     |                                         ^^^^^^\n\
         @/cp.json:3:23: logging.format: Unknown log format 'xml': found \"xml\", allowed is default, text, json, plain\n\
         \x20   3 |             \"format\": \"xml\"}}\n\
         \x20     |                       ^^^^^",
    ),
    (
        r#"{"directory": "/x", "preStop": ["a", null]}"#,
        "@/cp.json:2:37: preStop[1]: not a word of a command: found null, allowed is a string, a number or a boolean\n\
         \x20   2 | \"directory\": \"/x\", \"preStop\": [\"a\", null]}\n\
         \x20     |                                     ^^^^",
    ),
    (
        "<>",
        "@/cp.json:1:1: Parse error at line:col [1:1]: invalid character '<' looking for beginning of value\n\
         \x20   1 | <>\n\
         \x20     | ^\n\
         hint: a configuration is a JSON object, which begins with {; YAML is not read",
    ),
    (
        "{\n\
         \x20   \"test\": ,\n\
         }",
        "@/cp.json:2:13: Parse error at line:col [2:13]: invalid character ',' looking for beginning of value\n\
         \x20   1 | {\n\
         \x20   2 |     \"test\": ,\n\
         \x20     |             ^",
    ),
    (
        "{\"tasks\": [\n\
         1,\n\
         ]}",
        "@/cp.json:3:1: Parse error at line:col [3:1]: invalid character ']' looking for beginning of value\n\
         \x20   2 | 1,\n\
         \x20   3 | ]}\n\
         \x20     | ^\n\
         hint: Do you have an extra comma somewhere?",
    ),
    (
        r#"{"directory": "/x""#,
        "@/cp.json:1:18: Parse error at line:col [1:18]: unexpected end of JSON input\n\
         \x20   1 | {\"directory\": \"/x\"\n\
         \x20     |                  ^",
    ),
    (
        "",
        "@/cp.json:1:1: Parse error at line:col [1:0]: unexpected end of JSON input\n\
         \x20   1 | \n\
         \x20     | ^\n\
         hint: there is nothing but white space",
    ),
    (
        "\n\
         {{ .X",
        "@/cp.json:2:6: Could not apply template to config: template: :2: unclosed action\n\
         \x20   2 | {{ .X\n\
         \x20     |      ^",
    ),
    (
        "{{ .PATH.B }}",
        "@/cp.json:1:9: Could not apply template to config: template: :1:8: executing \"\" at <.PATH.B>: can't evaluate field B in type string\n\
         \x20   1 | {{ .PATH.B }}\n\
         \x20     |         ^",
    ),
];

/// A valid configuration, whose children leave traces.
const GOOD: &str = r#"{"directory": "@/catalogue", "preStart": "touch @/pre-started", "services":
    [{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30, "health": ["sh", "-c", "echo x >> @/checks"]}]}"#;

/// A configuration with a fault, and before it on a separate line a hook that would leave a trace.
fn with_hook(wrong: &str) -> String {
    match wrong.strip_prefix('{') {
        Some(rest) if rest.starts_with("\"directory\"") && rest.contains(',') => {
            format!("{{\"preStart\": \"touch @/started\",\n{rest}")
        }
        _ => wrong.to_owned(),
    }
}

/// A log entry without its time stamp.
fn sentence(entry: &str) -> &str {
    entry.get(20..).unwrap_or_default().trim_end_matches('\n')
}

#[test]
fn a_wrong_configuration_is_reported_in_full_on_standard_error_and_starts_nothing() {
    for (wrong, report) in WRONG {
        let (code, program) = Program::run(&with_hook(wrong), &["touch", "@/started"]);
        let stderr = program.stderr();
        assert_eq!(sentence(&stderr), program.expand(report), "{wrong}");
        assert_eq!((code, program.stdout()), (1, String::new()), "{wrong}");
        assert!(!program.has("started"), "{wrong}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_reported_on_standard_error_and_starts_nothing() {
    let mut program = Program::new();
    program.launch(&["touch", "@/started"]);
    assert_eq!(program.code(), 1);
    let missing = program.expand("Could not read config file: open @/cp.json: no such file or directory");
    assert_eq!(sentence(&program.stderr()), missing);
    fs::create_dir(program.path("cp.json")).unwrap();
    program.launch(&["touch", "@/started"]);
    assert_eq!(program.code(), 1);
    let folder = program
        .expand("Could not read config file: open @/cp.json: is a directory; a regular file is needed");
    assert_eq!(sentence(&program.stderr()), folder);
    fs::remove_dir(program.path("cp.json")).unwrap();
    fs::write(program.path("cp.json"), b"{\"directory\": \"\xff\"}").unwrap();
    program.launch(&["touch", "@/started"]);
    assert_eq!(program.code(), 1);
    assert!(program.stderr().contains("UTF-8"), "{}", program.stderr());
    assert!(!program.has("started"));
    assert_eq!(program.stdout(), "");
}

#[test]
fn a_path_without_its_prefix_is_read_as_json() {
    let output = command()
        .args(["-config", "/etc/cp.json", "true"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("configuration:1:1: Parse error at line:col [1:1]"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_configuration_on_sighup_is_reported_and_changes_nothing() {
    let mut program = Program::start(GOOD, &UNTIL_TERM);
    program.until_file("catalogue/app");
    fs::remove_file(program.path("pre-started")).unwrap();
    for (wrong, report) in WRONG {
        let message = format!("Error initializing config: {}", program.expand(report));
        let times = |program: &Program| program.stdout().matches(&message).count();
        let before = times(&program);
        program.configure(&with_hook(wrong));
        program.signal(Signal::SIGHUP);
        program.until(&message, |program| times(program) == before + 1);
    }
    fs::remove_file(program.path("cp.json")).unwrap();
    program.signal(Signal::SIGHUP);
    program.until_logged("Error initializing config: Could not read config file: open ");
    let checks = program.lines("checks");
    program.until_lines("checks", checks + 2);
    assert_eq!(fs::read_dir(program.path("catalogue/app")).unwrap().count(), 1);
    assert!(
        !program.stdout().contains("Deregistering"),
        "{}",
        program.stdout()
    );
    assert!(!program.has("pre-started") && !program.has("started") && !program.has("stopped"));
    assert_eq!(program.stop(), 0);
}
