//! The unit of one job: the application, a hook, a task or a coprocess.

use super::id::UnitId;
use super::outbox::Outbox;
use super::runner::JobRunner;
use super::unit::Unit;
use crate::event::Ticket;
use crate::plan::{Job, Lifetime, SignalTarget, Trigger};
use crate::process::Ending;
use crate::signal::Signal;
use crate::status::JobStatus;
use crate::time::{Instant, Jitter};

/// A job that no other unit starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobUnit {
    runner: JobRunner,
}

impl JobUnit {
    pub fn new(now: Instant, id: UnitId, job: &Job, jitter: Jitter) -> Self {
        Self {
            runner: JobRunner::new(now, id, job, jitter),
        }
    }

    pub fn runner(&self) -> &JobRunner {
        &self.runner
    }

    pub fn start(&mut self, now: Instant, out: &mut Outbox) {
        self.runner.start(now, out);
    }

    /// Kills its process; it is not started again.
    pub fn end(&mut self, out: &mut Outbox) {
        self.runner.end(out);
    }

    /// Sends its process a signal, if it has one.
    pub fn send(&self, signal: Signal, reach: SignalTarget, out: &mut Outbox) {
        self.runner.send(signal, reach, out);
    }

    pub fn status(&self, out: &Outbox) -> JobStatus {
        self.runner.status(out)
    }

    /// Whether ticks start its runs.
    fn is_periodic(&self) -> bool {
        matches!(self.runner.job.trigger, Trigger::Every(_))
    }

    /// Whether its process runs, or will be started again.
    pub fn runs_on(&self) -> bool {
        self.runner.runs_on()
    }

    /// Sends its stop signal to its process, which is not started again; its SIGKILL is left to the lifecycle. Returns whether
    /// there is a process.
    pub fn ask_to_stop(&mut self, out: &mut Outbox) -> bool {
        self.runner.end_restarts();
        self.runner.ask_to_stop(self.runner.job.stop.reach, out);
        self.runner.is_running()
    }
}

impl Unit for JobUnit {
    fn deadline(&self) -> Option<Instant> {
        self.runner.deadline()
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        self.runner.on_time(now, out);
    }

    fn after_standstill(&mut self, now: Instant) {
        self.runner.after_standstill(now);
    }

    fn on_tree_ended(&mut self) {
        self.runner.on_tree_ended();
    }

    fn on_ended(&mut self, now: Instant, _ticket: Ticket, ending: &Ending, outlived: bool, out: &mut Outbox) {
        self.runner.on_ended(now, ending, outlived, out);
    }

    fn pause(&mut self, _now: Instant, _out: &mut Outbox) {
        if self.is_periodic() {
            self.runner.pause();
        }
    }

    fn resume(&mut self, now: Instant, _out: &mut Outbox) {
        if self.is_periodic() {
            self.runner.resume(now);
        }
    }

    fn close(&mut self, _now: Instant, out: &mut Outbox) {
        match self.runner.job.lifetime {
            Lifetime::UntilStop => self.runner.end(out),
            Lifetime::UntilExit => {}
        }
    }

    fn terminate(&mut self, now: Instant, out: &mut Outbox) {
        self.runner.stop(now, out);
    }

    fn is_closing(&self) -> bool {
        self.runner.is_closing()
    }

    fn delays_plan(&self) -> bool {
        self.is_closing() && self.runner.is_running()
    }
}

crate::keyed!(JobUnit { runner });
