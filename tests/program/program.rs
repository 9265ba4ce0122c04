//! The program under test in a folder of its own: starts it, sends signals, reads the output of the program
//! and of its children, and waits for conditions with a deadline.

use crate::processes::{children, is_zombie, kill_all_below};
use crate::sending::send;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An application that runs until SIGTERM, and then writes a file.
pub const UNTIL_TERM: [&str; 3] = [
    "sh",
    "-c",
    "trap 'touch @/stopped; exit 0' TERM; touch @/up; while :; do sleep 0.05; done",
];

/// A folder with the program's files, and the program if it runs.
pub struct Program {
    folder: TempDir,
    child: Option<Child>,
    as_pid_1: bool,
    environment: Vec<(&'static str, &'static str)>,
    starter: Vec<String>,
}

impl Program {
    /// A folder without a running program.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            child: None,
            as_pid_1: false,
            environment: Vec::new(),
            starter: Vec::new(),
        }
    }

    /// Starts the program on a configuration, with an application; `@` in both stands for the folder.
    pub fn start(config: &str, application: &[&str]) -> Self {
        let mut program = Self::new();
        program.configure(config);
        program.launch(application);
        program
    }

    /// As [`Self::start`], in a separate process namespace, in which the program is process 1.
    pub fn start_as_pid_1(config: &str, application: &[&str]) -> Self {
        let mut program = Self::new();
        program.configure(config);
        program.launch_as_pid_1(application);
        program
    }

    /// Writes the configuration file; `@` stands for the folder.
    pub fn configure(&self, config: &str) {
        self.write("cp.json", &self.expand(config));
    }

    /// Sets a variable of the environment in which it will be started.
    pub fn set(&mut self, name: &'static str, value: &'static str) {
        self.environment.push((name, value));
    }

    /// Sets the command that starts the program, also as process 1; the program's own command line follows it.
    #[allow(dead_code, reason = "few tests do")]
    pub fn start_by(&mut self, words: Vec<String>) {
        self.starter = words;
    }

    /// Starts the program on the configuration file.
    pub fn launch(&mut self, application: &[&str]) {
        let mut command = self.behind_starter(self.command(application));
        self.spawn(&mut command);
    }

    fn behind_starter(&self, command: Command) -> Command {
        let words: Vec<&str> = self.starter.iter().map(String::as_str).collect();
        match words.is_empty() {
            true => command,
            false => started_by(&words, &command),
        }
    }

    /// Starts the program on the configuration file, as process 1.
    pub fn launch_as_pid_1(&mut self, application: &[&str]) {
        let mut command = self.behind_starter(in_pid_namespace(&self.command(application)));
        self.spawn_as_pid_1(&mut command);
    }

    /// Starts any command whose child becomes the program, as process 1 of a namespace.
    pub fn spawn_as_pid_1(&mut self, command: &mut Command) {
        self.spawn(command);
        self.as_pid_1 = true;
        self.until("the program runs as PID 1, or has ended", |program| {
            fs::read_link(format!("/proc/{}/exe", program.pid())).is_ok_and(|path| path == binary())
                || is_zombie(program.child())
        });
    }

    /// The command line that runs the program on the configuration file.
    pub fn command(&self, application: &[&str]) -> Command {
        let mut command = command();
        command
            .envs(self.environment.iter().copied())
            .args(["-config", &format!("file://{}", self.path("cp.json").display())])
            .args(application.iter().map(|word| self.expand(word)));
        command
    }

    /// Starts any command whose output is to be read as the program's.
    pub fn spawn(&mut self, command: &mut Command) {
        let stdout = File::create(self.path("stdout")).expect("a file for a stream");
        self.spawn_into(command, stdout);
    }

    /// Starts a command whose standard output the test reads itself.
    pub fn spawn_into(&mut self, command: &mut Command, stdout: impl Into<Stdio>) {
        let stderr = File::create(self.path("stderr")).expect("a file for a stream");
        let command = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.child = Some(command.spawn().expect("the program can be started"));
    }

    /// Starts a command on a terminal.
    #[allow(dead_code, reason = "few tests do")]
    pub fn spawn_on(&mut self, command: &mut Command, terminal: &File) {
        let stream = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let command = command.stdin(stream()).stdout(stream()).stderr(stream());
        self.child = Some(command.spawn().expect("the program can be started"));
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text with the folder's path in place of each `@`.
    pub fn expand(&self, text: &str) -> String {
        text.replace('@', &self.folder.path().display().to_string())
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file can be written");
    }

    /// Writes an executable file into the folder.
    pub fn write_executable(&self, name: &str, text: &str) {
        self.write(name, &self.expand(text));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// Whether a file is in the folder.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The content of a file in the folder; empty if it does not exist.
    pub fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    /// How many lines a file in the folder has.
    pub fn lines(&self, name: &str) -> usize {
        self.read(name).lines().count()
    }

    /// What was written to the program's standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What was written to the program's standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// The program's process ID, as seen by the test.
    pub fn pid(&self) -> Pid {
        let child = self.child();
        if self.as_pid_1 {
            return children(child).first().copied().unwrap_or(child);
        }
        child
    }

    /// The process that runs the program, which another command has started.
    #[allow(dead_code, reason = "few tests do")]
    pub fn pid_of_shim(&self) -> Pid {
        let mut found = None;
        self.until("the program runs", |program| {
            let candidates = [vec![program.child()], children(program.child())].concat();
            let is_shim =
                |pid: &Pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary());
            found = candidates.into_iter().find(is_shim);
            found.is_some()
        });
        found.expect("it was found")
    }

    fn child(&self) -> Pid {
        let id = self.child.as_ref().expect("the program runs").id();
        Pid::from_raw(i32::try_from(id).expect("a process ID"))
    }

    /// Sends the program a signal; after SIGSTOP, returns when it has stopped.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
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

    /// Waits until a file in the folder has this many lines.
    pub fn until_lines(&self, name: &str, count: usize) {
        self.until(&format!("{name} has {count} lines"), |program| {
            program.lines(name) >= count
        });
    }

    /// Waits until the log contains this text.
    pub fn until_logged(&self, sentence: &str) {
        self.until(&format!("the log has: {sentence}"), |program| {
            program.stdout().contains(sentence)
        });
    }

    /// Waits for the program's end. Returns its exit code, or 128 + the signal that killed it.
    pub fn code(&mut self) -> i32 {
        let status = self.ended();
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .expect("a code or a signal")
    }

    /// The program's exit code, if it has ended.
    #[allow(dead_code, reason = "few tests do")]
    pub fn try_code(&mut self) -> Option<i32> {
        let status = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())?;
        self.child = None;
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// Waits for the program's end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut ended: Option<ExitStatus> = None;
        let mut child = self.child.take().expect("the program runs");
        let deadline = Instant::now() + SOON;
        while ended.is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
            ended = child.try_wait().expect("the program can be waited for");
        }
        let Some(status) = ended else {
            self.child = Some(child);
            panic!(
                "the program does not end\nstdout: {}\nstderr: {}",
                self.stdout(),
                self.stderr()
            );
        };
        status
    }

    /// Waits until the application has written the file `up`, then stops the program. Returns the exit code.
    pub fn stop(&mut self) -> i32 {
        self.until_file("up");
        self.signal(Signal::SIGTERM);
        self.code()
    }

    /// Runs the program to its end. Returns the exit code.
    pub fn run(config: &str, application: &[&str]) -> (i32, Self) {
        let mut program = Self::start(config, application);
        (program.code(), program)
    }
}

/// Kills the program and its children when a test ends.
impl Drop for Program {
    fn drop(&mut self) {
        if self.child.is_some() {
            kill_all_below(self.child());
        }
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The program under test: the one that cargo built, unless a variable names another for the hostile tests.
pub fn binary() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_containerpilot"));
    match env::var_os("HOSTILE_BINARY") {
        Some(path) if env!("CARGO_CRATE_NAME") == "hostile" => {
            fs::canonicalize(path).expect("HOSTILE_BINARY names a program")
        }
        _ => built,
    }
}

/// The built program, without the configuration variables of the environment in which the test runs.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    command
        .env_remove("CONTAINERPILOT")
        .env_remove("CONSUL_HTTP_TOKEN");
    command
}

/// The same command line, started by another program that gets it as arguments.
pub fn started_by(words: &[&str], command: &Command) -> Command {
    let (first, rest) = words.split_first().expect("a program");
    let mut starter = Command::new(first);
    starter
        .args(rest)
        .arg(command.get_program())
        .args(command.get_args());
    let changed: Vec<(&OsStr, Option<&OsStr>)> = command.get_envs().collect();
    for (name, value) in changed {
        match value {
            Some(value) => starter.env(name, value),
            None => starter.env_remove(name),
        };
    }
    starter
}

/// The same command as process 1 of a namespace that ends with the process that started it.
fn in_pid_namespace(command: &Command) -> Command {
    in_namespaces(&["--pid", "--fork", "--mount-proc", "--kill-child"], &[], command)
}

/// The same command line in separate namespaces, started there by another command.
pub fn in_namespaces(namespaces: &[&str], words: &[&str], command: &Command) -> Command {
    let mut unshare = vec!["unshare"];
    unshare.extend(namespaces);
    if !geteuid().is_root() && !namespaces.contains(&"--user") {
        unshare.extend(["--user", "--map-root-user"]);
    }
    let tried = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    assert!(
        tried.is_ok_and(|output| output.status.success()),
        "this test needs root or user namespaces, and unshare of util-linux 2.32 or newer"
    );
    unshare.extend(words);
    started_by(&unshare, command)
}

/// The content of a file; empty if it does not exist.
pub fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
