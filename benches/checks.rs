//! How much processor time a health check over HTTP takes, as a probe and as `curl --fail`: `cargo bench --bench checks`.
//! Fails unless the probe takes at most a third.
//!
//! The built program checks 20 services once a second against a server of this process, which answers `200 OK`. Its
//! processor time includes that of its children. Without any check it has to do the same heartbeats.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement starts a program, reads the clock, prints what it found and may fail by panicking"
)]

use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const SERVICES: u16 = 20;
/// How many checks are measured.
const CHECKS: u32 = 600;
/// How many times less a probe takes than a command, at least.
const LESS: u32 = 3;

fn main() {
    let (address, answered) = server();
    let probe = format!(r#"{{"http": "http://{address}/health"}}"#);
    let curl =
        format!(r#"["curl", "--fail", "--silent", "--output", "/dev/null", "http://{address}/health"]"#);
    let probe = measure("http", &probe, &answered);
    let curl = measure("curl --fail", &curl, &answered);
    println!("{:.1} times less", curl.as_secs_f64() / probe.as_secs_f64());
    assert!(probe * LESS <= curl, "it is not {LESS} times less");
}

/// A server that answers every request, and how many it has answered.
fn server() -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answered = Arc::<AtomicU32>::default();
    let count = Arc::clone(&answered);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            spawn(move || answer_requests(stream, &count));
        }
    });
    (address, answered)
}

fn answer_requests(mut stream: TcpStream, answered: &AtomicU32) {
    let mut request = vec![0; 16 * 1024];
    while matches!(stream.read(&mut request), Ok(1..)) {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if stream.write_all(answer).is_err() {
            return;
        }
        answered.fetch_add(1, SeqCst);
    }
}

/// The processor time of one check.
fn measure(what: &str, health: &str, answered: &AtomicU32) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let service = |number| {
        format!(
            r#"{{"name": "app{number}", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 3600, "health": {health}}}"#
        )
    };
    let services: Vec<String> = (0..SERVICES).map(service).collect();
    let configuration = format!(
        r#"{{"directory": "{}", "services": [{}]}}"#,
        folder.path().join("catalogue").display(),
        services.join(",")
    );
    let child = Command::new(env!("CARGO_BIN_EXE_containerpilot"))
        .args(["-config", &configuration, "sleep", "1000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let program = Program(child);
    wait_for(answered, u32::from(SERVICES) * 2);
    let (before, first) = (program.processor_time(), answered.load(SeqCst));
    wait_for(answered, CHECKS);
    let (used, checks) = (program.processor_time() - before, answered.load(SeqCst) - first);
    let each = used / checks;
    println!("{what}: {each:?} of processor time for one check, of {checks}");
    each
}

fn wait_for(answered: &AtomicU32, more: u32) {
    let (enough, began) = (answered.load(SeqCst) + more, Instant::now());
    while answered.load(SeqCst) < enough {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "the checks do not go on"
        );
        sleep(Duration::from_millis(50));
    }
}

/// The built program.
struct Program(Child);

impl Program {
    /// Its own processor time and that of its children that have ended.
    fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(4)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        let in_a_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        Duration::from_secs(ticks) / u32::try_from(in_a_second).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}
