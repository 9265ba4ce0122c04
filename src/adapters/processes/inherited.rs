//! What the shim inherited from whoever started it, and what of it children get: the environment byte for
//! byte, the old limit of open files, and no descriptor but the standard streams.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::unix::net::UnixStream;

/// How many descriptors are free at the start at the least: enough for the runtime, the log, one child with a
/// pipe and one request to a catalogue (docs/bounds.md).
const RESERVE: usize = 16;
/// Descriptors below this one are the standard streams.
const FIRST: u32 = 3;
/// The highest descriptor that is looked at where the kernel does not mark all of them in one call.
const LAST: u32 = 65_535;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The environment as it was inherited: each entry as it is, also one that is there twice or has no `=`.
pub fn environment() -> Vec<CString> {
    let mut entries = Vec::new();
    // SAFETY: the C library keeps `environ` null or an array of strings that a null pointer ends. Nobody in
    // this program changes the environment, so it stays as it is while it is read.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            entries.push(CStr::from_ptr(*next).to_owned());
            next = next.add(1);
        }
    }
    entries
}

/// Marks all descriptors above the standard streams, so that no child inherits them. They stay open: the
/// configuration may be read from one.
pub fn keep_descriptors_from_children() {
    // SAFETY: the call takes no pointers, and closes nothing now.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0;
    if !marked {
        for descriptor in FIRST..=LAST {
            // SAFETY: the call takes no pointers; on a number that is no descriptor it only fails.
            unsafe { libc::fcntl(descriptor.cast_signed(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// Finds out whether the machine gives what a start needs, before the runtime asks for it.
///
/// # Errors
/// A sentence: it does not.
pub fn check_reserve() -> Result<(), String> {
    let pipes: io::Result<Vec<_>> = (0..RESERVE / 2).map(|_| io::pipe()).collect();
    pipes.map_err(|error| {
        let cause = crate::cause::in_kernel_words(&error);
        format!("{RESERVE} free file descriptors are needed at the start (ulimit -n): {cause}")
    })?;
    UnixStream::pair().map(drop).map_err(|error| {
        let cause = crate::cause::in_kernel_words(&error);
        format!("a pair of sockets, which is needed to take signals, cannot be made: {cause}")
    })
}

/// How many files may be open.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    soft: rlim_t,
    hard: rlim_t,
}

impl OpenFiles {
    /// Raises our own limit as far as it goes; the limit that children are to have, if that is another one.
    ///
    /// Hundreds of services and backends need more descriptors than the usual soft limit of 1,024, which is
    /// there for programs that count on small numbers of them. The shim does not; children may.
    pub fn raise() -> Option<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
        (soft < hard).then_some(Self { soft, hard })
    }

    /// Runs `start` under this limit. Descriptors that are open already are not touched by it; another thread
    /// that opens one at this moment may be refused it, if more are open than this limit allows.
    pub fn during<T>(self, start: impl FnOnce() -> T) -> T {
        // A limit that cannot be set stays what it is: the child may open more files, and nothing else follows.
        setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard).ok();
        let started = start();
        setrlimit(Resource::RLIMIT_NOFILE, self.hard, self.hard).ok();
        started
    }
}
