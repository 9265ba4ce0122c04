//! The size of the program, and what it costs to start something through it.

use crate::report::{Report, quantile};
use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::process::{Command, Stdio};

/// How many starts are counted together, and how often.
const STARTS: u32 = 200;
const ROUNDS: usize = 5;

/// The size of the program.
#[allow(clippy::cast_precision_loss, reason = "a few megabytes")]
pub fn size(report: &mut Report) {
    let bytes = fs::metadata(report.program())
        .expect("the program is there")
        .len();
    report.figure("program", "MB", bytes as f64 / 1e6);
}

/// The processor time of `/bin/true`, alone, below each peer, and below the shim.
pub fn start(report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = report.program().to_str().expect("a path in UTF-8").to_owned();
    let folder = folder.path().join("catalogue").display().to_string();
    let folder = format!(r#"{{"directory": "{folder}"}}"#);
    let consul = r#"{"consul": "127.0.0.1:8500"}"#;
    let commands: &[(&str, &[&str])] = &[
        ("bare", &[]),
        ("tini", &["tini", "-s", "--"]),
        ("dumb-init", &["dumb-init", "--"]),
        ("catatonit", &["catatonit", "--"]),
        ("shim, folder", &[&program, "-config", &folder]),
        ("shim, Consul", &[&program, "-config", consul]),
    ];
    let mut times = vec![Vec::new(); commands.len()];
    let mut faults = vec![0.0; commands.len()];
    // In turns, so that whatever else happens affects all of them.
    for _ in 0..ROUNDS {
        for (place, (_, words)) in commands.iter().enumerate() {
            let (time, pages) = rounds(words);
            times[place].push(time);
            faults[place] = pages;
        }
    }
    let medians: Vec<f64> = times.iter().map(|times| quantile(times, 0.5)).collect();
    for (place, (name, _)) in commands.iter().enumerate() {
        report.figure(&format!("{name}: processor time"), "ms", medians[place]);
        report.figure(&format!("{name}: page faults"), "", faults[place]);
    }
    report.figure("shim, Consul against bare", "times", medians[5] / medians[0]);
    report.figure("shim, Consul against tini", "times", medians[5] / medians[1]);
}

/// The processor time of one start in milliseconds, and its page faults.
fn rounds(words: &[&str]) -> (f64, f64) {
    let before = children();
    for _ in 0..STARTS {
        let mut words = words.iter().chain(["/bin/true"].iter());
        let ended = Command::new(words.next().expect("a word"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(ended.is_ok_and(|status| status.success()), "it runs");
    }
    let after = children();
    let each = f64::from(STARTS);
    ((after.0 - before.0) * 1e3 / each, (after.1 - before.1) / each)
}

/// The processor time in seconds and the page faults of all children that have ended.
#[allow(clippy::cast_precision_loss, reason = "they are far below 2^52")]
fn children() -> (f64, f64) {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("there are children");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let time = seconds(usage.user_time()) + seconds(usage.system_time());
    (time, usage.minor_page_faults() as f64)
}
