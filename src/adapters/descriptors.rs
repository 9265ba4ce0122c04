//! The limit of open files: the shim's own, which is raised, and the one that children get.
//!
//! The limit belongs to the whole process, and a child inherits the one that is in force when it is started. So
//! it is lowered while a child starts. A thread that opened a file at that moment would be refused it; therefore
//! threads that open files say when they do, and while one does the limit stays as it is.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many threads may open files at this moment. Locked while the limit is lowered, and for an instant else.
static OPENING: Mutex<usize> = Mutex::new(0);

fn opening() -> MutexGuard<'static, usize> {
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something that may open files, on another thread than the one that starts children.
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

/// How many files may be open.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    /// How many the process may have open.
    pub soft: rlim_t,
    /// How far it may raise that by itself.
    pub hard: rlim_t,
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

    /// Makes this the limit of the process until the value is dropped. None, and nothing is changed, if another
    /// thread may open a file now. Descriptors that are open already are not touched by it.
    pub fn lower(self) -> Option<Lowered> {
        let nobody_opens = opening();
        (*nobody_opens == 0).then(|| {
            // A limit that cannot be set stays what it is: the child may open more files, and nothing else follows.
            setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard).ok();
            Lowered {
                raised: self.hard,
                _nobody_opens: nobody_opens,
            }
        })
    }
}

/// The limit is lowered until this is dropped; a thread that wants to open a file waits for that.
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
    fn whoever_opens_files_waits_until_the_limit_is_raised_again() {
        let (soft, hard) = now();
        let lower = OpenFiles { soft: soft - 1, hard };
        // Other tests of this process open files, too.
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
