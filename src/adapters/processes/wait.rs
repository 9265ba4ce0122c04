//! `waitpid` and `kill`, without losing an exit status.
//!
//! This uses unsafe calls, because the safe wrapper rejects the statuses of children that real-time signals
//! killed.
#![allow(unsafe_code, reason = "see above; each block has the reason why it is sound")]

use domain::process::{ExitStatus, Pid};
use domain::signal::Signal;
use nix::errno::Errno;
use nix::libc;
use std::mem::MaybeUninit;

/// Reaps one child that has ended, started or adopted; `None` if there is none.
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

/// Waits for the end of a child that is not in the table, and reaps it. `None` if it is no child.
pub fn reap(pid: Pid) -> Option<ExitStatus> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid pointer to one int for the duration of the call.
        match unsafe { libc::waitpid(pid.0, &raw mut status, 0) } {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return None,
            _ => return ended(status),
        }
    }
}

/// Whether no other process is left: no descendant of the shim, and no process of the namespace of which it is PID 1.
/// The parent of a descendant is a descendant too, or the kernel has made the shim its parent; so without children
/// there are no descendants.
pub fn none_is_left() -> bool {
    // SAFETY: the kernel accepts a null pointer if the status is not wanted; WNOWAIT reaps no child.
    let found = unsafe {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), flags)
    };
    let no_children = found == -1 && Errno::last() == Errno::ECHILD;
    no_children && (std::process::id() != 1 || !send_to_all(Signal::new(0)))
}

/// Sends a signal to a process that has not been reaped. Failures are ignored: a process that is dead, or that changed
/// its user, cannot be signalled.
pub fn send(pid: Pid, signal: Signal) {
    kill(pid.0, signal);
}

/// Sends a signal to the process group that a child leads which has not been reaped.
pub fn send_to_group(leader: Pid, signal: Signal) {
    kill(-leader.0, signal);
}

/// Sends a signal to the process group of the shim, and to the shim itself.
pub fn send_to_own_group(signal: Signal) {
    kill(0, signal);
}

/// The signal that has stopped this child since the last call, if one has.
pub fn stopped(pid: Pid) -> Option<Signal> {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let id = libc::id_t::try_from(pid.0).ok()?;
    // SAFETY: the pointer is to a valid place, and zero is a valid value of the structure; it is read after the call, which
    // leaves it zero if the child was not stopped. The status is that of a stop, which reaps nothing.
    unsafe {
        let flags = libc::WSTOPPED | libc::WNOHANG;
        let asked = libc::waitid(libc::P_PID, id, found.as_mut_ptr(), flags);
        let found = found.assume_init();
        (asked == 0 && found.si_pid() == pid.0).then(|| Signal::new(found.si_status()))
    }
}

/// Whether a child, started or adopted, belongs to this process group.
pub fn has_child_in(group: Pid) -> bool {
    let Ok(id) = libc::id_t::try_from(group.0) else {
        return false;
    };
    // SAFETY: the kernel accepts a null pointer if the status is not wanted; WNOWAIT reaps no child.
    unsafe {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_PGID, id, std::ptr::null_mut(), flags) == 0
    }
}

/// Whether there is a process in the group that this process leads, or led. It may belong to another user.
pub fn is_group(leader: Pid) -> bool {
    kill(-leader.0, Signal::new(0)) || Errno::last() == Errno::EPERM
}

/// Sends a signal to all processes of the namespace of which the shim is PID 1, except itself. Returns whether there are
/// any.
pub fn send_to_all(signal: Signal) -> bool {
    kill(-1, signal)
}

/// Returns whether there was a process that could get it.
fn kill(target: i32, signal: Signal) -> bool {
    // SAFETY: kill takes no pointers. The callers name only processes that have not been reaped, or that were compared
    // with the time of their start immediately before, so the number does not belong to another process.
    unsafe { libc::kill(target, signal.number()) == 0 }
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
