//! The programs of this machine.

use domain::plan::Word;

/// Why a program cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotExecutable {
    /// There is no such file, or none of this name in `PATH`.
    NotFound,
    /// The file at this path is a folder, or nothing permits to execute it.
    NotPermitted(String),
}

/// Looks for programs without executing them.
#[cfg_attr(test, mockall::automock)]
pub trait Programs {
    /// Looks for a program as it is done when a command is started.
    ///
    /// # Errors
    /// There is none, or it cannot be executed.
    fn find(&self, program: &Word) -> Result<(), NotExecutable>;
}
