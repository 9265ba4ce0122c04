//! Interactive use: the terminal of the shim is a pseudo-terminal at whose other end the test types and reads
//! (docs/development/behaviour.md EX-1, docs/development/pid1.md statements 20 to 23).

use crate::processes::is_there;
use crate::program::{Program, in_namespaces, started_by};
use crate::waiting::{SOON, until};
use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{self, LocalFlags, SetArg};
use nix::unistd::{Pid, tcgetpgrp};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_BACKSLASH: &str = "\x1c";
const CTRL_Z: &str = "\x1a";

/// A shell that prints no colours and reads no files.
const SHELL: [&str; 4] = ["bash", "--norc", "--noprofile", "-i"];
const QUIET: &str = r#"{"directory": "@/catalogue", "logging": {"level": "ERROR"}}"#;

/// Prints what it reads, line by line.
const ECHO: &str = "echo up-$((40 + 2)); while read line; do echo got-$line; done; exit 7";

/// How the shim is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// As process 1 of a namespace, and the leader of the terminal's session, as in a container.
    Process1,
    /// As the leader of the session in the namespace of the test.
    Leader,
}

const BOTH: [How; 2] = [How::Process1, How::Leader];

/// A program with a terminal.
struct Session {
    program: Program,
    master: Option<PtyMaster>,
    /// Everything that was printed, and how much of it was looked at.
    printed: RefCell<(String, usize)>,
}

impl Session {
    /// The shim with an application, on a terminal of its own.
    fn start(how: How, config: &str, application: &[&str]) -> Self {
        Self::prepared(how, config, application, |_| {})
    }

    /// The same, after the terminal was changed.
    fn prepared(how: How, config: &str, application: &[&str], change: impl FnOnce(&File)) -> Self {
        let program = Program::new();
        program.configure(config);
        let command = program.command(application);
        let command = match how {
            How::Process1 => in_namespaces(
                &["--pid", "--fork", "--mount-proc", "--kill-child"],
                &["setsid", "-c"],
                &command,
            ),
            How::Leader => started_by(&["setsid", "-c"], &command),
        };
        Self::on_terminal(program, command, change)
    }

    /// A shell from which the shim is started by the script `run`, with the application of the script `app`.
    fn shell(config: &str, application: &str) -> Self {
        let program = Program::new();
        program.configure(config);
        program.write_executable("app", &format!("#!/bin/bash\n{application}\n"));
        let run = program.command(&["@/app"]);
        let words: Vec<_> = std::iter::once(run.get_program()).chain(run.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        program.write_executable("run", &format!("#!/bin/sh\nexec {}\n", words.join(" ")));
        let mut shell = Command::new(SHELL[0]);
        shell.args(&SHELL[1..]).current_dir(program.path(""));
        let mut shell = started_by(&["setsid", "-c"], &shell);
        shell.current_dir(program.path(""));
        Self::on_terminal(program, shell, |_| {})
    }

    fn on_terminal(mut program: Program, mut command: Command, change: impl FnOnce(&File)) -> Self {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags).expect("a terminal");
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(ptsname_r(&master).unwrap())
            .expect("its other end");
        change(&slave);
        command.env("TERM", "dumb").env("PS1", "ready> ");
        program.spawn_on(&mut command, &slave);
        Self {
            program,
            master: Some(master),
            printed: RefCell::default(),
        }
    }

    fn master(&self) -> &PtyMaster {
        self.master.as_ref().expect("the terminal is there")
    }

    /// Types this text.
    fn types(&self, text: &str) {
        let mut master = self.master();
        master.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    /// Types a command of a shell when its prompt was printed.
    fn commands(&self, text: &str) {
        self.sees("ready> ");
        self.types(&format!("{text}\n"));
    }

    /// Reads what was printed since the last call.
    fn read(&self) {
        let mut master = self.master();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut chunk) {
            self.printed.borrow_mut().0 += &String::from_utf8_lossy(&chunk[..count]);
        }
    }

    /// Waits until this text is printed, after the one that was seen before.
    fn sees(&self, text: &str) {
        until(
            SOON,
            || format!("{text:?} is printed: {:?}", self.printed.borrow().0),
            || {
                self.read();
                let mut printed = self.printed.borrow_mut();
                let found = printed.0[printed.1..].find(text);
                if let Some(place) = found {
                    printed.1 += place + text.len();
                }
                found.is_some()
            },
        );
    }

    /// The process group in the foreground of the terminal.
    fn foreground(&self) -> Pid {
        tcgetpgrp(self.master()).unwrap_or(Pid::from_raw(0))
    }

    /// Waits until the leader of the foreground has this name.
    fn until_foreground(&self, name: &str) -> Pid {
        let comm = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let failed = || format!("{name} is in the foreground: {:?}", self.printed.borrow().0);
        until(SOON, failed, || {
            self.read();
            comm(self.foreground()).trim_end() == name
        });
        self.foreground()
    }

    /// Waits for the end of the program; meanwhile its output is read.
    fn code(&mut self) -> i32 {
        let deadline = Instant::now() + SOON;
        loop {
            if self.master.is_some() {
                self.read();
            }
            if let Some(code) = self.program.try_code() {
                return code;
            }
            assert!(
                Instant::now() < deadline,
                "it ends: {:?}",
                self.printed.borrow().0
            );
            sleep(Duration::from_millis(5));
        }
    }

    fn printed(&self) -> String {
        self.read();
        self.printed.borrow().0.clone()
    }
}

#[test]
fn an_interactive_shell_has_job_control() {
    for how in BOTH {
        let mut session = Session::start(how, QUIET, &SHELL);
        session.commands("sleep 1000");
        session.until_foreground("sleep");
        session.types(CTRL_Z);
        session.sees("Stopped");
        session.until_foreground("bash");
        session.commands("jobs | sed s/^/a-/");
        session.sees("a-[1]+  Stopped");
        session.commands("fg");
        session.until_foreground("sleep");
        session.types(CTRL_C);
        session.commands("echo code-$?");
        session.sees("code-130");
        session.commands("sleep 1000");
        session.until_foreground("sleep");
        session.types(CTRL_BACKSLASH);
        session.commands("echo code-$?");
        session.sees("code-131");
        session.commands("sleep 1000 & kill %1; wait %1; echo code-$?");
        session.sees("code-143");
        session.commands("exit 7");
        assert_eq!(session.code(), 7);
        let printed = session.printed();
        assert!(
            !printed.contains("job control") && !printed.contains("cannot set"),
            "{printed}"
        );
    }
}

/// It has the foreground from the beginning, also if it does not read.
#[test]
fn ctrl_c_reaches_the_application_and_not_the_shim() {
    for how in BOTH {
        let script = "trap 'echo int-$((40 + 2))' INT; echo up-$((40 + 2))
            until [ -e @/end ]; do sleep 0.05; done; exit 7";
        let mut session = Session::start(how, QUIET, &["bash", "-c", script]);
        session.sees("up-42");
        session.types(CTRL_C);
        session.sees("int-42");
        session.program.write("end", "");
        assert_eq!(session.code(), 7, "a stop would end it with 130");
    }
}

#[test]
fn a_password_is_read_from_the_terminal() {
    for how in BOTH {
        let script = r#"read -s -p "Password: " password < /dev/tty; echo; echo "length ${#password}""#;
        let mut session = Session::start(how, QUIET, &["bash", "-c", script]);
        session.sees("Password: ");
        session.types("secret\n");
        session.sees("length 6");
        assert_eq!(session.code(), 0);
        assert!(!session.printed().contains("secret"), "it is not echoed");
    }
}

/// The shim logs to the terminal, and the hook, the task and the coprocess print to it or to the log.
#[test]
fn with_tostop_everything_can_write_to_the_terminal() {
    const CONFIG: &str = r#"{"directory": "@/catalogue",
        "preStart": ["sh", "-c", "echo hook-42"],
        "tasks": [{"name": "t", "command": ["sh", "-c", "echo task-42"], "frequency": "100ms"}]}"#;
    for how in BOTH {
        let set = |terminal: &File| {
            let mut modes = termios::tcgetattr(terminal).unwrap();
            modes.local_flags |= LocalFlags::TOSTOP;
            termios::tcsetattr(terminal, SetArg::TCSANOW, &modes).unwrap();
        };
        let mut session = Session::prepared(how, CONFIG, &["bash", "-c", ECHO], set);
        session.sees("hook-42");
        session.sees("up-42");
        session.sees("task-42");
        session.types("one\n");
        session.sees("got-one");
        session.sees("task-42");
        session.types(CTRL_D);
        assert_eq!(session.code(), 7);
    }
}

#[test]
fn other_children_have_no_terminal() {
    for how in BOTH {
        let config = r#"{"directory": "@/catalogue", "logging": {"level": "ERROR"},
            "preStart": ["sh", "-c", "readlink /proc/self/fd/0; echo x > /dev/tty || echo none-42"]}"#;
        let mut session = Session::start(how, config, &["bash", "-c", ECHO]);
        session.sees("/dev/null");
        session.sees("none-42");
        session.sees("up-42");
        session.types(CTRL_D);
        assert_eq!(session.code(), 7);
    }
}

#[test]
fn a_change_of_the_size_of_the_window_reaches_the_application_once() {
    for how in BOTH {
        let script = "trap 'echo size-$(stty size)' WINCH; echo up-$((40 + 2))
            until [ -e @/end ]; do sleep 0.05; done";
        let mut session = Session::start(how, QUIET, &["bash", "-c", script]);
        session.sees("up-42");
        let terminal = ptsname_r(session.master()).unwrap();
        let resized = Command::new("stty")
            .args(["-F", &terminal, "rows", "33"])
            .status();
        assert!(resized.unwrap().success());
        session.sees("size-33 0");
        session.program.write("end", "");
        assert_eq!(session.code(), 0);
        assert_eq!(session.printed().matches("size-").count(), 1);
    }
}

/// As process 1 the shim cannot stop, and a leader of a session has no shell that could continue it.
#[test]
fn without_a_shell_around_it_ctrl_z_does_not_stop_the_application_for_ever() {
    for how in BOTH {
        let mut session = Session::start(how, QUIET, &["bash", "-c", ECHO]);
        session.sees("up-42");
        session.types(CTRL_Z);
        session.types("one\n");
        session.sees("got-one");
        session.types(CTRL_D);
        assert_eq!(session.code(), 7);
    }
}

#[test]
fn ctrl_z_returns_to_the_shell_that_started_the_shim_and_fg_continues() {
    let mut session = Session::shell(QUIET, ECHO);
    session.commands("./run");
    session.sees("up-42");
    for line in ["one", "two"] {
        session.types(CTRL_Z);
        session.sees("Stopped");
        session.commands("echo shell-$((40 + 2))");
        session.sees("shell-42");
        session.commands("fg");
        session.types(&format!("{line}\n"));
        session.sees(&format!("got-{line}"));
    }
    session.types(CTRL_D);
    session.commands("echo code-$?");
    session.sees("code-7");
    session.commands("exit 3");
    assert_eq!(session.code(), 3);
}

#[test]
fn a_shell_behind_the_shim_has_its_own_jobs_and_can_suspend_itself() {
    let mut session = Session::shell(QUIET, "PS1='inner> ' exec bash --norc --noprofile -i");
    session.commands("./run");
    session.sees("inner> ");
    session.types("sleep 1000\n");
    session.until_foreground("sleep");
    session.types(CTRL_Z);
    session.sees("Stopped");
    session.sees("inner> ");
    session.types("kill %1; suspend\n");
    session.sees("Stopped");
    session.commands("fg");
    session.types("echo inner-$((40 + 2)); exit 5\n");
    session.sees("inner-42");
    session.commands("echo code-$?");
    session.sees("code-5");
    session.commands("exit");
    assert_eq!(session.code(), 0);
}

#[test]
fn in_the_background_the_application_has_no_input_and_fg_gives_it_the_terminal() {
    let script = r#"readlink /proc/$$/fd/0; cat; read line < /dev/tty; echo "got-$line"; exit 7"#;
    let mut session = Session::shell(QUIET, script);
    session.commands("./run &");
    session.sees("/dev/null");
    // It stops when it reads from the terminal, and the shell reports the whole job.
    session.types("\n");
    let stopped = || {
        session.types("\n");
        session.read();
        session.printed.borrow().0.contains("Stopped")
    };
    until(
        SOON,
        || format!("the job stops: {:?}", session.printed.borrow().0),
        stopped,
    );
    session.types("fg\n");
    session.until_foreground("app");
    session.types("one\n");
    session.sees("got-one");
    session.sees("ready> ");
    session.types("echo code-$?; exit\n");
    session.sees("code-7");
    assert_eq!(session.code(), 0);
}

#[test]
fn a_continued_job_in_the_background_gets_the_terminal_again_with_fg() {
    let mut session = Session::shell(QUIET, ECHO);
    session.commands("./run");
    session.sees("up-42");
    session.types(CTRL_Z);
    session.sees("Stopped");
    session.commands("bg");
    // It continues to read, for which it stops again.
    let stopped = || {
        session.types("\n");
        session.read();
        session.printed.borrow().0.matches("Stopped").count() >= 2
    };
    until(
        SOON,
        || format!("the job stops: {:?}", session.printed.borrow().0),
        stopped,
    );
    session.types("fg\n");
    session.until_foreground("app");
    session.types("one\n");
    session.sees("got-one");
    session.types(CTRL_D);
    session.sees("ready> ");
    session.types("echo code-$?; exit\n");
    session.sees("code-7");
    assert_eq!(session.code(), 0);
}

/// The standard input is a pipe; a program that asks for a password uses the terminal all the same.
#[test]
fn beside_a_pipe_an_application_that_wants_the_terminal_gets_it() {
    let script = r#"read -s -p "Password: " word < /dev/tty; echo "length ${#word} $(cat)""#;
    let session = Session::shell(QUIET, script);
    session.commands("echo piped-$((40 + 2)) | ./run");
    session.sees("Password: ");
    session.types("secret\n");
    session.sees("length 6 piped-42");
    session.sees("ready> ");
}

/// A job of the application that outlives it has the foreground.
#[test]
fn the_end_of_the_application_gives_the_terminal_back() {
    for how in BOTH {
        let config = r#"{"directory": "@/catalogue", "logging": {"level": "ERROR"},
            "postStop": ["sh", "-c", "touch @/stopping; until [ -e @/go ]; do sleep 0.05; done"]}"#;
        let mut session = Session::start(how, config, &SHELL);
        let bash = session.until_foreground("bash");
        session.commands("sleep 1000");
        let sleeper = session.until_foreground("sleep");
        kill(bash, Signal::SIGKILL).unwrap();
        session.program.until_file("stopping");
        assert!(is_there(sleeper));
        session.until_foreground("containerpilot");
        session.program.write("go", "");
        assert_eq!(session.code(), 137);
    }
}

#[test]
fn an_application_that_cannot_be_started_leaves_the_terminal_to_the_shim() {
    for how in BOTH {
        let config = r#"{"directory": "@/catalogue",
            "postStop": ["sh", "-c", "touch @/stopping; until [ -e @/go ]; do sleep 0.05; done"]}"#;
        let mut session = Session::start(how, config, &["no-such-program"]);
        session.program.until_file("stopping");
        session.until_foreground("containerpilot");
        session.sees("executable file not found in $PATH");
        session.program.write("go", "");
        assert_eq!(session.code(), 127);
    }
}

/// It gets SIGHUP, as a child of tini does, and SIGHUP of another process still means a reload.
#[test]
fn a_terminal_that_hangs_up_ends_the_application() {
    for how in BOTH {
        let script = "trap 'touch @/hup; exit 5' HUP; touch @/up; while :; do sleep 0.05; done";
        let config = r#"{"directory": "@/catalogue", "preStop": ["touch", "@/pre"]}"#;
        let mut session = Session::start(how, config, &["sh", "-c", script]);
        session.program.until_file("up");
        let shim = session.program.pid_of_shim();
        kill(shim, Signal::SIGHUP).unwrap();
        session.sees("Configuration reloaded");
        assert!(!session.program.has("hup"));
        drop(session.master.take());
        session.program.until_file("hup");
        assert_eq!(session.code(), 5);
    }
}
