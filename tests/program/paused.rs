//! A shim that stands still while a check runs, for longer than the check's timeout and the service's TTL.

use crate::agent::{Agent, hostname};
use crate::processes::{children, is_zombie, pids};
use crate::program::{Program, UNTIL_TERM};
use crate::sending::send;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::time::Duration;

/// A check that notes when it was started, in seconds since boot; while there is a file `slow` it takes half a second,
/// and says when it has begun. Its last process is the one whose ID it notes.
const CHECK: &str = "read -r up rest < /proc/uptime; echo $up >> @/starts; \
     [ -e @/slow ] || exit 0; echo $$ > @/pid; touch @/begun; exec sleep 0.5";

/// The service is passing, and a check has begun that will take a moment.
fn in_a_check(agent: &Agent) -> Program {
    let program = Program::start(
        &format!(
            r#"{{"consul": "{}", "services": [{{"name": "app", "port": 1, "interfaces": "static:192.0.2.7",
                 "poll": 1, "ttl": 5, "timeout": "2s", "health": ["sh", "-c", "{CHECK}"]}}]}}"#,
            agent.address()
        ),
        &UNTIL_TERM,
    );
    agent.until_passing("app", 1);
    program.until_file("up");
    program.write("slow", "");
    program.until_file("begun");
    program
}

/// The TTL is three seconds longer than the check's timeout, and began at most a second before the check. Both are over
/// when Consul says that the service is critical, and the pause is long enough to be noticed.
fn until_critical(agent: &Agent) {
    let id = format!("app-{}", hostname());
    let failed = || format!("{id} is critical, not {}", agent.status(&id));
    until(SOON, failed, || agent.status(&id) == "critical");
}

fn starts(program: &Program) -> Vec<Duration> {
    let seconds = program.read("starts");
    let seconds = seconds
        .lines()
        .map(|line| line.parse().expect("seconds since boot"));
    seconds.map(Duration::from_secs_f64).collect()
}

/// What is true when the shim goes on, with so many checks started before: the service passes again, the pause is told,
/// no timeout is, and checks are a poll apart but for one that was missed.
fn goes_on(agent: &Agent, program: &mut Program, before: usize) {
    agent.until_passing("app", 1);
    program.until_lines("starts", before + 4);
    let told = program.stdout();
    assert!(
        told.contains("s late: the machine was paused or overloaded"),
        "{told}"
    );
    assert!(!told.contains("timeout after"), "{told}");
    assert!(!told.contains("does not pass"), "{told}");
    let starts = starts(program);
    let took = starts[before + 3] - starts[before];
    // The first is the one that was missed, and the next comes when it is due.
    assert!(
        took >= Duration::from_millis(1_900),
        "four checks within {took:?}"
    );
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_check_that_ended_with_0_while_the_shim_stood_still_is_no_timeout() {
    let agent = Agent::start();
    let mut program = in_a_check(&agent);
    program.signal(Signal::SIGSTOP);
    let shim = program.pid();
    program.until("the check has ended", |_| {
        children(shim).into_iter().any(is_zombie)
    });
    until_critical(&agent);
    std::fs::remove_file(program.path("slow")).unwrap();
    let before = starts(&program).len();
    program.signal(Signal::SIGCONT);
    goes_on(&agent, &mut program, before);
}

#[test]
fn a_check_that_stood_still_with_the_shim_has_its_time_when_it_goes_on() {
    let agent = Agent::start();
    let mut program = in_a_check(&agent);
    program.signal(Signal::SIGSTOP);
    let check: Pid = pids(&program.read("pid"))[0];
    send(check, Signal::SIGSTOP);
    assert!(!is_zombie(check), "the check is under way");
    until_critical(&agent);
    std::fs::remove_file(program.path("slow")).unwrap();
    let before = starts(&program).len();
    // The shim first, so that it sees that a deadline is over before the check can end.
    program.signal(Signal::SIGCONT);
    program.until_told("s late: the machine was paused or overloaded");
    send(check, Signal::SIGCONT);
    goes_on(&agent, &mut program, before);
}
