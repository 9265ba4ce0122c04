//! A running shim, and what the kernel says about its own process. Its children do not count.

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

    /// A file or folder of its process in `/proc`.
    pub fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    /// What all its threads have used.
    pub fn used(&self) -> Use {
        let threads = fs::read_dir(self.proc("task")).expect("the shim runs");
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
        let rollup = fs::read_to_string(self.proc("smaps_rollup"));
        field(&rollup.expect("the shim runs"), name) / 1024.0
    }

    /// How many file descriptors it has.
    #[allow(clippy::cast_precision_loss, reason = "there are some thousands at most")]
    pub fn descriptors(&self) -> f64 {
        let open = fs::read_dir(self.proc("fd")).expect("the shim runs");
        open.count() as f64
    }

    /// The warnings and errors that it has logged.
    pub fn warnings(&self) -> Vec<String> {
        let log = self.read("log");
        let wrong = |line: &&str| {
            ["level=error", "level=warning"]
                .iter()
                .any(|level| line.contains(level))
        };
        log.lines().filter(wrong).map(str::to_owned).collect()
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
pub fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    number(line.and_then(|rest| rest.split_whitespace().next()))
}
