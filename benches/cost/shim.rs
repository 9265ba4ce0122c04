//! A running shim, and what the kernel says about its own process. Its children do not count.

use crate::agent::Agent;
use crate::sending::send;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// The shim with a configuration and an application that waits.
pub struct Shim {
    folder: TempDir,
    child: Child,
}

/// What a process has used so far.
#[derive(Clone, Copy)]
pub struct Use {
    /// Seconds of processor time, by the accounting of the scheduler.
    pub cpu: f64,
    /// How often it gave up the processor because it waited.
    pub waits: f64,
}

impl Shim {
    /// Starts the program; `configuration` gets a folder for what its children write.
    pub fn start(program: &Path, configuration: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("cp.json");
        fs::write(&config, configuration(folder.path())).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = Command::new(program)
            .args(["-config", &format!("file://{}", config.display())])
            .args(["sleep", "infinity"])
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a descriptor"))
            .stdout(log)
            .spawn()
            .expect("the program can be started");
        Self { folder, child }
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in a file in its folder.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process ID");
        send(Pid::from_raw(pid), signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is a child")
    }

    /// What all its threads have used.
    pub fn used(&self) -> Use {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the shim runs");
        let mut used = Use { cpu: 0.0, waits: 0.0 };
        for thread in threads.flatten() {
            let file = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            used.cpu += number(file("schedstat").split(' ').next()) / 1e9;
            used.waits += field(&file("status"), "voluntary_ctxt_switches:");
        }
        used
    }

    /// A field of its summary of memory, in MB: `Rss:`, `Private_Dirty:`.
    pub fn memory(&self, name: &str) -> f64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()));
        field(&rollup.expect("the shim runs"), name) / 1024.0
    }

    /// How many file descriptors it has.
    #[allow(clippy::cast_precision_loss, reason = "there are some thousands at most")]
    pub fn descriptors(&self) -> f64 {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the shim runs");
        open.count() as f64
    }

    /// Fails if it has logged a warning or an error.
    pub fn assert_quiet(&self) {
        let log = self.read("log");
        let wrong = |line: &&str| {
            ["level=error", "level=warning"]
                .iter()
                .any(|level| line.contains(level))
        };
        assert_eq!(log.lines().find(wrong), None);
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGTERM);
            self.child.wait().ok();
        }
    }
}

fn number(word: Option<&str>) -> f64 {
    word.and_then(|word| word.trim().parse().ok()).expect("a number")
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    number(line.and_then(|rest| rest.split_whitespace().next()))
}

/// A catalogue that a configuration names.
pub enum Catalogue<'a> {
    Consul(&'a Agent),
    Folder,
}

/// A configuration of so many services and backends. `health` and `handler` make the commands from a number.
pub struct Scenario<'a> {
    pub catalogue: Catalogue<'a>,
    pub services: usize,
    pub backends: usize,
    /// In seconds.
    pub poll: u32,
}

impl Scenario<'_> {
    /// Its text.
    pub fn text(&self, folder: &Path, health: &dyn Fn(usize) -> String) -> String {
        let Self {
            catalogue,
            services,
            backends,
            poll,
        } = self;
        let catalogue = match catalogue {
            Catalogue::Consul(agent) => format!(r#""consul": "{}""#, agent.address()),
            Catalogue::Folder => format!(r#""directory": "{}""#, folder.join("catalogue").display()),
        };
        let service = |number| {
            format!(
                r#"{{"name": "app{number}", "port": 80, "interfaces": "static:192.0.2.7", "poll": {poll},
                     "ttl": 60, "health": {}}}"#,
                health(number)
            )
        };
        let services: Vec<String> = (0..*services).map(service).collect();
        let backend =
            |number| format!(r#"{{"name": "db{number}", "poll": {poll}, "onChange": ["/bin/true"]}}"#);
        let backends: Vec<String> = (0..*backends).map(backend).collect();
        format!(
            r#"{{{catalogue}, "logging": {{"format": "text"}}, "services": [{}], "backends": [{}]}}"#,
            services.join(","),
            backends.join(",")
        )
    }
}

/// A health check that passes and does nothing.
pub fn passes(_: usize) -> String {
    r#""/bin/true""#.into()
}
