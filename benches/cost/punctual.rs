//! Many services and backends: processor time, memory, descriptors, and how late health checks start.

use crate::agent::Agent;
use crate::report::{Report, quantile};
use crate::scenario::{Catalogue, Scenario};
use crate::shim::Shim;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// In seconds.
const POLL: u32 = 10;
/// How long the shim runs before it is measured.
const BEGIN: Duration = Duration::from_secs(35);
/// How long it is measured.
const STEADY: Duration = Duration::from_secs(60);
/// How late a check may start and count as punctual, in seconds.
const PUNCTUAL: f64 = 0.050;

/// 300 services and 300 backends, on a folder and on Consul.
pub fn three_hundred(report: &mut Report) {
    on_folder_and_consul(report, 300);
}

/// 1,000 services and 1,000 backends, on a folder and on Consul.
pub fn thousand(report: &mut Report) {
    on_folder_and_consul(report, 1000);
}

fn on_folder_and_consul(report: &mut Report, units: usize) {
    run(report, "folder", Catalogue::Folder, units);
    let agent = Agent::start();
    for number in 0..units {
        agent.register(&format!("db{number}"), &format!("db{number}-first"), 1000);
    }
    run(report, "Consul", Catalogue::Consul(&agent), units);
}

fn run(report: &mut Report, name: &str, catalogue: Catalogue<'_>, units: usize) {
    let (_program, stamp) = stamp();
    let began = seconds();
    let shim = Shim::start(report.program(), |folder| {
        let file = folder.join("stamps");
        let scenario = Scenario {
            catalogue,
            services: units,
            backends: units,
            poll: POLL,
        };
        scenario.text(folder, &|number| {
            format!(r#"["{}", "{}", "{number}"]"#, stamp.display(), file.display())
        })
    });
    sleep(BEGIN);
    let before = shim.used();
    sleep(STEADY);
    let after = shim.used();
    assert_eq!(shim.warnings(), [""; 0]);
    let mut figure = |what: &str, unit, value| report.figure(&format!("{name}: {what}"), unit, value);
    figure("processor time in 60 s", "s", after.cpu - before.cpu);
    figure("resident memory", "MB", shim.memory("Rss:"));
    figure("private dirty memory", "MB", shim.memory("Private_Dirty:"));
    figure("descriptors", "", shim.descriptors());
    let late = lateness(&shim.read("stamps"), began, units);
    #[allow(clippy::cast_precision_loss, reason = "there are some thousands")]
    let (checks, punctual) = (
        late.len() as f64,
        late.iter().filter(|late| **late <= PUNCTUAL).count() as f64,
    );
    #[allow(clippy::cast_precision_loss, reason = "there are some thousands")]
    let expected = units as f64 * ((BEGIN + STEADY).as_secs_f64() / f64::from(POLL)).floor();
    assert!(
        checks >= expected * 0.95,
        "{checks} checks ran, and {expected} should have"
    );
    figure(
        "checks within 50 ms of their time",
        "%",
        100.0 * punctual / checks,
    );
    figure("lateness of a check, 99 %", "ms", 1e3 * quantile(&late, 0.99));
}

/// When each service is due after the start of each period, in seconds, as docs/health.md says.
fn offset(number: usize, units: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "there are some thousands")]
    let (number, units) = (number as f64, units as f64);
    let tenth = f64::from(POLL) / 10.0;
    let before = number - number % 8.0;
    before * (tenth / units).clamp(0.002, 0.005)
}

/// How late each check after the first period started, in seconds: after the earliest time that all checks agree on.
fn lateness(stamps: &str, began: f64, units: usize) -> Vec<f64> {
    let offsets: BTreeMap<usize, f64> = (0..units).map(|number| (number, offset(number, units))).collect();
    let phase = |line: &str| {
        let (number, nanoseconds) = line.split_once(' ').expect("a number and a time");
        let number: usize = number.parse().expect("a number");
        let time = nanoseconds.parse::<f64>().expect("a time") / 1e9 - began - offsets[&number];
        let period = (time / f64::from(POLL)).floor();
        (period >= 1.0).then_some(time - period * f64::from(POLL))
    };
    let phases: Vec<f64> = stamps.lines().filter_map(phase).collect();
    let first = phases.iter().copied().fold(f64::INFINITY, f64::min);
    phases.iter().map(|phase| phase - first).collect()
}

/// The program that the checks run.
fn stamp() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/cost/stamp.rs");
    let program = folder.path().join("stamp");
    let built = Command::new("rustc")
        .args([
            "-O",
            "-C",
            "panic=abort",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ])
        .args([&program, &source])
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "rustc builds {}",
        source.display()
    );
    (folder, program)
}

/// The time in seconds.
fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_secs_f64()
}
