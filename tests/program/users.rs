//! The users and groups of the application and of commands, and the time limits of commands: the keys `user`, `group` and
//! `timeout` (docs/development/pid1.md, row 30).

use crate::isolated::isolated;
use crate::program::{Program, binary, started_by};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The databases of the machine on which the tests run.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:7033:7034:web:/srv/web:/bin/false\n\
                      app:x:7050:7050::/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nweb:x:7034:\naudio:x:7029:web,app\nstaff:x:7060:web\napp:x:7050:\n";

/// Runs a test on a machine with these users and groups.
fn with_users(test: impl FnOnce() + Send + 'static) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut script = String::new();
    for (name, text) in [("passwd", PASSWD), ("group", GROUP)] {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file in a temporary folder");
        script += &format!("mount --bind {} /etc/{name}\n", file.display());
    }
    isolated(&script, test);
}

/// A program in a folder in which every user may write.
fn program() -> Program {
    assert!(geteuid().is_root(), "this test needs root");
    let program = Program::new();
    fs::set_permissions(program.path(""), fs::Permissions::from_mode(0o777)).expect("it is ours");
    program
}

/// A script that writes into a file which user and groups it has and what its environment says of them.
fn script(file: &str) -> String {
    format!(
        "{{ grep -E '^(Uid|Gid|Groups):' /proc/self/status; echo $HOME $USER $LOGNAME; }} > @/{file}.new; \
         mv @/{file}.new @/{file}"
    )
}

/// A command that runs it.
fn who(file: &str) -> String {
    format!(r#"["sh", "-c", "{}"]"#, script(file))
}

/// Whether a user has processes.
fn has_processes(user: u32) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let mut statuses = processes.filter_map(|process| fs::read_to_string(process.path().join("status")).ok());
    statuses.any(|status| status.contains(&format!("\nUid:\t{user}\t")))
}

/// What such a command writes.
fn written(program: &Program, file: &str) -> String {
    program.until_file(file);
    let words: Vec<String> = program.read(file).split_whitespace().map(str::to_owned).collect();
    words.join(" ")
}

fn ids(user: u32, group: u32, groups: &str, login: &str) -> String {
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let groups = format!("Groups: {groups}");
    let line = format!(
        "Uid: {} Gid: {} {} {login}",
        four(user),
        four(group),
        groups.trim()
    );
    line.trim().to_owned()
}

#[test]
fn every_command_runs_as_its_user() {
    with_users(|| {
        let mut program = program();
        let object = |file: &str, keys: &str| format!(r#"{{"command": {}, {keys}}}"#, who(file));
        let web = |file: &str| object(file, r#""user": "web""#);
        program.configure(&format!(
            r#"{{"directory": "@/catalogue", "user": "app", "preStart": {}, "preStop": {}, "postStop": {},
                "services": [{{"name": "a", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 5, "health": {}}}],
                "backends": [{{"name": "a", "poll": 1, "onChange": {}}}],
                "tasks": [{{"command": {}, "frequency": "50ms", "timeout": "10s"}}],
                "coprocesses": [{{"command": {}}}],
                "telemetry": {{"port": 19090, "interfaces": "lo", "sensors": [{{"name": "s", "help": "h", "type": "gauge",
                              "poll": 1, "check": {}}}]}}}}"#,
            object("preStart", r#""user": 7050, "group": "staff""#),
            object("preStop", r#""user": "4711", "group": 8"#),
            object("postStop", r#""group": "audio""#),
            web("health"),
            web("onChange"),
            web("task"),
            web("coprocess"),
            web("sensor"),
        ));
        program.set("HOME", "/here");
        program.set("USER", "somebody");
        program.set("LOGNAME", "somebody");
        let application = script("app");
        program.launch(&[
            "sh",
            "-c",
            &format!("{application}; trap 'exit 0' TERM; while :; do sleep 0.05; done"),
        ]);
        let of_web = ids(7033, 7034, "7029 7034 7060", "/srv/web web web");
        for file in ["health", "onChange", "task", "coprocess", "sensor"] {
            assert_eq!(written(&program, file), of_web, "{file}");
        }
        let of_app = ids(7050, 7050, "7029 7050", "/home/app app app");
        assert_eq!(written(&program, "app"), of_app);
        let pre_start = ids(7050, 7060, "7029 7060", "/home/app app app");
        assert_eq!(written(&program, "preStart"), pre_start);
        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 0);
        assert_eq!(written(&program, "preStop"), ids(4711, 8, "", "/ 4711 4711"));
        let own = fs::read_to_string("/proc/self/status").expect("this process");
        let groups = own
            .lines()
            .find_map(|line| line.strip_prefix("Groups:"))
            .expect("groups");
        let groups: Vec<&str> = groups.split_whitespace().collect();
        let post_stop = ids(0, 7029, &groups.join(" "), "/here somebody somebody");
        assert_eq!(written(&program, "postStop"), post_stop);
    });
}

/// The lines of `/proc/PID/status`, without signals 32 and 33, which the C library keeps to itself: its `posix_spawn` ignores
/// them in every child.
fn without_internal(status: &str) -> Vec<String> {
    let line = |line: &str| match line.strip_prefix("SigIgn:") {
        Some(mask) => {
            let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
            format!("SigIgn: {:x}", mask & !0x1_8000_0000)
        }
        None => line.to_owned(),
    };
    status.lines().map(line).collect()
}

#[test]
fn all_else_is_as_for_a_child_without_a_user() {
    with_users(|| {
        let seen = |members: &str| {
            let mut program = program();
            program.configure(&format!(r#"{{"directory": "@/catalogue"{members}}}"#));
            program.set("ODD", "a=b\nc \u{1b}");
            program.set("HOME", "/here");
            let script = "cat /proc/$$/environ > @/environment; grep -E '^(SigBlk|SigIgn|SigCgt|NoNewPrivs)' \
                          /proc/self/status > @/status; ulimit -n >> @/status; set -- /proc/$$/fd/*; echo $# >> @/status";
            program.launch(&["sh", "-c", script]);
            assert_eq!(program.code(), 0, "{}", program.stdout());
            let read = |name: &str| program.read(name);
            let entries = read("environment")
                .split_terminator('\0')
                .map(str::to_owned)
                .collect();
            (entries, read("status"))
        };
        let (without, plain): (Vec<String>, String) = seen("");
        let (with, other): (Vec<String>, String) = seen(r#", "user": "web""#);
        assert_eq!(without_internal(&other), without_internal(&plain));
        let set = ["HOME", "USER", "LOGNAME"];
        let is_set = |entry: &&String| entry.split('=').next().is_some_and(|name| set.contains(&name));
        let kept = |entries: &[String]| -> Vec<String> {
            let own = |entry: &&String| !is_set(entry) && !entry.starts_with("CONTAINERPILOT_");
            entries.iter().filter(own).cloned().collect()
        };
        assert_eq!(kept(&with), kept(&without));
        let login: Vec<&String> = with.iter().filter(is_set).collect();
        assert_eq!(login, ["HOME=/srv/web", "USER=web", "LOGNAME=web"]);
    });
}

#[test]
fn numbers_work_on_a_machine_without_databases() {
    isolated("mount -t tmpfs tmpfs /etc", || {
        let mut program = program();
        program.configure(r#"{"directory": "@/catalogue", "user": 7033, "group": 7034}"#);
        program.launch(&["/bin/sh", "-c", &script("app")]);
        assert_eq!(program.code(), 0, "{}", program.stdout());
        assert_eq!(written(&program, "app"), ids(7033, 7034, "", "/ 7033 7033"));
        program.configure(r#"{"directory": "@/catalogue", "user": 7033}"#);
        program.launch(&["true"]);
        assert_eq!(program.code(), 1);
        let sentence = "user 7033 has no entry in /etc/passwd, so a `group` is needed";
        assert!(program.stderr().contains(sentence), "{}", program.stderr());
    });
}

/// Starts the program with these words before it, and expects that it refuses the configuration with this sentence.
fn refused(words: &[&str], config: &str, sentence: &str) {
    let mut program = program();
    program.configure(config);
    let command = program.command(&["true"]);
    let mut command = match words.is_empty() {
        true => command,
        false => started_by(words, &command),
    };
    program.spawn(&mut command);
    assert_eq!(program.code(), 1, "{config}: {}", program.stdout());
    assert!(
        program.stderr().contains(sentence),
        "{config}: {}",
        program.stderr()
    );
}

#[test]
fn what_the_shim_may_not_start_is_refused_at_the_start() {
    with_users(|| {
        let user = r#"{"directory": "@/catalogue", "user": "web"}"#;
        let not_root = ["unshare", "--user", "--map-user=7050"];
        refused(
            &[],
            r#"{"directory": "@/catalogue", "user": "webb"}"#,
            "did you mean `web`?",
        );
        refused(
            &not_root,
            user,
            "the shim is not permitted to start processes of user 7033",
        );
        refused(
            &not_root,
            user,
            "hint: run it as root, with the capability CAP_SETUID",
        );
        refused(
            &["unshare", "--user", "--map-root-user"],
            user,
            "there is no user 7033 in the user namespace of the shim",
        );
        let without = |capability: &str| {
            let dropped = format!("-{capability}");
            [
                "setpriv".to_owned(),
                format!("--bounding-set={dropped}"),
                format!("--inh-caps={dropped}"),
            ]
        };
        for (capability, config, sentence) in [
            (
                "setuid",
                user,
                "the shim is not permitted to start processes of user 7033",
            ),
            (
                "kill",
                user,
                "the shim is not permitted to stop processes of user 7033",
            ),
            (
                "setgid",
                user,
                "the shim is not permitted to start processes with group 7034",
            ),
            (
                "setgid",
                r#"{"directory": "@/catalogue", "tasks": [{"frequency": "1s", "command": {"command": "a", "group": "audio"}}]}"#,
                "tasks[0].command.group: the shim is not permitted to start processes with group 7029",
            ),
        ] {
            let words = without(capability);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            refused(&words, config, sentence);
        }
    });
}

#[test]
fn what_the_shim_is_already_works_without_any_right() {
    with_users(|| {
        for (words, config) in [
            (
                &["unshare", "--user", "--map-root-user"][..],
                r#"{"directory": "@/catalogue", "user": "root"}"#,
            ),
            (
                &["setpriv", "--no-new-privs"],
                r#"{"directory": "@/catalogue", "user": "web"}"#,
            ),
            (
                &["setpriv", "--reuid=7050", "--regid=7050", "--groups=7029,7060"],
                r#"{"directory": "@/catalogue", "user": "app", "preStart": {"command": "true", "group": "app"}}"#,
            ),
        ] {
            let mut program = program();
            program.configure(config);
            // A user who is not root may not be permitted to enter the folder of the build.
            fs::copy(binary(), program.path("shim")).expect("the program can be copied");
            let built = program.command(&["true"]);
            let mut copy = Command::new(program.path("shim"));
            copy.args(built.get_args()).env_remove("CONTAINERPILOT");
            program.spawn(&mut started_by(words, &copy));
            assert_eq!(
                program.code(),
                0,
                "{config}: {}{}",
                program.stdout(),
                program.stderr()
            );
        }
    });
}

#[test]
fn a_coprocess_of_another_user_is_stopped_with_its_tree() {
    for in_namespace in [false, true] {
        with_users(move || {
            let mut program = program();
            let below = "setsid sh -c 'trap : TERM; touch @/below; while :; do sleep 0.05; done'";
            program.configure(&format!(
                r#"{{"directory": "@/catalogue", "stopTimeout": 1, "coprocesses": [{{"command":
                    {{"command": ["sh", "-c", "{below} & wait"], "user": 7077, "group": 7077}}}}]}}"#
            ));
            let application = [
                "sh",
                "-c",
                "trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
            ];
            match in_namespace {
                true => program.launch_as_pid_1(&application),
                false => program.launch(&application),
            }
            program.until_file("below");
            assert!(has_processes(7077));
            assert_eq!(program.stop(), 0);
            assert!(!has_processes(7077), "{}", program.stdout());
        });
    }
}

#[test]
fn a_reload_changes_the_user_of_a_check() {
    with_users(|| {
        let mut program = program();
        let config = |user: &str| {
            format!(
                r#"{{"directory": "@/catalogue", "services": [{{"name": "a", "port": 1, "interfaces": "lo", "poll": 1,
                    "ttl": 5, "health": {{"command": {}, "user": "{user}"}}}}]}}"#,
                who("health")
            )
        };
        program.configure(&config("web"));
        program.launch(&[
            "sh",
            "-c",
            "trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
        ]);
        assert!(written(&program, "health").starts_with("Uid: 7033 "));
        program.configure(&config("ghost"));
        program.signal(Signal::SIGHUP);
        program.until_logged("there is no such user in /etc/passwd");
        program.configure(&config("app"));
        program.signal(Signal::SIGHUP);
        program.until("the check runs as app", |program| {
            program.read("health").contains("\t7050\t7050\t")
        });
        assert_eq!(program.stop(), 0);
    });
}

#[test]
fn a_child_of_another_user_can_open_its_standard_output() {
    with_users(|| {
        let mut program = program();
        let words = |text: &str| {
            format!("echo {text} > /dev/stdout; echo {text}-error > /dev/stderr; touch @/{text}")
        };
        program.configure(&format!(
            r#"{{"directory": "@/catalogue", "user": "web",
                "preStart": {{"command": ["sh", "-c", "echo of-the-hook > /dev/stdout"], "user": "app"}},
                "tasks": [{{"command": {{"command": ["sh", "-c", "{}"], "user": "web"}}, "frequency": "50ms",
                           "timeout": "10s"}}],
                "coprocesses": [{{"command": {{"command": ["sh", "-c", "{}"], "user": "web"}}}}]}}"#,
            words("of-the-task"),
            words("of-the-coprocess")
        ));
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let application = "while [ ! -e @/of-the-task -o ! -e @/of-the-coprocess ]; do sleep 0.02; done; \
                           echo of-the-application > /dev/stdout";
        let mut command = program.command(&["sh", "-c", application]);
        program.spawn_into(&mut command, writer);
        drop(command);
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("the output");
        assert_eq!(program.code(), 0, "{output}");
        for text in [
            "of-the-hook\n",
            "of-the-task\n",
            "of-the-task-error\n",
            "of-the-coprocess\n",
            "of-the-coprocess-error\n",
            "of-the-application\n",
        ] {
            assert!(output.contains(text), "{text}: {output}");
        }
    });
}

#[test]
fn a_hook_beyond_its_time_limit_is_killed_and_has_failed() {
    let hang = r#"{"command": ["sh", "-c", "trap : TERM; sleep 1000; sleep 1000"], "timeout": "300ms"}"#;
    for (key, code) in [("preStart", 137), ("postStop", 137)] {
        let config = format!(r#"{{"directory": "@/catalogue", "{key}": {hang}}}"#);
        let mut program = Program::start(&config, &["true"]);
        assert_eq!(program.code(), code, "{key}: {}", program.stdout());
        let (log, sentence) = (program.stdout(), format!("{key} timeout after 300ms"));
        assert!(log.contains(&sentence), "{log}");
    }
}

#[test]
fn a_pre_stop_that_hangs_lets_the_stop_go_on_after_its_time_limit() {
    let config = r#"{"directory": "@/catalogue", "preStop": {"command": ["sh", "-c", "trap : TERM; sleep 1000; sleep 1000"],
                     "timeout": "300ms"}, "postStop": ["touch", "@/postStop"]}"#;
    for start in [Program::start, Program::start_as_pid_1] {
        let application = "trap 'touch @/stopped; exit 5' TERM; touch @/up; while :; do sleep 0.05; done";
        let mut program = start(config, &["sh", "-c", application]);
        assert_eq!(program.stop(), 5);
        assert!(program.has("stopped") && program.has("postStop"));
        let log = program.stdout();
        assert!(log.contains("preStop timeout after 300ms"), "{log}");
    }
}

#[test]
fn a_task_has_the_time_limit_of_its_command() {
    let config = r#"{"directory": "@/catalogue", "tasks": [{"name": "t", "frequency": "50ms",
                     "command": {"command": ["sleep", "1000"], "timeout": "120ms"}}]}"#;
    let mut program = Program::start(
        config,
        &[
            "sh",
            "-c",
            "trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
        ],
    );
    program.until_logged("task[t] timeout after 120ms");
    assert_eq!(program.stop(), 0);
}
