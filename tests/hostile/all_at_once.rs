//! All hostile conditions at the same time, in a small container: children that print without end, a Consul
//! whose bodies do not end, bad clients of telemetry, and configuration files that do not end. The program
//! runs as process 1 and otherwise.

use crate::cgroup::Cgroup;
use crate::http;
use crate::loopback::OwnAddress;
use crate::observed::{Hostile, Observed};
use crate::program::Program;
use crate::slowness;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// The memory of the whole container.
const MEMORY: u64 = 128 << 20;
/// The limit on processes and threads: the shim, the application, eight that print, and checks.
const PIDS: u32 = 48;

/// A fake Consul. Until it is healthy, its response bodies do not end.
struct Consul {
    own: OwnAddress,
    is_healthy: Arc<AtomicBool>,
}

impl Consul {
    fn start() -> Self {
        let own = OwnAddress::reserve();
        let listener = TcpListener::bind(own.socket()).unwrap();
        let is_healthy = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&is_healthy);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                spawn(move || answer_requests(stream, &state));
            }
        });
        Self { own, is_healthy }
    }

    fn set_healthy(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
    }
}

/// Answers one request after the other.
fn answer_requests(mut stream: TcpStream, is_healthy: &AtomicBool) -> Option<()> {
    loop {
        let waits = request(&mut stream)?.contains("&index=") || !is_healthy.load(Ordering::Relaxed);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Consul-Index: 7\r\n";
        if !is_healthy.load(Ordering::Relaxed) {
            stream.write_all(format!("{head}\r\n[").as_bytes()).ok()?;
            let block = r#"{"Service": {"ID": "db"}}, "#.repeat(2000);
            while !is_healthy.load(Ordering::Relaxed) {
                stream.write_all(block.as_bytes()).ok()?;
            }
            return None;
        }
        if waits {
            sleep(Duration::from_millis(300));
        }
        stream
            .write_all(format!("{head}Content-Length: 2\r\n\r\n[]").as_bytes())
            .ok()?;
    }
}

/// Reads the next request with its body, and returns its head.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let length = |line: &str| line.strip_prefix("content-length: ")?.parse::<u64>().ok();
    let length = head.lines().find_map(length).unwrap_or(0);
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).ok()?;
    Some(head)
}

/// Clients of the endpoint that send nothing, half a request or too much, or do not read. They connect all
/// the time.
struct BadClients {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BadClients {
    fn start(endpoint: &str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, endpoint) = (Arc::clone(&ends), endpoint.to_owned());
        let thread = spawn(move || {
            let mut crowd: Vec<TcpStream> = Vec::new();
            let requests = [
                String::new(),
                "GET /metrics HTT".into(),
                format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(10_000)),
                "GET /metrics HTTP/1.1\r\nHost: slow reader\r\n\r\n".repeat(100),
            ];
            for text in requests.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(mut stream) = http::connect(&endpoint) {
                    stream.write_all(text.as_bytes()).ok();
                    crowd.push(stream);
                }
                crowd.drain(..crowd.len().saturating_sub(200));
                sleep(Duration::from_millis(10));
            }
        });
        let thread = Some(thread);
        Self { ends, thread }
    }
}

impl Drop for BadClients {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Eight children that print without end: four print lines, four print no end of line.
fn printers() -> String {
    let one = |number: u32| {
        let command = match number % 2 {
            0 => r#"["yes", "a line of a child that prints without end"]"#,
            _ => r#"["cat", "/dev/zero"]"#,
        };
        format!(r#"{{"name": "printer-{number}", "command": {command}}}"#)
    };
    let all: Vec<String> = (0..8).map(one).collect();
    format!(r#", "coprocesses": [{}]"#, all.join(", "))
}

/// The program in its container, with all hostile children, servers, clients and files.
struct CombinedLoad {
    observed: Observed,
    consul: Consul,
    cgroup: Cgroup,
    /// The configuration with the printers.
    config: String,
}

impl CombinedLoad {
    fn start(as_pid_1: bool) -> Self {
        let (consul, cgroup) = (Consul::start(), Cgroup::with(MEMORY, PIDS));
        let mut program = Program::new();
        program.start_by(cgroup.starter());
        // This reader reads everything at once.
        symlink("/dev/null", program.path("stdout")).unwrap();
        let backend = |number: u32| format!(r#"{{"name": "db-{number}", "poll": 1, "onChange": "true"}}"#);
        let backends: Vec<String> = (0..4).map(backend).collect();
        let observed = Observed::start_in(
            program,
            &Hostile {
                catalogue: Some(&format!(r#""consul": "{}""#, consul.own.socket())),
                sections: &format!(r#", "backends": [{}]{}"#, backends.join(", "), printers()),
                as_pid_1,
                ..Hostile::default()
            },
        );
        let config = observed.program.read("cp.json");
        Self {
            observed,
            consul,
            cgroup,
            config,
        }
    }

    fn reloads(&self, result: &str) -> u64 {
        let page = self
            .observed
            .get("/metrics")
            .0
            .expect("the endpoint answers")
            .body;
        let series = format!("containerpilot_reloads_total{{result=\"{result}\"}} ");
        let value = |line: &str| line.strip_prefix(&series)?.parse().ok();
        page.lines().find_map(value).expect("reloads are counted")
    }

    /// Sends SIGHUP and waits until the reload has this result.
    fn reload(&self, result: &str) {
        let before = self.reloads(result);
        self.observed.program.signal(Signal::SIGHUP);
        let failed = || format!("a reload is counted as {result}");
        until(SOON, failed, || self.reloads(result) > before);
    }

    /// Replaces the configuration file with what `put` creates, and checks that the reload is refused.
    fn refuses(&self, put: impl FnOnce(&std::path::Path)) {
        let path = self.observed.program.path("cp.json");
        fs::remove_file(&path).unwrap();
        put(&path);
        self.reload("refused");
        fs::remove_file(&path).unwrap();
        self.observed.program.write("cp.json", &self.config);
    }

    /// Checks the bounds that hold at any time.
    fn check_bounds(&self, moment: &str) {
        let slow = slowness();
        let observed = &self.observed;
        let failed = || format!("{moment}: the check goes on; {} kills", self.cgroup.kills());
        let enough = observed.starts().len() + 4;
        let goes_on = || observed.starts().len() >= enough || self.cgroup.kills() > 0;
        until(SOON, failed, goes_on);
        assert_eq!(
            self.cgroup.kills(),
            0,
            "{moment}: no process is killed for memory"
        );
        let lateness = observed.lateness(3);
        assert!(lateness < Duration::from_secs(1) * slow, "{moment}: {lateness:?}");
        for _ in 0..10 {
            let (status, took) = observed.get("/status");
            assert_eq!(
                status.map(|status| status.status),
                Some(200),
                "{moment}: /status answers"
            );
            assert!(took < Duration::from_secs(1) * slow, "{moment}: {took:?}");
        }
        let (memory, threads, descriptors) =
            (observed.peak_memory(), observed.threads(), observed.descriptors());
        assert!(memory < 64 << 20, "{moment}: {memory} bytes");
        assert!(threads <= 4, "{moment}: {threads} threads");
        assert!(descriptors < 150, "{moment}: {descriptors} descriptors");
    }

    /// The number of backends whose last query failed.
    fn failing(&self) -> usize {
        let status = self.status();
        let backends = status["backends"].as_array().map_or(&[][..], Vec::as_slice);
        backends.iter().filter(|backend| backend["failures"] != 0).count()
    }

    fn status(&self) -> Value {
        let page = self.observed.get("/status").0;
        serde_json::from_str(&page.expect("the endpoint answers").body).expect("JSON")
    }
}

fn everything_at_once(as_pid_1: bool) {
    /// Only one of these tests runs at a time, because each measures times.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let load = CombinedLoad::start(as_pid_1);
    let observed = &load.observed;
    let clients = BadClients::start(&observed.endpoint);
    load.check_bounds("all at once");
    load.refuses(|path| symlink("/dev/zero", path).unwrap());
    load.refuses(|path| File::create(path).unwrap().set_len(1 << 40).unwrap());
    load.check_bounds("after endless files");
    assert!(load.failing() > 0, "{}", load.status());

    load.consul.set_healthy(true);
    observed
        .program
        .write("cp.json", &load.config.replace(&printers(), ""));
    load.reload("success");
    drop(clients);
    let healed = || load.failing() == 0 && load.status()["services"][0]["registered"] == true;
    until(
        SOON,
        || format!("it is registered, and no query fails: {}", load.status()),
        healed,
    );
    until(
        SOON,
        || "no child prints any more".into(),
        || {
            load.status()["jobs"]
                .as_array()
                .is_some_and(|jobs| jobs.len() == 1)
        },
    );
    load.check_bounds("healed");

    load.consul.set_healthy(false);
    observed.program.write("cp.json", &load.config);
    load.reload("success");
    let _clients = BadClients::start(&observed.endpoint);
    observed.until_starts(2);
    let stopped = observed.terminate();
    // The deregistrations take at most two seconds.
    assert!(stopped < Duration::from_millis(2_500) * slowness(), "{stopped:?}");
    assert_eq!(load.cgroup.kills(), 0);
}

#[test]
fn all_hostile_conditions_in_a_small_container_delay_nothing() {
    everything_at_once(false);
}

#[test]
fn all_hostile_conditions_as_process_1_of_a_small_container_delay_nothing() {
    everything_at_once(true);
}
