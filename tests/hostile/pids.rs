//! A container in which no further process may be started for a while: what needs none goes on, and the rest goes on
//! afterwards.

use crate::cgroup::Cgroup;
use crate::observed::{Hostile, Observed};
use crate::program::Program;
use crate::slowness;
use nix::sys::signal::Signal;
use std::time::Duration;

/// The memory of the container.
const MEMORY: u64 = 128 << 20;
/// How many processes and threads it may have while all is well.
const PIDS: u32 = 48;

/// A container in which no process can be started for a while, and a reload is asked for meanwhile.
fn no_process_may_be_started_for_a_while(as_pid_1: bool) {
    let cgroup = Cgroup::with(MEMORY, PIDS);
    let mut program = Program::new();
    program.start_by(cgroup.starter());
    let mut observed = Observed::start_in(
        program,
        &Hostile {
            // It starts no process, so it does not fail itself.
            application: Some(&["sleep", "1000"]),
            as_pid_1,
            ..Hostile::default()
        },
    );
    observed.until_starts(2);
    cgroup.limit_pids(1);
    observed.program.until_told("resource temporarily unavailable");
    observed.program.signal(Signal::SIGHUP);
    observed.program.until_told("Reloading configuration.");
    let before = observed.starts().len();
    for _ in 0..3 {
        let (status, took) = observed.get("/status");
        assert_eq!(status.map(|status| status.status), Some(200));
        assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
    }
    assert_eq!(observed.starts().len(), before);
    cgroup.limit_pids(PIDS);
    observed.until_starts(3);
    assert_eq!(cgroup.kills(), 0, "nobody is killed for memory");
    observed.program.signal(Signal::SIGTERM);
    assert_eq!(observed.program.code(), 128 + 15, "{}", observed.program.stdout());
}

#[test]
fn a_container_without_a_process_to_spare_is_survived() {
    no_process_may_be_started_for_a_while(false);
}

#[test]
fn a_container_without_a_process_to_spare_is_survived_as_process_1() {
    no_process_may_be_started_for_a_while(true);
}
