//! The controlling terminal of the shim, and which process group has its foreground.
//!
//! Decides nothing about jobs: it says whether the shim may give the foreground to a child or take it back. No flag or
//! mode of the terminal is changed. The shim blocks SIGTTOU and SIGTTIN, so that no use of the terminal stops it.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use super::pending;
use super::signaller::own_pid;
use super::snapshot::parent_of;
use super::wait;
use domain::process::Pid;
use domain::signal::Signal;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sys::signal::{self, SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::{self, getpgid, getpgrp, getsid, tcgetpgrp, tcsetpgrp};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// How many ancestors are looked at for a shell with job control (docs/bounds.md).
const ANCESTORS: usize = 64;

/// The controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    descriptor: OwnedFd,
}

/// What the terminal is for a child that is started now.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// There is no terminal.
    None,
    /// The child gets the foreground of this terminal.
    Foreground(BorrowedFd<'a>),
    /// The child can use the terminal when it is in the foreground, and is stopped by it otherwise. A shell with job
    /// control can give the foreground to the shim, or the shim has it.
    Job,
    /// The child has a session of its own, without a terminal: it cannot read from the terminal, and can always write.
    Session,
}

impl Terminal {
    /// The controlling terminal of this process, if it has one.
    pub fn controlling() -> Option<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let opened = open("/dev/tty", flags, Mode::empty()).or_else(|_| stream());
        let terminal = opened.ok().map(|descriptor| Self { descriptor });
        terminal.filter(|terminal| terminal.foreground().is_ok())
    }

    /// Where a child belongs that inherits the standard input of the shim.
    pub fn place(&self) -> Place<'_> {
        if self.is_ours() && Self::is_standard_input() {
            Place::Foreground(self.descriptor.as_fd())
        } else if self.is_ours() || is_under_shell() {
            Place::Job
        } else {
            Place::Session
        }
    }

    /// Whether a child may inherit the standard input: it must not be the terminal if another process group has the
    /// foreground.
    pub fn input_is_free(&self) -> bool {
        self.is_ours() || !Self::is_standard_input()
    }

    /// Gives the foreground to the process group that a child leads, if the shim has it, or a group that has ended.
    /// Returns whether the group has it now.
    pub fn give_to(&self, leader: Pid) -> bool {
        match self.foreground() {
            Ok(group) if group == leader => true,
            Ok(group) if group == own_group() || !wait::is_group(group) => self.set(leader),
            _ => false,
        }
    }

    /// Takes the foreground back from the process group that a child leads, or led, or from processes that it started. If
    /// a shell has taken the foreground meanwhile, it keeps it.
    pub fn take_from(&self, leader: Pid) {
        self.take_from_ended();
        let leads_session = getsid(None).is_ok_and(|session| session == unistd::getpid());
        let is_below = |group: Pid| group == leader || leads_session || wait::has_child_in(group);
        if self.foreground().is_ok_and(is_below) {
            self.set(own_group());
        }
    }

    /// Takes the foreground back from a process group that has ended.
    pub fn take_from_ended(&self) {
        if self.foreground().is_ok_and(|group| !wait::is_group(group)) {
            self.set(own_group());
        }
    }

    /// Stops the shim and its process group as Ctrl-Z does, until SIGCONT, if a shell with job control can continue it.
    pub fn suspend(&self) {
        if !is_under_shell() {
            return;
        }
        let stop = SigSet::from(signal::Signal::SIGTSTP);
        wait::send_to_own_group(Signal::new(libc::SIGTSTP));
        // The process stops within the first call.
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&stop), None).ok();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), None).ok();
        // The caller continues the child, so this signal is not one to be passed on.
        pending::take(libc::SIGCONT);
    }

    fn is_ours(&self) -> bool {
        self.foreground().is_ok_and(|group| group == own_group())
    }

    /// Whether the standard input is this terminal: only the controlling one has a foreground.
    fn is_standard_input() -> bool {
        tcgetpgrp(io::stdin()).is_ok()
    }

    /// The process group in the foreground; 0 if it belongs to another PID namespace.
    fn foreground(&self) -> nix::Result<Pid> {
        tcgetpgrp(&self.descriptor).map(|group| Pid(group.as_raw()))
    }

    /// Returns whether it was possible. The group of a shim that was started in another PID namespace has no ID.
    fn set(&self, group: Pid) -> bool {
        group.0 > 0 && tcsetpgrp(&self.descriptor, unistd::Pid::from_raw(group.0)).is_ok()
    }
}

/// A copy of the standard stream that is the controlling terminal, where `/dev/tty` does not exist.
fn stream() -> nix::Result<OwnedFd> {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [input.as_fd(), output.as_fd(), errors.as_fd()];
    let terminal = streams.into_iter().find(|stream| tcgetpgrp(stream).is_ok());
    let copy = fcntl(
        terminal.ok_or(nix::errno::Errno::ENXIO)?,
        FcntlArg::F_DUPFD_CLOEXEC(3),
    )?;
    // SAFETY: the kernel has just returned this descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn own_group() -> Pid {
    Pid(getpgrp().as_raw())
}

/// Whether the process group of the shim has a shell that can stop and continue it: an ancestor in the same session and
/// another group. The kernel calls a group without one orphaned. As PID 1 the shim has none.
pub fn is_under_shell() -> bool {
    if own_pid().0 == 1 {
        return false;
    }
    let (session, group) = (getsid(None), getpgrp());
    let mut process = unistd::getppid();
    for _ in 0..ANCESTORS {
        // 0 stands for the calling process, and for a parent in another namespace.
        if process.as_raw() <= 0 || getsid(Some(process)) != session {
            return false;
        }
        if getpgid(Some(process)) != Ok(group) {
            return true;
        }
        let Some(parent) = parent_of(process.as_raw()) else {
            return false;
        };
        process = unistd::Pid::from_raw(parent);
    }
    false
}
