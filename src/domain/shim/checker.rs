//! The health check of one service and its present run: a command, or a probe.
//!
//! A command has a process, which a [`JobRunner`] starts and kills. A probe has none: it is one effect and the event that
//! answers it within its time limit. When a check runs, and what follows from its result, is decided elsewhere.

use super::id::UnitId;
use super::outbox::Outbox;
use super::runner::JobRunner;
use crate::event::Ticket;
use crate::measurement::{Measurement, RunResult};
use crate::notice::Notice;
use crate::plan::Check;
use crate::probe::{Probe, Verdict};
use crate::process::Ending;
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::status::{JobStatus, Run};
use crate::time::{Instant, Jitter};
use alloc::string::String;

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    clippy::large_enum_variant,
    reason = "most checks are commands, which are the larger ones"
)]
pub(super) enum Checker {
    Command(JobRunner),
    Probe(ProbeRunner),
}

impl Checker {
    pub fn new(now: Instant, owner: UnitId, check: &Check, jitter: Jitter) -> Self {
        match check {
            Check::Command(job) => Self::Command(JobRunner::new(now, owner, job, jitter)),
            Check::Probe(probe) => Self::Probe(ProbeRunner::new(now, owner, probe)),
        }
    }

    pub fn start(&mut self, now: Instant, out: &mut Outbox) {
        match self {
            Self::Command(runner) => runner.start(now, out),
            Self::Probe(runner) => runner.start(now, out),
        }
    }

    /// Whether its process runs. A probe that is ended ends at once.
    pub fn is_running(&self) -> bool {
        match self {
            Self::Command(runner) => runner.is_running(),
            Self::Probe(_) => false,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Command(runner) => runner.deadline(),
            Self::Probe(_) => None,
        }
    }

    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        if let Self::Command(runner) = self {
            runner.on_time(now, out);
        }
    }

    pub fn after_standstill(&mut self, now: Instant) {
        if let Self::Command(runner) = self {
            runner.after_standstill(now);
        }
    }

    /// Whether the run with this ticket is its present one.
    pub fn owns(&self, ticket: Ticket) -> bool {
        match self {
            Self::Command(runner) => runner.ticket() == Some(ticket),
            Self::Probe(runner) => runner.is_running && runner.ticket == Some(ticket),
        }
    }

    /// Keeps the end of what the run wrote, or the beginning of the answer, for its result.
    pub fn keep_output(&mut self, text: String) {
        match self {
            Self::Command(runner) => runner.keep_output(text),
            Self::Probe(runner) => runner.answer = text,
        }
    }

    /// The run has ended.
    pub fn on_ended(&mut self, now: Instant, ending: &Ending, out: &mut Outbox) {
        match self {
            Self::Command(runner) => runner.on_ended(now, ending, false, out),
            Self::Probe(runner) => runner.on_ended(now, ending, out),
        }
    }

    /// Kills the command, or cancels the probe and closes its connection.
    pub fn end(&mut self, out: &mut Outbox) {
        match self {
            Self::Command(runner) => runner.end(out),
            Self::Probe(runner) => drop(runner.end(out)),
        }
    }

    /// If it is a probe, cancels it and closes its connection. Returns whether a run was cancelled.
    pub fn cancel_probe(&mut self, out: &mut Outbox) -> bool {
        match self {
            Self::Command(_) => false,
            Self::Probe(runner) => runner.end(out),
        }
    }

    /// The run that ended last.
    pub fn last(&self) -> Option<&Run> {
        match self {
            Self::Command(runner) => runner.last(),
            Self::Probe(runner) => runner.last.as_ref(),
        }
    }

    pub fn status(&self, out: &Outbox) -> JobStatus {
        match self {
            Self::Command(runner) => runner.status(out),
            Self::Probe(runner) => JobStatus {
                role: runner.probe.role.clone(),
                pid: None,
                restarts: 0,
                last: runner.last.clone(),
            },
        }
    }
}

/// A probe and its run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ProbeRunner {
    probe: Probe,
    owner: UnitId,
    /// The run in progress, or the last one, whose connection may be kept.
    ticket: Option<Ticket>,
    is_running: bool,
    started: Instant,
    answer: String,
    last: Option<Run>,
}

impl ProbeRunner {
    fn new(now: Instant, owner: UnitId, probe: &Probe) -> Self {
        Self {
            probe: probe.clone(),
            owner,
            ticket: None,
            is_running: false,
            started: now,
            answer: String::new(),
            last: None,
        }
    }

    fn start(&mut self, now: Instant, out: &mut Outbox) {
        self.started = now;
        self.is_running = true;
        self.ticket = Some(out.probe(self.owner, &self.probe));
    }

    fn on_ended(&mut self, now: Instant, ending: &Ending, out: &mut Outbox) {
        self.is_running = false;
        let run = Run {
            ended: now,
            took: now - self.started,
            result: match ending {
                Ending::Probed(end) if end.verdict == Verdict::TimedOut => RunResult::TimedOut,
                _ if ending.passed() => RunResult::Passed,
                _ => RunResult::Failed,
            },
            ending: ending.clone(),
            output: core::mem::take(&mut self.answer),
        };
        let role = self.probe.role.clone();
        out.measure(Measurement::Ran {
            role: role.clone(),
            result: run.result,
            took: run.took,
        });
        let is_new = self.last.as_ref().is_none_or(|last| last.output != run.output);
        if !ending.passed() && is_new && !run.output.is_empty() {
            out.log(Notice::Answer(role.clone(), run.output.clone()));
        }
        out.log(Notice::Ended(role, run.ending.clone()));
        self.last = Some(run);
    }

    /// Cancels the run, or closes the connection of the last one. Returns whether one was cancelled.
    fn end(&mut self, out: &mut Outbox) -> bool {
        if let Some(ticket) = self.ticket.take() {
            out.end_probe(ticket);
        }
        core::mem::take(&mut self.is_running)
    }
}

impl Keyed for Checker {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Command(runner) => runner.write_key(key),
            Self::Probe(runner) => runner.write_key(key),
        }
    }
}

/// Left out: the last run, except whether it passed.
impl Keyed for ProbeRunner {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self {
            probe,
            owner,
            ticket,
            is_running,
            started: _,
            answer,
            last,
        } = self;
        probe.write_key(key);
        owner.write_key(key);
        ticket.write_key(key);
        is_running.write_key(key);
        answer.write_key(key);
        last.as_ref().map(|run| run.ending.passed()).write_key(key);
    }
}
