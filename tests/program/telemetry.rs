//! Telemetry of the built program: the endpoint, its registration, sensors, `/status`, and misbehaving clients.

use crate::http::{self, get};
use crate::loopback::{OwnAddress, PORT};
use crate::processes::{descriptors_of, field};
use crate::program::{Program, UNTIL_TERM, in_namespaces};
use crate::schema::assert_is_status;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A request after which the connection ends.
fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
}

/// A configuration with telemetry at this address.
fn config(endpoint: SocketAddr, sensors: &str) -> String {
    let (ip, port) = (endpoint.ip(), endpoint.port());
    format!(
        r#"{{"directory": "@/catalogue", "telemetry": {{"port": {port}, "interfaces": "static:{ip}",
            "tags": ["t"], "sensors": [{sensors}]}}}}"#
    )
}

fn sensor(name: &str, kind: &str, more: &str) -> String {
    format!(
        r#"{{"namespace": "test", "name": "{name}", "help": "Help.", "type": "{kind}", "poll": 1, {more}}}"#
    )
}

/// A sensor whose values are the lines of a file, one for each run.
fn of_file(name: &str, kind: &str, file: &str) -> String {
    let check = format!(r#""check": ["sh", "-c", "head -n1 @/{file}; sed -i 1d @/{file}"]"#);
    sensor(name, kind, &check)
}

/// A running program with an endpoint.
struct Served {
    program: Program,
    own: OwnAddress,
    address: String,
}

impl Served {
    fn start(sensors: &str) -> Self {
        Self::with(sensors, |_| {})
    }

    fn with(sensors: &str, prepare: impl FnOnce(&Program)) -> Self {
        let own = OwnAddress::reserve();
        let mut program = Program::new();
        prepare(&program);
        program.configure(&config(own.socket(), sensors));
        program.launch(&UNTIL_TERM);
        let address = own.socket().to_string();
        program.until_logged(&format!("telemetry: Listening on {address}"));
        Self {
            program,
            own,
            address,
        }
    }

    fn reload(&self, config: &str) {
        let reloaded = |program: &Program| program.stdout().matches("Configuration reloaded.").count();
        let before = reloaded(&self.program);
        self.program.configure(config);
        self.program.signal(Signal::SIGHUP);
        self.program.until("the configuration is reloaded", |program| {
            reloaded(program) > before
        });
    }

    fn metrics(&self) -> String {
        let page = get(&self.address, "/metrics").expect("an answer");
        assert_eq!(page.status, 200);
        page.body
    }

    /// Waits until this line is on the page.
    fn until_line(&self, line: &str) {
        let shows = || self.metrics().lines().any(|shown| shown == line);
        until(SOON, || format!("{line} in\n{}", self.metrics()), shows);
    }

    /// The value of a series on the page.
    fn value(&self, series: &str) -> f64 {
        let page = self.metrics();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        let value = page.lines().find_map(value);
        value.unwrap_or_else(|| panic!("{series} in\n{page}"))
    }

    /// Waits until the value of a series is greater than this.
    fn until_more(&self, series: &str, than: f64) {
        until(
            SOON,
            || format!("{series} is more than {than}"),
            || self.value(series) > than,
        );
    }

    fn stop(mut self) {
        assert_eq!(self.program.stop(), 0);
    }
}

#[test]
fn the_endpoint_is_registered_and_is_deregistered_at_the_stop() {
    let served = Served::start("");
    let page = get(&served.address, "/metrics").unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        page.head
    );
    served.until_line("containerpilot_maintenance 0");
    for family in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(
            page.body.contains(&format!("\n{family} ")),
            "{family} in\n{}",
            page.body
        );
    }
    for dropped in ["go_", "http_"] {
        assert!(!page.body.contains(&format!("\n{dropped}")), "{}", page.body);
    }
    let folder = served.program.path("catalogue/containerpilot");
    let entries = || std::fs::read_dir(&folder).into_iter().flatten().flatten().count();
    until(SOON, || "the endpoint is registered".into(), || entries() == 1);
    let entry = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let entry: serde_json::Value = serde_json::from_slice(&std::fs::read(entry).unwrap()).unwrap();
    assert_eq!(
        (&entry["port"], &entry["tags"]),
        (&PORT.into(), &["t"][..].into())
    );
    assert_eq!(entry["address"], served.own.ip().to_string());
    let mut program = served.program;
    assert_eq!(program.stop(), 0);
    until(SOON, || "the endpoint has left".into(), || entries() == 0);
}

#[test]
fn the_endpoint_listens_on_ipv6() {
    // A network namespace has one loopback address of IPv6, so this test has a network namespace of its own.
    let mut program = Program::new();
    program.configure(r#"{"directory": "@/c", "telemetry": {"port": 9090, "interfaces": "lo:inet6"}}"#);
    let ask = "until curl -g -s http://[::1]:9090/metrics > @/page; do sleep 0.05; done; touch @/up; exec sleep 1000";
    let mut command = in_namespaces(
        &["--net"],
        &["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"],
        &program.command(&["sh", "-c", ask]),
    );
    program.spawn(&mut command);
    program.until_logged("telemetry: Listening on [::1]:9090");
    program.until_file("up");
    assert!(
        program.read("page").contains("containerpilot_build_info"),
        "{}",
        program.read("page")
    );
    assert_eq!(program.stop(), 143);
}

#[test]
fn every_kind_of_sensor_takes_its_values() {
    let sensors = [
        of_file("answers", "counter", "answers"),
        of_file("level", "gauge", "levels"),
        of_file("times", "histogram", "times"),
        of_file("sizes", "summary", "sizes"),
    ];
    let served = Served::with(&sensors.join(","), |program| {
        program.write("answers", "42\n42\n");
        program.write("levels", "1.2\n2.3\nNaN\n");
        program.write("times", "1.2\n1.2\n4.5\n");
        program.write("sizes", "1\n3e6\n2\n5\n");
    });
    let first = served.metrics();
    assert!(
        first.contains("# HELP test_answers Help.\n# TYPE test_answers counter\ntest_answers 0\n"),
        "{first}"
    );
    for line in [
        "test_answers 84",
        "test_level NaN",
        "test_times_bucket{le=\"2.5\"} 2",
        "test_times_bucket{le=\"5\"} 3",
        "test_times_bucket{le=\"+Inf\"} 3",
        "test_times_count 3",
        "test_sizes{quantile=\"0.5\"} 2",
        "test_sizes_sum 3000008",
    ] {
        served.until_line(line);
    }
    served.stop();
}

#[test]
fn an_output_that_is_not_a_value_is_logged_and_changes_nothing() {
    let sensors = [
        of_file("grows", "counter", "values"),
        sensor("fails", "gauge", r#""check": ["sh", "-c", "echo 5; exit 3"]"#),
        sensor(
            "talks",
            "gauge",
            r#""check": ["sh", "-c", "echo aside >&2; echo 7"]"#,
        ),
        sensor("missing", "gauge", r#""check": "/no/such/program""#),
    ];
    let served = Served::with(&sensors.join(","), |program| {
        program.write("values", "3\n-1\nNaN\nabc\n4\n");
    });
    served.until_line("test_grows 7");
    served.until_line("test_talks 7");
    served.until_line("test_fails 0");
    for sentence in [
        "Sensor test_grows gave no value: a counter never goes down, and -1 is negative",
        "Sensor test_grows gives values again after 3 failed runs",
        "Sensor test_fails gave no value: exit status 3",
        "Sensor test_missing gave no value: fork/exec /no/such/program: no such file or directory",
    ] {
        served.program.until_logged(sentence);
    }
    assert!(
        served.program.stderr().contains("aside\n"),
        "{}",
        served.program.stderr()
    );
    assert!(!served.program.stdout().contains("aside"));
    served.stop();
}

#[test]
fn a_sensor_that_takes_too_long_is_killed_with_its_group() {
    let hangs = r#""timeout": "200ms", "check": ["sh", "-c", "sleep 1000 & echo $! > @/pid; echo 5; wait"]"#;
    let served = Served::start(&sensor("hangs", "gauge", hangs));
    served
        .program
        .until_logged("test_hangs.sensor timeout after 200ms");
    served
        .program
        .until_logged("Sensor test_hangs gave no value: signal: killed");
    let pid = served.program.read("pid");
    let gone = || !std::path::Path::new("/proc").join(pid.trim()).exists();
    until(SOON, || "the whole group is gone".into(), gone);
    served.until_line("test_hangs 0");
    served.stop();
}

#[test]
fn an_address_that_is_taken_ends_the_start_before_anything_runs() {
    let own = OwnAddress::reserve();
    let _holder = TcpListener::bind(own.socket()).unwrap();
    let (code, program) = Program::run(&config(own.socket(), ""), &["touch", "@/started"]);
    assert_eq!(code, 1);
    let sentence = format!(
        "Error serving telemetry on {}: address already in use",
        own.socket()
    );
    assert!(program.stderr().contains(&sentence), "{}", program.stderr());
    assert!(!program.has("started"));
}

#[test]
fn an_address_that_is_taken_refuses_a_reload_which_changes_nothing() {
    let served = Served::start(&sensor("answers", "counter", r#""check": "echo 42""#));
    let other = OwnAddress::reserve();
    let taken = other.socket();
    let _holder = TcpListener::bind(taken).unwrap();
    served.program.configure(&config(taken, ""));
    served.program.signal(Signal::SIGHUP);
    served.program.until_logged(&format!(
        "Error serving telemetry on {taken}: address already in use"
    ));
    served.until_line("containerpilot_reloads_total{result=\"refused\"} 1");
    let before = served.value("test_answers");
    served.until_more("test_answers", before);
    served.stop();
}

#[test]
fn a_reload_moves_the_endpoint_and_one_without_telemetry_closes_it() {
    let served = Served::start("");
    let other = OwnAddress::reserve();
    let moved = other.socket().to_string();
    served.reload(&config(other.socket(), ""));
    assert_eq!(get(&moved, "/metrics").unwrap().status, 200);
    until(
        SOON,
        || "the old address is closed".into(),
        || get(&served.address, "/metrics").is_none(),
    );
    served.reload(r#"{"directory": "@/catalogue"}"#);
    until(
        SOON,
        || "the new address is closed".into(),
        || get(&moved, "/metrics").is_none(),
    );
    served.reload(&config(served.own.socket(), ""));
    assert_eq!(get(&served.address, "/metrics").unwrap().status, 200);
    served.stop();
}

#[test]
fn a_reload_keeps_drops_and_changes_sensors() {
    let check = r#""check": ["sh", "-c", "[ -e @/quiet ] && exit 1; echo 1"]"#;
    let old = [
        sensor("kept", "counter", check),
        sensor("dropped", "counter", check),
        sensor("changed", "counter", check),
    ];
    let served = Served::start(&old.join(","));
    served.until_more("test_changed", 1.0);
    served.program.write("quiet", "");
    served.program.until_logged("Sensor test_kept gave no value");
    let kept = served
        .metrics()
        .lines()
        .find(|line| line.starts_with("test_kept "))
        .unwrap()
        .to_owned();
    let changed = sensor("changed", "counter", check).replace("Help.", "Another help.");
    served.reload(&config(
        served.own.socket(),
        &[sensor("kept", "counter", check), changed].join(","),
    ));
    let page = served.metrics();
    assert!(page.contains("# HELP test_changed Another help.\n"), "{page}");
    assert!(page.lines().any(|line| line == kept), "{kept} in {page}");
    assert!(!page.contains("dropped"), "{page}");
    served.stop();
}

#[test]
fn telemetry_is_served_in_maintenance_and_not_before_the_application() {
    let own = OwnAddress::reserve();
    let mut program = Program::new();
    let text = config(own.socket(), "").replacen(
        '{',
        r#"{"preStart": ["sh", "-c", "touch @/begun; until [ -e @/go ]; do sleep 0.05; done"],"#,
        1,
    );
    program.configure(&text);
    program.launch(&UNTIL_TERM);
    program.until_file("begun");
    let address = own.socket().to_string();
    let mut early = http::connect(&address).expect("the address is ours from the start");
    early.write_all(request("GET", "/metrics").as_bytes()).unwrap();
    assert!(!program.stdout().contains("Listening"));
    program.write("go", "");
    assert_eq!(
        http::read(&mut early).unwrap().status,
        200,
        "who came early is answered"
    );
    program.signal(Signal::SIGUSR1);
    let shows =
        || get(&address, "/metrics").is_some_and(|page| page.body.contains("containerpilot_maintenance 1\n"));
    until(SOON, || "maintenance is shown".into(), shows);
    assert_eq!(program.stop(), 0);
}

#[test]
fn the_status_reports_the_current_state() {
    let own = OwnAddress::reserve();
    let text = format!(
        r#"{{"directory": "@/catalogue",
            "services": [{{"name": "app", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 9,
                           "health": ["sh", "-c", "echo fine; echo aside >&2"]}}],
            "backends": [{{"name": "app", "poll": 1, "onChange": "true"}}],
            "coprocesses": [{{"name": "side", "command": ["sleep", "1000"]}}],
            "telemetry": {{"port": {PORT}, "interfaces": "static:{}"}}}}"#,
        own.ip()
    );
    let mut program = Program::start(&text, &UNTIL_TERM);
    let address = own.socket().to_string();
    let status = || -> serde_json::Value {
        let page = get(&address, "/status").filter(|page| page.status == 200);
        page.map(|page| serde_json::from_str(&page.body).expect("JSON"))
            .unwrap_or_default()
    };
    let settled = || {
        let status = status();
        status["services"][0]["check"]["last"]["output"] == "fine\naside\n"
            && status["services"][0]["registered"] == true
            && status["backends"][0]["instances"][0]["port"] == 80
            && status["backends"][0]["handler"]["last"]["result"] == "passed"
    };
    until(SOON, || format!("{:#}", status()), settled);
    let status = status();
    assert_eq!(
        (&status["phase"], &status["maintenance"]),
        (&"running".into(), &false.into())
    );
    let jobs = status["jobs"].as_array().unwrap();
    let application = jobs.iter().find(|job| job["kind"] == "application").unwrap();
    let pid = application["pid"].as_i64().unwrap();
    assert!(
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .unwrap()
            .starts_with("sh")
    );
    let page = get(&address, "/status").unwrap();
    assert_is_status(&page.body);
    assert!(
        page.head.contains("content-type: application/json"),
        "{}",
        page.head
    );
    assert_eq!(program.stop(), 0);
}

#[test]
fn an_invalid_request_gets_the_right_status_code() {
    let served = Served::start("");
    let status = |request: &str| http::exchange(&served.address, request).map_or(0, |page| page.status);
    assert_eq!(status(&request("GET", "/unknown")), 404);
    assert_eq!(status(&request("GET", "/metrics/")), 404);
    assert_eq!(status(&request("POST", "/unknown")), 404);
    for path in ["/metrics", "/status", "/", "/health"] {
        for method in ["POST", "DELETE", "BREW"] {
            let page = http::exchange(&served.address, &request(method, path)).unwrap();
            assert_eq!(page.status, 405, "{method} {path}");
            assert!(page.head.contains("allow: get, head"), "{}", page.head);
        }
        let head = http::exchange(&served.address, &request("HEAD", path)).unwrap();
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(status(&request("GET", &format!("{path}?a=b"))), 200);
    }
    assert_eq!(status("nonsense\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/9.9\r\n\r\n"), 400);
    let many = (0..1000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect::<String>();
    assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n")), 431);
    let huge = "y".repeat(1024 * 1024);
    assert!([431, 414, 0].contains(&status(&format!("GET /metrics HTTP/1.1\r\nX: {huge}\r\n\r\n"))));
    let body = "GET /metrics HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(status(body), 200);
    served.until_line("containerpilot_maintenance 0");
    served.stop();
}

/// A thousand connections of every bad kind cost no more than their bound, and a correct request is answered.
#[test]
fn a_thousand_bad_clients_do_not_delay_a_correct_request() {
    let served = Served::start(&sensor("answers", "counter", r#""check": "echo 1""#));
    served.until_more("test_answers", 0.0);
    let pid = served.program.pid();
    let resident = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        field(&status, "VmRSS").trim_end_matches(" kB").parse().unwrap()
    };
    let before = resident();
    let mut crowd: Vec<TcpStream> = Vec::new();
    for number in 0..1000 {
        let Some(mut stream) = http::connect(&served.address) else {
            panic!("connection {number} is refused");
        };
        let sent = match number % 4 {
            0 => String::new(),
            1 => "GET /metrics HTT".into(),
            2 => format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(10_000)),
            _ => "GET /metrics HTTP/1.1\r\nHost: slow reader\r\n\r\n".repeat(100),
        };
        // The server may have closed it already for another connection.
        stream.write_all(sent.as_bytes()).ok();
        crowd.push(stream);
    }
    served.until_more("test_answers", served.value("test_answers"));
    assert_eq!(get(&served.address, "/status").unwrap().status, 200);
    assert!(descriptors_of(pid) < 100, "{} descriptors", descriptors_of(pid));
    let after = resident();
    assert!(after < before + 8 * 1024, "{before} kB before, {after} kB after");
    served.stop();
    drop(crowd);
}

/// The statements of docs/lifecycle.md about secrets.
#[test]
fn what_a_check_prints_is_in_the_status_and_tokens_are_in_the_rendered_text_only() {
    let own = OwnAddress::reserve();
    let mut program = Program::new();
    program.set("CONSUL_HTTP_TOKEN", "token-of-environment");
    program.set("TOKEN", "token-of-template");
    let (ip, port) = (own.socket().ip(), own.socket().port());
    let check = r#"["sh", "-c", "echo printed-$0; echo $CONSUL_HTTP_TOKEN > @/inherited", "argument"]"#;
    program.configure(&format!(
        r#"{{"consul": {{"address": "{ip}:1", "token": "{{{{.TOKEN}}}}"}}, "logging": {{"level": "DEBUG"}},
            "telemetry": {{"port": {port}, "interfaces": "static:{ip}"}},
            "services": [{{"name": "app", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 5,
                "health": {check}}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    program.until_logged("printed-argument");
    let address = own.socket().to_string();
    let page = |path: &str| get(&address, path).expect("an answer").body;
    program.until("the status has what the check printed", |_| {
        page("/status").contains(r#""output":"printed-argument\n""#)
    });
    assert_eq!(program.read("inherited"), "token-of-environment\n");
    let (status, metrics) = (page("/status"), page("/metrics"));
    assert!(!metrics.contains("argument"), "{metrics}");
    assert!(!status.contains("echo"), "{status}");
    for shown in [status, metrics, program.stdout(), program.stderr()] {
        assert!(!shown.contains("token-of"), "{shown}");
    }
    let rendered = program.command(&["-template"]).output().unwrap();
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    assert!(rendered.contains(r#""token": "token-of-template""#), "{rendered}");
    assert_eq!(program.stop(), 0);
}
