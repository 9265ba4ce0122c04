//! Processes that outlive the child that started them, and the end of all that is left.

use super::Observer;
use super::lifecycle::OnceRun;
use domain::plan::Role;
use domain::process::Ending;
use domain::signal::Signal;
use domain::{Instant, Ticket};

/// The end of all processes that are left when everything else is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Remaining {
    /// When they were sent SIGTERM, and SIGKILL.
    pub termed: Option<Instant>,
    pub killed: Option<Instant>,
    /// No process is left.
    pub ended: bool,
}

impl Observer {
    /// Whether the application's own process is there, and not only processes that outlived it.
    pub(crate) fn application_runs(&self) -> bool {
        let OnceRun::Running(ticket) = self.application else {
            return false;
        };
        self.children.get(&ticket).is_some_and(|run| run.ended.is_none())
    }

    pub(super) fn outlived(&mut self, ticket: Ticket) {
        if let Some(run) = self.children.get_mut(&ticket) {
            run.outlived = true;
        }
    }

    /// A process ended. Its run ends with the last of the processes that outlive it.
    pub(super) fn exited(&mut self, ticket: Ticket, ending: &Ending) {
        let Some(run) = self.children.get_mut(&ticket).filter(|run| run.outlived) else {
            return self.ended(ticket, ending);
        };
        run.ended = Some(ending.clone());
        if run.role == Role::Application {
            self.code = Some(ending.code());
        }
    }

    pub(super) fn tree_ended(&mut self, ticket: Ticket) {
        let ended = self.children.get(&ticket).and_then(|run| run.ended.clone());
        if let Some(ending) = ended {
            self.ended(ticket, &ending);
        }
    }

    pub(super) fn sends_to_all(&mut self, signal: Signal) {
        let began = self.turn.began;
        if signal == Signal::KILL {
            self.remaining.killed.get_or_insert(began);
        } else {
            self.remaining.termed.get_or_insert(began);
            self.remaining.ended = false;
        }
    }
}

domain::keyed!(Remaining {
    termed,
    killed,
    ended
});
