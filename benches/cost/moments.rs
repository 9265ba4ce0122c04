//! How long a stop takes, how soon a handler runs after a change, and what many reloads leave behind.

use crate::agent::{Agent, hostname};
use crate::report::{Report, quantile};
use crate::scenario::{Catalogue, Scenario, passes};
use crate::shim::Shim;
use crate::waiting::until;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// How many stops and how many changes are measured.
const STOPS: usize = 40;
const CHANGES: usize = 200;
/// How many reloads there are, and after how many the memory is compared.
const RELOADS: usize = 12_000;
const WARM: usize = 2_000;

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

/// SIGTERM to exit with one service on Consul, less the median of a deregistration alone.
pub fn stop(report: &mut Report) {
    let agent = Agent::start();
    let (mut stops, mut requests) = (Vec::new(), Vec::new());
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
    }
    let (stop, request) = (quantile(&stops, 0.5), quantile(&requests, 0.5));
    report.figure("SIGTERM to exit, median", "ms", stop);
    report.figure("a deregistration alone, median", "ms", request);
    report.figure("beyond one deregistration", "ms", stop - request);
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
    reloaded(WARM);
    let (memory, descriptors) = (shim.memory("Rss:"), shim.descriptors());
    let before = shim.used();
    reloaded(RELOADS - WARM);
    report.figure("memory after 2,000 reloads", "MB", memory);
    report.figure("memory after 12,000 reloads", "MB", shim.memory("Rss:"));
    report.figure("descriptors after 2,000 reloads", "", descriptors);
    report.figure("descriptors after 12,000 reloads", "", shim.descriptors());
    let cpu = shim.used().cpu - before.cpu;
    report.figure("processor time of 10,000 reloads", "s", cpu);
}
