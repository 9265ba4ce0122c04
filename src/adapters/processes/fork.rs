//! Starts a child with fork and exec, for steps that `posix_spawn` does not have ([`Steps`]).
//!
//! The result is that of `posix_spawnp`: the same attributes, the same look-up of the program, and the error of the step
//! that failed, which comes back through a pipe that a successful exec closes. Everything that allocates is done
//! before the fork; the child makes only system calls, because another thread may have held a lock at that time.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use super::{identity, inherited, mask, wait};
use crate::adapters::descriptors::OpenFiles;
use crate::cause;
use domain::plan::Identity;
use domain::process::Pid;
use domain::signal::FIRST_REAL_TIME;
use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::env;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

/// Where programs are looked for if there is no `PATH`, as in the C library.
const NO_PATH: &[u8] = b"/bin:/usr/bin";
/// The longest name of a program that is looked for, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest folder in `PATH` in which a program is looked for, in bytes.
const LONGEST_FOLDER: usize = 4096;
/// What is added to the number of an error if the user or the groups could not be set. Numbers of errors are smaller.
const OF_IDENTITY: c_int = 1 << 16;
/// The exit code of a child that could not be started. It is reaped here and never seen.
const NOT_STARTED: c_int = 127;

/// What the child does beside that which `posix_spawn` could do, in the order of the fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps<'a> {
    /// Whether it gets a session of its own, and not only a process group.
    pub session: bool,
    /// Makes the child's process group the foreground of this terminal. A failure is ignored: the terminal may be gone.
    pub foreground: Option<BorrowedFd<'a>>,
    /// The limit on open files, if it is not that of the shim.
    pub open_files: Option<OpenFiles>,
    /// The user and the groups.
    pub identity: Option<&'a Identity>,
}

impl Steps<'_> {
    /// Carries out the steps, in the child. Returns the number that reports the step that failed.
    fn take(self) -> Result<(), c_int> {
        if let Some(terminal) = self.foreground {
            // SAFETY: both calls take no pointers. SIGTTOU is blocked, so the child does not stop.
            unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), libc::getpid()) };
        }
        if let Some(limit) = self.open_files {
            inherited::limit_own_open_files(limit);
        }
        let taken = self.identity.map_or(Ok(()), identity::take);
        taken.map_err(|errno| OF_IDENTITY + errno as c_int)
    }
}

/// A command that is ready to be executed.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// The files that are tried, in order.
    candidates: Vec<CString>,
    /// Null-terminated.
    arguments: Vec<*const c_char>,
    /// Null-terminated.
    environment: Vec<*const c_char>,
    /// Each of these becomes the second; the number of the first one is different.
    streams: &'a [(BorrowedFd<'a>, RawFd)],
}

impl<'a> Prepared<'a> {
    /// Prepares a program with its arguments, of which the first one is its name.
    ///
    /// # Errors
    /// No file can have the program's name.
    pub fn new(
        words: &'a [CString],
        environment: &'a [&'a CStr],
        streams: &'a [(BorrowedFd<'a>, RawFd)],
    ) -> io::Result<Self> {
        let program = words.first().ok_or(Errno::ENOENT)?;
        let arguments = words.iter().map(CString::as_c_str);
        Ok(Self {
            candidates: files_of(program)?,
            arguments: null_terminated(arguments),
            environment: null_terminated(environment.iter().copied()),
            streams,
        })
    }

    /// Starts the child, in its own process group, and waits until it executes the program.
    ///
    /// # Errors
    /// The program does not exist or is not executable, a step failed, or the machine lacks memory, processes or
    /// descriptors.
    pub fn start(&self, steps: Steps<'_>) -> io::Result<Pid> {
        let (mut failure, report) = io::pipe()?;
        let blocked = mask::replace(&mask::all())?;
        // SAFETY: the child calls only `become_program`, which allocates nothing, takes no lock and does not return.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            let errno = self.become_program(steps);
            // SAFETY: the pointer is to a valid value of this length. `_exit` runs no code of the shim.
            unsafe {
                libc::write(report.as_raw_fd(), (&raw const errno).cast(), size_of_val(&errno));
                libc::_exit(NOT_STARTED)
            }
        }
        let forked = Errno::result(forked);
        mask::replace(&blocked).ok();
        let pid = Pid(forked?);
        drop(report);
        let mut errno = [0; size_of::<c_int>()];
        match failure.read_exact(&mut errno) {
            Ok(()) => {
                wait::reap(pid);
                Err(reported(c_int::from_ne_bytes(errno)))
            }
            // The pipe was closed by exec, or by a signal that killed the child, which is its end.
            Err(_) => Ok(pid),
        }
    }

    /// Makes the child what it is to be and executes the program; returns the error if that fails.
    fn become_program(&self, steps: Steps<'_>) -> c_int {
        match self.prepare(steps) {
            Ok(()) => self.execute(),
            Err(report) => report,
        }
    }

    fn prepare(&self, steps: Steps<'_>) -> Result<(), c_int> {
        let report = |errno: Errno| errno as c_int;
        // SAFETY: the calls take no pointers.
        unsafe {
            let led = match steps.session {
                true => libc::setsid(),
                false => libc::setpgid(0, 0),
            };
            Errno::result(led).map_err(report)?;
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        mask::set_action(FIRST_REAL_TIME, libc::SIG_DFL).ok();
        steps.take()?;
        for (from, to) in self.streams {
            // SAFETY: the call takes no pointers; the child has no other use of the descriptor that is replaced.
            Errno::result(unsafe { libc::dup2(from.as_raw_fd(), *to) }).map_err(report)?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(report)
    }

    /// Executes the first candidate that can be. Like the C library, returns the error of the first one that is there,
    /// and that a permission is missing if all that are there may not be executed.
    fn execute(&self) -> c_int {
        let mut denied = false;
        let mut last = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: all pointers are to strings that live as long as this value, and both arrays end with null.
            unsafe {
                libc::execve(
                    candidate.as_ptr(),
                    self.arguments.as_ptr(),
                    self.environment.as_ptr(),
                )
            };
            last = Errno::last_raw();
            match last {
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return last,
            }
        }
        if denied { libc::EACCES } else { last }
    }
}

/// The error for the number that a child reported.
fn reported(number: c_int) -> io::Error {
    let error = io::Error::from_raw_os_error(number % OF_IDENTITY);
    match number > OF_IDENTITY {
        true => {
            let cause = cause::in_kernel_words(&error);
            io::Error::other(format!("its user and groups cannot be set: {cause}"))
        }
        false => error,
    }
}

/// The files that are tried for a program, in order.
///
/// # Errors
/// No file can have the program's name.
pub fn files_of(program: &CStr) -> Result<Vec<CString>, Errno> {
    let path = env::var_os("PATH");
    candidates(program, path.as_ref().map_or(NO_PATH, |path| path.as_bytes()))
}

/// The files that a program's name may stand for, in the order of `path`.
fn candidates(program: &CStr, path: &[u8]) -> Result<Vec<CString>, Errno> {
    let name = program.to_bytes();
    if name.is_empty() || name.contains(&b'/') {
        return Ok(vec![program.to_owned()]);
    }
    if name.len() > LONGEST_NAME {
        return Err(Errno::ENAMETOOLONG);
    }
    let folders = path.split(|byte| *byte == b':');
    let folders = folders.filter(|folder| folder.len() < LONGEST_FOLDER);
    let file = |folder: &[u8]| {
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        CString::new([folder, slash, name].concat()).ok()
    };
    Ok(folders.filter_map(file).collect())
}

fn null_terminated<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn files(program: &str, path: &str) -> Vec<String> {
        let program = CString::new(program).unwrap();
        let found = candidates(&program, path.as_bytes()).unwrap();
        found
            .into_iter()
            .map(|file| file.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_program_is_looked_for_as_in_the_c_library() {
        assert_eq!(files("sh", "/a:/b"), ["/a/sh", "/b/sh"]);
        assert_eq!(files("sh", "/a::"), ["/a/sh", "sh", "sh"]);
        assert_eq!(files("sh", ""), ["sh"]);
        assert_eq!(files("/bin/sh", "/a"), ["/bin/sh"]);
        assert_eq!(files("./sh", "/a"), ["./sh"]);
        assert_eq!(files("", "/a"), [""]);
        let long = "x".repeat(LONGEST_FOLDER);
        assert_eq!(files("sh", &format!("{long}:/b")), ["/b/sh"]);
        let long = CString::new("x".repeat(LONGEST_NAME + 1)).unwrap();
        assert_eq!(candidates(&long, b"/a"), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn a_failure_to_set_the_user_is_named() {
        let sentence = |number| cause::in_kernel_words(&reported(number));
        assert_eq!(sentence(libc::EPERM), "operation not permitted");
        assert_eq!(
            sentence(OF_IDENTITY + libc::EPERM),
            "its user and groups cannot be set: operation not permitted"
        );
    }

    /// Compares with `posix_spawnp` itself.
    #[test]
    fn failures_are_those_of_posix_spawn() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.into_os_string()
        };
        let long = "x".repeat(LONGEST_NAME + 1);
        let programs: [OsString; 10] = [
            "no-such-program".into(),
            "/no/such".into(),
            "/etc/passwd".into(),
            "/etc/passwd/x".into(),
            "/".into(),
            "".into(),
            long.into(),
            file("empty", "", 0o755),
            file("broken", "\x7fELF", 0o755),
            file("elsewhere", "#!/no/such\n", 0o755),
        ];
        for program in programs {
            let program = [CString::new(program.into_encoded_bytes()).unwrap()];
            let streams = nix::spawn::PosixSpawnFileActions::init().unwrap();
            let attributes = nix::spawn::PosixSpawnAttr::init().unwrap();
            let spawned =
                nix::spawn::posix_spawnp(&program[0], &streams, &attributes, &program, &[] as &[CString]);
            let prepared = Prepared::new(&program, &[], &[]);
            let forked = prepared.and_then(|prepared| prepared.start(Steps::default()));
            let forked = forked.unwrap_err().raw_os_error();
            assert_eq!(forked, spawned.err().map(|errno| errno as c_int), "{program:?}");
        }
    }
}
