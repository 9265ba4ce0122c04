//! Child processes.

use domain::Ticket;
use domain::plan::{Job, SignalTarget};
use domain::process::{Pid, StartFailure};
use domain::signal::Signal;

/// The only owner of fork, kill and wait.
#[cfg_attr(test, mockall::automock)]
pub trait Processes {
    /// Starts a process in a process group of its own. When it ends, an event arrives in the inbox under
    /// `ticket`.
    ///
    /// # Errors
    /// The program does not exist or is not executable, or the machine lacks memory or processes.
    fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure>;

    /// Sends a signal to the process started under `ticket`, if it has not been reaped yet, or to its tree. With SIGCONT it
    /// also gets the foreground of the terminal, if it can use that and the shim has it.
    fn send(&mut self, ticket: Ticket, signal: Signal, target: SignalTarget);

    /// Sends a signal to all processes below this one; as PID 1 to all others of its namespace. As soon as none is left
    /// [`domain::Event::AllEnded`] arrives in the inbox.
    fn send_to_all(&mut self, signal: Signal);

    /// Stops the shim until it gets SIGCONT, if a shell with job control has started it, and returns then.
    fn suspend(&mut self);

    /// Sets a variable in the environment of children started, and templates rendered, from now on.
    fn export(&mut self, name: &str, value: &str);
}
