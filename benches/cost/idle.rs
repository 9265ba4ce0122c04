//! What a shim uses that has nothing to do but its checks, heartbeats and queries, on a real Consul agent.

use crate::agent::Agent;
use crate::report::Report;
use crate::scenario::{Catalogue, Scenario, passes};
use crate::shim::Shim;
use std::thread::sleep;
use std::time::Duration;

/// How long the shim runs before it is measured.
const BEGIN: Duration = Duration::from_secs(30);
/// How long it is measured.
const STEADY: Duration = Duration::from_secs(60);

/// One service and one backend, at one second.
pub fn one(report: &mut Report) {
    idle(report, 1, 1);
}

/// Ten services and ten backends, at one second.
pub fn ten(report: &mut Report) {
    idle(report, 10, 1);
}

/// One service and one backend, at ten seconds; and a shim that has nothing to do.
pub fn wake_ups(report: &mut Report) {
    idle(report, 1, 10);
    let shim = Shim::start(report.program(), |folder| {
        Scenario {
            catalogue: Catalogue::Folder,
            services: 0,
            backends: 0,
            poll: 10,
        }
        .text(folder, &passes)
    });
    sleep(Duration::from_secs(5));
    let before = shim.used();
    sleep(STEADY);
    let after = shim.used();
    report.figure("wake-ups in 60 s, nothing due", "", after.waits - before.waits);
}

fn idle(report: &mut Report, units: usize, poll: u32) {
    let agent = Agent::start();
    for number in 0..units {
        agent.register(&format!("db{number}"), &format!("db{number}-first"), 1000);
    }
    let shim = Shim::start(report.program(), |folder| {
        Scenario {
            catalogue: Catalogue::Consul(&agent),
            services: units,
            backends: units,
            poll,
        }
        .text(folder, &passes)
    });
    sleep(BEGIN);
    let before = shim.used();
    sleep(STEADY);
    let after = shim.used();
    assert_eq!(shim.warnings(), [""; 0]);
    report.figure("resident memory", "MB", shim.memory("Rss:"));
    report.figure("private dirty memory", "MB", shim.memory("Private_Dirty:"));
    report.figure("processor time in 60 s", "s", after.cpu - before.cpu);
    report.figure("wake-ups in 60 s", "", after.waits - before.waits);
}
