//! The only module that uses fork, kill and wait.
//!
//! The thread that starts children also reaps them. A child is in the table before the loop continues, so a
//! child that ends at once is found there; a reaped process that is not in the table is an orphan that the
//! kernel assigned to the shim. No process is signalled after it was reaped. No other code of the program
//! waits for children, so no exit status is lost.
//!
//! Children are started directly, without a shell, each in its own process group, with `/dev/null` as
//! standard input, except the application, which has that of the shim (EX-1). They inherit the working directory, IDs and limits of the shim, except the limit on
//! open files, which is the one that the shim was started with.

mod fork;
mod identity;
mod inherited;
pub mod mask;
mod output;
pub mod pending;
mod signaller;
mod snapshot;
mod spawn;
mod table;
mod terminal;
mod wait;

pub use fork::files_of as program_files;
pub use identity::{Capabilities, capabilities};
pub use inherited::{check_reserve, keep_descriptors_from_children};

use crate::adapters::console::Console;
use crate::adapters::descriptors::OpenFiles;
use crate::adapters::environment::Environment;
use crate::adapters::inbox::InboxSender;
use crate::adapters::tasks::spawn_local;
use crate::adapters::turns::Turns;
use crate::cause;
use crate::ports::Processes;
use domain::Ticket;
use domain::plan::{Job, SignalTarget, Word};
use domain::process::{Pid, StartFailure};
use domain::signal::Signal;
use nix::sys::prctl;
use output::{Capture, Reader, Readers};
use signaller::{Receiver, Signaller, own_pid};
use spawn::Spawner;
use std::cell::RefCell;
use std::io;
use std::process;
use std::rc::Rc;
use std::time::Duration;
use table::Table;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

/// How many ended children and orphans are reaped in one round of the loop. (docs/bounds.md)
const REAPED: usize = 64;
/// The time between two looks for processes of the namespace that are not descendants. (docs/bounds.md)
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(10);

/// The children of the shim. Runs on a tokio `LocalSet`.
#[derive(Debug)]
pub struct Children {
    environment: Environment,
    spawner: Spawner,
    table: Rc<RefCell<Table>>,
    signaller: Rc<Signaller>,
    readers: Readers,
    inbox_sender: InboxSender,
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
        let signaller = Rc::new(Signaller::default());
        let readers = Readers::new(console, Turns::new(inbox_sender.clone()));
        let (dead, posted) = (Rc::clone(&table), inbox_sender.clone());
        inbox_sender.rely_on(async move {
            loop {
                died.notified().await;
                while reap(&dead, &posted) {
                    yield_now().await;
                }
            }
        });
        let (signalled, requests) = (Rc::clone(&table), Rc::clone(&signaller));
        let turns = Turns::new(inbox_sender.clone());
        inbox_sender.rely_on(async move { requests.run(&signalled, &turns).await });
        Ok(Self {
            environment,
            spawner,
            table,
            signaller,
            readers,
            inbox_sender,
        })
    }

    /// Waits until all signals have been sent and the output of finished children has been logged, for a short time at
    /// most.
    pub async fn finish(&self) {
        self.signaller.finish().await;
        let readers = self.table.borrow_mut().take_readers();
        Reader::finish(readers).await;
    }

    /// Posts [`domain::Event::AllEnded`] as soon as no process is left. The kernel does not report the end of a process that
    /// entered the namespace of which the shim is PID 1, so it is looked for.
    fn await_all(&self) {
        let (table, inbox_sender) = (Rc::clone(&self.table), self.inbox_sender.clone());
        let already = table.borrow().awaits_all();
        table.borrow_mut().await_all();
        table.borrow_mut().post_ends(&inbox_sender);
        if own_pid().0 != 1 || already {
            return;
        }
        spawn_local(async move {
            while table.borrow().awaits_all() {
                sleep(LOOK_FOR_OTHERS).await;
                table.borrow_mut().post_ends(&inbox_sender);
            }
        });
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
        if job.identity.is_some() {
            output::let_others_open_own();
        }
        let spawned = self.spawner.spawn(job, &self.environment, capture.as_ref());
        let spawned = spawned.map_err(failure)?;
        // From here on nothing can fail: a running process is always in the table.
        let output = capture.map(|capture| capture.read(job, &self.readers));
        let terminal = self.spawner.terminal.clone().filter(|_| spawned.uses_terminal);
        self.table
            .borrow_mut()
            .insert(spawned.pid, ticket, output, terminal);
        Ok(spawned.pid)
    }

    fn send(&mut self, ticket: Ticket, signal: Signal, target: SignalTarget) {
        if signal == Signal::CONT && self.table.borrow().resume(ticket) {
            return;
        }
        if target == SignalTarget::Process {
            if let Some(pid) = self.table.borrow().pid(ticket) {
                wait::send(pid, signal);
            }
            return;
        }
        self.table.borrow_mut().expect_signal(ticket, signal);
        self.signaller.request(Receiver::Child(ticket, target), signal);
    }

    fn send_to_all(&mut self, signal: Signal) {
        self.await_all();
        if self.table.borrow().awaits_all() {
            self.signaller.request(Receiver::All, signal);
        }
    }

    fn suspend(&mut self) {
        if let Some(terminal) = &self.spawner.terminal {
            self.table.borrow().release_terminal();
            terminal.suspend();
        }
    }

    fn export(&mut self, name: &str, value: &str) {
        self.environment.export(name, value);
    }
}

/// The reason why a program could not be started, in the original's sentences (row EX-7 of
/// docs/development/behaviour.md).
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

/// Reaps ended children, at most [`REAPED`]. Returns whether there may be more. One SIGCHLD may be for many
/// children.
fn reap(table: &RefCell<Table>, inbox_sender: &InboxSender) -> bool {
    for _ in 0..REAPED {
        let Some((pid, status)) = wait::next_dead() else {
            table.borrow().post_stops(inbox_sender);
            table.borrow_mut().post_ends(inbox_sender);
            return false;
        };
        table.borrow_mut().reaped(pid, status, inbox_sender);
    }
    true
}

#[cfg(test)]
mod tests;
