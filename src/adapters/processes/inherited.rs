//! What the shim inherited from the process that started it, and what children get of it: the environment
//! byte for byte, the original limit on open files, and no descriptors but the standard streams.
#![allow(unsafe_code, reason = "each block has the reason why it is sound")]

use crate::adapters::descriptors::OpenFiles;
use domain::process::Pid;
use nix::libc;
use std::ffi::{CStr, CString, c_char};
use std::io;

/// How many descriptors must be free at the start: enough for the runtime, the log, one child with a pipe and
/// one request to a catalogue (docs/bounds.md).
const RESERVE: usize = 16;
/// Descriptors below this one are the standard streams.
const FIRST: u32 = 3;
/// The highest descriptor that is marked where the kernel cannot mark all of them in one call.
const LAST: u32 = 65_535;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The inherited environment: each entry as it is, also entries that occur twice or have no `=`.
pub fn environment() -> Vec<CString> {
    let mut entries = Vec::new();
    // SAFETY: the C library keeps `environ` null or an array of strings that a null pointer ends. No code of
    // this program changes the environment, so it stays valid while it is read.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            entries.push(CStr::from_ptr(*next).to_owned());
            next = next.add(1);
        }
    }
    entries
}

/// Marks all descriptors above the standard streams close-on-exec, so that no child inherits them. They stay
/// open, because the configuration may be read from one.
pub fn keep_descriptors_from_children() {
    // SAFETY: the call takes no pointers, and closes no descriptor.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0;
    if !marked {
        for descriptor in FIRST..=LAST {
            // SAFETY: the call takes no pointers; for a number that is no descriptor it only fails.
            unsafe { libc::fcntl(descriptor.cast_signed(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// Checks that there are enough free descriptors for a start, before anything uses them.
///
/// # Errors
/// A sentence that says how many are needed.
pub fn check_reserve() -> Result<(), String> {
    let reserve = || {
        let (first, _second) = io::pipe()?;
        let others = (2..RESERVE).map(|_| first.try_clone());
        others.collect::<io::Result<Vec<_>>>().map(drop)
    };
    reserve().map_err(|error: io::Error| {
        let cause = crate::cause::in_kernel_words(&error);
        format!("{RESERVE} free file descriptors are needed at the start (ulimit -n): {cause}")
    })
}

/// Sets the limit on open files of this process. Only a child before its exec calls it: it makes one system call.
pub fn limit_own_open_files(limit: OpenFiles) {
    let limits = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: `limits` is valid for the duration of the call. A limit that cannot be set stays as it is.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
}

/// Sets the limit on open files of a running child that has not been reaped.
pub fn limit_open_files(pid: Pid, limit: OpenFiles) {
    let limits = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: `limits` is valid for the duration of the call, which writes nothing through the null pointer.
    // The call fails for a child that ended or changed its user, which has no consequences.
    unsafe {
        libc::prlimit(
            pid.0,
            libc::RLIMIT_NOFILE,
            &raw const limits,
            std::ptr::null_mut(),
        )
    };
}
