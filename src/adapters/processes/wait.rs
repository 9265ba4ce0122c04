//! `waitpid` and `kill`, without losing an exit status.
//!
//! This uses unsafe calls, because the safe wrapper rejects the statuses of children that real-time signals
//! killed.
#![allow(unsafe_code, reason = "see above; each block has the reason why it is sound")]

use domain::plan::SignalTarget;
use domain::process::{ExitStatus, Pid};
use domain::signal::Signal;
use nix::errno::Errno;
use nix::libc;

/// Reaps one dead child, started or adopted; `None` if there is none.
pub fn next_dead() -> Option<(Pid, ExitStatus)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid pointer to one int for the duration of the call; WNOHANG makes it
        // return at once, and no other code of this program waits for a child.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            0 => return None,
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return None,
            pid => {
                if let Some(ended) = ended(status) {
                    return Some((Pid(pid), ended));
                }
            }
        }
    }
}

/// Sends a signal to a child that has not been reaped, or to its process group. Failures are ignored: a child
/// that is dead, or that changed its user, cannot be signalled.
pub fn send(pid: Pid, signal: Signal, reach: SignalTarget) {
    let target = match reach {
        SignalTarget::Process => pid.0,
        SignalTarget::Group => -pid.0,
    };
    // SAFETY: kill takes no pointers. `pid` is a child in the table, hence not reaped, so the kernel has
    // given neither its ID nor its group's ID to another process.
    unsafe { libc::kill(target, signal.number()) };
}

/// The exit status; `None` if the child was only stopped, continued or traced.
fn ended(status: i32) -> Option<ExitStatus> {
    if libc::WIFEXITED(status) {
        let code = libc::WEXITSTATUS(status);
        return Some(ExitStatus::Code(u8::try_from(code).unwrap_or(u8::MAX)));
    }
    libc::WIFSIGNALED(status).then(|| ExitStatus::Signal(Signal::new(libc::WTERMSIG(status))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_all_signals_are_kept() {
        assert_eq!(ended(7 << 8), Some(ExitStatus::Code(7)));
        assert_eq!(ended(255 << 8), Some(ExitStatus::Code(255)));
        assert_eq!(ended(9), Some(ExitStatus::Signal(Signal::KILL)));
        assert_eq!(
            ended(libc::SIGRTMIN()),
            Some(ExitStatus::Signal(Signal::new(libc::SIGRTMIN())))
        );
        assert_eq!(
            ended(11 | 0x80),
            Some(ExitStatus::Signal(Signal::new(11))),
            "with a core dump"
        );
        assert_eq!(ended(0x137f), None, "stopped");
        assert_eq!(ended(0xffff), None, "continued");
    }
}
