//! Sends signals to trees of processes: a child, its process group and all of its descendants.
//!
//! One [`Snapshot`] serves all requests that wait at that time, so a thousand checks that reach their time limit at once
//! cost as much as one. Requests are carried out in order, some milliseconds after they were made.
//!
//! A tree that is to be killed gets SIGSTOP first, so that it starts no more processes, and the processes are read again
//! until no new member is found.

use super::snapshot::{Process, Scope, Snapshot};
use super::{Table, wait};
use crate::adapters::turns::Turns;
use crate::panics;
use domain::Ticket;
use domain::plan::SignalTarget;
use domain::process::Pid;
use domain::signal::Signal;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::mem;
use std::process;
use tokio::sync::Notify;

/// How often the processes are read for one kill, until no new ones are found (docs/bounds.md).
const READS: usize = 8;

/// The receiver of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A child, or the processes of its tree that outlived it.
    Child(Ticket, SignalTarget),
    /// All descendants of the shim; as PID 1 all other processes of its namespace.
    All,
}

/// A signal that is to be sent.
#[derive(Debug)]
pub(super) struct Request {
    receiver: Receiver,
    signal: Signal,
    /// The processes of the tree that were found, without the child itself.
    found: BTreeSet<Process>,
}

/// The signals that are to be sent, in order.
#[derive(Debug, Default)]
pub struct Signaller {
    requests: RefCell<Vec<Request>>,
    requested: Notify,
    busy: Cell<bool>,
    idle: Notify,
}

impl Signaller {
    /// Adds a signal. SIGKILL for all processes of a namespace is sent immediately, because the kernel reaches them all in
    /// one call.
    pub fn request(&self, receiver: Receiver, signal: Signal) {
        if receiver == Receiver::All && signal == Signal::KILL && own_pid().0 == 1 {
            wait::send_to_all(signal);
            return;
        }
        let found = BTreeSet::new();
        self.requests.borrow_mut().push(Request {
            receiver,
            signal,
            found,
        });
        self.requested.notify_one();
    }

    /// Sends the signals that are added, without end.
    pub async fn run(&self, table: &RefCell<Table>, turns: &Turns) {
        loop {
            self.requested.notified().await;
            self.serve(table, async |requests: &mut [Request]| {
                find(requests, table, turns).await
            })
            .await;
        }
    }

    /// Sends the signals that wait. If `find` panics, those processes get them that were found before, and the process
    /// groups.
    pub(super) async fn serve(
        &self,
        table: &RefCell<Table>,
        find: impl AsyncFnOnce(&mut [Request]) -> Snapshot,
    ) {
        self.busy.set(true);
        let mut requests = mem::take(&mut *self.requests.borrow_mut());
        let found = panics::caught(find(&mut requests)).await;
        let snapshot = found.unwrap_or_default();
        // A process that belongs to the trees of two requests gets the signal once.
        let mut sent = BTreeSet::new();
        for request in requests {
            request.send(&snapshot, &mut table.borrow_mut(), &mut sent);
        }
        self.busy.set(false);
        self.idle.notify_waiters();
    }

    /// Waits until all signals have been sent.
    pub async fn finish(&self) {
        while self.busy.get() || !self.requests.borrow().is_empty() {
            self.idle.notified().await;
        }
    }
}

/// Finds the receivers of all requests.
async fn find(requests: &mut [Request], table: &RefCell<Table>, turns: &Turns) -> Snapshot {
    for request in &*requests {
        request.stop_leader(&table.borrow());
    }
    let mut snapshot = Snapshot::default();
    let of_namespace = |request: &Request| request.receiver == Receiver::All && own_pid().0 == 1;
    let scope = match requests.iter().any(of_namespace) {
        true => Scope::Namespace,
        false => Scope::Descendants,
    };
    let reads = if requests.is_empty() { 0 } else { READS };
    for _ in 0..reads {
        snapshot = Snapshot::take(scope, turns).await;
        let mut again = false;
        for request in &mut *requests {
            again |= request.find(&snapshot, &table.borrow());
        }
        if !again {
            break;
        }
    }
    snapshot
}

impl Request {
    fn kills(&self) -> bool {
        self.signal == Signal::KILL
    }

    /// The process of the child, if it has not been reaped.
    fn leader(&self, table: &Table) -> Option<Pid> {
        match self.receiver {
            Receiver::Child(ticket, _) => table.pid(ticket),
            Receiver::All => None,
        }
    }

    fn stop_leader(&self, table: &Table) {
        if self.kills()
            && let Some(leader) = self.leader(table)
        {
            wait::send(leader, Signal::STOP);
        }
    }

    /// Adds the members of the tree in this snapshot. Returns whether the processes have to be read again, because a
    /// tree that is to be killed had new members.
    fn find(&mut self, snapshot: &Snapshot, table: &Table) -> bool {
        let below = match self.receiver {
            Receiver::Child(ticket, _) => table.below(ticket, snapshot),
            Receiver::All if own_pid().0 == 1 => snapshot.all_but(1),
            Receiver::All => snapshot.below(own_pid(), &[], own_pid()),
        };
        let mut new = false;
        for process in below {
            if self.found.insert(process) && self.kills() {
                process.send(Signal::STOP);
                new = true;
            }
        }
        new
    }

    fn send(self, snapshot: &Snapshot, table: &mut Table, sent: &mut BTreeSet<(i32, Signal)>) {
        let leader = self.leader(table);
        let alone = match self.receiver {
            Receiver::Child(ticket, target) => {
                table.note(ticket, &self.found);
                target != SignalTarget::Tree
            }
            Receiver::All if snapshot.is_empty() && own_pid().0 == 1 => {
                wait::send_to_all(self.signal);
                return;
            }
            Receiver::All => false,
        };
        if let Some(leader) = leader {
            let once = sent.insert((leader.0, self.signal));
            if alone && once {
                wait::send(leader, self.signal);
            } else if once {
                wait::send_to_group(leader, self.signal);
                let members = self
                    .found
                    .iter()
                    .filter(|process| snapshot.is_in_group(**process, leader));
                sent.extend(members.map(|process| (process.pid, self.signal)));
            }
        }
        if !alone {
            let receivers = self.found.iter();
            receivers
                .filter(|process| sent.insert((process.pid, self.signal)))
                .for_each(|process| process.send(self.signal));
        }
    }
}

/// The ID of the shim's own process.
pub fn own_pid() -> Pid {
    Pid(process::id().cast_signed())
}
