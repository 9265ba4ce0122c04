//! A job and its process: turns what [`JobState`] decides into effects.

use super::id::UnitId;
use super::outbox::Outbox;
use crate::causes::shortened;
use crate::event::Ticket;
use crate::failures::Failures;
use crate::job::{Action, JobState};
use crate::measurement::{Measurement, RunResult};
use crate::notice::Notice;
use crate::plan::{Job, SignalTarget, Trigger, Variable};
use crate::process::Ending;
use crate::signal::Signal;
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::status::{JobStatus, Run};
use crate::time::{Instant, Jitter};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A job, its state and its process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobRunner {
    pub job: Job,
    runs: JobState,
    owner: UnitId,
    process: Option<Process>,
    started: Instant,
    restarts: u64,
    printed: String,
    last: Option<Run>,
    start_failures: Failures,
}

/// The process of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Process {
    Running(Ticket),
    /// It has ended, and processes that it started have not.
    Outlived(Ticket),
}

impl JobRunner {
    pub fn new(now: Instant, owner: UnitId, job: &Job, jitter: Jitter) -> Self {
        Self {
            job: job.clone(),
            runs: JobState::new(now, job, jitter),
            owner,
            process: None,
            started: now,
            restarts: 0,
            printed: String::new(),
            last: None,
            start_failures: Failures::default(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.runs.is_running()
    }

    /// Whether its process runs, or will be started again.
    pub fn runs_on(&self) -> bool {
        self.runs.runs_on()
    }

    /// The run in progress is the last one.
    pub fn end_restarts(&mut self) {
        self.runs.end_restarts();
    }

    /// Whether it was killed or got its stop signal; it is not started again.
    pub fn is_closing(&self) -> bool {
        self.runs.is_closing()
    }

    /// The ticket of its process, if it has one.
    pub fn ticket(&self) -> Option<Ticket> {
        match self.process {
            Some(Process::Running(ticket)) => Some(ticket),
            Some(Process::Outlived(_)) | None => None,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.runs.deadline()
    }

    /// The run that ended last.
    pub fn last(&self) -> Option<&Run> {
        self.last.as_ref()
    }

    pub fn status(&self, out: &Outbox) -> JobStatus {
        JobStatus {
            role: self.job.role.clone(),
            pid: self.ticket().and_then(|ticket| out.pid(ticket)),
            restarts: self.restarts,
            last: self.last.clone(),
        }
    }

    pub fn start(&mut self, now: Instant, out: &mut Outbox) {
        self.start_with(now, Vec::new(), out);
    }

    /// Starts a run with these variables in its environment, unless one is in progress or the job is over.
    pub fn start_with(&mut self, now: Instant, variables: Vec<Variable>, out: &mut Outbox) {
        self.start_reading(now, variables, None, out);
    }

    /// As [`Self::start_with`]; the run reads the text on its standard input.
    pub fn start_reading(
        &mut self,
        now: Instant,
        variables: Vec<Variable>,
        text: Option<String>,
        out: &mut Outbox,
    ) {
        let action = self.runs.start(now);
        self.job.variables = variables;
        self.job.text = text;
        self.perform(now, action, out);
        // They are those of this run only, and no part of the state.
        self.job.variables = Vec::new();
        self.job.text = None;
    }

    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.runs.on_time(now);
        self.perform(now, action, out);
    }

    pub fn after_standstill(&mut self, now: Instant) {
        self.runs.after_standstill(now);
    }

    /// Keeps the end of what the run wrote for its result.
    pub fn keep_output(&mut self, text: String) {
        self.printed = text;
    }

    /// Its process ended or could not be started; processes that it started may have `outlived` it.
    pub fn on_ended(&mut self, now: Instant, ending: &Ending, outlived: bool, out: &mut Outbox) {
        self.process = self.ticket().filter(|_| outlived).map(Process::Outlived);
        let run = Run {
            ended: now,
            took: now - self.started,
            result: self.result(ending),
            ending: ending.clone(),
            output: core::mem::take(&mut self.printed),
        };
        out.measure(Measurement::Ran {
            role: self.job.role.clone(),
            result: run.result,
            took: run.took,
        });
        self.log_end(&run, out);
        self.last = Some(run);
        let action = self.runs.on_ended(now, outlived);
        if let Some(until) = self.runs.restart_at() {
            out.log(Notice::RestartDelayed(self.job.role.clone(), until - now));
        }
        self.perform(now, action, out);
    }

    /// The processes that outlived it have ended.
    pub fn on_tree_ended(&mut self) {
        self.process = None;
        self.runs.on_tree_ended();
    }

    /// Sends it the stop signal, and kills it after the grace of its job.
    pub fn stop(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.runs.stop(now);
        self.perform(now, action, out);
    }

    /// Kills it.
    pub fn end(&mut self, out: &mut Outbox) {
        // The only action of an end is to kill.
        if self.runs.end().is_some() {
            self.send(Signal::KILL, SignalTarget::Tree, out);
        }
    }

    pub fn pause(&mut self) {
        self.runs.pause();
    }

    pub fn resume(&mut self, now: Instant) {
        self.runs.resume(now);
    }

    /// Sends a signal to its process, or to those that outlived it, if there are any.
    pub fn send(&self, signal: Signal, target: SignalTarget, out: &mut Outbox) {
        if let Some(Process::Running(ticket) | Process::Outlived(ticket)) = self.process {
            out.send(ticket, signal, target);
        }
    }

    fn log_end(&mut self, run: &Run, out: &mut Outbox) {
        let (role, ending) = (self.job.role.clone(), run.ending.clone());
        if let Ending::NotStarted(failure) = ending {
            let code = run.ending.code();
            let failure = self.start_failures.add(failure.cause);
            return out.log(Notice::NotStarted { role, code, failure });
        }
        if let Some(failures) = self.start_failures.end() {
            out.log(Notice::StartedAgain(role.clone(), failures));
        }
        if run.result == RunResult::TimedOut {
            self.log_timeout(out);
        }
        out.log(match run.result {
            RunResult::Stopped => Notice::Stopped(role, ending),
            _ => Notice::Ended(role, ending),
        });
    }

    fn result(&self, ending: &Ending) -> RunResult {
        if self.runs.is_stopping() {
            RunResult::Stopped
        } else if ending.passed() {
            // It ended by itself, even if that was noticed late: SIGKILL leaves no exit status.
            RunResult::Passed
        } else if self.runs.has_expired() {
            RunResult::TimedOut
        } else {
            RunResult::Failed
        }
    }

    fn perform(&mut self, now: Instant, action: Option<Action>, out: &mut Outbox) {
        match action {
            Some(Action::Start) => self.run(now, out),
            Some(Action::Terminate) => self.ask_to_stop(self.job.stop.reach, out),
            Some(Action::TerminateRest) => self.terminate_rest(out),
            Some(Action::Kill) => self.send(Signal::KILL, SignalTarget::Tree, out),
            Some(Action::Expire) => self.expire(out),
            None => {}
        }
    }

    /// A second run counts as a restart for a job that a lifecycle phase started, and not for one that a tick or a
    /// unit starts.
    fn run(&mut self, now: Instant, out: &mut Outbox) {
        if self.last.is_some() && self.job.trigger == Trigger::Lifecycle {
            self.restarts += 1;
            out.measure(Measurement::Restarted(self.job.role.clone()));
        }
        self.started = now;
        self.process = Some(Process::Running(out.start(self.owner, &self.job)));
    }

    /// If the stop signal went to the whole tree, what outlived the job has got it already.
    fn terminate_rest(&self, out: &mut Outbox) {
        out.log(Notice::Outlived(self.job.role.clone()));
        if self.job.stop.reach == SignalTarget::Leader {
            self.ask_to_stop(SignalTarget::Tree, out);
        }
    }

    /// Sends the job's stop signal, and SIGCONT for processes that are stopped and would not see it.
    pub fn ask_to_stop(&self, target: SignalTarget, out: &mut Outbox) {
        self.send(self.job.stop.signal, target, out);
        self.send(Signal::CONT, target, out);
    }

    fn expire(&self, out: &mut Outbox) {
        out.log(Notice::Killing {
            role: self.job.role.clone(),
            again: self.has_timed_out_before(),
        });
        self.send(Signal::KILL, SignalTarget::Tree, out);
    }

    /// Reported once it is known that the run did not end by itself.
    fn log_timeout(&self, out: &mut Outbox) {
        if let Some(limit) = self.job.time_limit {
            out.log(Notice::TimedOut {
                role: self.job.role.clone(),
                limit,
                program: shortened(&self.job.command.program.to_string()),
                again: self.has_timed_out_before(),
            });
        }
    }

    /// Whether the last run that has ended exceeded its time limit.
    fn has_timed_out_before(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|run| run.result == RunResult::TimedOut)
    }
}

/// Left out: the last run, except whether there was one.
impl Keyed for JobRunner {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self {
            job,
            runs,
            owner,
            process,
            started: _,
            restarts: _,
            printed,
            last,
            start_failures: _,
        } = self;
        job.write_key(key);
        runs.write_key(key);
        owner.write_key(key);
        process.write_key(key);
        printed.write_key(key);
        last.is_some().write_key(key);
    }
}

impl Keyed for Process {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Running(ticket) | Self::Outlived(ticket) => ticket.write_key(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;
    use crate::plan::{Command, Output, Role};
    use std::vec;

    #[test]
    fn the_variables_of_a_run_are_in_its_effect_and_not_in_the_state() {
        let role = Role::OnChange { backend: "db".into() };
        let command = Command::new("true", []);
        let job = Job::new(role, command, Trigger::OnDemand, Output::Log);
        let started = |variables: Vec<Variable>| {
            let mut out = Outbox::new(Jitter::new(1));
            let mut runner = JobRunner::new(Instant::START, UnitId::Application, &job, Jitter::new(1));
            runner.start_with(Instant::START, variables, &mut out);
            let found = out.take().into_iter().find_map(|effect| match effect {
                Effect::Start(_, job) => Some(job.variables),
                _ => None,
            });
            (runner, found)
        };
        let variables = vec![Variable::new("CONTAINERPILOT_BACKEND", "db")];
        let (with, found) = started(variables.clone());
        assert_eq!(found, Some(variables));
        let (without, found) = started(vec![]);
        assert_eq!((with, Some(vec![])), (without, found));
    }
}
