//! Many services and backends on a real Consul agent with its default limits: `cargo bench --bench scale`. Fails if a
//! service does not stay passing, a handler does not run exactly once for each change, an error is logged, another
//! client is refused by the agent, or more connections are open than `consul.maxConnections` allows.
//!
//! `HOSTILE_BINARY=target/release/containerpilot cargo bench --profile dev --bench scale` measures a release that is built
//! already. The arguments choose the scenarios, for instance `cargo bench --bench scale -- 300x300`: SERVICESxBACKENDS, with
//! `SHIMS*` in front for more than one shim. Without arguments: 300x300, 1000x1000 and 20*0x10.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement starts programs, reads the clock, prints what it found and may fail by panicking"
)]

#[allow(dead_code, reason = "the tests need more")]
#[path = "../tests/program/agent.rs"]
mod agent;
#[allow(dead_code, reason = "the tests need more")]
#[path = "../tests/program/http.rs"]
mod http;
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests need more, and a benchmark runs none"
)]
#[path = "../tests/common/loopback.rs"]
mod loopback;
#[path = "../tests/program/sending.rs"]
mod sending;
#[allow(dead_code, reason = "the other benchmark needs more")]
#[path = "common/shim.rs"]
mod shim;
#[path = "../tests/program/waiting.rs"]
mod waiting;

use agent::Agent;
use shim::Shim;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use waiting::until;

/// The time between two checks of a service and two queries of a backend, in seconds.
const POLL: u64 = 10;
/// How long the catalogue is watched once everything is registered.
const STEADY: Duration = Duration::from_secs(60);
/// How long everything may take to be registered, and every handler to run.
const BEGIN: Duration = Duration::from_secs(120);
/// How many connections of one shim the agent may have: `consul.maxConnections`, 16 by default, and one that closes.
const CONNECTIONS: usize = 17;
/// How many backends get another instance while the catalogue is watched.
const CHANGES: usize = 50;

/// How many shims with how many services and backends each.
#[derive(Clone, Copy)]
struct Scenario {
    shims: usize,
    services: usize,
    backends: usize,
}

impl Scenario {
    fn parse(text: &str) -> Option<Self> {
        let (shims, rest) = text.split_once('*').unwrap_or(("1", text));
        let (services, backends) = rest.split_once('x')?;
        Some(Self {
            shims: shims.parse().ok()?,
            services: services.parse().ok()?,
            backends: backends.parse().ok()?,
        })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let chosen = match arguments.is_empty() {
        true => ["300x300", "1000x1000", "20*0x10"].map(String::from).to_vec(),
        false => arguments,
    };
    for text in chosen {
        let scenario = Scenario::parse(&text);
        run(
            &text,
            scenario.unwrap_or_else(|| panic!("{text} is not [SHIMS*]SERVICESxBACKENDS")),
        );
    }
}

fn run(name: &str, scenario: Scenario) {
    let agent = Agent::start();
    for number in 0..scenario.backends {
        agent.register(&format!("db{number}"), &format!("db{number}-first"), 1000);
    }
    let shims: Vec<Shim> = (0..scenario.shims)
        .map(|number| start(number, scenario, &agent))
        .collect();
    let registered = scenario.shims * scenario.services;
    until(
        BEGIN,
        || format!("{registered} services are passing, not {}", passing(&agent)),
        || passing(&agent) == registered,
    );
    until_handled(&shims, scenario.backends, |_| 1);
    let before = shims.iter().map(|shim| shim.used().cpu).sum::<f64>();
    let watched = watch(&agent, &shims, scenario, registered);
    until_handled(&shims, scenario.backends, |backend| {
        1 + usize::from(backend < CHANGES)
    });
    let cpu = shims.iter().map(|shim| shim.used().cpu).sum::<f64>() - before;
    let errors: usize = shims.iter().map(errors).sum();
    let memory = shims.iter().map(peak_memory).fold(0.0, f64::max);
    let descriptors = shims.iter().map(Shim::descriptors).fold(0.0, f64::max);
    println!(
        "{name}: fewest passing {} of {registered}, most connections {}, refused to others {}, error lines {errors}, \
         peak memory {memory} kB, descriptors {descriptors}, CPU in {STEADY:?} {cpu:.2} s",
        watched.fewest_passing, watched.most_connections, watched.refused
    );
    assert_eq!(
        watched.fewest_passing, registered,
        "a service did not stay passing"
    );
    assert_eq!(watched.refused, 0, "the agent refused another client");
    assert_eq!(errors, 0, "an error was logged");
    let allowed = CONNECTIONS * scenario.shims;
    assert!(
        watched.most_connections <= allowed,
        "more than {allowed} connections"
    );
}

/// What was seen while the catalogue was watched.
struct Watched {
    fewest_passing: usize,
    most_connections: usize,
    refused: usize,
}

fn watch(agent: &Agent, shims: &[Shim], scenario: Scenario, registered: usize) -> Watched {
    let mut watched = Watched {
        fewest_passing: registered,
        most_connections: 0,
        refused: 0,
    };
    let end = Instant::now() + STEADY;
    let mut changed = 0;
    while Instant::now() < end {
        if changed < CHANGES.min(scenario.backends) {
            agent.register(&format!("db{changed}"), &format!("db{changed}-second"), 2000);
            changed += 1;
        }
        watched.refused += usize::from(http::get(&agent.address(), "/v1/status/leader").is_none());
        watched.fewest_passing = watched.fewest_passing.min(passing(agent));
        let connections = shims.iter().map(|shim| connections(shim, &agent.address())).sum();
        watched.most_connections = watched.most_connections.max(connections);
        sleep(Duration::from_millis(200));
    }
    watched
}

/// How many TTL checks of the agent are passing.
fn passing(agent: &Agent) -> usize {
    let checks = agent.get("/v1/agent/checks");
    let checks = checks.as_object().expect("a map of checks").values();
    checks.filter(|check| check["Status"] == "passing").count()
}

/// Waits until each handler of each shim has run so many times, and fails if one runs more often.
fn until_handled(shims: &[Shim], backends: usize, expected: impl Fn(usize) -> usize) {
    let wrong = || {
        let of_shim = |shim: &Shim| {
            let runs = handler_runs(shim);
            (0..backends)
                .filter_map(|number| {
                    let runs = runs.get(&number).copied().unwrap_or_default();
                    (runs != expected(number)).then_some((number, runs))
                })
                .collect::<Vec<_>>()
        };
        shims.iter().flat_map(of_shim).collect::<Vec<_>>()
    };
    let failed = || {
        format!(
            "each handler ran for each change, but (backend, runs): {:?}",
            wrong()
        )
    };
    until(BEGIN, failed, || wrong().is_empty());
}

/// The program: of the profile of this benchmark, or the one that the variable names.
fn binary() -> OsString {
    std::env::var_os("HOSTILE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_containerpilot").into())
}

/// Starts a shim whose handlers note their runs in a file.
fn start(number: usize, scenario: Scenario, agent: &Agent) -> Shim {
    Shim::start(Path::new(&binary()), |folder| {
        let runs = folder.join("runs");
        fs::write(&runs, "").expect("a file");
        configuration(number, scenario, agent, &runs)
    })
}

/// How many warnings and errors a shim has logged; some are printed.
fn errors(shim: &Shim) -> usize {
    let wrong = shim.warnings();
    for line in wrong.iter().take(5) {
        println!("  logged: {line}");
    }
    wrong.len()
}

/// How often the handler of each backend has run.
fn handler_runs(shim: &Shim) -> BTreeMap<usize, usize> {
    let mut runs = BTreeMap::new();
    for line in shim.read("runs").lines() {
        *runs.entry(line.parse().expect("a number")).or_default() += 1;
    }
    runs
}

/// In kB.
fn peak_memory(shim: &Shim) -> f64 {
    let status = fs::read_to_string(shim.proc("status")).expect("the shim runs");
    shim::field(&status, "VmHWM:")
}

/// How many sockets of a shim are connected to the agent.
fn connections(shim: &Shim, agent: &str) -> usize {
    let agent: std::net::SocketAddrV4 = agent.parse().expect("an address");
    let mut address = String::new();
    for octet in agent.ip().octets().iter().rev() {
        write!(address, "{octet:02X}").expect("a string takes all");
    }
    write!(address, ":{:04X}", agent.port()).expect("a string takes all");
    let own: Vec<String> = fs::read_dir(shim.proc("fd"))
        .expect("the shim runs")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let of_socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2) == Some(&address.as_str())
            && fields
                .get(9)
                .is_some_and(|inode| own.iter().any(|link| *link == format!("socket:[{inode}]")))
    };
    let sockets = fs::read_to_string(shim.proc("net/tcp")).expect("the shim runs");
    sockets.lines().filter(|line| of_socket(line)).count()
}

fn configuration(number: usize, scenario: Scenario, agent: &Agent, runs: &Path) -> String {
    let service = |service: usize| {
        format!(
            r#"{{"name": "app{number}-{service}", "port": 80, "interfaces": "static:192.0.2.7", "poll": {POLL},
                 "ttl": 30, "health": "true"}}"#
        )
    };
    let backend = |backend: usize| {
        format!(
            r#"{{"name": "db{backend}", "poll": {POLL}, "onChange": ["sh", "-c", "echo {backend} >> {}"]}}"#,
            runs.display()
        )
    };
    let services: Vec<String> = (0..scenario.services).map(service).collect();
    let backends: Vec<String> = (0..scenario.backends).map(backend).collect();
    format!(
        r#"{{"consul": "{}", "logging": {{"format": "text"}}, "services": [{}], "backends": [{}]}}"#,
        agent.address(),
        services.join(","),
        backends.join(",")
    )
}
