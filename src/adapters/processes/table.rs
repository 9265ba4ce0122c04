//! The children that were not reaped, and the processes that outlived a child which was asked to stop.

use super::output::Reader;
use super::signaller::own_pid;
use super::snapshot::{Process, Snapshot};
use super::terminal::{self, Terminal};
use super::wait;
use crate::adapters::inbox::InboxSender;
use domain::process::{ExitStatus, Pid};
use domain::signal::Signal;
use domain::{Event, Ticket};
use nix::libc;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// How many pipes of finished children are read while other processes hold them open. (docs/bounds.md)
pub(super) const HELD: usize = 64;

/// Which process belongs to which run.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) by_pid: BTreeMap<Pid, Child>,
    /// The trees that outlived a child which was asked to stop.
    rests: BTreeMap<Ticket, Tree>,
    /// Whether [`Event::AllEnded`] is to be posted when no process is left.
    awaits_all: bool,
    /// Readers of pipes of finished children that other processes still hold open, oldest first.
    pub(super) readers: VecDeque<Reader>,
}

/// A child that was not reaped.
#[derive(Debug)]
pub(super) struct Child {
    ticket: Ticket,
    output: Option<Reader>,
    /// The terminal, if the child can use it.
    terminal: Option<Rc<Terminal>>,
    /// The members of its tree that were found when it was asked to stop.
    below: Vec<Process>,
    /// Whether its tree gets a signal, so that processes that outlive it have to be known.
    signalled: bool,
    /// Whether these processes are reported.
    reported: bool,
}

impl Child {
    fn is_to_be_killed(&self) -> bool {
        self.signalled && !self.reported
    }
}

/// A child that was reaped, and the processes that outlived it.
#[derive(Debug)]
struct Tree {
    leader: Pid,
    below: Vec<Process>,
}

impl Tree {
    /// Whether one of these processes has not ended. The kernel does not give the ID of a process group to another process
    /// while the group has a member.
    fn is_there(&self) -> bool {
        wait::is_group(self.leader) || self.below.iter().any(|process| process.is_there())
    }
}

impl Table {
    /// Adds a child that was started.
    pub fn insert(
        &mut self,
        pid: Pid,
        ticket: Ticket,
        output: Option<Reader>,
        terminal: Option<Rc<Terminal>>,
    ) {
        let child = Child {
            ticket,
            output,
            terminal,
            below: Vec::new(),
            signalled: false,
            reported: false,
        };
        self.by_pid.insert(pid, child);
    }

    /// The process of a run, if it was not reaped.
    pub fn pid(&self, ticket: Ticket) -> Option<Pid> {
        let mut children = self.by_pid.iter();
        children
            .find(|(_, child)| child.ticket == ticket)
            .map(|(pid, _)| *pid)
    }

    /// The children that can use the terminal.
    fn jobs(&self) -> impl Iterator<Item = (Pid, &Child, &Terminal)> {
        let children = self.by_pid.iter();
        children.filter_map(|(pid, child)| Some((*pid, child, child.terminal.as_deref()?)))
    }

    /// Posts which children were stopped by the terminal. One that waits for the foreground gets it at once if the shim has
    /// it. Without a shell that could give it to the shim, the child waits.
    pub fn post_stops(&self, inbox_sender: &InboxSender) {
        for (pid, child, terminal) in self.jobs() {
            let Some(signal) = wait::stopped(pid) else {
                continue;
            };
            let waits = matches!(signal.number(), libc::SIGTTIN | libc::SIGTTOU);
            // A shell that is the child stops itself with SIGSTOP (`suspend`); so does the shim, before it kills.
            let suspends = signal == Signal::STOP && !child.is_to_be_killed();
            if waits && terminal.give_to(pid) {
                wait::send_to_group(pid, Signal::CONT);
            } else if signal.number() == libc::SIGTSTP || ((waits || suspends) && terminal::is_under_shell())
            {
                inbox_sender.post(Event::Stopped(child.ticket));
            }
        }
    }

    /// Continues a child that can use the terminal, with its process group as a shell does, and gives it the foreground if
    /// the shim has it. Returns whether there is such a child.
    pub fn resume(&self, ticket: Ticket) -> bool {
        let mut jobs = self.jobs();
        let job = jobs.find(|(_, child, _)| child.ticket == ticket);
        job.map(|(pid, _, terminal)| {
            terminal.give_to(pid);
            wait::send_to_group(pid, Signal::CONT);
        })
        .is_some()
    }

    /// Takes the foreground of the terminal back from the children that can use it.
    pub fn release_terminal(&self) {
        self.jobs().for_each(|(pid, _, terminal)| terminal.take_from(pid));
    }

    fn child_mut(&mut self, ticket: Ticket) -> Option<&mut Child> {
        self.by_pid.values_mut().find(|child| child.ticket == ticket)
    }

    /// A child is going to get a signal with its tree. From now on processes that outlive it are reported; after SIGKILL, which they
    /// get as well, they are not.
    pub fn expect_signal(&mut self, ticket: Ticket, signal: Signal) {
        if let Some(child) = self.child_mut(ticket) {
            child.signalled = true;
            child.reported = signal != Signal::KILL;
        }
    }

    /// The tree of a child without the child itself, or the processes that outlived it.
    pub fn below(&self, ticket: Ticket, snapshot: &Snapshot) -> BTreeSet<Process> {
        if let Some(tree) = self.rests.get(&ticket) {
            return snapshot.below(tree.leader, &tree.below, own_pid());
        }
        let Some(leader) = self.pid(ticket) else {
            return BTreeSet::new();
        };
        let known = self.by_pid.get(&leader).map(|child| child.below.as_slice());
        snapshot.below(leader, known.unwrap_or_default(), own_pid())
    }

    /// Stores the members of the tree of a child that is to stop, or of one that was reaped.
    pub fn note(&mut self, ticket: Ticket, found: &BTreeSet<Process>) {
        let noted = match self.rests.get_mut(&ticket) {
            Some(tree) => Some(&mut tree.below),
            None => self.child_mut(ticket).map(|child| &mut child.below),
        };
        if let Some(noted) = noted {
            noted.retain(|process| !found.contains(process) && process.is_there());
            noted.extend(found);
        }
    }

    /// Removes a child that was reaped, and posts the events that follow from it.
    pub fn reaped(&mut self, pid: Pid, status: ExitStatus, inbox_sender: &InboxSender) {
        let Some(child) = self.by_pid.remove(&pid) else {
            return inbox_sender.post(Event::OrphanReaped(pid));
        };
        let ticket = child.ticket;
        if let Some(terminal) = &child.terminal {
            terminal.take_from(pid);
        }
        if let Some(output) = child.output {
            if let Some(text) = output.on_reaped() {
                inbox_sender.post(Event::Printed(ticket, text));
            }
            self.read_on(output);
        }
        let tree = Tree {
            leader: pid,
            below: child.below,
        };
        if child.signalled && tree.is_there() {
            if child.reported {
                inbox_sender.post(Event::Outlived(ticket));
            }
            self.rests.insert(ticket, tree);
        }
        inbox_sender.post(Event::Exited(ticket, status));
    }

    /// Posts which trees have ended, and whether no process is left, if [`Self::await_all`] was called.
    pub fn post_ends(&mut self, inbox_sender: &InboxSender) {
        self.rests.retain(|ticket, tree| {
            let is_there = tree.is_there();
            if !is_there {
                inbox_sender.post(Event::TreeEnded(*ticket));
            }
            is_there
        });
        if self.awaits_all && wait::none_is_left() {
            self.awaits_all = false;
            inbox_sender.post(Event::AllEnded);
        }
    }

    /// Makes [`Self::post_ends`] post once that no process is left.
    pub fn await_all(&mut self) {
        self.awaits_all = true;
    }

    /// Whether that has not been posted yet.
    pub fn awaits_all(&self) -> bool {
        self.awaits_all
    }

    /// Removes and returns the readers of all pipes.
    pub fn take_readers(&mut self) -> VecDeque<Reader> {
        let mut readers = std::mem::take(&mut self.readers);
        readers.extend(self.by_pid.values_mut().filter_map(|child| child.output.take()));
        readers
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
