//! The control socket of the built program: its flags, its paths, its file, and misbehaving clients.

use crate::processes::{descriptors_of, field};
use crate::program::{Program, UNTIL_TERM, command};
use crate::schema::assert_is_status;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getegid, geteuid};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PLAIN: &str = r#"{"directory": "@/catalogue", "control": {"socket": "@/s"}}"#;
/// With a service whose check passes while there is no file `bad`.
const CHECKED: &str = r#"{"directory": "@/catalogue", "control": {"socket": "@/s"},
    "services": [{"name": "web", "port": 80, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 9,
        "health": ["sh", "-c", "! test -e @/bad"]}]}"#;

fn started(config: &str) -> Program {
    let program = Program::start(config, &UNTIL_TERM);
    program.until_logged(&program.expand("control: serving at @/s"));
    program.until_file("up");
    program
}

/// Runs the program with a flag that sends something to the running one.
fn flags(program: &Program, words: &[&str]) -> Output {
    let source = format!("file://{}", program.path("cp.json").display());
    let mut client = command();
    client.args(["-config", &source]).args(words);
    client.output().expect("the program can be started")
}

/// The standard output, the standard error and the exit code.
fn result(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("an exit code");
    (text(&output.stdout), text(&output.stderr), code)
}

fn succeeds(program: &Program, words: &[&str]) -> String {
    let (stdout, stderr, code) = result(&flags(program, words));
    assert_eq!((stderr.as_str(), code), ("", 0), "{words:?}: {stdout}");
    stdout
}

/// The sentence with which a flag fails.
fn fails(program: &Program, words: &[&str]) -> String {
    let (stdout, stderr, code) = result(&flags(program, words));
    assert_eq!((stdout.as_str(), code), ("", 1), "{words:?}: {stderr}");
    stderr
}

fn entries(program: &Program) -> usize {
    let folder = fs::read_dir(program.path("catalogue/web"));
    folder.into_iter().flatten().flatten().count()
}

fn connect(program: &Program) -> UnixStream {
    let stream = UnixStream::connect(program.path("s")).expect("the socket listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// Sends a text and reads until the connection ends.
fn exchange(program: &Program, text: &str) -> String {
    let mut stream = connect(program);
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).expect("an answer in UTF-8")
}

fn request(program: &Program, method: &str, path: &str) -> String {
    exchange(
        program,
        &format!("{method} {path} HTTP/1.1\r\nHost: control\r\n\r\n"),
    )
}

#[test]
fn every_flag_reaches_the_running_shim() {
    let program = started(CHECKED);
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
    program.until("the service is healthy", |program| {
        result(&flags(program, &["-healthy"])).0 == "healthy\n"
    });
    program.until("the service is registered", |program| entries(program) == 1);
    let table = succeeds(&program, &["-status"]);
    assert!(
        table.contains("SERVICE  HEALTH   REGISTERED  ADDRESS       LAST CHECK\n"),
        "{table}"
    );
    assert!(
        table.contains("web      healthy  yes         127.0.0.1:80  passed\n"),
        "{table}"
    );
    let document = succeeds(&program, &["-status", "-format", "json"]);
    assert_is_status(&document);
    program.write("bad", "");
    program.until("the service is unhealthy", |program| {
        let (stdout, stderr, code) = result(&flags(program, &["-healthy"]));
        (stdout.as_str(), stderr.as_str(), code) == ("unhealthy\n", "", 1)
    });
    fs::remove_file(program.path("bad")).unwrap();
    program.until("the service is healthy again", |program| {
        result(&flags(program, &["-healthy"])).2 == 0
    });
    assert_eq!(succeeds(&program, &["-maintenance", "enable"]), "");
    assert_eq!(entries(&program), 0, "it is deregistered when the flag returns");
    assert_eq!(succeeds(&program, &["-maintenance=enable"]), "", "again");
    assert_eq!(result(&flags(&program, &["-healthy"])).0, "unhealthy\n");
    assert!(succeeds(&program, &["-status"]).contains("in maintenance"));
    assert_eq!(succeeds(&program, &["-maintenance", "disable"]), "");
    assert_eq!(succeeds(&program, &["-maintenance", "disable"]), "");
    program.until("the service is registered again", |program| entries(program) == 1);
    assert_eq!(program.stdout().matches("Entering maintenance").count(), 1);
    assert_eq!(program.stdout().matches("Leaving maintenance").count(), 1);
    let (_, stderr, code) = result(&flags(&program, &["-maintenance", "on"]));
    assert!(stderr.contains("allowed is enable or disable"), "{stderr}");
    assert_eq!(code, 2);
}

#[test]
fn a_reload_is_answered_with_its_problems() {
    let program = started(PLAIN);
    assert_eq!(succeeds(&program, &["-reload"]), "");
    program.until_logged("Configuration reloaded.");
    let wrong = r#"{"directory": "@/catalogue", "control": {"socket": "@/s"}, "stopTimeout": "x"}"#;
    program.configure(wrong);
    let report = fails(&program, &["-reload"]);
    assert!(report.contains("-reload: "), "{report}");
    assert!(report.contains("stopTimeout: "), "{report}");
    assert!(report.contains(r#""stopTimeout": "x""#), "{report}");
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n", "nothing has changed");
}

/// Arguments of curl, and how the answer begins and ends, in lower case.
const ANSWERS: &[(&[&str], &str, &str)] = &[
    (&["http://control/v3/ping"], "200 ok", "\r\n\r\n\n"),
    (&["-XPUT", "http://control/v3/ping"], "200 ok", "\r\n\r\n\n"),
    (&["-XPOST", "http://control/v3/reload"], "200 ok", "\r\n\r\n\n"),
    (
        &["-dnonsense", "http://control/v3/maintenance/enable"],
        "200 ok",
        "\r\n\r\n\n",
    ),
    (
        &["-d{}", "http://control/v3/maintenance/disable"],
        "200 ok",
        "\r\n\r\n\n",
    ),
    (
        &["http://control/v3/reload"],
        "405 method not allowed",
        "\r\n\r\nmethod not allowed\n",
    ),
    (
        &["http://control/v3/reload/"],
        "404 not found",
        "\r\n\r\n404 page not found\n",
    ),
    (
        &["-XPOST", "http://control/v3/environ"],
        "404 not found",
        "\r\n\r\n404 page not found\n",
    ),
    (
        &["-XPOST", "http://control/v3/status"],
        "405 method not allowed",
        "\r\n\r\nmethod not allowed\n",
    ),
    (&["http://control/v3/health"], "200 ok", "\r\n\r\nhealthy\n"),
];

#[test]
fn the_tools_of_version_3_get_the_answers_that_they_know() {
    let program = started(PLAIN);
    let curl = |words: &[&str]| {
        let socket = program.path("s").display().to_string();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--unix-socket", &socket]);
        let output = curl.args(words).output().expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().to_lowercase()
    };
    for (words, first, body) in ANSWERS {
        let answer = curl(words);
        assert!(
            answer.starts_with(&format!("http/1.1 {first}\r\n")),
            "{words:?}: {answer}"
        );
        assert!(answer.ends_with(body), "{words:?}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(
            answer.contains("\r\ncontent-type: text/plain; charset=utf-8\r\n"),
            "{answer}"
        );
        let is_error = !first.starts_with("200");
        assert_eq!(
            answer.contains("x-content-type-options: nosniff"),
            is_error,
            "{answer}"
        );
    }
    let status = curl(&["http://control/v3/status"]);
    assert!(
        status.contains("\r\ncontent-type: application/json\r\n"),
        "{status}"
    );
    let head = request(&program, "HEAD", "/v3/ping");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn only_the_own_user_may_connect_and_the_file_is_removed_at_the_exit() {
    let mut program = started(PLAIN);
    let mode = |program: &Program| fs::metadata(program.path("s")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&program), 0o600);
    assert_eq!(program.stop(), 0);
    assert!(!program.has("s"));
}

#[test]
fn the_socket_belongs_to_the_group_that_is_named() {
    let group = getegid().as_raw();
    let control = format!(r#""control": {{"socket": "@/s", "group": {group}}}"#);
    let program = started(&format!(r#"{{"directory": "@/catalogue", {control}}}"#));
    let file = fs::metadata(program.path("s")).unwrap();
    assert_eq!((file.permissions().mode() & 0o7777, file.gid()), (0o660, group));
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
}

/// Only root can have clients of other groups; what a user can do is in the test above.
#[test]
fn a_named_group_may_connect_and_others_may_not() {
    if !geteuid().is_root() {
        return;
    }
    let config = r#"{"directory": "@/catalogue", "control": {"socket": "@/s", "group": 4711}}"#;
    let program = started(config);
    let file = fs::metadata(program.path("s")).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o660);
    assert_eq!((file.uid(), file.gid()), (0, 4711));
    fs::set_permissions(program.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = program.path("s").display().to_string();
    let copy = program.path("copy");
    fs::copy(crate::program::binary(), &copy).unwrap();
    let ping = |group: &str| {
        let mut client = Command::new("setpriv");
        client.args(["--reuid=4712", &format!("--regid={group}"), "--clear-groups"]);
        client.arg(&copy).args(["-ping", "-socket", &socket]);
        result(&client.output().expect("setpriv of util-linux is installed"))
    };
    assert_eq!(ping("4711"), ("ok\n".into(), String::new(), 0));
    let (stdout, stderr, code) = ping("4712");
    assert_eq!((stdout.as_str(), code), ("", 1));
    assert!(
        stderr.contains("permission denied for the control socket"),
        "{stderr}"
    );
    program.configure(PLAIN);
    assert_eq!(succeeds(&program, &["-reload"]), "");
    assert_eq!(ping("4711").2, 1, "the group may not any more");
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
}

#[test]
fn a_file_that_is_left_over_is_replaced_and_any_other_one_is_refused() {
    let mut program = Program::new();
    program.configure(PLAIN);
    drop(UnixListener::bind(program.path("s")).unwrap());
    program.launch(&UNTIL_TERM);
    program.until_file("up");
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
    let refused = |prepare: &dyn Fn(&Program), sentence: &str| {
        let mut program = Program::new();
        program.configure(PLAIN);
        prepare(&program);
        program.launch(&UNTIL_TERM);
        assert_eq!(program.code(), 1);
        let whole = program.expand(&format!(
            "cp.json: Error serving the control socket @/s: {sentence}"
        ));
        assert!(program.stderr().contains(&whole), "{}", program.stderr());
        assert!(!program.has("up"));
        program
    };
    let file = refused(
        &|program| program.write("s", "mine"),
        "there is a file that is not a socket",
    );
    assert_eq!(file.read("s"), "mine");
    let busy = std::cell::RefCell::new(None);
    let listen = |program: &Program| {
        *busy.borrow_mut() = Some(UnixListener::bind(program.path("s")).unwrap());
    };
    let other = refused(&listen, "another process answers there");
    assert!(other.has("s"));
}

#[test]
fn a_reload_moves_the_socket_and_answers_at_the_old_one() {
    let mut program = started(PLAIN);
    let inode = |name: &str| fs::metadata(program.path(name)).unwrap().ino();
    let first = inode("s");
    assert_eq!(succeeds(&program, &["-reload"]), "");
    assert_eq!(inode("s"), first, "it stays open");
    let old = program.path("s").display().to_string();
    program.configure(r#"{"directory": "@/catalogue", "control": {"socket": "@/t"}}"#);
    assert_eq!(succeeds(&program, &["-reload", "-socket", &old]), "");
    program.until_logged(&program.expand("control: serving at @/t"));
    program.until("the old file is removed", |program| !program.has("s"));
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
    program.configure(r#"{"directory": "@/catalogue", "control": {"socket": "@/no/such/folder"}}"#);
    let refused = fails(
        &program,
        &["-reload", "-socket", &program.path("t").display().to_string()],
    );
    assert!(refused.contains("no such file or directory"), "{refused}");
    program.configure(r#"{"directory": "@/catalogue"}"#);
    let last = program.path("t").display().to_string();
    assert_eq!(succeeds(&program, &["-reload", "-socket", &last]), "");
    program.until("the last file is removed", |program| !program.has("t"));
    assert_eq!(program.stop(), 0);
}

#[test]
fn children_do_not_inherit_the_socket_and_it_serves_while_pre_start_runs() {
    let config = r#"{"directory": "@/catalogue", "control": {"socket": "@/s"},
        "preStart": ["sh", "-c", "ls -l /proc/self/fd > @/open; while ! test -e @/go; do sleep 0.05; done"]}"#;
    let program = Program::start(config, &UNTIL_TERM);
    program.until_file("open");
    assert!(succeeds(&program, &["-status"]).contains(", pre starting, for "));
    assert_eq!(result(&flags(&program, &["-healthy"])).0, "unhealthy\n");
    program.write("go", "");
    program.until_file("up");
    assert!(
        !program.read("open").contains("socket:"),
        "{}",
        program.read("open")
    );
}

#[test]
fn what_keeps_a_flag_from_the_shim_is_one_sentence() {
    let program = Program::new();
    program.configure(r#"{"directory": "@/catalogue"}"#);
    let none = fails(&program, &["-ping"]);
    assert!(
        none.contains("has no `control`: the running shim has no control socket"),
        "{none}"
    );
    program.configure(PLAIN);
    let missing = fails(&program, &["-healthy"]);
    assert!(
        missing.contains("-healthy: there is no control socket"),
        "{missing}"
    );
    let listener = UnixListener::bind(program.path("s")).unwrap();
    let began = Instant::now();
    let silent = fails(&program, &["-ping"]);
    assert!(silent.contains("did not answer within 5s"), "{silent}");
    assert!(began.elapsed() >= Duration::from_secs(5));
    drop(listener);
    let gone = fails(&program, &["-status"]);
    assert!(
        gone.contains("-status: no shim listens at the control socket"),
        "{gone}"
    );
    let (_, stderr, code) = result(&command().arg("-ping").output().unwrap());
    assert!(stderr.contains("-config flag is required"), "{stderr}");
    assert_eq!(code, 1);
}

#[test]
fn a_request_that_waits_is_answered_when_the_shim_stops() {
    let consul = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = consul.local_addr().unwrap().port();
    // Its connections are accepted by the kernel and never answered.
    let config = format!(
        r#"{{"consul": "127.0.0.1:{port}", "control": {{"socket": "@/s"}}, "services": [{{"name": "web",
            "port": 80, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 9}}]}}"#
    );
    let mut program = started(&config);
    let mut client = command();
    let source = format!("file://{}", program.path("cp.json").display());
    client.args(["-config", &source, "-maintenance", "enable"]);
    let client = client
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.until_logged("Entering maintenance");
    program.signal(Signal::SIGTERM);
    let (_, stderr, code) = result(&client.wait_with_output().unwrap());
    // The deregistration may have failed just before.
    assert!(
        code == 0 || stderr.contains("-maintenance: the shim is stopping"),
        "{stderr}"
    );
    assert_eq!(program.code(), 0);
}

/// Requests that are slow, wrong or without end cost no more than their bound, and a correct one is answered.
#[test]
fn bad_clients_of_the_socket_do_not_delay_a_correct_request() {
    let program = started(PLAIN);
    let pid: Pid = program.pid();
    let resident = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        field(&status, "VmRSS").trim_end_matches(" kB").parse().unwrap()
    };
    let before = resident();
    let mut crowd = Vec::new();
    for number in 0..500 {
        let mut stream = connect(&program);
        let sent = match number % 4 {
            0 => String::new(),
            1 => "GET /v3/ping HTT".into(),
            2 => format!("GET /v3/ping HTTP/1.1\r\nX: {}", "y".repeat(10_000)),
            _ => "GET /v3/status HTTP/1.1\r\nHost: slow reader\r\n\r\n".repeat(100),
        };
        // The server may have closed it already for another connection.
        stream.write_all(sent.as_bytes()).ok();
        crowd.push(stream);
    }
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
    assert!(descriptors_of(pid) < 100, "{} descriptors", descriptors_of(pid));
    drop(crowd);
    let head = exchange_without_end(&program, "GET /v3/ping HTTP/1.1\r\nX: ");
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    for kind in ["Content-Length: 100000000000", "Transfer-Encoding: chunked"] {
        let body = format!("POST /v3/maintenance/disable HTTP/1.1\r\nHost: x\r\n{kind}\r\n\r\n");
        let answer = exchange_without_end(&program, &body);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{kind}: {answer}");
    }
    for (text, code) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET /v3/ping HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        ("GET /v3/%2e%2e/ping HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
    ] {
        let answer = exchange(&program, text);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{text}: {answer}"
        );
    }
    let after = resident();
    assert!(after < before + 8 * 1024, "{before} kB before, {after} kB after");
    assert_eq!(succeeds(&program, &["-ping"]), "ok\n");
}

/// Sends the beginning, and then more and more until the server closes the connection or answers nothing more.
fn exchange_without_end(program: &Program, begin: &str) -> String {
    let mut stream = connect(program);
    let mut more = stream.try_clone().unwrap();
    more.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(begin.as_bytes()).unwrap();
    let mut sent = 0_usize;
    while more.write_all(&[b'1'; 4096]).is_ok() {
        sent += 4096;
        assert!(sent < 1 << 30, "the server reads without end");
    }
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_frozen_shim_makes_healthy_fail_in_time() {
    let program = started(PLAIN);
    program.signal(Signal::SIGSTOP);
    let failed = fails(&program, &["-healthy"]);
    assert!(failed.contains("did not answer within 5s"), "{failed}");
    program.signal(Signal::SIGCONT);
    until(
        SOON,
        || "it answers again".into(),
        || result(&flags(&program, &["-healthy"])).2 == 0,
    );
}
