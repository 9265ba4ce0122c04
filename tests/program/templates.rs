//! Templates with each catalogue: files that follow the instances of a service, commands, the start that waits, `-render`.

use crate::agent::{Agent, hostname};
#[cfg(feature = "etcd")]
use crate::etcd_server::Server;
use crate::program::{Program, UNTIL_TERM};
use nix::sys::signal::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

/// Lists the instances of the service that the same shim registers.
const UPSTREAMS: &str = r#"{{range service "app"}}{{.Address}}:{{.Port}} {{join "," .Tags}}
{{else}}none
{{end}}"#;

/// A service that is healthy while the file `healthy` exists, and a template that lists its instances. The command of the
/// template adds the file to the file `seen`.
fn config(catalogue: &str) -> String {
    format!(
        r#"{{{catalogue}, "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7", "tags": ["blue"],
            "poll": 1, "ttl": 3600, "health": {{"command": ["test", "-e", "@/healthy"], "failures": 1}}}}],
            "templates": [{{"source": "@/upstreams.tmpl", "destination": "@/out/upstreams", "mode": "0640",
                            "command": ["sh", "-c", "cat @/out/upstreams >> @/seen"]}}]}}"#
    )
}

fn until_written(program: &Program, name: &str, text: &str) {
    program.until(&format!("{name} contains {text:?}"), |program| {
        program.has(name) && program.read(name) == text
    });
}

fn a_file_follows_the_instances(catalogue: &str) {
    let mut program = Program::new();
    program.write("upstreams.tmpl", UPSTREAMS);
    program.configure(&config(catalogue));
    program.launch(&UNTIL_TERM);
    until_written(&program, "out/upstreams", "none\n");
    program.write("healthy", "");
    until_written(&program, "out/upstreams", "192.0.2.7:8000 blue\n");
    fs::remove_file(program.path("healthy")).unwrap();
    until_written(&program, "out/upstreams", "none\n");
    until_written(&program, "seen", "none\n192.0.2.7:8000 blue\nnone\n");
    let mode = fs::metadata(program.path("out/upstreams")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o7777, 0o640);
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_file_follows_the_instances_in_a_folder() {
    a_file_follows_the_instances(r#""directory": "@/catalogue""#);
}

#[test]
fn a_file_follows_the_instances_in_consul() {
    let agent = Agent::start();
    a_file_follows_the_instances(&format!(r#""consul": "{}""#, agent.address()));
}

#[test]
#[cfg(feature = "etcd")]
fn a_file_follows_the_instances_in_etcd() {
    let server = Server::start("3.5");
    a_file_follows_the_instances(&format!(r#""etcd": {{"endpoints": "{}"}}"#, server.url()));
}

#[test]
fn in_consul_an_instance_has_its_node_and_the_tag_selects_it() {
    let agent = Agent::start();
    let program = Program::new();
    program.write(
        "t",
        "{{range service \"blue.app\"}}{{.ID}} {{.Name}} {{if .Node}}on a node{{end}}{{end}}|{{range service \"red.app\"}}x{{end}}",
    );
    let mut program = program;
    program.write("healthy", "");
    let config = config(&format!(r#""consul": "{}""#, agent.address()));
    program.configure(&config.replace("upstreams.tmpl", "t"));
    program.launch(&UNTIL_TERM);
    until_written(
        &program,
        "out/upstreams",
        &format!("app-{} app on a node|", hostname()),
    );
}

/// Uses a key that has to exist, one with a default, the keys of one level and all services.
const KEYS: &str = r#"{{key "conf/color"}} {{keyOrDefault "conf/size" "small"}}
{{- range ls "conf/limits"}} {{.Key}}={{.Value}}{{end}}
{{- range services}}{{if eq .Name "app"}} {{.Name}}:{{join "," .Tags}}{{end}}{{end}}"#;

fn a_file_follows_keys_and_services(catalogue: &str, set: &dyn Fn(&str, Option<&[u8]>)) {
    let mut program = Program::new();
    program.write("upstreams.tmpl", KEYS);
    program.write("healthy", "");
    let config = config(&format!(r#"{catalogue}, "startTimeout": "1h""#));
    program.configure(&config.replace(r#""mode": "0640""#, r#""required": true"#));
    set("conf/limits/b/deeper", Some(b"0"));
    set("conf/limits/b", Some(b"2"));
    program.launch(&UNTIL_TERM);
    program.until_logged(
        &program.expand("Template @/out/upstreams is not written before key conf/color exists"),
    );
    assert!(!program.has("up") && !program.has("out/upstreams"));
    set("conf/color", Some(b"red"));
    program.until_file("up");
    until_written(&program, "out/upstreams", "red small b=2 app:blue");
    set("conf/limits/a", Some(b"1"));
    until_written(&program, "out/upstreams", "red small a=1 b=2 app:blue");
    set("conf/size", Some(b"large"));
    until_written(&program, "out/upstreams", "red large a=1 b=2 app:blue");
    set("conf/limits/b", None);
    until_written(&program, "out/upstreams", "red large a=1 app:blue");
    set("conf/color", None);
    program.until("the key is missed", |program| {
        program
            .stdout()
            .matches("is not written before key conf/color exists")
            .count()
            == 2
    });
    assert_eq!(program.read("out/upstreams"), "red large a=1 app:blue");
    set("conf/color", Some(b"blue"));
    until_written(&program, "out/upstreams", "blue large a=1 app:blue");
    set("conf/size", None);
    until_written(&program, "out/upstreams", "blue small a=1 app:blue");
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_file_follows_keys_and_services_in_consul() {
    let agent = Agent::start();
    let catalogue = format!(r#""consul": "{}""#, agent.address());
    a_file_follows_keys_and_services(&catalogue, &|key, value| agent.set_key(key, value));
}

#[test]
#[cfg(feature = "etcd")]
fn a_file_follows_keys_and_services_in_etcd() {
    let server = Server::start("3.5");
    let catalogue = format!(r#""etcd": {{"endpoints": "{}"}}"#, server.url());
    a_file_follows_keys_and_services(&catalogue, &|key, value| server.set_key(key, value));
}

#[test]
fn a_file_follows_the_services_in_a_folder() {
    let mut program = Program::new();
    program.write(
        "upstreams.tmpl",
        "{{range services}}{{.Name}}:{{join \",\" .Tags}} {{end}}",
    );
    program.configure(&config(r#""directory": "@/catalogue""#));
    program.launch(&UNTIL_TERM);
    until_written(&program, "out/upstreams", "");
    program.write("healthy", "");
    until_written(&program, "out/upstreams", "app:blue ");
    fs::remove_file(program.path("healthy")).unwrap();
    until_written(&program, "out/upstreams", "");
    assert_eq!(program.stop(), 0);
}

#[test]
fn keys_of_a_folder_are_an_error_with_its_place() {
    let mut program = Program::new();
    program.write("t", "a\n  {{key \"a\"}}");
    program.configure(&REQUIRED.replace("LIMIT", "1h"));
    program.launch(&UNTIL_TERM);
    let place = program.expand("Template @/out was not written: @/t, line 2, column 5: ");
    program.until_logged(&format!(
        "{place}error calling key: keys need Consul or etcd, and the catalogue is a folder (in key \"a\")"
    ));
    program.write("t", "b");
    program.until_file("up");
    assert_eq!(program.read("out"), "b");
}

#[test]
fn a_key_that_does_not_exist_ends_a_start_that_needs_it_and_a_rendering() {
    let agent = Agent::start();
    let mut program = Program::new();
    program.write("t", "{{key \"conf/color\"}}{{keyOrDefault \"conf/size\" \"\"}}");
    let catalogue = format!(r#""consul": "{}""#, agent.address());
    let config = REQUIRED.replace(r#""directory": "@/catalogue""#, &catalogue);
    program.configure(&config.replace("LIMIT", "2s"));
    program.launch(&UNTIL_TERM);
    assert_eq!(program.code(), 1);
    let sentence = program
        .expand("Template @/out is required and was not written within 2s: it waits for key conf/color\n");
    assert!(program.stdout().contains(&sentence), "{}", program.stdout());
    assert!(!program.has("up") && !program.has("out"));
    let rendered = |limit: &str| {
        let mut program = Program::new();
        program.write(
            "t",
            "{{key \"conf/color\"}}{{range ls \"conf\"}} {{.Key}}{{end}}{{len services}}",
        );
        program.configure(&config.replace("LIMIT", limit));
        (render(&mut program), program)
    };
    assert_eq!(rendered("1s").0, 1);
    agent.set_key("conf/color", Some(b"red"));
    let (code, program) = rendered("1h");
    // Consul itself is a service.
    assert_eq!(
        (code, program.read("out").as_str()),
        (0, "red color1"),
        "{}",
        program.stdout()
    );
}

/// A template that cannot be rendered before the file `input` is there, and that the application needs.
const REQUIRED: &str = r#"{"directory": "@/catalogue", "startTimeout": "LIMIT",
    "templates": [{"source": "@/t", "destination": "@/out", "required": true}]}"#;

#[test]
fn the_application_starts_when_the_required_template_is_written() {
    let mut program = Program::new();
    program.write("t", &program.expand("{{file \"@/input\"}}"));
    program.configure(&REQUIRED.replace("LIMIT", "1h"));
    program.launch(&UNTIL_TERM);
    program.until_logged("input cannot be read: no such file or directory");
    assert!(!program.has("up") && !program.has("out"));
    program.write("input", "now");
    program.until_file("up");
    assert_eq!(program.read("out"), "now");
    program.write("input", "later");
    until_written(&program, "out", "later");
    assert_eq!(program.stop(), 0);
}

#[test]
fn without_the_required_template_the_application_never_starts_and_the_code_is_1() {
    let program = Program::new();
    program.write(
        "t",
        "{{range $i, $s := service \"db\"}}{{else}}{{file \"/none\"}}{{end}}",
    );
    program.configure(&REQUIRED.replace("LIMIT", "2s"));
    let mut program = program;
    program.launch(&UNTIL_TERM);
    assert_eq!(program.code(), 1);
    assert!(!program.has("up"));
    let sentence = program.expand("Template @/out is required and was not written within 2s");
    assert!(program.stdout().contains(&sentence), "{}", program.stdout());
}

#[test]
fn sigterm_ends_a_start_that_waits_for_a_template() {
    let mut program = Program::new();
    program.write("t", "{{file \"/none\"}}");
    program.configure(&REQUIRED.replace("LIMIT", "1h"));
    program.launch(&UNTIL_TERM);
    program.until_logged("was not written");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 143);
    assert!(!program.has("up"));
}

#[test]
fn a_wrong_template_leaves_the_old_file_until_it_is_corrected() {
    let mut program = Program::new();
    program.write("t", "one");
    program.configure(
        r#"{"directory": "@/catalogue", "templates": [{"source": "@/t", "destination": "@/out",
            "command": ["sh", "-c", "echo >> @/runs"]}]}"#,
    );
    program.launch(&UNTIL_TERM);
    until_written(&program, "out", "one");
    program.until_lines("runs", 1);
    program.write("t", "two\n  {{index (loop 1) 5}}");
    program.signal(Signal::SIGHUP);
    program.until_logged(&program.expand("@/t, line 2, column 5: error calling index: "));
    assert_eq!(program.read("out"), "one");
    fs::remove_file(program.path("t")).unwrap();
    program.until_logged(&program.expand("@/t cannot be read: no such file or directory"));
    assert_eq!(program.read("out"), "one");
    program.write("t", "three");
    until_written(&program, "out", "three");
    program.until_lines("runs", 2);
    program.until_logged("is written again after");
    fs::remove_file(program.path("out")).unwrap();
    program.signal(Signal::SIGHUP);
    until_written(&program, "out", "three");
    program.until_lines("runs", 3);
    program.signal(Signal::SIGHUP);
    program.until("a second reload", |program| {
        program.stdout().matches("Configuration reloaded").count() == 3
    });
    assert_eq!(program.stop(), 0);
    assert_eq!(program.lines("runs"), 3, "the last reload changed nothing");
}

/// Runs the program with `-render` to its end. Returns the exit code.
fn render(program: &mut Program) -> i32 {
    let mut command = program.command(&[]);
    command.arg("-render");
    program.spawn(&mut command);
    program.code()
}

#[test]
fn render_writes_all_templates_once_and_ends() {
    let mut program = Program::new();
    program.write("a", "{{range service \"app\"}}x{{else}}none{{end}}");
    program.write(
        "b",
        "{{env \"HOME\" | toUpper | len | printf \"%d\" | contains \"x\"}}",
    );
    program.configure(
        r#"{"directory": "@/catalogue", "preStart": "touch @/hook",
            "services": [{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 10}],
            "templates": [{"source": "@/a", "destination": "@/out-a", "command": "touch @/command"},
                          {"source": "@/b", "destination": "@/out-b"}]}"#,
    );
    assert_eq!(render(&mut program), 0, "{}", program.stdout());
    assert_eq!(
        (program.read("out-a").as_str(), program.read("out-b").as_str()),
        ("none", "false")
    );
    assert!(!program.has("hook") && !program.has("command") && !program.has("catalogue/app"));
}

#[test]
fn render_ends_with_1_at_an_error_and_when_something_stays_unknown() {
    let mut program = Program::new();
    program.write("t", "{{len 1}}");
    program.configure(
        r#"{"directory": "@/catalogue", "templates": [{"source": "@/t", "destination": "@/out"}]}"#,
    );
    assert_eq!(render(&mut program), 1);
    assert!(
        program.stdout().contains("line 1, column 3"),
        "{}",
        program.stdout()
    );
    let mut program = Program::new();
    program.write("t", "{{range service \"app\"}}{{end}}");
    // Nothing listens there: the address is reserved for no server.
    program.configure(
        r#"{"consul": "127.0.0.1:1", "startTimeout": "1s",
            "templates": [{"source": "@/t", "destination": "@/out"}]}"#,
    );
    assert_eq!(render(&mut program), 1);
    let log = program.stdout();
    assert!(
        log.contains("was not written within 1s: it waits for service app"),
        "{log}"
    );
    assert!(!program.has("out"));
}

#[test]
fn an_unwritable_destination_is_reported_and_tried_again() {
    let mut program = Program::new();
    program.write("t", "text");
    fs::create_dir(program.path("out")).unwrap();
    program.configure(
        r#"{"directory": "@/catalogue", "templates": [{"source": "@/t", "destination": "@/out"}]}"#,
    );
    program.launch(&UNTIL_TERM);
    program.until_logged(&program.expand("Template @/out was not written: it is a directory"));
    fs::remove_dir(program.path("out")).unwrap();
    until_written(&program, "out", "text");
    fs::set_permissions(program.path("out"), Permissions::from_mode(0o600)).unwrap();
    program.write("t", "other");
    program.signal(Signal::SIGHUP);
    until_written(&program, "out", "other");
    let mode = fs::metadata(program.path("out")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o7777, 0o600, "it keeps its permissions");
    assert_eq!(program.stop(), 0);
}
