//! The commands that a service has for changes of its health, and their children.
//!
//! When they run is decided by [`Reactions`]; what they get is decided here.

use super::id::UnitId;
use super::outbox::Outbox;
use super::runner::JobRunner;
use crate::check::Health;
use crate::event::Ticket;
use crate::notice::Notice;
use crate::plan::{HealthActions, Variable};
use crate::process::Ending;
use crate::reaction::{Reactions, Side};
use crate::status::JobStatus;
use crate::time::{Instant, Jitter, earliest};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// The commands of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HealthReactions {
    service: String,
    on_unhealthy: Option<Box<JobRunner>>,
    on_healthy: Option<Box<JobRunner>>,
    reactions: Reactions,
    /// The result of the check by which the health changed last.
    reason: String,
}

impl HealthReactions {
    pub fn new(
        now: Instant,
        id: UnitId,
        service: &str,
        actions: &HealthActions,
        paused: bool,
        mut jitter: Jitter,
    ) -> Self {
        let mut runner = |job: &Option<Box<_>>| {
            let jitter = jitter.split();
            job.as_ref()
                .map(|job| Box::new(JobRunner::new(now, id, job, jitter)))
        };
        let (on_unhealthy, on_healthy) = (runner(&actions.on_unhealthy), runner(&actions.on_healthy));
        let reactions = Reactions::new(on_unhealthy.is_some(), on_healthy.is_some(), paused, jitter);
        Self {
            service: service.into(),
            on_unhealthy,
            on_healthy,
            reactions,
            reason: String::new(),
        }
    }

    fn runners(&self) -> impl Iterator<Item = &JobRunner> {
        [&self.on_unhealthy, &self.on_healthy]
            .into_iter()
            .flatten()
            .map(Box::as_ref)
    }

    fn runners_mut(&mut self) -> impl Iterator<Item = &mut JobRunner> {
        [&mut self.on_unhealthy, &mut self.on_healthy]
            .into_iter()
            .flatten()
            .map(Box::as_mut)
    }

    fn runner_of(&mut self, ticket: Ticket) -> Option<&mut JobRunner> {
        self.runners_mut().find(|runner| runner.ticket() == Some(ticket))
    }

    pub fn status(&self, out: &Outbox) -> impl Iterator<Item = JobStatus> {
        self.runners().map(|runner| runner.status(out))
    }

    pub fn deadline(&self) -> Option<Instant> {
        let runners = self.runners().map(JobRunner::deadline);
        runners.fold(self.reactions.deadline(), earliest)
    }

    /// Whether one of its commands runs.
    pub fn is_running(&self) -> bool {
        self.runners().any(JobRunner::is_running)
    }

    /// Whether this child is one of its commands.
    pub fn owns(&self, ticket: Ticket) -> bool {
        self.runners().any(|runner| runner.ticket() == Some(ticket))
    }

    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        self.runners_mut().for_each(|runner| runner.on_time(now, out));
        let due = self.reactions.on_time(now);
        self.start(now, due, out);
    }

    pub fn after_standstill(&mut self, now: Instant) {
        self.runners_mut().for_each(|runner| runner.after_standstill(now));
    }

    /// A result of the check that counts: the health after it, and how to describe it. Without commands nothing is kept.
    pub fn on_health(
        &mut self,
        now: Instant,
        health: Health,
        reason: impl FnOnce() -> String,
        out: &mut Outbox,
    ) {
        if self.runners().next().is_none() {
            return;
        }
        let side = match health {
            Health::Unknown => return,
            Health::Healthy => Side::Healthy,
            Health::Unhealthy => Side::Unhealthy,
        };
        if side != self.reactions.latest() {
            self.reason = reason();
        }
        let due = self.reactions.on_health(now, side);
        self.start(now, due, out);
    }

    pub fn on_printed(&mut self, ticket: Ticket, text: String) {
        if let Some(runner) = self.runner_of(ticket) {
            runner.keep_output(text);
        }
    }

    /// One of its commands ended, or could not be started.
    pub fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending, out: &mut Outbox) {
        let Some(runner) = self.runner_of(ticket) else {
            return;
        };
        runner.on_ended(now, ending, false, out);
        let role = runner.job.role.clone();
        if let Ending::Exited(_) = ending {
            let due = self.reactions.on_ended(now);
            return self.start(now, due, out);
        }
        let first = !self.reactions.has_failed();
        let delay = self.reactions.on_not_started(now);
        if first && self.reactions.waits() {
            out.log(Notice::StartRetried(role, delay));
        }
    }

    pub fn pause(&mut self) {
        self.reactions.pause();
    }

    pub fn resume(&mut self) {
        self.reactions.resume();
    }

    /// Kills a command that runs, and starts no other (LC-5).
    pub fn end(&mut self, out: &mut Outbox) {
        self.reactions.pause();
        self.runners_mut().for_each(|runner| runner.end(out));
    }

    fn start(&mut self, now: Instant, due: Option<Side>, out: &mut Outbox) {
        let (runner, health) = match due {
            Some(Side::Unhealthy) => (&mut self.on_unhealthy, "unhealthy"),
            Some(Side::Healthy) => (&mut self.on_healthy, "healthy"),
            None => return,
        };
        let variables = Vec::from([
            Variable::new("CONTAINERPILOT_SERVICE", &self.service),
            Variable::new("CONTAINERPILOT_HEALTH", health),
            Variable::new("CONTAINERPILOT_REASON", &self.reason),
        ]);
        if let Some(runner) = runner {
            runner.start_with(now, variables, out);
        }
    }
}

crate::keyed!(HealthReactions {
    service,
    on_unhealthy,
    on_healthy,
    reactions,
    reason
});
