//! A container in which no further process can be started for a while. What needs no process continues meanwhile; the
//! rest continues afterwards.

use crate::cgroup::Cgroup;
use crate::observed::{Hostile, Observed};
use crate::program::Program;
use crate::slowness;
use nix::sys::signal::Signal;
use std::time::Duration;

/// The memory of the container.
const MEMORY: u64 = 128 << 20;
/// The usual limit on processes and threads.
const PIDS: u32 = 48;

/// Tests a container in which no process can be started for a while, with a reload in that time.
fn no_process_may_be_started_for_a_while(as_pid_1: bool) {
    let cgroup = Cgroup::with(MEMORY, PIDS);
    let mut program = Program::new();
    program.start_by(cgroup.starter());
    let mut observed = Observed::start_in(
        program,
        &Hostile {
            // It starts no process, so it does not fail.
            application: Some(&["sleep", "1000"]),
            as_pid_1,
            ..Hostile::default()
        },
    );
    observed.until_starts(2);
    cgroup.limit_pids(1);
    observed.program.until_logged("resource temporarily unavailable");
    observed.program.signal(Signal::SIGHUP);
    observed.program.until_logged("Reloading configuration.");
    let before = observed.starts().len();
    for _ in 0..3 {
        let (status, took) = observed.get("/status");
        assert_eq!(status.map(|status| status.status), Some(200));
        assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
    }
    assert_eq!(observed.starts().len(), before);
    cgroup.limit_pids(PIDS);
    observed.until_starts(3);
    assert_eq!(cgroup.kills(), 0, "no process is killed for memory");
    observed.program.signal(Signal::SIGTERM);
    assert_eq!(observed.program.code(), 128 + 15, "{}", observed.program.stdout());
}

#[test]
fn the_shim_survives_a_container_in_which_no_process_can_be_started() {
    no_process_may_be_started_for_a_while(false);
}

#[test]
fn the_shim_survives_as_process_1_a_container_in_which_no_process_can_be_started() {
    no_process_may_be_started_for_a_while(true);
}
