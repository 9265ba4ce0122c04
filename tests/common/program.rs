//! The built program under test, in a folder of its own: starts it, signals it, reads what it and its
//! children wrote, and waits for facts with a deadline.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a fact may take on a busy machine before it is held to be false.
pub const SOON: Duration = Duration::from_secs(20);

/// A folder with the program's files, and the program if it runs.
pub struct Program {
    folder: TempDir,
    child: Option<Child>,
}

impl Program {
    /// A folder in which nothing runs yet.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            child: None,
        }
    }

    /// Starts the program on a configuration, with an application; `@` in both stands for the folder.
    pub fn start(config: &str, application: &[&str]) -> Self {
        let mut program = Self::new();
        program.configure(config);
        program.launch(application);
        program
    }

    /// Writes the configuration file; `@` stands for the folder.
    pub fn configure(&self, config: &str) {
        self.write("cp.json", &self.expand(config));
    }

    /// Starts the program on the configuration file.
    pub fn launch(&mut self, application: &[&str]) {
        let config = format!("file://{}", self.path("cp.json").display());
        self.spawn(
            command()
                .args(["-config", &config])
                .args(application.iter().map(|word| self.expand(word))),
        );
    }

    /// Starts any command whose output is to be read as the program's.
    pub fn spawn(&mut self, command: &mut Command) {
        let stream = |name| File::create(self.path(name)).expect("a file for a stream");
        let command = command
            .stdin(Stdio::null())
            .stdout(stream("stdout"))
            .stderr(stream("stderr"));
        self.child = Some(command.spawn().expect("the program can be started"));
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text with the folder's path for each `@`.
    pub fn expand(&self, text: &str) -> String {
        text.replace('@', &self.folder.path().display().to_string())
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file can be written");
    }

    /// Whether a file is in the folder.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// What a file in the folder holds; empty if it is not there.
    pub fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    /// What was written to the program's standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What was written to the program's standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// The program's process ID.
    pub fn pid(&self) -> Pid {
        let id = self.child.as_ref().expect("the program runs").id();
        Pid::from_raw(i32::try_from(id).expect("a process ID"))
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the program runs");
    }

    /// Waits until a fact holds.
    pub fn until(&self, fact: &str, mut holds: impl FnMut(&Self) -> bool) {
        let failed = || format!("{fact}\nstdout: {}\nstderr: {}", self.stdout(), self.stderr());
        until(SOON, failed, || holds(self));
    }

    /// Waits until a file is in the folder.
    pub fn until_file(&self, name: &str) {
        self.until(&format!("there is a file {name}"), |program| program.has(name));
    }

    /// Waits until the log says something.
    pub fn until_told(&self, sentence: &str) {
        self.until(&format!("the log says: {sentence}"), |program| {
            program.stdout().contains(sentence)
        });
    }

    /// Waits for the program's end; its exit code, or 128 + the signal that killed it.
    pub fn code(&mut self) -> i32 {
        let mut ended: Option<ExitStatus> = None;
        let mut child = self.child.take().expect("the program runs");
        let failed = || {
            format!(
                "the program ends\nstdout: {}\nstderr: {}",
                self.stdout(),
                self.stderr()
            )
        };
        until(SOON, failed, || {
            ended = child.try_wait().expect("the program can be waited for");
            ended.is_some()
        });
        let status = ended.expect("it ended");
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .expect("a code or a signal")
    }

    /// Runs the program to its end.
    pub fn run(config: &str, application: &[&str]) -> (i32, Self) {
        let mut program = Self::start(config, application);
        (program.code(), program)
    }
}

/// Whoever still runs when a test ends is killed.
impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The built program, without the configuration of whoever runs the test.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_containerpilot"));
    command
        .env_remove("CONTAINERPILOT")
        .env_remove("CONSUL_HTTP_TOKEN");
    command
}

/// What a file holds; empty if it is not there.
pub fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// Waits until a fact holds; fails with its description after `limit`.
pub fn until(limit: Duration, failed: impl FnOnce() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {}", failed());
        sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there, dead but not reaped included.
pub fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).exists()
}
