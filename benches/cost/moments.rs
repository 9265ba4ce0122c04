//! How long a stop takes, how soon a handler runs after a change, and what many reloads leave behind.

use crate::agent::{Agent, hostname};
use crate::report::{Report, quantile};
use crate::scenario::{Catalogue, Scenario, passes};
use crate::sending::send;
use crate::shim::Shim;
use crate::waiting::until;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// How many stops and how many changes are measured.
const STOPS: usize = 40;
const CHANGES: usize = 200;
/// How many reloads there are, and after how many the memory is read each time.
const RELOADS: usize = 12_000;
const STEP: usize = 2_000;

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn scenario(agent: &Agent, backends: usize) -> Scenario<'_> {
    Scenario {
        catalogue: Catalogue::Consul(agent),
        services: 1,
        backends,
        poll: 1,
    }
}

/// SIGTERM to exit with one service on Consul, less the medians of a deregistration and of the application's end alone.
pub fn stop(report: &mut Report) {
    let agent = Agent::start();
    let (mut stops, mut requests, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let id = format!("app0-{}", hostname());
    for _ in 0..STOPS {
        let mut shim = Shim::start(report.program(), |folder| {
            scenario(&agent, 0).text(folder, &passes)
        });
        agent.until_passing("app0", 1);
        let began = Instant::now();
        shim.signal(Signal::SIGTERM);
        shim.wait();
        stops.push(milliseconds(began));
        assert!(agent.passing("app0").is_empty(), "it was deregistered");
        agent.register("app0", &id, 80);
        let began = Instant::now();
        agent.deregister(&id);
        requests.push(milliseconds(began));
        ends.push(application_alone());
    }
    let [stop, request, end] = [&stops, &requests, &ends].map(|times| quantile(times, 0.5));
    report.figure("SIGTERM to exit, median", "ms", stop);
    report.figure("a deregistration alone, median", "ms", request);
    report.figure("the end of the application alone, median", "ms", end);
    report.figure("beyond one deregistration", "ms", stop - request);
    report.figure("beyond both", "ms", stop - request - end);
}

/// SIGTERM to exit of the application that the shim starts, in milliseconds.
fn application_alone() -> f64 {
    let mut child = Command::new("sleep")
        .arg("infinity")
        .stdin(Stdio::null())
        .spawn()
        .expect("sleep is there");
    let pid = i32::try_from(child.id()).expect("a process ID");
    let waits = || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        state.contains("(sleep) S")
    };
    until(LIMIT, || "sleep waits".into(), waits);
    let began = Instant::now();
    send(Pid::from_raw(pid), Signal::SIGTERM);
    child.wait().expect("it is a child");
    milliseconds(began)
}

/// A new instance in Consul until the handler has run, at a poll interval of ten seconds.
pub fn change(report: &mut Report) {
    let agent = Agent::start();
    agent.register("db0", "db0-first", 1000);
    let shim = Shim::start(report.program(), |folder| {
        let fifo = folder.join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
        format!(
            r#"{{"consul": "{}", "backends": [{{"name": "db0", "poll": 10,
                 "onChange": ["sh", "-c", "echo >{}"]}}]}}"#,
            agent.address(),
            fifo.display()
        )
    });
    // For reading and writing, so that there always is a writer.
    let fifo = File::options().read(true).write(true).open(shim.path("fifo"));
    let mut fifo = fifo.expect("the FIFO");
    let mut handled = || fifo.read_exact(&mut [0]).expect("the handler runs");
    handled();
    let mut took = Vec::new();
    for number in 0..CHANGES {
        // Longer than a handler and the next query take, shorter than the poll interval.
        sleep(Duration::from_millis(50));
        let port = u16::try_from(2000 + number).expect("a port");
        let began = Instant::now();
        agent.register("db0", "db0-second", port);
        handled();
        took.push(milliseconds(began));
    }
    report.figure("change to handler, median", "ms", quantile(&took, 0.5));
    report.figure("change to handler, 99 %", "ms", quantile(&took, 0.99));
}

/// Memory and file descriptors after many reloads.
pub fn reload(report: &mut Report) {
    let agent = Agent::start();
    let shim = Shim::start(report.program(), |folder| {
        let text = scenario(&agent, 1).text(folder, &passes);
        let socket = folder.join("control").display().to_string();
        format!(r#"{{"control": {{"socket": "{socket}"}}, {}"#, &text[1..])
    });
    agent.until_passing("app0", 1);
    let socket = shim.path("control");
    let reloaded = |reloads| {
        for _ in 0..reloads {
            let mut stream = UnixStream::connect(&socket).expect("the shim listens");
            let request = "POST /v3/reload HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
            stream
                .write_all(request.as_bytes())
                .expect("it takes the request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        }
    };
    until(LIMIT, || "the socket is there".into(), || socket.exists());
    let before = shim.used();
    for done in (STEP..=RELOADS).step_by(STEP) {
        reloaded(STEP);
        let after = |what: &str| format!("{what} after {done} reloads");
        report.figure(&after("memory"), "MB", shim.memory("Rss:"));
        report.figure(&after("descriptors"), "", shim.descriptors());
    }
    let cpu = shim.used().cpu - before.cpu;
    report.figure("processor time of 12000 reloads", "s", cpu);
}
