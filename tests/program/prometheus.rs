//! A real Prometheus 2.42 scrapes the built program, and every metric is queried from it and must have the
//! expected value. Every query of the dashboard has numbers as its result, and promtool has no complaints. A
//! Prometheus 2.24 discovers the program through Consul, because Debian's 2.42 is built without that.
//!
//! The commands of the configuration run a fixed number of times and then hang, so that the counters stay at
//! known numbers; maintenance stops the others.

use crate::agent::{Agent, hostname};
use crate::http;
use crate::loopback::{OwnAddress, PORT};
use crate::program::{Program, UNTIL_TERM, command};
use crate::waiting::{SOON, until};
use domain::sensor::OWN;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Runs a command a fixed number of times, then hangs: `sh counted TIMES FILE COMMAND...`. It starts no
/// process of its own, because one that is killed with it would become an orphan, and orphans are counted.
const COUNTED: &str = "times=$1 file=$2
shift 2
echo >>$file
runs=0
while read -r _; do runs=$((runs + 1)); done <$file
[ $runs -le $times ] || exec sleep 1000
exec \"$@\"
";

/// The third check waits until the test has removed the service from the catalogue.
const CHECK: &str = "until [ $(wc -l <@/checks) -lt 3 ] || [ -e @/forgotten ]; do sleep 0.05; done
";

const CONFIGURATION: &str = r#"{
  "consul": "CONSUL",
  "services": [
    {"name": "app", "port": 8000, "interfaces": ["lo"], "poll": 1, "ttl": 1000, "timeout": "1000s",
     "health": ["sh", "@/counted", "4", "@/checks", "sh", "@/check"]},
    {"name": "sick", "port": 8001, "interfaces": ["lo"], "poll": 1, "ttl": 1000, "timeout": "1000s",
     "health": ["sh", "@/counted", "2", "@/sick", "false"], "onUnhealthy": "false", "onHealthy": "true"},
    {"name": "slow", "port": 8002, "interfaces": ["lo"], "poll": 1, "ttl": 1000, "timeout": "100ms",
     "health": ["sh", "@/counted", "0", "@/slow", "true"]}
  ],
  "backends": [
    {"name": "db", "poll": 1, "onChange": ["sh", "-c", "echo >>@/changes"]},
    {"name": "cache", "tag": "primary", "poll": 1, "onChange": "true"}
  ],
  "tasks": [
    {"name": "tidy", "frequency": "1s", "timeout": "1000s", "command": ["sh", "@/counted", "3", "@/tidy", "true"]},
    {"name": "late", "frequency": "1s", "timeout": "100ms", "command": ["sh", "@/counted", "1", "@/late", "false"]}
  ],
  "templates": [
    {"contents": "ready", "destination": "@/written", "command": "true"}
  ],
  "coprocesses": [
    {"name": "agent", "restarts": "unlimited", "command": ["sh", "@/counted", "2", "@/agent", "true"]}
  ],
  "telemetry": {
    "port": PORT, "interfaces": ["static:ADDRESS"],
    "sensors": [
      {"name": "app_jobs_total", "help": "Jobs done.", "type": "counter", "poll": 1, "timeout": "1000s",
       "check": ["sh", "@/counted", "3", "@/jobs", "echo", "5"]},
      {"namespace": "app", "subsystem": "queue", "name": "length", "help": "Jobs that wait.", "type": "gauge",
       "poll": 1, "timeout": "1000s", "check": ["sh", "@/counted", "2", "@/queue", "echo", "1.25"]},
      {"name": "app_wait_seconds", "help": "Time that jobs wait.", "type": "histogram", "poll": 1,
       "timeout": "1000s", "check": ["sh", "@/counted", "2", "@/wait", "echo", "0.3"]},
      {"name": "app_size_bytes", "help": "Size of jobs.", "type": "summary", "poll": 1, "timeout": "1000s",
       "check": ["sh", "@/counted", "5", "@/size", "sh", "-c", "wc -l <@/size"]},
      {"name": "app_broken", "help": "Never there.", "type": "gauge", "poll": 1, "timeout": "1000s",
       "check": ["sh", "@/counted", "2", "@/broken", "false"]}
    ]
  }
}"#;

/// Leaves two orphans, and runs until SIGTERM.
const APPLICATION: [&str; 3] = [
    "sh",
    "-c",
    "sh -c 'sleep 0.1 & sleep 0.1 &'; trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
];

/// Queries to Prometheus and their results. All of them hold once the commands hang, in maintenance.
const EXPECTED: &[(&str, f64)] = &[
    ("app_jobs_total", 15.0),
    ("app_queue_length", 1.25),
    ("app_wait_seconds_count", 2.0),
    ("app_wait_seconds_sum", 0.6),
    ("app_wait_seconds_bucket{le='0.25'}", 0.0),
    ("app_wait_seconds_bucket{le='0.5'}", 2.0),
    ("app_wait_seconds_bucket{le='+Inf'}", 2.0),
    ("app_size_bytes{quantile='0.5'}", 2.0),
    ("app_size_bytes{quantile='0.9'}", 4.0),
    ("app_size_bytes{quantile='0.99'}", 4.0),
    ("app_size_bytes_sum", 15.0),
    ("app_size_bytes_count", 5.0),
    ("app_broken", 0.0),
    ("containerpilot_backend_instances{backend='db',tag=''}", 2.0),
    (
        "containerpilot_backend_instances{backend='cache',tag='primary'}",
        0.0,
    ),
    ("containerpilot_build_info", 1.0),
    (
        "containerpilot_catalogue_request_duration_seconds_count{operation='register'}",
        3.0,
    ),
    ("containerpilot_check_duration_seconds_count{service='app'}", 4.0),
    ("containerpilot_checks_total{service='app',result='passed'}", 4.0),
    ("containerpilot_checks_total{service='app',result='failed'}", 0.0),
    ("containerpilot_checks_total{service='sick',result='failed'}", 2.0),
    ("containerpilot_checks_total{service='sick',result='passed'}", 0.0),
    ("containerpilot_checks_total{service='slow',result='passed'}", 0.0),
    ("containerpilot_coprocess_restarts_total{coprocess='agent'}", 2.0),
    (
        "containerpilot_deregistrations_total{service='app',result='success'}",
        1.0,
    ),
    (
        "containerpilot_deregistrations_total{service='containerpilot',result='success'}",
        1.0,
    ),
    ("sum(containerpilot_deregistrations_total{result='failure'})", 0.0),
    (
        "containerpilot_handler_runs_total{backend='db',result='passed'}",
        2.0,
    ),
    (
        "containerpilot_handler_runs_total{backend='cache',result='passed'}",
        0.0,
    ),
    // Of four passing checks, the first one registered the service, and the third one did after its heartbeat
    // was refused.
    (
        "containerpilot_heartbeats_total{service='app',result='success'}",
        2.0,
    ),
    (
        "containerpilot_heartbeats_total{service='app',result='unknown'}",
        1.0,
    ),
    (
        "containerpilot_heartbeats_total{service='app',result='failure'}",
        0.0,
    ),
    (
        "containerpilot_registrations_total{service='app',result='success'}",
        2.0,
    ),
    (
        "containerpilot_registrations_total{service='sick',result='success'}",
        0.0,
    ),
    (
        "containerpilot_registrations_total{service='containerpilot',result='success'}",
        1.0,
    ),
    (
        "containerpilot_reaction_runs_total{service='sick',command='onUnhealthy',result='failed'}",
        1.0,
    ),
    (
        "containerpilot_reaction_runs_total{service='sick',command='onHealthy',result='passed'}",
        0.0,
    ),
    ("containerpilot_service_healthy{service='app'}", 1.0),
    ("containerpilot_service_healthy{service='sick'}", 0.0),
    ("containerpilot_service_healthy{service='containerpilot'}", 1.0),
    ("sum(containerpilot_service_registered)", 0.0),
    // At the start, and at the reload.
    (
        "sum(containerpilot_template_renders_total{result='complete'})",
        2.0,
    ),
    ("sum(containerpilot_template_renders_total)", 2.0),
    ("sum(containerpilot_template_writes_total{result='changed'})", 1.0),
    (
        "sum(containerpilot_template_writes_total{result='unchanged'})",
        1.0,
    ),
    ("sum(containerpilot_template_writes_total)", 2.0),
    (
        "sum(containerpilot_template_command_runs_total{result='passed'})",
        1.0,
    ),
    ("containerpilot_catalogue_up", 1.0),
    ("containerpilot_config_last_reload_successful", 1.0),
    ("containerpilot_maintenance", 1.0),
    ("containerpilot_orphans_reaped_total", 2.0),
    ("containerpilot_reloads_total{result='success'}", 1.0),
    ("containerpilot_reloads_total{result='refused'}", 1.0),
    (
        "containerpilot_sensor_runs_total{sensor='app_jobs_total',result='passed'}",
        3.0,
    ),
    (
        "containerpilot_sensor_runs_total{sensor='app_broken',result='failed'}",
        2.0,
    ),
    (
        "containerpilot_sensor_runs_total{sensor='app_broken',result='timed_out'}",
        0.0,
    ),
    ("containerpilot_task_runs_total{task='tidy',result='passed'}", 3.0),
    ("containerpilot_task_runs_total{task='late',result='failed'}", 1.0),
    (
        "containerpilot_backend_queries_total{backend='db',tag='',result='success'} >= bool 2",
        1.0,
    ),
    (
        "containerpilot_backend_queries_total{backend='cache',tag='primary',result='success'} >= bool 1",
        1.0,
    ),
];

struct Prometheus {
    child: Child,
    own: OwnAddress,
    folder: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes this endpoint every second.
    fn scraping(endpoint: SocketAddr) -> Self {
        let targets = format!("static_configs: [{{targets: ['{endpoint}']}}]");
        Self::start("prometheus", &targets)
    }

    /// Starts a server that scrapes every second what Consul has registered as containerpilot.
    fn discovering_through(agent: &Agent) -> Self {
        let address = agent.address();
        let targets = format!(
            "consul_sd_configs: [{{server: '{address}', services: [containerpilot], refresh_interval: 1s}}]"
        );
        Self::start("prometheus-2.24", &targets)
    }

    fn start(version: &str, targets: &str) -> Self {
        let configuration =
            format!("global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: shim, {targets}}}]\n");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration).expect("the file can be written");
        let log = fs::File::create(folder.path().join("log")).expect("a file for the log");
        let own = OwnAddress::reserve();
        let child = Command::new(binary(version, "prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={}", own.socket()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus can be started");
        let prometheus = Self { child, own, folder };
        let log = || fs::read_to_string(prometheus.folder.path().join("log")).unwrap_or_default();
        let failed = || format!("Prometheus is ready: {}", log());
        until(SOON, failed, || {
            get(prometheus.own.socket(), "/-/ready").is_some()
        });
        prometheus
    }

    /// The samples of a query's result: labels and value.
    fn ask(&self, query: &str) -> Vec<(Value, f64)> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let body = get(self.own.socket(), &path).unwrap_or_else(|| panic!("Prometheus understands {query}"));
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let samples = answer["data"]["result"].as_array().expect("a vector").iter();
        samples
            .map(|sample| {
                let value = sample["value"][1].as_str().expect("a value");
                (sample["metric"].clone(), value.parse().expect("a number"))
            })
            .collect()
    }

    fn values(&self, query: &str) -> Vec<f64> {
        self.ask(query).into_iter().map(|(_, value)| value).collect()
    }

    /// Waits until the result of a query is exactly these values.
    fn until(&self, query: &str, expected: &[f64]) {
        let failed = || format!("{query} is {expected:?}, not {:?}", self.ask(query));
        until(SOON, failed, || self.values(query) == expected);
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn binary(version: &str, name: &str) -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers");
    let servers = std::env::var_os("CONTAINERPILOT_TEST_SERVERS").unwrap_or_else(|| default.into());
    let binary = PathBuf::from(servers).join(version).join("bin").join(name);
    assert!(
        binary.exists(),
        "this test needs {}: run scripts/servers {version}",
        binary.display()
    );
    binary
}

/// The body of an existing page.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let answer = http::get(&address.to_string(), path)?;
    (answer.status == 200).then_some(answer.body)
}

/// Bytes as a part of a URL, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Starts the program and brings it to the state in which [`EXPECTED`] holds.
fn run_until_counters_are_fixed(agent: &Agent, prometheus: &Prometheus, endpoint: SocketAddr) -> Program {
    let configuration = CONFIGURATION
        .replace("CONSUL", &agent.address())
        .replace("ADDRESS", &endpoint.ip().to_string())
        .replace("PORT", &endpoint.port().to_string());
    let mut program = Program::new();
    program.write("counted", COUNTED);
    program.write("check", &program.expand(CHECK));
    program.configure(&configuration);
    agent.register("db", "db-1", 5432);
    program.launch(&APPLICATION);

    program.until_lines("changes", 1);
    agent.register("db", "db-2", 5433);
    program.until_lines("changes", 2);

    program.until_lines("checks", 3);
    agent.deregister(&format!("app-{}", hostname()));
    program.write("forgotten", "");
    for (file, lines) in [
        ("checks", 5),
        ("tidy", 4),
        ("jobs", 4),
        ("size", 6),
        ("agent", 3),
        ("broken", 3),
    ] {
        program.until_lines(file, lines);
    }

    program.configure("{");
    program.signal(Signal::SIGHUP);
    prometheus.until("containerpilot_reloads_total{result='refused'}", &[1.0]);
    program.configure(&configuration);
    program.signal(Signal::SIGHUP);
    prometheus.until("containerpilot_reloads_total{result='success'}", &[1.0]);

    for (service, registered) in [("app", 1.0), ("containerpilot", 1.0), ("sick", 0.0)] {
        let query = format!("containerpilot_service_registered{{service='{service}'}}");
        prometheus.until(&query, &[registered]);
    }
    program.signal(Signal::SIGUSR1);
    program
}

#[test]
fn a_real_prometheus_has_every_metric_with_its_value() {
    let agent = Agent::start();
    let own = OwnAddress::reserve();
    let endpoint = own.socket();
    let prometheus = Prometheus::scraping(endpoint);
    let program = run_until_counters_are_fixed(&agent, &prometheus, endpoint);
    for (query, expected) in EXPECTED {
        prometheus.until(query, &[*expected]);
    }
    what_takes_too_long_is_known(&prometheus, &program);
    every_request_is_timed_and_counted_once(&prometheus);
    the_build_is_known(&prometheus);
    the_process_is_known(&prometheus, &program);
    every_name_was_asked_for(endpoint);
    the_dashboard_shows_numbers(&prometheus);
    promtool_does_not_complain(endpoint);
}

#[test]
fn a_real_prometheus_finds_the_endpoint_through_consul_while_it_is_not_in_maintenance() {
    let (agent, own) = (Agent::start(), OwnAddress::reserve());
    let prometheus = Prometheus::discovering_through(&agent);
    let configuration = format!(
        r#"{{"consul": "{}",
            "telemetry": {{"port": {PORT}, "interfaces": ["static:{}"], "sensors": [
                {{"name": "app_load", "help": "Load.", "type": "gauge", "poll": 1, "check": "echo 1.25"}}]}}}}"#,
        agent.address(),
        own.ip()
    );
    let program = Program::start(&configuration, &UNTIL_TERM);
    prometheus.until("up", &[1.0]);
    prometheus.until("app_load", &[1.25]);
    program.signal(Signal::SIGUSR1);
    prometheus.until("up", &[]);
    program.signal(Signal::SIGUSR1);
    prometheus.until("up", &[1.0]);
}

/// These runs continue until maintenance begins, so the test counts them, too.
fn what_takes_too_long_is_known(prometheus: &Prometheus, program: &Program) {
    let checks = "containerpilot_checks_total{service='slow',result='timed_out'}";
    let runs = "containerpilot_task_runs_total{task='late',result='timed_out'}";
    let counted = || {
        let logged = program.stdout().matches("task[late] timeout after").count();
        [program.lines("slow"), logged].map(|count| f64::from(u32::try_from(count).unwrap()))
    };
    let known = || [checks, runs].map(|query| prometheus.values(query)[0]);
    let failed = || format!("timed out: {:?}, not {:?}", counted(), known());
    until(SOON, failed, || known() == counted());
    assert!(known().into_iter().all(|count| count > 0.0));
    let duration = "containerpilot_check_duration_seconds";
    let each = format!("{duration}_sum{{service='slow'}} / {duration}_count");
    prometheus.until(&format!("{each} >= bool 0.1"), &[1.0]);
}

fn every_request_is_timed_and_counted_once(prometheus: &Prometheus) {
    for (operation, counted) in [
        ("register", "registrations"),
        ("renew", "heartbeats"),
        ("deregister", "deregistrations"),
        ("list|watch", "backend_queries"),
    ] {
        let timed =
            format!("containerpilot_catalogue_request_duration_seconds_count{{operation=~'{operation}'}}");
        let query = format!("sum({timed}) - sum(containerpilot_{counted}_total)");
        prometheus.until(&query, &[0.0]);
        prometheus.until(&format!("sum({timed}) > bool 0"), &[1.0]);
    }
}

fn the_build_is_known(prometheus: &Prometheus) {
    let output = command().arg("-version").output().expect("the program runs");
    let listed = String::from_utf8(output.stdout).unwrap();
    let (labels, _) = prometheus.ask("containerpilot_build_info").remove(0);
    let known = format!(
        "Version: {}\nGitHash: {}\n",
        labels["version"].as_str().unwrap(),
        labels["commit"].as_str().unwrap()
    );
    assert_eq!(known, listed);
}

/// Reads the process's figures from `/proc` in the test itself.
fn the_process_is_known(prometheus: &Prometheus, program: &Program) {
    let folder = PathBuf::from(format!("/proc/{}", program.pid()));
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let limits = read("limits");
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let limit: f64 = limit.split_ascii_whitespace().nth(3).unwrap().parse().unwrap();
    prometheus.until("process_max_fds", &[limit]);
    prometheus.until("time() - process_start_time_seconds < bool 120", &[1.0]);
    prometheus.until("time() - process_start_time_seconds > bool 0", &[1.0]);
    let status = read("status");
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace()
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    for (metric, name) in [
        ("process_resident_memory_bytes", "VmRSS:"),
        ("process_virtual_memory_bytes", "VmSize:"),
    ] {
        let share = prometheus.values(metric)[0] / (kilobytes(name) * 1024.0);
        assert!((0.8..1.25).contains(&share), "{metric}: {share}");
    }
    let stat = read("stat");
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |field: usize| {
        fields
            .split_ascii_whitespace()
            .nth(field)
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    // The kernel counts in hundredths of a second on all machines of Debian.
    let used = (ticks(11) + ticks(12)) / 100.0;
    let known = prometheus.values("process_cpu_seconds_total")[0];
    assert!(known > 0.0 && known <= used, "{known} of {used}");
    let open = fs::read_dir(folder.join("fd")).unwrap().count();
    let known = prometheus.values("process_open_fds")[0];
    // Connections of clients open and close.
    assert!(
        (known - f64::from(u32::try_from(open).unwrap())).abs() <= 3.0,
        "{known} of {open}"
    );
}

/// No metric is exposed that the test does not query.
fn every_name_was_asked_for(endpoint: SocketAddr) {
    let text = get(endpoint, "/metrics").expect("the endpoint answers");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exposed: BTreeSet<&str> = types.map(|line| line.split(' ').next().unwrap()).collect();
    let own = OWN.iter().map(|(name, _)| *name);
    let sensors = [
        "app_jobs_total",
        "app_queue_length",
        "app_wait_seconds",
        "app_size_bytes",
        "app_broken",
    ];
    assert_eq!(exposed, own.chain(sensors).collect());
    for name in exposed.iter().filter(|name| !name.starts_with("process_")) {
        assert!(EXPECTED.iter().any(|(query, _)| query.contains(name)), "{name}");
    }
}

/// Queries the dashboard's expressions, with values in place of Grafana's variables.
fn the_dashboard_shows_numbers(prometheus: &Prometheus) {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../examples/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut asked = 0;
    for target in targets {
        let query = target["expr"].as_str().unwrap();
        let filled = query
            .replace("$job", "shim")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "5m");
        assert!(!filled.contains('$'), "{filled}");
        let values = prometheus.values(&filled);
        assert!(
            values.iter().any(|value| value.is_finite()),
            "{filled}: {values:?}"
        );
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    for name in OWN.map(|(name, _)| name) {
        assert!(dashboard.to_string().contains(name), "{name}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let queries: Vec<&str> = variables
        .filter_map(|variable| variable["definition"].as_str())
        .collect();
    let expected = [
        "label_values(containerpilot_build_info, job)",
        "label_values(containerpilot_build_info{job=\"$job\"}, instance)",
    ];
    assert_eq!(queries, expected);
}

fn promtool_does_not_complain(endpoint: SocketAddr) {
    let text = get(endpoint, "/metrics").expect("the endpoint answers");
    let mut promtool = Command::new(binary("prometheus", "promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let complaints = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}
