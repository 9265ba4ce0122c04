//! Signals that are blocked and pending in the kernel: lists them and takes them one at a time.
//!
//! The safe wrappers do not support real-time signals, and take the pending signal with the lowest number
//! only.
#![allow(unsafe_code, reason = "see above; each block has the reason why it is sound")]

use super::mask;
use nix::errno::Errno;
use nix::libc;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Takes one pending signal of this number. Returns whether there was one.
pub fn take(number: i32) -> bool {
    take_with_sender(number).is_some()
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The kernel, for an event of its own.
    Kernel,
    /// A process.
    Process,
}

/// Takes one pending signal of this number. Returns who sent it, if there was one.
pub fn take_with_sender(number: i32) -> Option<Sender> {
    let only = mask::only(number)?;
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        // SAFETY: the pointers are to valid places for the duration of the call. With a time limit of zero it returns
        // at once. All fields of the information are numbers for which zero is valid.
        let taken = unsafe { libc::sigtimedwait(&raw const only, found.as_mut_ptr(), &raw const now) };
        if taken == number {
            // SAFETY: see above.
            let code = unsafe { found.assume_init() }.si_code;
            return Some(match code {
                libc::SI_KERNEL => Sender::Kernel,
                _ => Sender::Process,
            });
        }
        if Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

/// The set of pending signals.
#[derive(Clone, Copy)]
pub struct Pending(libc::sigset_t);

impl Pending {
    /// The signals that are pending now.
    pub fn now() -> Self {
        let mut waiting = mask::empty();
        // SAFETY: the pointer is to a valid set for the duration of the call, which cannot fail for a valid
        // pointer.
        unsafe { libc::sigpending(&raw mut waiting) };
        Self(waiting)
    }

    /// Whether a signal of this number is pending.
    pub fn has(&self, number: i32) -> bool {
        // SAFETY: the pointer is to a valid set for the duration of the call; a wrong number is an error.
        unsafe { libc::sigismember(&raw const self.0, number) == 1 }
    }
}

/// Restores the default action of a signal, also if it was inherited as ignored, so that children do not
/// inherit that, and so that the kernel keeps the status of dead children until they are reaped.
///
/// # Errors
/// There is no signal with this number.
pub fn reset(number: i32) -> io::Result<()> {
    if is_default(number) {
        // Setting it again would drop a pending signal that is ignored by default.
        return Ok(());
    }
    mask::set_action(number, libc::SIG_DFL)
}

fn is_default(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the null pointer asks for no change, and the other is to a valid place; it is read only where the call
    // has filled it.
    unsafe {
        libc::sigaction(number, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

/// Sends a signal to the calling thread only.
#[cfg(test)]
pub fn raise(number: i32) {
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::raise(number) }, 0, "{number} can be sent");
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

    /// Each of several signals that were sent to a thread that blocks them remains pending.
    #[test]
    fn each_pending_real_time_signal_is_taken_once_and_by_its_own_number() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).unwrap();
                let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
                assert!(!take(first) && !Pending::now().has(first));
                raise(first);
                raise(first);
                raise(last);
                raise(libc::SIGUSR2);
                raise(libc::SIGUSR2);
                let pending = Pending::now();
                assert!(pending.has(first) && pending.has(last) && !pending.has(first + 1));
                assert!(take(last) && !take(last));
                assert!(take(first) && take(first) && !take(first));
                assert!(take(libc::SIGUSR2) && !take(libc::SIGUSR2));
                assert!(!take(0) && !take(1000));
            });
        });
    }
}
