//! A job and its process: turns what [`Runs`] decides into effects.

use super::outbox::{Outbox, Parent, SIGKILL, SIGTERM};
use crate::event::{Ending, Ticket};
use crate::job::{Action, Runs};
use crate::notice::Notice;
use crate::plan::{Job, Reach, Role};
use crate::time::{Chance, Instant};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Worker {
    pub job: Job,
    runs: Runs,
    parent: Parent,
    ticket: Option<Ticket>,
}

impl Worker {
    pub fn new(now: Instant, parent: Parent, job: &Job, chance: Chance) -> Self {
        Self {
            job: job.clone(),
            runs: Runs::new(now, job, chance),
            parent,
            ticket: None,
        }
    }

    pub fn is_running(&self) -> bool {
        self.runs.is_running()
    }

    pub fn is_coprocess(&self) -> bool {
        matches!(self.job.role, Role::Coprocess { .. })
    }

    /// The ticket of its process, if it has one.
    pub fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.runs.deadline()
    }

    pub fn start(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.runs.start(now);
        self.perform(action, out);
    }

    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.runs.on_time(now);
        self.perform(action, out);
    }

    pub fn on_ended(&mut self, now: Instant, ending: &Ending, out: &mut Outbox) {
        self.ticket = None;
        let (role, ending) = (self.job.role.clone(), ending.clone());
        out.tell(if self.runs.is_stopping() {
            Notice::Stopped(role, ending)
        } else {
            Notice::Ended(role, ending)
        });
        let action = self.runs.on_ended(now);
        if let Some(until) = self.runs.resting_until() {
            out.tell(Notice::RestartDelayed(self.job.role.clone(), until - now));
        }
        self.perform(action, out);
    }

    /// Asks it to stop, and kills it after the grace its job gives it.
    pub fn stop(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.runs.stop(now);
        self.perform(action, out);
    }

    /// Kills it.
    pub fn end(&mut self, out: &mut Outbox) {
        let action = self.runs.end();
        self.perform(action, out);
    }

    pub fn pause(&mut self) {
        self.runs.pause();
    }

    pub fn resume(&mut self, now: Instant) {
        self.runs.resume(now);
    }

    /// Sends its process a signal, if it has one.
    pub fn send(&self, signal: i32, reach: Reach, out: &mut Outbox) {
        if let Some(ticket) = self.ticket {
            out.send(ticket, signal, reach);
        }
    }

    fn perform(&mut self, action: Option<Action>, out: &mut Outbox) {
        match action {
            Some(Action::Start) => self.ticket = Some(out.start(self.parent, &self.job)),
            Some(Action::Terminate) => self.send(SIGTERM, self.job.stop.reach, out),
            Some(Action::Kill) => self.send(SIGKILL, Reach::Group, out),
            Some(Action::Expire) => self.expire(out),
            None => {}
        }
    }

    fn expire(&self, out: &mut Outbox) {
        let role = self.job.role.clone();
        if let Some(limit) = self.job.time_limit {
            let command = self.job.command.clone();
            out.tell(Notice::TimedOut {
                role: role.clone(),
                limit,
                command,
            });
        }
        out.tell(Notice::Killing(role));
        self.send(SIGKILL, Reach::Group, out);
    }
}
