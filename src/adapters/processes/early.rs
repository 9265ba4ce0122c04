//! Blocks signals before `main` begins, so that one that comes in the first milliseconds waits in the kernel.
//!
//! As PID 1 a process has no default actions: the kernel drops a signal that is neither blocked nor handled. Any other
//! process dies of it. So the C library calls [`block`] from the list of constructors, before it calls `main` and
//! before the Rust runtime begins; what is left is the time that the kernel and the dynamic linker take to load the
//! program. A signal that is already blocked when the program is started is never lost.
//!
//! Belongs to the program and not to the library: a test that links the library keeps its signals.
#![allow(
    unsafe_code,
    reason = "the name of a section of the program is given, see below"
)]

use containerpilot::adapters::signals;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::sync::OnceLock;

/// The mask with which the program was started.
static INHERITED: OnceLock<SigSet> = OnceLock::new();

// SAFETY: the section is the C library's list of functions without arguments that are called before `main`, on the
// only thread there is. The function uses nothing that `main` would have to prepare, and does not unwind.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = block;

/// Blocks the signals of the shim, for this thread and all that it starts. If the kernel refuses, the shim tries again
/// when it begins to take signals, and reports the error.
extern "C" fn block() {
    let mut inherited = SigSet::empty();
    let blocked = sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&signals::taken()),
        Some(&mut inherited),
    );
    if blocked.is_ok() {
        INHERITED.set(inherited).ok();
    }
}

/// Restores the mask with which the program was started, for commands that do not run the shim and must end by a signal.
pub fn unblock() {
    if let Some(inherited) = INHERITED.get() {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(inherited), None).ok();
    }
}
