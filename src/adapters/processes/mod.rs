//! The only module that uses fork, kill and wait.
//!
//! The thread that starts children also reaps them. A child is in the table before the loop continues, so a
//! child that dies at once is found there; a reaped process that is not in the table is an orphan that the
//! kernel assigned to the shim. No process is signalled after it was reaped. No other code of the program
//! waits for children, so no exit status is lost.
//!
//! Children are started directly, without a shell, each in its own process group, with `/dev/null` as
//! standard input (EX-1). They inherit the working directory, IDs and limits of the shim, except the limit on
//! open files, which is the one that the shim was started with.

mod inherited;
mod output;
pub mod pending;
mod spawn;
mod wait;

pub use inherited::{check_reserve, keep_descriptors_from_children};

use crate::adapters::console::Console;
use crate::adapters::descriptors::OpenFiles;
use crate::adapters::environment::Environment;
use crate::adapters::inbox::InboxSender;
use crate::adapters::turns::Turns;
use crate::cause;
use crate::ports::Processes;
use domain::plan::{Job, SignalTarget, Word};
use domain::process::{Pid, StartFailure};
use domain::signal::Signal;
use domain::{Event, Ticket};
use nix::sys::prctl;
use output::{Capture, Reader, Readers};
use spawn::Spawner;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::process;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::task::yield_now;

/// How many pipes of finished children are read while other processes hold them open. (docs/bounds.md)
const HELD: usize = 64;
/// How many dead children and orphans are reaped in one round of the loop. (docs/bounds.md)
const REAPED: usize = 64;

/// The children of the shim. Lives on a tokio `LocalSet`.
#[derive(Debug)]
pub struct Children {
    environment: Environment,
    spawner: Spawner,
    table: Rc<RefCell<Table>>,
    readers: Readers,
}

/// The children that were not reaped.
#[derive(Debug, Default)]
struct Table {
    by_pid: BTreeMap<Pid, Child>,
    /// Readers of pipes of finished children that other processes still hold open, oldest first.
    readers: VecDeque<Reader>,
}

impl Table {
    /// Removes a child that was reaped, and posts what it printed. Returns its ticket; `None` for an orphan.
    fn remove(&mut self, pid: Pid, inbox_sender: &InboxSender) -> Option<Ticket> {
        let child = self.by_pid.remove(&pid)?;
        if let Some(output) = child.output {
            if let Some(text) = output.on_reaped() {
                inbox_sender.post(Event::Printed(child.ticket, text));
            }
            self.read_on(output);
        }
        Some(child.ticket)
    }

    /// Continues to read what other processes write to the pipe of a finished child.
    fn read_on(&mut self, reader: Reader) {
        self.readers.retain(|reader| !reader.is_finished());
        self.readers.push_back(reader);
        if self.readers.len() > HELD
            && let Some(oldest) = self.readers.pop_front()
        {
            oldest.give_up();
        }
    }
}

#[derive(Debug)]
struct Child {
    ticket: Ticket,
    output: Option<Reader>,
}

impl Children {
    /// Starts without children. From now on, whenever `died` is notified, dead children are reaped and posted
    /// to the inbox, and the output of children is logged to `console`. Children get the limit `open_files`,
    /// if there is one.
    ///
    /// # Errors
    /// No file descriptor is available.
    pub fn new(
        environment: Environment,
        open_files: Option<OpenFiles>,
        inbox_sender: InboxSender,
        console: Console,
        died: Rc<Notify>,
    ) -> io::Result<Self> {
        let spawner = Spawner::new(open_files)?;
        let table = Rc::new(RefCell::new(Table::default()));
        let dead = Rc::clone(&table);
        let readers = Readers::new(console, Turns::new(inbox_sender.clone()));
        inbox_sender.clone().rely_on(async move {
            loop {
                died.notified().await;
                while reap(&dead, &inbox_sender) {
                    yield_now().await;
                }
            }
        });
        Ok(Self {
            environment,
            spawner,
            table,
            readers,
        })
    }

    /// Waits until the output of finished children has been logged, for a short time at most.
    pub async fn finish_output(&self) {
        let mut readers = std::mem::take(&mut self.table.borrow_mut().readers);
        let running: Vec<Reader> = {
            let mut table = self.table.borrow_mut();
            table
                .by_pid
                .values_mut()
                .filter_map(|child| child.output.take())
                .collect()
        };
        readers.extend(running);
        Reader::finish(readers).await;
    }
}

/// Makes the shim the parent of its orphaned descendants if it is not PID 1, so that they are reaped, as tini
/// does.
///
/// # Errors
/// The kernel is too old, or does not permit it.
pub fn adopt_orphans() -> io::Result<()> {
    if process::id() == 1 {
        return Ok(());
    }
    Ok(prctl::set_child_subreaper(true)?)
}

impl Processes for Children {
    fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure> {
        let failure = |error: io::Error| start_failure(&job.command.program, &error);
        let capture = Capture::of(job).map_err(failure)?;
        let exports = self.environment.exports();
        let pid = self
            .spawner
            .spawn(job, &exports, capture.as_ref())
            .map_err(failure)?;
        // From here on nothing can fail: a running process is always in the table.
        let output = capture.map(|capture| capture.read(job, &self.readers));
        let child = Child { ticket, output };
        self.table.borrow_mut().by_pid.insert(pid, child);
        Ok(pid)
    }

    fn send(&mut self, ticket: Ticket, signal: Signal, reach: SignalTarget) {
        let table = self.table.borrow();
        if let Some((pid, _)) = table.by_pid.iter().find(|(_, child)| child.ticket == ticket) {
            wait::send(*pid, signal, reach);
        }
    }

    fn export(&mut self, name: &str, value: &str) {
        self.environment.export(name, value);
    }
}

/// The reason why a program could not be started, in the original's sentences (row EX-7 of
/// docs/behaviour.md).
fn start_failure(program: &Word, error: &io::Error) -> StartFailure {
    let not_found = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    );
    let cause = if not_found && !program.0.contains(&b'/') {
        format!("exec: \"{program}\": executable file not found in $PATH")
    } else {
        format!("fork/exec {program}: {}", cause::in_kernel_words(error))
    };
    StartFailure { not_found, cause }
}

/// Reaps dead children, at most [`REAPED`]. Returns whether there may be more. One SIGCHLD may stand for many
/// children.
fn reap(table: &RefCell<Table>, inbox_sender: &InboxSender) -> bool {
    for _ in 0..REAPED {
        let Some((pid, status)) = wait::next_dead() else {
            return false;
        };
        match table.borrow_mut().remove(pid, inbox_sender) {
            Some(ticket) => inbox_sender.post(Event::Exited(ticket, status)),
            None => inbox_sender.post(Event::OrphanReaped(pid)),
        }
    }
    true
}

#[cfg(test)]
mod tests;
