//! The limit on open files: the shim raises its own, and children get the original one.
//!
//! The limit applies to the whole process, and a child inherits the limit in force when it is started. So the
//! limit is lowered while a child starts. Opening a file in another thread could fail then; therefore threads
//! mark when they open files, and meanwhile the limit is not lowered.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many threads may be opening files. Locked while the limit is lowered; otherwise only for an instant.
static OPENING: Mutex<usize> = Mutex::new(0);

fn opening() -> MutexGuard<'static, usize> {
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work that may open files, in another thread than the one that starts children.
pub fn while_opening<T>(work: impl FnOnce() -> T) -> T {
    let _counted = Counted::new();
    work()
}

struct Counted;

impl Counted {
    fn new() -> Self {
        *opening() += 1;
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *opening() -= 1;
    }
}

/// The limit on open files.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    /// The limit in force (`RLIMIT_NOFILE`, soft).
    pub soft: rlim_t,
    /// The highest value to which the process may raise it.
    pub hard: rlim_t,
}

impl OpenFiles {
    /// Raises the limit of the shim to the hard limit. Returns the limit for children, if that differs.
    ///
    /// Hundreds of services and backends need more descriptors than the usual soft limit of 1,024, which
    /// exists for programs that use `select`. The shim does not use it; children may.
    pub fn raise() -> Option<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
        (soft < hard).then_some(Self { soft, hard })
    }

    /// Makes this the limit of the process until the returned value is dropped. Returns `None` and changes
    /// nothing if another thread may be opening a file. Open descriptors are not affected.
    pub fn lower(self) -> Option<Lowered> {
        let nobody_opens = opening();
        (*nobody_opens == 0).then(|| {
            // If the limit cannot be set, it stays: the child may open more files, without other
            // consequences.
            setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard).ok();
            Lowered {
                raised: self.hard,
                _nobody_opens: nobody_opens,
            }
        })
    }
}

/// While this exists, the limit is lowered, and threads that want to open files wait.
#[derive(Debug)]
pub struct Lowered {
    raised: rlim_t,
    _nobody_opens: MutexGuard<'static, usize>,
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(Resource::RLIMIT_NOFILE, self.raised, self.raised).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn now() -> (rlim_t, rlim_t) {
        getrlimit(Resource::RLIMIT_NOFILE).unwrap()
    }

    #[test]
    fn the_limit_is_not_lowered_while_another_thread_may_open_files() {
        let (soft, hard) = now();
        let refused = while_opening(|| OpenFiles { soft, hard }.lower().is_none());
        assert!(refused);
    }

    #[test]
    fn a_thread_that_opens_files_waits_until_the_limit_is_raised_again() {
        let (soft, hard) = now();
        let lower = OpenFiles { soft: soft - 1, hard };
        // Other tests of this process open files as well.
        let lowered = std::iter::repeat_with(|| lower.lower()).flatten().next().unwrap();
        assert_eq!(now().0, soft - 1);
        let (began, begun) = mpsc::channel();
        thread::scope(|scope| {
            let opener = scope.spawn(|| {
                began.send(()).unwrap();
                while_opening(|| now().0)
            });
            begun.recv().unwrap();
            drop(lowered);
            assert_eq!(opener.join().unwrap(), hard);
        });
    }
}
