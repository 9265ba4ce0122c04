//! Child processes.

use domain::Ticket;
use domain::plan::{Job, SignalTarget};
use domain::process::{Pid, StartFailure};
use domain::signal::Signal;

/// The one owner of fork, kill and wait.
#[cfg_attr(test, mockall::automock)]
pub trait Processes {
    /// Starts a process in a process group of its own. Its end arrives in the inbox under `ticket`.
    ///
    /// # Errors
    /// The program is not there, cannot be executed, or the machine has no room for it.
    fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure>;

    /// Sends a signal to the process started under `ticket`, if it has not been reaped yet.
    fn send(&mut self, ticket: Ticket, signal: Signal, reach: SignalTarget);

    /// Children started from now on, and templates, find this variable in their environment.
    fn export(&mut self, name: &str, value: &str);
}
