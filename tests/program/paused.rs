//! The shim is stopped while a check runs, for longer than the check's timeout and the service's TTL: by SIGSTOP, alone
//! or with its check, or by freezing its whole control group, as `docker pause` does.

use crate::agent::{Agent, hostname};
use crate::processes::{children, is_zombie, pids};
use crate::program::{Program, UNTIL_TERM};
use crate::sending::send;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A check that records its start, in seconds since boot. While the file `slow` exists, it records that it
/// has begun, and takes half a second. Its last process is the one whose ID it records.
const CHECK: &str = "read -r up rest < /proc/uptime; echo $up >> @/starts; \
     [ -e @/slow ] || exit 0; echo $$ > @/pid; touch @/begun; exec sleep 0.5";

/// Returns when the service is passing and a slow check has begun.
fn start_and_wait_for_check(agent: &Agent) -> Program {
    wait_for_check(Program::new(), agent)
}

fn wait_for_check(mut program: Program, agent: &Agent) -> Program {
    program.configure(&format!(
        r#"{{"consul": "{}", "services": [{{"name": "app", "port": 1, "interfaces": "static:192.0.2.7",
             "poll": 1, "ttl": 5, "timeout": "2s", "health": ["sh", "-c", "{CHECK}"]}}]}}"#,
        agent.address()
    ));
    program.launch(&UNTIL_TERM);
    agent.until_passing("app", 1);
    program.until_file("up");
    program.write("slow", "");
    program.until_file("begun");
    program
}

/// Waits until Consul marks the service as critical. The TTL is three seconds longer than the check's
/// timeout, and began at most a second before the check, so both are over, and the pause is long enough to be
/// detected.
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

/// Checks the program after the pause, with this number of checks started before: the service passes again,
/// the pause is logged, no timeout is, and checks are one poll apart except one that was missed.
fn goes_on(agent: &Agent, program: &mut Program, before: usize) {
    agent.until_passing("app", 1);
    program.until_lines("starts", before + 4);
    let log = program.stdout();
    assert!(
        log.contains("s late: the machine was paused or overloaded"),
        "{log}"
    );
    assert!(!log.contains("timeout after"), "{log}");
    assert!(!log.contains("does not pass"), "{log}");
    let starts = starts(program);
    let took = starts[before + 3] - starts[before];
    // The first one is the check that was missed, and the next one starts when it is due.
    assert!(
        took >= Duration::from_millis(1_900),
        "four checks within {took:?}"
    );
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_check_that_ended_with_0_while_the_shim_was_paused_is_no_timeout() {
    let agent = Agent::start();
    let mut program = start_and_wait_for_check(&agent);
    program.signal(Signal::SIGSTOP);
    let shim = program.pid();
    program.until("the check has ended", |_| {
        children(shim).into_iter().any(is_zombie)
    });
    until_critical(&agent);
    fs::remove_file(program.path("slow")).unwrap();
    let before = starts(&program).len();
    program.signal(Signal::SIGCONT);
    goes_on(&agent, &mut program, before);
}

#[test]
fn a_check_that_was_paused_with_the_shim_gets_its_full_time_limit_afterwards() {
    let agent = Agent::start();
    let mut program = start_and_wait_for_check(&agent);
    program.signal(Signal::SIGSTOP);
    let check: Pid = pids(&program.read("pid"))[0];
    send(check, Signal::SIGSTOP);
    assert!(!is_zombie(check), "the check is under way");
    until_critical(&agent);
    fs::remove_file(program.path("slow")).unwrap();
    let before = starts(&program).len();
    // The shim continues first, so that it sees a deadline that is over before the check can end.
    program.signal(Signal::SIGCONT);
    program.until_logged("s late: the machine was paused or overloaded");
    send(check, Signal::SIGCONT);
    goes_on(&agent, &mut program, before);
}

/// A control group that can be frozen, of either version. It is removed when its value is dropped.
struct Freezer {
    folder: PathBuf,
    is_version_1: bool,
}

/// A frozen group, which continues when this is dropped.
struct Frozen<'f>(&'f Freezer);

const NEEDS: &str = "this test needs root, and control groups that can be frozen";

impl Freezer {
    fn new() -> Self {
        let version_1 = Path::new("/sys/fs/cgroup/freezer");
        let is_version_1 = version_1.is_dir();
        let root = if is_version_1 {
            version_1
        } else {
            Path::new("/sys/fs/cgroup")
        };
        let folder = root.join(format!("containerpilot-test-paused-{}", std::process::id()));
        fs::create_dir_all(&folder).expect(NEEDS);
        Self { folder, is_version_1 }
    }

    /// The command that starts another command in the group.
    fn starter(&self) -> Vec<String> {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// Returns when all its processes have stopped.
    fn freeze(&self) -> Frozen<'_> {
        self.set(true);
        let frozen = Frozen(self);
        until(SOON, || "the group stands still".into(), || self.is_frozen());
        frozen
    }

    fn set(&self, frozen: bool) {
        let (file, value) = match (self.is_version_1, frozen) {
            (true, true) => ("freezer.state", "FROZEN"),
            (true, false) => ("freezer.state", "THAWED"),
            (false, true) => ("cgroup.freeze", "1"),
            (false, false) => ("cgroup.freeze", "0"),
        };
        fs::write(self.folder.join(file), value).expect(NEEDS);
    }

    fn is_frozen(&self) -> bool {
        let (file, value) = match self.is_version_1 {
            true => ("freezer.state", "FROZEN"),
            false => ("cgroup.events", "frozen 1"),
        };
        let state = fs::read_to_string(self.folder.join(file)).expect(NEEDS);
        state.lines().any(|line| line == value)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // A killed process may still exist.
        let tries = (0..500).inspect(|_| std::thread::sleep(Duration::from_millis(10)));
        tries.into_iter().find(|_| fs::remove_dir(&self.folder).is_ok());
    }
}

#[test]
fn a_paused_container_continues_as_before() {
    let (agent, freezer) = (Agent::start(), Freezer::new());
    let mut program = Program::new();
    program.start_by(freezer.starter());
    let mut program = wait_for_check(program, &agent);
    let frozen = freezer.freeze();
    until_critical(&agent);
    fs::remove_file(program.path("slow")).unwrap();
    let before = starts(&program).len();
    drop(frozen);
    goes_on(&agent, &mut program, before);
}

/// For how many polls the shim is stopped: three times as long as the TTL and the time limits.
const LONG: usize = 15;

/// Services and a task whose runs are counted, a handler, and a coprocess that ends when the file `end` is there.
const BUSY: &str = r#"{"directory": "@/catalogue",
    "services": [
        {"name": "a", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 5, "health": ["sh", "-c", "echo a >> @/begun"]},
        {"name": "b", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 5, "health": ["sh", "-c", "echo b >> @/begun"]},
        {"name": "slow", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 5, "timeout": "5s",
         "health": ["sh", "-c", "[ -e @/slow ] || exit 0; touch @/begun.slow; exec sleep 2"]}],
    "backends": [{"name": "other", "poll": 1, "onChange": ["sh", "-c", "echo changed >> @/changes"]}],
    "tasks": [{"name": "often", "frequency": "250ms", "command": ["sh", "-c", "echo run >> @/runs"]}],
    "coprocesses": [{"name": "side", "restarts": 1,
                     "command": ["sh", "-c", "echo side >> @/sides; while [ ! -e @/end ]; do sleep 0.02; done; rm @/end"]}]}"#;

/// An application that records SIGUSR2.
const APPLICATION: [&str; 3] = [
    "sh",
    "-c",
    "trap 'touch @/usr2' USR2; trap 'exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
];

/// Starts an instance of the service `other` in the same folder, whose check writes a line each second.
fn witness(program: &Program) -> Program {
    let config = r#"{"directory": "@/catalogue", "services": [{"name": "other", "port": 9, "interfaces": "static:192.0.2.8",
        "poll": 1, "ttl": 30, "health": ["sh", "-c", "echo second >> @/seconds"]}]}"#;
    let mut witness = Program::new();
    let folder = program.expand("@");
    witness.write("cp.json", &config.replace('@', &folder));
    witness.launch(&UNTIL_TERM);
    witness
}

#[test]
fn after_a_long_pause_nothing_is_lost_and_nothing_is_made_up_for() {
    let mut program = Program::start(BUSY, &APPLICATION);
    program.until_lines("begun", 4);
    program.until_lines("sides", 1);
    program.until_file("up");
    program.write("slow", "");
    program.until_file("begun.slow");
    program.signal(Signal::SIGSTOP);
    // These happen meanwhile: a change of a backend, the end of a check and of a coprocess, and a signal.
    let _witness = witness(&program);
    program.write("end", "");
    program.signal(Signal::SIGUSR2);
    for second in 1..=LONG {
        program.until_lines("seconds", second);
    }
    std::fs::remove_file(program.path("slow")).unwrap();
    let (begun, runs) = (program.lines("begun"), program.lines("runs"));
    let registered = program.stdout().matches("Service registered: ").count();
    let begin = std::time::Instant::now();
    program.signal(Signal::SIGCONT);
    program.until_logged("s late: the machine was paused or overloaded");
    program.until_file("usr2");
    program.until_lines("changes", 1);
    program.until_lines("sides", 2);
    program.until_lines("begun", begun + 6);
    program.until("each entry that expired is made again", |program| {
        program.stdout().matches("Service registered: ").count() >= registered + 3
    });
    let seconds = begin.elapsed().as_secs_f64();
    let (checks, tasks) = (program.lines("begun") - begun, program.lines("runs") - runs);
    let log = program.stdout();
    // One run for all that were missed, and one that was due when the shim was stopped.
    assert!(
        checks as f64 <= 2.0 * (seconds + 2.0),
        "{checks} checks in {seconds} s"
    );
    assert!(
        tasks as f64 <= 4.0 * seconds + 2.0,
        "{tasks} tasks in {seconds} s"
    );
    assert!(
        !log.contains("timeout after") && !log.contains("does not pass"),
        "{log}"
    );
    assert_eq!((program.lines("changes"), program.lines("sides")), (1, 2));
    assert_eq!(program.stop(), 0);
}
