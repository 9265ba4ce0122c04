//! How long a scrape of 100 sensors takes, 25 of each kind: `cargo bench --bench scrape`. Fails if half of the
//! scrapes take longer than 5 ms.
//!
//! First it measures the rendering of one page, with the windows of the summaries full; then whole requests to the built
//! program over HTTP as Prometheus sends them, each on a new connection.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement starts a program, reads the clock, prints what it found and may fail by panicking"
)]

#[path = "../tests/common/loopback.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests need more, and a benchmark runs none"
)]
mod loopback;

use containerpilot::adapters::clock::MachineClock;
use containerpilot::adapters::telemetry::metrics::Metrics;
use domain::measurement::Measurement;
use domain::plan::{Catalogue, Command, Job, Output, Plan, Role, Sensor, SensorKind, Telemetry, Trigger};
use domain::sensor::read;
use loopback::OwnAddress;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

const KINDS: [SensorKind; 4] = [
    SensorKind::Counter,
    SensorKind::Gauge,
    SensorKind::Histogram,
    SensorKind::Summary,
];
const OF_EACH: usize = 25;
/// How many values of a sensor there are in ten minutes, one a second.
const VALUES: u32 = 600;
const SCRAPES: usize = 1000;
const LIMIT: Duration = Duration::from_millis(5);

fn main() {
    let sensors: Vec<(SensorKind, String)> = KINDS
        .iter()
        .flat_map(|kind| (0..OF_EACH).map(move |number| (*kind, format!("bench_{kind}_{number}"))))
        .collect();
    let metrics = filled(&sensors);
    measure("the text, windows full", || metrics.text().unwrap().len());
    let program = Program::start(&sensors);
    measure("over HTTP, windows empty", || program.scrape().unwrap());
}

fn measure(what: &str, scrape: impl Fn() -> usize) {
    let mut bytes = 0;
    let mut took: Vec<Duration> = (0..SCRAPES)
        .map(|_| {
            let start = Instant::now();
            bytes = scrape();
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[SCRAPES * share / 100];
    println!(
        "{what}: {bytes} bytes, half of {SCRAPES} scrapes below {:?}, 90 % below {:?}, 99 % below {:?}",
        at(50),
        at(90),
        at(99)
    );
    assert!(at(50) < LIMIT, "{what}: {:?} is not below {LIMIT:?}", at(50));
}

/// Metrics with the values of ten minutes for each sensor.
fn filled(sensors: &[(SensorKind, String)]) -> Metrics {
    let sensor = |(kind, name): &(SensorKind, String)| {
        let role = Role::Sensor { name: name.clone() };
        Sensor {
            name: name.clone(),
            help: format!("A {kind}."),
            kind: *kind,
            job: Job::new(role, Command::new("true", []), Trigger::OnDemand, Output::Capture),
        }
    };
    let mut plan = Plan::new(Catalogue::Directory { path: "/c".into() });
    plan.telemetry = Some(Telemetry {
        address: ([127, 0, 0, 1], 9090).into(),
        sensors: sensors.iter().map(sensor).collect(),
    });
    let mut metrics = Metrics::new(MachineClock::start());
    metrics.expose(&plan);
    for value in 0..VALUES {
        // The order is mixed: 7919 is a prime.
        let printed = format!("{}.5", value * 7919 % VALUES);
        for (kind, name) in sensors {
            metrics.record(&Measurement::Sensed {
                sensor: name.clone(),
                value: read(*kind, &printed).unwrap(),
            });
        }
    }
    metrics
}

/// The built program with these sensors, none of which runs.
struct Program {
    child: process::Child,
    own: OwnAddress,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start(sensors: &[(SensorKind, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnAddress::reserve();
        let sensor = |(kind, name): &(SensorKind, String)| {
            format!(
                r#"{{"name": "{name}", "help": "A {kind}.", "type": "{kind}", "poll": 3600, "check": "true"}}"#
            )
        };
        let sensors: Vec<String> = sensors.iter().map(sensor).collect();
        let configuration = format!(
            r#"{{"directory": "{}", "telemetry": {{"port": {}, "interfaces": "static:{}", "sensors": [{}]}}}}"#,
            folder.path().join("catalogue").display(),
            own.socket().port(),
            own.ip(),
            sensors.join(",")
        );
        let child = process::Command::new(env!("CARGO_BIN_EXE_containerpilot"))
            .args(["-config", &configuration, "sleep", "1000"])
            .stdout(process::Stdio::null())
            .spawn()
            .unwrap();
        let program = Self {
            child,
            own,
            _folder: folder,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while program.scrape().is_none() {
            assert!(Instant::now() < deadline, "the program answers");
            sleep(Duration::from_millis(10));
        }
        program
    }

    /// The length of the answer, if there is one.
    fn scrape(&self) -> Option<usize> {
        let mut stream = TcpStream::connect(self.own.socket()).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        answer.starts_with(b"HTTP/1.0 200 OK\r\n").then_some(answer.len())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}
