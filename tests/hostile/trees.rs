//! Jobs that start hundreds of processes, each in a session of its own, and that take too long: all of these processes
//! end, and everything else is on time.

use crate::observed::{Hostile, Observed};
use crate::processes::{is_there, is_zombie, pids};
use crate::slowness;
use std::time::Duration;

/// How late a check may be, as in the tests of floods.
const PROMPT: Duration = Duration::from_millis(700);

#[test]
fn hundreds_of_processes_in_sessions_of_their_own_end_with_their_job_and_delay_nothing() {
    let sections = r#", "tasks": [
        {"name": "sessions", "frequency": "2s", "timeout": "2s", "command": ["sh", "-c",
            "i=0; while [ $i -lt 300 ]; do setsid sleep 1000 & echo $! >> @/started; i=$((i + 1)); done; touch @/all; wait"]}]"#;
    let observed = Observed::start(&Hostile {
        sections,
        ..Hostile::default()
    });
    observed.program.until_file("all");
    observed.program.until_logged("task[sessions] timeout after 2s");
    let started = pids(&observed.program.read("started"));
    let first = &started[..started.len().min(300)];
    observed
        .program
        .until("the processes of the first run have ended", |_| {
            first.iter().all(|pid| !is_there(*pid) || is_zombie(*pid))
        });
    observed.until_starts(2);
    let late = observed.lateness(3);
    assert!(late < PROMPT * slowness(), "{late:?}");
    observed.terminate();
}
