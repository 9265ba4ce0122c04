//! How many instructions the program executes for what it does again and again: a health check, a heartbeat, a reload;
//! and how much memory a service and a backend take.
//!
//! Instructions are counted by valgrind's callgrind, in the program itself with all its threads, without the kernel and without
//! children. So the figures do not depend on how fast or how busy the machine is, and a bound can be close to them:
//! each is about a tenth above the figure of the day it was set (docs/cost.md).
//!
//! The program runs twice, and does something more often the second time; the difference counts. `HOSTILE_BINARY` names the
//! program, as for the hostile tests: scripts/test names the release build. The debug build has bounds of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, print what they found and may fail by panicking"
)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The time limit of each step: valgrind runs a program some fifty times slower.
const LIMIT: Duration = Duration::from_secs(120);

/// Instructions, or bytes of memory, for one of what is counted, at most.
struct Bound {
    release: u64,
    debug: u64,
}

/// A check by a command that prints nothing: the start of the process, its end, and what is decided by it.
const CHECK: Bound = Bound {
    release: 80_000,
    debug: 345_000,
};
/// A heartbeat to a folder, with the file that is written.
const HEARTBEAT: Bound = Bound {
    release: 85_000,
    debug: 288_000,
};
/// Reading a configuration of one service again that has not changed, requested through the control socket.
const RELOAD: Bound = Bound {
    release: 1_000_000,
    debug: 2_730_000,
};

/// Bytes of resident memory for one service with a check and one backend with a handler, on a folder.
const PAIR: Bound = Bound {
    release: 15_500,
    debug: 16_800,
};

impl Bound {
    fn of_this_build(&self) -> u64 {
        match std::env::var_os("HOSTILE_BINARY") {
            Some(_) => self.release,
            None => self.debug,
        }
    }

    /// Fails if `more` runs of something that were `done` took more than this.
    fn hold(&self, what: &str, instructions: u64, done: u64) {
        let bound = self.of_this_build();
        assert!(done > 0, "no {what} more was done");
        let each = instructions / done;
        println!("{what}: {each} instructions each, of {done}; the bound is {bound}");
        assert!(
            each <= bound,
            "a {what} takes {each} instructions, and {bound} are the bound"
        );
    }
}

fn binary() -> OsString {
    std::env::var_os("HOSTILE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_containerpilot").into())
}

/// The running program, alone or below valgrind.
struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    /// Starts it below valgrind; `rest` is what its configuration has besides a folder as the catalogue.
    fn counted(rest: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(folder.path(), &rest(folder.path()));
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--log-file={}", folder.path().join("valgrind").display()))
            .arg(binary());
        Self::start(command, folder, &configuration)
    }

    /// Starts it alone, with a configuration that may be too long for an argument.
    fn alone(rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("configuration");
        fs::write(&file, configuration(folder.path(), rest)).unwrap();
        Self::start(
            Command::new(binary()),
            folder,
            &format!("file://{}", file.display()),
        )
    }

    fn start(mut command: Command, folder: TempDir, configuration: &str) -> Self {
        let child = command
            .args(["-config", configuration, "sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", command.get_program().display()));
        Self { child, folder }
    }

    /// Waits until something holds.
    fn until(&self, what: &str, holds: impl Fn(&Path) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds(self.folder.path()) {
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its resident memory in bytes.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = kilobytes.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// Ends it, and returns how many instructions it has executed.
    fn stop(mut self) -> u64 {
        self.end();
        let report = fs::read_to_string(self.folder.path().join("valgrind")).unwrap();
        let collected = report.lines().find_map(|line| line.split_once("Collected : "));
        let (_, number) = collected.unwrap_or_else(|| panic!("callgrind counted: {report}"));
        number.trim().parse().unwrap()
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    /// Ends it also when a test fails.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
    }
}

fn configuration(folder: &Path, rest: &str) -> String {
    format!(
        r#"{{"directory": "{}", {rest}}}"#,
        folder.join("catalogue").display()
    )
}

/// The difference of two runs: instructions, and what was done.
fn difference(run: impl Fn(u64) -> (u64, u64), few: u64, many: u64) -> (u64, u64) {
    let ((before, first), (after, second)) = (run(few), run(many));
    (after.saturating_sub(before), second.saturating_sub(first))
}

fn lines(path: &Path) -> u64 {
    let text = fs::read(path).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[test]
fn a_health_check() {
    // Often, but not so often that a busy machine does not end a check in time.
    const SERVICES: u64 = 40;
    let run = |checks| {
        let program = Running::counted(|folder| {
            let service = |number| {
                format!(
                    r#"{{"name": "app{number}", "port": 80, "interfaces": "static:192.0.2.7", "poll": 3600, "ttl": 7200,
                         "health": {{"command": ["sh", "-c", "echo >>{}"], "interval": "500ms"}}}}"#,
                    folder.join("checks").display()
                )
            };
            services(service, SERVICES)
        });
        program.until("the checks run", |folder| lines(&folder.join("checks")) >= checks);
        let done = lines(&program.folder.path().join("checks"));
        (program.stop(), done)
    };
    let (instructions, done) = difference(run, 3 * SERVICES, 10 * SERVICES);
    CHECK.hold("health check", instructions, done);
}

/// The key `services`.
fn services(service: impl Fn(u64) -> String, number: u64) -> String {
    let services: Vec<String> = (0..number).map(service).collect();
    format!(r#""services": [{}]"#, services.join(","))
}

#[test]
fn a_heartbeat() {
    const SERVICES: u64 = 40;
    let run = |times| {
        let program = Running::counted(|_| {
            let service = |number| {
                format!(
                    r#"{{"name": "app{number}", "port": 80, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 3600}}"#
                )
            };
            services(service, SERVICES)
        });
        let last = format!("catalogue/app{}", SERVICES - 1);
        let entries = RefCell::new(BTreeSet::new());
        program.until("the heartbeats are written", |folder| {
            entries.borrow_mut().extend(entry_in(&folder.join(&last)));
            entries.borrow().len() as u64 >= times
        });
        (program.stop(), SERVICES * times)
    };
    let (instructions, done) = difference(run, 2, 7);
    HEARTBEAT.hold("heartbeat", instructions, done);
}

/// The content of the only file in a folder, if it is there.
fn entry_in(folder: &Path) -> Option<String> {
    let files = fs::read_dir(folder).ok()?;
    let mut names = files.flatten().map(|file| file.path());
    let entry = names.find(|path| path.extension().is_some_and(|end| end == "json"))?;
    fs::read_to_string(entry).ok()
}

#[test]
fn a_reload() {
    let run = |reloads| {
        let program = Running::counted(|folder| {
            format!(
                r#""control": {{"socket": "{}"}}, "services": [{{"name": "app", "port": 80,
                     "interfaces": "static:192.0.2.7", "poll": 3600, "ttl": 7200, "health": "true"}}]"#,
                folder.join("socket").display()
            )
        });
        program.until("it listens", |folder| {
            UnixStream::connect(folder.join("socket")).is_ok()
        });
        for _ in 0..reloads {
            let mut stream = UnixStream::connect(program.folder.path().join("socket")).unwrap();
            stream
                .write_all(b"POST /v3/reload HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(" 200 "), "{answer}");
        }
        (program.stop(), reloads)
    };
    let (instructions, done) = difference(run, 5, 105);
    RELOAD.hold("reload", instructions, done);
}

#[test]
fn the_memory_of_a_service_and_a_backend() {
    const PAIRS: u64 = 500;
    let pairs = |number| {
        let service = |number| {
            format!(
                r#"{{"name": "app{number}", "port": 80, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 3600,
                     "health": "true"}}"#
            )
        };
        let backend = |number| format!(r#"{{"name": "db{number}", "poll": 1, "onChange": "true"}}"#);
        let backends: Vec<String> = (0..number).map(backend).collect();
        format!(
            "{}, \"backends\": [{}]",
            services(service, number),
            backends.join(",")
        )
    };
    let (few, many) = (
        resident_memory(1, &pairs(1)),
        resident_memory(PAIRS, &pairs(PAIRS)),
    );
    let each = many.saturating_sub(few) / (PAIRS - 1);
    println!("a service and a backend: {each} bytes of resident memory");
    let bound = PAIR.of_this_build();
    assert!(
        each <= bound,
        "a service and a backend take {each} bytes, and {bound} are the bound"
    );
}

/// The resident memory in bytes of the program with this configuration once so many services have an entry.
fn resident_memory(services: u64, rest: &str) -> u64 {
    let program = Running::alone(rest);
    program.until("all services are there", |folder| {
        (0..services).all(|number| entry_in(&folder.join(format!("catalogue/app{number}"))).is_some())
    });
    program.memory()
}
