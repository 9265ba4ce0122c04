//! The program under test with a telemetry endpoint and a check that records its starts, and the measurements that the
//! bounds limit.

use crate::http::{self, Answer};
use crate::loopback::OwnAddress;
use crate::machine;
use crate::processes::{descriptors_of, field};
use crate::program::{Program, UNTIL_TERM};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::fs;
use std::time::Duration;

/// How often the observed check is due.
pub const POLL: Duration = Duration::from_secs(1);

/// A service whose check writes its start time to `@/starts`, in ticks since boot, without starting
/// processes.
const OBSERVED_SERVICE: &str = r#"{"name": "observed", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10,
    "health": ["sh", "-c", "read -r stat < /proc/$$/stat; echo \"$stat\" >> @/starts"]}"#;

/// The program with an endpoint and a check whose starts are recorded.
pub struct Observed {
    pub program: Program,
    /// The address of `/metrics` and `/status`.
    pub endpoint: String,
}

/// Further parts of the configuration of an observed program.
#[derive(Default)]
pub struct Hostile<'a> {
    /// The catalogue's section; the directory `@/catalogue` unless given.
    pub catalogue: Option<&'a str>,
    /// More services, each preceded by a comma.
    pub services: &'a str,
    /// More sections, each preceded by a comma.
    pub sections: &'a str,
    /// The application; one that ends at SIGTERM unless given.
    pub application: Option<&'a [&'a str]>,
    /// Whether the program is process 1 of a process namespace of its own.
    pub as_pid_1: bool,
}

impl Observed {
    /// Starts the program and waits until its endpoint answers.
    pub fn start(hostile: &Hostile<'_>) -> Self {
        Self::start_in(Program::new(), hostile)
    }

    /// As [`Self::start`], with a folder that was prepared before.
    pub fn start_in(mut program: Program, hostile: &Hostile<'_>) -> Self {
        machine::observe();
        let host = own_address();
        program.configure(&config(&host, hostile));
        let application = hostile.application.unwrap_or(&UNTIL_TERM);
        match hostile.as_pid_1 {
            true => program.launch_as_pid_1(application),
            false => program.launch(application),
        }
        let endpoint = format!("{host}:9090");
        program.until("the endpoint answers", |_| {
            http::get(&endpoint, "/status").is_some()
        });
        Self { program, endpoint }
    }

    /// Gets a page. Returns the answer and the duration, without the machine's own lateness.
    pub fn get(&self, path: &str) -> (Option<Answer>, Duration) {
        let began = machine::since_boot();
        let answer = http::get(&self.endpoint, path);
        let took = machine::since_boot() - began;
        (answer, took.saturating_sub(2 * machine::lateness_since(began)))
    }

    /// When the observed check was started, in time since boot, to a hundredth of a second.
    pub fn starts(&self) -> Vec<Duration> {
        self.program.read("starts").lines().filter_map(started).collect()
    }

    /// Waits until the observed check was started this many more times.
    pub fn until_starts(&self, more: usize) {
        let enough = self.starts().len() + more;
        self.program
            .until("the check goes on", |program| program.lines("starts") >= enough);
    }

    /// The largest lateness of the newest `count` starts: how much longer than one poll after the start
    /// before, without the machine's own lateness.
    pub fn lateness(&self, count: usize) -> Duration {
        let starts = self.starts();
        assert!(starts.len() > count, "only {} starts", starts.len());
        let newest = &starts[starts.len() - count - 1..];
        let late = newest
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).saturating_sub(POLL));
        let late = late.max().unwrap_or_default();
        late.saturating_sub(machine::lateness_since(newest[0]))
    }

    /// The most memory that the program has used so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = self.proc("status");
        let kilobytes = field(&status, "VmHWM").trim_end_matches(" kB").trim();
        1024 * kilobytes.parse::<u64>().expect("a number of kilobytes")
    }

    /// How many threads the program has.
    pub fn threads(&self) -> usize {
        field(&self.proc("status"), "Threads")
            .parse()
            .expect("a number of threads")
    }

    /// How many descriptors the program has open.
    pub fn descriptors(&self) -> usize {
        descriptors_of(self.pid())
    }

    /// How much processor time the program itself has used, without its children.
    pub fn processor_time(&self) -> Duration {
        let stat = self.proc("stat");
        let ticks = |number: usize| after_name(&stat).nth(number - 3)?.parse::<u64>().ok();
        ticks_to_time(ticks(14).unwrap_or(0) + ticks(15).unwrap_or(0))
    }

    /// Sends SIGTERM. Returns how long it takes until the application has written the file `stopped`, without
    /// the machine's own lateness for the program, the application and the test.
    pub fn terminate(&self) -> Duration {
        let began = machine::since_boot();
        self.program.signal(Signal::SIGTERM);
        self.program.until_file("stopped");
        let took = machine::since_boot() - began;
        took.saturating_sub(3 * machine::lateness_since(began))
    }

    /// The program's process ID.
    pub fn pid(&self) -> Pid {
        self.program.pid()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("the program runs")
    }
}

fn config(host: &str, hostile: &Hostile<'_>) -> String {
    let catalogue = hostile.catalogue.unwrap_or(r#""directory": "@/catalogue""#);
    let Hostile {
        services, sections, ..
    } = hostile;
    format!(
        r#"{{ {catalogue}, "telemetry": {{"port": 9090, "interfaces": "static:{host}"}},
             "services": [{OBSERVED_SERVICE}{services}]{sections} }}"#
    )
}

/// A loopback address that only this process uses while it runs.
pub fn own_address() -> String {
    // A few are reserved, and all of them are free again when the process ends.
    Box::leak(Box::new(OwnAddress::reserve())).ip().to_string()
}

/// The start time of a process, from `/proc/PID/stat`.
fn started(stat: &str) -> Option<Duration> {
    after_name(stat).nth(22 - 3)?.parse().ok().map(ticks_to_time)
}

/// The fields after the name; the first one is the third field of the line.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    fields.split(' ')
}

fn ticks_to_time(ticks: u64) -> Duration {
    let second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_millis(ticks * 1000 / u64::try_from(second).expect("ticks a second"))
}
