//! The unit of one template: its renderings and writings, and its command.
//!
//! The command runs after each writing that changed the file. Changes that come while it runs, or in maintenance, collapse
//! into one more run, and a command that cannot be started is tried again until it runs, as with the handlers of backends.

use super::id::UnitId;
use super::outbox::Outbox;
use super::runner::JobRunner;
use super::unit::Unit;
use crate::catalogue::Dependency;
use crate::causes::beginning;
use crate::event::{Rendered, Ticket};
use crate::failures::Failures;
use crate::measurement::{Measurement, RenderResult, WriteResult};
use crate::notice::Notice;
use crate::notice::templates::TemplateNotice;
use crate::plan::Template;
use crate::process::Ending;
use crate::status::{FileState, LONGEST_ERROR, MOST_NAMES, TemplateStatus};
use crate::template::{Outcome, TemplateState, Written};
use crate::time::{Backoff, Duration, Instant, Jitter, earliest};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// The first wait before a command that could not be started is started again, and the longest.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// One template of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TemplateUnit {
    pub template: Template,
    state: TemplateState,
    /// What the last rendering has looked up.
    pub names: BTreeSet<Dependency>,
    /// The keys that it waits for although the catalogue has answered: they do not exist.
    missing: BTreeSet<Dependency>,
    command: Option<JobRunner>,
    again: bool,
    /// The waits between attempts to start the command, and when the next one is due.
    retries: Backoff,
    retry_at: Option<Instant>,
    paused: bool,
    closing: bool,
    failures: Failures,
    shown: Shown,
}

/// What is only shown of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shown {
    /// When a writing last succeeded.
    written: Option<Instant>,
    /// The cause of the failure that came last.
    error: Option<String>,
}

impl TemplateUnit {
    pub fn new(now: Instant, id: UnitId, template: &Template, paused: bool, mut jitter: Jitter) -> Self {
        let command = template.command.as_ref();
        Self {
            template: template.clone(),
            state: TemplateState::new(now, template.wait, paused, jitter.split()),
            names: BTreeSet::new(),
            missing: BTreeSet::new(),
            command: command.map(|job| JobRunner::new(now, id, job, jitter.split())),
            again: false,
            retries: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1, jitter),
            retry_at: None,
            paused,
            closing: false,
            failures: Failures::default(),
            shown: Shown::default(),
        }
    }

    /// Whether the file has been written, or had the right contents.
    pub fn is_written(&self) -> bool {
        self.state.is_written()
    }

    /// Whether the last rendering or writing failed.
    pub fn has_failed(&self) -> bool {
        self.failures.count() > 0
    }

    /// The state; `known` are the names whose data the catalogue has sent.
    pub fn status(&self, known: impl Fn(&Dependency) -> bool, out: &Outbox) -> TemplateStatus {
        let mut waits_for = self.waits_for(known);
        waits_for.truncate(MOST_NAMES);
        TemplateStatus {
            destination: self.template.destination.clone(),
            state: match self.is_written() {
                _ if self.has_failed() => FileState::Failed,
                true => FileState::Written,
                false => FileState::Waiting,
            },
            written: self.shown.written,
            last_error: self.shown.error.clone(),
            names: self.names.iter().take(MOST_NAMES).cloned().collect(),
            waits_for,
            command: self.command.as_ref().map(|command| command.status(out)),
        }
    }

    /// Whether the rendering is due; it is in progress from now on.
    pub fn take(&mut self, now: Instant) -> bool {
        !self.closing && self.state.take(now)
    }

    /// A value that it uses has changed.
    pub fn on_change(&mut self, now: Instant) {
        if !self.closing {
            self.state.on_change(now);
        }
    }

    /// The configuration was read again, and the template is the same.
    pub fn refresh(&mut self, now: Instant) {
        self.state.refresh(now);
    }

    /// It was rendered. Returns the contents to write.
    pub fn on_rendered(&mut self, now: Instant, rendered: Rendered, out: &mut Outbox) -> Option<String> {
        if self.closing {
            return None;
        }
        out.measure(Measurement::Rendered {
            destination: self.template.destination.clone(),
            result: RenderResult::of(&rendered.outcome),
        });
        self.names = rendered.names;
        self.log_missing(rendered.missing, out);
        let complete = matches!(rendered.outcome, Outcome::Complete(_));
        if let Outcome::Failed(cause) = &rendered.outcome {
            self.log_failure(cause.clone(), out);
        }
        let contents = self.state.on_rendered(now, rendered.files, rendered.outcome);
        if contents.is_none() && complete && self.state.is_written() {
            self.log_recovery(out);
        }
        contents
    }

    /// It was written.
    pub fn on_written(&mut self, now: Instant, written: Written, out: &mut Outbox) {
        let changed = self.state.on_written(now, &written);
        if self.closing {
            return;
        }
        out.measure(Measurement::Written {
            destination: self.template.destination.clone(),
            result: WriteResult::of(&written),
        });
        match written {
            Written::Failed(cause) => return self.log_failure(cause, out),
            Written::Changed => out.log(Notice::Template(TemplateNotice::Written(
                self.template.destination.clone(),
            ))),
            Written::Unchanged => {}
        }
        self.shown.written = Some(now);
        self.log_recovery(out);
        self.again |= changed && self.command.is_some();
        self.start_command_if_due(now, out);
    }

    /// Why it is not written yet: what it waits for.
    pub fn waits_for(&self, known: impl Fn(&Dependency) -> bool) -> Vec<Dependency> {
        let waits = |name: &&Dependency| !known(name) || self.missing.contains(name);
        self.names.iter().filter(waits).cloned().collect()
    }

    /// Logs each key that does not exist when the template begins to wait for it.
    fn log_missing(&mut self, missing: BTreeSet<Dependency>, out: &mut Outbox) {
        let mut new = missing.difference(&self.missing);
        if let Some(first) = new.next() {
            out.log(Notice::Template(TemplateNotice::Waits {
                destination: self.template.destination.clone(),
                first: first.clone(),
                others: new.count(),
            }));
        }
        self.missing = missing;
    }

    fn start_command_if_due(&mut self, now: Instant, out: &mut Outbox) {
        let due = self.retry_at.is_none_or(|at| at <= now) && self.may_start_command();
        if let Some(command) = self.command.as_mut().filter(|_| due) {
            self.again = false;
            self.retry_at = None;
            command.start(now, out);
        }
    }

    /// Whether changes wait for the command, and it may run.
    fn may_start_command(&self) -> bool {
        let runs = self.command.as_ref().is_some_and(JobRunner::is_running);
        self.again && !self.paused && !self.closing && !runs
    }

    /// The command could not be started, so the change still waits for it.
    fn try_again_later(&mut self, now: Instant, out: &mut Outbox) {
        let delay = self.retries.delay();
        self.again = true;
        self.retry_at = Some(now + delay);
        if let Some(command) = &self.command
            && self.retries.failures() == 1
            && self.may_start_command()
        {
            out.log(Notice::StartRetried(command.job.role.clone(), delay));
        }
    }

    fn log_failure(&mut self, cause: String, out: &mut Outbox) {
        self.shown.error = Some(beginning(&cause, LONGEST_ERROR).into());
        let failure = self.failures.add(cause);
        let destination = self.template.destination.clone();
        out.log(Notice::Template(TemplateNotice::Failed { destination, failure }));
    }

    fn log_recovery(&mut self, out: &mut Outbox) {
        if let Some(failures) = self.failures.end() {
            let destination = self.template.destination.clone();
            out.log(Notice::Template(TemplateNotice::Resumed {
                destination,
                failures,
            }));
        }
    }
}

impl Unit for TemplateUnit {
    fn deadline(&self) -> Option<Instant> {
        let retry_at = self.retry_at.filter(|_| self.may_start_command());
        let command = self.command.as_ref().and_then(JobRunner::deadline);
        let rendering = self.state.deadline().filter(|_| !self.closing);
        earliest(earliest(rendering, command), retry_at)
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(command) = &mut self.command {
            command.on_time(now, out);
        }
        self.start_command_if_due(now, out);
    }

    fn after_standstill(&mut self, now: Instant) {
        if let Some(command) = &mut self.command {
            command.after_standstill(now);
        }
    }

    fn on_ended(
        &mut self,
        now: Instant,
        _ticket: Ticket,
        ending: &Ending,
        _outlived: bool,
        out: &mut Outbox,
    ) {
        if let Some(command) = &mut self.command {
            command.on_ended(now, ending, false, out);
        }
        match ending {
            Ending::NotStarted(_) => self.try_again_later(now, out),
            Ending::Exited(_) | Ending::Probed(_) => self.retries.reset(),
        }
        self.start_command_if_due(now, out);
    }

    /// Begins no rendering and no command until [`Self::resume`]; what is in progress may finish.
    fn pause(&mut self, _now: Instant, _out: &mut Outbox) {
        self.paused = true;
        self.state.pause();
    }

    fn resume(&mut self, now: Instant, out: &mut Outbox) {
        self.paused = false;
        self.state.resume(now);
        self.start_command_if_due(now, out);
    }

    /// Renders and writes no more, and kills a command that runs.
    fn close(&mut self, _now: Instant, out: &mut Outbox) {
        self.closing = true;
        self.names.clear();
        self.missing.clear();
        if let Some(command) = &mut self.command {
            command.end(out);
        }
    }

    fn is_closing(&self) -> bool {
        self.closing
    }

    fn delays_plan(&self) -> bool {
        self.closing && self.command.as_ref().is_some_and(JobRunner::is_running)
    }
}

crate::keyed!(TemplateUnit { template, state, names, missing, command, again, retries, retry_at, paused, closing }
    without { failures, shown });
